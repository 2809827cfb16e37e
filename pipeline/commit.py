"""Writes the effects of some batches: cursor, account, conditions, alerts, dead letters and outboxes in ONE
transaction."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, insert, select, update

from greenmine.core.account import LOOKED_UP_NS
from greenmine.ingest.backlog import Aside
from greenmine.pipeline import edge_nodes, hj212_packets
from greenmine.pipeline.downlinks import KEPT_NS as DOWNLINKS_KEPT_NS
from greenmine.pipeline.effects import (
    Chunk,
    DownlinkState,
    Effects,
    Forget,
    NoticeState,
    SeriesState,
)
from greenmine.pipeline.identities import join_chunks, pack_chunk, unpack_chunk
from greenmine.store import (
    activities,
    alerts,
    audit,
    dead_letters,
    gaps,
    hours,
    outbox,
    relay,
    schema,
    set_apart,
    waiting,
)
from greenmine.store.columns import pack
from greenmine.store.prepared import Prepared
from greenmine.store.state import JOURNAL_CLOCK, StateDb, add_to_account, get_meta, set_meta, set_progress

CURSOR = "journal_cursor"
CLOCK = JOURNAL_CLOCK
LISTENING = "listening_since_ns"
LINK_DOWN = "link_down_since_ns"
PRUNED = "identities_pruned_ns"
WAITING_EVICTED = "waiting_evicted"
ASIDE = "set_aside"
_LOG = Prepared(insert(schema.recent), ("cursor", "taken", "blob"))
_CHUNKS = Prepared(insert(schema.identity), ("series_id", "first_ns", "last_ns", "blob"))
_SAME_EXTENT = (
    (schema.identity.c.series_id == bindparam("b_series"))
    & (schema.identity.c.first_ns == bindparam("b_first"))
    & (schema.identity.c.last_ns == bindparam("b_last"))
)
_SAME_CHUNK = select(schema.identity.c.blob).where(_SAME_EXTENT)
_SERIES_SAVED = ("newest_ns", "value", "quality", "received_ns", "usable_clock_ns")
_SAVE_SERIES = Prepared(
    update(schema.series)
    .where(schema.series.c.id == bindparam("b_id"))
    .values({name: bindparam(f"b_{name}") for name in _SERIES_SAVED})
)


def cursor_of(state: StateDb) -> int:
    """The last batch that was judged; 0 before the first."""
    with state.reading() as connection:
        return int(get_meta(connection, CURSOR) or 0)


def aside_of(connection: Connection) -> tuple[Aside, ...]:
    """What is set aside, the oldest first."""
    return tuple(Aside(*one) for one in json.loads(get_meta(connection, ASIDE) or "[]"))


def commit(state: StateDb, fx: Effects) -> None:
    """Write everything or nothing."""
    with state.writing() as connection:
        set_progress(connection, {CURSOR: str(fx.cursor), CLOCK: str(fx.clock_ns)})
        add_to_account(connection, fx.account)
        _series(connection, fx)
        packed = _identities(connection, fx)
        _conditions(connection, fx)
        alerts.save(connection, fx.alerts.values())
        alerts.append_transitions(connection, fx.transitions)
        _notices(connection, fx)
        _downlinks(connection, fx)
        _activities(connection, fx)
        _gaps(connection, fx)
        edge_nodes.save(connection, fx.edge_nodes.values())
        _hours(connection, fx)
        hj212_packets.save(connection, fx.hj212_packets)
        hj212_packets.save_joined(connection, fx.hj212_joined)
        _refusals(connection, fx)
        _records(connection, fx)
        outbox.push_packed(connection, packed, len(fx.store))
        outbox.push(connection, fx.store_after_check, check_store=True)
        outbox.push(connection, fx.store_replayed, check_store=True, replayed=True)
        relay.push(connection, fx.relay, fx.relay_qn_ms)
        audit.append(connection, fx.audit)


def _series(connection: Connection, fx: Effects) -> None:
    table = schema.series
    if fx.new_series:
        connection.execute(insert(table), [_series_row(state) for state in fx.new_series.values()])
    if fx.saved_series:
        rows = [
            {"b_id": state.id, **{f"b_{name}": getattr(state, name) for name in _SERIES_SAVED}}
            for state in fx.saved_series
        ]
        _SAVE_SERIES(connection, rows)


def _series_row(state: SeriesState) -> dict[str, Any]:
    return {
        "id": state.id,
        **state.series._asdict(),
        "newest_ns": state.newest_ns,
        "value": state.value,
        "quality": state.quality,
        "received_ns": state.received_ns,
        "usable_clock_ns": state.usable_clock_ns,
    }


def _identities(connection: Connection, fx: Effects) -> bytes:
    """Write the log and the chunks; the packed readings for the outbox."""
    packed = b""
    for columns in (fx.not_stored, fx.store):
        if len(columns):
            packed = pack(columns)
            _LOG(connection, [{"cursor": fx.cursor, "taken": columns is fx.store, "blob": packed}])
    if fx.chunks:
        # A late reading may make a chunk of the same extent as an older one: then both are one.
        _CHUNKS(connection, [_joined(connection, chunk) for chunk in fx.chunks])
    if fx.log_done is not None:
        connection.execute(delete(schema.recent).where(schema.recent.c.cursor <= fx.log_done))
    if fx.forget is not None:
        _forget(connection, fx.forget)
    return packed if len(fx.store) else b""


def _joined(connection: Connection, chunk: Chunk) -> dict[str, Any]:
    series_id, first_ns, last_ns, blob = chunk
    extent = {"b_series": series_id, "b_first": first_ns, "b_last": last_ns}
    there = connection.execute(_SAME_CHUNK, extent).scalar_one_or_none()
    if there is not None:
        connection.execute(delete(schema.identity).where(_SAME_EXTENT), extent)
        blob = join_chunks(there, blob)
    return {"series_id": series_id, "first_ns": first_ns, "last_ns": last_ns, "blob": blob}


def _forget(connection: Connection, forget: Forget) -> None:
    table = schema.identity
    set_meta(connection, PRUNED, str(forget.clock_ns))
    shorter = table.c.series_id.not_in(list(forget.but))
    _cut(connection, shorter, forget.before_ns)
    for series_id, before_ns in forget.but.items():
        _cut(connection, table.c.series_id == series_id, before_ns)


def _cut(connection: Connection, which: ColumnElement[bool], before_ns: int) -> None:
    """Drop the identities of these series before a time; exactly, since a window that grows is filled from the rest."""
    table = schema.identity
    connection.execute(delete(table).where(which, table.c.last_ns < before_ns))
    for row in connection.execute(select(table).where(which, table.c.first_ns < before_ns)).all():
        kept = unpack_chunk(row.blob)
        kept.drop_before(before_ns)
        same = (table.c.series_id == row.series_id) & (table.c.first_ns == row.first_ns)
        connection.execute(delete(table).where(same, table.c.last_ns == row.last_ns))
        chunk = Chunk(row.series_id, *pack_chunk(kept))
        connection.execute(insert(table), _joined(connection, chunk))


def _conditions(connection: Connection, fx: Effects) -> None:
    table = schema.condition
    for (mine, rule, series_id), condition in fx.conditions.items():
        connection.execute(
            delete(table).where(table.c.mine == mine, table.c.rule == rule, table.c.series_id == series_id)
        )
        if condition is not None:
            row = {"mine": mine, "rule": rule, "series_id": series_id, **condition._asdict()}
            connection.execute(insert(table).values(**{**row, "phase": condition.phase.value}))


def _notices(connection: Connection, fx: Effects) -> None:
    table = schema.notice
    for key, told in fx.notices.items():
        row = _notice_row(told)
        changed = connection.execute(update(table).where(table.c.key == key).values(row))
        if changed.rowcount == 0:
            connection.execute(insert(table).values(row))


def _notice_row(told: NoticeState) -> dict[str, Any]:
    notice = told.notice
    return {
        "key": notice.key,
        "alert_id": notice.alert_id,
        "transition": notice.transition,
        "kind": notice.kind.value,
        "contact": notice.contact,
        "channel": notice.channel,
        "target": notice.target,
        "subject": notice.subject,
        "text": notice.text,
        "payload": notice.payload,
        "state": told.state,
        "attempts": told.attempts,
        "created_ns": told.created_ns,
        "next_ns": told.next_ns,
        "first_attempt_ns": told.first_attempt_ns,
        "ended_ns": told.ended_ns,
        "detail": told.detail,
    }


def _downlinks(connection: Connection, fx: Effects) -> None:
    table = schema.downlink
    if fx.downlink_states:
        touched = delete(table).where(table.c.id == bindparam("b_id"))
        connection.execute(touched, [{"b_id": identity} for identity in fx.downlink_states])
        connection.execute(insert(table), [_downlink_row(one) for one in fx.downlink_states.values()])
    if fx.forget is not None:
        connection.execute(delete(table).where(table.c.ended_ns < fx.forget.clock_ns - DOWNLINKS_KEPT_NS))


def _downlink_row(moved: DownlinkState) -> dict[str, Any]:
    row = {**moved.downlink._asdict(), **moved._asdict(), "kind": moved.downlink.kind.value}
    del row["downlink"]
    return row


def _activities(connection: Connection, fx: Effects) -> None:
    if fx.activities:
        rows = [
            {
                **activity._asdict(),
                "kind": activity.kind.value,
                "state": activity.state.value,
                "at_ns": at,
                "record_id": r,
            }
            for activity, at, r in fx.activities.values()
        ]
        connection.execute(insert(schema.activity), rows)
    activities.save(connection, list(fx.activity_intervals.values()))
    if fx.forget is not None:
        activities.prune(connection, fx.forget.clock_ns - LOOKED_UP_NS)


def _gaps(connection: Connection, fx: Effects) -> None:
    gaps.save_sequences(connection, fx.sequences.values(), fx.cursor)
    gaps.log_advances(connection, fx.advanced.values(), fx.cursor)
    gaps.save(connection, fx.gaps)
    if fx.log_done is not None:
        gaps.cut_log(connection, fx.log_done)
    if fx.forget is not None:
        gaps.prune(connection, fx.forget.clock_ns - LOOKED_UP_NS)


def _hours(connection: Connection, fx: Effects) -> None:
    hours.add(connection, fx.hours)
    hours.add_reasons(connection, fx.reasons)
    if fx.forget is not None:
        hours.prune(connection, fx.forget.clock_ns - LOOKED_UP_NS)


def _refusals(connection: Connection, fx: Effects) -> None:
    if fx.replayed_records:
        table = schema.dead_letter
        replayed = table.c.record_id.in_(fx.replayed_records) & table.c.replayed_ns.is_(None)
        connection.execute(update(table).where(replayed).values(replayed_ns=fx.clock_ns))
    dead_letters.keep(connection, [letter._asdict() for letter in fx.dead])
    if fx.quarantined:
        connection.execute(
            insert(schema.quarantine),
            [
                {
                    "at_ns": one.at_ns,
                    "record_id": one.record_id,
                    **one.reading.series._asdict(),
                    "time_ns": one.reading.time_ns,
                    "value": one.reading.value,
                    "quality": int(one.reading.quality),
                    "reason": one.reason,
                }
                for one in fx.quarantined
            ],
        )
    if fx.conflicts:
        connection.execute(
            insert(schema.conflict),
            [
                {
                    "at_ns": one.at_ns,
                    "record_id": one.record_id,
                    **one.reading.series._asdict(),
                    "time_ns": one.reading.time_ns,
                    "kept": one.kept,
                    "refused": one.reading.value,
                }
                for one in fx.conflicts
            ],
        )
    if fx.forget is not None:
        set_apart.prune(connection, fx.forget.clock_ns - LOOKED_UP_NS)


def _records(connection: Connection, fx: Effects) -> None:
    if fx.facts:
        connection.execute(insert(schema.fact), [{**f._asdict(), "kind": f.kind.value} for f in fx.facts])
    waiting.save(connection, fx.waiting)
    waiting.mute(connection, fx.muted)
    if fx.waiting_evicted is not None:
        set_meta(connection, WAITING_EVICTED, str(fx.waiting_evicted))
    if fx.recalibrations:
        connection.execute(insert(schema.recalibration), [span._asdict() for span in fx.recalibrations])
    table = schema.policy_version
    for activation in fx.policies:
        connection.execute(update(table).where(table.c.mine == activation.mine).values(active=False))
        connection.execute(
            insert(table).values(
                mine=activation.mine,
                hash=activation.hash,
                activated_ns=activation.at_ns,
                principal=activation.principal,
                canonical=activation.canonical,
                active=bool(activation.canonical),
            )
        )
    for kept in fx.kept_results:
        row = {**kept._asdict(), "detail": json.dumps(kept.detail, sort_keys=True)}
        connection.execute(insert(schema.act_result).values(row))
    if fx.link_changed:
        set_meta(connection, LISTENING, str(fx.listening_since_ns))
        set_meta(connection, LINK_DOWN, "" if fx.link_down_since_ns is None else str(fx.link_down_since_ns))
    if fx.aside is not None:
        set_meta(connection, ASIDE, json.dumps(fx.aside))
