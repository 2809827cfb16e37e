"""The long runs of `make soak`: the same promises as in the suite, ten times as often. Bounded in count and time.

Each parser is fed for ten minutes; GREENMINE_FUZZ_S is another number of seconds.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenmine.command_readings import _checked, _csv_rows
from greenmine.core.clock import NS_PER_S
from greenmine.core.dead_letter import DeadReason
from greenmine.core.errors import DecodeRefused, UserError
from greenmine.ingest.decode_activity import decode_activity
from greenmine.ingest.decode_chirpstack import decode_chirpstack
from greenmine.ingest.decode_hj212 import decode_hj212
from greenmine.ingest.decode_json import decode_json
from greenmine.ingest.decode_senml import decode_senml
from greenmine.ingest.decode_sparkplug import Alias, decode_sparkplug
from greenmine.ingest.decode_tts import decode_tts
from greenmine.ingest.decoded import Decoded
from greenmine.ingest.hj212_frame import Frame, FrameScanner, build_frame
from greenmine.ingest.hj212_head import head_of
from greenmine.ingest.hj212_history import span_of
from greenmine.ingest.hj212_requests import answers_to, result_of
from greenmine.ingest.topic import parse_topic
from greenmine.simulator.encode_chirpstack import chirpstack_uplink
from greenmine.simulator.encode_senml import SenmlValue, senml_pack
from greenmine.simulator.encode_sparkplug import INT32, EdgeSession, MetricValue, sparkplug_payload
from greenmine.simulator.encode_tts import tts_uplink
from tests.acceptance.test_kill import everything_is_stored, journalled_in, run_embedded
from tests.failing_disk import fail_now_and_then
from tests.scenarios.test_disorder import disorder
from tests.scenarios.test_outage import outage
from tests.unit.test_journal_recovery import damaged_starts

pytestmark = pytest.mark.soak

SEED = 20261122
FUZZ_S = float(os.environ.get("GREENMINE_FUZZ_S", "600"))
"""How long each parser is fed; what it is fed is the same every time."""
MOST_MUTATIONS = 100_000_000
START_NS = 1_767_225_600 * NS_PER_S
SEEDS = [
    b'{"ts":"2026-11-22T08:00:00+08:00","values":{"pm10":81.3,"soil_moisture@d20":18.4},"seq":1042,"boot":"a1"}',
    b'[{"ts":1767225600000,"values":{"ph":7.1,"turbidity":null},"flags":{"ph":"N"}},{"ts":1,"values":{"tsp":1e3}}]',
    b'{"ts":1767225600000,"stat":"avg","period_s":3600,"unit":"mg/m3","device":"d1","values":{"pm25":0.03}}',
]
PROBE = "a84041b2c1841f3d"
STATION_SAYS = (
    b"QN=20261122160000001;ST=22;CN=2011;PW=123456;MN=STATION_1;Flag=5;CP=&&"
    b"DataTime=20261122160000;a34002-Rtd=81.3,a34002-Flag=N&&"
)
BRIDGES: dict[str, tuple[list[bytes], Callable[[bytes], Decoded]]] = {
    "senml": (
        [
            senml_pack([SenmlValue("pm10", 81.3, "ug/m3"), SenmlValue("ph", 7.1)], START_NS, base_name="urn:dev:ow:1:"),
            b'[{"bt":1767225600,"bu":"%RH","bv":1,"n":"soil_moisture/d20","v":8.4},{"n":"door","vb":true,"t":-5}]',
        ],
        lambda raw: decode_senml(raw, START_NS),
    ),
    "chirpstack": (
        [
            chirpstack_uplink(PROBE, START_NS, fields={"SM": "18.4", "deep": {"a": [1], "b": None}}, counter=7),
            chirpstack_uplink(PROBE, START_NS, frame=bytes(range(12))),
        ],
        decode_chirpstack,
    ),
    "tts": (
        [
            tts_uplink("soil07", PROBE, START_NS, fields={"SM": 18.4}, counter=7),
            tts_uplink("soil07", PROBE, START_NS, frame=bytes(range(12))),
        ],
        decode_tts,
    ),
    "sparkplug": (
        [
            EdgeSession("g", "e", 3).node_birth({"Flow": 1.5}, START_NS)[1],
            sparkplug_payload([MetricValue(-3, INT32, alias=1), MetricValue(None, alias=2)], START_NS, 255),
        ],
        lambda raw: decode_sparkplug(raw, "g/e", {1: Alias("Flow", 3)}).decoded,
    ),
    "hj212": (
        [
            b"QN=20261122160000001;ST=22;CN=2011;PW=123456;MN=STATION_1;Flag=5;CP=&&DataTime=20261122160000;"
            b"a34002-Rtd=81.3,a34002-Flag=N;a34004-Avg=4;w00000-Cou=1&&",
            b"QN=20261122160000001;ST=22;CN=2051;PW=1;MN=S;Flag=7;PNUM=1;PNO=1;RF=1;CP=&&DataTime=20261122160000;"
            b"LA-Avg=61.2,LA-Min=50&&",
        ],
        lambda segment: decode_hj212(build_frame(segment[:1024])),
    ),
    "hj212 on the wire": ([build_frame(STATION_SAYS) * 2, b"##0005" + build_frame(STATION_SAYS)], decode_hj212),
}
"""Payloads of each format of other networks, and its decoder."""
TABLE = (
    b"time,mine,device,metric,value,channel,stat,period_s,unit,quality\n"
    b"2026-11-22T08:00:00Z,demo-1,dust-1,pm10,81.3,,inst,0,ug/m3,range\n"
    b"2026-11-22T08:00:00Z,demo-1,soil-1,soil_moisture,18.4,d20,avg,3600,,\n"
)
REPORT = b'{"ts":"2026-11-22T08:00:00+08:00","kind":"blast","state":"start","zone":"n","lat":39.7,"lon":110.2}'
HISTORY = b'{"request":"history","cn":"2051","from":"2026-11-22T08:00:00Z","to":"2026-11-22T09:00:00Z"}'
PIECES = [
    b"NaN",
    b"1e999",
    b"null",
    b"true",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b"\\ud800",
    b"\xff",
    b"\x00",
    b"9" * 400,
    b",",
    b":",
]


@pytest.mark.timeout(1800)
def test_fifty_kills(tmp_path: Path) -> None:
    acknowledged, victim = run_embedded(tmp_path, kills=50, count=200_000, early=False)
    assert len(acknowledged) == 200_000
    assert acknowledged - set(journalled_in(victim.home)) == set()
    everything_is_stored(victim.home, 200_000)


@pytest.mark.timeout(1800)
def test_only_refusals_leave_the_parsers() -> None:
    chance = random.Random(SEED)
    decoded = refused = 0
    for _ in mutations():
        payload = mutated(chance, chance.choice(SEEDS))
        try:
            found = decode_json(payload)
        except DecodeRefused:
            refused += 1
        else:
            decoded += 1
            json.dumps([item._asdict() for item in found.items], allow_nan=False)
        try:
            parse_topic("mines/" + payload[:40].decode("latin-1"))
        except DecodeRefused:
            refused += 1
    assert decoded > refused // 100
    assert refused > decoded // 2


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", sorted(BRIDGES))
def test_only_refusals_leave_the_decoders_of_other_networks(name: str) -> None:
    chance = random.Random(SEED)
    seeds, decode = BRIDGES[name]
    words = set()
    decoded = refusals = 0
    for _ in mutations():
        try:
            found = decode(mutated(chance, chance.choice(seeds)))
        except DecodeRefused as refused:
            refusals += 1
            words.add(refused.word)
        else:
            decoded += 1
            words |= {one.word for one in (*found.refused, *found.unreadable)}
            json.dumps([item._asdict() for item in found.items], allow_nan=False, ensure_ascii=False).encode()
    assert decoded > refusals // 100
    assert len(words) >= 3
    assert words <= set(DeadReason)


@pytest.mark.timeout(1800)
def test_a_stream_of_damaged_frames_in_pieces_costs_no_good_one() -> None:
    """HJ 212 over TCP: whatever comes, in whatever pieces, the frame behind it is found; heads and answers never
    fail."""
    chance = random.Random(SEED)
    good = build_frame(STATION_SAYS)
    for _ in mutations():
        damaged = mutated(chance, good)
        stream, scanner, found = damaged + b"\r\n" + good, FrameScanner(), []
        at = 0
        while at < len(stream):
            piece = chance.choice((1, 2, 7, 64, 4096))
            found += scanner.feed(stream[at : at + piece])
            at += piece
        found += scanner.flush("timeout")
        frames = [one for one in found if isinstance(one, Frame)]
        assert frames[-1].segment == STATION_SAYS, damaged
        head = head_of(damaged)
        answers_to(head, START_NS)
        result_of(damaged)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["activity", "history", "csv"])
def test_only_refusals_leave_the_other_readers(name: str, tmp_path: Path) -> None:
    """Reports of activity, requests for history on their way to a station, and files of readings."""
    chance, file = random.Random(SEED), tmp_path / "readings.csv"
    seed = {"activity": REPORT, "history": HISTORY, "csv": TABLE}[name]
    taken = refused = 0
    for _ in mutations():
        payload = mutated(chance, seed)
        try:
            if name == "activity":
                decode_activity(payload)
            elif name == "history":
                span_of(payload)
            else:
                file.write_bytes(payload)
                list(_checked(file, _csv_rows(file)))
            taken += 1
        except (DecodeRefused, UserError):
            refused += 1
        except ValueError:
            assert name == "history"  # its contract: it is ours, and refused where it is not
            refused += 1
    assert taken > refused // 1000
    assert refused > taken // 4


def mutations() -> Iterator[int]:
    """One for each mutation, as long as there is time."""
    until_s = time.monotonic() + FUZZ_S
    for number in itertools.count():
        yield number
        if number >= MOST_MUTATIONS or (number % 100 == 0 and number and time.monotonic() > until_s):
            return


def mutated(chance: random.Random, seed: bytes) -> bytes:
    payload = bytearray(seed)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(payload) + 1)
        cut = at + chance.choice((0, 0, 1, 1, 3, 20))
        payload[at:cut] = chance.choice(PIECES) if chance.random() < 0.6 else bytes([chance.randrange(256)])
    return bytes(payload)


@pytest.mark.timeout(1800)
def test_an_hour_of_which_the_store_is_away_for_most(tmp_path: Path) -> None:
    """reliability P4 at full size: 1,800,000 readings."""
    outage(tmp_path, 3600)


@pytest.mark.timeout(1800)
def test_fifty_thousand_doubled_and_shuffled(tmp_path: Path) -> None:
    """reliability P3 at full size."""
    disorder(tmp_path, 50_000)


@pytest.mark.parametrize(("rounds", "flips"), [(500, False), (1000, True)])
def test_every_damaged_journal_starts_and_counts_what_is_gone(tmp_path: Path, rounds: int, flips: bool) -> None:
    """reliability P8 at full size."""
    damaged_starts(tmp_path, rounds, flips)


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, which makes the disk fail")
def test_a_disk_that_fails_a_tenth_of_its_flushes(tmp_path: Path) -> None:
    """reliability P7, whole: 200 commits."""
    fail_now_and_then(tmp_path, 200)
