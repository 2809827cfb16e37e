"""A real InfluxDB 2 for tests: found, started in an empty directory, set up, and ended by its process id.

Import the fixture where it is needed: `from tests.contracts.influx_server import influx_server`.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import pytest

ORG = "greenmine"
START_TIMEOUT_S = 60.0


class InfluxServer(NamedTuple):
    """Where a running InfluxDB is, with a token that may do everything."""

    url: str
    org: str
    token: str

    def fresh_bucket(self) -> str:
        """A name that no bucket has; nothing is created."""
        return f"test-{secrets.token_hex(8)}"


def find_influxd() -> str | None:
    """The server program: GREENMINE_INFLUXD, or `influxd` on PATH."""
    return os.environ.get("GREENMINE_INFLUXD") or shutil.which("influxd")


@pytest.fixture(scope="session")
def influx_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    """A running InfluxDB 2, one for all tests of a module that imports this."""
    program = find_influxd()
    if program is None:
        pytest.skip("no InfluxDB 2: set GREENMINE_INFLUXD to the influxd program, or put influxd on PATH")
    folder = tmp_path_factory.mktemp("influxd")
    url, process = _start(program, folder)
    try:
        _wait_until_healthy(url, process, folder)
        token = secrets.token_urlsafe(32)
        _set_up(url, token)
        yield InfluxServer(url, ORG, token)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _start(program: str, folder: Path) -> tuple[str, subprocess.Popen[bytes]]:
    work = folder / "work"  # influxd reads a configuration from where it stands: an empty directory has none
    work.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("INFLUX")}
    with (folder / "influxd.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--bolt-path={folder / 'influxd.bolt'}",
                f"--engine-path={folder / 'engine'}",
                f"--sqlite-path={folder / 'influxd.sqlite'}",
                f"--http-bind-address=127.0.0.1:{port}",
                "--reporting-disabled",
                "--ui-disabled",
                "--log-level=warn",
            ],
            cwd=work,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return f"http://127.0.0.1:{port}", process


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    pause = Event()  # nothing sets it: a process of another program gives no event to wait for, so ask at intervals
    for _ in range(int(START_TIMEOUT_S / 0.1)):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError):
            pass  # not listening yet
        pause.wait(0.1)
    log = (folder / "influxd.log").read_text(errors="replace")
    pytest.fail(f"influxd did not start within {START_TIMEOUT_S:.0f} s, exit code {process.poll()}:\n{log}")


def _set_up(url: str, token: str) -> None:
    body = {
        "username": "test-admin",
        "password": secrets.token_urlsafe(16),
        "org": ORG,
        "bucket": "first",
        "token": token,
        "retentionPeriodSeconds": 0,
    }
    request = urllib.request.Request(f"{url}/api/v2/setup", json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 201


def request_json(server: InfluxServer, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    """Ask the server in a way of our own, beside the adapter: status, and the JSON of the answer (None for none)."""
    request = urllib.request.Request(server.url + path, body, {"Authorization": f"Token {server.token}"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"null")
