"""HJ 212 over TCP through the whole service: from the station's socket to the store, the checks and the metrics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from greenmine.core.act import Act, ActKind
from greenmine.core.clock import NS_PER_S, SystemClock
from greenmine.ingest.hj212_requests import stamp_of
from greenmine.service import Service
from greenmine.settings import Hj212Settings
from tests.hj212_station import MN, PASSWORD, StationClient, answer, data
from tests.service_rig import MINE, POLICY, running, settings_of, until

NOW = stamp_of(SystemClock().wall_ns() - 60 * NS_PER_S)
CP = f"DataTime={NOW};a34002-Rtd=81.3,a34002-Flag=N"


def write_stations(home: Path, password: str | None = PASSWORD) -> Path:
    """A policy whose first instrument is a station, and its password in the home."""
    text = POLICY.format(mine=MINE, channel="{kind: console}")
    station = f'  - id: dust-1\n    address: {{mn: "{MN}"}}\n    hj212: {{password: secret:station-1}}\n'
    path = home.parent / "policy.yaml"
    path.write_text(text.replace("  - id: dust-1\n", station), encoding="utf-8")
    (home / "secrets").mkdir(parents=True, exist_ok=True)
    if password is not None:
        (home / "secrets" / "station-1").write_text(password, encoding="utf-8")
    return path


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    home = tmp_path / "home"
    path = write_stations(home)
    with running(home, path, settings_of(hj212=Hj212Settings(port=0)), with_mqtt=False, with_web=False) as one:
        yield one


def port_of(service: Service) -> int:
    assert service.hj212.listener is not None
    return service.hj212.listener.port


def metric(service: Service, name: str) -> float:
    text = service.operations.metrics_text()[0].decode()
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split(" ")[1])


def test_a_frame_becomes_a_reading_in_the_store(service: Service) -> None:
    with StationClient(port_of(service)) as station:
        station.send(data(cp=CP))
        assert station.frame() == answer()
        station.send(data(cp=CP))
        assert station.frame() == answer(), "what is sent again is answered again"
        assert metric(service, "greenmine_hj212_connections") == 1
        assert metric(service, "greenmine_hj212_answered_total") == 2
    assert service.drain(30)
    account = service.state.account()
    assert (account.received, account.stored, account.duplicate, account.dead) == (2, 1, 1, 0)
    check = next(check for check in service.operations.checks() if check.name == "hj212")
    assert check.ok
    assert "1 stations" in check.detail


def test_what_cannot_be_taken_is_a_dead_letter_with_its_reason(service: Service) -> None:
    with StationClient(port_of(service)) as station:
        station.send(data(cp=CP).replace(b"81.3", b"91.3"))
        station.send(data(mn="STRANGER"))
        station.send(data(pw="000000"))
        station.send(data(cp="DataTime=no time;a34002-Rtd=1"))
        assert station.frame() == answer(), "it is on disk; to send it again would not help"
    until(lambda: service.state.account().dead == 4)
    with service.state.reading() as connection:
        found = connection.exec_driver_sql("SELECT word, source FROM dead_letter ORDER BY id").all()
    assert [tuple(row) for row in found] == [
        ("crc", "hj212-tcp/-"),
        ("unknown_address", "hj212-tcp/STRANGER"),
        ("auth", f"hj212-tcp/{MN}"),
        ("data_time", f"hj212-tcp/{MN}"),
    ]


def test_a_new_logger_of_a_known_device_speaks_once_a_person_approved_it(service: Service) -> None:
    new = data(mn="NEW_LOGGER", cp=CP)
    with StationClient(port_of(service)) as station:
        station.send(new)
        until(lambda: service.state.account().dead == 1)
        body = {"network": "mn", "address": "NEW_LOGGER", "mine": MINE, "device": "dust-1", "replay": True}
        service.submit(Act(ActKind.APPROVE_DEVICE, "person:li", body=body))
        station.send(new)
        assert station.frame() == answer(mn="NEW_LOGGER")
    assert service.drain(30)
    account = service.state.account()
    assert (account.stored, account.duplicate, account.dead) == (1, 1, 0)


def test_a_missing_password_is_said_by_doctor(tmp_path: Path) -> None:
    home = tmp_path / "home"
    path = write_stations(home, password=None)
    with running(home, path, settings_of(hj212=Hj212Settings(port=0)), with_mqtt=False, with_web=False) as service:
        check = next(check for check in service.operations.checks() if check.name == "hj212")
        assert not check.ok
        assert MN in check.detail


def test_without_a_port_nothing_listens(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running(home, write_stations(home), with_mqtt=False, with_web=False) as service:
        assert service.hj212.listener is None
        assert not service.hj212.request_history(MN, b"{}")
        assert all(check.name != "hj212" for check in service.operations.checks())
        assert b"hj212" not in service.operations.metrics_text()[0]
