"""`greenmine journal` on a home that a service has used, and on one whose journal was damaged meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from greenmine.cli import app
from greenmine.home import Home
from greenmine.office import LocalOffice
from greenmine.store.state import StateDb
from tests.service_rig import running, write_policy


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with running(tmp_path / "home", write_policy(tmp_path / "policies"), with_mqtt=False, with_web=False):
        pass
    return tmp_path / "home"


def called(home: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["journal", *arguments, "--home", str(home)])
    return result.exit_code, result.stdout


def test_a_sound_journal(home: Path) -> None:
    code, shown = called(home, "status", "--json")
    found = json.loads(shown)
    assert code == 0
    assert found["last_batch"] == found["marked_batch"] > 0
    assert (found["lost_batches"], found["set_aside"], found["archive_segments"]) == ([], [], 0)
    assert found["snapshot_bytes"] == 0
    (home / "archive" / "state-000000000007.db.gz").write_bytes(b"a copy of the state")
    assert json.loads(called(home, "status", "--json")[1])["snapshot_bytes"] == 19
    code, shown = called(home, "verify", "--json")
    assert (code, json.loads(shown)["problems"]) == (0, [])
    code, shown = called(home, "status")
    assert "最新批次" in shown
    assert "newest batch" in shown
    assert json.loads(called(home, "segments", "--json")[1]) == []


def test_a_damaged_one_is_mended_by_the_next_start_and_says_what_it_lost(home: Path, tmp_path: Path) -> None:
    before = json.loads(called(home, "status", "--json")[1])["last_batch"]
    (home / "journal.db").write_bytes(bytes(20_000))
    with running(home, write_policy(tmp_path / "policies"), with_mqtt=False, with_web=False) as service:
        assert service.drain(30)
        checks = {check.name: check for check in service.checks()}
        assert f"{before} batches are gone" in checks["journal losses"].detail
    found = json.loads(called(home, "status", "--json")[1])
    assert found["lost_batches"] == [[1, before]]
    assert found["set_aside"] == ["journal.db.damaged-001"]
    code, shown = called(home, "verify")
    assert code == 1
    assert f"batches 1 to {before} are lost" in shown


def test_a_command_without_the_service_mends_it_too_and_that_is_on_record(home: Path) -> None:
    before = json.loads(called(home, "status", "--json")[1])["last_batch"]
    (home / "journal.db").write_bytes(bytes(20_000))
    for _ in range(2):
        LocalOffice(Home(home)).close()
    assert json.loads(called(home, "status", "--json")[1])["lost_batches"] == [[1, before]]
    state = StateDb(home / "state.db", read_only=True)
    with state.reading() as connection:
        query = "SELECT body FROM audit WHERE action = 'service.journal_loss'"
        said = [json.loads(body) for body in connection.exec_driver_sql(query).scalars()]
    state.close()
    assert [(one["batches"], one["offline"]) for one in said] == [([[1, before]], True)]
