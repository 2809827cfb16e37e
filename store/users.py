"""People's accounts and their sessions in the relational state."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from greenmine.core.errors import Conflict, NotFound
from greenmine.core.user import Role, User
from greenmine.store import schema

_U = schema.user
_S = schema.session


def add(connection: Connection, user: User, password_hash: str) -> None:
    """A new account.

    Raises:
        Conflict: the name is taken.
    """
    if connection.execute(select(_U.c.name).where(_U.c.name == user.name)).one_or_none() is not None:
        raise Conflict(f"there is a user {user.name!r} already")
    connection.execute(
        insert(_U).values(
            name=user.name,
            role=user.role.value,
            password_hash=password_hash,
            created_ns=user.created_at_ns,
            must_change=user.must_change_password,
        )
    )


def listed(connection: Connection) -> list[User]:
    """All accounts by name."""
    return [_user(row) for row in connection.execute(select(_U).order_by(_U.c.name))]


def find(connection: Connection, name: str) -> tuple[User, str] | None:
    """An account and its password hash."""
    row = connection.execute(select(_U).where(_U.c.name == name)).one_or_none()
    return None if row is None else (_user(row), row.password_hash)


def set_password(connection: Connection, name: str, password_hash: str, must_change: bool) -> None:
    """Replace a password and end all sessions of the account.

    Raises:
        NotFound: there is no such user.
    """
    changed = connection.execute(
        update(_U).where(_U.c.name == name).values(password_hash=password_hash, must_change=must_change)
    )
    if changed.rowcount == 0:
        raise NotFound(f"there is no user {name!r}; `greenmine users list` shows them")
    connection.execute(delete(_S).where(_S.c.user == name))


def open_session(connection: Connection, token: str, name: str, now_ns: int, expires_ns: int) -> None:
    """Remember a session by the hash of its token; forget those that have expired."""
    connection.execute(delete(_S).where(_S.c.expires_ns <= now_ns))
    connection.execute(insert(_S).values(token_hash=_hash(token), user=name, created_ns=now_ns, expires_ns=expires_ns))


def session_user(connection: Connection, token: str, now_ns: int) -> User | None:
    """Whose session this is, while it lasts."""
    query = select(_U).join(_S, _S.c.user == _U.c.name).where(_S.c.token_hash == _hash(token), _S.c.expires_ns > now_ns)
    row = connection.execute(query).one_or_none()
    return None if row is None else _user(row)


def close_session(connection: Connection, token: str) -> None:
    """End a session."""
    connection.execute(delete(_S).where(_S.c.token_hash == _hash(token)))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _user(row: Row[Any]) -> User:
    return User(row.name, Role(row.role), row.created_ns, bool(row.must_change))
