"""Journals written by hand and judged in one process: what tests of rules, alerts, store, pipeline and replay share.

A `Scene` writes batches into a journal of its own and judges them; time is what the scene says it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select

from greenmine.core.account import Account
from greenmine.core.act import Act, ActKind, ActResult
from greenmine.core.alert import Alert, Transition
from greenmine.core.errors import GreenmineError
from greenmine.core.notice import Delivery, Notice
from greenmine.core.reading import Reading, Series
from greenmine.ingest.backlog import Aside, read_at_once, set_aside_by
from greenmine.ingest.journal import Journal, JournalReader
from greenmine.ingest.record import Batch, Record, RecordKind, StoredRecord
from greenmine.pipeline import pipeline as pipeline_module
from greenmine.pipeline.past import CommittedPast
from greenmine.pipeline.pipeline import Pipeline
from greenmine.pipeline.restore import restore
from greenmine.pipeline.state import IDENTITY_SPAN_NS, JudgeState
from greenmine.policy.canonical import to_canonical_json
from greenmine.policy.model import Policy
from greenmine.store import alerts, gaps, hours, notices, outbox, schema
from greenmine.store.columns import Odd
from greenmine.store.state import StateDb, set_meta

NS = 1_000_000_000
MINUTE_NS = 60 * NS
HOUR_NS = 3600 * NS
DAY_NS = 24 * HOUR_NS
START_NS = 1_795_334_400 * NS
"""2026-11-22T08:00:00Z."""
MINE = "shifan-9"
LI = "person:li"

Stamped = tuple[int, int, list[Record]]


def text(zh: str, en: str) -> dict[str, str]:
    """The same words in both languages."""
    return {"zh": zh, "en": en}


def limit(rule_id: str, metric: str, raise_at: float, clear: float, **more: Any) -> dict[str, Any]:
    """A threshold rule as YAML has it."""
    rule = {"id": rule_id, "kind": "threshold", "severity": "warning", "metric": metric}
    return {**rule, "raise": raise_at, "clear": clear, **more}


def mean(metric: str = "pm10", window: str = "60s", **more: Any) -> dict[str, Any]:
    """A rule over a mean."""
    return {**limit("mean", metric, 150, 130, **more), "kind": "mean", "window": window}


def device(
    device_id: str, kind: str = "dust", interval: str = "10s", channel: str = "", **units: str
) -> dict[str, Any]:
    """A device with one sensor."""
    metrics = {metric: {"unit": unit, "interval": interval} for metric, unit in units.items()}
    sensor = {"kind": kind, "principle": "light_scattering", "channel": channel, "metrics": metrics}
    return {"id": device_id, "sensors": [sensor] if metrics else []}


DUSTY = limit("dusty", "pm10", 150, 130)
SILENT = {"id": "silent", "kind": "absence", "severity": "warning", "after": "5m"}
SILENT_PM10 = {**SILENT, "metric": "pm10"}
DUST = device("dust-1", pm10="ug/m3", pm25="ug/m3")
CONTACTS = [
    {"id": "office", "name": text("环保科", "Office"), "channels": [{"kind": "console"}]},
    {
        "id": "county",
        "name": text("县局", "County"),
        "level": "county",
        "language": "en",
        "min_severity": "warning",
        "channels": [{"kind": "console"}],
    },
]


def policy(rules: Sequence[Mapping[str, Any]], mine: str = MINE, **changes: Any) -> Policy:
    """A policy of an invented mine with these rules."""
    document: dict[str, Any] = {
        "schema": 1,
        "mine": {
            "id": mine,
            "name": text("示范九号矿", "Demo No. 9 mine"),
            "enterprise": text("示范公司", "Demo Ltd"),
            "region": "150622",
            "timezone": "Asia/Shanghai",
            "location": [110.2, 39.7],
            "noise_class": 3,
            "air_grade": 2,
        },
        "valid_from": "2026-01-01",
        "devices": [DUST],
        "contacts": CONTACTS,
        "rules": list(rules),
    }
    return Policy.model_validate({**document, **changes})


def pm10(device_id: str = "dust-1", mine: str = MINE) -> Series:
    """The PM10 series of a device."""
    return Series(mine, device_id, "pm10")


def entry(time_ns: int, values: Mapping[str, float | None], **more: Any) -> dict[str, Any]:
    """One object of own JSON."""
    return {"ts": time_ns // 1_000_000, "values": dict(values), **more}


def message(
    body: object, device_id: str = "dust-1", mine: str = MINE, client: str = "", flags: int = 0, kind: str = "up"
) -> Record:
    """A message as the broker hands it over; `body` is bytes, or JSON to be."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Record(RecordKind.MESSAGE, f"mines/{mine}/{device_id}/{kind}", payload, client, flags)


