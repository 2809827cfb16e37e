"""From the notices outbox to the channels and back through the journal, with deliverers that die in between."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from greenmine.alerts.deliver import Deliverer, DueNotice
from greenmine.core.notice import Delivery, Notice, NoticeKind
from greenmine.store import notices
from tests.pipeline_scenes import CONTACTS, DUSTY, NS, Scene, device, entry, message, policy, scene

TIMEOUT_S = 20.0
DEVICES = [device(f"dust-{n}", pm10="ug/m3") for n in range(12)]
THREE_CHANNELS = [
    {
        **CONTACTS[0],
        "channels": [
            {"kind": "console"},
            {"kind": "email", "to": "a@example.com"},
            {"kind": "webhook", "url": "secret:hook"},
        ],
    }
]


class Receivers:
    """All the world's receivers: they take, fail for now, or break, as the dice say; and remember all they took."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self.taken: list[Notice] = []

    def send(self, notice: Notice) -> Delivery:
        with self._lock:
            dice = self._random.random()
            if dice < 0.2:
                return Delivery.retry("500")
            if dice < 0.3:
                raise ConnectionError("reset by peer")
            self.taken.append(notice)
            return Delivery.ok("200")


class Office:
    """A scene whose due notices are really delivered."""

    def __init__(self, s: Scene, seed: int) -> None:
        self.scene = s
        self.receivers = Receivers(seed)
        self.lost_reports = 0
        self._lock = threading.Lock()

    def look(self) -> list[DueNotice]:
        with self._lock, self.scene.state.reading() as connection:
            return [DueNotice(*one) for one in notices.due(connection, self.scene.now_ns)]

    def report(self, notice: Notice, outcome: Delivery) -> bool:
        with self._lock:
            self.scene.deliver(notice, outcome)
        return True

    def lose(self, notice: Notice, outcome: Delivery) -> bool:
        """The process ends after the sending and before the report is on disk."""
        with self._lock:
            self.lost_reports += outcome.delivered
        return False

    @contextmanager
    def deliverer(self, dies: bool = False) -> Iterator[Deliverer]:
        channels = dict.fromkeys(("console", "email", "webhook"), self.receivers)
        made = Deliverer(channels, self.look, self.lose if dies else self.report, poll_s=TIMEOUT_S)
        yield made
        made.stop()

    def work(self) -> None:
        """Deliver all that is due now."""
        with self.deliverer() as made:
            while attempts := made.run_available():
                for attempt in attempts:
                    attempt.result(TIMEOUT_S)

    def die_at_work(self) -> None:
        with self.deliverer(dies=True) as made:
            made.run_available()


@pytest.mark.parametrize("seed", [1, 2])
def test_every_notice_arrives_and_is_repeated_only_where_a_report_was_lost(seed: int) -> None:
    """P10: at least once, the raise before its clearing, and each repeat has a death to answer for."""
    with scene(policy([DUSTY], devices=DEVICES, contacts=THREE_CHANNELS)) as s:
        office, dice = Office(s, seed), random.Random(seed)
        for value in (200, 100, 200, 100):
            s.wait(10).batch(*(message(entry(s.now_ns, {"pm10": value}), one["id"]) for one in DEVICES))
            (office.die_at_work if dice.random() < 0.5 else office.work)()
        for _ in range(60):
            (office.die_at_work if dice.random() < 0.3 else office.work)()
            s.tick(60)
        while any(row["state"] == "pending" for row in s.rows("notice")):
            office.work()
            s.tick(60)
        rows = s.rows("notice")
        taken = office.receivers.taken
    assert len(rows) == len(DEVICES) * 4 * 3
    assert {row["state"] for row in rows} == {"delivered"}
    times = Counter(notice.key for notice in taken)
    assert set(times) == {row["key"] for row in rows}
    assert sum(times.values()) - len(times) <= office.lost_reports
    assert office.lost_reports > 0
    first: dict[tuple[str, str, NoticeKind], int] = {}
    for place, notice in enumerate(taken):
        first.setdefault((notice.alert_id, notice.channel, notice.kind), place)
    for (alert_id, channel, kind), place in first.items():
        if kind is NoticeKind.CLEARED:
            assert first[alert_id, channel, NoticeKind.RAISED] < place


def test_the_history_says_who_was_told_and_when() -> None:
    with scene(policy([DUSTY], contacts=THREE_CHANNELS)) as s:
        office = Office(s, 7)
        s.say(200)
        while s.due(s.now_ns + 3600 * NS):
            office.work()
            s.tick(60)
        told = [step for step in s.history() if step.reason.value == "notice_delivered"]
        assert sorted(step.principal for step in told) == [
            "service:channel-console",
            "service:channel-email",
            "service:channel-webhook",
        ]
        assert all(step.note.startswith("raised office ") for step in told)
