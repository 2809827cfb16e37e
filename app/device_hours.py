"""What came of each device in each hour, beside what its policy let expect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from sqlalchemy import Connection, select

from greenmine.core.account import HOUR_NS, Account, DeviceHour, HourKey
from greenmine.core.errors import Refused
from greenmine.policy.canonical import from_canonical_json
from greenmine.policy.expected import Demand, demanded, expected_readings
from greenmine.store import hours, schema
from greenmine.store.state import JOURNAL_CLOCK, get_meta

MOST_HOURS = 24 * 32
"""Hours that are answered at a time."""
SHOWN_NS = 24 * HOUR_NS
"""How far back is answered where nothing is said."""


class DeviceHours:
    """Answers from connections of one state. What a version of a policy asks for is worked out once."""

    def __init__(self) -> None:
        self._demanded: dict[int, Mapping[tuple[str, int], int]] = {}

    def listed(
        self,
        connection: Connection,
        mine: str | None = None,
        device: str | None = None,
        from_ns: int | None = None,
        to_ns: int | None = None,
    ) -> list[DeviceHour]:
        """The hours that begin in the span, by mine, device and time; the last 24 where nothing is said.

        What is expected of the hour that is not over ends at the journal's clock. A device of which nothing came is
        there as soon as something was expected of it.

        Raises:
            Refused: the span is empty or longer than 32 days.
        """
        clock_ns = int(get_meta(connection, JOURNAL_CLOCK) or 0)
        end_ns = clock_ns - clock_ns % HOUR_NS + HOUR_NS if to_ns is None else to_ns
        start_ns = end_ns - SHOWN_NS if from_ns is None else from_ns
        start_ns += -start_ns % HOUR_NS
        if start_ns >= end_ns:
            raise Refused("time", "no hour begins in this span")
        if (end_ns - start_ns) > MOST_HOURS * HOUR_NS:
            raise Refused("time", "ask for at most 32 days at a time")
        expected = self._expected(connection, mine, device, start_ns, min(end_ns, clock_ns))
        accounts = hours.accounts(connection, mine, device, start_ns, end_ns)
        return [
            DeviceHour(*key, expected.get(key, 0), accounts.get(key, Account()))
            for key in sorted(expected.keys() | {key for key, account in accounts.items() if any(account)})
        ]

    def last_complete(self, connection: Connection) -> list[DeviceHour]:
        """The last hour that is over on the journal's clock, of every device."""
        clock_ns = int(get_meta(connection, JOURNAL_CLOCK) or 0)
        end_ns = clock_ns - clock_ns % HOUR_NS
        return self.listed(connection, None, None, end_ns - HOUR_NS, end_ns) if end_ns >= HOUR_NS else []

    def _expected(
        self, connection: Connection, mine: str | None, device: str | None, start_ns: int, end_ns: int
    ) -> dict[HourKey, int]:
        found: dict[HourKey, int] = {}
        for mine_id, demands in self._demands(connection, mine, start_ns).items():
            for hour_ns in range(start_ns, end_ns, HOUR_NS):
                for name, number in expected_readings(demands, hour_ns, min(hour_ns + HOUR_NS, end_ns)).items():
                    if number and device in (None, name):
                        found[HourKey(mine_id, name, hour_ns)] = number
        return found

    def _demands(self, connection: Connection, mine: str | None, start_ns: int) -> dict[str, list[Demand]]:
        """What the policies of each mine asked for that were in force at this time or later."""
        table = schema.policy_version
        query = select(table.c.id, table.c.mine, table.c.activated_ns).order_by(table.c.mine, table.c.id)
        if mine is not None:
            query = query.where(table.c.mine == mine)
        activations: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for row in connection.execute(query):
            activations[row.mine].append((row.id, row.activated_ns))
        demands: dict[str, list[Demand]] = {}
        for mine_id, versions in activations.items():
            ends: list[int | None] = [*(at_ns for _, at_ns in versions[1:]), None]
            for (number, begun_ns), ended_ns in zip(versions, ends, strict=True):
                if ended_ns is None or ended_ns > start_ns:
                    asked = self._version(connection, number)
                    demands.setdefault(mine_id, []).append(Demand(asked, begun_ns, ended_ns))
        return demands

    def _version(self, connection: Connection, number: int) -> Mapping[tuple[str, int], int]:
        known = self._demanded.get(number)
        if known is None:
            table = schema.policy_version
            canonical = connection.execute(select(table.c.canonical).where(table.c.id == number)).scalar_one()
            known = self._demanded[number] = demanded(from_canonical_json(canonical)) if canonical else {}
        return known
