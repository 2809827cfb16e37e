"""A smoke test of the wire only: another server takes our packed line protocol. It answers 204 to bad lines too."""

from __future__ import annotations

import gzip
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from greenmine.core.reading import Reading, Series
from greenmine.store.influx_store import InfluxReadingStore
from greenmine.store.line_protocol import LineEncoder

pytestmark = pytest.mark.victoria

T = 1_795_334_400_000_000_000


@pytest.fixture(scope="module")
def victoria_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = shutil.which("victoria-metrics") or shutil.which("victoria-metrics-prod")
    if program is None:
        pytest.skip("no victoria-metrics (or victoria-metrics-prod) on PATH")
    folder: Path = tmp_path_factory.mktemp("victoria")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, f"-storageDataPath={folder / 'data'}", f"-httpListenAddr={address}", "-retentionPeriod=100y"],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_healthy(f"http://{address}/health", process, folder / "log")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    pause = Event()  # nothing sets it: another program gives no event to wait for
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError):
            pass  # not listening yet
        pause.wait(0.1)
    pytest.fail(f"victoria-metrics did not start: {log.read_text(errors='replace')}")


def readings() -> list[Reading]:
    return [Reading(Series("mine-a", "dust-1", "pm10"), T + step * 10**9, step / 7, step % 3) for step in range(100)]


@pytest.mark.parametrize("path", ["/write", "/api/v2/write"])
def test_packed_lines_are_answered_204(victoria_url: str, path: str) -> None:
    lines, _ = LineEncoder().encode(readings())
    request = urllib.request.Request(
        victoria_url + path,
        gzip.compress("\n".join(line.text for line in lines).encode()),
        {"Content-Encoding": "gzip"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 204


def test_the_adapter_writes_to_it(victoria_url: str) -> None:
    store = InfluxReadingStore(victoria_url, "any", "any")
    report = store.write(readings())
    store.close()
    assert (report.stored, report.rejected) == (100, [])