def service(event: str) -> Record:
    """Something that the service says of itself."""
    return Record(RecordKind.SERVICE, "service:greenmine", json.dumps({"event": event}).encode())


def activation(one: Policy | None, mine: str = MINE) -> Record:
    """A policy that becomes active; None takes the mine's policy away."""
    canonical = "" if one is None else to_canonical_json(one)
    payload = {"mine": mine if one is None else one.mine.id, "canonical": canonical}
    return Record(RecordKind.POLICY, "service:greenmine", json.dumps(payload).encode())


def act_record(act: Act, ticket: str = "ticket") -> Record:
    """An act on its way through the journal."""
    return Record(RecordKind.ACT, act.principal, act.to_json(), ticket)


def imported(rows: Iterable[Sequence[Any]], ticket: str = "import") -> Record:
    """Rows of a file: (mine, device, metric, channel, stat, period_s, time_ns, value, unit, quality)."""
    return Record(RecordKind.IMPORT, LI, json.dumps([list(row) for row in rows]).encode(), ticket)


def delivery(key: str, outcome: Delivery, channel: str = "console") -> Record:
    """The report of an attempt."""
    payload = json.dumps({"key": key, **outcome._asdict()}).encode()
    return Record(RecordKind.DELIVERY, f"service:channel-{channel}", payload)


class Spare:
    """States in memory that are emptied and used again: making one costs more than most tests."""

    def __init__(self) -> None:
        self._free: list[StateDb] = []

    @contextmanager
    def state(self) -> Iterator[StateDb]:
        """An empty state."""
        state = self._free.pop() if self._free else StateDb(None)
        yield state
        with state.writing() as connection:
            for table in reversed(schema.metadata.sorted_tables):
                connection.execute(delete(table))
            connection.exec_driver_sql("DELETE FROM sqlite_sequence")
            set_meta(connection, "schema_version", str(schema.VERSION))
            connection.execute(insert(schema.account).values(id=1, **Account()._asdict()))
        self._free.append(state)


class HeldJournal(JournalReader):
    """A journal in memory, read like a file."""

    def __init__(self, stamped: Iterable[Stamped] = ()) -> None:
        self._batches: list[Batch] = []
        self._records: list[StoredRecord] = []
        self.append(stamped)

    def append(self, stamped: Iterable[Stamped]) -> object:
        """Like `Journal.append`."""
        for received_ns, clock_ns, records in stamped:
            first = len(self._records)
            self._records += [StoredRecord(first + n, record, True) for n, record in enumerate(records, 1)]
            batch = Batch(len(self._batches) + 1, received_ns, clock_ns, tuple(self._records[first:]))
            self._batches.append(batch)
        return None

    def batches(self, after: int, most_records: int = 5000) -> list[Batch]:
        """Like the file's."""
        found: list[Batch] = []
        for batch in self._batches[after:]:
            found.append(batch)
            if sum(len(one.records) for one in found) >= most_records:
                break
        return found

    def ahead(self, after: int, but_newest: int, within_ns: int, since_ns: int) -> tuple[Aside, Aside] | None:
        """Like the file's."""
        ends = [0]
        for batch in self._batches:
            ends.append(ends[-1] + len(batch.records))
        ranges = [
            Aside(after + 1, one.no, ends[after] + 1, ends[one.no], since_ns, one.clock_ns)
            for one in self._batches[after:]
        ]
        if not ranges:
            return None
        newest = ranges[-1]
        return newest, next(
            one
            for one in ranges
            if newest.last_record - one.last_record <= but_newest
            and newest.last_no - one.last_no <= but_newest
            and newest.clock_ns - one.clock_ns <= within_ns
        )

    def set_asides(self, after: int) -> list[Aside]:
        """Like the file's."""
        return set_aside_by(stored for batch in self._batches[after:] for stored in batch.records)

    def at_once(self, after: int, upto: int, most_records: int = 5000) -> list[Batch]:
        """Like the file's."""
        return read_at_once(self, after, upto, most_records)

    def record(self, record_id: int) -> StoredRecord | None:
        """Like the file's."""
        return self._records[record_id - 1] if 0 < record_id <= len(self._records) else None

    def last_no(self) -> int:
        """Like the file's."""
        return len(self._batches)

    def close(self) -> None:
        """Nothing to close."""


