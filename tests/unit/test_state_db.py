"""The relational state as a file: who may read it, what a reader sees, and when it is refused."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from greenmine.core import sqlite_library
from greenmine.core.account import Account
from greenmine.core.errors import Conflict, NotFound, StoreUnavailable, UserError
from greenmine.core.user import Role, User
from greenmine.store import device_accounts, schema, users
from greenmine.store.device_accounts import DeviceAccount
from greenmine.store.state import StateDb, add_to_account, get_meta, set_meta

TIMEOUT_S = 20.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


class TestOpening:
    def test_nobody_else_may_read_it_nor_its_log(self, path: Path) -> None:
        """It holds password hashes, and SQLite's log holds copies of them."""
        state = StateDb(path)
        with state.writing() as connection:
            set_meta(connection, "k", "v")
        files = sorted(path.parent.glob("state.db*"))
        assert [file.name for file in files] == ["state.db", "state.db-shm", "state.db-wal"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        state.close()

    def test_rights_given_away_are_taken_back(self, path: Path) -> None:
        StateDb(path).close()
        path.chmod(0o644)
        StateDb(path).close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_what_was_written_is_there_again(self, path: Path) -> None:
        state = StateDb(path)
        with state.writing() as connection:
            set_meta(connection, "k", "v")
            add_to_account(connection, Account(received=1, pending=1))
        state.close()
        again = StateDb(path)
        with again.reading() as connection:
            assert get_meta(connection, "k") == "v"
        assert again.account() == Account(received=1, pending=1)
        again.close()

    @pytest.mark.parametrize("read_only", [False, True])
    def test_a_newer_one_is_refused_and_left_alone(self, path: Path, read_only: bool) -> None:
        state = StateDb(path)
        with state.writing() as connection:
            set_meta(connection, "schema_version", str(schema.VERSION + 1))
            connection.exec_driver_sql("DROP TABLE device_account")
        state.close()
        with pytest.raises(
            UserError, match=r"state\.db was written by a newer greenmine \(schema 2\); update this one"
        ):
            StateDb(path, read_only)
        with closing(sqlite_library.library.connect(str(path))) as raw:
            names = {row[0] for row in raw.execute("SELECT name FROM sqlite_master")}
        assert "device_account" not in names, "nothing may be added to what another version laid out"

    @pytest.mark.parametrize("read_only", [False, True])
    def test_what_is_no_database_is_refused(self, path: Path, read_only: bool) -> None:
        path.write_bytes(b"no database, but long enough to be looked at" * 100)
        with pytest.raises(StoreUnavailable, match=r"state\.db cannot be opened.*move it away") as refused:
            StateDb(path, read_only)
        assert "sqlalche.me" not in str(refused.value)

    def test_nothing_to_read(self, path: Path) -> None:
        with pytest.raises(StoreUnavailable, match=r"state\.db cannot be opened"):
            StateDb(path, read_only=True)
        assert not path.exists()

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(StoreUnavailable, match="cannot be opened"):
            StateDb(tmp_path / "absent" / "state.db")


class TestReadOnly:
    def test_reads_beside_a_writer_and_without_one(self, path: Path) -> None:
        state = StateDb(path)
        looker = StateDb(path, read_only=True)
        with state.writing() as connection:
            add_to_account(connection, Account(received=2, pending=2))
        assert looker.account() == Account(received=2, pending=2)
        looker.close()
        state.close()
        looker = StateDb(path, read_only=True)
        assert looker.account() == Account(received=2, pending=2)
        looker.close()

    def test_writes_nothing(self, path: Path) -> None:
        StateDb(path).close()
        looker = StateDb(path, read_only=True)
        with pytest.raises(UserError, match="reading only"), looker.writing():
            pass
        with looker.reading() as connection, pytest.raises(Exception, match="readonly"):
            connection.execute(insert(schema.meta).values(key="k", value="v"))
        looker.close()


@pytest.fixture(params=["file", "memory"])
def state(request: pytest.FixtureRequest, path: Path) -> Iterator[StateDb]:
    made = StateDb(path if request.param == "file" else None)
    yield made
    made.close()


def fail_halfway(state: StateDb) -> None:
    with state.writing() as connection:
        set_meta(connection, "k", "v")
        add_to_account(connection, Account(received=1, dead=1))
        raise ZeroDivisionError


class TestTransactions:
    def test_an_exception_leaves_nothing(self, state: StateDb) -> None:
        with pytest.raises(ZeroDivisionError):
            fail_halfway(state)
        with state.reading() as connection:
            assert get_meta(connection, "k") is None
        assert state.account() == Account()

    def test_the_next_one_works(self, state: StateDb) -> None:
        with pytest.raises(ZeroDivisionError):
            fail_halfway(state)
        with state.writing() as connection:
            set_meta(connection, "k", "v")
        with state.reading() as connection:
            assert get_meta(connection, "k") == "v"

    def test_one_writes_at_a_time(self, state: StateDb) -> None:
        """Each adds one to what it read, slowly enough to be overtaken if it could."""
        together = threading.Barrier(4)

        def count() -> None:
            together.wait(TIMEOUT_S)
            for _ in range(25):
                with state.writing() as connection:
                    before = int(get_meta(connection, "n") or 0)
                    set_meta(connection, "n", str(before + 1))

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT_S)
        with state.reading() as connection:
            assert get_meta(connection, "n") == "100"

    def test_a_reader_sees_whole_commits_only(self, path: Path) -> None:
        """Two rows are always changed together; however reads and commits interleave, they are seen together."""
        state = StateDb(path)
        with state.writing() as connection:
            set_meta(connection, "a", "0")
            set_meta(connection, "b", "0")
        halfway, looked = threading.Event(), threading.Event()

        def write() -> None:
            with state.writing() as connection:
                set_meta(connection, "a", "1")
                halfway.set()
                assert looked.wait(TIMEOUT_S)
                set_meta(connection, "b", "1")

        def pair() -> tuple[str | None, str | None]:
            with state.reading() as connection:
                return get_meta(connection, "a"), get_meta(connection, "b")

        writer = threading.Thread(target=write)
        writer.start()
        assert halfway.wait(TIMEOUT_S)
        assert pair() == ("0", "0")
        with state.reading() as reader:
            assert get_meta(reader, "a") == "0"
            looked.set()
            writer.join(TIMEOUT_S)
            assert get_meta(reader, "b") == "0", "what this reader began with, it goes on with"
        assert pair() == ("1", "1")
        state.close()


