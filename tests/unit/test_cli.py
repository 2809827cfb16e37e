"""The command line: what each command prints, its exit codes, and that errors are words."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from argon2 import PasswordHasher
from typer.testing import CliRunner

import greenmine
from greenmine.cli import app
from greenmine.core.act import Act, ActKind
from greenmine.core.clock import SystemClock
from greenmine.home import Home
from greenmine.office import office
from greenmine.service import Service
from tests.service_rig import DEVICE, MINE, WAIT_S, publisher_of, running, send, settings_of, until, write_policy

FAILED, BAD_INPUT = 1, 2
ALERT_KEYS = {
    "id", "mine", "rule", "device", "channel", "kind", "severity", "condition", "handling", "raised_at", "cleared_at",
}  # fmt: skip
HOOK_SECRET = "path-of-the-hook-4711"


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def gm(*arguments: str | Path, stdin: bytes | None = None) -> Ran:
    """Run a command in this process; an exception that is not an exit is a stack trace to a person."""
    result = CliRunner().invoke(app, [str(one) for one in arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Traceback" not in result.output
    return Ran(result.exit_code, result.stdout, result.stderr)


@contextlib.contextmanager
def program(*arguments: str | Path, **changed: str) -> Iterator[subprocess.Popen[str]]:
    """The program itself, in a process of its own, which is gone after the block."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GREENMINE_")} | changed
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "greenmine", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env=environment,
        # A shell starts what is in its background with Ctrl-C ignored, and that is inherited: perhaps by these tests.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ran(process: subprocess.Popen[str]) -> Ran:
    """Wait for its end."""
    out, err = process.communicate(timeout=60)
    return Ran(process.returncode, out, err)


def lines_until(process: subprocess.Popen[str], word: str) -> list[str]:
    """Lines of standard error up to the one with the word."""
    assert process.stderr is not None
    found: list[str] = []
    for line in process.stderr:
        found.append(line)
        if word in line:
            return found
    raise AssertionError(f"it ended without saying {word!r}: {''.join(found)}")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("GREENMINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setattr("greenmine.logins.PasswordHasher", lambda: PasswordHasher(time_cost=1, memory_cost=64))


def fill(service: Service) -> None:
    """Readings, two alerts of which one is cleared, and a dead letter."""
    with publisher_of(service) as publisher:
        for value, seconds_ago in ((40.0, 90), (301.5, 80), (35.0, 70), (333.0, 60)):
            send(publisher, value, seconds_ago)
        time_ns = SystemClock().wall_ns()
        from greenmine.simulator.message import TimedMessage

        topic, account = f"mines/{MINE}/{DEVICE}/up", f"{MINE}.{DEVICE}"
        publisher.publish(TimedMessage(time_ns, MINE, DEVICE, topic, b'{"ts": "yesterday", "values": {}}', account))
        assert publisher.drain(WAIT_S)
    until(lambda: len(service.board.alerts()) == 2)
    assert service.drain(WAIT_S)


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_policy(tmp_path_factory.mktemp("policies")).parent


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, policies: Path) -> Path:
    """A stopped home with something of everything in it, which tests only read or fail to change."""
    home = tmp_path_factory.mktemp("filled") / "home"
    with running(home, policies, with_web=False) as service:
        fill(service)
    with office(Home(home)) as desk:
        fact = {"mine": MINE, "kind": "maintenance", "subject": DEVICE, "reason": "cleaned", "body": {}}
        times = {"valid_from_ns": 1_795_334_400_000_000_000, "valid_to_ns": None}
        desk.act(Act(ActKind.FACT, "person:local", body=fact | times))
    return home


@pytest.fixture
def home(tmp_path: Path, policies: Path) -> Path:
    """A stopped home of one's own, with an alert that is firing."""
    path = tmp_path / "home"
    with running(path, policies, with_web=False) as service, publisher_of(service) as publisher:
        send(publisher, 301.5, 60)
        until(service.board.alerts)
        assert service.drain(WAIT_S)
    return path


@pytest.fixture
def served(tmp_path: Path, policies: Path) -> Iterator[Path]:
    """A home that a service holds, with something of everything in it."""
    path = tmp_path / "served"
    with running(path, policies) as service:
        fill(service)
        yield path


# --- what there is ---------------------------------------------------------------------------------------------------

PROMISED = {
    "demo": "--for --speed --headless --json --data --scenario --home",
    "run": "--config --home",
    "doctor": "--home --json --config",
    "tail": "--mine --device --home --json",
    "policy check": "--json",
    "policy schema": "",
    "decode": "--format --topic",
    "readings import": "--home --json",
    "readings export": "--mine --format --home",
    "readings count": "--home --json",
    "dead-letters list": "--home --json",
    "dead-letters replay": "--home --json",
    "alerts list": "--home --json",
    "alerts show": "--home --json",
    "alerts ack": "--home --json",
    "facts add": "--home --json",
    "facts list": "--home --json",
    "simulate run": "--broker --speed --json",
    "simulate list": "--json",
    "simulate load": "--rate --sensors --for --json",
    "devices provision": "--certificate --csr --out --days --home --json",
    "devices list": "--home --json",
    "devices revoke": "--serial --home --json",
    "devices ca init": "--home --json",
    "devices ca show": "--pem --home --json",
    "devices ca server": "--host --out --days --home --json",
    "users add": "--home --json",
    "users list": "--home --json",
    "users reset": "--home --json",
    "audit verify": "--home --json",
    "audit export": "--home",
}


