"""What was committed before, read from the relational state and the journal."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sqlalchemy import Connection, bindparam, func, select

from greenmine.core.account import HourKey
from greenmine.core.activity import Activity
from greenmine.core.alert import Alert
from greenmine.core.errors import NotFound, address_words
from greenmine.core.reading import Series
from greenmine.ingest.journal import JournalReader
from greenmine.ingest.record import Batch, StoredRecord
from greenmine.pipeline import hj212_packets
from greenmine.pipeline.effects import Chunk, KeptResult
from greenmine.pipeline.identities import Recent, unpack_chunk
from greenmine.store import activities, alerts, schema
from greenmine.store.columns import Odd
from greenmine.store.state import StateDb

CHUNKS_KEPT = 512
_NEVER, _EVER = -(2**63), 2**63
_NOWHERE = (0, 0)
_T = schema.identity
_OF_SERIES = _T.c.series_id == bindparam("b_series")
# Asked for every late reading: built once, they are compiled once.
_COVERING = select(_T.c.first_ns, _T.c.last_ns).where(
    _OF_SERIES, _T.c.first_ns <= bindparam("b_time"), _T.c.last_ns >= bindparam("b_time")
)
_AROUND = select(
    select(func.max(_T.c.last_ns)).where(_OF_SERIES, _T.c.first_ns <= bindparam("b_time")).scalar_subquery(),
    select(func.min(_T.c.first_ns)).where(_OF_SERIES, _T.c.first_ns > bindparam("b_time")).scalar_subquery(),
)


class CommittedPast:
    """`state.Past` over the state database."""

    def __init__(self, state: StateDb, journal: JournalReader) -> None:
        self._state = state
        self._journal = journal
        self._chunks: dict[tuple[int, int, int], Recent] = {}
        self._free: dict[int, tuple[int, int]] = {}
        """By series, an interval of time, without its ends, in which no chunk has anything: a backlog asks there for
        reading after reading."""

    def value_of(self, series_id: int, time_ns: int) -> float | None:
        """Value of a reading, if a chunk of identities has it."""
        after_ns, before_ns = self._free.get(series_id, _NOWHERE)
        if after_ns < time_ns < before_ns:
            return None
        place = {"b_series": series_id, "b_time": time_ns}
        with self._state.reading() as connection:
            covering = connection.execute(_COVERING, place).tuples().all()
            for first_ns, last_ns in covering:
                value = self._chunk(connection, series_id, first_ns, last_ns).value_at(time_ns)
                if value is not None:
                    return value
            if not covering:
                last_ns, first_ns = connection.execute(_AROUND, place).tuples().one()
                self._free[series_id] = _NEVER if last_ns is None else last_ns, _EVER if first_ns is None else first_ns
        return None

    def committed(self, chunks: list[Chunk]) -> None:
        """These chunks have been written: what was known of their place is known no more."""
        for chunk in chunks:
            after_ns, before_ns = self._free.get(chunk.series_id, _NOWHERE)
            if chunk.first_ns < before_ns and chunk.last_ns > after_ns:
                self._free.pop(chunk.series_id, None)
            self._chunks.pop((chunk.series_id, chunk.first_ns, chunk.last_ns), None)

    def samples(self, series_id: int, after_ns: int) -> list[tuple[int, float, Odd]]:
        """Time, value and what is odd of a series' readings after a time, as far as they are in chunks."""
        table = schema.identity
        query = select(table.c.blob).where(table.c.series_id == series_id, table.c.last_ns > after_ns)
        with self._state.reading() as connection:
            return [one for (blob,) in connection.execute(query) for one in unpack_chunk(blob).after(after_ns)]

    def _chunk(self, connection: Connection, series_id: int, first_ns: int, last_ns: int) -> Recent:
        """A chunk, unpacked: a backlog asks for one many times in a row."""
        key = (series_id, first_ns, last_ns)
        found = self._chunks.get(key)
        if found is None:
            table = schema.identity
            query = select(table.c.blob).where(
                table.c.series_id == series_id, table.c.first_ns == first_ns, table.c.last_ns == last_ns
            )
            found = unpack_chunk(connection.execute(query).scalar_one())
            if len(self._chunks) >= CHUNKS_KEPT:
                self._chunks.clear()
            self._chunks[key] = found
        return found

    def batches(self, first_no: int, last_no: int) -> Iterator[Batch]:
        """Batches of the journal, from one to another, as far as they are still there."""
        after = first_no - 1
        while after < last_no and (found := self._journal.batches(after)):
            yield from (batch for batch in found if batch.no <= last_no)
            after = found[-1].no

    def alert(self, alert_id: str) -> Alert | None:
        """Any alert, open or not."""
        with self._state.reading() as connection:
            try:
                return alerts.get(connection, alert_id)
            except NotFound:
                return None

    def has_activity(self, activity: Activity) -> bool:
        """Whether this report of activity was taken before."""
        with self._state.reading() as connection:
            return activities.has(connection, activity)

    def kept_result(self, principal: str, idempotency_key: str) -> KeptResult | None:
        """The answer already given to an act."""
        table = schema.act_result
        query = select(table).where(table.c.principal == principal, table.c.idempotency_key == idempotency_key)
        with self._state.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return KeptResult(principal, idempotency_key, row.body_hash, row.at_ns, row.alert_id, json.loads(row.detail))

    def quarantined(self, record_id: int) -> set[tuple[Series, int]]:
        """Series and source times of the readings of a journal record that were quarantined."""
        table = schema.quarantine
        with self._state.reading() as connection:
            rows = connection.execute(select(table).where(table.c.record_id == record_id))
            return {(Series(r.mine, r.device, r.metric, r.channel, r.stat, r.period_s), r.time_ns) for r in rows}

    def dead_of_address(self, network: str, address: str, most: int) -> list[int]:
        """Journal records with dead letters of an address that was unknown, not yet replayed; the newest `most`."""
        table, words = schema.dead_letter, address_words(network, address)
        query = (
            select(table.c.record_id)
            .where(table.c.word == "unknown_address", table.c.record_id > 0, table.c.replayed_ns.is_(None))
            .where(func.substr(table.c.detail, 1, len(words)) == words)
            .distinct()
            .order_by(table.c.record_id.desc())
            .limit(most)
        )
        with self._state.reading() as connection:
            return sorted(connection.execute(query).scalars())

    def joined_records(self, record_id: int) -> list[StoredRecord]:
        """The journal records whose packets this one completed, itself included, as far as they are still there."""
        with self._state.reading() as connection:
            ids = hj212_packets.records_joined_by(connection, record_id)
        found = [self._journal.record(one) for one in ids]
        return [stored for stored in found if stored is not None and stored.intact]

    def dead_letters(self, record_ids: list[int]) -> list[tuple[StoredRecord, list[HourKey]]]:
        """These journal records, as far as they are still kept and have dead letters not yet replayed; of each of these
        in whose account it stands, and when it was refused."""
        table = schema.dead_letter
        query = (
            select(table.c.record_id, table.c.mine, table.c.device, table.c.at_ns)
            .where(table.c.record_id.in_(record_ids), table.c.record_id > 0, table.c.replayed_ns.is_(None))
            .order_by(table.c.record_id, table.c.id)
        )
        letters: dict[int, list[HourKey]] = {}
        with self._state.reading() as connection:
            for row in connection.execute(query):
                letters.setdefault(row.record_id, []).append(HourKey(row.mine, row.device, row.at_ns))
        out: list[tuple[StoredRecord, list[HourKey]]] = []
        for record_id, of_record in letters.items():
            stored = self._journal.record(record_id)
            if stored is not None:  # else its segment of the archive has expired
                out.append((stored, of_record))
        return out
