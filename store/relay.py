"""The outbox of messages to the platforms that mines forward to, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, delete, func, insert, select, update

from greenmine.core.relay import RelayFrame, RelayTotals, WaitingFrame
from greenmine.store import schema

_T, _STATION, _TOTAL = schema.relay_outbox, schema.relay_station, schema.relay_total
_MOST_VARIABLES = 500


def push(connection: Connection, frames: Sequence[RelayFrame], newest_qn_ms: Mapping[tuple[str, str], int]) -> None:
    """Queue messages, within the deciding transaction, with the newest QN of their stations."""
    if not frames:
        return
    connection.execute(insert(_T), [frame._asdict() for frame in frames])
    for (mine, mn), qn_ms in newest_qn_ms.items():
        here = (_STATION.c.mine == mine) & (_STATION.c.mn == mn)
        if connection.execute(update(_STATION).where(here).values(qn_ms=qn_ms)).rowcount == 0:
            connection.execute(insert(_STATION).values(mine=mine, mn=mn, qn_ms=qn_ms))


def newest_qns(connection: Connection) -> dict[tuple[str, str], int]:
    """The newest QN (ms) of every station, by mine and MN."""
    return {(row.mine, row.mn): row.qn_ms for row in connection.execute(select(_STATION))}


def waiting(connection: Connection, mine: str, after_id: int, most: int) -> list[WaitingFrame]:
    """The oldest messages of a mine behind this id."""
    query = select(_T).where(_T.c.mine == mine, _T.c.id > after_id).order_by(_T.c.id).limit(most)
    return [WaitingFrame(row.id, RelayFrame(*row[1:])) for row in connection.execute(query)]


def newest_id(connection: Connection, mine: str) -> int:
    """The id of a mine's newest message, 0 where there is none."""
    return int(connection.execute(select(func.max(_T.c.id)).where(_T.c.mine == mine)).scalar() or 0)


def depths(connection: Connection) -> dict[str, int]:
    """How many messages of each mine wait."""
    return dict(connection.execute(select(_T.c.mine, func.count()).group_by(_T.c.mine)).tuples().all())


def totals(connection: Connection) -> dict[str, RelayTotals]:
    """What became of messages, by mine."""
    return {row.mine: RelayTotals(*row[1:]) for row in connection.execute(select(_TOTAL))}


def settle(connection: Connection, mine: str, delivered: Sequence[int], unanswered: Sequence[int] = ()) -> None:
    """Forget messages that were answered, and those that never will be; count them."""
    done = _remove(connection, delivered)
    given_up = _remove(connection, unanswered)
    _add(connection, mine, RelayTotals(done, given_up))


def trim(connection: Connection, most: Mapping[str, int]) -> dict[str, int]:
    """Drop the oldest messages of each mine that has more than this; all of a mine that forwards no more. How many, by
    mine; they are counted in its totals."""
    dropped: dict[str, int] = {}
    for mine, depth in depths(connection).items():
        excess = depth - most.get(mine, 0)
        if excess <= 0:
            continue
        oldest = select(_T.c.id).where(_T.c.mine == mine).order_by(_T.c.id).limit(excess)
        dropped[mine] = connection.execute(delete(_T).where(_T.c.id.in_(oldest))).rowcount
        _add(connection, mine, RelayTotals(dropped=dropped[mine]))
    return dropped


def _remove(connection: Connection, ids: Sequence[int]) -> int:
    removed = 0
    for first in range(0, len(ids), _MOST_VARIABLES):
        some = list(ids[first : first + _MOST_VARIABLES])
        removed += connection.execute(delete(_T).where(_T.c.id.in_(some))).rowcount
    return removed


def _add(connection: Connection, mine: str, more: RelayTotals) -> None:
    if not any(more):
        return
    values = {name: _TOTAL.c[name] + count for name, count in more._asdict().items()}
    if connection.execute(update(_TOTAL).where(_TOTAL.c.mine == mine).values(values)).rowcount == 0:
        connection.execute(insert(_TOTAL).values(mine=mine, **more._asdict()))
