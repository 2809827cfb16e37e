"""Messages to devices: every attempt once, what a report did not reach is reported again, a fault costs one attempt."""

from __future__ import annotations

import threading

from greenmine.core.downlink import Downlink, DownlinkKind, downlink_id
from greenmine.ingest.downlink_sender import DownlinkSender, DueDownlink, Ways

TIMEOUT_S = 20.0
DOWN = "mines/m1/d1/down"


def downlink(target: str = DOWN, payload: bytes = b"{}") -> Downlink:
    return Downlink(
        downlink_id(DownlinkKind.BACKFILL, target, 1, payload), DownlinkKind.BACKFILL, target, payload, 1, 9
    )


class Rig:
    """An outbox, two ways and a journal, all in memory."""

    def __init__(self, *due: DueDownlink) -> None:
        self.due = list(due)
        self.published: list[tuple[str, bytes]] = []
        self.to_stations: list[tuple[str, bytes]] = []
        self.reports: list[tuple[str, bool, str]] = []
        self.taken = True
        self.journal_takes = True
        self.reported = threading.Event()
        self.sender = DownlinkSender(
            Ways(self._publish, self._station), lambda: list(self.due), self._report, poll_s=0.01
        )

    def _publish(self, topic: str, payload: bytes) -> bool:
        self.published.append((topic, payload))
        return self.taken

    def _station(self, mn: str, frame: bytes) -> bool:
        if mn == "broken":
            raise OSError("no way out")
        self.to_stations.append((mn, frame))
        return self.taken

    def _report(self, one: Downlink, sent: bool, detail: str) -> bool:
        if self.journal_takes:
            self.reports.append((one.id, sent, detail))
            self.reported.set()
        return self.journal_takes


def test_a_topic_goes_to_the_broker_and_a_station_to_the_listener() -> None:
    topic, station = downlink(), downlink("hj212:88888880000001", b"##0000")
    rig = Rig(DueDownlink(topic, 0), DueDownlink(station, 0))
    assert rig.sender.run_available() == 2
    assert rig.published == [(DOWN, b"{}")]
    assert rig.to_stations == [("88888880000001", b"##0000")]
    assert rig.reports == [(topic.id, True, ""), (station.id, True, "")]
    assert (rig.sender.sent, rig.sender.failed) == (2, 0)


def test_an_attempt_is_made_once_until_its_report_was_judged() -> None:
    one = downlink()
    rig = Rig(DueDownlink(one, 0))
    rig.taken = False
    assert [rig.sender.run_available() for _ in range(3)] == [1, 0, 0]
    assert [(sent, bool(why)) for _, sent, why in rig.reports] == [(False, True)]
    rig.due = [DueDownlink(one, 1)]
    assert rig.sender.run_available() == 1
    assert len(rig.published) == 2


def test_a_report_that_was_not_recorded_is_repeated_without_sending_again() -> None:
    rig = Rig(DueDownlink(downlink(), 0))
    rig.journal_takes = False
    rig.sender.run_available()
    rig.sender.run_available()
    assert (len(rig.published), rig.reports) == (1, [])
    rig.journal_takes = True
    rig.sender.run_available()
    assert (len(rig.published), len(rig.reports)) == (1, 1)


def test_a_fault_in_one_way_costs_one_attempt() -> None:
    rig = Rig(DueDownlink(downlink("hj212:broken"), 0), DueDownlink(downlink(), 0))
    rig.sender.run_available()
    assert [(sent, why) for _, sent, why in rig.reports] == [(False, "fault while sending: OSError"), (True, "")]
    assert len(rig.published) == 1


def test_the_thread_sends_by_itself_and_outlives_an_outbox_that_cannot_be_read() -> None:
    rig = Rig()
    looked = threading.Event()

    def unreadable() -> list[DueDownlink]:
        if not looked.is_set():
            looked.set()
            raise OSError("locked")
        return list(rig.due)

    rig.due = [DueDownlink(downlink(), 0)]
    sender = DownlinkSender(Ways(rig._publish, rig._station), unreadable, rig._report, poll_s=0.01)
    sender.start()
    assert rig.reported.wait(TIMEOUT_S)
    sender.stop()
    assert looked.is_set()
    assert len(rig.published) == 1
