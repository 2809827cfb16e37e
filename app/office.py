"""How the command line gets things done at a home: through the API of the service that holds it, or by itself where
none runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import urllib3
from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from greenmine.administration import Administration
from greenmine.certification import Certification
from greenmine.core.act import Act, ActKind, ActResult
from greenmine.core.clock import SystemClock, to_rfc3339
from greenmine.core.errors import Conflict, GreenmineError, NotFound, Refused, StoreUnavailable
from greenmine.core.quality import from_names
from greenmine.core.reading import Reading, Series
from greenmine.core.reading_store import ReadingStore, Selection
from greenmine.home import Home, HomeLock, SecretFiles
from greenmine.import_rows import import_record
from greenmine.ingest.journal import JournalClock, JournalReader
from greenmine.ingest.journal_recovery import open_journal
from greenmine.ingest.record import Record, RecordKind
from greenmine.ingest.timestamp import from_rfc3339
from greenmine.logins import Logins
from greenmine.logs import configure_logs
from greenmine.pipeline.commit import cursor_of
from greenmine.pipeline.pipeline import Pipeline
from greenmine.pipeline.recalibrate import Recalibrator, is_waiting
from greenmine.policy.canonical import from_canonical_json
from greenmine.policy.model import Policy
from greenmine.replaying import replay
from greenmine.store import schema
from greenmine.store.state import StateDb
from greenmine.store.writer import StoreWriter
from greenmine.web.api_models import alert_out

PRINCIPAL = "person:local"
"""Who acts on the command line: whoever may read the home's service token."""


