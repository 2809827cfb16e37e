"""Many threads read the state while one writes, as a board with many watchers does."""

from __future__ import annotations

import threading
from pathlib import Path

from greenmine.core.account import Account
from greenmine.store.state import StateDb, add_to_account

READERS = 24
READS_EACH = 150


def test_more_readers_than_pooled_connections(tmp_path: Path) -> None:
    state = StateDb(tmp_path / "state.db")
    errors: list[Exception] = []
    begin = threading.Barrier(READERS + 1)

    def read() -> None:
        begin.wait(30)
        try:
            for _ in range(READS_EACH):
                assert state.account().balanced
        except Exception as error:  # noqa: BLE001 - asserted on the main thread
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    begin.wait(30)
    for _ in range(100):
        with state.writing() as connection:
            add_to_account(connection, Account(received=1, stored=1))
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert state.account() == Account(received=100, stored=100)
    state.close()
