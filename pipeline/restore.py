"""Builds the judge's memory from the last commit."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, select

from greenmine.core.alert import AlertKey, Condition
from greenmine.core.quality import Quality
from greenmine.core.reading import Series
from greenmine.ingest.device_facts import KINDS, DeviceFacts
from greenmine.pipeline import commit, edge_nodes, hj212_packets
from greenmine.pipeline.effects import DownlinkState, NoticeState, SeriesState
from greenmine.pipeline.state import JudgeState, Past
from greenmine.policy.canonical import from_canonical_json
from greenmine.rules.conditions import ConditionState
from greenmine.store import activities, alerts, facts, gaps, hours, relay, schema, waiting
from greenmine.store.columns import Columns, unpack
from greenmine.store.downlinks import to_downlink
from greenmine.store.notices import to_notice
from greenmine.store.outbox import SeriesNames
from greenmine.store.state import StateDb, get_meta


def restore(state: StateDb, past: Past) -> tuple[JudgeState, int]:
    """The judge's state as of the last commit, and the journal cursor it stands at."""
    judge = JudgeState()
    with state.reading() as connection:
        cursor = int(get_meta(connection, commit.CURSOR) or 0)
        judge.clock_ns = int(get_meta(connection, commit.CLOCK) or 0)
        judge.listening_since_ns = int(get_meta(connection, commit.LISTENING) or 0)
        down = get_meta(connection, commit.LINK_DOWN)
        judge.link_down_since_ns = int(down) if down else None
        judge.pruned_ns = int(get_meta(connection, commit.PRUNED) or 0)
        judge.aside = commit.aside_of(connection)
        _series(connection, judge)
        _conditions(connection, judge)
        for alert in alerts.listed(connection, open_only=True):
            judge.keep_alert(alert)
        for row in connection.execute(select(schema.notice).where(schema.notice.c.state == "pending")):
            judge.notices[row.key] = _notice_state(row)
        _downlinks(connection, judge)
        for interval in activities.kept(connection):
            judge.activities.setdefault(interval.mine, {})[interval.id] = interval
        _sequences(connection, judge)
        judge.uncounted = hours.uncounted(connection, SeriesNames())
        judge.next_activity_id = 1 + activities.last_id(connection)
        judge.alerts_raised = connection.execute(select(func.count()).select_from(schema.alert)).scalar_one()
        judge.next_fact_id = 1 + (connection.execute(select(func.max(schema.fact.c.id))).scalar() or 0)
        judge.edge_nodes = edge_nodes.load(connection)
        judge.devices = DeviceFacts.of(facts.listed(connection, kinds=KINDS))
        judge.waiting = {one.key: one for one in reversed(waiting.listed(connection))}
        judge.muted = set(waiting.muted(connection))
        judge.waiting_evicted = int(get_meta(connection, commit.WAITING_EVICTED) or 0)
        judge.hj212_packets = hj212_packets.load(connection)
        judge.relay_qn_ms = relay.newest_qns(connection)
        policies = {}
        for row in connection.execute(select(schema.policy_version).where(schema.policy_version.c.active)):
            policies[row.mine] = from_canonical_json(row.canonical)
            judge.policy_hashes[row.mine] = row.hash
            judge.expected_since_ns[row.mine] = row.activated_ns
    judge.set_policies(policies, past)
    return judge, cursor


def _notice_state(row: Row[Any]) -> NoticeState:
    return NoticeState(
        to_notice(row),
        row.state,
        row.attempts,
        row.created_ns,
        row.next_ns,
        row.first_attempt_ns,
        row.ended_ns,
        row.detail,
    )


def _downlinks(connection: Connection, judge: JudgeState) -> None:
    table = schema.downlink
    query = select(table).where(table.c.state == "pending").order_by(table.c.created_ns, table.c.id)
    for row in connection.execute(query):
        judge.downlinks[row.id] = DownlinkState(
            to_downlink(row), row.state, row.attempts, row.next_ns, row.ended_ns, row.detail
        )


def _sequences(connection: Connection, judge: JudgeState) -> None:
    for known in gaps.sequences(connection):
        judge.sequences[known.stream] = known
        judge.next_sequence_id = max(judge.next_sequence_id, known.id + 1)
    for gap in gaps.waiting(connection):
        judge.sequences[gap.stream].missing[gap.id] = gap
        judge.gapped.add(gap.stream)


def _series(connection: Connection, judge: JudgeState) -> None:
    by_id: dict[int, SeriesState] = {}
    for row in connection.execute(select(schema.series)):
        series = Series(row.mine, row.device, row.metric, row.channel, row.stat, row.period_s)
        judge.series[series] = by_id[row.id] = SeriesState(
            row.id, series, row.newest_ns, row.value, row.quality, row.received_ns, row.usable_clock_ns
        )
        judge.next_series_id = max(judge.next_series_id, row.id + 1)
    for (blob,) in connection.execute(select(schema.recent.c.blob).order_by(schema.recent.c.id)):
        _recent(unpack(blob), by_id)


def _recent(columns: Columns, by_id: dict[int, SeriesState]) -> None:
    """Bring series to what they were after a commit of the log; those that were saved later stay as they are."""
    runs = iter(columns.runs)
    run = next(runs)
    for place, (series_id, time_ns, value, odd) in enumerate(columns.rows()):
        if place >= run.upto:
            run = next(runs)
        state = by_id[series_id]
        state.recent.add(time_ns, value, odd)
        if odd.quality & Quality.LATE or time_ns < state.newest_ns:
            continue
        state.newest_ns, state.value, state.quality = time_ns, value, odd.quality
        state.received_ns, state.unsaved = run.received_ns, True
        if odd.usable:
            state.usable_clock_ns = run.clock_ns


def _conditions(connection: Connection, judge: JudgeState) -> None:
    by_id = {known.id: series for series, known in judge.series.items()}
    for row in connection.execute(select(schema.condition)):
        series = by_id[row.series_id]
        state = ConditionState(Condition(row.phase), row.since_ns, row.clear_since_ns, row.value, row.time_ns)
        judge.conditions[row.mine, row.rule, series] = state
        key = AlertKey(row.mine, row.rule, series.device, series.channel)
        if state.phase in (Condition.FIRING, Condition.STALE):
            judge.firing.setdefault(key, set()).add(series)
        if state.phase is Condition.STALE:
            judge.stale.setdefault(key, set()).add(series)
