"""Delivery: every attempt once, what is urgent first, nobody held up by somebody else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from greenmine.alerts.deliver import AT_ONCE_A_CHANNEL, AT_ONCE_A_TARGET, Deliverer, DueNotice
from greenmine.core.notice import Channel, Delivery, Notice, NoticeKind, RecordingChannel

TIMEOUT_S = 20.0


def notice(key: str, channel: str = "console", target: str = "") -> Notice:
    return Notice(key, "a1", 1, NoticeKind.RAISED, "office", channel, target, "subject", "text", "{}")


class Outbox:
    """Due notices as the state would give them: an attempt stays due until its report has been judged."""

    def __init__(self, *due: DueNotice, judged_at_once: bool = True) -> None:
        self.due = list(due)
        self.reports: list[tuple[str, Delivery]] = []
        self.judged_at_once = judged_at_once
        self.refusals = 0
        self.reported = threading.Semaphore(0)
        self._lock = threading.Lock()

    def look(self) -> list[DueNotice]:
        with self._lock:
            return list(self.due)

    def report(self, sent: Notice, delivery: Delivery) -> bool:
        with self._lock:
            if self.refusals:
                self.refusals -= 1
                return False
            self.reports.append((sent.key, delivery))
            if self.judged_at_once:
                self._judge(sent.key)
        self.reported.release()
        return True

    def judge(self) -> None:
        """What was reported is now known to the state."""
        with self._lock:
            for key, _ in self.reports:
                self._judge(key)

    def _judge(self, key: str) -> None:
        self.due = [one for one in self.due if one.notice.key != key]

    def wait_for_reports(self, count: int) -> None:
        for _ in range(count):
            assert self.reported.acquire(timeout=TIMEOUT_S)


class SlowChannel:
    """Sends only when it is let; says how many attempts are under way."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.entered = threading.Semaphore(0)
        self.sent: list[str] = []

    def send(self, one: Notice) -> Delivery:
        self.sent.append(one.key)
        self.entered.release()
        assert self.go.wait(TIMEOUT_S)
        return Delivery.ok()

    def wait_for_attempts(self, count: int) -> None:
        for _ in range(count):
            assert self.entered.acquire(timeout=TIMEOUT_S)


class FaultyChannel:
    def send(self, one: Notice) -> Delivery:
        raise ValueError("a fault of ours")


@contextmanager
def deliverer(outbox: Outbox, poll_s: float = 0.001, **channels: Channel) -> Iterator[Deliverer]:
    made = Deliverer(channels, outbox.look, outbox.report, poll_s)
    try:
        yield made
    finally:
        for channel in channels.values():
            if isinstance(channel, SlowChannel):
                channel.go.set()
        made.stop()


def finish(attempts: list[Future[None]]) -> None:
    for attempt in attempts:
        attempt.result(TIMEOUT_S)


def finish_all(made: Deliverer) -> None:
    """As the deliverer's own thread does: look again after each attempt, until nothing is left to hand out."""
    while attempts := made.run_available():
        finish(attempts)


