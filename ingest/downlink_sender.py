"""Sends due messages to devices over the broker or the HJ 212 listener, and reports each attempt to the journal.

At least once: a crash between sending and reporting sends again. Taken by the broker is what "sent" means; whether the
device has acted on it shows in what it sends next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from greenmine.core.downlink import HJ212_TARGET, Downlink

log = structlog.get_logger(__name__)
POLL_S = 1.0


class DueDownlink(NamedTuple):
    """A message whose time has come, and how often it was tried before."""

    downlink: Downlink
    attempts: int


class Ways(NamedTuple):
    """How messages leave. `publish` takes an MQTT topic, `station` the MN of a station on the HJ 212 listener; both say
    whether the message was taken."""

    publish: Callable[[str, bytes], bool]
    station: Callable[[str, bytes], bool]


class DownlinkSender:
    """One thread. `due` gives what has to be sent now, oldest first; `report` takes the outcome of an attempt and says
    whether it was recorded. Until it was, it is reported again and the message is not sent again."""

    def __init__(
        self,
        ways: Ways,
        due: Callable[[], Sequence[DueDownlink]],
        report: Callable[[Downlink, bool, str], bool],
        poll_s: float = POLL_S,
    ) -> None:
        self._ways = ways
        self._due = due
        self._report = report
        self._poll_s = poll_s
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._outcomes: dict[tuple[str, int], tuple[bool, str] | None] = {}
        self._thread = threading.Thread(target=self._run, name="downlink-sender", daemon=True)
        self.sent = 0
        self.failed = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """There may be something due."""
        self._wake.set()

    def stop(self) -> None:
        """Finish the attempt under way, then end."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def run_available(self) -> int:
        """Send what is due now; returns the number of attempts made."""
        due = self._due()
        # An attempt that was reported is due until the report has been judged.
        waiting = {(one.downlink.id, one.attempts) for one in due}
        self._outcomes = {attempt: outcome for attempt, outcome in self._outcomes.items() if attempt in waiting}
        made = 0
        for one in due:
            if self._stopping.is_set():
                break
            attempt = (one.downlink.id, one.attempts)
            if attempt not in self._outcomes:
                self._outcomes[attempt] = self._send(one.downlink)
                made += 1
            outcome = self._outcomes[attempt]
            if outcome is not None and self._report(one.downlink, *outcome):
                self._outcomes[attempt] = None
        return made

    def _send(self, downlink: Downlink) -> tuple[bool, str]:
        try:
            if downlink.target.startswith(HJ212_TARGET):
                taken = self._ways.station(downlink.target.removeprefix(HJ212_TARGET), downlink.payload)
                detail = "" if taken else "the station is not connected"
            else:
                taken = self._ways.publish(downlink.target, downlink.payload)
                detail = "" if taken else "the broker has nobody to give it to"
        except Exception as error:
            # A fault in one way is an attempt that failed; the message is tried again and the others go on.
            log.exception("downlink failed", id=downlink.id, target=downlink.target)
            taken, detail = False, f"fault while sending: {type(error).__name__}"
        if taken:
            self.sent += 1
        else:
            self.failed += 1
        return taken, detail

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(self._poll_s)
            self._wake.clear()
            if self._stopping.is_set():
                return
            try:
                self.run_available()
            except Exception:
                # The outbox could not be read, or the journal took no report; without this thread no device would
                # ever be asked for anything again.
                log.exception("downlinks could not be looked up or reported")
