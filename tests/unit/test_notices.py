"""What is told to whom, and that nothing in it can act."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmine.alerts.notices import compose, shown, told
from greenmine.core.alert import Alert, AlertKey, Condition, Handling, Severity
from greenmine.core.notice import Notice, NoticeKind
from greenmine.policy.model import Policy
from tests.pipeline_scenes import MINE, NS, START_NS, device, limit, policy, text

ABSENCE = {"id": "silent", "kind": "absence", "severity": "warning", "after": "5m"}


def contact(name: str, language: str = "zh", **more: Any) -> dict[str, Any]:
    return {"id": name, "name": text("人", "Somebody"), "language": language, "channels": [{"kind": "console"}], **more}


def alert(rule: str = "dusty", metric: str = "pm10", **more: Any) -> Alert:
    made = Alert(
        id="a0123456789abcde",
        key=AlertKey(MINE, rule, "dust-1", ""),
        metric=metric,
        kind="threshold",
        severity=Severity.WARNING,
        condition=Condition.FIRING,
        handling=Handling.NONE,
        raised_at_ns=START_NS,
        cleared_at_ns=None,
        source_time_ns=START_NS - 20 * NS,
        value=437.7,
        last_value=437.7,
        limit=150.0,
        unit="ug/m3",
        transition=1,
    )
    return replace(made, **more)


def one(
    told_of: Alert, language: str = "zh", kind: NoticeKind = NoticeKind.RAISED, at_ns: int = START_NS, **changes: Any
) -> Notice:
    rules = changes.pop("rules", [limit("dusty", "pm10", 150, 130)])
    found = compose(policy(rules, contacts=[contact("a", language)], **changes), told_of, kind, at_ns)
    (notice,) = found
    return notice


class TestWhoIsTold:
    @pytest.mark.parametrize(
        ("contacts", "rule", "severity", "expected"),
        [
            ([contact("e1"), contact("e2"), contact("c", level="county")], {}, "warning", ["e1", "e2"]),
            ([contact("c", level="county"), contact("d", level="city")], {}, "warning", ["c", "d"]),
            ([contact("e1"), contact("c", level="county")], {"tell": ["c"]}, "warning", ["c"]),
            ([contact("e1"), contact("c", level="county")], {"tell": ["c", "e1"]}, "warning", ["e1", "c"]),
            ([contact("e1", min_severity="critical"), contact("e2")], {}, "warning", ["e2"]),
            ([contact("e1", min_severity="critical"), contact("c", level="county")], {}, "warning", []),
            ([contact("e1", min_severity="critical")], {"tell": ["e1"]}, "warning", []),
            ([contact("e1", min_severity="critical")], {}, "critical", ["e1"]),
            ([contact("e1", min_severity="warning")], {}, "warning", ["e1"]),
            ([contact("e1", min_severity="warning")], {}, "notice", []),
            ([], {}, "critical", []),
        ],
    )
    def test_contacts(
        self, contacts: list[dict[str, Any]], rule: dict[str, Any], severity: str, expected: list[str]
    ) -> None:
        one_policy = policy([limit("dusty", "pm10", 150, 130, **rule)], contacts=contacts)
        found = told(one_policy, alert().key, Severity(severity))
        assert [c.id for c in found] == expected

    def test_a_rule_that_is_gone_tells_the_enterprise(self) -> None:
        contacts = [contact("e"), contact("c", level="county")]
        found = told(policy([], contacts=contacts), alert().key, Severity.WARNING)
        assert [c.id for c in found] == ["e"]

    def test_one_notice_a_channel(self) -> None:
        channels = [
            {"kind": "console"},
            {"kind": "email", "to": "a@example.com"},
            {"kind": "webhook", "url": "secret:h"},
        ]
        one_policy = policy([limit("dusty", "pm10", 150, 130)], contacts=[contact("a", channels=channels)])
        found = compose(one_policy, alert(), NoticeKind.RAISED, START_NS)
        assert [(n.channel, n.target) for n in found] == [
            ("console", ""),
            ("email", "a@example.com"),
            ("webhook", "secret:h"),
        ]
        assert len({n.key for n in found}) == 3


class TestWords:
    def test_in_chinese(self) -> None:
        notice = one(alert())
        assert notice.subject == "[警告] 报警 · 示范九号矿 · dust-1 · 可吸入颗粒物 PM10 438 高于 限值 150 µg/m³"
        assert "数据时间: 2026-11-22 15:59:40 Asia/Shanghai" in notice.text
        assert notice.text.endswith("报警编号: a0123456789abcde")

    def test_in_english(self) -> None:
        notice = one(alert(), "en")
        assert notice.subject == "[Warning] alert · Demo No. 9 mine · dust-1 · PM10 438 above limit 150 µg/m³"
        assert "measured: 2026-11-22 15:59:40 Asia/Shanghai" in notice.text

    def test_the_text_begins_with_the_subject(self) -> None:
        notice = one(alert(), "en")
        assert notice.text.split("\n")[0] == notice.subject

    def test_a_clearing_says_so(self) -> None:
        over = alert(condition=Condition.CLEARED, cleared_at_ns=START_NS + NS)
        assert one(over, kind=NoticeKind.CLEARED).subject.startswith("[警告] 报警解除 · ")
        assert one(over, "en", NoticeKind.CLEARED).subject.startswith("[Warning] cleared · ")

    @pytest.mark.parametrize(
        ("metric", "value", "limit_value", "english"),
        [
            ("tsp", 1234.0, 1000.0, "TSP 1.23 above limit 1.00 mg/m³"),
            ("pm25", 80.4, 75.0, "PM2.5 80 above limit 75 µg/m³"),
            ("ph", 5.5, 6.0, "pH 5.50 below limit 6.00"),
            ("laeq", 66.66, 65.0, "LAeq 66.7 above limit 65.0 dB"),
            ("water_temp", 31.0, 30.0, "Water temperature 31.0 above limit 30.0 °C"),
            ("soil_moisture", 9.96, 12.0, "Soil moisture 10.0 below limit 12.0 %"),
            ("pm10", 150.4, 150.0, "PM10 150.4 above limit 150.0 µg/m³"),
            ("pm10", 150.0004, 150.0, "PM10 150.000 above limit 150.000 µg/m³"),
        ],
    )
    def test_units_as_people_read_them(self, metric: str, value: float, limit_value: float, english: str) -> None:
        notice = one(alert(metric=metric, value=value, limit=limit_value), "en")
        assert notice.subject.endswith(f" · {english}")

    def test_silence(self) -> None:
        silent = alert("silent", value=None, limit=None, source_time_ns=None)
        at_ns = START_NS + 3600 * NS
        notice = one(silent, "en", at_ns=at_ns, rules=[ABSENCE])
        assert notice.subject.endswith("PM10 no usable data")
        assert "measured: 2026-11-22 17:00:00 Asia/Shanghai" in notice.text, "now, not the first time it was raised"
        assert one(silent, rules=[ABSENCE]).subject.endswith("没有可用数据")

    def test_a_lost_broker(self) -> None:
        lost = alert("broker-link", "", value=None, limit=None, source_time_ns=None, severity=Severity.CRITICAL)
        assert one(lost, "en").subject.endswith("connection to the broker lost")
        assert one(lost).subject.endswith("与消息服务器的连接中断")

    def test_a_part_of_the_service_has_a_name_in_both_languages(self) -> None:
        full = alert("disk-room", "", value=None, limit=None, source_time_ns=None, severity=Severity.CRITICAL)
        assert " 磁盘 · " in one(full, "zh").subject
        assert " disk · " in one(full, "en").subject

    def test_advice_and_names(self) -> None:
        rules = [limit("dusty", "pm10", 150, 130, advice=text("洒水。", "Water the roads."))]
        devices = [{**device("dust-1", pm10="ug/m3"), "name": text("北界", "North")}]
        assert "建议: 洒水。" in one(alert(), rules=rules, devices=devices).text
        notice = one(alert(), "en", rules=rules, devices=devices)
        assert "advice: Water the roads." in notice.text
        assert " · North · " in notice.subject

    def test_a_channel_is_named(self) -> None:
        notice = one(alert(key=AlertKey(MINE, "dusty", "dust-1", "d20")), "en")
        assert " · dust-1 d20 · " in notice.subject

    def test_shown(self) -> None:
        assert (shown("tsp", 999.6), shown("pm10", 12.5), shown("ph", 7)) == ("1.00", "12", "7.00")


class TestPayload:
    def test_says_everything_to_machines(self) -> None:
        body = json.loads(one(alert(), "en").payload)
        assert body["schema"] == "greenmine.notice/1"
        assert (body["kind"], body["at"], body["contact"]) == ("raised", "2026-11-22T08:00:00Z", "a")
        assert body["alert"] == {
            "id": "a0123456789abcde", "mine": MINE, "rule": "dusty", "device": "dust-1", "channel": "",
            "metric": "pm10", "severity": "warning", "condition": "firing", "handling": "none", "value": 437.7,
            "last_value": 437.7, "limit": 150.0, "unit": "ug/m3", "raised_at": "2026-11-22T08:00:00Z",
            "cleared_at": None, "transition": 1,
        }  # fmt: skip
        assert body["mine"] == {"id": MINE, "name": {"zh": "示范九号矿", "en": "Demo No. 9 mine"}}


class TestKeys:
    def test_are_stable_over_replays(self) -> None:
        assert one(alert()).key == one(alert()).key
        assert one(alert()).key == one(alert(), at_ns=START_NS + NS).key, "only what makes it the same notice counts"

    def test_tell_apart_transitions_contacts_and_targets(self) -> None:
        rules = [limit("dusty", "pm10", 150, 130)]
        contacts = [contact("a"), contact("b")]
        mails = [{"kind": "email", "to": "a@example.com"}, {"kind": "email", "to": "b@example.com"}]
        found = [
            notice.key
            for who in (contacts, [contact("a", channels=mails)])
            for number in (1, 2)
            for notice in compose(policy(rules, contacts=who), alert(transition=number), NoticeKind.RAISED, START_NS)
        ]
        assert len(found) == len(set(found)) == 8


HOSTILE = (
    "Demo\r\nBcc: all@example.com",
    "Demo\nSubject: all clear",
    "Demo\x00mine",
    "Demo\x1b]0;owned\x07",
    "Demo\u2028mine",
    "Demo \u202e erim",
    "Demo\x85mine",
    "x" * 200,
)


_ACTING = ("Cc", "Cs", "Zl", "Zp")


def acting(words: str, kept: str = "") -> list[str]:
    return [c for c in words if c == "\u202e" or (unicodedata.category(c) in _ACTING and c not in kept)]


def hostile_policy(words: str) -> Policy:
    document = policy([]).mine.model_dump()
    devices = [{**device("dust-1", pm10="ug/m3"), "name": text(words, words)}]
    rules = [limit("dusty", "pm10", 150, 130, advice=text(words, words))]
    return policy(rules, mine=MINE, devices=devices).model_copy(
        update={"mine": type(policy([]).mine).model_validate({**document, "name": text(words, words)})}
    )


@pytest.mark.parametrize("words", HOSTILE)
@pytest.mark.parametrize("kind", [NoticeKind.RAISED, NoticeKind.CLEARED])
def test_no_text_of_a_policy_can_act(words: str, kind: NoticeKind) -> None:
    for notice in compose(hostile_policy(words), alert(), kind, START_NS):
        assert acting(notice.subject) == []
        assert acting(notice.text, kept="\n\t") == []
        assert len(notice.subject) <= 300
        assert json.loads(notice.payload)["mine"]["name"]["en"] == words, "machines are told what stands in the policy"


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1, max_size=200))
def test_nor_any_other(words: str) -> None:
    for notice in compose(hostile_policy(words), alert(), NoticeKind.RAISED, START_NS):
        assert acting(notice.subject) == []
        assert acting(notice.text, kept="\n\t") == []
        assert len(notice.text) <= 4_000
