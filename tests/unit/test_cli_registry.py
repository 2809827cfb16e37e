"""The command line of the registry: facts about devices, what is listed of them, and who waits for approval."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from greenmine.cli import app
from greenmine.core.clock import SystemClock
from greenmine.core.waiting import Network, WaitingDevice, WaitingValue
from greenmine.ingest.device_suggestion import suggest_device
from greenmine.ingest.record import Record, RecordKind
from greenmine.policy.model import Device
from greenmine.store import waiting
from greenmine.store.state import StateDb
from tests.service_rig import DEVICE, MINE, Api, running, until, write_policy

BAD_INPUT = 2
EUI = "00112233445566aa"
SINCE = "2026-01-01T00:00:00+08:00"


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def gm(*arguments: str | Path) -> Ran:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return Ran(result.exit_code, result.stdout, result.stderr)


def stranger(time_ns: int) -> Record:
    payload = json.dumps({"ts": time_ns // 1_000_000, "values": {"pm10": 7.5, "ph": None}}).encode()
    return Record(RecordKind.MESSAGE, f"mines/{MINE}/new-1/up", payload, "bridge")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped home in which a stranger has spoken on a topic of its own; another waits by its address."""
    folder = tmp_path_factory.mktemp("registry")
    with running(folder / "home", write_policy(folder / "policies"), with_mqtt=False, with_web=False) as service:
        service._put(stranger(SystemClock().wall_ns()))
        until(lambda: service.pipeline.judge.state.waiting)
        assert service.drain(30)
    state = StateDb(folder / "home" / "state.db")
    with state.writing() as connection:
        one = WaitingDevice(
            Network.DEV_EUI, EUI, "", 1, 2, 3, 1, (WaitingValue("SM20", 0.31, None), WaitingValue("ph", 7.1, "1")), "{}"
        )
        waiting.save(connection, {one.key: one})
    state.close()
    return folder / "home"


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Path]:
    with running(tmp_path / "home", write_policy(tmp_path / "policies"), with_mqtt=False, with_web=False):
        pass
    return tmp_path / "home"


def test_calibration_replacement_and_move_are_recorded_and_listed(fresh: Path) -> None:
    where = ("--mine", MINE, "--device", DEVICE, "--home", fresh)
    factors = ("--metric", "pm10", "--slope", "1.02", "--offset", "-0.4", "--certificate", "JZ-17")
    made = gm("facts", "calibrate", *where, *factors, "--from", SINCE, "--json")
    assert made.json == {"id": 1}
    assert gm("facts", "replace", *where, "--serial", "SN 8", "--previous", "SN 7", "--from", SINCE).code == 0
    assert gm("facts", "move", *where, "--position", "110.21,39.68", "--place", "北坡", "--from", SINCE).code == 0
    assert gm("devices", "list", "--json", "--home", fresh).json == []
    rows = {row["device"]: row for row in gm("devices", "list", "--all", "--json", "--home", fresh).json}
    row = rows[DEVICE]
    assert (row["account"], row["serial"], row["model"], row["position"]) == (None, "SN 8", None, [110.21, 39.68])
    (one,) = row["calibrations"]
    assert (one["metric"], one["slope"], one["offset"], one["fact"], one["to"]) == ("pm10", 1.02, -0.4, 1, None)
    assert one["from"] == "2025-12-31T16:00:00Z"
    assert (rows["dust-2"]["serial"], rows["dust-2"]["calibrations"]) == (None, [])
    bodies = [fact["body"] for fact in gm("facts", "list", "--json", "--home", fresh).json]
    assert bodies[0] == {"slope": 1.02, "offset": -0.4, "certificate": "JZ-17"}
    assert gm("facts", "replace", *where, "--serial", "SN 9", "--from", SINCE, "--corrects", "2").code == 0
    (row,) = [row for row in gm("devices", "list", "--all", "--json", "--home", fresh).json if row["device"] == DEVICE]
    assert row["serial"] == "SN 9"
    assert "SN 9" in gm("devices", "list", "--all", "--home", fresh).out


