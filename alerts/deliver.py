"""Delivery: takes due notices to their channels and reports each attempt, which is then judged like anything else.

At least once: a crash between sending and reporting sends again, with the same idempotency key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import structlog

from greenmine.alerts.channel_text import one_line
from greenmine.core.notice import Channel, Delivery, Notice

log = structlog.get_logger(__name__)

AT_ONCE_A_CHANNEL = 8
AT_ONCE_A_TARGET = 2
"""Attempts under way. What waits, waits in the outbox and not in a queue here, so that a critical notice that comes
later goes first, and a receiver that does not answer holds up nobody but itself."""
POLL_S = 1.0
LONGEST_DETAIL = 500


class DueNotice(NamedTuple):
    """A notice whose time has come, and how often it was tried before."""

    notice: Notice
    attempts: int


_Attempt = tuple[str, int]
"""Key of a notice and the number of attempts before this one."""


class Deliverer:
    """Sends on a few threads a channel.

    `due` gives the notices to be sent now, most urgent first; `report` takes the outcome of an attempt and says whether
    it was recorded. Until it was, it is reported again, and the target is sent nothing else on that thread; if this
    ends before, the attempt counts as never made.
    """

    def __init__(
        self,
        channels: Mapping[str, Channel],
        due: Callable[[], Sequence[DueNotice]],
        report: Callable[[Notice, Delivery], bool],
        poll_s: float = POLL_S,
    ) -> None:
        self._channels = channels
        self._due = due
        self._report = report
        self._poll_s = poll_s
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._under_way: dict[_Attempt, tuple[str, str]] = {}
        self._reported: set[_Attempt] = set()
        # Notices of a channel that is not configured are refused on threads too.
        self._pool = ThreadPoolExecutor(AT_ONCE_A_CHANNEL * (len(channels) + 1), thread_name_prefix="deliver")
        self._thread = threading.Thread(target=self._run, name="deliverer", daemon=True)
        self.delivered = 0
        self.refused = 0
        self.retried = 0

    def start(self) -> None:
        """Start the threads."""
        self._thread.start()

    def wake(self) -> None:
        """There may be something due."""
        self._wake.set()

    def stop(self) -> None:
        """Finish the attempts under way, then end."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def run_available(self) -> list[Future[None]]:
        """Hand what is due now to the workers, as far as its channel and target have room; each attempt of a notice is
        handed out once."""
        due = self._due()
        with self._lock:
            # An attempt that was reported is due until the report has been judged.
            self._reported &= {(one.notice.key, one.attempts) for one in due}
            fresh = [one for one in due if self._has_room(one)]
        return [self._pool.submit(self._attempt, one) for one in fresh]

    def _has_room(self, one: DueNotice) -> bool:
        attempt, target = (one.notice.key, one.attempts), (one.notice.channel, one.notice.target)
        if attempt in self._under_way or attempt in self._reported:
            return False
        busy = list(self._under_way.values())
        if busy.count(target) >= AT_ONCE_A_TARGET or sum(b[0] == target[0] for b in busy) >= AT_ONCE_A_CHANNEL:
            return False
        self._under_way[attempt] = target
        return True

    def _attempt(self, one: DueNotice) -> None:
        delivery = self._send(one.notice)
        with self._lock:
            self._count(one.notice, delivery)
        recorded = self._recorded(one.notice, delivery)
        with self._lock:
            del self._under_way[one.notice.key, one.attempts]
            if recorded:
                self._reported.add((one.notice.key, one.attempts))
        self._wake.set()

    def _send(self, notice: Notice) -> Delivery:
        channel = self._channels.get(notice.channel)
        if channel is None:
            return Delivery.refused(f"the service has no channel {notice.channel!r}; configure it under `channels`")
        try:
            delivery = channel.send(notice)
        except Exception as error:
            # A fault in one channel is an attempt that failed; the notice is tried again and the others go on.
            log.exception("channel failed", channel=notice.channel)
            return Delivery.retry(f"fault in the channel: {type(error).__name__}")
        return delivery._replace(detail=one_line(delivery.detail, LONGEST_DETAIL))

    def _count(self, notice: Notice, delivery: Delivery) -> None:
        if delivery.delivered:
            self.delivered += 1
        elif delivery.permanent:
            self.refused += 1
            log.error("notice refused", key=notice.key, channel=notice.channel, detail=delivery.detail)
        else:
            self.retried += 1

    def _recorded(self, notice: Notice, delivery: Delivery) -> bool:
        """Report until it is taken: sending again because the journal is full would flood the receiver."""
        while True:
            try:
                if self._report(notice, delivery):
                    return True
            except Exception:
                # Whatever is wrong with the recorder, the notice has left, and this thread has to outlive it.
                log.exception("attempt could not be reported", key=notice.key)
            if self._stopping.wait(self._poll_s):
                return False

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(self._poll_s)
            self._wake.clear()
            if self._stopping.is_set():
                return
            try:
                self.run_available()
            except Exception:
                # The outbox could not be read now; without this thread nobody would ever be told anything again.
                log.exception("notices could not be looked up")
