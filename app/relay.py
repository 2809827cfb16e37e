"""Forwarding to other platforms, as the service runs it: the sender over the state's outbox, fed by the policies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import structlog

from greenmine.core.errors import ConfigError
from greenmine.core.relay import RelayTotals, WaitingFrame
from greenmine.ingest.hj212_relay import Destination, RelaySender, Settlement
from greenmine.pipeline.state import JudgeState
from greenmine.policy.relay import Relay as RelaySettings
from greenmine.store import relay
from greenmine.store.state import StateDb
from greenmine.web.backend import Check

log = structlog.get_logger(__name__)


class StateRelayOutbox:
    """`ingest.hj212_relay.RelayOutbox` over the relational state."""

    def __init__(self, state: StateDb) -> None:
        self._state = state

    def waiting(self, mine: str, after_id: int, most: int) -> list[WaitingFrame]:
        """The oldest behind an id."""
        with self._state.reading() as connection:
            return relay.waiting(connection, mine, after_id, most)

    def newest_id(self, mine: str) -> int:
        """The id of the newest."""
        with self._state.reading() as connection:
            return relay.newest_id(connection, mine)

    def settle(self, settled: Mapping[str, Settlement]) -> None:
        """Forget and count."""
        with self._state.writing() as connection:
            for mine, one in settled.items():
                relay.settle(connection, mine, one.delivered, one.unanswered)

    def trim(self, most: Mapping[str, int]) -> dict[str, int]:
        """Keep the quota; writes only where there is something to drop."""
        with self._state.reading() as connection:
            depths = relay.depths(connection)
        if all(depth <= most.get(mine, 0) for mine, depth in depths.items()):
            return {}
        with self._state.writing() as connection:
            return relay.trim(connection, most)


class Relay:
    """Idle where no policy forwards anything."""

    def __init__(self, state: StateDb, secrets: Callable[[str], str], judged: Callable[[], JudgeState]) -> None:
        self._state = state
        self._secrets = secrets
        self._judged = judged
        self._generation = -1
        self._started = False
        self._problems: dict[str, str] = {}
        self.sender = RelaySender(StateRelayOutbox(state))

    def start(self) -> None:
        """Begin to forward."""
        self._started = True
        self.sender.start()
        self._refresh()

    def stop(self) -> None:
        """End; what waits goes on waiting."""
        if self._started:
            self.sender.stop()

    def on_commit(self, _: bool, __: bool) -> None:
        """Take over what policies that became active say."""
        if self._started and self._generation != self._judged().generation:
            self._refresh()

    def checks(self) -> Iterable[Check]:
        """A line for each mine that forwards."""
        with self._state.reading() as connection:
            depths, totals = relay.depths(connection), relay.totals(connection)
        for mine, line in sorted(self.sender.lines.items()):
            waiting, total = depths.get(mine, 0), totals.get(mine, RelayTotals())
            trouble = self._problems.get(mine, "") or (line.trouble if waiting else "")
            detail = f"{mine}: {waiting} messages wait, {total.delivered} were answered 待发与已应答"
            if total.dropped or total.unanswered:
                detail += (
                    f", {total.dropped} were dropped by the quota and {total.unanswered} never answered "
                    "超额丢弃与未应答"
                )
            where = f"{line.destination.host}:{line.destination.port}"
            advice = (
                f"look at the platform {where} and the mine's section relay; readings wait in the outbox "
                "请检查上级平台，数据在队列中等待"
            )
            yield Check("relay", not trouble, f"{detail}; {trouble}" if trouble else detail, advice if trouble else "")

    def values(self) -> Iterable[tuple[str, str, str, float]]:
        """For /metrics."""
        with self._state.reading() as connection:
            depths, totals = relay.depths(connection), list(relay.totals(connection).values())
        lines = list(self.sender.lines.values())
        if not lines and not depths and not totals:
            return
        connected = sum(line.connected for line in lines)
        yield "gauge", "greenmine_relay_platforms", "Platforms that readings are forwarded to.", len(lines)
        yield "gauge", "greenmine_relay_connected", "Of these, connected now.", connected
        yield "gauge", "greenmine_relay_waiting", "Messages for other platforms not answered yet.", sum(depths.values())
        total = RelayTotals(*(sum(counts) for counts in zip(*totals, strict=True))) if totals else RelayTotals()
        yield "counter", "greenmine_relay_delivered", "Messages that a platform answered.", total.delivered
        yield "counter", "greenmine_relay_unanswered", "Messages given up, others being answered.", total.unanswered
        yield "counter", "greenmine_relay_dropped", "Messages dropped by the outbox's quota.", total.dropped
        yield "counter", "greenmine_relay_resent", "Messages sent again since start.", self.sender.resent

    def _refresh(self) -> None:
        judged = self._judged()
        self._generation = judged.generation
        problems: dict[str, str] = {}
        destinations = {
            mine: self._destination(mine, policy.relay, problems)
            for mine, policy in judged.policies.items()
            if policy.relay is not None
        }
        for mine, problem in problems.items():
            if self._problems.get(mine) != problem:
                log.warning("relay: a password cannot be had", mine=mine, problem=problem)
        self._problems = problems
        self.sender.use(destinations)

    def _destination(self, mine: str, settings: RelaySettings, problems: dict[str, str]) -> Destination:
        passwords: dict[str, str] = {}
        for station in settings.stations:
            try:
                passwords[station.mn] = self._secrets(station.password)
            except ConfigError as error:
                problems.setdefault(mine, str(error))
        return Destination(
            mine,
            settings.host,
            settings.port,
            float(settings.overtime),
            settings.recount,
            settings.most_waiting,
            passwords,
        )
