"""Reading dead letters again: messages through the journal, readings that the store refused back into its outbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenmine.core.act import Act, ActResult
from greenmine.core.errors import NotFound
from greenmine.store import audit, dead_letters
from greenmine.store.audit import AuditEntry
from greenmine.store.returned import give_back
from greenmine.store.state import StateDb


def replay(state: StateDb, act: Act, at_ns: int, submit: Callable[[Act], ActResult]) -> ActResult:
    """What became of dead letters that an act names by `{"ids": [...]}`; `submit` journals an act and waits for its
    answer. `returned` counts the readings that the store is given again.

    Raises:
        NotFound: none of them can be read again.
    """
    ids: list[Any] = act.body.get("ids", [])
    with state.writing() as connection:
        returned = give_back(connection, ids, at_ns)
        if returned:
            body = {"ids": ids, "readings": returned}
            audit.append(connection, [AuditEntry(at_ns, act.principal, "dead_letters.return", "", body)])
    try:
        with state.reading() as connection:
            named = dead_letters.with_record_ids(connection, act)
    except NotFound:
        if not returned:
            raise
        return ActResult(detail={"returned": returned})
    found = submit(named)
    return ActResult(found.alert, {**found.detail, "returned": returned}) if returned else found
