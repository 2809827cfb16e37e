from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "make_secrets.py"
READ_BY_CONTAINERS = {
    *("grafana-password", "influxdb-password", "influxdb-token", "mqtt-ingest"),
    *("mqtt-ca.crt", "mqtt-server.crt", "mqtt-server.key"),
}


def make(folder: Path, *options: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = None if path is None else {"PATH": path}
    command = [sys.executable, str(SCRIPT), "--out", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_all_is_made_random_and_closed_to_others(tmp_path: Path) -> None:
    for name in ("a", "b"):
        done = make(tmp_path / name)
        assert done.returncode == 0, done.stderr
    first, second = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert set(first) == READ_BY_CONTAINERS | {"mqtt-ca.key"}
    assert all(first[name] != second[name] for name in first)
    assert len({first[name] for name in first}) == len(first)
    assert all(len(first[name]) == 64 for name in first if not name.startswith("mqtt-") or name == "mqtt-ingest")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "a").iterdir()}
    assert modes == dict.fromkeys(READ_BY_CONTAINERS, 0o444) | {"mqtt-ca.key": 0o400}


def test_no_value_is_printed(tmp_path: Path) -> None:
    done = make(tmp_path / "a")
    for value in contents(tmp_path / "a").values():
        assert value.decode() not in done.stdout + done.stderr


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    make(tmp_path / "a")
    before = contents(tmp_path / "a")
    again = make(tmp_path / "a", "--host", "other.example.org")
    assert again.returncode == 0
    assert "keeps its names" in again.stdout
    assert contents(tmp_path / "a") == before


def test_what_is_missing_is_made_and_what_is_there_stays(tmp_path: Path) -> None:
    make(tmp_path / "a")
    before = contents(tmp_path / "a")
    for name in ("influxdb-token", "mqtt-server.crt"):
        (tmp_path / "a" / name).unlink()
    done = make(tmp_path / "a")
    assert "made influxdb-token, mqtt-server.crt" in done.stdout
    after = contents(tmp_path / "a")
    assert set(after) == set(before)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"influxdb-token", "mqtt-server.crt", "mqtt-server.key"}


@pytest.mark.parametrize("name", ["broker.example.org", "localhost", "mosquitto", "192.0.2.7"])
def test_clients_that_know_the_authority_accept_the_server_by_each_name(tmp_path: Path, name: str) -> None:
    assert make(tmp_path, "--host", "broker.example.org", "--host", "192.0.2.7").returncode == 0
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(tmp_path / "mqtt-server.crt", tmp_path / "mqtt-server.key")
    ours, theirs = socket.socketpair()
    shaken: list[str] = []

    def serve() -> None:
        with server_side.wrap_socket(theirs, server_side=True) as connection:
            shaken.append(connection.version() or "")

    thread = threading.Thread(target=serve)
    thread.start()
    context = ssl.create_default_context(cafile=str(tmp_path / "mqtt-ca.crt"))
    if sys.version_info >= (3, 13):
        assert context.verify_flags & ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with context.wrap_socket(ours, server_hostname=name):
        thread.join(10)
    assert shaken
    assert shaken[0] in ("TLSv1.2", "TLSv1.3")


def test_without_openssl_it_says_what_to_do(tmp_path: Path) -> None:
    done = make(tmp_path / "a", path=str(tmp_path))
    assert done.returncode == 1
    assert "install it" in done.stderr
    assert "Traceback" not in done.stderr
    assert make(tmp_path / "a").returncode == 0  # and goes on where it stopped


@pytest.mark.parametrize("host", ["", "a,DNS:evil.example.org", "a b", "x\ny"])
def test_a_host_that_is_none_is_refused(tmp_path: Path, host: str) -> None:
    done = make(tmp_path / "a", "--host", host)
    assert done.returncode == 1
    assert "neither a host name nor an address" in done.stderr


def test_an_authority_of_ones_own_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mqtt-ca.crt").write_text("mine")
    done = make(tmp_path)
    assert done.returncode == 1
    assert "sign" in done.stderr
    assert (tmp_path / "mqtt-ca.crt").read_text() == "mine"
