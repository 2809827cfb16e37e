"""Passwords and sessions of people, and the token by which the command line on this machine speaks to the service."""

from __future__ import annotations

import hmac
import re
import secrets
import threading
import unicodedata
from collections import deque

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from greenmine.core.clock import NS_PER_S, Clock
from greenmine.core.errors import Refused
from greenmine.core.user import Role, User
from greenmine.store import audit, users
from greenmine.store.audit import AuditEntry
from greenmine.store.state import StateDb

SESSION_NS = 12 * 3600 * NS_PER_S
WRONG_BEFORE_LOCK = 6
WRONG_WITHIN_NS = 5 * 60 * NS_PER_S
LOCKED_NS = 15 * 60 * NS_PER_S
SHORTEST_PASSWORD = 10
MOST_NAMES_COUNTED = 10_000
LONGEST_NAME_COMMON_IN_WORDS = 3
RESERVED_NAMES = ("local", "unknown")
"""`person:local` is who acts on the command line; `person:unknown` who gave no name that could be one."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,31}", re.ASCII)
_COMMON = (
    "",
    "password",
    "qwerty",
    "qwertyuiop",
    "greenmine",
    "admin",
    "letmein",
    "welcome",
    "iloveyou",
    "woaini",
    "abc",
)


def normalised_name(name: str) -> str:
    """One spelling for each name: NFKC, lower case, no invisible characters.

    Raises:
        Refused: `name`; the result is not 2 to 32 of a-z, 0-9, '.', '_' and '-'.
    """
    visible = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) not in ("Cf", "Cc"))
    plain = visible.strip().lower()
    if not _NAME.fullmatch(plain):
        raise Refused("name", "a user name is 2 to 32 of a-z, 0-9, '.', '_' and '-'")
    return plain


def check_password(name: str, password: str) -> None:
    """Refuse what would be guessed first.

    Raises:
        Refused: `weak`.
    """
    lowered = password.lower()
    if len(password) < SHORTEST_PASSWORD or len(password) > 200:
        raise Refused("weak", f"a password has {SHORTEST_PASSWORD} to 200 characters")
    named = len(name) > LONGEST_NAME_COMMON_IN_WORDS and name in lowered
    if named or lowered.strip("0123456789!.@#") in _COMMON or len(set(lowered)) < 5:
        raise Refused("weak", "this password would be guessed early; choose another")


class Logins:
    """`web.backend.Logins` over the state. Wrong passwords are counted in memory, by name, known or not."""

    def __init__(self, state: StateDb, clock: Clock, service_token: str, hasher: PasswordHasher | None = None) -> None:
        self._state = state
        self._clock = clock
        self._service_token = service_token
        self._hasher = hasher or PasswordHasher()
        self._nobody_hash: str | None = None
        self._lock = threading.Lock()
        self._wrong: dict[str, deque[int]] = {}
        self._locked_until_ns: dict[str, int] = {}

    def log_in(self, name: str, password: str, address: str) -> tuple[User, str]:
        """User and a new session token.

        Raises:
            Refused: `credentials`, or `locked` after too many wrong passwords.
        """
        now_ns = self._clock.monotonic_ns()
        try:
            name = normalised_name(name)
        except Refused:
            name = ""
        self._refuse_locked(name, now_ns)
        with self._state.reading() as connection:
            found = users.find(connection, name)
        # An unknown name costs the same time as a wrong password.
        nobody = self._nobody()
        fits = self._fits(found[1] if found else nobody, password)
        wall_ns = self._clock.wall_ns()
        if found is None or not fits:
            locked = self._count_wrong(name, now_ns)
            self._record(wall_ns, name or "unknown", "login.refused", {"address": address, "locked": locked})
            raise Refused("credentials", "user name or password is wrong")
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._wrong.pop(name, None)
        with self._state.writing() as connection:
            users.open_session(connection, token, name, wall_ns, wall_ns + SESSION_NS)
            audit.append(connection, [AuditEntry(wall_ns, f"person:{name}", "login", name, {"address": address})])
        return found[0], token

    def session_user(self, token: str) -> User | None:
        """The user of a live session, or the local administrator for the service's own token."""
        if hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._service_token.encode()):
            return User("local", Role.ADMIN, 0, False)
        with self._state.reading() as connection:
            return users.session_user(connection, token, self._clock.wall_ns())

    def log_out(self, token: str) -> None:
        """End the session."""
        with self._state.writing() as connection:
            users.close_session(connection, token)

    def change_password(self, name: str, old: str, new: str) -> None:
        """Replace one's own password; all sessions of the account end.

        Raises:
            Refused: `credentials`, `weak`, or `locked` after too many wrong passwords, which whoever found a session
                open might try here.
        """
        now_ns = self._clock.monotonic_ns()
        self._refuse_locked(name, now_ns)
        with self._state.reading() as connection:
            found = users.find(connection, name)
        if found is None or not self._fits(found[1], old):
            self._count_wrong(name, now_ns)
            raise Refused("credentials", "the old password is wrong")
        check_password(name, new)
        if new == old:
            raise Refused("weak", "the new password is the old one")
        self.set_password(name, new, must_change=False, principal=f"person:{name}")

    def add_user(self, name: str, role: Role, principal: str) -> tuple[User, str]:
        """A new account with a random password, which has to be changed at the first login.

        Raises:
            Conflict: the name is taken.
            Refused: `name`.
        """
        password = secrets.token_urlsafe(12)
        wall_ns = self._clock.wall_ns()
        user = User(normalised_name(name), role, wall_ns, must_change_password=True)
        if user.name in RESERVED_NAMES:
            raise Refused("name", f"{user.name!r} stands for something else in the record; choose another name")
        with self._state.writing() as connection:
            users.add(connection, user, self._hasher.hash(password))
            audit.append(connection, [AuditEntry(wall_ns, principal, "user.add", user.name, {"role": role.value})])
        return user, password

    def reset_user(self, name: str, principal: str) -> str:
        """A new random password for an account whose own was lost.

        Raises:
            NotFound: there is no such user.
        """
        password = secrets.token_urlsafe(12)
        self.set_password(normalised_name(name), password, must_change=True, principal=principal)
        return password

    def set_password(self, name: str, password: str, must_change: bool, principal: str) -> None:
        """Store a password, and put down who changed it."""
        wall_ns = self._clock.wall_ns()
        with self._state.writing() as connection:
            users.set_password(connection, name, self._hasher.hash(password), must_change)
            entry = AuditEntry(wall_ns, principal, "user.password", name, {"must_change": must_change})
            audit.append(connection, [entry])

    def _nobody(self) -> str:
        """The hash of a password that nobody knows. Made at the first login: it takes long, and most commands that have
        logins log nobody in."""
        if self._nobody_hash is None:
            self._nobody_hash = self._hasher.hash(secrets.token_hex(16))
        return self._nobody_hash

    def _fits(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    def _refuse_locked(self, name: str, now_ns: int) -> None:
        with self._lock:
            if self._locked_until_ns.get(name, 0) > now_ns:
                raise Refused("locked", "too many wrong passwords; try again in 15 minutes")

    def _count_wrong(self, name: str, now_ns: int) -> bool:
        with self._lock:
            if len(self._wrong) > MOST_NAMES_COUNTED:
                del self._wrong[next(iter(self._wrong))]
            if len(self._locked_until_ns) > MOST_NAMES_COUNTED:
                self._locked_until_ns = {n: until for n, until in self._locked_until_ns.items() if until > now_ns}
            recent = self._wrong.setdefault(name, deque())
            recent.append(now_ns)
            while recent[0] < now_ns - WRONG_WITHIN_NS:
                recent.popleft()
            if len(recent) < WRONG_BEFORE_LOCK:
                return False
            self._locked_until_ns[name] = now_ns + LOCKED_NS
            del self._wrong[name]
            return True

    def _record(self, wall_ns: int, name: str, action: str, body: dict[str, object]) -> None:
        with self._state.writing() as connection:
            audit.append(connection, [AuditEntry(wall_ns, f"person:{name}", action, name, body)])
