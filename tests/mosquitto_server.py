"""A real mosquitto for tests: found, started on a free loopback port in an empty directory, ended by its process id.

Import the fixture where it is needed: `from tests.mosquitto_server import mosquitto`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Event

import pytest

from greenmine.ingest.gate import Account
from greenmine.ingest.grants import write_mosquitto_files

START_TIMEOUT_S = 15.0
_CONNECT = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"
_NOT_AUTHORISED = b"\x20\x02\x00\x05"


def find_mosquitto() -> str | None:
    """The program: GREENMINE_MOSQUITTO, or `mosquitto` on PATH or in /usr/sbin."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))
    return os.environ.get("GREENMINE_MOSQUITTO") or shutil.which("mosquitto", path=path)


class MosquittoServer:
    """One mosquitto with our accounts and grants, as `write_mosquitto_files` writes them. `settings` are further lines
    of its configuration."""

    def __init__(self, program: str, folder: Path, accounts: Iterable[Account], settings: Iterable[str] = ()) -> None:
        self.folder = folder
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = int(taken.getsockname()[1])
        folder.mkdir()
        passwords, acl = write_mosquitto_files(folder / "accounts", accounts)
        lines = [
            f"listener {self.port} 127.0.0.1",
            "use_username_as_clientid true",
            "allow_anonymous false",
            f"password_file {passwords}",
            f"acl_file {acl}",
            # Ends the connection; message_size_limit would acknowledge what is too large and drop it.
            "max_packet_size 263168",
            f"log_dest file {folder / 'mosquitto.log'}",
            # As root mosquitto would become the user mosquitto, who may not enter pytest's folders.
            *(["user root"] if os.getuid() == 0 else []),
            *settings,
        ]
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """Start it; returns when it answers a CONNECT (with a refusal)."""
        self._process = subprocess.Popen([self._program, "-c", str(self.folder / "mosquitto.conf")])
        pause = Event()
        for _ in range(int(START_TIMEOUT_S / 0.02)):
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=START_TIMEOUT_S) as probe:
                    probe.sendall(_CONNECT)
                    assert probe.recv(4) == _NOT_AUTHORISED
                    return
            except ConnectionRefusedError:
                assert self._process.poll() is None, self.log()
                pause.wait(0.02)
        pytest.fail("mosquitto did not start:\n" + self.log())

    def stop(self) -> None:
        """End it by SIGTERM, which makes it save its sessions if persistence is on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(START_TIMEOUT_S)
            self._process = None

    def kill(self) -> None:
        """End it by SIGKILL: what it keeps in memory is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(START_TIMEOUT_S)
        self._process = None

    def replace_accounts(self, accounts: Iterable[Account]) -> None:
        """Write other accounts and tell mosquitto."""
        write_mosquitto_files(self.folder / "accounts", accounts)
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def log(self) -> str:
        """What it has logged so far."""
        path = self.folder / "mosquitto.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


StartMosquitto = Callable[..., MosquittoServer]


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[StartMosquitto]:
    """`mosquitto(accounts, *settings)` starts one; all are ended after the test."""
    program = find_mosquitto()
    if program is None:
        pytest.skip("no mosquitto: set GREENMINE_MOSQUITTO to the program, or put mosquitto on PATH")
    started: list[MosquittoServer] = []

    def start(accounts: Iterable[Account], *settings: str) -> MosquittoServer:
        server = MosquittoServer(program, tmp_path / f"mosquitto-{len(started)}", accounts, settings)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()
