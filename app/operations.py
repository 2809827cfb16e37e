"""How the service itself is: the checks behind /readyz and `doctor`, and its metrics."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

import greenmine
from greenmine.core import sqlite_library
from greenmine.core.account import Account, DeviceHour
from greenmine.core.clock import Clock, SystemClock, to_rfc3339
from greenmine.core.dead_letter import DeadLetterTotals
from greenmine.core.gap import GapReason
from greenmine.device_hours import DeviceHours
from greenmine.home import Home
from greenmine.ingest.backlog import Aside
from greenmine.store import dead_letters, gaps, hours
from greenmine.store.state import StateDb
from greenmine.web.backend import Check

DISK_FREE_LEAST = 0.05
LAG_MOST_BATCHES = 2_000
REST = 9
"""How many times as long as it took the accounts of hours are not worked out again."""


class Gauges(Collector):
    """Reads every number at the moment it is asked for; nothing is counted twice.

    Only the accounts of hours may be older: they look at all that waits for the store, which takes longer the longer
    that is away. They are worked out by one at a time, and a tenth of the time at most, so that whoever asks often
    keeps no alarm waiting.
    """

    def __init__(
        self,
        values: Callable[[], Iterable[tuple[str, str, str, float]]],
        state: StateDb,
        clock: Clock = SystemClock(),  # noqa: B008 - without state
    ) -> None:
        self._values = values
        self._state = state
        self._clock = clock
        self._hours = DeviceHours()
        self._working = threading.Lock()
        self._last_hours: list[DeviceHour] = []
        self._rest_until_ns = 0

    def collect(self) -> Iterator[Any]:
        """All metric families."""
        yield InfoMetricFamily(
            "greenmine_build", "What runs.", {"version": greenmine.__version__, "sqlite": sqlite_library.version()}
        )
        account = self._state.account()
        readings = GaugeMetricFamily("greenmine_readings", "The message account, in readings.", labels=["state"])
        for name, value in account._asdict().items():
            readings.add_metric([name], value)
        yield readings
        yield from self._intake()
        for kind, name, text, value in self._values():
            family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            yield family(name, text, value=value)

    def _intake(self) -> Iterator[Any]:
        found = self._hours_lately()
        with self._state.reading() as connection:
            reasons, gap_counts = hours.reason_totals(connection), gaps.counts(connection)
            letters = dead_letters.totals(connection)
        text = "Readings of the last complete hour (source time) by device; `missing` of `expected`."
        by_hour = GaugeMetricFamily("greenmine_device_hour_readings", text, labels=["mine", "device", "state"])
        for one in found:
            for state, number in {"expected": one.expected, "missing": one.missing, **one.account._asdict()}.items():
                by_hour.add_metric([one.mine, one.device, state], number)
        yield by_hour
        text = "Why items were refused, readings quarantined or flagged."
        by_reason = CounterMetricFamily("greenmine_reasons", text, labels=["kind", "word"])
        for (kind, word), number in reasons.items():
            by_reason.add_metric([kind, word], number)
        yield by_reason
        by_end = GaugeMetricFamily("greenmine_gaps", "Gaps found in what devices number.", labels=["reason"])
        for reason in GapReason:
            by_end.add_metric([reason.value], gap_counts.get(reason.value, 0))
        yield by_end
        yield GaugeMetricFamily("greenmine_dead_letters", "Dead letters kept.", value=letters.rows)
        yield GaugeMetricFamily("greenmine_dead_letter_bytes", "Bytes of their payloads.", value=letters.bytes)
        text = "Dead letters dropped unreplayed, oldest first, to keep within the quota."
        yield CounterMetricFamily("greenmine_dead_letters_dropped", text, value=letters.dropped)

    def _hours_lately(self) -> list[DeviceHour]:
        if self._working.acquire(blocking=False):
            try:
                begun_ns = self._clock.monotonic_ns()
                if begun_ns >= self._rest_until_ns:
                    with self._state.reading() as connection:
                        self._last_hours = self._hours.last_complete(connection)
                    ended_ns = self._clock.monotonic_ns()
                    self._rest_until_ns = ended_ns + REST * (ended_ns - begun_ns)
            finally:
                self._working.release()
        return self._last_hours


class ServiceOperations:
    """`web.backend.Operations` for a running service."""

    def __init__(
        self,
        home: Home,
        state: StateDb,
        checks: Callable[[], list[Check]],
        values: Callable[[], Iterable[tuple[str, str, str, float]]],
        administer: Callable[[str, Mapping[str, Any], str], Any],
    ) -> None:
        self._home = home
        self._state = state
        self._checks = checks
        self._administer = administer
        self._registry = CollectorRegistry()
        self._registry.register(Gauges(values, state))

    def account(self) -> Account:
        """The message account now."""
        return self._state.account()

    def checks(self) -> list[Check]:
        """The service's parts and the machine under it."""
        with self._state.reading() as connection:
            letters = dead_letters.totals(connection)
        return [*self._checks(), dead_letter_check(letters), disk_check(self._home), sqlite_check()]

    def metrics_text(self) -> tuple[bytes, str]:
        """OpenMetrics exposition and its content type."""
        text: bytes = generate_latest(self._registry)  # type: ignore[no-untyped-call]
        return text, CONTENT_TYPE_LATEST

    def administer(self, operation: str, arguments: Mapping[str, Any], principal: str) -> Any:
        """See `administration`."""
        return self._administer(operation, arguments, principal)


