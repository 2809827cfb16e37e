"""Accounts and grants: who may come in, on which topics, and the same written for mosquitto."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.clock import NS_PER_S, ManualClock
from greenmine.ingest.gate import (
    Account,
    Action,
    DeniedQuota,
    Gate,
    account_name,
    granted_topics,
    hash_password,
    new_password,
    password_fits,
)
from greenmine.ingest.grants import write_mosquitto_files
from greenmine.ingest.topic import TopicKind

IDENTIFIERS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)


def device(mine: str, name: str, password: str = "pw") -> Account:
    return Account(f"{mine}.{name}", mine, name, hash_password(password))


def service(name: str, password: str = "pw") -> Account:
    return Account(name, "", "", hash_password(password))


D1, D2, OTHER, SERVICE = device("m1", "d1"), device("m1", "d2"), device("m2", "d1"), service("greenmine-ingest")


@pytest.fixture
def gate() -> Gate:
    return Gate([D1, D2, OTHER, SERVICE])


# --- passwords


def test_passwords_are_random_and_their_hashes_salted() -> None:
    passwords = {new_password() for _ in range(100)}
    assert len(passwords) == 100
    assert all(len(password) == 32 for password in passwords)
    assert len({hash_password("same") for _ in range(10)}) == 10


@given(st.text(max_size=40), st.text(max_size=40))
def test_only_the_password_fits_its_hash(password: str, other: str) -> None:
    password_hash = hash_password(password)
    assert password_hash.startswith("$7$")
    assert password_fits(password, password_hash)
    assert password_fits(other, password_hash) == (other == password)


# --- who may come in


@pytest.mark.parametrize(
    ("user", "password", "client_id", "admitted"),
    [
        ("m1.d1", "pw", "m1.d1", True),
        ("greenmine-ingest", "pw", "greenmine-ingest", True),
        ("m1.d1", "pw", "m1.d2", False),
        ("m1.d1", "pw", "greenmine-ingest", False),
        ("m1.d1", "pw", "", False),
        ("m1.d1", "pw", None, False),
        ("m1.d1", "wrong", "m1.d1", False),
        ("m1.d1", "", "m1.d1", False),
        ("m1.d1", None, "m1.d1", False),
        ("m1.d9", "pw", "m1.d9", False),
        ("M1.D1", "pw", "M1.D1", False),
        ("", "", "", False),
        (None, None, None, False),
        (None, "pw", None, False),
    ],
)
def test_admission(gate: Gate, user: str | None, password: str | None, client_id: str | None, admitted: bool) -> None:
    assert gate.admits(user, password, client_id) is admitted


# --- which topics


@pytest.mark.parametrize("suffix", ["up", "up/senml", "up/hj212", "activity"])
def test_a_device_writes_its_own_topics_in_full(gate: Gate, suffix: str) -> None:
    assert gate.allows("m1.d1", Action.WRITE, f"mines/m1/d1/{suffix}")
    assert not gate.allows("m1.d1", Action.READ, f"mines/m1/d1/{suffix}")


@pytest.mark.parametrize(
    "topic",
    [
        "mines/m1/d2/up", "mines/m2/d1/up", "mines/m1/d1/down", "mines/m1/d1/up/x", "mines/m1/d1/up/senml/",
        "mines/m1/d1", "mines/m1/d1/UP", "mines/m1/d1/+", "mines/m1/d1/#", "mines/+/d1/up", "#", "$SYS/broker/uptime",
        "", "mines/m1/d1/up\x00",
    ],
)  # fmt: skip
def test_a_device_writes_nothing_else(gate: Gate, topic: str) -> None:
    assert not gate.allows("m1.d1", Action.WRITE, topic)


@pytest.mark.parametrize(
    "topic", ["#", "+/+/+/+", "mines/#", "mines/m1/d1/#", "mines/m1/+/down", "$share/g/mines/#", "mines/m1/d2/down"]
)
def test_a_device_reads_its_own_commands_alone(gate: Gate, topic: str) -> None:
    assert gate.allows("m1.d1", Action.READ, "mines/m1/d1/down")
    assert not gate.allows("m1.d1", Action.READ, topic)


def test_a_service_has_everything_under_mines(gate: Gate) -> None:
    for action in Action:
        assert gate.allows("greenmine-ingest", action, "mines/#")
        assert gate.allows("greenmine-ingest", action, "mines/m1/d1/down")
        for topic in ("#", "$SYS/#", "mine", "minesx/m1/d1/up", "/mines/m1/d1/up"):
            assert not gate.allows("greenmine-ingest", action, topic)


@pytest.mark.parametrize(
    ("network", "own"),
    [
        ("chirpstack", "application/a1/device/a84041b2c1841f3d/event/up"),
        ("tts", "v3/mine-soil@ttn/devices/soil07/up"),
        ("sparkplug", "spBv1.0/mine-a/NBIRTH/gw01"),
    ],
)
def test_a_bridge_has_its_networks_topics_and_no_others(network: str, own: str) -> None:
    bridge = Account("lora-1", "", network, hash_password("x"))
    gate = Gate([bridge, D1])
    assert not bridge.is_service
    for action in Action:
        assert gate.allows("lora-1", action, own)
        others = {"application/x", "v3/x", "spBv1.0/x"} - {own.split("/")[0] + "/x"}
        for topic in (*others, "mines/m1/d1/up", "mines/#", "#", "$SYS/#", own.split("/")[0], f"/{own}"):
            assert not gate.allows("lora-1", action, topic)
        assert not gate.allows("m1.d1", action, own)


def test_an_account_of_an_unknown_network_has_nothing() -> None:
    gate = Gate([Account("odd", "", "zigbee", hash_password("x"))])
    for topic in ("zigbee/x", "mines/m1/d1/up", "application/x", ""):
        assert not gate.allows("odd", Action.WRITE, topic)


def test_the_acl_of_a_bridge_is_its_networks_tree(tmp_path: Path) -> None:
    _, acl = write_mosquitto_files(tmp_path, [Account("gw", "", "sparkplug", "$7$1$c2FsdA==$aGFzaA==")])
    assert acl.read_text() == "user gw\ntopic readwrite spBv1.0/#\n\n"


def test_nobody_has_nothing(gate: Gate) -> None:
    for user in (None, "", "m1.d9", "greenmine"):
        for action in Action:
            assert not gate.allows(user, action, "mines/m1/d1/up")


@given(IDENTIFIERS, IDENTIFIERS, IDENTIFIERS, IDENTIFIERS, st.sampled_from(TopicKind))
def test_no_device_writes_for_another(mine: str, name: str, other_mine: str, other: str, kind: TopicKind) -> None:
    one = device(mine, name)
    granted = Gate([one, device(other_mine, other)]).allows(
        one.name, Action.WRITE, f"mines/{other_mine}/{other}/{kind.value}"
    )
    ours = kind is not TopicKind.DOWN and not kind.is_bridged
    assert granted == ((mine, name) == (other_mine, other) and ours)


def test_a_devices_account_cannot_be_named_like_a_service() -> None:
    """A service's name has no dot; a device's always has one, and nothing else in it could be taken for another."""
    assert account_name("m1", "d1") == "m1.d1"
    for mine, name in (
        ("m1.d1", "x"),
        ("greenmine-ingest", ""),
        ("", "d1"),
        ("m1", "d1\n"),
        ("m1", "d:1"),
        ("M1", "d1"),
    ):
        with pytest.raises(ValueError, match="a-z"):
            account_name(mine, name)


@given(IDENTIFIERS, IDENTIFIERS, IDENTIFIERS, IDENTIFIERS)
def test_two_devices_never_share_an_account(mine: str, name: str, other_mine: str, other: str) -> None:
    same = (mine, name) == (other_mine, other)
    assert (account_name(mine, name) == account_name(other_mine, other)) == same


# --- changes


def test_a_withdrawn_account_loses_everything_at_once(gate: Gate) -> None:
    told: list[frozenset[str]] = []
    gate.on_changed(told.append)
    gate.replace([D2, OTHER, SERVICE, device("m1", "d3")])
    assert not gate.admits("m1.d1", "pw", "m1.d1")
    assert not gate.allows("m1.d1", Action.WRITE, "mines/m1/d1/up")
    assert not gate.allows("m1.d1", Action.READ, "mines/m1/d1/down")
    assert gate.allows("m1.d3", Action.WRITE, "mines/m1/d3/up")
    assert told == [frozenset({"m1.d1"})]


def test_a_new_password_is_told_like_a_withdrawal(gate: Gate) -> None:
    told: list[frozenset[str]] = []
    gate.on_changed(told.append)
    gate.replace([D1, D2, OTHER, SERVICE])
    assert told == []
    gate.replace([device("m1", "d1", "new"), D2, OTHER, SERVICE])
    assert told == [frozenset({"m1.d1"})]
    assert not gate.admits("m1.d1", "pw", "m1.d1")
    assert gate.admits("m1.d1", "new", "m1.d1")


def test_a_device_that_becomes_a_service_under_the_eyes_of_a_reader_breaks_nothing() -> None:
    """Broker threads ask while another thread replaces the accounts."""
    gate = Gate([D1])
    as_service = Account("m1.d1", "", "", D1.password_hash)
    stop = threading.Event()

    def replace() -> None:
        while not stop.is_set():
            gate.replace([as_service])
            gate.replace([])
            gate.replace([D1])

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        answers = {gate.allows("m1.d1", Action.WRITE, "mines/m1/d1/up") for _ in range(20_000)}
    finally:
        stop.set()
        thread.join()
    assert answers <= {True, False}


def test_refused_publishes_are_kept_in_a_small_number_a_minute() -> None:
    clock = ManualClock()
    quota = DeniedQuota(most_a_minute=3, clock=clock)
    assert [quota.keeps("a") for _ in range(5)] == [True, True, True, False, False]
    assert quota.keeps("b")
    clock.advance(60 * NS_PER_S)
    assert quota.keeps("a")


def test_the_quota_does_not_remember_accounts_for_ever() -> None:
    clock = ManualClock()
    quota = DeniedQuota(clock=clock)
    for number in range(1_000):
        quota.keeps(f"m1.d{number}")
    clock.advance(60 * NS_PER_S)
    quota.keeps("m1.d1")
    assert len(quota._counts) == 1


# --- mosquitto's files


def test_the_files_grant_every_topic_in_full(tmp_path: Path) -> None:
    passwords, acl = write_mosquitto_files(tmp_path / "accounts", [D1, SERVICE])
    assert passwords.read_text() == (
        f"greenmine-ingest:{SERVICE.password_hash}\nm1.d1:{D1.password_hash}\n"
    )  # fmt: skip
    assert acl.read_text() == (
        "user greenmine-ingest\ntopic readwrite mines/#\ntopic readwrite application/#\ntopic readwrite v3/#\n"
        "topic readwrite spBv1.0/#\ntopic read $SYS/#\n\n"
        "user m1.d1\ntopic write mines/m1/d1/up\ntopic write mines/m1/d1/up/senml\ntopic write mines/m1/d1/up/hj212\n"
        "topic write mines/m1/d1/activity\ntopic read mines/m1/d1/down\n\n"
    )


@given(st.lists(st.tuples(IDENTIFIERS, IDENTIFIERS), unique=True, max_size=5))
def test_the_acl_says_what_the_gate_says(
    tmp_path_factory: pytest.TempPathFactory, names: list[tuple[str, str]]
) -> None:
    accounts = [Account(account_name(mine, name), mine, name, "$7$101$c2FsdA==$aGFzaA==") for mine, name in names]
    _, acl = write_mosquitto_files(tmp_path_factory.mktemp("acl"), accounts)
    granted: dict[str, set[tuple[str, str]]] = {}
    user = ""
    for line in acl.read_text().splitlines():
        word, _, rest = line.partition(" ")
        if word == "user":
            user = rest
        elif word:
            granted.setdefault(user, set()).add(tuple(rest.split(" ", 1)))  # type: ignore[arg-type]
    for account in accounts:
        writes, reads = granted_topics(account.mine, account.device)
        assert granted[account.name] == {("write", t) for t in writes} | {("read", t) for t in reads}


def test_the_files_are_replaced_whole_and_private(tmp_path: Path) -> None:
    (tmp_path / "passwords.new").write_text("left behind by a crash")
    (tmp_path / "passwords.new").chmod(0o644)
    write_mosquitto_files(tmp_path, [D1, D2])
    passwords, acl = write_mosquitto_files(tmp_path, [D1])
    assert "m1.d2" not in passwords.read_text() + acl.read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"passwords", "acl"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


# --- accounts with certificates --------------------------------------------------------------------------------------


def test_an_account_without_a_password_is_entered_by_certificate_only(tmp_path: Path) -> None:
    account = Account("m1.d1", "m1", "d1", "", frozenset({"5a"}))
    gate = Gate([account])
    for password in (None, "", "x"):
        assert not gate.admits("m1.d1", password, "m1.d1")
    assert gate.admits_certificate("m1.d1", "5a", None, "m1.d1")
    assert not gate.admits_certificate("m1.d1", "5b", None, "m1.d1")
    assert not gate.admits_certificate("", "5a", None, "")
    passwords, acl = write_mosquitto_files(tmp_path, [account])
    assert passwords.read_text() == ""
    assert "user m1.d1\n" in acl.read_text()


def test_what_brokers_trust_is_written_for_the_owner_and_only_when_it_changes(tmp_path: Path) -> None:
    write_mosquitto_files(tmp_path, [])
    assert not (tmp_path / "ca.crt").exists()
    write_mosquitto_files(tmp_path, [], (b"authority", b"list"))
    paths = [tmp_path / "ca.crt", tmp_path / "crl.pem"]
    assert [(path.read_bytes(), path.stat().st_mode & 0o777) for path in paths] == [
        (b"authority", 0o600),
        (b"list", 0o600),
    ]
    before = [path.stat().st_ino for path in paths]
    write_mosquitto_files(tmp_path, [], (b"authority", b"list"))
    assert [path.stat().st_ino for path in paths] == before, "mosquitto would be started anew for nothing"
    write_mosquitto_files(tmp_path, [], (b"authority", b"another list"))
    assert paths[1].read_bytes() == b"another list"