class TestAccount:
    def test_a_change_must_balance(self, state: StateDb) -> None:
        with pytest.raises(ValueError, match="must balance"), state.writing() as connection:
            add_to_account(connection, Account(received=1))
        assert state.account() == Account()

    def test_changes_add_up(self, state: StateDb) -> None:
        for delta in (Account(received=3, pending=3), Account(pending=-2, stored=1, duplicate=1), Account()):
            with state.writing() as connection:
                add_to_account(connection, delta)
        assert state.account() == Account(received=3, stored=1, pending=1, duplicate=1)
        assert state.account().balanced


class TestUsers:
    LI = User("li", Role.OPERATOR, 5, True)

    def test_an_account_and_its_password(self, state: StateDb) -> None:
        with state.writing() as connection:
            users.add(connection, self.LI, "hash-1")
            assert users.find(connection, "li") == (self.LI, "hash-1")
            assert users.find(connection, "wang") is None
            assert users.listed(connection) == [self.LI]

    def test_a_name_is_given_once(self, state: StateDb) -> None:
        with state.writing() as connection:
            users.add(connection, self.LI, "hash-1")
        with pytest.raises(Conflict), state.writing() as connection:
            users.add(connection, self.LI, "hash-2")
        with state.reading() as connection:
            assert users.find(connection, "li") == (self.LI, "hash-1")

    def test_sessions_last_until_they_expire_and_are_kept_as_hashes(self, state: StateDb) -> None:
        with state.writing() as connection:
            users.add(connection, self.LI, "hash")
            users.open_session(connection, "token", "li", now_ns=10, expires_ns=20)
            assert users.session_user(connection, "token", 19) == self.LI
            assert users.session_user(connection, "token", 20) is None
            assert users.session_user(connection, "other", 19) is None
            assert "token" not in {row.token_hash for row in connection.execute(select(schema.session))}

    def test_a_new_session_sweeps_those_that_have_expired(self, state: StateDb) -> None:
        with state.writing() as connection:
            users.add(connection, self.LI, "hash")
            users.open_session(connection, "old", "li", 10, 20)
            users.open_session(connection, "new", "li", 20, 40)
            assert len(connection.execute(select(schema.session)).all()) == 1

    def test_closing_ends_one_session_and_a_new_password_all(self, state: StateDb) -> None:
        with state.writing() as connection:
            users.add(connection, self.LI, "hash")
            for token in ("a", "b", "c"):
                users.open_session(connection, token, "li", 10, 99)
            users.close_session(connection, "a")
            assert [users.session_user(connection, t, 11) is None for t in ("a", "b", "c")] == [True, False, False]
            users.set_password(connection, "li", "hash-2", must_change=False)
            assert [users.session_user(connection, t, 11) for t in ("b", "c")] == [None, None]
            assert users.find(connection, "li") == (self.LI._replace(must_change_password=False), "hash-2")

    def test_nobody_to_give_a_password_to(self, state: StateDb) -> None:
        with state.writing() as connection, pytest.raises(NotFound):
            users.set_password(connection, "nobody", "hash", False)


class TestDeviceAccounts:
    DUST = DeviceAccount("shifan-9.dust-1", "shifan-9", "dust-1", "hash", 5, None)

    def test_are_put_and_listed_by_name(self, state: StateDb) -> None:
        bridge = DeviceAccount("bridge", "", "", "hash", 6, None)
        with state.writing() as connection:
            device_accounts.put(connection, self.DUST)
            device_accounts.put(connection, bridge)
            assert device_accounts.listed(connection) == [bridge, self.DUST]

    def test_a_revoked_one_is_out_until_it_gets_a_new_password(self, state: StateDb) -> None:
        with state.writing() as connection:
            device_accounts.put(connection, self.DUST)
            device_accounts.revoke(connection, self.DUST.name, 9)
            assert device_accounts.listed(connection, active_only=True) == []
            assert device_accounts.listed(connection) == [self.DUST._replace(revoked_ns=9)]
            with pytest.raises(NotFound):
                device_accounts.revoke(connection, self.DUST.name, 10)
            device_accounts.put(connection, self.DUST._replace(password_hash="new"))
            assert device_accounts.listed(connection, active_only=True) == [self.DUST._replace(password_hash="new")]

    def test_nothing_to_revoke(self, state: StateDb) -> None:
        with state.writing() as connection, pytest.raises(NotFound):
            device_accounts.revoke(connection, "nobody", 9)


def test_meta_is_overwritten(state: StateDb) -> None:
    with state.writing() as connection:
        set_meta(connection, "k", "1")
        set_meta(connection, "k", "2")
        assert get_meta(connection, "k") == "2"
        connection.execute(update(schema.meta).where(schema.meta.c.key == "k").values(value="3"))
        assert get_meta(connection, "k") == "3"
