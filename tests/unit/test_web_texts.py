"""Everything a person reads is there in Chinese and English, and the templates ask only for words that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import greenmine.web
from greenmine.core.account import Account
from greenmine.core.alert import Condition, Handling, Reason, Severity, Transition
from greenmine.core.metric import SensorKind
from greenmine.core.quality import Quality
from greenmine.core.reading import Series
from greenmine.core.user import Role
from greenmine.web import texts, wording
from greenmine.web.problem import KINDS
from greenmine.web.render import SCRIPT_WORDS
from greenmine.web.state import State
from greenmine.web.times import RANGES
from tests.web_fakes import make_world, open_pit_policy

ROOM = Path(next(iter(greenmine.web.__path__)))
HAN = re.compile(r"[\u4e00-\u9fff]")
SOURCES = {path.name: path.read_text("utf-8") for path in [*ROOM.glob("templates/*.html"), *ROOM.glob("*.py")]}


def test_the_templates_ask_only_for_words_that_exist() -> None:
    used = {
        key for name, text in SOURCES.items() if name.endswith(".html") for key in re.findall(r"ui\.t\('([^']+)'", text)
    }
    exact = {key for key in used if not key.endswith(".")}
    assert len(exact) > 60
    assert exact <= set(texts.TEXTS)
    assert {key for key in used if key.endswith(".")} == {"role.", "chart.", "data."}
    assert {f"role.{role}" for role in Role} | {f"chart.{name}" for name in RANGES} <= set(texts.TEXTS)


def test_no_words_are_kept_that_nothing_says() -> None:
    everything = "\n".join(text for name, text in SOURCES.items() if name != "texts.py")
    composed = {f"role.{role}" for role in Role} | {f"chart.{name}" for name in RANGES}
    composed |= {f"said.{act}" for act in ("acknowledge", "note", "resolve", "password", "approve", "reject")}
    composed |= {f"data.{name}" for name in (*Account._fields, "expected", "missing")}
    composed |= {"age.s", "age.m", "age.h", "age.d"}
    assert {key for key in texts.TEXTS if key not in everything} <= composed


@pytest.mark.parametrize("key", sorted(texts.TEXTS))
def test_both_languages_say_something_and_fill_in_the_same(key: str) -> None:
    zh, en = texts.TEXTS[key]
    assert zh.strip()
    assert en.strip()
    assert not HAN.search(en) or key == "nav.language"
    assert re.findall(r"{(\w+)}", zh) == re.findall(r"{(\w+)}", en) or set(re.findall(r"{(\w+)}", zh)) == set(
        re.findall(r"{(\w+)}", en)
    )


def test_every_member_of_every_enumeration_has_words() -> None:
    assert set(texts.STATES) == set(State)
    assert set(texts.SEVERITIES) == set(Severity)
    assert set(texts.KINDS) == {*SensorKind, ""}
    assert set(wording.CONDITIONS) == set(Condition)
    assert set(wording.HANDLINGS) == set(Handling)
    assert set(wording.REASONS) == set(Reason)
    assert set(wording.FLAGS) == {str(flag.name).lower() for flag in Quality if flag}
    for table in (texts.STATES, texts.SEVERITIES, texts.KINDS, wording.CONDITIONS, wording.HANDLINGS, wording.FLAGS):
        assert all(HAN.search(zh) and not HAN.search(en) for zh, en in table.values())
    assert all(HAN.search(kind.zh) and not HAN.search(kind.en) for kind in KINDS.values())


def test_the_scripts_ask_only_for_words_that_the_page_carries() -> None:
    said = "\n".join(path.read_text("utf-8") for path in ROOM.glob("static/*.js"))
    asked = {
        key.replace(".", "-").replace("_", "-") for key in re.findall(r'"((?:live|act|said|chart)\.[a-z.]+)"', said)
    }
    assert asked
    assert asked <= {key.replace(".", "-").replace("_", "-") for key in SCRIPT_WORDS}


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_reads_with_and_without_a_value(language: str, reason: Reason) -> None:
    world = make_world("rest")
    alert = world.desk.raise_alert(open_pit_policy(), "pm10-warning", Series("demo-pit", "dust-road", "pm10"), 263.0)
    step = Transition(alert.id, 1, 0, alert.condition, alert.handling, reason, "service:greenmine", 263.0, None, "")
    full = wording.reason_text(language, alert, step)
    assert "{" not in full
    assert "{" not in wording.reason_text(language, alert, step._replace(value=None))
    assert "  " not in full


def test_a_reason_names_value_and_limit_so_that_one_sees_which_is_greater() -> None:
    world = make_world("rest")
    road = Series("demo-pit", "dust-road", "pm10")
    alert = world.desk.raise_alert(open_pit_policy(), "pm10-warning", road, 250.04)
    step = world.board.steps[alert.id][0]
    assert wording.reason_text("en", alert, step) == "The reading 250.04 µg/m³ is over the limit 250 µg/m³"
    assert wording.reason_text("zh", alert, step) == "读数 250.04 µg/m³ 高于限值 250 µg/m³"


@pytest.mark.parametrize(
    ("principal", "zh", "en"),
    [
        ("person:li", "li", "li"),
        ("rule:demo-pit/pm10", "规则 demo-pit/pm10", "rule demo-pit/pm10"),
        ("service:greenmine", "系统", "system"),
        ("li", "li", "li"),
    ],
)
def test_principals_in_words(principal: str, zh: str, en: str) -> None:
    assert (wording.principal_text("zh", principal), wording.principal_text("en", principal)) == (zh, en)


@pytest.mark.parametrize(
    ("seconds", "zh", "en"),
    [
        (0, "0 秒", "0 s"),
        (59.9, "59 秒", "59 s"),
        (60, "1 分", "1 min"),
        (3_660, "1 小时 1 分", "1 h 1 min"),
        (90_061, "1 天 1 小时", "1 d 1 h"),
        (86_400 + 60, "1 天", "1 d"),
        (-5, "0 秒", "0 s"),
    ],
)
def test_spans_in_their_two_largest_units(seconds: float, zh: str, en: str) -> None:
    assert (texts.span_text("zh", seconds), texts.span_text("en", seconds)) == (zh, en)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, ("age.s", 0)), (119, ("age.s", 119)), (120, ("age.m", 2)), (7_200, ("age.h", 2)), (172_800, ("age.d", 2))],
)
def test_ages(seconds: float, expected: tuple[str, int]) -> None:
    assert texts.age_parts(seconds) == expected