class Office(Protocol):
    """What commands ask for."""

    def act(self, act: Act) -> dict[str, Any]:
        """Carry out an act; the alert as JSON, or the details."""
        ...

    def administer(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Carry out an administrative operation."""
        ...

    def readings(self, selection: Selection) -> Iterator[Reading]:
        """Stored readings by series and time."""
        ...

    def count(self, selection: Selection) -> int:
        """Number of stored readings."""
        ...


@contextmanager
def office(home: Home) -> Iterator[Office]:
    """The office of a home, for as long as the command needs it.

    Raises:
        ConfigError: there is no such home, or its holder does not answer.
        StoreUnavailable: its files cannot be read or written.
    """
    home.must_exist()
    running = home.running_service()
    if running is not None:
        yield RemoteOffice(home, running["url"], running["token"])
        return
    # Without this the parts of the service would log to standard output, which is for the answer.
    configure_logs("warning")
    try:
        local = LocalOffice(home)
        try:
            yield local
        finally:
            local.close()
    except SQLAlchemyError as error:
        reason = str(error.__cause__ or error)
        raise StoreUnavailable(f"the state {home.state} cannot be used: {reason}; look at its disk") from error


@contextmanager
def state_of(home: Home) -> Iterator[Connection]:
    """The state as of the last commit, read-only, whether a service runs or not.

    Raises:
        ConfigError: there is no such home.
        StoreUnavailable: its state cannot be read.
    """
    home.must_exist()
    state = StateDb(home.state, read_only=True)
    try:
        with state.reading() as connection:
            yield connection
    except SQLAlchemyError as error:
        reason = str(error.__cause__ or error)
        raise StoreUnavailable(f"the state {home.state} cannot be read: {reason}; run this as its owner") from error
    finally:
        state.close()


def active_policies(home: Home) -> dict[str, Policy]:
    """The policies in force at a home, by mine.

    Raises:
        ConfigError: there is no such home.
        StoreUnavailable: its state cannot be read.
    """
    with state_of(home) as connection:
        rows = connection.execute(select(schema.policy_version).where(schema.policy_version.c.active))
        return {row.mine: from_canonical_json(row.canonical) for row in rows}


class RemoteOffice:
    """Speaks to the running service's API with the token of `service.json`."""

    def __init__(self, home: Home, url: str, token: str) -> None:
        self._home = home
        self._url = url
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=5, read=60))
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    def act(self, act: Act) -> dict[str, Any]:
        """Through `/api/v1/alerts/...`, `/api/v1/facts` or `/api/v1/dead-letters/replay`."""
        headers = {"Idempotency-Key": act.idempotency_key} if act.idempotency_key else {}
        if act.kind is ActKind.FACT:
            found = self._call("POST", "/api/v1/facts", _fact_json(act), headers)
        elif act.kind in (ActKind.APPROVE_DEVICE, ActKind.REJECT_DEVICE):
            found = self._call("POST", *_decision(act), headers)
        elif act.kind is ActKind.REPLAY_DEAD_LETTERS:
            found = self._call("POST", "/api/v1/dead-letters/replay", act.body, headers)
        else:
            path = f"/api/v1/alerts/{quote(act.alert_id, safe='')}/{act.kind.value}"
            found = self._call("POST", path, {"note": act.note}, headers)
        return dict(found["alert"] or found["detail"])

    def administer(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Through `/api/v1/admin/...`."""
        return self._call("POST", f"/api/v1/admin/{quote(operation, safe='')}", dict(arguments), {})

    def readings(self, selection: Selection) -> Iterator[Reading]:
        """Through `/api/v1/readings`, series by series, each in pages from the newest backwards."""
        for series in self._series(selection):
            pages: list[list[Reading]] = []
            rest = selection
            while True:
                found = self._call("GET", f"/api/v1/readings?{_query(_of(rest, series))}", None, {})
                pages.append([_reading(record) for record in found["readings"]])
                if not found["truncated"]:
                    break
                rest = rest._replace(end_ns=from_rfc3339(found["next_to"]))
            for page in reversed(pages):
                yield from page

    def count(self, selection: Selection) -> int:
        """Through `/api/v1/readings/count`."""
        return int(self._call("GET", f"/api/v1/readings/count?{_query(selection)}", None, {})["count"])

    def checks(self) -> list[dict[str, Any]]:
        """Every check of the service."""
        return list(self.administer("service.checks", {}))

    def registered(self, mine: str) -> list[dict[str, Any]]:
        """The series that a mine's policy expects; none where no such mine is watched."""
        try:
            return list(self._call("GET", f"/api/v1/mines/{quote(mine, safe='')}/registered", None, {}))
        except NotFound:
            return []

    def stream(self, mine: str | None = None, device: str | None = None) -> Iterator[dict[str, Any]]:
        """The live stream of raw and decoded messages, of a mine, of a device or of all, as `tail` shows it; of a
        device, others that somebody else looks at may be among them."""
        asked = {"raw": 1, "mine": mine, "device": device}
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        response = self._open("GET", f"/api/v1/stream?{query}", None, {"Accept": "text/event-stream"}, read_s=None)
        event, data = "", []
        rest = b""
        try:
            for chunk in response.stream(None):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in (raw.decode("utf-8").rstrip("\r") for raw in lines):
                    if line.startswith("event:"):
                        event = line[6:].strip()
                    elif line.startswith("data:"):
                        data.append(line[5:].lstrip())
                    elif not line and data:
                        if event == "message":
                            yield json.loads("\n".join(data))
                        event, data = "", []
        except urllib3.exceptions.HTTPError as error:
            raise StoreUnavailable(f"the service at {self._url} has ended: {error}") from error
        finally:
            response.close()

    def _series(self, selection: Selection) -> list[Series]:
        with state_of(self._home) as connection:
            rows = connection.execute(select(schema.series).order_by(schema.series.c.id))
            known = [Series(r.mine, r.device, r.metric, r.channel, r.stat, r.period_s) for r in rows]
        wanted = selection._replace(start_ns=None, end_ns=None)
        return sorted(series for series in known if wanted.matches(Reading(series, 0, 0.0)))

    def _call(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Any:
        response = self._open(method, path, body, headers)
        try:
            return json.loads(response.read() or b"null")
        finally:
            response.release_conn()

    def _open(
        self, method: str, path: str, body: Any, headers: dict[str, str], read_s: float | None = 60.0
    ) -> urllib3.BaseHTTPResponse:
        sent = {**self._headers, **headers}
        raw = None
        if body is not None:
            raw = json.dumps(body, ensure_ascii=False).encode()
            sent["Content-Type"] = "application/json"
        try:
            response = self._pool.request(
                method,
                self._url + path,
                body=raw,
                headers=sent,
                preload_content=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=5, read=read_s),
            )
        except urllib3.exceptions.HTTPError as error:
            raise StoreUnavailable(f"the service at {self._url} does not answer: {error}") from error
        if response.status >= 400:
            raise _problem(response)
        return response


class LocalOffice:
    """Does it here: holds the home's lock, journals the act, judges it at once, and lets go."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._clock = SystemClock()
        self._answers: dict[str, ActResult | GreenmineError] = {}
        self._store: ReadingStore | None = None
        self._announced = False
        with ExitStack() as opened:
            lock = HomeLock(home)
            opened.callback(lock.release)
            self._state = StateDb(home.state)
            opened.callback(self._state.close)
            self._journal, self._loss = open_journal(home.journal, home.archive, cursor_of(self._state))
            opened.callback(self._journal.close)
            reader = JournalReader(home.journal, home.archive)
            opened.callback(reader.close)
            self._stamps = JournalClock(self._clock, self._journal.last_clock_ns)
            secrets = SecretFiles(home, [])
            self._pipeline = Pipeline(reader, self._state, secrets.resolve)
            self._pipeline.on_results(self._answers.update)
            # What a service that was killed had journalled but not judged yet.
            self._pipeline.run_available()
            self._opened = opened.pop_all()
        if self._loss is not None:
            self._announced = True  # a loss is on record even where nothing else is entered
            self._enter(Record(RecordKind.SERVICE, PRINCIPAL, b'{"event":"start","offline":true}'))
        self._administration = Administration(
            self._state,
            self._clock,
            Logins(self._state, self._clock, secrets.make("service-token")),
            lambda: self._pipeline.judge.state.policies,
            self._import_rows,
            Certification(self._state, self._clock, home.authority),
        )

    def act(self, act: Act) -> dict[str, Any]:
        """Journal it, judge it, answer."""
        if act.kind is ActKind.REPLAY_DEAD_LETTERS:
            answer = replay(self._state, act, self._clock.wall_ns(), self._entered)
        else:
            answer = self._entered(act)
        self._write_out()
        return alert_out(answer.alert).model_dump() if answer.alert else answer.detail

    def _entered(self, act: Act) -> ActResult:
        return self._answer(Record(RecordKind.ACT, act.principal, act.to_json()))

    def administer(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Carry out an administrative operation."""
        return self._administration.administer(operation, arguments, PRINCIPAL)

    def readings(self, selection: Selection) -> Iterator[Reading]:
        """From the home's own store, after what still waited for it was written."""
        self._write_out()
        return self._open_store().query(selection)

    def count(self, selection: Selection) -> int:
        """From the home's own store, after what still waited for it was written."""
        self._write_out()
        return self._open_store().count(selection)

    def close(self) -> None:
        """Write out what waits, and let go of the home."""
        with self._opened:
            self._write_out()

    def _import_rows(self, rows: list[list[Any]], principal: str) -> dict[str, int]:
        return dict(self._answer(import_record(rows, principal)).detail)

    def _answer(self, record: Record) -> ActResult:
        self._enter(record._replace(client="offline"))
        answer = self._answers.pop("offline")
        if isinstance(answer, GreenmineError):
            raise answer
        return answer

    def _enter(self, record: Record) -> None:
        if not self._announced:
            # Tells the timers that nobody was listening since the service ended. Not before something is entered: who
            # only asks leaves no trace.
            self._announced = True
            self._enter(Record(RecordKind.SERVICE, PRINCIPAL, b'{"event":"start","offline":true}'))
        if self._loss is not None:
            lost, self._loss = self._loss, None
            event = {"event": "journal_loss", "offline": True, **lost._asdict()}
            self._enter(Record(RecordKind.SERVICE, PRINCIPAL, json.dumps(event).encode()))
        received_ns, clock_ns = self._stamps.advance()
        self._journal.append([(received_ns, clock_ns, [record])])
        self._pipeline.run_available()

    def _write_out(self) -> None:
        """Only the embedded store: readings for an external one wait for its service."""
        if not self._home.readings.exists():
            return
        if self._state.account().pending:
            StoreWriter(self._state, self._open_store(), self._clock).run_available()
        if is_waiting(self._state):
            Recalibrator(self._state, self._open_store()).run_available()

    def _open_store(self) -> ReadingStore:
        if self._store is None:
            if not self._home.readings.exists():
                raise NotFound(
                    f"the readings of {self._home.path} are not in the home but in InfluxDB; start its service first"
                )
            from greenmine.store.duckdb_store import DuckDbReadingStore

            self._store = DuckDbReadingStore(self._home.readings)
            self._opened.callback(self._store.close)
        return self._store


def _fact_json(act: Act) -> dict[str, Any]:
    """An act's fact as the API takes it, with times in RFC 3339."""
    body = dict(act.body)
    start_ns, end_ns = body.pop("valid_from_ns"), body.pop("valid_to_ns")
    return {**body, "valid_from": to_rfc3339(start_ns), "valid_to": None if end_ns is None else to_rfc3339(end_ns)}


def _decision(act: Act) -> tuple[str, dict[str, Any]]:
    """Path and body of what is decided about a waiting device."""
    body = {**act.body, "note": act.note}
    network, address = body.pop("network"), body.pop("address")
    word = "approve" if act.kind is ActKind.APPROVE_DEVICE else "reject"
    return f"/api/v1/devices/waiting/{network}/{quote(address, safe='/')}/{word}", body


def _of(selection: Selection, series: Series) -> Selection:
    return Selection.of_series(series, selection.start_ns, selection.end_ns)


def _query(selection: Selection) -> str:
    wanted: dict[str, Any] = {k: v for k, v in selection._asdict().items() if v is not None}
    for name, parameter in (("start_ns", "from"), ("end_ns", "to")):
        if name in wanted:
            wanted[parameter] = to_rfc3339(wanted.pop(name))
    return urlencode(wanted)


def _reading(record: dict[str, Any]) -> Reading:
    series = Series(*(record[name] for name in Series._fields))
    quality = int(from_names(record["quality"]))
    return Reading(series, from_rfc3339(record["time"]), record["value"], quality, record.get("calibrated"))


def _problem(response: urllib3.BaseHTTPResponse) -> GreenmineError:
    status = response.status
    try:
        found = json.loads(response.read())
        text = str(found.get("detail") or found.get("title") or found)
    except ValueError:
        text = f"the service answered {status}"
    finally:
        response.release_conn()
    if status == 404:
        return NotFound(text)
    if status == 409:
        return Conflict(text)
    if status in (400, 413, 422):
        return Refused(str(found.get("word", "refused")) if isinstance(found, dict) else "refused", text)
    return StoreUnavailable(text)
