"""The example of docs/hj212.md is a policy, and what the page says of a frame is what becomes of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from greenmine.core.quality import HJ212_LETTERS, flag_names
from greenmine.ingest.decode_hj212 import decode_hj212
from greenmine.ingest.hj212_packets import MAX_AGE_NS
from greenmine.ingest.hj212_segment import NOTICES
from greenmine.ingest.refusal_advice import advice_for
from greenmine.pipeline.pipeline import Pipeline
from greenmine.simulator.encode_hj212 import DAY, HOUR, REAL_TIME, FactorData, Station, encode_data
from tests.pipeline_scenes import NS, SPARE, START_NS, Scene, activation, message, outbox_readings, policy, service

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "hj212.md").read_text(encoding="utf-8")
MN = "010000A8900016F000169DC0"
HALVES = PAGE.split("## 中文")


def shown_devices() -> list[dict[str, object]]:
    (shown,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    devices: list[dict[str, object]] = YAML(typ="safe", pure=True).load(shown)["devices"]
    return devices


def test_the_example_takes_a_logger_in() -> None:
    logger = Station(MN, "123456")
    with SPARE.state() as state:
        here = Scene(state)
        here.pipeline = Pipeline(here.reader, state, {"secret:dust-n1": "123456"}.__getitem__)
        here.batch(service("start")).batch(activation(policy([], devices=shown_devices())))
        factors = [FactorData("a34002", {"Rtd": 81.3}), FactorData("a34001", {"Rtd": 0.178}, "C")]
        sent = encode_data(logger, REAL_TIME, START_NS, factors, sent_ns=START_NS)
        hour_ns = START_NS - 3600 * NS
        sent += encode_data(logger, HOUR, hour_ns, [FactorData("a34002", {"Avg": 79, "Cou": 2})], sent_ns=START_NS)
        here.batch(message(b"".join(sent), "dust-n1", kind="up/hj212"))
        (readings,) = outbox_readings(state).values()
        assert [(*one.series[2:], one.time_ns, one.value, flag_names(one.quality)) for one in readings] == [
            ("pm10", "", "inst", 0, START_NS, 81.3, []),
            ("tsp", "", "inst", 0, START_NS, 178.0, ["calibration"]),
            ("pm10", "", "avg", 3600, hour_ns, 79.0, []),
        ]
        assert [row["word"] for row in here.rows("dead_letter")] == ["unknown_factor"]


@pytest.mark.parametrize("half", HALVES)
def test_the_page_names_what_the_code_has(half: str) -> None:
    assert set(re.findall(r"\d{4}", re.findall(r"\| CN (2081[^|]*)", half)[0])) == set(NOTICES)
    (letters,) = re.findall(r"`-Flag` ([A-Z /]+) \|", half)
    assert sorted(re.findall("[A-Z]", letters)) == sorted(HJ212_LETTERS)
    assert re.search(rf"\b{MAX_AGE_NS // (60 * NS)} (minutes|分钟)", half)
    words = re.findall(r"(?:dead letter|死信) `(\w+)`", half)
    assert set(words) == {"unknown_factor", "packet", "sm4_key"}
    assert all(advice_for(word) != advice_for("no such word") for word in words)


def test_a_day_has_its_start_as_time() -> None:
    midnight_ns = START_NS // (86400 * NS) * 86400 * NS - 8 * 3600 * NS
    (sent,) = encode_data(Station(MN, "x"), DAY, midnight_ns, [FactorData("a34002", {"Avg": 50})], sent_ns=START_NS)
    assert b"DataTime=20261122000000;" in sent
    assert [(one.time_ns, one.period_s) for one in decode_hj212(sent).items] == [(midnight_ns, 86400)]
