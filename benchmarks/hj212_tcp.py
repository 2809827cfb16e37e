"""HJ 212 over TCP, open loop: many stations, each on a connection of its own, and how long until their answers.

The service runs whole in a process of its own (listener, journal, pipeline, a rule, DuckDB); this process is the
stations. Frames leave on a fixed schedule whether answers come or not, each with three factors; latency is measured
from the time at which the schedule wanted the frame sent to its 9014, which the service sends after the commit. CPU is
user and system time of the service alone, over the time of the load.

    python benchmarks/hj212_tcp.py [--connections 2000] [--rate 2000] [--for 20]

Prints one JSON object; exit 1 where a frame was not answered or a reading is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import psutil

from greenmine.core.clock import NS_PER_MS, NS_PER_S
from greenmine.ingest.hj212_frame import Frame, FrameScanner, build_frame
from greenmine.ingest.hj212_requests import qn_of, stamp_of

MINE = "bench"
PASSWORD = "123456"  # of stations that live as long as the benchmark
FACTORS = ("tsp", "pm10", "pm25")
CONNECTING_AT_A_TIME = 100
ANSWERS_WITHIN_S = 60.0


def policy_of(stations: int) -> dict[str, Any]:
    """A mine with so many dust stations and one rule."""
    metrics = {metric: {"unit": "ug/m3", "interval": "1s"} for metric in FACTORS}
    return {
        "schema": 1,
        "mine": {
            "id": MINE,
            "name": {"zh": "基准矿", "en": "Bench mine"},
            "enterprise": {"zh": "基准", "en": "Bench"},
            "region": "150622",
            "timezone": "Asia/Shanghai",
            "location": (110.0, 39.0),
            "noise_class": 3,
            "air_grade": 2,
        },
        "valid_from": "2020-01-01",
        "devices": [
            {
                "id": f"station-{number}",
                "address": {"mn": mn_of(number)},
                "hj212": {"password": "secret:station"},
                "sensors": [{"kind": "dust", "principle": "simulated", "metrics": metrics}],
            }
            for number in range(stations)
        ],
        "rules": [
            {"id": "high", "kind": "threshold", "severity": "warning", "metric": "pm10", "raise": 250.0, "clear": 200.0}
        ],
    }


def mn_of(number: int) -> str:
    """The MN of a station."""
    return f"BENCH{number:019d}"


def serve(folder: str, stations: int, linger_ms: int, pipe: Pipe) -> None:
    """The service: tells its port, and after a word its account."""
    from greenmine.home import Home, write_private
    from greenmine.policy.model import Policy
    from greenmine.service import Service
    from greenmine.settings import Hj212Settings, JournalSettings, Settings

    home = Home(Path(folder) / "home")
    home.make()
    write_private(home.secrets / "station", PASSWORD)
    hj212 = Hj212Settings(port=0, max_connections=stations, max_per_address=stations)
    settings = Settings(hj212=hj212, journal=JournalSettings(linger_ms=linger_ms))
    service = Service(home, settings, {MINE: Policy.model_validate(policy_of(stations))})
    service.start(with_mqtt=False, with_web=False)
    assert service.hj212.listener is not None
    pipe.send(service.hj212.listener.port)
    pipe.recv()
    drained = service.drain(120)
    pipe.send({"drained": drained, **service.state.account()._asdict()})
    service.stop()


class Station(asyncio.Protocol):
    """One connection; remembers when each frame was wanted until its answer comes."""

    def __init__(self, number: int, latencies_ms: list[float]) -> None:
        self._number = number
        self._latencies_ms = latencies_ms
        self._scanner = FrameScanner()
        self._transport: asyncio.WriteTransport | None = None
        self.waiting: deque[tuple[bytes, float]] = deque()
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready to send."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        """Should not happen here."""
        self.ended = True

    def data_received(self, data: bytes) -> None:
        """Answers."""
        now_s = time.monotonic()
        for found in self._scanner.feed(data):
            qn, wanted_s = self.waiting.popleft()
            if not isinstance(found, Frame) or qn not in found.segment or b"CN=9014" not in found.segment:
                raise RuntimeError(f"an answer to {qn!r} was due, and this came: {found}")
            self._latencies_ms.append((now_s - wanted_s) * 1000)

    def send(self, turn: int, start_ns: int, wanted_s: float) -> None:
        """The next frame."""
        assert self._transport is not None
        at_ns = start_ns + turn * NS_PER_S
        qn, value = qn_of(at_ns + self._number % 1000 * NS_PER_MS), 20 + (turn + self._number) % 50
        values = ";".join(
            f"{code}-Rtd={value}.{place},{code}-Flag=N" for place, code in enumerate(("a34001", "a34002", "a34004"))
        )
        head = f"QN={qn};ST=22;CN=2011;PW={PASSWORD};MN={mn_of(self._number)};Flag=5"
        segment = f"{head};CP=&&DataTime={stamp_of(at_ns)};{values}&&".encode()
        self.waiting.append((qn.encode(), wanted_s))
        self._transport.write(build_frame(segment))


async def load(port: int, connections: int, rate: float, seconds: float, service: psutil.Process) -> dict[str, Any]:
    """Connect all, send on schedule, wait for the answers."""
    loop = asyncio.get_running_loop()
    latencies_ms: list[float] = []
    stations = [Station(number, latencies_ms) for number in range(connections)]
    connect_s = time.monotonic()
    for first in range(0, connections, CONNECTING_AT_A_TIME):
        some = stations[first : first + CONNECTING_AT_A_TIME]
        await asyncio.gather(*(loop.create_connection(partial(_same, one), "127.0.0.1", port) for one in some))
    connect_s = time.monotonic() - connect_s
    total = int(rate * seconds)
    # Source times a little in the past, so that the last are not ahead of the clock.
    start_ns = (time.time_ns() // NS_PER_S - total // connections - 5) * NS_PER_S
    cpu, begin_s, behind_s = cpu_s(service), time.monotonic() + 0.1, 0.0
    sent = 0
    while sent < total:
        due = min(total, int((time.monotonic() - begin_s) * rate))
        while sent < due:
            wanted_s = begin_s + sent / rate
            behind_s = max(behind_s, time.monotonic() - wanted_s)
            stations[sent % connections].send(sent // connections, start_ns, wanted_s)
            sent += 1
        await asyncio.sleep(0.002)
    load_s = time.monotonic() - begin_s
    cpu = cpu_s(service) - cpu
    until_s = time.monotonic() + ANSWERS_WITHIN_S
    while any(one.waiting for one in stations) and time.monotonic() < until_s:
        await asyncio.sleep(0.05)
    latencies_ms.sort()
    return {
        "connections": connections - sum(one.ended for one in stations),
        "connected_in_s": round(connect_s, 2),
        "frames_sent": sent,
        "frames_per_s": round(sent / load_s, 1),
        "readings_sent": sent * len(FACTORS),
        "answered": len(latencies_ms),
        "answer_ms": {name: percentile(latencies_ms, share) for name, share in (("p50", 0.5), ("p99", 0.99))},
        "answer_max_ms": round(latencies_ms[-1], 1) if latencies_ms else None,
        "generator_behind_max_ms": round(behind_s * 1000, 1),
        "service_cpu_us_a_frame": round(cpu / sent * 1e6, 1),
        "service_cpu_share_of_a_core": round(cpu / load_s, 2),
        "service_rss_mb": round(service.memory_info().rss / 1e6),
    }


def _same(station: Station) -> Station:
    return station


def cpu_s(process: psutil.Process) -> float:
    """User and system time so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The value below which this share of the values lies; None without values."""
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) if ordered else None


def main() -> int:
    """Run once and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=2000.0, help="frames a second")
    parser.add_argument("--for", dest="seconds", type=float, default=20.0)
    parser.add_argument("--linger-ms", type=int, default=10, help="commit interval")
    chosen = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="greenmine-bench-") as folder:
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(folder, chosen.connections, chosen.linger_ms, there))
        process.start()
        assert process.pid is not None
        port = here.recv()
        found = asyncio.run(load(port, chosen.connections, chosen.rate, chosen.seconds, psutil.Process(process.pid)))
        begin_s = time.monotonic()
        here.send("drain")
        account = here.recv()
        found |= {"drained_after_s": round(time.monotonic() - begin_s, 1), "account": account}
        process.join(60)
    print(json.dumps(found))
    whole = found["answered"] == found["frames_sent"] and account["stored"] == found["readings_sent"]
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
