"""What came in and what did not: `web.backend.Intakes` over the state database."""

from __future__ import annotations

from pathlib import Path

from greenmine.core.account import DeviceHour
from greenmine.core.errors import NotFound
from greenmine.core.gap import Gap
from greenmine.device_hours import DeviceHours
from greenmine.ingest.journal import JournalReader
from greenmine.store import dead_letters, gaps, hours
from greenmine.store.dead_letters import DeadLetterRow
from greenmine.store.hours import ReasonKey
from greenmine.store.state import StateDb
from greenmine.web.backend import DeadLettersAsked


def payload_of(row: DeadLetterRow, journal: Path) -> bytes | None:
    """The bytes of a dead letter's message; None where it is a reading that the store refused.

    Raises:
        NotFound: the journal has it no longer.
    """
    if row.record_id == 0:
        return None
    reader = JournalReader(journal)
    try:
        stored = reader.record(row.record_id)
    finally:
        reader.close()
    if stored is None:
        raise NotFound(f"the journal no longer has record {row.record_id}")
    return stored.record.payload


class StateIntakes:
    """What was committed last."""

    def __init__(self, state: StateDb, journal: Path) -> None:
        self._state = state
        self._journal = journal
        self._hours = DeviceHours()

    def gaps(self, mine: str | None, device: str | None, open_only: bool, limit: int) -> list[Gap]:
        """Declared gaps, newest first."""
        with self._state.reading() as connection:
            return gaps.listed(connection, mine, device, open_only, limit)

    def hours(self, mine: str | None, device: str | None, from_ns: int | None, to_ns: int | None) -> list[DeviceHour]:
        """Accounts of devices by hour. Raises Refused."""
        with self._state.reading() as connection:
            return self._hours.listed(connection, mine, device, from_ns, to_ns)

    def dead_letters(self, asked: DeadLettersAsked) -> list[DeadLetterRow]:
        """Dead letters, newest first."""
        word, mine, device, replayed_too, limit = asked
        with self._state.reading() as connection:
            return dead_letters.listed(connection, limit, not replayed_too, word, mine, device)

    def dead_letter(self, number: int) -> tuple[DeadLetterRow, bytes | None]:
        """One of them with the bytes of its message, from the journal. Raises NotFound."""
        with self._state.reading() as connection:
            row = dead_letters.get(connection, number)
        return row, payload_of(row, self._journal)

    def reasons(self, mine: str | None, device: str | None) -> dict[ReasonKey, int]:
        """How often each reason was given."""
        with self._state.reading() as connection:
            return hours.reasons(connection, mine, device)