class TestAttempts:
    def test_are_sent_and_reported(self) -> None:
        outbox, console = Outbox(DueNotice(notice("k"), 0)), RecordingChannel()
        with deliverer(outbox, console=console) as made:
            finish(made.run_available())
        assert outbox.reports == [("k", Delivery.ok("recorded"))]
        assert (made.delivered, made.refused, made.retried) == (1, 0, 0)

    def test_are_handed_out_once_while_their_report_waits_to_be_judged(self) -> None:
        outbox, console = Outbox(DueNotice(notice("k"), 0), judged_at_once=False), RecordingChannel()
        with deliverer(outbox, console=console) as made:
            finish(made.run_available())
            assert made.run_available() == []
            outbox.judge()
            assert made.run_available() == []
        assert len(console.sent) == 1

    def test_are_handed_out_once_while_they_are_under_way(self) -> None:
        outbox, slow = Outbox(DueNotice(notice("k"), 0)), SlowChannel()
        with deliverer(outbox, console=slow) as made:
            under_way = made.run_available()
            slow.wait_for_attempts(1)
            assert made.run_available() == []
            slow.go.set()
            finish(under_way)
        assert slow.sent == ["k"]

    def test_that_fall_out_of_what_is_due_and_come_back_are_not_sent_twice(self) -> None:
        """As when more urgent notices fill the list for a moment."""
        outbox, slow = Outbox(DueNotice(notice("k"), 0)), SlowChannel()
        with deliverer(outbox, console=slow) as made:
            under_way = made.run_available()
            slow.wait_for_attempts(1)
            kept, outbox.due = outbox.due, []
            assert made.run_available() == []
            outbox.due = kept
            assert made.run_available() == []
            slow.go.set()
            finish(under_way)
        assert slow.sent == ["k"]

    def test_of_the_same_notice_are_told_apart_by_their_number(self) -> None:
        outbox, console = (
            Outbox(DueNotice(notice("k"), 0), judged_at_once=False),
            RecordingChannel([Delivery.retry("")]),
        )
        with deliverer(outbox, console=console) as made:
            finish(made.run_available())
            outbox.due = [DueNotice(notice("k"), 1)]
            finish(made.run_available())
        assert [key for key, _ in outbox.reports] == ["k", "k"]
        assert (made.delivered, made.retried) == (1, 1)

    def test_whose_report_is_not_taken_are_reported_again_and_not_sent_again(self) -> None:
        outbox, console = Outbox(DueNotice(notice("k"), 0)), RecordingChannel()
        outbox.refusals = 3
        with deliverer(outbox, console=console) as made:
            finish(made.run_available())
        assert len(console.sent) == 1
        assert [key for key, _ in outbox.reports] == ["k"]

    def test_never_recorded_count_as_never_made(self) -> None:
        outbox, console = Outbox(DueNotice(notice("k"), 0)), RecordingChannel()
        outbox.refusals = 1_000_000
        with deliverer(outbox, console=console) as made:
            attempts = made.run_available()
            made.stop()
            finish(attempts)
        assert outbox.look() == [DueNotice(notice("k"), 0)], "after a restart it is sent again, with the same key"

    def test_survive_a_recorder_that_fails(self) -> None:
        outbox, faults = Outbox(DueNotice(notice("k"), 0)), [OSError("no room")]

        def report(sent: Notice, delivery: Delivery) -> bool:
            if faults:
                raise faults.pop()
            return outbox.report(sent, delivery)

        made = Deliverer({"console": RecordingChannel()}, outbox.look, report, 0.001)
        finish(made.run_available())
        made.stop()
        assert [key for key, _ in outbox.reports] == ["k"]


class TestOutcomes:
    def test_an_unknown_channel_is_refused(self) -> None:
        outbox = Outbox(DueNotice(notice("k", "pager"), 0))
        with deliverer(outbox) as made:
            finish(made.run_available())
        ((_, delivery),) = outbox.reports
        assert delivery.permanent
        assert "pager" in delivery.detail
        assert made.refused == 1

    def test_a_channel_that_raises_is_tried_again(self) -> None:
        outbox = Outbox(DueNotice(notice("k"), 0))
        with deliverer(outbox, console=FaultyChannel()) as made:
            finish(made.run_available())
        ((_, delivery),) = outbox.reports
        assert (delivery.delivered, delivery.permanent) == (False, False)
        assert delivery.detail == "fault in the channel: ValueError"

    def test_what_the_other_side_answers_can_be_written_down(self) -> None:
        """Half of a surrogate pair cannot be stored; a report that fails for ever would stop the target."""
        console = RecordingChannel([Delivery.refused("no \ud800\x00\r\n" + "x" * 10_000)])
        outbox = Outbox(DueNotice(notice("k"), 0))
        with deliverer(outbox, console=console) as made:
            finish(made.run_available())
        ((_, delivery),) = outbox.reports
        assert delivery.detail.encode("utf-8").startswith(b"no \\ud800\\x00 x")
        assert len(delivery.detail) == 500


