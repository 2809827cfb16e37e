"""Delivery: takes due notices to their channels and reports each attempt, which is then judged like anything else.

At least once: a crash between sending and reporting sends again, with the same idempotency key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import structlog

from greenmine.core.notice import Channel, Delivery, Notice

log = structlog.get_logger(__name__)

WORKERS = 4
POLL_S = 1.0


class DueNotice(NamedTuple):
    """A notice whose time has come, and how often it was tried before."""

    notice: Notice
    attempts: int


class Deliverer:
    """Sends on a few threads, so that one slow receiver does not hold up the others.

    `due` gives the notices to be sent now, most urgent first; `report` takes the outcome of an attempt and says
    whether it was recorded (if not, the attempt counts as never made and is repeated).
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
        self._taken: set[tuple[str, int]] = set()
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="deliver")
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
        """Hand all that is due now to the workers; each attempt of a notice is handed out once."""
        due = self._due()
        with self._lock:
            self._taken &= {(one.notice.key, one.attempts) for one in due}
            fresh = [one for one in due if (one.notice.key, one.attempts) not in self._taken]
            self._taken |= {(one.notice.key, one.attempts) for one in fresh}
        return [self._pool.submit(self._attempt, one) for one in fresh]

    def _attempt(self, one: DueNotice) -> None:
        delivery = self._send(one.notice)
        if delivery.delivered:
            self.delivered += 1
        elif delivery.permanent:
            self.refused += 1
            log.error("notice refused", key=one.notice.key, channel=one.notice.channel, detail=delivery.detail)
        else:
            self.retried += 1
        if not self._report(one.notice, delivery):
            with self._lock:
                self._taken.discard((one.notice.key, one.attempts))

    def _send(self, notice: Notice) -> Delivery:
        channel = self._channels.get(notice.channel)
        if channel is None:
            return Delivery.refused(f"the service has no channel {notice.channel!r}; configure it under `channels`")
        try:
            return channel.send(notice)
        except Exception as error:
            log.exception("channel failed", channel=notice.channel)
            return Delivery.retry(f"fault in the channel: {type(error).__name__}")

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(self._poll_s)
            self._wake.clear()
            if not self._stopping.is_set():
                self.run_available()