def commands() -> dict[str, Any]:
    """Every command of the program by its words."""
    found: dict[str, Any] = {}

    def walk(command: Any, words: tuple[str, ...]) -> None:
        inner = getattr(command, "commands", None)
        if inner is None:
            found[" ".join(words)] = command
            return
        for name, one in inner.items():
            walk(one, (*words, name))

    walk(typer.main.get_command(app), ())
    return found


@pytest.mark.parametrize("words", PROMISED)
def test_every_promised_command_has_its_options(words: str) -> None:
    command = commands()[words]
    options = {option for parameter in command.params for option in parameter.opts}
    assert set(PROMISED[words].split()) <= options


def test_every_command_and_option_says_what_it_is_for() -> None:
    for words, command in commands().items():
        assert command.help, words
        for parameter in command.params:
            if parameter.name not in ("help", "as_json"):
                assert getattr(parameter, "help", "x"), (words, parameter.name)


def test_every_listing_has_json() -> None:
    for words, command in commands().items():
        if words.split()[-1] in ("list", "show", "count", "verify", "check"):
            assert "--json" in {option for parameter in command.params for option in parameter.opts}, words


def test_version_and_help() -> None:
    assert gm("--version") == Ran(0, f"greenmine {greenmine.__version__}\n", "")
    assert gm("--help").code == 0
    for words in PROMISED:
        assert gm(*words.split(), "--help").code == 0


