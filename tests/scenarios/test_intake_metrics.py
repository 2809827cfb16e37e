"""What /metrics and `doctor` say of losses, gaps and dead letters."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from sqlalchemy import Connection

from greenmine.core.account import DeviceHour
from greenmine.core.clock import ManualClock
from greenmine.core.dead_letter import DeadLetterTotals
from greenmine.device_hours import DeviceHours
from greenmine.operations import Gauges, dead_letter_check
from tests.pipeline_scenes import DUSTY, MINE, NS, Scene, entry, message, policy, scene


def samples(on: Scene) -> dict[tuple[str, ...], float]:
    """Name and values of labels of every sample."""
    registry = CollectorRegistry()
    registry.register(Gauges(list, on.state))
    text = generate_latest(registry).decode()  # type: ignore[no-untyped-call]
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }


def test_metrics_carry_the_account_of_the_last_hour_and_every_reason() -> None:
    with scene(policy([DUSTY], quality={"sentinels": [-9999]})) as on:
        on.batch(message(b"{", "stranger"), message(b"{"))
        on.say(1, 2, 3, -9999, -1)
        for seq in (4, 9):
            on.batch(message(entry(on.wait(1).now_ns, {"pm10": 1}, seq=seq)))
        on.tick(3600)
        found = samples(on)
        hour = {key[1:]: value for key, value in found.items() if key[0] == "greenmine_device_hour_readings"}
        device = {state: value for (name, _, state), value in hour.items() if name == "dust-1"}
        parts = ("stored", "pending", "quarantined", "duplicate", "conflict", "dead")
        assert device == {**dict.fromkeys(parts, 0), "expected": 720, "received": 8, "pending": 6, "quarantined": 1,
                          "dead": 1, "missing": 714}  # fmt: skip
        assert device["received"] == sum(device[part] for part in parts)
        assert hour["", MINE, "dead"] == 1
        for state in ("received", *parts):
            assert sum(v for (_, _, which), v in hour.items() if which == state) == found["greenmine_readings", state]
        assert found["greenmine_reasons_total", "refused", "json"] == 2
        assert found["greenmine_reasons_total", "quarantined", "sentinel"] == 1
        assert found["greenmine_reasons_total", "flagged", "negative"] == 1
        assert found["greenmine_gaps", "open"] == 1
        assert found["greenmine_dead_letters",] == 2
        assert found["greenmine_dead_letters_dropped_total",] == 0


def test_the_accounts_of_hours_take_a_tenth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a store that is away all day they take long, and whoever scrapes /metrics must not slow the judging."""
    clock = ManualClock()
    asked: list[list[DeviceHour]] = []
    with scene(policy([DUSTY])) as on:
        on.say(1, 2).tick(3600)
        real = DeviceHours.last_complete

        def slow(hours: DeviceHours, connection: Connection) -> list[DeviceHour]:
            asked.append(gauges._hours_lately())  # somebody else asks meanwhile, and is not kept waiting
            clock.advance(2 * NS)
            return real(hours, connection)

        monkeypatch.setattr(DeviceHours, "last_complete", slow)
        gauges = Gauges(list, on.state, clock)
        for _ in range(20):
            list(gauges.collect())
            clock.advance(1 * NS)
        assert len(asked) == 2
        assert any(family.samples for family in gauges.collect() if family.name == "greenmine_device_hour_readings")


def test_names_that_strangers_invent_make_no_series_of_metrics() -> None:
    with scene(policy([DUSTY])) as on:
        on.say(1, 2)
        for number in range(40):
            sent = entry(on.wait(1).now_ns, {"pm10": 1.0})
            on.batch(
                message(sent, f"stranger-{number}"),
                message(sent, f"s-{number}", f"mine-{number}"),
                message({**sent, "values": {f"x{number}": 1}}),
                message(sent, f"bad topic {number}"),
            )
        on.tick(3600)
        found = samples(on)
        senders = {key[1:3] for key in found if key[0] == "greenmine_device_hour_readings"}
        assert senders == {("dust-1", MINE), ("", MINE), ("", "")}
        words = {key[1:] for key in found if key[0] == "greenmine_reasons_total"}
        assert words == {
            ("quarantined", "unregistered"), ("refused", "unknown_field"), ("refused", "device_id_charset"),
        }  # fmt: skip


def test_nothing_is_said_of_hours_before_the_first_is_over() -> None:
    with scene() as on:
        assert not [key for key in samples(on) if key[0] == "greenmine_device_hour_readings"]


def test_the_doctor_says_how_full_the_dead_letters_are_and_what_was_dropped() -> None:
    assert dead_letter_check(DeadLetterTotals(5, 2_000_000, 0)).detail == "5 of at most 100,000 kept 保留 (2.0 MB)"
    full = dead_letter_check(DeadLetterTotals(100_000, 0, 1234))
    assert full.ok, "the service takes in what it did before"
    assert full.detail.endswith("1,234 dropped unreplayed 未重放即丢弃")
