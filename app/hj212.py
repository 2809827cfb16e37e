"""HJ 212 over TCP, as the service runs it: the listener, fed with the stations that are registered."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from greenmine.core.clock import Clock
from greenmine.core.errors import ConfigError
from greenmine.ingest.hj212_connection import Limits
from greenmine.ingest.hj212_gate import Station, StationGate
from greenmine.ingest.hj212_listener import Hj212Listener
from greenmine.ingest.hj212_sm4 import to_key
from greenmine.ingest.journal_writer import JournalWriter
from greenmine.pipeline.state import JudgeState
from greenmine.policy.hj212 import Hj212Settings as StationSettings
from greenmine.settings import Hj212Settings
from greenmine.web.backend import Check

log = structlog.get_logger(__name__)
Secrets = Callable[[str], str]


class Hj212:
    """Off unless a port is set; everything may be called then all the same."""

    def __init__(
        self,
        settings: Hj212Settings,
        writer: JournalWriter,
        clock: Clock,
        secrets: Secrets,
        state: Callable[[], JudgeState],
    ) -> None:
        self._secrets = secrets
        self._state = state
        self._generation = -1
        self.gate = StationGate()
        self._started = False
        self._problems: frozenset[str] = frozenset()
        self.listener: Hj212Listener | None = None
        if settings.port is not None:
            limits = Limits(
                settings.max_connections,
                settings.max_per_address,
                settings.unfinished_s,
                settings.first_frame_s,
                settings.idle_s,
            )
            self.listener = Hj212Listener(settings.host, settings.port, self.gate, writer, clock, limits)

    def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: the port is taken.
        """
        if self.listener is not None:
            self._started = True
            self._refresh()
            self.listener.start()

    def stop(self) -> None:
        """Close all connections; what was not answered, the stations send again."""
        if self.listener is not None:
            self.listener.stop()

    def on_commit(self, _: bool, __: bool) -> None:
        """Take over the stations of policies and facts that became active."""
        if self._started and self._generation != self._state().generation:
            self._refresh()

    def request_history(self, mn: str, payload: bytes) -> bool:
        """`Hj212Listener.request_history`; False where there is no listener."""
        return self.listener is not None and self.listener.request_history(mn, payload)

    def checks(self) -> Iterable[Check]:
        """Whether it listens, and whether all stations can get in."""
        listener = self.listener
        if listener is None:
            return
        locked_out = self.gate.without_password
        if not listener.is_alive:
            yield Check("hj212", False, "the listener has ended 监听已停止", "restart the service 请重启服务")
        elif locked_out:
            names = ", ".join(locked_out[:5]) + (" ..." if len(locked_out) > 5 else "")
            detail = f"{len(locked_out)} stations are refused, their password is missing 缺少密码: {names}"
            yield Check(
                "hj212",
                False,
                detail,
                "set hj212.password of these devices and put the secret into its file 请为这些设备设置密码",
            )
        else:
            detail = (
                f"listens on {listener.host}:{listener.port}, {listener.stations} of {len(self.gate)} stations 个站点"
            )
            yield Check("hj212", True, detail, "")

    def values(self) -> Iterable[tuple[str, str, str, float]]:
        """For /metrics."""
        one = self.listener
        if one is None:
            return
        yield "gauge", "greenmine_hj212_connections", "Connections of stations.", one.connections
        yield "gauge", "greenmine_hj212_stations", "Stations heard over an open connection.", one.stations
        yield "counter", "greenmine_hj212_frames", "Frames of registered stations since start.", one.frames
        yield "counter", "greenmine_hj212_answered", "Frames answered after their commit.", one.answered
        yield "counter", "greenmine_hj212_damaged", "Frames that did not fit, and bytes between.", one.damaged
        yield "counter", "greenmine_hj212_denied", "Frames with a wrong password.", one.denied
        yield "counter", "greenmine_hj212_unknown", "Frames of stations that no policy names.", one.unknown
        yield "counter", "greenmine_hj212_refused", "Connections refused by a limit.", one.refused_connections
        asked = one.history
        yield "counter", "greenmine_hj212_history_asked", "Requests for history sent to stations.", asked.asked
        yield "counter", "greenmine_hj212_history_done", "Requests that a station carried out.", asked.done
        lost = asked.refused + asked.unanswered
        yield "counter", "greenmine_hj212_history_failed", "Requests refused, failed or not answered.", lost

    def _refresh(self) -> None:
        state = self._state()
        self._generation = state.generation
        problems: set[str] = set()
        stations: dict[str, Station] = {}
        for (network, mn), named in state.registry.addresses.items():
            # Of an MN that two devices claim nobody knows whose readings come.
            if network == "mn" and named is not None:
                policy = state.policies.get(named[0])
                device = policy.device(named[1]) if policy is not None else None
                stations[mn] = self._station(device.hj212 if device is not None else None, problems)
        for problem in sorted(problems - self._problems):
            log.warning("hj212: a secret cannot be used", problem=problem)
        self._problems = frozenset(problems)
        self.gate.replace(stations)

    def _station(self, settings: StationSettings | None, problems: set[str]) -> Station:
        if settings is None:
            return Station(None)
        password = self._secret(settings.password, problems)
        written = self._secret(settings.sm4_key, problems)
        try:
            return Station(password, to_key(written) if written is not None else None)
        except ValueError as error:
            problems.add(f"{settings.sm4_key}: {error}")
            return Station(password)

    def _secret(self, reference: str | None, problems: set[str]) -> str | None:
        if reference is None:
            return None
        try:
            return self._secrets(reference)
        except ConfigError as error:
            problems.add(str(error))
            return None
