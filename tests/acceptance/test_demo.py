"""The demonstration as a stranger runs it: its account is exact, its alarms go the whole way, and it ends in order."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from greenmine import demo as demo_module
from greenmine.cli import app
from greenmine.core.account import Account
from greenmine.core.alert import Handling
from greenmine.core.errors import ConfigError, Conflict, GreenmineError, UserError
from greenmine.demo import NOTICES_FILE, Demo, DemoPlan
from greenmine.demo_screen import screen
from greenmine.home import Home
from greenmine.office import state_of
from greenmine.simulator.publish import MqttPublisher
from greenmine.store import schema
from greenmine.store.state import StateDb
from tests.service_rig import until

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
STATES = Account._fields
ROWS_OF_EACH = 1_000


def program(*arguments: str | Path, temporary: Path | None = None) -> subprocess.Popen[str]:
    """The program in a process of its own, without a terminal."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GREENMINE_")}
    if temporary is not None:
        environment["TMPDIR"] = str(temporary)
    return subprocess.Popen(
        [sys.executable, "-m", "greenmine", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # A shell starts what is in its background with Ctrl-C ignored, and that is inherited: perhaps by these tests.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code and output; a process that does not end is ended."""
    try:
        out, err = process.communicate(timeout=110)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert "Traceback" not in err
    return process.returncode, out, err


def ask(*arguments: str | Path) -> Any:
    """What another command says of the home, as JSON."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def summary_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The last line; its account is exact, and other commands on the home agree with it."""
    code, out, err = finished(process)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert list(found) == [*STATES, "alerts", "home"]
    assert list(found["alerts"]) == ["raised", "delivered", "acknowledged", "resolved"]
    assert found["received"] == sum(found[state] for state in STATES[1:])
    assert found["pending"] == 0
    home = found["home"]
    assert ask("readings", "count", "--home", home) == {"count": found["stored"]}
    alerts = ask("alerts", "list", "--home", home)
    assert len(alerts) == found["alerts"]["raised"]
    assert sum(not alert["open"] for alert in alerts) == found["alerts"]["resolved"]
    assert sum(alert["acknowledged_at"] is not None for alert in alerts) == found["alerts"]["acknowledged"]
    assert ask("audit", "verify", "--home", home)["broken_no"] is None
    return found


def test_the_headless_demo_shows_the_whole_way_of_an_alarm(tmp_path: Path) -> None:
    found = summary_of(program("demo", "--headless", "--for", "12s", "--speed", "280", "--json", temporary=tmp_path))
    assert found["stored"] > 1_000
    assert min(found["alerts"].values()) >= 1, found
    home = Path(found["home"])
    assert home.parent == tmp_path, "a fresh home of its own"
    rows = ask("alerts", "list", "--home", home)
    whole = [row for row in rows if row["handling"] == "closed" and row["acknowledged_by"]]
    history = ask("alerts", "show", whole[0]["id"], "--home", home)["history"]
    assert [step["principal"] for step in history][:1] == [f"rule:{whole[0]['mine']}/{whole[0]['rule']}"]
    assert {"person:demo-supervisor"} <= {step["principal"] for step in history}
    assert whole[0]["id"] in (home / NOTICES_FILE).read_text(encoding="utf-8")
    reasons = {(row["kind"], row["word"]) for row in ask("ingest", "reasons", "--home", home)}
    assert {("quarantined", "sentinel"), ("refused", "unknown_address")} <= reasons
    assert [row["network"] for row in ask("devices", "waiting", "list", "--home", home)] == ["dev_eui"]
    did = ask("ingest", "activity", "--mine", "shifan-1", "--home", home)
    assert {"haul", "watering"} <= {row["kind"] for row in did}
    assert [row["ended_by"] for row in did if row["kind"] == "haul"][:1] == ["end"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_the_middle_ends_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    home = tmp_path / "home"
    process = program("demo", "--headless", "--for", "10m", "--speed", "300", "--json", "--home", home)
    try:
        wait_for_readings(home, process, 500)
        process.send_signal(number)
        found = summary_of(process)
    finally:
        process.kill()
        process.communicate()
    assert found["received"] >= 500
    assert found["home"] == str(home)
    assert not Home(home).is_locked()


def test_a_demo_that_was_killed_leaves_a_home_that_adds_up(tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = program("demo", "--headless", "--for", "10m", "--speed", "300", "--json", "--home", home)
    try:
        wait_for_readings(home, process, 500)
    finally:
        process.kill()
        process.communicate()
    count = ask("readings", "count", "--home", home)["count"]
    account = account_of(home)
    assert account.balanced
    assert account.pending == 0
    assert account.received >= 500
    assert account.stored == count > 0


def account_of(home: Path) -> Account:
    """The message account as of the last commit."""
    state = StateDb(home / "state.db", read_only=True)
    try:
        return state.account()
    finally:
        state.close()


def wait_for_readings(home: Path, process: subprocess.Popen[str], least: int) -> None:
    def there() -> bool:
        assert process.poll() is None, process.communicate()
        with contextlib.suppress(GreenmineError):
            return account_of(home).received >= least if (home / "state.db").exists() else False
        return False

    until(there, 60)


# --- real files ------------------------------------------------------------------------------------------------------


def write_small_data(folder: Path) -> int:
    """A dusty night and a loud half hour in files of the shape of the public ones; the number of values in them."""
    header = "No,year,month,day,hour,PM2.5,PM10,SO2,NO2,CO,O3,TEMP,PRES,DEWP,RAIN,wd,WSPM,station"
    values = 0
    for station, dusty in (("Aotizhongxin", 480), ("Huairou", 90)):
        folder.joinpath(station).mkdir(parents=True)
        rows = [header]
        for hour in range(48):
            pm10 = dusty if 20 <= hour < 26 else 60
            day, of_day = 1 + hour // 24, hour % 24
            rows.append(f"{hour},2013,3,{day},{of_day},20,{pm10},4,7,300,77,-0.7,1023,-18.8,0,NNW,4.4,{station}")
            values += 7
        path = folder / station / f"PRSA_Data_{station}_20130301-20170228.csv"
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    start = datetime(2025, 3, 21, 0, 0, 30)  # noqa: DTZ001 - written as the meter writes it
    rows = ["datetime,LEQ dB -A"]
    for minute in range(180):
        level = 68.0 if 60 <= minute < 90 else 44.0
        rows.append(f"{start + timedelta(minutes=minute):%Y-%m-%d %H:%M:%S},{level}")
        values += 1
    (folder / "noisemonitor_laeq_1min.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return values


def metrics_of(home: str) -> set[str]:
    return {alert["metric"] for alert in ask("alerts", "list", "--home", home)}


def test_real_files_are_judged_to_their_end(tmp_path: Path) -> None:
    values = write_small_data(tmp_path / "data")
    found = summary_of(
        program("demo", "--data", tmp_path / "data", "--headless", "--json", "--home", tmp_path / "home")
    )
    assert found["received"] == found["stored"] == values
    assert metrics_of(found["home"]) >= {"pm10", "laeq"}
    assert found["alerts"]["delivered"] == found["alerts"]["raised"]


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """The public files, cut to their first rows."""
    folder = tmp_path / "data"
    for path in SHARED.rglob("*.csv"):
        target = folder / path.relative_to(SHARED)
        target.parent.mkdir(parents=True, exist_ok=True)
        with path.open(encoding="utf-8-sig") as lines:
            target.write_text("".join(islice(lines, ROWS_OF_EACH)), encoding="utf-8")
    return folder


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder ../shared/data is not there")
def test_the_public_measurements_raise_alerts(tmp_path: Path, cut: Path) -> None:
    found = summary_of(program("demo", "--data", cut, "--headless", "--json", "--home", tmp_path / "home"))
    assert found["received"] > 10_000
    raised = metrics_of(found["home"])
    assert {"pm10", "laeq"} <= raised
    assert raised & {"turbidity", "ph"}


@pytest.mark.parametrize(
    ("name", "said"),
    [("empty", "no file that a mapping knows"), ("nothing", "is not a folder"), ("bare", "no row that can be read")],
)
def test_a_folder_without_data_is_said_and_leaves_nothing(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "noisemonitor_laeq_1min.csv").write_text("datetime,LEQ dB -A\n")
    with pytest.raises(UserError, match=said):
        Demo(DemoPlan(data=tmp_path / name, home=tmp_path / "home"))
    assert not (tmp_path / "home").exists()


# --- in this process -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def started(plan: DemoPlan) -> Iterator[Demo]:
    """A demo while the block lasts; the block finishes it."""
    demo = Demo(plan)
    demo.start()
    try:
        yield demo
    finally:
        if Home(demo.home.path).is_locked():
            demo.finish()


def lines_of(demo: Demo, width: int, height: int) -> list[str]:
    """What a terminal of this size would show."""
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(screen(demo, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_screen_fits_a_small_terminal_and_says_how_to_log_in(tmp_path: Path) -> None:
    with started(DemoPlan(speed=300, headless=True, home=tmp_path / "home")) as demo:
        assert "尚无 none yet" in "\n".join(lines_of(demo, 80, 24))
        until(lambda: len(demo.service.board.alerts()) >= 3 and len(demo.service.board.latest("shifan-1")) > 20)
        for width, height in ((80, 24), (200, 60)):
            lines = lines_of(demo, width, height)
            text = "\n".join(lines)
            assert len(lines) <= height, text
            assert demo.service.web is not None
            assert demo.service.web.url in text
            assert str(demo.service.first_admin_password) in text
            assert "pm10-high" in text
            assert "received" in text
        assert "on the board" in "\n".join(lines_of(demo, 80, 24)), "what is left out is said"
        assert "on the board" not in "\n".join(lines_of(demo, 200, 60))
        assert Account(*list(demo.finish().values())[: len(STATES)]).balanced


def test_a_part_that_fails_ends_the_demo_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> bool:
        raise ConfigError("the broker refuses the login")

    monkeypatch.setattr(MqttPublisher, "publish", broken)
    demo = Demo(DemoPlan(headless=True, home=tmp_path / "home"))
    demo.start()
    until(lambda: demo.wait(0.1))
    with pytest.raises(GreenmineError, match=r"the demo failed: the broker refuses the login; its home is ") as error:
        demo.finish()
    assert not isinstance(error.value, UserError), "it is not the caller's fault"
    assert not demo.home.is_locked()


def test_somebody_at_the_board_may_be_quicker_than_the_supervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_module, "SUPERVISOR_WAITS_S", {True: 0.0, False: 0.0})
    with started(DemoPlan(speed=300, headless=True, home=tmp_path / "home")) as demo:
        asked: list[str] = []

        def too_late(act: Any, *_: object) -> Any:
            asked.append(act.alert_id)
            raise Conflict("acknowledged already")

        submit = demo.service.submit
        monkeypatch.setattr(demo.service, "submit", too_late)
        until(lambda: len(asked) >= 3)
        monkeypatch.setattr(demo.service, "submit", submit)
        until(lambda: any(alert.handling is not Handling.NONE for alert in demo.service.board.alerts()))
        assert demo.finish()["alerts"]["acknowledged"] >= 1


def test_an_episode_that_is_over_comes_again(tmp_path: Path) -> None:
    scenario = tmp_path / "short.yaml"
    scenario.write_text(
        "schema: 1\nname: short\ntitle: {zh: 短, en: Short}\nseed: 7\nstart: now\nduration: 40m\n"
        "episodes:\n  - {kind: dust, start: 2m, length: 12m, ramp: 1m, strength: 900}\n",
        encoding="utf-8",
    )
    with started(DemoPlan(speed=900, headless=True, scenario=str(scenario), home=tmp_path / "home")) as demo:
        until(lambda: sum(alert.key.rule == "pm10-high" for alert in demo.service.board.alerts()) >= 2)
        assert demo.finish()["pending"] == 0


def test_a_home_with_a_journal_is_no_fresh_home(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    home.journal.write_bytes(b"")
    with pytest.raises(ConfigError, match="needs a fresh home"):
        Demo(DemoPlan(home=home.path))


def test_a_board_port_that_is_taken_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(demo_module, "WEB_PORTS", (taken.getsockname()[1], 0))
        with started(DemoPlan(speed=60, home=tmp_path / "home")) as demo:
            assert demo.service.web is not None
            assert not demo.service.web.url.endswith(f":{taken.getsockname()[1]}")
            with state_of(demo.home) as connection:
                assert connection.execute(schema.user.select()).one().name == "admin"
            demo.finish()


def test_interrupted_while_it_starts_it_lets_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = Demo(DemoPlan(headless=True, home=tmp_path / "home"))

    def interrupted() -> None:
        raise KeyboardInterrupt

    def waits(_: float) -> bool:
        raise AssertionError("nobody judges, so this would wait for nothing")

    monkeypatch.setattr(demo.service.thread, "start", interrupted)
    monkeypatch.setattr(demo.service, "drain", waits)
    with pytest.raises(KeyboardInterrupt):
        demo.start()
    assert demo.finish()["received"] == 0
    assert not demo.home.is_locked()
