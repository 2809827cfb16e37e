"""Passwords, lock-out and sessions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.clock import NS_PER_S, ManualClock
from greenmine.core.errors import Conflict, NotFound, Refused
from greenmine.core.user import Role
from greenmine.logins import (
    LOCKED_NS,
    SESSION_NS,
    WRONG_BEFORE_LOCK,
    WRONG_WITHIN_NS,
    Logins,
    check_password,
    normalised_name,
)
from greenmine.store import audit
from greenmine.store.state import StateDb

START_NS = 1_800_000_000 * NS_PER_S
SERVICE_TOKEN = "service-token-of-this-test"
GOOD = "Schaufelrad-42"


class CountingHasher:
    """Verifies by comparing, and counts how often it was asked: what an attacker could time."""

    def __init__(self) -> None:
        self.verified = 0

    def hash(self, password: str) -> str:
        return f"hash:{password}"

    def verify(self, password_hash: str, password: str) -> bool:
        self.verified += 1
        if password_hash != f"hash:{password}":
            raise VerifyMismatchError
        return True


class Desk:
    """Logins over a state in memory, with a clock that the test moves."""

    def __init__(self) -> None:
        self.clock = ManualClock(START_NS)
        self.state = StateDb(None)
        self.hasher = CountingHasher()
        self.logins = Logins(self.state, self.clock, SERVICE_TOKEN, self.hasher)  # type: ignore[arg-type]

    def add(self, name: str, role: Role = Role.OPERATOR) -> str:
        user, password = self.logins.add_user(name, role, "person:boss")
        assert user.must_change_password
        return password

    def word(self, name: str, password: str) -> str:
        """What a login is answered with."""
        try:
            self.logins.log_in(name, password, "192.0.2.7")
        except Refused as refused:
            return refused.word
        return "in"

    def audit(self) -> list[tuple[str, str, str, dict[str, Any]]]:
        with self.state.reading() as connection:
            return [(row.principal, row.action, row.subject, json.loads(row.body)) for row in audit.rows(connection)]


@pytest.fixture
def desk() -> Iterator[Desk]:
    one = Desk()
    yield one
    one.state.close()


def test_the_first_password_fits_and_opens_a_session(desk: Desk) -> None:
    password = desk.add("li")
    user, token = desk.logins.log_in("li", password, "192.0.2.7")
    assert (user.name, user.role) == ("li", Role.OPERATOR)
    assert desk.logins.session_user(token) == user
    assert ("person:li", "login", "li", {"address": "192.0.2.7"}) in desk.audit()


@pytest.mark.parametrize("written", ["LI", " li ", "ｌｉ", "l\u200bi", "Li\u0007"])
def test_a_name_has_one_spelling(desk: Desk, written: str) -> None:
    password = desk.add("li")
    assert desk.word(written, password) == "in"
    with pytest.raises(Conflict):
        desk.logins.add_user(written, Role.VIEWER, "person:boss")


@pytest.mark.parametrize("name", ["", "x", "a b", "аdmin", "admin'--", "../etc", "-li", "l" * 33, "矿长"])
def test_names_that_are_refused(desk: Desk, name: str) -> None:
    with pytest.raises(Refused) as refused:
        desk.logins.add_user(name, Role.VIEWER, "person:boss")
    assert refused.value.word == "name"


@pytest.mark.parametrize("name", ["local", "LOCAL", "unknown"])
def test_names_that_stand_for_something_else_in_the_record_are_refused(desk: Desk, name: str) -> None:
    # `person:local` is whoever acts on the command line; nobody may sign as that by choosing the name.
    with pytest.raises(Refused) as refused:
        desk.logins.add_user(name, Role.ADMIN, "person:boss")
    assert refused.value.word == "name"


@given(st.text(max_size=40))
def test_a_normalised_name_stays_as_it_is(name: str) -> None:
    try:
        once = normalised_name(name)
    except Refused:
        return
    assert normalised_name(once) == once


def test_six_wrong_passwords_within_five_minutes_lock_the_account(desk: Desk) -> None:
    password = desk.add("li")
    step_ns = WRONG_WITHIN_NS // WRONG_BEFORE_LOCK
    for _ in range(WRONG_BEFORE_LOCK):
        assert desk.word("li", "wrong") == "credentials"
        desk.clock.advance(step_ns)
    assert desk.word("li", password) == "locked"
    desk.clock.advance(LOCKED_NS - step_ns - 1)
    assert desk.word("li", password) == "locked"
    desk.clock.advance(1)
    assert desk.word("li", password) == "in"


def test_wrong_passwords_further_apart_do_not_lock(desk: Desk) -> None:
    password = desk.add("li")
    for _ in range(3 * WRONG_BEFORE_LOCK):
        assert desk.word("li", "wrong") == "credentials"
        desk.clock.advance(WRONG_WITHIN_NS // (WRONG_BEFORE_LOCK - 1) + 1)
    assert desk.word("li", password) == "in"


def test_a_right_password_forgets_the_wrong_ones(desk: Desk) -> None:
    password = desk.add("li")
    for _ in range(3):
        for _ in range(WRONG_BEFORE_LOCK - 1):
            assert desk.word("li", "wrong") == "credentials"
        assert desk.word("li", password) == "in"


def test_the_lock_does_not_depend_on_the_wall_clock(desk: Desk) -> None:
    password = desk.add("li")
    for _ in range(WRONG_BEFORE_LOCK):
        desk.word("li", "wrong")
    desk.clock.set_wall(START_NS + 10 * LOCKED_NS)
    assert desk.word("li", password) == "locked"


def test_one_name_does_not_lock_another(desk: Desk) -> None:
    password = desk.add("wang")
    desk.add("li")
    for _ in range(WRONG_BEFORE_LOCK):
        desk.word("li", "wrong")
    assert desk.word("wang", password) == "in"


def test_an_unknown_name_goes_the_same_way_as_a_wrong_password(desk: Desk) -> None:
    desk.add("li")
    answers: dict[str, list[tuple[str, int]]] = {}
    for name in ("li", "nobody-of-that-name", "no such name!"):
        answers[name] = []
        for _ in range(WRONG_BEFORE_LOCK + 2):
            before = desk.hasher.verified
            answers[name].append((desk.word(name, "wrong"), desk.hasher.verified - before))
    assert answers["li"] == answers["nobody-of-that-name"] == answers["no such name!"]
    assert answers["li"] == [("credentials", 1)] * WRONG_BEFORE_LOCK + [("locked", 0)] * 2


def test_refused_logins_are_on_record_without_the_password(desk: Desk) -> None:
    desk.add("li")
    desk.word("li", "Geheimnis-of-somebody")
    for _ in range(WRONG_BEFORE_LOCK):
        desk.word("Robert'); DROP TABLE user", "wrong")
    found = [entry for entry in desk.audit() if entry[1] == "login.refused"]
    assert found[0] == ("person:li", "login.refused", "li", {"address": "192.0.2.7", "locked": False})
    assert found[-1] == ("person:unknown", "login.refused", "unknown", {"address": "192.0.2.7", "locked": True})
    assert "Geheimnis" not in repr(desk.audit())


def test_a_session_ends_by_itself(desk: Desk) -> None:
    password = desk.add("li")
    _, token = desk.logins.log_in("li", password, "192.0.2.7")
    desk.clock.advance(SESSION_NS - 1)
    assert desk.logins.session_user(token) is not None
    desk.clock.advance(1)
    assert desk.logins.session_user(token) is None


def test_log_out_ends_this_session_only(desk: Desk) -> None:
    password = desk.add("li")
    (_, first), (_, second) = (desk.logins.log_in("li", password, "192.0.2.7") for _ in range(2))
    assert first != second
    desk.logins.log_out(first)
    assert desk.logins.session_user(first) is None
    assert desk.logins.session_user(second) is not None


def test_a_reset_ends_all_sessions_and_demands_a_new_password(desk: Desk) -> None:
    password = desk.add("li")
    tokens = [desk.logins.log_in("li", password, "192.0.2.7")[1] for _ in range(2)]
    fresh = desk.logins.reset_user("LI", "person:boss")
    assert [desk.logins.session_user(token) for token in tokens] == [None, None]
    assert desk.word("li", password) == "credentials"
    user, _ = desk.logins.log_in("li", fresh, "192.0.2.7")
    assert user.must_change_password
    assert ("person:boss", "user.password", "li", {"must_change": True}) in desk.audit()


def test_resetting_nobody_is_said(desk: Desk) -> None:
    with pytest.raises(NotFound, match="users list"):
        desk.logins.reset_user("nobody", "person:boss")


def test_changing_the_password_ends_all_sessions(desk: Desk) -> None:
    password = desk.add("li")
    _, token = desk.logins.log_in("li", password, "192.0.2.7")
    desk.logins.change_password("li", password, GOOD)
    assert desk.logins.session_user(token) is None
    assert desk.word("li", password) == "credentials"
    user, _ = desk.logins.log_in("li", GOOD, "192.0.2.7")
    assert not user.must_change_password
    assert ("person:li", "user.password", "li", {"must_change": False}) in desk.audit()
    assert GOOD not in repr(desk.audit())


@pytest.mark.parametrize(("old", "new", "word"), [("wrong", GOOD, "credentials"), (None, "short", "weak")])
def test_a_change_of_password_that_is_refused_changes_nothing(desk: Desk, old: str | None, new: str, word: str) -> None:
    password = desk.add("li")
    with pytest.raises(Refused) as refused:
        desk.logins.change_password("li", old or password, new)
    assert refused.value.word == word
    assert desk.word("li", password) == "in"


def test_the_new_password_is_not_the_old_one(desk: Desk) -> None:
    password = desk.add("li")
    desk.logins.change_password("li", password, GOOD)
    with pytest.raises(Refused) as refused:
        desk.logins.change_password("li", GOOD, GOOD)
    assert refused.value.word == "weak"


def test_an_open_session_is_no_place_to_try_passwords(desk: Desk) -> None:
    password = desk.add("li")
    words = []
    for _ in range(WRONG_BEFORE_LOCK + 1):
        with pytest.raises(Refused) as refused:
            desk.logins.change_password("li", "wrong", GOOD)
        words.append(refused.value.word)
    assert words == ["credentials"] * WRONG_BEFORE_LOCK + ["locked"]
    with pytest.raises(Refused) as refused:
        desk.logins.change_password("li", password, GOOD)
    assert refused.value.word == "locked"


@pytest.mark.parametrize(
    "password",
    ["Aa1!", "x" * 201, "1234567890", "password123!", "QWERTYuiop1", "greenmine2026", "aaaabbbbcccc"],
)  # fmt: skip
def test_passwords_that_are_guessed_first(password: str) -> None:
    with pytest.raises(Refused) as refused:
        check_password("somebody", password)
    assert refused.value.word == "weak"


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("somebody", GOOD),
        ("li", "brilliant-horse-7"),
        ("wu", "wunderbar-Kohle"),
        ("somebody", "露天煤矿边坡监测站点名"),
    ],
)
def test_passwords_that_are_taken(name: str, password: str) -> None:
    # A name of two letters, as many have, is in half of all words.
    check_password(name, password)


def test_a_password_with_the_name_in_it_is_refused() -> None:
    with pytest.raises(Refused):
        check_password("zhangwei", "xx-ZhangWei-yy")


def test_the_services_own_token_is_the_local_administrator(desk: Desk) -> None:
    user = desk.logins.session_user(SERVICE_TOKEN)
    assert user is not None
    assert (user.name, user.role) == ("local", Role.ADMIN)


@pytest.mark.parametrize("token", ["", SERVICE_TOKEN[:-1], SERVICE_TOKEN + "x", "\udcff", "x" * 100_000])
def test_other_tokens_are_nobody(desk: Desk, token: str) -> None:
    assert desk.logins.session_user(token) is None


def test_first_passwords_are_random(desk: Desk) -> None:
    made = {desk.add(f"user-{number}") for number in range(20)}
    assert len(made) == 20
    assert min(map(len, made)) >= 16


def test_the_shipped_hasher_is_argon2id() -> None:
    state = StateDb(None)
    try:
        logins = Logins(state, ManualClock(START_NS), SERVICE_TOKEN)
        _, password = logins.add_user("li", Role.VIEWER, "person:boss")
        with state.reading() as connection:
            kept = connection.exec_driver_sql("SELECT password_hash FROM user").scalar_one()
    finally:
        state.close()
    assert kept.startswith("$argon2id$")
    assert password not in kept
    assert PasswordHasher().verify(kept, password)