@pytest.mark.parametrize(
    "wrong",
    [
        ("calibrate", "--metric", "pm10", "--slope", "0", "--offset", "0"),
        ("calibrate", "--metric", "tsp", "--slope", "1", "--offset", "0"),
        ("replace", "--serial", " "),
        ("replace", "--serial", "x", "--corrects", "99"),
        ("move", "--position", "north"),
        ("move", "--position", "39.68,110.21"),
    ],
)
def test_wrong_facts_are_bad_input(home: Path, wrong: tuple[str, ...]) -> None:
    ran = gm("facts", *wrong, "--mine", MINE, "--device", DEVICE, "--from", SINCE, "--home", home)
    assert (ran.code, ran.out) == (BAD_INPUT, ""), ran


def test_who_waits(home: Path) -> None:
    rows = {row["address"]: row for row in gm("devices", "waiting", "list", "--json", "--home", home).json}
    assert rows.keys() == {f"{MINE}/new-1", EUI}
    own = rows[f"{MINE}/new-1"]
    assert (own["network"], own["mine"], own["messages"]) == ("mqtt", MINE, 1)
    assert own["values"] == [{"name": "pm10", "value": 7.5, "unit": None}, {"name": "ph", "value": None, "unit": None}]
    table = gm("devices", "waiting", "list", "--home", home).out
    assert EUI in table
    assert "pm10 7.5" in table


def test_one_is_shown_with_yaml_that_a_policy_takes(home: Path) -> None:
    shown = gm("devices", "waiting", "show", f"{MINE}/new-1", "--home", home).out
    assert "- id: new-1" in shown
    found = gm("devices", "waiting", "show", EUI.upper(), "--json", "--home", home).json
    (device,) = YAML(typ="safe", pure=True).load(found["suggestion"])
    made = Device.model_validate(device)
    assert made.address is not None
    assert made.address.dev_eui == EUI
    assert [list(sensor.metrics) for sensor in made.sensors] == [["ph"]]
    assert "SM20" in found["suggestion"]
    missing = gm("devices", "waiting", "show", "nobody", "--home", home)
    assert (missing.code, missing.out) == (BAD_INPUT, "")


def test_a_suggestion_of_any_address_and_names_is_yaml_of_a_device() -> None:
    for address, values in [
        ("组/Edge 1", ()),
        ("g/e", (WaitingValue('a"b: #', 1.0, None), WaitingValue("ec@D 2", 1, ""))),
    ]:
        text = suggest_device(WaitingDevice(Network.EDGE, address, "", 1, 1, 1, 1, values, ""))
        Device.model_validate(YAML(typ="safe", pure=True).load(text)[0])


def test_deciding_at_a_stopped_home_and_through_a_running_service(tmp_path: Path) -> None:
    policies = write_policy(tmp_path / "policies")
    home, commands = tmp_path / "home", ("devices", "waiting")
    with running(home, policies, with_mqtt=False) as service:
        service._put(stranger(SystemClock().wall_ns()))
        until(lambda: service.pipeline.judge.state.waiting)
        api = Api(service.web.url, service._secrets.make("service-token"))  # type: ignore[union-attr]
        status, listed = api.call("GET", "/devices/waiting")
        assert (status, [one["address"] for one in listed]) == (200, [f"{MINE}/new-1"])
        status, one = api.call("GET", f"/devices/waiting/mqtt/{MINE}/new-1")
        assert (status, one["suggestion"].splitlines()[0]) == (200, "- id: new-1")
        assert api.call("GET", "/devices/waiting/mqtt/nobody")[0] == 404
        assert api.call("POST", f"/devices/waiting/mqtt/{MINE}/new-1/approve", {"mine": MINE, "device": "x"})[0] == 422
        api.close()
        given = ("--network", "edge", "--mine", MINE, "--device", DEVICE, "--home", home, "--json")
        approved = gm(*commands, "approve", "Mine A/edge 1", *given)
        assert approved.json["address"] == "Mine A/edge 1"
        assert service.pipeline.judge.state.registry.addresses["edge", "Mine A/edge 1"] == (MINE, DEVICE)
        assert gm(*commands, "reject", f"{MINE}/new-1", "--home", home, "--note", "a test").code == 0
        assert gm(*commands, "list", "--json", "--home", home).json == []
    assert gm(*commands, "reject", f"{MINE}/new-1", "--home", home).code == BAD_INPUT
    given = ("--network", "mn", "--mine", MINE, "--home", home)
    assert gm(*commands, "approve", "888888", *given, "--device", DEVICE).code == 0
    assert gm(*commands, "approve", "888888", *given, "--device", "nosuch").code == BAD_INPUT
