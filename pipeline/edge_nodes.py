"""Sparkplug sessions in the relational state: written with the decisions that they led to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from greenmine.ingest.decode_sparkplug import Alias
from greenmine.pipeline.sparkplug_session import Birth, EdgeNode
from greenmine.store import schema

_NODE, _BIRTH = schema.edge_node, schema.edge_birth


def save(connection: Connection, nodes: Iterable[EdgeNode]) -> None:
    """Keep these nodes as they are now; of births only those that changed are written."""
    for node in nodes:
        connection.execute(delete(_NODE).where(_NODE.c.node == node.node))
        connection.execute(
            insert(_NODE).values(
                node=node.node,
                online=node.online,
                bd_seq=node.bd_seq,
                seq=node.seq,
                rebirth_asked_ns=node.rebirth_asked_ns,
            )
        )
        _save_births(connection, node)


def load(connection: Connection) -> dict[str, EdgeNode]:
    """All nodes by name."""
    births: dict[str, dict[str, Birth]] = {}
    for row in connection.execute(select(_BIRTH).order_by(_BIRTH.c.node, _BIRTH.c.record_id, _BIRTH.c.device)):
        births.setdefault(row.node, {})[row.device] = Birth(row.record_id, _aliases(row.aliases))
    return {
        row.node: EdgeNode(row.node, row.online, row.bd_seq, row.seq, row.rebirth_asked_ns, births.get(row.node, {}))
        for row in connection.execute(select(_NODE).order_by(_NODE.c.node))
    }


def _save_births(connection: Connection, node: EdgeNode) -> None:
    here = _BIRTH.c.node == node.node
    known = dict(connection.execute(select(_BIRTH.c.device, _BIRTH.c.record_id).where(here)).tuples().all())
    for device, record_id in known.items():
        if device not in node.births or node.births[device].record_id != record_id:
            connection.execute(delete(_BIRTH).where(here, _BIRTH.c.device == device))
    new: list[dict[str, Any]] = [
        {"node": node.node, "device": device, "record_id": birth.record_id, "aliases": _text(birth)}
        for device, birth in node.births.items()
        if known.get(device) != birth.record_id
    ]
    if new:
        connection.execute(insert(_BIRTH), new)


def _text(birth: Birth) -> str:
    rows = [[alias, named.name, named.datatype] for alias, named in sorted(birth.aliases.items())]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))


def _aliases(text: str) -> dict[int, Alias]:
    return {alias: Alias(name, datatype) for alias, name, datatype in json.loads(text)}
