"""Statements that are compiled once do what SQLAlchemy's own do, in each dialect."""

from __future__ import annotations

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.dialects import postgresql

from greenmine.store import schema
from greenmine.store.prepared import Prepared
from greenmine.store.state import StateDb

PUSH = Prepared(insert(schema.readings_outbox), ("check_store", "replayed", "readings", "blob"))
COUNT = Prepared(
    update(schema.readings_outbox)
    .where(schema.readings_outbox.c.id == bindparam("b_id"))
    .values(readings=schema.readings_outbox.c.readings + bindparam("b_more"))
)


def test_rows_are_written_and_changed() -> None:
    state = StateDb(None)
    with state.writing() as connection:
        rows = [{"blob": b"a", "readings": 1, "check_store": False, "replayed": True} for _ in range(3)]
        assert PUSH(connection, rows) == 3
        assert COUNT(connection, [{"b_more": 5, "b_id": 1}, {"b_more": 7, "b_id": 3}, {"b_more": 7, "b_id": 9}]) == 2
    with state.reading() as connection:
        found = [tuple(row) for row in connection.execute(select(schema.readings_outbox))]
    assert [row[0] for row in found] == [1, 2, 3]
    kept = {column.name: [row[place] for row in found] for place, column in enumerate(schema.readings_outbox.c)}
    assert kept["readings"] == [6, 1, 8]
    assert kept["replayed"] == [True] * 3
    assert kept["blob"] == [b"a"] * 3
    state.close()


def test_a_dialect_with_names_for_parameters_gets_names() -> None:
    text, order = COUNT._compile(postgresql.dialect())  # type: ignore[no-untyped-call]
    assert order is None
    assert "%(b_more)s" in text
    assert "%(b_id)s" in text