class TestOrder:
    def test_what_is_more_urgent_is_handed_out_first(self) -> None:
        """The outbox gives the order; a later critical notice overtakes those that wait."""
        outbox = Outbox(*(DueNotice(notice(f"k{n}", target="t"), 0) for n in range(AT_ONCE_A_TARGET + 3)))
        slow = SlowChannel()
        with deliverer(outbox, console=slow) as made:
            under_way = made.run_available()
            slow.wait_for_attempts(AT_ONCE_A_TARGET)
            outbox.due.insert(0, DueNotice(notice("critical", target="t"), 0))
            slow.go.set()
            finish(under_way)
            finish_all(made)
        assert slow.sent.index("critical") < AT_ONCE_A_TARGET * 2
        assert len(slow.sent) == len(set(slow.sent)) == AT_ONCE_A_TARGET + 4

    def test_a_target_that_does_not_answer_holds_up_only_itself(self) -> None:
        stuck = [DueNotice(notice(f"s{n}", "webhook", "secret:dead"), 0) for n in range(100)]
        outbox = Outbox(
            *stuck, DueNotice(notice("other", "webhook", "secret:alive"), 0), DueNotice(notice("screen"), 0)
        )
        slow, answers = SlowChannel(), RecordingChannel()

        class Webhook:
            def send(self, one: Notice) -> Delivery:
                return (slow if one.target == "secret:dead" else answers).send(one)

        with deliverer(outbox, console=answers, webhook=Webhook()) as made:
            made.run_available()
            slow.wait_for_attempts(AT_ONCE_A_TARGET)
            outbox.wait_for_reports(2)
            assert {one.key for one in answers.sent} == {"other", "screen"}
            assert len(slow.sent) == AT_ONCE_A_TARGET
            slow.go.set()

    def test_a_channel_that_does_not_answer_leaves_the_others_their_threads(self) -> None:
        dead = [DueNotice(notice(f"d{n}", "webhook", f"secret:{n}"), 0) for n in range(AT_ONCE_A_CHANNEL * 2)]
        outbox, slow, screen = Outbox(*dead, DueNotice(notice("screen"), 0)), SlowChannel(), RecordingChannel()
        with deliverer(outbox, console=screen, webhook=slow) as made:
            made.run_available()
            slow.wait_for_attempts(AT_ONCE_A_CHANNEL)
            outbox.wait_for_reports(1)
            assert [one.key for one in screen.sent] == ["screen"]
            assert made.run_available() == []


class TestThread:
    def test_sends_what_becomes_due_and_ends_when_told(self) -> None:
        outbox, console = Outbox(), RecordingChannel()
        with deliverer(outbox, poll_s=TIMEOUT_S, console=console) as made:
            made.start()
            outbox.due.append(DueNotice(notice("k"), 0))
            made.wake()
            outbox.wait_for_reports(1)
        assert [one.key for one in console.sent] == ["k"]

    def test_goes_on_with_the_next_after_each(self) -> None:
        outbox, console = Outbox(*(DueNotice(notice(f"k{n}"), 0) for n in range(50))), RecordingChannel()
        with deliverer(outbox, poll_s=TIMEOUT_S, console=console) as made:
            made.start()
            made.wake()
            outbox.wait_for_reports(50)
        assert sorted(one.key for one in console.sent) == sorted(f"k{n}" for n in range(50))

    def test_looks_by_itself(self) -> None:
        outbox, console = Outbox(DueNotice(notice("k"), 0)), RecordingChannel()
        with deliverer(outbox, console=console) as made:
            made.start()
            outbox.wait_for_reports(1)

    def test_outlives_an_outbox_that_cannot_be_read(self) -> None:
        outbox, console, failures = Outbox(DueNotice(notice("k"), 0)), RecordingChannel(), [OSError("disk")]

        def look() -> list[DueNotice]:
            if failures:
                raise failures.pop()
            return outbox.look()

        made = Deliverer({"console": console}, look, outbox.report, 0.001)
        made.start()
        outbox.wait_for_reports(1)
        made.stop()

    def test_finishes_what_is_under_way_when_it_ends(self) -> None:
        outbox, slow = Outbox(DueNotice(notice("k"), 0)), SlowChannel()
        made = Deliverer({"console": slow}, outbox.look, outbox.report, 0.001)
        made.start()
        slow.wait_for_attempts(1)
        ended = threading.Thread(target=made.stop)
        ended.start()
        slow.go.set()
        ended.join(TIMEOUT_S)
        assert [key for key, _ in outbox.reports] == ["k"]

    def test_can_end_without_having_begun(self) -> None:
        with deliverer(Outbox()) as made:
            made.stop()