def backlog_check(aside: Sequence[Aside]) -> Check:
    """What is set aside while live readings go first. It is no fault: it drains by itself."""
    if not aside:
        return Check("backlog", True, "nothing is set aside 没有搁置的积压", "")
    records, since = sum(one.records for one in aside), to_rfc3339(aside[0].since_ns)
    detail = (
        f"{records:,} records since {since} are set aside and judged beside live 搁置 {records:,} 条，自 {since} 起"
    )
    advice = "live alarms go first; readings of that time are missing in reports until it is done 实时告警优先，请稍候"
    return Check("backlog", True, detail, advice)


def broker_drops_check(dropped: int) -> Check:
    """What the broker has dropped is gone there: it is no fault of the service now, but has to be known and mended."""
    detail = (
        f"the broker has dropped {dropped:,} messages since it started, after acknowledging them "
        f"消息服务器启动以来已确认却丢弃 {dropped:,} 条"
    )
    advice = (
        "raise max_queued_messages and max_queued_bytes as in deploy/mosquitto/mosquitto.conf; `greenmine gaps list` "
        "lists what is missing 请调大这两项；缺失的编号见 greenmine gaps list"
    )
    return Check("broker", True, detail, advice)


def dead_letter_check(totals: DeadLetterTotals) -> Check:
    """How full the dead letters are. Full is no fault of the service: it goes on, and drops the oldest."""
    kept = f"{totals.rows:,} of at most {dead_letters.MOST_ROWS:,} kept 保留 ({totals.bytes / 1e6:.1f} MB)"
    detail = f"{kept}, {totals.dropped:,} dropped unreplayed 未重放即丢弃" if totals.dropped else kept
    return Check("dead letters", True, detail, "`greenmine dead-letters list` shows them 用该命令查看")


def disk_check(home: Home) -> Check:
    """Room on the disk of the home."""
    usage = shutil.disk_usage(home.path)
    free = usage.free / usage.total
    detail = f"{usage.free / 1e9:.1f} GB ({free:.0%}) free 可用 at {home.path}"
    return Check(
        "disk",
        free > DISK_FREE_LEAST,
        detail,
        "free space or move the home: a full disk stops the journal 请清理或迁移，磁盘满会停止记录",
    )


def sqlite_check() -> Check:
    """The version of SQLite, and what follows from it. An old one is safe under our rule of one writing connection."""
    detail = f"SQLite {sqlite_library.version()}"
    if sqlite_library.has_wal_reset_fault():
        detail += (
            ": has the WAL-reset fault; safe here because one connection writes each file "
            "有 WAL 重置缺陷，单连接写入可避免"
        )
    return Check("sqlite", True, detail, "install pysqlite3, or a Python with SQLite 3.51.3 or newer 请安装")
