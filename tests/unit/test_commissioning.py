"""What an installer is told of a device, from what was heard and what is registered."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from greenmine.core.dead_letter import DeadReason
from greenmine.core.latest import Change
from greenmine.core.reading import Series
from greenmine.ingest.commissioning import KEPT_VALUES, CommissioningLog, Heard
from greenmine.ingest.commissioning_findings import Finding, FindingKind, Registered, findings
from greenmine.ingest.commissioning_words import SENTENCES, finding_text
from greenmine.ingest.refusal_advice import ADVICE, advice_for
from greenmine.ingest.usual_unit import usual_unit
from greenmine.web.wording import QUARANTINES

ROOT = Path(__file__).resolve().parents[2]
S = 1_000_000_000
NOW = 1_795_334_400 * S
PM10 = Series("m", "dust-1", "pm10")
TSP = Series("m", "dust-1", "tsp")
REGISTERED = {PM10: Registered("ug/m3", 60)}


def message(values: dict[Series, float | None], received_ns: int, behind_s: float = 1.0, **more: Any) -> dict[str, Any]:
    readings = [
        {
            **series._asdict(),
            "time_ns": received_ns - int(behind_s * S),
            "value": value,
            "quality": [],
            "quarantine": "",
        }
        for series, value in values.items()
    ]
    base = {
        "received_ns": received_ns, "mine": "m", "device": "dust-1", "topic": "mines/m/dust-1/up",
        "client": "m.dust-1", "payload": "{}", "readings": readings, "refused": [],
    }  # fmt: skip
    return {**base, **more}


def heard(*values: float | None, behind_s: float = 1.0, every_s: float = 60.0, **more: Any) -> Heard:
    """A device that sent these values of PM10, the last one a second ago."""
    log = CommissioningLog()
    for place, value in enumerate(values):
        at_ns = NOW - int((len(values) - 1 - place) * every_s * S)
        log.on_changes([Change("message", message({PM10: value}, at_ns, behind_s, **more))])
    return log.heard("m")["dust-1"]


def kinds(found: list[Finding]) -> list[str]:
    return [one.kind.value for one in found]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (heard(80.0, 82.0, 79.0, 85.0, 90.0), []),
        (heard(0.0, 0.0, 0.0, 0.0, 0.0), ["all_zero"]),
        (heard(0.0, 0.0, 0.0, 0.0), []),
        (heard(81.5, 81.5, 81.5, 81.5, 81.5), ["constant"]),
        (heard(0.081, 0.079, 0.09, 0.085, 0.08), ["unit"]),
        (heard(80.0, 81.0, behind_s=8 * 3600 + 3), ["clock_zone"]),
        (heard(80.0, 81.0, behind_s=-8 * 3600 + 3), ["clock_zone"]),
        (heard(80.0, 81.0, behind_s=-200), ["clock_ahead"]),
        (heard(80.0, 81.0, behind_s=-100), []),
        (heard(80.0, 81.0, behind_s=600), ["clock_behind"]),
        (heard(80.0, 81.0, 82.0, every_s=10), ["interval"]),
        (heard(80.0, 81.0, 82.0, every_s=70), []),
        (heard(80.0, 81.0, health={"rssi_dbm": -121.0, "snr_db": None}), ["signal"]),
        (heard(80.0, 81.0, health={"snr_db": -14.0}), ["signal"]),
        (heard(80.0, 81.0, health={"battery_percent": 11.0, "battery_v": 3.1}), ["battery"]),
        (heard(80.0, 81.0, health={"rssi_dbm": -80.0, "battery_percent": 88.0}), []),
        (heard(None, None, None, None, None), []),
    ],
)  # fmt: skip
def test_what_is_found(sent: Heard, expected: list[str]) -> None:
    assert kinds(findings(REGISTERED, sent, NOW + 2 * S)) == expected


@pytest.mark.parametrize(("value", "expected"), [(0.0, []), (0.4, ["constant"])])
def test_a_dry_rain_gauge_is_no_broken_one(value: float, expected: list[str]) -> None:
    rain, log = Series("m", "dust-1", "rain"), CommissioningLog()
    for minute in range(8):
        log.on_changes([Change("message", message({rain: value}, NOW - (7 - minute) * 60 * S))])
    assert kinds(findings({rain: Registered("mm", 60)}, log.heard("m")["dust-1"], NOW)) == expected


def test_a_device_that_is_registered_and_was_never_heard() -> None:
    assert kinds(findings(REGISTERED, None, NOW)) == ["never_heard"]
    assert findings({}, None, NOW) == [], "a gateway need not speak"


def test_a_device_that_fell_silent_and_one_that_lacks_a_series() -> None:
    both = {**REGISTERED, TSP: Registered("mg/m3", 60)}
    assert kinds(findings(both, heard(80.0), NOW + 181 * S)) == ["series_never_heard", "silent"]
    assert kinds(findings(both, heard(80.0), NOW + 179 * S)) == ["series_never_heard"]


def test_what_is_not_registered_and_what_is_out_of_range() -> None:
    log = CommissioningLog()
    sent = message({TSP: -5.0}, NOW)
    sent["readings"][0]["quality"] = ["negative", "unregistered"]
    (device,) = log.hear(sent)
    assert kinds(findings({}, device, NOW)) == ["not_registered", "out_of_range"]


def test_a_value_that_only_its_sender_calls_out_of_range() -> None:
    log = CommissioningLog()
    sent = message({PM10: 81.0}, NOW)
    sent["readings"][0]["quality"] = ["range"]
    (found,) = findings(REGISTERED, log.hear(sent)[0], NOW)
    assert found.kind is FindingKind.FLAGGED_BY_SENDER
    assert "flag T" in finding_text("en", found)


def test_a_statistic_is_named_and_so_is_what_registers_it() -> None:
    found = Finding(FindingKind.NOT_REGISTERED, PM10._replace(stat="min", period_s=3600))
    assert finding_text("en", found).startswith("pm10 min 1h is not registered")
    assert finding_text("en", found).endswith("Register it in the policy (stat: min, period: 1h).")
    assert finding_text("zh", found).endswith("请在策略文件中登记（stat: min, period: 1h）。")
    assert finding_text("en", Finding(FindingKind.NOT_REGISTERED, PM10)).endswith("Register it in the policy.")


def test_a_refusal_is_shown_with_its_reason_until_a_message_is_taken() -> None:
    log = CommissioningLog()
    log.hear(message({}, NOW, refused=[{"word": "ts_zone", "detail": "no offset"}]))
    device = log.heard("m")["dust-1"]
    (found,) = findings({}, device, NOW)
    assert found.kind is FindingKind.REFUSED
    assert "ts_zone" in finding_text("en", found)
    assert ADVICE["ts_zone"][0] in finding_text("zh", found)
    (device,) = log.hear(message({PM10: 80.0}, NOW + 60 * S))
    assert findings(REGISTERED, device, NOW + 60 * S) == []
    assert (device.refused, len(device.refusals)) == (1, 1)


def test_a_gateway_s_message_is_of_itself_and_of_the_devices_behind_it() -> None:
    log = CommissioningLog()
    behind = Series("m", "dust-2", "pm10")
    devices = log.hear(message({behind: 80.0}, NOW))
    assert [one.device for one in devices] == ["dust-1", "dust-2"]
    assert list(log.heard("m")["dust-2"].samples) == [behind]
    assert log.heard("m")["dust-1"].samples == {}


def test_memory_is_bounded_and_the_longest_silent_goes_first() -> None:
    log = CommissioningLog(most_devices=3)
    for number in (1, 2, 3, 1, 4):
        log.hear(message({}, NOW, device=f"dust-{number}"))
    assert set(log.heard("m")) == {"dust-1", "dust-3", "dust-4"}
    for value in range(50):
        log.hear(message({PM10: float(value)}, NOW + value * S))
    assert [sample.value for sample in log.heard("m")["dust-1"].samples[PM10]] == list(range(50 - KEPT_VALUES, 50))


def test_what_was_given_out_does_not_change() -> None:
    log = CommissioningLog()
    log.hear(message({PM10: 1.0}, NOW))
    before = log.heard("m")["dust-1"]
    log.hear(message({PM10: 2.0}, NOW + S))
    assert (before.messages, len(before.samples[PM10])) == (1, 1)


@pytest.mark.parametrize(
    ("metric", "value", "unit"),
    [("pm10", 85.0, "ug/m3"), ("pm10", 0.085, "mg/m3"), ("pm10", 85_000.0, "ng/m3"), ("pm10", 0.0, None),
     ("soil_moisture", 0.21, "m3/m3"), ("soil_moisture", 21.0, "%"), ("air_temp", 293.0, "K"),
     ("pressure", 1013.0, "hPa"), ("ph", 7.0, None), ("nothing", 7.0, None)],
)  # fmt: skip
def test_the_probable_unit(metric: str, value: float, unit: str | None) -> None:
    assert usual_unit(metric, value) == unit


def test_every_finding_has_a_sentence_in_both_languages() -> None:
    facts = {
        "seconds": 400.0, "registered": 60, "word": "json", "detail": "not JSON", "hours": 8, "count": 5,
        "probable": "mg/m3", "percent": 11.4,
    }  # fmt: skip
    assert set(SENTENCES) == set(FindingKind)
    for kind in FindingKind:
        zh, en = (finding_text(language, Finding(kind, PM10, facts)) for language in ("zh", "en"))
        assert re.search(r"[\u4e00-\u9fff]", zh)
        assert not re.search(r"[\u4e00-\u9fff]", en)
        assert "{" not in zh + en
        assert "  " not in zh + en


@pytest.mark.parametrize("word", [*DeadReason, *QUARANTINES])
def test_every_reason_has_advice_in_both_languages(word: str) -> None:
    """A new reason needs a line in ingest/refusal_advice.py."""
    assert word in ADVICE
    zh, en = advice_for(word)
    assert re.search(r"[\u4e00-\u9fff]", zh)
    assert not re.search(r"[\u4e00-\u9fff]", en)


def test_every_reason_of_the_bad_inputs_has_advice() -> None:
    cases = ROOT.parent / "shared" / "bad_inputs.jsonl"
    if not cases.exists():
        pytest.skip("the cases of bad inputs are not beside the project")
    words = set(re.findall(r"DLQ:([a-z0-9_]+)", cases.read_text("utf-8")))
    assert len(words) > 20
    assert {word for word in words if word not in ADVICE} == set()
    assert advice_for("never heard of")[1].startswith("The raw message is kept")