SPARE = Spare()


class Scene:
    """A journal (a file where a path is given), a state, and a pipeline between them. `now_ns` is the journal's clock
    and the wall clock alike."""

    def __init__(self, state: StateDb, path: Path | None = None, now_ns: int = START_NS) -> None:
        self.state = state
        self.path = path
        self.now_ns = now_ns
        self.answers: dict[str, ActResult | GreenmineError] = {}
        self.journal: Journal | HeldJournal
        self.reader: JournalReader
        if path is None:
            self.journal = self.reader = HeldJournal()
        else:
            self.journal, self.reader = Journal(path), JournalReader(path)
        self.pipeline = self.restart()

    def restart(self) -> Pipeline:
        """Forget the pipeline's memory and build it again from the state."""
        self.pipeline = Pipeline(self.reader, self.state)
        self.pipeline.on_results(self.answers.update)
        return self.pipeline

    def wait(self, seconds: float) -> Scene:
        """Let time pass without anything happening."""
        self.now_ns += int(seconds * NS)
        return self

    def batch(self, *records: Record, received_ns: int | None = None) -> Scene:
        """Journal records as one batch, now, and judge it."""
        received_ns = self.now_ns if received_ns is None else received_ns
        self.journal.append([(received_ns, self.now_ns, list(records))])
        self.pipeline.run_available()
        return self

    def tick(self, seconds: float = 0, step_s: float | None = None) -> Scene:
        """Let time pass in idle batches: one at its end, or one each `step_s`."""
        for _ in range(1 if step_s is None else round(seconds / step_s)):
            self.wait(seconds if step_s is None else step_s)
            self.batch()
        return self

    def begin(self, *policies: Policy) -> Scene:
        """The service starts and these policies become active."""
        self.batch(service("start"))
        for one in policies:
            self.batch(activation(one))
        return self

    def say(self, *values: float | None, metric: str = "pm10", device_id: str = "dust-1", every_s: float = 10) -> Scene:
        """A device sends these values one after the other, each at its source time, `every_s` apart."""
        for value in values:
            self.wait(every_s)
            self.batch(message(entry(self.now_ns, {metric: value}), device_id))
        return self

    def act(self, kind: ActKind, alert_id: str = "", note: str = "", **more: Any) -> ActResult:
        """A person acts; the answer, or the error that is the answer."""
        self.batch(act_record(Act(kind, LI, alert_id, note, **more)))
        answer = self.answers.pop("ticket")
        if isinstance(answer, GreenmineError):
            raise answer
        return answer

    def deliver(self, notice: Notice, outcome: Delivery | None = None) -> None:
        """The outcome of an attempt comes back."""
        self.batch(delivery(notice.key, outcome or Delivery.ok("taken"), notice.channel))

    @property
    def account(self) -> Account:
        """The message account."""
        return self.state.account()

    def alerts(self, open_only: bool = False) -> list[Alert]:
        """Alerts, oldest raise first."""
        with self.state.reading() as connection:
            return alerts.listed(connection, open_only=open_only)[::-1]

    def the_alert(self) -> Alert:
        """The only alert there ever was."""
        (found,) = self.alerts()
        return found

    def history(self, alert_id: str | None = None) -> list[Transition]:
        """Transitions of an alert, or of the only one."""
        wanted = alert_id or self.the_alert().id
        with self.state.reading() as connection:
            return alerts.history(connection, wanted)

    def reasons(self, alert_id: str | None = None) -> list[str]:
        """Why the alert's transitions happened."""
        return [transition.reason.value for transition in self.history(alert_id)]

    def transitions(self) -> list[tuple[Any, ...]]:
        """All transitions as rows."""
        with self.state.reading() as connection:
            return alerts.all_transitions(connection)

    def due(self, now_ns: int | None = None) -> list[Notice]:
        """Notices that may be sent now."""
        with self.state.reading() as connection:
            return [notice for notice, _ in notices.due(connection, self.now_ns if now_ns is None else now_ns)]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Everything in a table."""
        return table_rows(self.state, table)

    def close(self) -> None:
        """Let go of the journal; the state is whose it was."""
        self.journal.close()
        self.reader.close()


@contextmanager
def scene(*policies: Policy) -> Iterator[Scene]:
    """A scene in memory in which the service has started and these policies are active."""
    with SPARE.state() as state:
        yield Scene(state).begin(*policies)


def table_rows(state: StateDb, table: str) -> list[dict[str, Any]]:
    """All rows of a table in the order of its primary key."""
    columns = schema.metadata.tables[table]
    with state.reading() as connection:
        query = select(columns).order_by(*columns.primary_key.columns)
        return [dict(row._mapping) for row in connection.execute(query)]


COMPARED = (
    "account", "condition", "alert", "transition", "dead_letter", "dead_letter_total", "quarantine", "conflict",
    "notice", "downlink", "activity", "activity_interval", "gap", "fact",
    "policy_version", "act_result", "audit", "meta",
    "reason", "waiting_device", "muted_device", "recalibration",
)  # fmt: skip


def everything(state: StateDb) -> dict[str, Any]:
    """All that a state holds, in a form that does not depend on which batches were committed together."""
    held: dict[str, Any] = {table: table_rows(state, table) for table in COMPARED}
    held["series"] = series_as_restored(state)
    with state.reading() as connection:
        held["sequences"] = gaps.sequences(connection)
        held["hours"] = {key: account for key, account in hours.accounts(connection).items() if any(account)}
    held["identities"] = identities(state)
    held["outbox"] = outbox_readings(state)
    return held


def restored(state: StateDb) -> JudgeState:
    """What a pipeline that starts now would remember."""
    return restore(state, CommittedPast(state, None))[0]  # type: ignore[arg-type] - no dead letter is replayed


def series_as_restored(state: StateDb) -> list[tuple[Any, ...]]:
    """What is newest of each series: its row, and what the log has that is newer."""
    return [
        (one.id, one.series, one.newest_ns, one.value, one.quality, one.received_ns, one.usable_clock_ns)
        for one in restored(state).series.values()
    ]


def identities(state: StateDb) -> dict[tuple[int, int], tuple[float, Odd]]:
    """Value and what is odd of every identity that is looked up, by series and time, wherever it rests."""
    memory = restored(state)
    past = CommittedPast(state, None)  # type: ignore[arg-type]
    oldest_ns = memory.clock_ns - IDENTITY_SPAN_NS
    found: dict[tuple[int, int], tuple[float, Odd]] = {}
    for one in memory.series.values():
        for time_ns, value, odd in [*past.samples(one.id, oldest_ns - 1), *one.recent.after(oldest_ns - 1)]:
            assert found.setdefault((one.id, time_ns), (value, odd)) == (value, odd)
    return dict(sorted(found.items()))


def outbox_readings(state: StateDb) -> dict[tuple[bool, bool], list[Reading]]:
    """What waits for the store, by kind of parcel."""
    parcels: dict[tuple[bool, bool], list[Reading]] = {}
    names = outbox.SeriesNames()
    for row in table_rows(state, "readings_outbox"):
        with state.reading() as connection:
            readings = outbox.readings_of(row["blob"], names, connection)
        parcels.setdefault((row["check_store"], row["replayed"]), []).extend(readings)
    return parcels


def batches_of(path: Path) -> list[Batch]:
    """The whole journal."""
    reader = JournalReader(path)
    try:
        return list(reader.all_batches())
    finally:
        reader.close()


@contextmanager
def commits_of(records: int) -> Iterator[None]:
    """Within this, about so many records are committed together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_module, "MOST_RECORDS_A_COMMIT", records)
        yield
