"""The service: wires journal, pipeline, store, delivery, broker and board into one process, and takes them apart."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import structlog

from greenmine.administration import Administration
from greenmine.alerts.channel_console import ConsoleChannel
from greenmine.alerts.channel_email import EmailChannel
from greenmine.alerts.channel_webhook import WebhookChannel
from greenmine.alerts.deliver import Deliverer, DueNotice
from greenmine.authority import Authority
from greenmine.board import StateBoard
from greenmine.certification import Certification
from greenmine.core.act import Act, ActKind, ActResult
from greenmine.core.clock import NS_PER_S, Clock, SystemClock
from greenmine.core.downlink import Downlink
from greenmine.core.errors import Corrupt, NotFound, PolicyError, Problem, StoreUnavailable
from greenmine.core.latest import ChangeListener, Wants
from greenmine.core.notice import Channel, Delivery, Notice
from greenmine.core.reading_store import ReadingStore
from greenmine.core.user import Role
from greenmine.devices import StateDevices
from greenmine.hj212 import Hj212
from greenmine.home import Home, HomeLock, SecretFiles
from greenmine.import_rows import import_record
from greenmine.ingest.broker import EmbeddedBroker
from greenmine.ingest.broker_tls import TlsListener, server_context
from greenmine.ingest.disk_room import MEGABYTE, Ballast, DiskRoom
from greenmine.ingest.downlink_sender import DownlinkSender, DueDownlink, Ways
from greenmine.ingest.gate import Gate
from greenmine.ingest.journal import JournalReader
from greenmine.ingest.journal_recent import RecentBatches
from greenmine.ingest.journal_recovery import open_journal
from greenmine.ingest.journal_writer import JournalWriter, Submission, WriterLimits
from greenmine.ingest.record import Record, RecordKind
from greenmine.ingest.registry import subscribed_topics
from greenmine.ingest.subscriber import BrokerUrl, Subscriber
from greenmine.intakes import StateIntakes
from greenmine.journal_keeper import JournalKeeper, KeeperLimits
from greenmine.local_alarm import LocalAlarm
from greenmine.logins import Logins
from greenmine.operations import ServiceOperations
from greenmine.pipeline.commit import cursor_of
from greenmine.pipeline.pipeline import Pipeline
from greenmine.pipeline.recalibrate import Recalibrator
from greenmine.pipeline.thread import ActDesk, PipelineThread, ServiceEntry
from greenmine.policy.canonical import policy_hash, to_canonical_json
from greenmine.policy.load import load_policy
from greenmine.policy.model import Policy
from greenmine.relay import Relay
from greenmine.replaying import replay
from greenmine.service_health import ServiceHealth
from greenmine.settings import Settings
from greenmine.store import downlinks, notices, users
from greenmine.store.state import StateDb
from greenmine.store.writer import STORE_REFUSES, STORE_TAKES, StoreWriter
from greenmine.web.backend import Backend, Check
from greenmine.web_server import WebServer

log = structlog.get_logger(__name__)
PRINCIPAL = "service:greenmine"
RECORD_TIMEOUT_S = 10.0
CATCH_UP_S = 5.0
"""How long `start` waits for the judging of an old backlog before it opens the ports all the same."""


def load_policies(paths: Sequence[Path]) -> dict[str, Policy]:
    """All mines' policies by mine id; a folder stands for the files in it (not in its subfolders).

    Raises:
        PolicyError: in one file, or the same mine in two.
    """
    found: dict[str, tuple[Policy, Path]] = {}
    problems: list[Problem] = []
    for path in paths:
        files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        if not files:
            # Going on without would end the watch over every mine that was in it.
            problems.append(Problem(str(path), None, "", "this folder has no policy in it (no file *.yaml)"))
        for file in files:
            try:
                policy = load_policy(file).policy
            except PolicyError as error:
                problems += error.problems
                continue
            first = found.setdefault(policy.mine.id, (policy, file))
            if first[1] != file:
                problems.append(
                    Problem(str(file), None, "mine.id", f"{policy.mine.id} is the mine of {first[1]} already")
                )
    if problems:
        raise PolicyError(problems)
    return {mine: policy for mine, (policy, _) in found.items()}


class Service:
    """Everything in one process. `start` brings it up in the order in which a failure loses nothing; `stop` takes it
    down the other way. `failed` is set when a part could not go on and the process has to end."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        policies: Mapping[str, Policy],
        clock: Clock | None = None,
        console: TextIO = sys.stderr,
        tick_s: float | None = None,
    ) -> None:
        self.home = home
        self.settings = settings
        self.clock = clock or SystemClock()
        self.failed = threading.Event()
        self.failure: Exception | None = None
        self.policies = dict(policies)
        self._secrets = SecretFiles(home, settings.secrets_dirs)
        home.make()
        with ExitStack() as opened:
            # What is open is closed again where the rest fails; `stop` closes it otherwise.
            self._open(opened, console, tick_s)
            self._opened = opened.pop_all()
        self.broker: EmbeddedBroker | None = None
        self.subscriber: Subscriber | None = None
        self.web: WebServer | None = None
        self.first_admin_password: str | None = None

    def _open(self, opened: ExitStack, console: TextIO, tick_s: float | None) -> None:
        home, settings = self.home, self.settings
        self._lock = HomeLock(home)
        opened.callback(self._lock.release)
        self.state = StateDb(home.state)
        opened.callback(self.state.close)
        self.store, prepare_store = self._open_store()
        opened.callback(self.store.close)
        self.journal, self._loss = open_journal(home.journal, home.archive, cursor_of(self.state))
        opened.callback(self.journal.close)
        self.reader = reader = JournalReader(home.journal, home.archive)
        opened.callback(reader.close)
        ballast = Ballast(home.ballast, settings.journal.ballast_mb * MEGABYTE)
        ballast.make()
        limits = WriterLimits(
            linger_s=settings.journal.linger_ms / 1000, tick_s=tick_s or settings.journal.tick_ms / 1000
        )
        self.writer = JournalWriter(
            self.journal, self.clock, self._journal_committed, self._fail, limits, ballast.release
        )
        self.journal.recent = recent = RecentBatches()
        judged = JournalReader(home.journal, home.archive, recent)
        opened.callback(judged.close)
        # On any other clock (a demo, files of the past) nothing is live: what comes fast is judged in order.
        enter = ServiceEntry(self.writer) if isinstance(self.clock, SystemClock) else None
        self.pipeline = Pipeline(judged, self.state, self._secrets.resolve, enter)
        self.thread = PipelineThread(self.pipeline, self._fail)
        self.keeper = JournalKeeper(
            self.journal,
            reader,
            self.writer,
            self.state,
            DiskRoom(home.path, ballast, settings.journal.quota_mb * MEGABYTE),
            home.archive,
            lambda: (self.pipeline.cursor, self.pipeline.clock_ns),
            KeeperLimits(
                keep_ns=settings.journal.keep_hours * 3600 * NS_PER_S,
                archive_ns=settings.store.retention_days * 86_400 * NS_PER_S,
            ),
            lambda: bool(self.pipeline.judge.state.disk_alerts),
        )
        self._acts = ActDesk(self.pipeline, self.writer)
        flush_s = settings.store.flush_ms / 1000
        self.store_writer = StoreWriter(self.state, self.store, SystemClock(), prepare_store, flush_s)
        self.store_writer.on_refusing = LocalAlarm(
            self.writer, lambda: bool(self.pipeline.judge.state.store_alerts), STORE_REFUSES, STORE_TAKES
        ).say
        self.store_writer.afterwards = Recalibrator(self.state, self.store).run_some
        self.deliverer = Deliverer(self._channels(console), self._due, self._report)
        self.hj212 = Hj212(
            settings.hj212, self.writer, self.clock, self._secrets.resolve, lambda: self.pipeline.judge.state
        )
        self.pipeline.subscribe_commits(self.hj212.on_commit)
        self.relay = Relay(self.state, self._secrets.resolve, lambda: self.pipeline.judge.state)
        self.pipeline.subscribe_commits(self.relay.on_commit)
        self.downlink_sender = DownlinkSender(
            Ways(self._publish, self.hj212.request_history), self._due_downlinks, self._report_downlink
        )
        self.pipeline.subscribe_commits(self._pipeline_committed)
        self.gate = Gate()
        self.logins = Logins(self.state, SystemClock(), self._secrets.make("service-token"))
        self.administration = Administration(
            self.state,
            SystemClock(),
            self.logins,
            lambda: self.pipeline.judge.state.policies,
            self._import_rows,
            Certification(self.state, SystemClock(), home.authority),
            self.gate,
            settings.mqtt.accounts_dir,
            lambda: self.operations.checks(),
        )
        self.board = StateBoard(
            self.state,
            lambda: self.pipeline.judge.state.policies,
            lambda: self.pipeline.judge.state.series,
            lambda: self.pipeline.judge.state.devices.calibrations,
        )
        self._health = ServiceHealth(self)
        self.operations = ServiceOperations(
            home, self.state, self.checks, self._health.values, self.administration.administer
        )

    def start(self, with_mqtt: bool = True, with_web: bool = True) -> None:
        """Start everything; returns when the board and the broker answer.

        Raises:
            ConfigError: a port is taken, a secret is missing.
        """
        self.writer.start()
        self._enter({"event": "start"})
        if self._loss is not None:
            log.error("journal: something is lost", **self._loss._asdict())
            self._enter({"event": "journal_loss", **self._loss._asdict()})
        self._activate_policies()
        self.thread.start()
        if not self.pipeline.wait_for(self.journal.last_no, CATCH_UP_S) and self.failure is None:
            log.info("catching up with the journal", behind=self.journal.last_no - self.pipeline.cursor)
        self._open_gate()
        self.store_writer.start()
        self.deliverer.start()
        self.keeper.start()
        if with_mqtt:
            self._start_mqtt()
        self.hj212.start()
        self.relay.start()
        self.downlink_sender.start()
        if with_web:
            self._start_web()
        # Last, because the password is known only now: where a port is taken, nobody would ever see it.
        self._first_admin()

    def stop(self) -> None:
        """Stop taking messages, judge what was taken, write out what can be written, and let go of the home."""
        with self._opened:
            if self.web is not None:
                self.web.stop()
            self.downlink_sender.stop()
            self.hj212.stop()
            self.relay.stop()
            if self.subscriber is not None:
                self.subscriber.stop()
            if self.broker is not None:
                self.broker.stop()
            self.deliverer.stop()
            self.keeper.stop()
            self.writer.stop()
            self.thread.stop()
            self.store_writer.stop()

    def drain(self, timeout_s: float) -> bool:
        """Wait until all that is in the journal is judged, stored, and told; for the end of a demo."""
        done = threading.Event()
        for _ in range(max(1, int(timeout_s / 0.05))):
            # In this order: what leaves the writer is in the journal by then.
            judged = self.writer.backlog == 0 and self.pipeline.cursor >= self.journal.last_no
            if (
                judged
                and not self.pipeline.aside
                and self.state.account().pending == 0
                and not self.pipeline.judge.state.notices
            ):
                return True
            if self.failed.is_set():
                return False
            self.deliverer.wake()
            self.store_writer.hurry()
            done.wait(0.05)
        return False

    def submit(self, act: Act, timeout_s: float = RECORD_TIMEOUT_S) -> ActResult:
        """`web.backend.Desk.submit`."""
        if act.kind is ActKind.REPLAY_DEAD_LETTERS and "ids" in act.body:
            found = replay(self.state, act, SystemClock().wall_ns(), lambda named: self._acts.submit(named, timeout_s))
            self.store_writer.wake()
            return found
        return self._acts.submit(act, timeout_s)

    def subscribe(self, listener: ChangeListener, wanted: Callable[[], Wants] = Wants) -> Callable[[], None]:
        """`web.backend.Desk.subscribe`."""
        return self.pipeline.subscribe(listener, wanted)

    def checks(self) -> list[Check]:
        """What must be right for the service to be ready."""
        return self._health.checks()

    def _open_store(self) -> tuple[ReadingStore, Callable[[], object] | None]:
        """The chosen store, and what has to be done before it is written to."""
        # A store's library costs a second to import; only the chosen one is.
        store = self.settings.store
        if store.kind == "duckdb":
            from greenmine.store.duckdb_store import DuckDbReadingStore

            return DuckDbReadingStore(self.home.readings), None
        from greenmine.store.influx_store import InfluxReadingStore

        assert store.url is not None
        token = self._secrets.resolve(store.token)
        influx = InfluxReadingStore(
            store.url, store.org, token, bucket=store.bucket, retention_days=store.retention_days
        )
        return influx, influx.ensure_buckets

    def _channels(self, console: TextIO) -> dict[str, Channel]:
        configured = self.settings.channels
        channels: dict[str, Channel] = {
            "console": ConsoleChannel(console),
            "webhook": WebhookChannel(self._secrets.resolve, configured.webhook.allow, configured.webhook.timeout_s),
        }
        mail = configured.email
        if mail is not None:
            password = self._secrets.resolve(mail.password) if mail.username else None
            channels["email"] = EmailChannel(
                mail.host, mail.port, mail.security, mail.username, password, mail.sender, mail.timeout_s
            )
        return channels

    def _activate_policies(self) -> None:
        active = self.pipeline.judge.state.policy_hashes
        for mine, policy in sorted(self.policies.items()):
            if active.get(mine) != policy_hash(policy):
                self._enter_policy(mine, to_canonical_json(policy))
        for mine in sorted(set(self.pipeline.judge.state.policies) - set(self.policies)):
            self._enter_policy(mine, "")

    def _enter_policy(self, mine: str, canonical: str) -> None:
        payload = json.dumps({"mine": mine, "canonical": canonical}, ensure_ascii=False).encode()
        self._put(Record(RecordKind.POLICY, PRINCIPAL, payload))

    def _enter(self, event: dict[str, Any]) -> None:
        self._put(Record(RecordKind.SERVICE, PRINCIPAL, json.dumps(event).encode()))

    def _put(self, record: Record) -> None:
        """Into the journal; returns when it is on disk."""
        committed = _Committed()
        taken = self.writer.put(Submission(record, committed), RECORD_TIMEOUT_S)
        if not taken or not committed.event.wait(RECORD_TIMEOUT_S):
            raise StoreUnavailable("the journal takes nothing now; look at the disk of the home")

    def _import_rows(self, rows: list[list[Any]], principal: str) -> dict[str, int]:
        return dict(self._acts.enter(import_record(rows, principal), RECORD_TIMEOUT_S).detail)

    def _first_admin(self) -> None:
        with self.state.reading() as connection:
            if users.listed(connection):
                return
        _, self.first_admin_password = self.logins.add_user("admin", Role.ADMIN, PRINCIPAL)

    def _start_mqtt(self) -> None:
        mqtt = self.settings.mqtt
        if mqtt.mode == "embedded":
            self.broker = EmbeddedBroker(mqtt.host, mqtt.port, self.gate, self.writer, tls=self._tls())
            self.broker.start()
            return
        assert mqtt.url is not None
        password = self._secrets.resolve(mqtt.password)
        url, ca_file = BrokerUrl.parse(mqtt.url), str(mqtt.ca_file) if mqtt.ca_file else None
        certificate = (str(mqtt.cert_file), str(mqtt.key_file)) if mqtt.cert_file and mqtt.key_file else None
        self.subscriber = Subscriber(
            url,
            mqtt.user,
            password,
            self.writer,
            self._link_changed,
            ca_file,
            self._topics(),
            certificate,
            self._dropped_by_broker,
        )
        self.subscriber.start()

    def _open_gate(self) -> None:
        try:
            self.administration.refresh_gate()
        except (NotFound, Corrupt) as error:  # no reason to keep every device out; `doctor` says it as well
            log.error("certificates: the revocation list is not up to date", error=str(error))

    def _tls(self) -> TlsListener | None:
        wanted, authority = self.settings.mqtt.tls, Authority(self.home.authority)
        if wanted is None:
            return None
        cert_file = wanted.cert_file or self.home.authority / "server.crt"
        key_file = wanted.key_file or self.home.authority / "server.key"
        trusted = authority.certificate_file if authority.exists else None
        context = server_context(cert_file, key_file, trusted, wanted.client_certificates == "required")
        return TlsListener(wanted.host, wanted.port, context)

    def _topics(self) -> list[str]:
        """What is subscribed to on an external broker. A subscription that the account is not granted would end all."""
        wanted = self.settings.mqtt.topics
        return wanted if wanted is not None else subscribed_topics(self.policies.values())

    def _link_changed(self, up: bool) -> None:
        """On paho's thread; must not block, so it does not wait for the commit."""
        payload = json.dumps({"event": "link_up" if up else "link_down"}).encode()
        self.writer.offer(Submission(Record(RecordKind.SERVICE, "service:subscriber", payload)))

    def _dropped_by_broker(self, more: int, total: int) -> None:
        """On paho's thread, like the above."""
        payload = json.dumps({"event": "broker_dropped", "messages": more, "since_its_start": total}).encode()
        self.writer.offer(Submission(Record(RecordKind.SERVICE, "service:subscriber", payload)))

    def _start_web(self) -> None:
        intakes, devices = StateIntakes(self.state, self.home.journal), StateDevices(self.state)
        backend = Backend(self.board, self, self.logins, self.operations, self.store, self.clock, intakes, devices)
        self.web = WebServer(backend, self.settings.web)
        self.web.start()
        self._lock.announce(self.web.url, self._secrets.make("service-token"))

    def _due(self) -> list[DueNotice]:
        with self.state.reading() as connection:
            return [DueNotice(*one) for one in notices.due(connection, self._now_ns())]

    def _now_ns(self) -> int:
        """The journal's clock: what a notice's next attempt is measured on."""
        return max(self.pipeline.clock_ns, 0)

    def _report(self, notice: Notice, delivery: Delivery) -> bool:
        payload = json.dumps({"key": notice.key, **delivery._asdict()}, ensure_ascii=False).encode()
        record = Record(RecordKind.DELIVERY, f"service:channel-{notice.channel}", payload)
        return self.writer.put(Submission(record), RECORD_TIMEOUT_S)

    def _publish(self, topic: str, payload: bytes) -> bool:
        if self.broker is not None:
            return self.broker.publish(topic, payload)
        return self.subscriber is not None and self.subscriber.publish(topic, payload)

    def _due_downlinks(self) -> list[DueDownlink]:
        if not self.pipeline.judge.state.downlinks:
            return []
        with self.state.reading() as connection:
            return [DueDownlink(*one) for one in downlinks.due(connection, self._now_ns())]

    def _report_downlink(self, downlink: Downlink, sent: bool, detail: str) -> bool:
        payload = json.dumps({"id": downlink.id, "sent": sent, "detail": detail}, ensure_ascii=False).encode()
        record = Record(RecordKind.DOWNLINK, "service:downlinks", payload)
        return self.writer.put(Submission(record), RECORD_TIMEOUT_S)

    def _journal_committed(self) -> None:
        self.thread.wake()

    def _pipeline_committed(self, stored: bool, notices_due: bool) -> None:
        if stored:
            self.store_writer.wake()
        if notices_due:
            self.deliverer.wake()

    def _fail(self, error: Exception) -> None:
        self.failure = error
        self.failed.set()


class _Committed:
    """An acknowledgement that somebody waits for."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def acknowledge(self, _: Sequence[Any]) -> None:
        self.event.set()
