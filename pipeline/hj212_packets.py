"""Split data of HJ 212 in the relational state: written with the decisions that they led to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import Connection, delete, insert, select, update

from greenmine.ingest.hj212_packets import Assembly, Joined, PacketKey, Part
from greenmine.store import schema

KEPT_NS = 30 * 86400 * 1_000_000_000
"""How long it is known of which records data were put together; the journal itself keeps records for less."""
_PACKET, _JOINED = schema.hj212_packet, schema.hj212_joined


def save(connection: Connection, changed: Mapping[PacketKey, Assembly | None]) -> None:
    """Keep these assemblies as they are now; None forgets one."""
    for key, assembly in changed.items():
        here = (_PACKET.c.mn == key.mn) & (_PACKET.c.qn == key.qn) & (_PACKET.c.cn == key.cn)
        if assembly is None:
            connection.execute(delete(_PACKET).where(here))
            continue
        # One that was given up and began anew within one commit begins with none of the former's packets.
        connection.execute(delete(_PACKET).where(here, _PACKET.c.begun_ns != assembly.begun_ns))
        known = set(connection.execute(select(_PACKET.c.packet_no).where(here)).scalars())
        new = [
            {
                **key._asdict(),
                "packet_no": number,
                "packets": assembly.packets,
                "begun_ns": assembly.begun_ns,
                **part._asdict(),
            }
            for number, part in assembly.parts.items()
            if number not in known
        ]
        if new:
            connection.execute(insert(_PACKET), new)


def load(connection: Connection) -> dict[PacketKey, Assembly]:
    """All assemblies."""
    found: dict[PacketKey, Assembly] = {}
    for row in connection.execute(select(_PACKET).order_by(_PACKET.c.begun_ns, _PACKET.c.mn, _PACKET.c.packet_no)):
        key = PacketKey(row.mn, row.qn, row.cn)
        before = found.get(key) or Assembly(row.packets, row.begun_ns, {}, 0)
        parts = {**before.parts, row.packet_no: Part(row.record_id, row.source, row.client, row.cp)}
        found[key] = replace(before, parts=parts, size_bytes=before.size_bytes + len(row.cp))
    return found


def save_joined(connection: Connection, joined: Mapping[int, Joined]) -> None:
    """Remember which records made up the data that each of these records completed, so that it can be read again."""
    for record_id, (at_ns, records) in joined.items():
        connection.execute(delete(_JOINED).where(_JOINED.c.at_ns < at_ns - KEPT_NS))
        row = {"record_id": record_id, "records": json.dumps(sorted(records)), "at_ns": at_ns}
        connection.execute(update(_JOINED).where(_JOINED.c.record_id == record_id).values(row))
        if connection.execute(select(_JOINED.c.record_id).where(_JOINED.c.record_id == record_id)).first() is None:
            connection.execute(insert(_JOINED).values(row))


def records_joined_by(connection: Connection, record_id: int) -> list[int]:
    """The records of the data that this record completed, itself included; itself alone where it completed none."""
    found = connection.execute(select(_JOINED.c.records).where(_JOINED.c.record_id == record_id)).scalar_one_or_none()
    return [record_id] if found is None else list(json.loads(found))
