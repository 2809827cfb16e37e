"""The demonstration: the whole service in this process, watched mines in it, and somebody who answers alarms."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import merge
from itertools import chain
from pathlib import Path
from typing import Any

import structlog

from greenmine.core.act import Act, ActKind
from greenmine.core.alert import Condition, Handling
from greenmine.core.clock import NS_PER_S, Clock, ManualClock, ScaledClock, SystemClock
from greenmine.core.errors import ConfigError, Conflict, GreenmineError, NotFound, UserError
from greenmine.home import Home
from greenmine.ingest.gate import Action
from greenmine.ingest.journal_writer import Submission
from greenmine.ingest.record import Record, RecordFlag, RecordKind
from greenmine.policy.load import EXAMPLES
from greenmine.policy.model import Policy
from greenmine.service import Service, load_policies
from greenmine.settings import JournalSettings, MqttSettings, Settings, WebSettings
from greenmine.simulator.doings import BRIDGE, doings
from greenmine.simulator.message import TimedMessage
from greenmine.simulator.publish import MqttPublisher, run_live
from greenmine.simulator.run import messages
from greenmine.simulator.scenario import Scenario, load_scenario
from greenmine.store import alerts

log = structlog.get_logger(__name__)

WEB_PORTS = (8080, 8081, 8082, 0)
TICK_S = 0.1
NOTICES_FILE = "notices.txt"
DRAIN_S = 60.0
DATA_DRAIN_S = 300.0
SUPERVISOR = "person:demo-supervisor"
SUPERVISOR_LOOKS_EVERY_S = 0.5
SUPERVISOR_WAITS_S = {False: 8.0, True: 2.0}
"""How long an alarm stays for you to acknowledge, or to close, before the simulated supervisor does (headless: nobody
is there). At the default speed the shortest alarm of the dust episode holds for 12 s, and then it is too late."""


@dataclass(frozen=True)
class DemoPlan:
    """What to show: a scenario at some speed for some seconds of real time, or the files of a folder to their end."""

    duration_s: float = 0.0
    speed: float = 60.0
    headless: bool = False
    data: Path | None = None
    scenario: str = "dust-episode"
    home: Path | None = None


class Demo:
    """Runs a plan. `service` is there after `start`; `summary` after `finish`."""

    def __init__(self, plan: DemoPlan, progress: Callable[[int, int], None] | None = None) -> None:
        self.plan = plan
        self.stopping = threading.Event()
        self.finished = threading.Event()
        self.failure: Exception | None = None
        self._progress = progress
        self._threads: list[threading.Thread] = []
        self._passwords: dict[str, str] = {}
        self._running = False
        if plan.data is not None:
            self.policies, self._feed = self._of_data(plan.data)
        else:
            self.policies, self._feed = self._of_scenario(load_scenario(plan.scenario))
        if plan.home is not None and Home(plan.home).journal.exists():
            raise ConfigError(f"{plan.home} has a journal already; a demo needs a fresh home")
        # Nothing is made before all that was asked for is known to be there.
        self.home = Home(plan.home or Path(tempfile.mkdtemp(prefix="greenmine-demo-")))
        self.home.make()
        self._console = (self.home.path / NOTICES_FILE).open("w", encoding="utf-8")
        try:
            self.service = self._service()
        except BaseException:
            self._console.close()
            raise

    def start(self) -> None:
        """Bring the service up and begin."""
        try:
            self.service.start(with_mqtt=self.plan.data is None, with_web=True)
        except GreenmineError:
            self.service.stop()
            raise
        for policy in self.policies.values():
            for device in policy.devices:
                if device.gateway is None:
                    made = self.service.administration.provision(policy.mine.id, device.id, "service:demo")
                    self._passwords[made["account"]] = made["password"]
        if self.plan.data is None:
            made = self.service.administration.provision_bridge("chirpstack", BRIDGE, "service:demo")
            self._passwords[BRIDGE] = made["password"]
        self._run("demo-feed", self._feed)
        if self.plan.data is None:
            self._run("demo-supervisor", self._supervise)
        self._running = True

    def wait(self, timeout_s: float) -> bool:
        """Wait a while; True when the demo has come to its end by itself or has failed."""
        return self.finished.wait(timeout_s) or self.service.failed.is_set()

    def finish(self) -> dict[str, Any]:
        """Stop feeding, wait until everything taken in is judged, stored and told, and sum up."""
        self.stopping.set()
        for thread in self._threads:
            thread.join()
        # Interrupted while it was starting, there is nobody who would judge.
        drained = not self._running or self.service.drain(DATA_DRAIN_S if self.plan.data is not None else DRAIN_S)
        account = self.service.state.account()
        with self.service.state.reading() as connection:
            counts = alerts.counts(connection)
        failure = self.failure or self.service.failure
        self.service.stop()
        self._console.close()
        if failure is not None:
            raise GreenmineError(f"the demo failed: {failure}; its home is {self.home.path}") from failure
        if not drained:
            log.warning("not everything could be written out in time", pending=account.pending)
        return {**account._asdict(), "alerts": counts, "home": str(self.home.path)}

    def _service(self) -> Service:
        last: ConfigError | None = None
        for port in (0,) if self.plan.headless else WEB_PORTS:
            settings = Settings(
                home=self.home.path,
                mqtt=MqttSettings(port=0),
                web=WebSettings(port=port),
                journal=JournalSettings(linger_ms=10),
            )
            if port and not _is_free(port):
                last = ConfigError(f"port {port} is taken")
                continue
            return Service(self.home, settings, self.policies, self._clock, self._console, tick_s=TICK_S)
        raise last or ConfigError("no port for the board")

    def _of_scenario(self, scenario: Scenario) -> tuple[dict[str, Policy], Callable[[], None]]:
        policies = load_policies([EXAMPLES])
        system = SystemClock()
        start_ns = scenario.start_ns(system.wall_ns())
        self._clock: Clock = ScaledClock(system, self.plan.speed, start_ns)

        def feed() -> None:
            broker = self.service.broker
            assert broker is not None
            url = f"mqtt://{broker.host}:{broker.port}"
            with MqttPublisher(url, self._passwords.get) as publisher:
                run_live(again_and_again(policies, scenario, start_ns), publisher, self._clock, self.stopping)
                publisher.drain(DRAIN_S)

        return policies, feed

    def _of_data(self, folder: Path) -> tuple[dict[str, Policy], Callable[[], None]]:
        """Real files on a virtual clock. They go into the journal as the embedded broker would put them there (same
        grants, same records), without the way through a socket: the clock must stand still while a message is on it."""
        from greenmine.simulator.csv_replay import Replay
        from greenmine.simulator.mapping import data_sets, policies

        found = data_sets(folder)
        if not found:
            raise UserError(f"{folder} has no file of a known data set; see simulator/data for the mappings")
        chosen = {policy.mine.id: policy for policy in policies(found)}
        replay = Replay(
            found, progress=self._progress, report=lambda problem: log.warning("data", problem=str(problem))
        )
        stream = replay.messages()
        first = next(stream, None)
        if first is None:
            raise UserError(f"{folder}: the files of known data sets have no row that can be read")
        clock = ManualClock(first.time_ns)
        self._clock = clock
        intake = _Intake()

        def feed() -> None:
            for message in chain([first], stream):
                if self.stopping.is_set():
                    break
                clock.advance(max(0, message.time_ns - clock.wall_ns()))
                self._take_in(message, clock, intake)
            # What is still on its way to the journal is in no account yet.
            while not intake.is_safe(0.5):
                if self.service.failed.is_set():
                    return
            self.finished.set()

        return chosen, feed

    def _take_in(self, message: TimedMessage, clock: ManualClock, intake: _Intake) -> None:
        granted = self.service.gate.allows(message.client, Action.WRITE, message.topic)
        flags = RecordFlag.NONE if granted else RecordFlag.DENIED
        record = Record(RecordKind.MESSAGE, message.topic, message.payload, message.client, int(flags))
        while not self.service.writer.put(Submission(record, intake, at_ns=clock.wall_ns()), 1.0):
            if self.stopping.is_set() or self.service.failed.is_set():
                return
        intake.taken += 1

    def _supervise(self) -> None:
        """Acknowledges what nobody else has, and closes it with a word when its condition is over."""
        waits_s = SUPERVISOR_WAITS_S[self.plan.headless]
        seen: dict[tuple[str, Condition, Handling], int] = {}
        clock = SystemClock()
        while not self.stopping.wait(SUPERVISOR_LOOKS_EVERY_S):
            for alert in self.service.board.alerts(open_only=True):
                since_ns = seen.setdefault((alert.id, alert.condition, alert.handling), clock.monotonic_ns())
                if clock.monotonic_ns() - since_ns < waits_s * NS_PER_S:
                    continue
                # Somebody at the board, or the end of the episode, may be quicker: then there is nothing left to do.
                with suppress(Conflict, NotFound):
                    if alert.handling is Handling.NONE:
                        note = "已派洒水车 / water truck sent"
                        self.service.submit(Act(ActKind.ACKNOWLEDGE, SUPERVISOR, alert.id, note))
                    elif alert.acknowledged_by == SUPERVISOR and alert.condition is Condition.CLEARED:
                        note = "已恢复正常 / back to normal after watering"
                        self.service.submit(Act(ActKind.RESOLVE, SUPERVISOR, alert.id, note))

    def _run(self, name: str, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - shown by finish() on the main thread
                self.failure = error
                self.finished.set()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()


class _Intake:
    """Counts what was given to the journal and what is safe in it."""

    def __init__(self) -> None:
        self.taken = 0
        self._safe = 0
        self._changed = threading.Condition()

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        """`ingest.journal_writer.AckSink`."""
        with self._changed:
            self._safe += len(tokens)
            self._changed.notify_all()

    def is_safe(self, timeout_s: float) -> bool:
        """Wait until everything taken is committed."""
        with self._changed:
            return self._changed.wait_for(lambda: self._safe >= self.taken, timeout_s)


def again_and_again(policies: Mapping[str, Policy], scenario: Scenario, start_ns: int) -> Iterator[TimedMessage]:
    """The scenario's messages, and what else happens at the first mine, without end: when it is over it comes again, so
    that there is always something to see."""
    while True:
        end_ns = start_ns + scenario.duration * NS_PER_S
        beside = doings(next(iter(policies.values())), start_ns, end_ns)
        readings = messages(list(policies.values()), scenario, start_ns, end_ns)
        yield from merge(readings, beside, key=lambda message: message.time_ns)
        start_ns = end_ns


def _is_free(port: int) -> bool:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
