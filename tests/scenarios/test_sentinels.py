"""Numbers that mean "no value" are kept apart with their reason, on every way in, and never become readings."""

from __future__ import annotations

import pytest

from greenmine.core.account import Account
from greenmine.pipeline.ordinary import Ordinary
from tests.pipeline_scenes import DUSTY, Scene, device, entry, imported, limit, message, policy, scene

EC = device("soil-1", "soil", ec="uS/cm", soil_temp="Cel")
"""9999 uS/cm is a possible conductivity of soil: nothing but the policy says that it is none."""
EC["sensors"][0]["metrics"]["ec"]["sentinels"] = [9999]
DRY = limit("salty", "ec", 5, 4)


def quarantined(on: Scene) -> list[tuple[str, float, str]]:
    return [(row["metric"], row["value"], row["reason"]) for row in on.rows("quarantine")]


@pytest.mark.parametrize("ordinary", [True, False])
def test_a_sentinel_never_becomes_a_reading_and_raises_nothing(monkeypatch: pytest.MonkeyPatch, ordinary: bool) -> None:
    if not ordinary:
        monkeypatch.setattr(Ordinary, "take", lambda *_: None)
    with scene(policy([DUSTY, DRY], devices=[EC], quality={"sentinels": [-9999, 32767]})) as on:
        on.say(1000, metric="ec", device_id="soil-1").say(20, metric="soil_temp", device_id="soil-1")
        for value in (9999, 9999.0, -9999, 32767, 9998):
            on.say(value, metric="ec", device_id="soil-1")
        on.say(-9999, 9999, metric="soil_temp", device_id="soil-1")
        assert on.account == Account(received=9, pending=4, quarantined=5)
        assert [(metric, reason) for metric, _, reason in quarantined(on)] == [
            *[("ec", "sentinel")] * 4,
            ("soil_temp", "sentinel"),
        ]
        assert quarantined(on)[0] == ("ec", pytest.approx(9.999), "sentinel")
        assert [alert.key.rule for alert in on.alerts()] == ["salty"]
        assert on.the_alert().value == pytest.approx(9.998), "9998 is a value"


def test_the_other_values_of_its_message_stand() -> None:
    with scene(policy([DUSTY], quality={"sentinels": [-9999]})) as on:
        on.say(1, 2).say(1, 2, metric="pm25")
        body = [entry(on.wait(10).now_ns, {"pm10": -9999, "pm25": 7}), entry(on.now_ns + 1_000_000, {"pm10": 8})]
        on.batch(message(body))
        assert on.account == Account(received=7, pending=6, quarantined=1)


def test_imported_rows_are_asked_as_well() -> None:
    with scene(policy([DUSTY], quality={"sentinels": [-9999]})) as on:
        row = ("shifan-9", "dust-1", "pm10", "", "inst", 0, on.now_ns, -9999.0, None, 0)
        on.batch(imported([row]))
        assert quarantined(on) == [("pm10", -9999.0, "sentinel")]