def test_help_imports_no_database() -> None:
    script = "import sys, greenmine.cli\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    heavy = {"sqlalchemy", "duckdb", "fastapi", "uvicorn", "amqtt", "paho", "argon2", "urllib3", "pydantic_settings"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["nonsense"], ["run"], ["alerts", "ack"], ["users", "add", "li", "--role", "boss"],
        ["demo", "--speed", "0"],
        ["demo", "--headless"], ["demo", "--for", "5"], ["demo", "--for", "-5s"], ["demo", "--scenario", "nosuch"],
        ["demo", "--data", "nosuch"], ["decode", "--format", "xml"], ["devices", "provision"],
        ["readings", "export", "--format", "parquet"], ["readings", "count", "--from", "yesterday"],
        ["readings", "count", "--metric", "gold"], ["run", "--config", "nosuch.yaml"],
        ["policy", "check", "nosuch.yaml"],
        ["simulate", "run", "nosuch", "--broker", "mqtt://127.0.0.1", "--passwords", "nosuch.json"],
        ["tail"], ["users", "list"], ["alerts", "list"], ["readings", "count"], ["audit", "verify"], ["facts", "list"],
        ["dead-letters", "list"], ["devices", "list"],
    ],
)  # fmt: skip
def test_bad_input_is_two_and_words(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    done = gm(*arguments)
    assert done.code == BAD_INPUT
    assert done.err or arguments == []
    assert list(tmp_path.iterdir()) == [], "a command that is refused leaves nothing behind"


def test_a_missing_home_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(tmp_path / "a") in gm("users", "list", "--home", tmp_path / "a").err
    monkeypatch.setenv("GREENMINE_HOME", str(tmp_path / "b"))
    done = gm("users", "list")
    assert str(tmp_path / "b") in done.err
    assert "greenmine run" in done.err


# --- reading a home, with and without its service --------------------------------------------------------------------


def check_listings(home: Path) -> None:
    """Every listing of a filled home, as JSON and as a table."""
    found = gm("alerts", "list", "--json", "--home", home).json
    assert [row["condition"] for row in found] == ["firing", "cleared"]
    assert all(row.keys() >= ALERT_KEYS for row in found)
    assert {row["mine"] for row in gm("alerts", "list", "--json", "--mine", MINE, "--home", home).json} == {MINE}
    assert gm("alerts", "list", "--json", "--mine", "other", "--home", home).json == []
    (still_open,) = gm("alerts", "list", "--json", "--open", "--home", home).json
    shown = gm("alerts", "show", still_open["id"], "--json", "--home", home).json
    assert shown.keys() >= ALERT_KEYS | {"history", "notices"}
    assert shown["history"][0]["principal"] == f"rule:{MINE}/dusty"
    assert still_open["id"] in gm("alerts", "list", "--home", home).out
    assert "over_limit" in gm("alerts", "show", still_open["id"], "--home", home).out
    assert gm("readings", "count", "--json", "--home", home).json == {"count": 4}
    assert gm("readings", "count", "--home", home).out == "4\n"
    (dead,) = gm("dead-letters", "list", "--json", "--home", home).json
    assert (dead["word"], dead["topic"]) == ("ts_format", f"mines/{MINE}/{DEVICE}/up")
    assert {row["account"] for row in gm("devices", "list", "--json", "--home", home).json} == {f"{MINE}.{DEVICE}"}
    assert [row["name"] for row in gm("users", "list", "--json", "--home", home).json] == ["admin"]
    verified = gm("audit", "verify", "--json", "--home", home)
    assert (verified.code, verified.json["broken_no"]) == (0, None)
    exported = [json.loads(line) for line in gm("audit", "export", "--home", home).out.splitlines()]
    assert [row["no"] for row in exported] == list(range(1, len(exported) + 1))
    assert exported[-1]["hash"] == verified.json["head"]


def test_listings_of_a_stopped_home(filled: Path) -> None:
    check_listings(filled)
    (fact,) = gm("facts", "list", "--json", "--home", filled).json
    assert (fact["kind"], fact["by"], fact["valid_to"]) == ("maintenance", "person:local", None)


def test_listings_of_a_served_home(served: Path) -> None:
    check_listings(served)
    assert gm("facts", "list", "--json", "--home", served).json == []


def test_the_environment_names_the_home(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENMINE_HOME", str(filled))
    assert gm("readings", "count", "--json").json == {"count": 4}


def test_what_does_not_exist_is_said(filled: Path) -> None:
    for arguments in (
        ["alerts", "show", "nosuch"],
        ["users", "reset", "nobody"],
        ["devices", "revoke", "nobody"],
        ["devices", "provision", "--mine", "nosuch"],
        ["devices", "provision", "--mine", MINE, "--device", "nosuch"],
        ["dead-letters", "replay", "99999"],
    ):
        done = gm(*arguments, "--home", filled)
        assert (done.code, done.out) == (BAD_INPUT, "")
        assert done.err.startswith("greenmine: ")


def test_a_chain_that_was_changed_is_failed_and_named(home: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(home / "state.db")
    connection.execute("UPDATE audit SET principal = 'person:nobody' WHERE no = 2")
    connection.commit()
    connection.close()
    done = gm("audit", "verify", "--json", "--home", home)
    assert (done.code, done.json["broken_no"]) == (FAILED, 2)
    assert gm("audit", "verify", "--home", home).code == FAILED


def test_a_state_that_is_no_database_is_words(home: Path) -> None:
    (home / "state.db").write_bytes(b"not a database at all, only text" * 200)
    for arguments in (["users", "list"], ["readings", "count"], ["users", "add", "li"], ["audit", "verify"]):
        done = gm(*arguments, "--home", home)
        assert done.code == FAILED
        assert "state.db" in done.err
    assert not Home(home).is_locked()


# --- acting on a home, with and without its service ------------------------------------------------------------------


def check_acts(home: Path) -> None:
    """Acts of people on the command line."""
    (alert,) = gm("alerts", "list", "--open", "--json", "--home", home).json
    done = gm("alerts", "ack", alert["id"], "--note", "seen", "--json", "--home", home)
    assert (done.code, done.json["handling"], done.json["acknowledged_by"]) == (0, "acknowledged", "person:local")
    again = gm("alerts", "resolve", alert["id"], "--note", "too early", "--home", home)
    assert again.code == FAILED
    assert "still holds" in again.err
    assert gm("alerts", "note", alert["id"], "--note", "洒水车已出动", "--home", home).code == 0
    notes = [step["note"] for step in gm("alerts", "show", alert["id"], "--json", "--home", home).json["history"]]
    assert "洒水车已出动" in notes

    added = gm("users", "add", "Li", "--role", "viewer", "--json", "--home", home)
    assert added.json.keys() == {"name", "role", "password"}
    assert (added.json["name"], added.json["role"]) == ("li", "viewer")
    assert gm("users", "add", "li", "--home", home).code == FAILED
    assert gm("users", "add", "local", "--home", home).code == BAD_INPUT
    reset = gm("users", "reset", "li", "--home", home)
    name, password = reset.out.split()
    assert name == "li"
    assert password != added.json["password"]
    assert "shown this once" in reset.err

    made = gm("devices", "provision", "--mine", MINE, "--json", "--home", home).json
    assert {row["account"] for row in made} == {f"{MINE}.dust-1", f"{MINE}.dust-2"}
    assert gm("devices", "provision", "--service", "bridge-1", "--home", home).out.split()[-2] == "bridge-1"
    assert gm("devices", "provision", "--service", "Bridge 1", "--home", home).code == BAD_INPUT
    assert gm("devices", "revoke", f"{MINE}.dust-2", "--json", "--home", home).json["account"] == f"{MINE}.dust-2"
    rows = {row["account"]: row for row in gm("devices", "list", "--json", "--home", home).json}
    assert rows[f"{MINE}.dust-2"]["revoked_at"] is not None

    fact = ["--mine", MINE, "--kind", "maintenance", "--subject", "dust-1/pm10", "--reason", "清洗"]
    times = ["--from", "2026-11-22T08:00:00+08:00", "--to", "2026-11-22T09:00:00+08:00"]
    assert gm("facts", "add", *fact, *times, "--body", '{"by": "Wang"}', "--home", home).code == 0
    listed = gm("facts", "list", "--json", "--home", home).json[-1]
    assert (listed["valid_from"], listed["body"]) == ("2026-11-22T00:00:00Z", {"by": "Wang"})
    for wrong in (["--from", "noon"], [*times, "--body", "[1]"], [*times, "--body", "{"], [*times, "--mine", "other"]):
        refused = gm("facts", "add", *fact, *wrong, "--home", home)
        assert refused.code == BAD_INPUT, refused
    assert len(gm("facts", "list", "--json", "--home", home).json) == 1
    assert gm("audit", "verify", "--home", home).code == 0


def test_a_disk_that_is_full_is_words(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    def full(*_: object) -> None:
        raise OperationalError("INSERT ...", {}, Exception()) from Exception("database or disk is full")

    monkeypatch.setattr("greenmine.store.users.add", full)
    done = gm("users", "add", "li", "--home", home)
    assert (done.code, done.out) == (FAILED, "")
    assert f"the state {home / 'state.db'} cannot be used: database or disk is full" in done.err
    assert not Home(home).is_locked()


def test_acts_on_a_stopped_home(home: Path) -> None:
    check_acts(home)


def test_acts_through_the_service(served: Path) -> None:
    check_acts(served)


def test_it_is_said_where_a_broker_learns_of_accounts_later(home: Path, served: Path) -> None:
    assert "no service runs" in gm("devices", "provision", "--mine", MINE, "--home", home).err
    assert "no service runs" not in gm("devices", "provision", "--mine", MINE, "--home", served).err


def test_what_came_of_what_was_sent_is_accounted_for(filled: Path) -> None:
    hours = gm("ingest", "account", "--json", "--home", filled).json
    assert sum(one["dead"] for one in hours) == 1
    assert sum(one["stored"] + one["pending"] for one in hours) > 0
    for one in hours:
        parts = ("stored", "pending", "quarantined", "duplicate", "conflict", "dead")
        assert one["received"] == sum(one[part] for part in parts)
        assert one["missing"] == max(0, one["expected"] - one["stored"] - one["pending"])
    reasons = gm("ingest", "reasons", "--json", "--home", filled).json
    assert [one["count"] for one in reasons if one["kind"] == "refused"] == [1]
    assert gm("gaps", "list", "--json", "--home", filled).json == []
    for command in (
        ["ingest", "account"],
        ["ingest", "reasons"],
        ["gaps", "list"],
        ["ingest", "activity", "--mine", "m"],
    ):
        assert gm(*command, "--home", filled).code == 0
    assert gm("ingest", "account", "--from", "yesterday", "--home", filled).code == BAD_INPUT
    assert gm("ingest", "account", "--from", "2020-01-01T00:00:00Z", "--home", filled).code == BAD_INPUT


def test_a_dead_letter_is_found_by_its_reason_and_shown(filled: Path) -> None:
    (dead,) = gm("dead-letters", "list", "--json", "--home", filled).json
    assert gm("dead-letters", "list", "--reason", dead["word"], "--json", "--home", filled).json == [dead]
    assert gm("dead-letters", "list", "--reason", "protobuf", "--json", "--home", filled).json == []
    assert gm("dead-letters", "list", "--reason", "nonsense", "--home", filled).code == BAD_INPUT
    shown = gm("dead-letters", "show", str(dead["id"]), "--json", "--home", filled).json
    assert bytes.fromhex(shown["hex"]).decode() == shown["text"]
    assert shown["size"] == len(bytes.fromhex(shown["hex"]))
    assert dead["word"] in gm("dead-letters", "show", str(dead["id"]), "--home", filled).out
    assert gm("dead-letters", "show", "99999", "--home", filled).code == BAD_INPUT
    assert gm("dead-letters", "replay", "--home", filled).code == BAD_INPUT
    assert gm("dead-letters", "replay", "--reason", "protobuf", "--home", filled).code == BAD_INPUT
    tally = gm("dead-letters", "replay", "--reason", dead["word"], "--json", "--home", filled)
    assert (tally.code, tally.json["stored"]) == (0, 0)
    listed = gm("dead-letters", "list", "--home", filled).out.splitlines()[0]
    assert listed.count(" / ") == 7, "every heading in both languages"
    said, *more = gm("dead-letters", "replay", "--reason", dead["word"], "--home", filled).out.splitlines()
    assert "messages 报文 1" in said
    assert all(part.split()[-2][0] > "\u4e00" for part in said.split(", "))
    assert "restart it, then replay" in " ".join(more)


def test_dead_letters_are_replayed(served: Path) -> None:
    (dead,) = gm("dead-letters", "list", "--json", "--home", served).json
    tally = gm("dead-letters", "replay", str(dead["id"]), "--json", "--home", served)
    assert tally.code == 0
    assert tally.json["messages"] == 1


def test_many_dead_letters_are_replayed_in_slices(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is an act of its own, so that what is live is judged between two; one of which nothing can be read again
    ends nothing, wherever it stands."""
    monkeypatch.setattr("greenmine.command_dead_letters.MOST_AT_ONCE", 1)
    (dead,) = gm("dead-letters", "list", "--json", "--home", filled).json
    tally = gm("dead-letters", "replay", "99999", str(dead["id"]), "99998", "--json", "--home", filled)
    assert (tally.code, tally.json["messages"], tally.json["still_dead"]) == (0, 1, 1)
    assert gm("dead-letters", "replay", "99999", "99998", "--home", filled).code == BAD_INPUT


# --- readings in files -----------------------------------------------------------------------------------------------


def csv_of(tmp_path: Path, *rows: str, header: str = "time,mine,device,metric,value") -> Path:
    path = tmp_path / "in.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def check_files(home: Path, tmp_path: Path) -> None:
    """Out, in again, and in once more."""
    before = gm("readings", "count", "--json", "--home", home).json["count"]
    rows = [f"2026-11-0{day}T08:00:00+08:00,{MINE},dust-2,pm10,{day}.5" for day in range(1, 8)]
    given = csv_of(tmp_path, *rows)
    done = gm("readings", "import", given, "--json", "--home", home)
    assert (done.code, done.json["received"], done.json["duplicate"]) == (0, 7, 0)
    until(lambda: gm("readings", "count", "--json", "--home", home).json["count"] == before + 7)
    for form in ("csv", "parquet"):
        path = tmp_path / f"out.{form}"
        done = gm("readings", "export", "--device", "dust-2", "--format", form, "--out", path, "--home", home)
        assert done.code == 0
        assert done.err.startswith("7 ")
        again = gm("readings", "import", path, "--json", "--home", home)
        assert again.code == 0
        assert again.json["received"] == 7
    until(lambda: gm("readings", "count", "--json", "--home", home).json["count"] == before + 7)
    selected = gm("readings", "export", "--device", "dust-2", "--from", "2026-11-03T00:00:00Z", "--to",
                  "2026-11-05T00:00:00Z", "--home", home)  # fmt: skip
    table = list(csv.DictReader(io.StringIO(selected.out)))
    assert [(row["time"], row["value"], row["unit"]) for row in table] == [
        ("2026-11-03T00:00:00Z", "3.5", "ug/m3"),
        ("2026-11-04T00:00:00Z", "4.5", "ug/m3"),
    ]
    alerts_after = gm("alerts", "list", "--json", "--home", home).json
    high = csv_of(tmp_path, f"2026-11-09T08:00:00+08:00,{MINE},dust-2,pm10,999")
    assert gm("readings", "import", high, "--home", home).code == 0
    assert gm("alerts", "list", "--json", "--home", home).json == alerts_after, "an import raises no alerts"


def test_files_of_a_stopped_home(home: Path, tmp_path: Path) -> None:
    check_files(home, tmp_path)


def test_files_through_the_service(served: Path, tmp_path: Path) -> None:
    check_files(served, tmp_path)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (f"noon,{MINE},dust-1,pm10,1", "in.csv:3: time: 'noon'"),
        (f"2026-11-01T08:00:00,{MINE},dust-1,pm10,1", "offset"),
        (f"2026-11-01T08:00:00Z,{MINE},dust-1,gold,1", "unknown metric 'gold'"),
        (f"2026-11-01T08:00:00Z,{MINE},dust-1,pm10,many", "in.csv:3:"),
        (f"2026-11-01T08:00:00Z,{MINE},dust-1,pm10,1e999", "finite"),
        (f"2026-11-01T08:00:00Z,{MINE},dust-1,pm10,nan", "finite"),
        ("2026-11-01T08:00:00Z,Shifan,dust-1,pm10,1", "mine and device"),
        (f"2026-11-01T08:00:00Z,{MINE},dust-1", "in.csv:3:"),
        (f"2026-11-01T08:00:00Z,{MINE},dust-1,pm10,1,2,3", "in.csv:3: has more fields"),
    ],
)
def test_a_row_that_cannot_be_imported_names_its_line(filled: Path, tmp_path: Path, row: str, said: str) -> None:
    path = csv_of(tmp_path, f"2026-11-01T08:00:00Z,{MINE},dust-1,pm10,1", row)
    done = gm("readings", "import", path, "--home", filled)
    assert done.code == BAD_INPUT
    assert said in done.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "missing: time"),
        (b"time,value\n", "missing: mine, device, metric"),
        (b"time,mine,device,metric,value,colour\n", "unknown: colour"),
        (b"\xff\xfet\x00", "UTF-8"),
        (b"time,mine,device,metric,value\n2026-11-01T08:00:00Z,\xb5\xf1,d,pm10,1\n", "UTF-8"),
    ],
)
def test_files_that_are_no_readings(filled: Path, tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(content)
    done = gm("readings", "import", path, "--home", filled)
    assert done.code == BAD_INPUT
    assert said in done.err


@pytest.mark.parametrize("name", ["nosuch.csv", "nosuch.parquet", "folder", "text.parquet"])
def test_files_that_cannot_be_read(filled: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.parquet").write_text("not a parquet file")
    done = gm("readings", "import", tmp_path / name, "--home", filled)
    assert done.code == BAD_INPUT
    assert name in done.err


def test_an_export_that_cannot_be_written(filled: Path, tmp_path: Path) -> None:
    for form in ("csv", "parquet"):
        out = tmp_path / "nosuch" / f"o.{form}"
        done = gm("readings", "export", "--format", form, "--out", out, "--home", filled)
        assert done.code == BAD_INPUT
        assert "cannot be written" in done.err


# --- decode, policy, simulate, doctor --------------------------------------------------------------------------------

GOOD = {
    "ts": "2026-11-22T08:00:00+08:00",
    "values": {"pm10": 81.3, "soil_moisture@d20": 18.4},
    "seq": 1042,
    "boot": "a1",
    "flags": {"pm10": "N"},
}


def test_decode_is_one_line_a_reading() -> None:
    done = gm("decode", "--format", "json", "--topic", "mines/shifan-1/dust-1/up", stdin=json.dumps(GOOD).encode())
    assert done.code == 0
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert rows == [
        {"time": "2026-11-22T00:00:00Z", "mine": "shifan-1", "device": "dust-1", "metric": "pm10", "channel": "",
         "stat": "inst", "period_s": 0, "value": 81.3, "unit": "ug/m3", "quality": []},
        {"time": "2026-11-22T00:00:00Z", "mine": "shifan-1", "device": "dust-1", "metric": "soil_moisture",
         "channel": "d20", "stat": "inst", "period_s": 0, "value": 18.4, "unit": "%", "quality": []},
    ]  # fmt: skip


def test_decode_without_a_topic_knows_no_mine(tmp_path: Path) -> None:
    path = tmp_path / "payload.json"
    path.write_text(json.dumps(GOOD))
    for arguments in ([path], []):
        done = gm("decode", *arguments, stdin=json.dumps(GOOD).encode())
        assert [(json.loads(line)["mine"], json.loads(line)["device"]) for line in done.out.splitlines()] == [
            (None, None)
        ] * 2
    assert gm("decode", "-", stdin=json.dumps(GOOD).encode()).code == 0


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", ["empty"]),
        (b"{", None),
        (b"\xff", ["encoding"]),
        (json.dumps(GOOD | {"ts": "noon"}).encode(), ["ts_format"]),
        (json.dumps([GOOD, GOOD | {"ts": "noon"}]).encode(), [None, None, "ts_format"]),
    ],
)
def test_decode_says_what_it_refuses_and_goes_on(payload: bytes, words: list[str | None] | None) -> None:
    done = gm("decode", stdin=payload)
    assert done.code == BAD_INPUT
    found = [json.loads(line).get("reject") for line in done.out.splitlines()]
    assert found == words if words is not None else len(found) == 1


def test_decode_refuses_a_topic_that_is_none() -> None:
    done = gm("decode", "--topic", "mines/Shifan/dust-1/up", stdin=json.dumps(GOOD).encode())
    assert done.code == BAD_INPUT
    assert json.loads(done.out).keys() == {"reject", "detail"}


def test_policy_check_names_file_line_and_field(policies: Path, tmp_path: Path) -> None:
    good = policies / f"{MINE}.yaml"
    assert gm("policy", "check", good).code == 0
    assert gm("policy", "check", good, "--json").json == []
    bad = tmp_path / "bad.yaml"
    text = good.read_text(encoding="utf-8").replace("clear: 130", "clear: 170")
    bad.write_text(text, encoding="utf-8")
    line = text[: text.index("clear: 170")].count("\n") + 1
    done = gm("policy", "check", good, bad, "--json")
    assert done.code == BAD_INPUT
    (problem,) = [row for row in done.json if row["level"] == "error"]
    assert problem["file"] == str(bad)
    assert problem["line"] == line
    assert problem["field"].startswith("rules")
    words = gm("policy", "check", bad)
    assert (words.code, words.out) == (BAD_INPUT, "")
    assert f"{bad}:{line}" in words.err


def test_policy_check_takes_a_folder(policies: Path, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text((policies / f"{MINE}.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "n.yml").write_text("schema: 9\n", encoding="utf-8")
    done = gm("policy", "check", tmp_path, "--json")
    assert done.code == BAD_INPUT
    assert {row["file"] for row in done.json if row["level"] == "error"} == {str(tmp_path / "n.yml")}
    (empty := tmp_path / "empty").mkdir()
    assert "folder without YAML files" in gm("policy", "check", empty).err


def test_policy_schema_is_a_schema_that_takes_the_examples(policies: Path) -> None:
    from jsonschema import Draft202012Validator
    from ruamel.yaml import YAML

    schema = gm("policy", "schema").json
    Draft202012Validator.check_schema(schema)
    document = YAML(typ="safe", pure=True).load(policies / f"{MINE}.yaml")
    document["valid_from"] = str(document["valid_from"])
    assert list(Draft202012Validator(schema).iter_errors(document)) == []


def test_simulate_lists_its_scenarios() -> None:
    found = gm("simulate", "list", "--json").json
    assert {"dust-episode", "calm"} <= {row["name"] for row in found}
    assert all(row["title_zh"] and row["title_en"] for row in found)
    assert "dust-episode" in gm("simulate", "list").out


def test_the_load_mine_is_a_policy(tmp_path: Path) -> None:
    path = tmp_path / "load.yaml"
    path.write_text(gm("simulate", "load-policy", "--sensors", "5", "--devices", "2").out, encoding="utf-8")
    assert gm("policy", "check", path).code == 0


def test_simulate_publishes_to_a_service_and_readings_arrive(tmp_path: Path) -> None:
    plan = ["--sensors", "4", "--devices", "2", "--rate", "20"]
    (tmp_path / "p").mkdir()
    path = tmp_path / "p" / "load.yaml"
    path.write_text(gm("simulate", "load-policy", *plan).out, encoding="utf-8")
    with running(tmp_path / "home", path, settings_of()) as service:
        assert service.broker is not None
        made = gm("devices", "provision", "--mine", "load", "--json", "--home", tmp_path / "home")
        passwords = tmp_path / "passwords.json"
        passwords.write_text(made.out)
        url = f"mqtt://127.0.0.1:{service.broker.port}"
        with program(
            "simulate", "load", *plan, "--for", "2s", "--broker", url, "--passwords", passwords, "--json"
        ) as p:
            done = ran(p)
        assert done.code == 0, done.err
        assert done.json["acknowledged"] == done.json["sent"] > 0
        assert service.drain(WAIT_S)
        assert service.state.account().received >= done.json["sent"]
        assert service.state.account().balanced
    passwords.write_text("{}")
    refused = gm("simulate", "load", *plan, "--for", "1s", "--broker", url, "--passwords", passwords)
    assert refused.code == BAD_INPUT
    assert "devices provision" in refused.err


def test_doctor_says_what_is_wrong_and_what_to_do(tmp_path: Path, served: Path, policies: Path) -> None:
    done = gm("doctor", "--json", "--home", tmp_path / "nothing")
    assert done.code == FAILED
    wrong = {check["name"]: check["advice"] for check in done.json if not check["ok"]}
    assert wrong.keys() == {"home", "service"}
    assert all(wrong.values())
    assert gm("doctor", "--home", tmp_path / "nothing").code == FAILED
    assert gm("doctor", "--home", served).code == 0
    assert {"journal", "store", "policies", "mqtt"} <= {
        c["name"] for c in gm("doctor", "--json", "--home", served).json
    }
    config = tmp_path / "greenmine.yaml"
    config.write_text(f"policies: [{policies}]\n")
    assert gm("doctor", "--config", config, "--home", served).code == 0
    config.write_text(f"policies: [{policies}]\nhome: {served}\n")
    assert gm("doctor", "--config", config).code == 0, "the home that the settings name"
    config.write_text("polices: []\n")
    done = gm("doctor", "--config", config, "--home", served, "--json")
    assert done.code == FAILED
    assert "there is no such setting" in {check["name"]: check["detail"] for check in done.json}["settings"]


# --- the program in a process of its own -----------------------------------------------------------------------------


def write_config(tmp_path: Path, policies: Path, **sections: Any) -> Path:
    path = tmp_path / "greenmine.yaml"
    given = {"policies": [str(policies)], "mqtt": {"port": 0}, "web": {"port": 0}, **sections}
    path.write_text(json.dumps(given), encoding="utf-8")
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_says_where_it_is_and_ends_when_told(tmp_path: Path, policies: Path, number: signal.Signals) -> None:
    config, home = write_config(tmp_path, policies, log_level="debug"), tmp_path / "home"
    with program("run", "--config", config, "--home", home) as process:
        said = "".join(lines_until(process, "mqtt:"))
        assert str(home) in said
        assert "admin" in said
        assert "http://127.0.0.1:" in said
        assert Home(home).running_service() is not None
        process.send_signal(number)
        done = ran(process)
    assert (done.code, done.out) == (0, "")
    assert "Traceback" not in done.err
    assert done.err.rstrip().endswith("stopped / 已停止"), "nothing of a library's after it, such as what it leaked"
    assert not Home(home).is_locked()
    with program("run", "--config", config, "--home", home) as process:
        assert "admin" not in "".join(lines_until(process, "mqtt:"))


def test_nobody_else_may_read_a_home_and_no_secret_is_shown(tmp_path: Path) -> None:
    policies = write_policy(tmp_path / "p", "{kind: webhook, url: 'secret:hook'}").parent
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    (home / "secrets").mkdir()
    (home / "secrets" / "hook").write_text(f"http://127.0.0.1:9/{HOOK_SECRET}\n")
    config = write_config(tmp_path, policies, log_level="debug")
    umask = os.umask(0o022)
    try:
        with program("run", "--config", config, "--home", home) as process:
            said = "".join(lines_until(process, "mqtt:"))
            made = gm("devices", "provision", "--mine", MINE, "--json", "--home", home).json
            port = int(said.rpartition("mqtt: 127.0.0.1:")[2].split()[0])
            send_one(port, made[0]["password"])
            until(lambda: gm("alerts", "list", "--json", "--home", home).json)
            files = [path for path in home.rglob("*") if path.is_file() and path.name != "hook"]
            assert {path.name for path in files} >= {"journal.db", "journal.db-wal", "state.db", "readings.duckdb"}
            open_to_others = [path.name for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077]
            assert open_to_others == []
            arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode()
            service = json.loads((home / "service.json").read_text())
            process.send_signal(signal.SIGTERM)
            done = ran(process)
    finally:
        os.umask(umask)
    password = made[0]["password"]
    for secret in (service["token"], password, HOOK_SECRET):
        assert secret not in said + done.out + done.err + arguments
    for path in home.rglob("*"):
        if path.is_file() and path.parent.name != "secrets":
            assert password.encode() not in path.read_bytes(), path.name
            assert HOOK_SECRET.encode() not in path.read_bytes(), path.name


def send_one(port: int, password: str) -> None:
    """A value over the limit."""
    from greenmine.simulator.publish import MqttPublisher

    with MqttPublisher(f"mqtt://127.0.0.1:{port}", lambda _: password) as publisher:
        send(publisher, 301.5, 60)


def provisioned(process: subprocess.Popen[str], home: Path) -> tuple[int, str]:
    """The port of a service's broker, and the password of its device."""
    said = "".join(lines_until(process, "mqtt:"))
    made = gm("devices", "provision", "--mine", MINE, "--device", DEVICE, "--json", "--home", home).json
    return int(said.rpartition("mqtt: 127.0.0.1:")[2].split()[0]), made[0]["password"]


def test_run_ends_with_one_when_the_journal_cannot_be_written(tmp_path: Path, policies: Path) -> None:
    config, home = write_config(tmp_path, policies, log_level="error"), tmp_path / "home"
    with program("run", "--config", config, "--home", home) as process:
        port, password = provisioned(process, home)
        # No file may grow from here on: what a full disk looks like to the program.
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
        with contextlib.suppress(OSError):  # it has ended already
            send_one_without_waiting(port, password)
        done = ran(process)
    assert done.code == FAILED
    assert "greenmine: stopped: the journal" in done.err
    assert "Traceback" not in done.err
    with running(home, policies, with_mqtt=False, with_web=False) as service:
        assert service.state.account().balanced


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, which makes the disk fail")
def test_run_ends_with_one_when_the_disk_fails(tmp_path: Path, policies: Path) -> None:
    """reliability P7: no acknowledgement after an I/O error, and the cause is said, not what followed from it."""
    config, home = write_config(tmp_path, policies, log_level="error"), tmp_path / "home"
    with program("run", "--config", config, "--home", home) as process:
        port, password = provisioned(process, home)
        fails = ["-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO", "-o", str(tmp_path / "calls")]
        with subprocess.Popen(
            ["strace", "-f", "-p", str(process.pid), *fails], stderr=subprocess.PIPE, text=True
        ) as strace:
            assert strace.stderr is not None
            attached = strace.stderr.readline()
            if "attached" not in attached:
                pytest.skip(f"strace may not attach here: {attached}")
            with contextlib.suppress(OSError):  # it has ended already
                send_one_without_waiting(port, password)
            done = ran(process)
    assert done.code == FAILED
    assert "EIO" in (tmp_path / "calls").read_text()
    assert re.search(r"greenmine: stopped: .*disk I/O error", done.err), done.err
    assert "Traceback" not in done.err
    with running(home, policies, with_mqtt=False, with_web=False) as service:
        assert service.state.account().balanced


def send_one_without_waiting(port: int, password: str) -> None:
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"{MINE}.{DEVICE}", protocol=mqtt.MQTTv311)
    client.username_pw_set(f"{MINE}.{DEVICE}", password)
    acknowledged = threading.Event()
    client.on_publish = lambda *_: acknowledged.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        client.publish(f"mines/{MINE}/{DEVICE}/up", b'{"ts": 1800000000000, "values": {"pm10": 40}}', qos=1)
        assert not acknowledged.wait(3), "acknowledged although nothing was committed"
    finally:
        client.loop_stop()
        client.disconnect()


def test_a_port_that_is_taken_is_words_and_two(tmp_path: Path, policies: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for part in ("mqtt", "web"):
            config = write_config(tmp_path, policies, **{part: {"port": port}})
            with program("run", "--config", config, "--home", tmp_path / "home") as process:
                done = ran(process)
            assert done.code == BAD_INPUT
            assert f"{part}.port" in done.err
            assert "Traceback" not in done.err
            assert "first login" not in done.err


def test_tail_shows_messages_and_ends_with_the_service_or_ctrl_c(tmp_path: Path, policies: Path) -> None:
    home = tmp_path / "home"
    with running(home, policies) as service, publisher_of(service) as publisher:
        with program("tail", "--json", "--mine", MINE, "--home", home) as process:
            lines_until(process, "waiting for messages")
            assert process.stdout is not None
            lines: list[str] = []
            reader = threading.Thread(target=lambda: lines.append(process.stdout.readline()))  # type: ignore[union-attr]
            reader.start()
            # The stream begins at some moment after the announcement; so until something came, more is sent.
            sent = 0
            while reader.is_alive():
                sent += 1
                send(publisher, 40.0 + sent, 300 - sent)
                reader.join(0.2)
                assert sent < 150
            message = json.loads(lines[0])
            assert message["topic"] == f"mines/{MINE}/{DEVICE}/up"
            assert message["readings"][0]["metric"] == "pm10"
            process.send_signal(signal.SIGINT)
            done = ran(process)
            assert done.code == 0
            assert "Traceback" not in done.err
        with program("tail", "--home", home) as process:
            lines_until(process, "waiting for messages")
            service.stop()
            done = ran(process)
            assert done.code == FAILED
            assert "greenmine: the service" in done.err
            assert "Traceback" not in done.err


@pytest.mark.parametrize("after", ["0 s", "import of the commands"])
def test_ctrl_c_while_it_is_loading_is_no_stack_trace(filled: Path, after: str) -> None:
    # The signal is sent by the program to itself, at a moment that is known.
    at = "typer" if after == "0 s" else "sqlalchemy"
    script = (
        "import sys, os, signal\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {at!r}:\n"
        "            sys.meta_path.remove(self)\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from greenmine.__main__ import main\n"
        f"sys.argv = ['greenmine', 'users', 'list', '--home', {str(filled)!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_enough_is_no_error(filled: Path) -> None:
    for arguments in (["audit", "export"], ["readings", "export"], ["alerts", "list"], ["policy", "schema"]):
        home = [] if arguments[0] == "policy" else ["--home", str(filled)]
        reading, writing = os.pipe()
        os.close(reading)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "greenmine", *arguments, *home],
                stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
            )  # fmt: skip
        finally:
            os.close(writing)
        assert done.returncode == 0, (arguments, done.stderr)
        assert "rror" not in done.stderr


@pytest.mark.parametrize("arguments", [["users", "list"], ["users", "list", "--json"], ["readings", "export"]])
def test_an_output_that_cannot_be_written_is_failed(filled: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "greenmine", *arguments, "--home", filled],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == FAILED
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["doctor"], ["simulate", "list"], ["alerts", "list"], ["--help"]])
def test_a_terminal_that_knows_ascii_only_is_served(filled: Path, arguments: list[str]) -> None:
    home = ["--home", str(filled)] if arguments[0] in ("doctor", "alerts") else []
    with program(*arguments, *home, PYTHONIOENCODING="ascii", LC_ALL="C") as process:
        done = ran(process)
    assert done.code == (FAILED if arguments == ["doctor"] else 0), done.err
    assert done.out
    assert "Traceback" not in done.err


def test_what_nobody_foresaw_is_words_too(filled: Path) -> None:
    script = (
        "import sys\n"
        "import greenmine.command_people as people\n"
        "from greenmine.__main__ import main\n"
        "import greenmine.office\n"
        "def broken(*_): raise RuntimeError('a fault of ours')\n"
        "greenmine.office.state_of = broken\n"
        f"sys.argv = ['greenmine', 'users', 'list', '--home', {str(filled)!r}]\n"
        "main()\n"
    )
    for debug, trace in (("", False), ("1", True)):
        environment = os.environ | {"GREENMINE_DEBUG": debug}
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60, env=environment
        )
        assert done.returncode == FAILED
        assert "a fault of ours" in done.stderr
        assert ("Traceback" in done.stderr) is trace


def test_standard_input_that_is_closed_is_words() -> None:
    command = f"exec {sys.executable} -m greenmine decode <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == BAD_INPUT
    assert "standard input is closed" in done.stderr
