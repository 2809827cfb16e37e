"""Writes the effects of some batches: cursor, account, conditions, alerts, dead letters and outboxes in ONE
transaction."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, update

from greenmine.core.gap import Stream
from greenmine.pipeline.downlinks import KEPT_NS as DOWNLINKS_KEPT_NS
from greenmine.pipeline.effects import DownlinkState, Effects, NoticeState, SequenceState, SeriesState
from greenmine.store import activities, alerts, audit, gaps, outbox, schema
from greenmine.store.state import StateDb, add_to_account, set_meta

CURSOR = "journal_cursor"
LOOKED_UP_NS = 400 * 86_400 * 1_000_000_000
"""How long what came in beside readings (activity, gaps, the accounts of devices) can be looked up."""
CLOCK = "journal_clock_ns"
LISTENING = "listening_since_ns"
LINK_DOWN = "link_down_since_ns"
PRUNED = "identities_pruned_ns"


def commit(state: StateDb, fx: Effects) -> None:
    """Write everything or nothing."""
    with state.writing() as connection:
        set_meta(connection, CURSOR, str(fx.cursor))
        set_meta(connection, CLOCK, str(fx.clock_ns))
        add_to_account(connection, fx.account)
        _series(connection, fx)
        _seen(connection, fx)
        _conditions(connection, fx)
        alerts.save(connection, fx.alerts.values())
        alerts.append_transitions(connection, fx.transitions)
        _notices(connection, fx)
        _downlinks(connection, fx)
        _activities(connection, fx)
        _gaps(connection, fx)
        _refusals(connection, fx)
        _records(connection, fx)
        outbox.push(connection, fx.store, check_store=False)
        outbox.push(connection, fx.store_after_check, check_store=True)
        outbox.push(connection, fx.store_replayed, check_store=True, replayed=True)
        audit.append(connection, fx.audit)


def _series(connection: Connection, fx: Effects) -> None:
    table = schema.series
    new = [_series_row(state) for state in fx.new_series.values()]
    if new:
        connection.execute(insert(table), new)
    changed = [_series_row(state) for series, state in fx.series.items() if series not in fx.new_series]
    if changed:
        names = ("newest_ns", "value", "quality", "received_ns", "usable_clock_ns")
        statement = update(table).where(table.c.id == bindparam("b_id"))
        connection.execute(
            statement.values({name: bindparam(f"b_{name}") for name in names}),
            [{"b_id": row["id"], **{f"b_{name}": row[name] for name in names}} for row in changed],
        )


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


def _seen(connection: Connection, fx: Effects) -> None:
    table = schema.seen
    if fx.pruned_ns is not None:
        set_meta(connection, PRUNED, str(fx.pruned_ns))
    if fx.forget_before_ns:
        connection.execute(
            delete(table).where(table.c.series_id == bindparam("b_id"), table.c.time_ns < bindparam("b_before_ns")),
            [{"b_id": series_id, "b_before_ns": before_ns} for series_id, before_ns in fx.forget_before_ns.items()],
        )
    if fx.seen:
        connection.execute(
            insert(table),
            [
                {"series_id": series_id, "time_ns": time_ns, **one._asdict()}
                for (series_id, time_ns), one in fx.seen.items()
            ],
        )


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
    for key, waiting in fx.notices.items():
        row = _notice_row(waiting)
        changed = connection.execute(update(table).where(table.c.key == key).values(row))
        if changed.rowcount == 0:
            connection.execute(insert(table).values(row))


def _notice_row(waiting: NoticeState) -> dict[str, Any]:
    notice = waiting.notice
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
        "state": waiting.state,
        "attempts": waiting.attempts,
        "created_ns": waiting.created_ns,
        "next_ns": waiting.next_ns,
        "first_attempt_ns": waiting.first_attempt_ns,
        "ended_ns": waiting.ended_ns,
        "detail": waiting.detail,
    }


def _downlinks(connection: Connection, fx: Effects) -> None:
    table = schema.downlink
    if fx.downlink_states:
        touched = delete(table).where(table.c.id == bindparam("b_id"))
        connection.execute(touched, [{"b_id": identity} for identity in fx.downlink_states])
        connection.execute(insert(table), [_downlink_row(one) for one in fx.downlink_states.values()])
    if fx.pruned_ns is not None:
        connection.execute(delete(table).where(table.c.ended_ns < fx.pruned_ns - DOWNLINKS_KEPT_NS))


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
    if fx.pruned_ns is not None:
        activities.prune(connection, fx.pruned_ns - LOOKED_UP_NS)


def _gaps(connection: Connection, fx: Effects) -> None:
    table = schema.sequence
    if fx.sequences:
        same = (table.c.mine == bindparam("b_mine")) & (table.c.device == bindparam("b_device"))
        there = delete(table).where(same, table.c.stream == bindparam("b_stream"))
        keys = [{"b_mine": s.mine, "b_device": s.device, "b_stream": s.name} for s in fx.sequences]
        connection.execute(there, keys)
        connection.execute(insert(table), [_sequence_row(*one) for one in fx.sequences.items()])
    gaps.save(connection, fx.gaps)
    if fx.pruned_ns is not None:
        gaps.prune(connection, fx.pruned_ns - LOOKED_UP_NS)


def _sequence_row(stream: Stream, known: SequenceState) -> dict[str, Any]:
    return {
        "mine": stream.mine,
        "device": stream.device,
        "stream": stream.name,
        "boot": known.boot,
        "former_boot": known.former_boot,
        "highest": known.highest,
        "highest_ns": known.highest_ns,
        "reset_ns": known.reset_ns,
    }


def _refusals(connection: Connection, fx: Effects) -> None:
    if fx.replayed_records:
        table = schema.dead_letter
        replayed = table.c.record_id.in_(fx.replayed_records) & table.c.replayed_ns.is_(None)
        connection.execute(update(table).where(replayed).values(replayed_ns=fx.clock_ns))
    if fx.dead:
        connection.execute(insert(schema.dead_letter), [letter._asdict() for letter in fx.dead])
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


def _records(connection: Connection, fx: Effects) -> None:
    if fx.facts:
        connection.execute(insert(schema.fact), [{**f._asdict(), "kind": f.kind.value} for f in fx.facts])
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
