"""The simulator's own JSON against the contract, and against the decoder that was written without it."""

from __future__ import annotations

import json
from datetime import UTC, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.clock import NS_PER_S
from greenmine.core.metric import METRICS
from greenmine.core.quality import Quality
from greenmine.ingest.decode_json import decode_json
from greenmine.ingest.timestamp import from_rfc3339
from greenmine.simulator.encode import MOST_BYTES, encode_array, encode_one, reading_object, timestamp

SHANGHAI = ZoneInfo("Asia/Shanghai")
TS = "2026-11-22T08:00:00+08:00"


@pytest.mark.parametrize(
    ("time_ns", "zone", "text"),
    [
        (1_795_305_600 * NS_PER_S, SHANGHAI, "2026-11-22T08:00:00+08:00"),
        (1_795_305_600 * NS_PER_S, UTC, "2026-11-22T00:00:00+00:00"),
        (1_795_305_600 * NS_PER_S + 250_000_000, SHANGHAI, "2026-11-22T08:00:00.250+08:00"),
        (1_795_305_600 * NS_PER_S + 1, SHANGHAI, "2026-11-22T08:00:00.000000001+08:00"),
        (1_546_300_800 * NS_PER_S, timezone(timedelta(hours=-7)), "2018-12-31T17:00:00-07:00"),
        (-NS_PER_S, UTC, "1969-12-31T23:59:59+00:00"),
    ],
)
def test_times_are_rfc3339_with_the_offset_of_the_place(time_ns: int, zone: ZoneInfo, text: str) -> None:
    assert timestamp(time_ns, zone) == text


@given(
    st.integers(0, 4_000_000_000 * NS_PER_S), st.sampled_from(["Asia/Shanghai", "Etc/GMT+7", "America/Denver", "UTC"])
)
def test_times_are_read_back_to_the_nanosecond(time_ns: int, zone: str) -> None:
    assert from_rfc3339(timestamp(time_ns, ZoneInfo(zone))) == time_ns


VALUES = st.dictionaries(
    st.builds(lambda metric, at: metric + at, st.sampled_from(list(METRICS)), st.sampled_from(["", "@d20", "@n-1"])),
    st.floats(allow_nan=False, allow_infinity=False),
    min_size=1,
    max_size=12,
)


@given(
    VALUES,
    st.sampled_from([("inst", 0), ("avg", 3600), ("max", 60)]),
    st.integers(0, 2**63 - 1),
    st.sampled_from([None, "soil-1"]),
)
def test_the_decoder_reads_what_was_written(
    values: dict[str, float], statistic: tuple[str, int], seq: int, device: str | None
) -> None:
    stat, period_s = statistic
    entry = reading_object(TS, values, stat=stat, period_s=period_s, seq=seq, boot="a1", device=device)
    decoded = decode_json(encode_one(entry))
    assert decoded.refused == []
    assert {f"{i.metric}@{i.channel}" if i.channel else i.metric: i.value for i in decoded.items} == values
    assert {(i.stat, i.period_s, i.seq, i.boot, i.device) for i in decoded.items} == {
        (stat, period_s, seq, "a1", device)
    }


def test_flags_are_sent_by_value() -> None:
    entry = reading_object(TS, {"ph": 7.0, "turbidity": 5.0}, flags={"turbidity": "D"})
    quality = {item.metric: item.quality for item in decode_json(encode_one(entry)).items}
    assert quality == {"ph": 0, "turbidity": Quality.INVALID}


def test_what_is_optional_is_left_out() -> None:
    assert json.loads(encode_one(reading_object(TS, {"ph": 7.0}))) == {"ts": TS, "values": {"ph": 7.0}}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_no_number_is_never_sent(value: float) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        encode_one(reading_object(TS, {"ph": value}))
    with pytest.raises(ValueError, match="Out of range float"):
        list(encode_array([reading_object(TS, {"ph": value})]))


@pytest.mark.parametrize(("count", "arrays"), [(1, [1]), (1000, [1000]), (1001, [1000, 1]), (2500, [1000, 1000, 500])])
def test_an_array_has_at_most_a_thousand_objects(count: int, arrays: list[int]) -> None:
    payloads = list(encode_array(reading_object(TS, {"ph": 7.0}, seq=seq) for seq in range(count)))
    assert [n for _, n in payloads] == arrays
    assert [item.seq for payload, _ in payloads for item in decode_json(payload).items] == list(range(count))


def test_an_array_has_at_most_256_kib() -> None:
    wide = {f"pm10@{'c' * 50}{index}": 1.0 for index in range(400)}
    payloads = list(encode_array(reading_object(TS, wide, seq=seq) for seq in range(30)))
    assert len(payloads) > 1
    assert all(len(payload) <= MOST_BYTES for payload, _ in payloads)
    assert sum(n for _, n in payloads) == 30
    assert all(len(json.loads(payload)) == n for payload, n in payloads)
    nearly = MOST_BYTES // (len(payloads[0][0]) // payloads[0][1])
    assert payloads[0][1] in (nearly - 1, nearly), "and is filled up to it"


def test_an_object_that_cannot_fit_is_refused() -> None:
    huge = reading_object(TS, {f"pm10@c{index:050}": 1.0 for index in range(5_000)})
    with pytest.raises(ValueError, match="more than a payload may have"):
        encode_one(huge)
    with pytest.raises(ValueError, match="more than a payload may have"):
        list(encode_array([huge]))
    assert list(encode_array([])) == []
