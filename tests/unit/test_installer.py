"""What `tail` prints for whoever installs a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from greenmine.core.reading import Series
from greenmine.installer import SHOWN_PAYLOAD, Installer, devices_of

NOW = 1_795_334_400 * 10**9
MINUTE = 60 * 10**9
EXPECTED = [
    {
        "device": "dust-1",
        "metric": name,
        "channel": "",
        "stat": "inst",
        "period_s": 0,
        "unit": "ug/m3",
        "interval_s": 60,
    }
    for name in ("pm10", "tsp")
]


class Policies:
    """The API's answer, and how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def registered(self, mine: str) -> Sequence[Mapping[str, Any]]:
        self.asked.append(mine)
        return EXPECTED if mine == "m" else []


def message(received_ns: int = NOW, values: Mapping[str, float | None] | None = None, **more: Any) -> dict[str, Any]:
    device = more.get("device", "dust-1")
    readings = [
        {**Series("m", device, *name.partition("@")[::2])._asdict(), "time_ns": received_ns - 1_500_000_000,
         "value": value, "quality": [], "quarantine": ""}
        for name, value in (values or {}).items()
    ]  # fmt: skip
    base = {
        "received_ns": received_ns, "mine": "m", "device": device, "topic": f"mines/m/{device}/up", "client": "m.x",
        "payload": "{}", "health": None, "readings": readings, "refused": [],
    }  # fmt: skip
    return {**base, **more}


def texts(installer: Installer, told: Mapping[str, Any]) -> list[str]:
    return [line.text for line in installer.lines(told)]


def test_a_message_is_shown_raw_and_decoded_with_units() -> None:
    lines = texts(Installer(Policies().registered), message(values={"pm10": 81.25}, payload='{"ts":1}'))
    assert lines == [
        "2026-11-22T08:00:00Z mines/m/dust-1/up",
        '  {"ts":1}',
        "  dust-1  pm10 = 81.25 ug/m3  (+1.5 s behind)",
    ]


def test_a_long_payload_is_cut() -> None:
    shown = texts(Installer(Policies().registered), message(payload="x" * 2000))[1]
    assert shown == f"  {'x' * SHOWN_PAYLOAD}…"


def test_what_looks_wrong_is_said_once_it_is_known_in_both_languages() -> None:
    policies = Policies()
    installer = Installer(policies.registered)
    for minute in range(5):
        lines = texts(installer, message(NOW + minute * MINUTE, {"tsp": 0.0}))
        assert ("all 0" in "\n".join(lines)) == (minute == 4)
    assert lines[-1].startswith("  ! dust-1: tsp: the last 5 values are all 0.")
    assert "全是 0" in lines[-1]
    assert policies.asked == ["m"], "a policy is not asked for with each message"


def test_a_wrong_unit_and_a_weak_signal() -> None:
    health = {"rssi_dbm": -121.0, "snr_db": None, "battery_percent": 9.0}
    lines = "\n".join(texts(Installer(Policies().registered), message(values={"pm10": 0.084}, health=health)))
    assert "the numbers look like mg/m3" in lines
    assert "rssi_dbm -121, battery_percent 9" in lines
    assert "The radio signal is weak" in lines


def test_what_a_decoder_left_out_is_said() -> None:
    lines = texts(Installer(Policies().registered), message(notes=["uptime: ut is not used"]))
    assert "  note / 注: uptime: ut is not used" in lines


def test_a_refusal_comes_with_advice() -> None:
    refused = [{"word": "ts_zone", "detail": "no offset"}]
    lines = texts(Installer(Policies().registered), message(refused=refused))
    assert lines[2] == "  refused / 拒收: ts_zone: no offset"
    assert lines[3].startswith("    → Give the time in RFC 3339")
    assert len(lines) == 4, "it is not said a second time as a finding"


def test_the_same_advice_is_not_given_twice_for_a_message() -> None:
    refused = [{"word": "unknown_factor", "detail": detail} for detail in ("a99010", "a99011")]
    lines = texts(Installer(Policies().registered), message(refused=refused))
    assert [line[:4] for line in lines[2:]] == ["  re", "    ", "  re"]


def test_a_stranger_is_shown_too() -> None:
    lines = texts(Installer(Policies().registered), message(values={"pm10": 80.0}, device="dust-9"))
    assert lines[-1].startswith("  ! dust-9: pm10 is not registered")


def test_a_message_is_of_its_sender_and_of_the_devices_behind_it() -> None:
    told = message(values={"pm10": 1.0}, device="dust-2")
    assert devices_of({**told, "device": "gw-1"}) == {"gw-1", "dust-2"}
