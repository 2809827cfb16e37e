"""Devices of our own topics that nobody has registered are on the waiting list, also those behind a gateway."""

from __future__ import annotations

from typing import Any

from greenmine.ingest.record import Batch
from greenmine.pipeline.effects import Effects
from greenmine.pipeline.waiting import MOST_OF_A_MESSAGE
from tests.pipeline_scenes import DUSTY, MINE, SPARE, Scene, activation, device, entry, message, policy, restored

CHILD = {**device("dust-1", pm10="ug/m3"), "gateway": "gw-1"}
GATEWAY = policy([DUSTY], devices=[device("gw-1"), CHILD])


def addresses(s: Scene) -> list[str]:
    return sorted(row["address"] for row in s.rows("waiting_device"))


def said(s: Scene, *children: str | None) -> Any:
    return message([entry(s.now_ns, {"pm10": 5.0}, **({"device": one} if one else {})) for one in children], "gw-1")


def test_what_a_gateway_says_of_a_stranger_is_refused_and_the_stranger_waits() -> None:
    with SPARE.state() as state:
        s = Scene(state).begin(GATEWAY)
        s.batch(said(s, "dust-1", "new-1", "new-1"))
        assert [row["word"] for row in s.rows("dead_letter")] == ["scope", "scope"]
        (waiting,) = s.rows("waiting_device")
        assert (waiting["network"], waiting["address"], waiting["mine"]) == ("mqtt", f"{MINE}/new-1", MINE)
        assert "pm10" in waiting["values"]
        s.tick(1)
        s.batch(said(s, "new-1"))
        assert [row["messages"] for row in s.rows("waiting_device")] == [2]
        assert list(restored(s.state).waiting) == list(s.pipeline.judge.state.waiting)


def test_registered_devices_do_not_wait_whoever_speaks_for_them() -> None:
    with SPARE.state() as state:
        s = Scene(state).begin(policy([DUSTY], devices=[device("gw-1"), device("dust-1", pm10="ug/m3")]))
        s.batch(said(s, "dust-1", "gw-1", None))
        assert [row["word"] for row in s.rows("dead_letter")] == ["scope"]
        assert addresses(s) == []


def test_a_message_of_invented_names_takes_few_places() -> None:
    with SPARE.state() as state:
        s = Scene(state).begin(GATEWAY)
        s.batch(said(s, *(f"x-{number:03d}" for number in range(500))))
        assert addresses(s) == [f"{MINE}/x-{number:03d}" for number in range(MOST_OF_A_MESSAGE)]


def test_a_registration_takes_the_stranger_off_the_list_and_its_dead_letter_is_read_again() -> None:
    with SPARE.state() as state:
        s = Scene(state).begin(GATEWAY)
        s.batch(said(s, "new-1"))
        assert addresses(s) == [f"{MINE}/new-1"]
        (dead,) = s.rows("dead_letter")
        s.batch(activation(policy([DUSTY], devices=[device("gw-1"), CHILD, {**CHILD, "id": "new-1"}])))
        assert addresses(s) == []
        tally = s.pipeline.judge.intake.replay_dead([dead["record_id"]], Batch(99, s.now_ns, s.now_ns, ()), Effects(99))
        assert (tally["stored"], tally["still_dead"]) == (1, 0)
