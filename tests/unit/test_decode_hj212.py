"""HJ 212: every frame and every bad frame that is known, word by word, and that nothing bad costs what is good."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from greenmine.cli import app
from greenmine.core.clock import to_rfc3339
from greenmine.core.errors import DecodeRefused
from greenmine.core.metric import METRICS
from greenmine.core.quality import Quality
from greenmine.core.unit import convertible
from greenmine.ingest.decode_hj212 import decode_hj212
from greenmine.ingest.decoded import Item
from greenmine.ingest.hj212_factors import FACTORS
from greenmine.ingest.hj212_frame import build_frame
from greenmine.ingest.hj212_segment import parse_segment, redacted

ROOT = Path(__file__).resolve().parents[2]
FRAMES = ROOT.parent / "shared" / "hj212_frames.json"
CASES = ROOT.parent / "shared" / "bad_inputs.jsonl"
MN = "010000A8900016F000169DC0"
WORDS = {
    "header", "length", "crc", "cp", "qn", "cn", "auth", "mn", "packet", "field", "data_time", "number", "flag",
    "duplicate_key", "sm4_key", "qn_reuse",
}  # fmt: skip
SAMPLE = (
    b"##0101QN=20160801085857223;ST=32;CN=1062;PW=100000;MN=010000A8900016F000169DC0;Flag=5;"
    b"CP=&&RtdInterval=30&&1C80\r\n"
)


def frame(
    data: str,
    cn: str = "2011",
    qn: str | None = "QN=20260401080000001",
    flag: str | None = "Flag=5",
    mn: str = MN,
    pw: str | None = "PW=123456",
    **more: Any,
) -> bytes:
    """A frame of an air station."""
    parts = [qn, "ST=22", f"CN={cn}", pw, f"MN={mn}", flag, *(f"{name}={value}" for name, value in more.items())]
    head = ";".join(part for part in parts if part is not None)
    return build_frame(f"{head};CP=&&{data}&&".encode())


def at(data: str) -> str:
    return f"DataTime=20260401080000;{data}"


def outcome(payload: bytes) -> list[str]:
    """A word for each item, its own or its metric."""
    try:
        decoded = decode_hj212(payload)
    except DecodeRefused as refused:
        return [refused.word]
    return [item.metric for item in decoded.items] + [one.word for one in decoded.refused]


def only(payload: bytes, minute_s: int = 60) -> Item:
    decoded = decode_hj212(payload, minute_s)
    assert not decoded.refused
    (item,) = decoded.items
    return item


def test_a_real_time_frame() -> None:
    assert only(frame(at("a34002-Rtd=88.4,a34002-Flag=N"))) == Item(
        MN, "pm10", "", "inst", 0, 1_775_001_600_000_000_000, 88.4, None, 0, place="a34002-Rtd"
    )
    assert to_rfc3339(only(frame(at("a34002-Rtd=1"))).time_ns) == "2026-04-01T00:00:00Z"


@pytest.mark.parametrize(("cn", "period_s"), [("2051", 60), ("2061", 3600), ("2031", 86400)])
def test_statistics_are_series_with_the_period_of_their_command(cn: str, period_s: int) -> None:
    decoded = decode_hj212(frame(at("a34002-Min=1,a34002-Avg=2,a34002-Max=3"), cn=cn))
    assert [(i.metric, i.stat, i.period_s, i.value) for i in decoded.items] == [
        ("pm10", "min", period_s, 1), ("pm10", "avg", period_s, 2), ("pm10", "max", period_s, 3),
    ]  # fmt: skip


def test_the_period_of_minute_data_is_told_from_outside() -> None:
    assert only(frame(at("a34002-Avg=2"), cn="2051"), minute_s=600).period_s == 600
    assert only(frame(at("a34002-Avg=2"), cn="2061"), minute_s=600).period_s == 3600


def test_a_volume_is_no_flow() -> None:
    decoded = decode_hj212(frame(at("w00000-Cou=63.0,w00000-Avg=17.5;w01018-Cou=2.5"), cn="2061"))
    assert [(i.metric, i.stat, i.period_s, i.value, i.unit) for i in decoded.items] == [
        ("w00000-Cou", "sum", 3600, 63.0, None),
        ("flow", "avg", 3600, 17.5, None),
        ("w01018-Cou", "sum", 3600, 2.5, None),
    ]


def test_converted_values_and_levels_of_a_day_keep_their_names() -> None:
    decoded = decode_hj212(frame(at("a34013-ZsRtd=9.5,a34013-Rtd=8")))
    assert [(i.metric, i.stat) for i in decoded.items] == [("a34013-ZsRtd", "inst"), ("a34013", "inst")]
    decoded = decode_hj212(frame(at("Leq-Data=61,Leq-NightData=48"), cn="2031"))
    assert [(i.metric, i.period_s) for i in decoded.items] == [("Leq-Data", 86400), ("Leq-NightData", 86400)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("LA-Rtd=50.1", "laeq"),
        (" LA-Rtd=50.1", "laeq"),
        ("LA-td=50.1", "laeq"),
        ("LA-Rtd-Rtd=50.1", "laeq"),
        ("LMx-Rtd=70", "lamax"),
        ("L10-Rtd=61", "l10"),
        ("B01-Rtd=36.91", "flow"),
        ("001-Rtd=7.1", "ph"),
        ("011-Rtd=231.0", "cod"),
        ("060-Rtd=1.803", "nh3n"),
        ("q99999-Rtd=1", "q99999"),
        ("A34002-rtd=1", "pm10"),
    ],
)
def test_codes_and_their_typos(data: str, expected: str) -> None:
    assert outcome(frame(at(data))) == [expected]


def test_two_codes_of_one_metric_are_not_one_series() -> None:
    assert outcome(frame(at("LA-Rtd=50.1;Leq-Rtd=49.0;011-Rtd=1"))) == ["LA", "laeq", "cod"]


@pytest.mark.parametrize(
    ("flag", "quality"),
    [("N", 0), ("F", Quality.INVALID), ("M", Quality.MAINTENANCE), ("S", Quality.MANUAL), ("D", Quality.INVALID),
     ("C", Quality.CALIBRATION), ("T", Quality.RANGE), ("B", Quality.INVALID), ("t", Quality.RANGE)],
)  # fmt: skip
def test_letters_are_quality(flag: str, quality: int) -> None:
    assert only(frame(at(f"a34002-Rtd=1,a34002-Flag={flag}"))).quality == quality
    assert only(frame(at(f"a34002-flag={flag};a34002-Rtd=1"))).quality == quality


# --- what is known to be bad ----------------------------------------------------------------------------------------

BAD = {
    "hj-01": (SAMPLE, []),
    "hj-03": (SAMPLE.replace(b"1C80", b"1C08"), ["crc"]),
    "hj-04": (SAMPLE.replace(b"1C80", b"1c80"), []),
    "hj-06": (SAMPLE.replace(b"0101", b"0102"), ["length"]),
    "hj-07": (SAMPLE.replace(b"0101", b"9999"), ["length"]),
    "hj-09": (b"##1025" + b"x" * 1025 + b"0000\r\n", ["length"]),
    "hj-10": (b"garbage" * 150_000, ["header"]),
    "hj-12": (SAMPLE[:-1] + SAMPLE[:-2] + b"\n", []),
    "hj-13": (frame(at("a34002-Rtd=1"))[:-2] + frame(at("a34004-Rtd=1")), ["pm10", "pm25"]),
    "hj-18": (frame(at("a34002-Rtd=1"), qn="QN=20260230000000000"), ["qn"]),
    "hj-19": (frame(at("a34002-Rtd=1"), qn="QN=2026010100000000"), ["qn"]),
    "hj-21": (frame(at("a34002-Rtd=1")) * 2, ["pm10", "pm10"]),
    "hj-22": (frame(at("a34002-Rtd=1")) + frame(at("a34002-Rtd=2;a34004-Rtd=3")), ["pm10", "pm25", "qn_reuse"]),
    "hj-24": (frame(at("a34002-Rtd=1"), cn="9999"), ["cn"]),
    "hj-27": (frame(at("a34002-Rtd=1"), pw=None), ["auth"]),
    "hj-30": (frame(at("a34002-Rtd=1"), mn="0" * 25), ["mn"]),
    "hj-31": (frame(at("a34002-Rtd=1"), mn="../../etc"), ["mn"]),
    "hj-34": (frame(at("a34002-Rtd=1"), flag="Flag=7"), ["packet"]),
    "hj-36": (frame(at("a34002-Rtd=1"), flag="Flag=7", PNUM=9999, PNO=1), ["packet"]),
    "hj-37": (frame(at("a34002-Rtd=1"), flag="Flag=7", PNUM=3, PNO=5), ["packet"]),
    "hj-39": (frame(at("a21026-Rtd=abc,a21026-Flag=N;a34002-Rtd=1")), ["pm10", "number"]),
    "hj-40": (frame(at("a21026-Rtd=-9999,a21026-Flag=D")), ["a21026"]),
    "hj-42": (frame(at("a21026-Avg=5,a21026-Flag=N;a34002-Rtd=1")), ["pm10", "field"]),
    "hj-43": (frame(at("q99999-Rtd=5")), ["q99999"]),
    "hj-45": (frame(at("a34004-Rtd=1e5;a34002-Rtd=0x10;a34001-Rtd=１２;a01001-Rtd=2")), ["air_temp"] + ["number"] * 3),
}  # fmt: skip


ELSEWHERE = {
    "hj-15": "unit/test_hj212_frame.py::test_a_frame_byte_by_byte_and_through_a_gbk_character",
    "hj-16": "unit/test_hj212_frame.py::test_a_frame_byte_by_byte_and_through_a_gbk_character",
    "hj-28": "contracts/test_hj212_listener.py::test_no_log_holds_a_password",
    "hj-33": "contracts/test_hj212_listener.py::test_data_are_answered_once_they_are_on_disk",
    "hj-48": "contracts/test_hj212_listener.py::test_one_address_may_hold_so_many_connections_and_no_more",
    "hj-49": "scenarios/test_hj212_service.py::test_a_month_of_history_is_stored_once_and_pages_nobody",
}
"""Cases that take a stream, a connection or a pipeline."""


@pytest.mark.parametrize("case", BAD)
def test_the_catalogue_of_bad_frames(case: str) -> None:
    payload, expected = BAD[case]
    assert outcome(payload) == expected


def test_no_case_of_the_catalogue_is_left_out() -> None:
    if not CASES.is_file():
        pytest.skip("the folder ../shared with bad_inputs.jsonl is absent")
    cases = [json.loads(line)["id"] for line in CASES.read_text(encoding="utf-8").splitlines()]
    assert {case for case in cases if case.startswith("hj-")} == {*BAD, *ELSEWHERE}
    for test in ELSEWHERE.values():
        path, name = test.split("::")
        assert f"def {name}(" in (ROOT / "tests" / path).read_text(encoding="utf-8"), test


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (frame("a34002-Rtd=1"), ["data_time"]),
        (frame("DataTime=2024112320423050;a34002-Rtd=1"), ["data_time"]),
        (frame("DataTime=20260230000000;a34002-Rtd=1"), ["data_time"]),
        (frame("DataTime=00000101000000;a34002-Rtd=1"), ["data_time"]),
        (frame("DataTime=16000101000000;a34002-Rtd=1"), ["data_time"]),
        (frame("a34002-Rtd=1;DataTime=20260401080000"), ["pm10"]),
        (frame(at("a34002-Rtd=1;a34002-Rtd=1")), ["pm10"]),
        (frame(at("a34002-Rtd=1;a34002-Rtd=2;a34004-Rtd=3")), ["pm25", "duplicate_key"]),
        (frame(at("a34002-Rtd=")), ["number"]),
        (frame(at("a34002-Rtd=9" + "9" * 400)), ["number"]),
        (frame(at("a34002-Rtd=.5;a34004-Rtd=5.;a34001-Rtd=+1")), ["pm10", "pm25", "tsp"]),
        (frame(at("a34002-Rtd=1,a34002-Flag=X;a34004-Rtd=2")), ["pm25", "flag"]),
        (frame(at("a34002-Rtx=1;a34004-Rtd=2")), ["pm25", "field"]),
        (frame(at("a34002-Rtd=1,a34002-Avg=1")), ["pm10"]),
        (frame(at("a34002-Rtd=1"), cn="2051"), ["field"]),
        (frame(at("a34002-Rtd;a34004-Rtd=2")), ["pm25", "field"]),
        (frame(at("a34002-SampleTime=20260401080000;a34002-EFlag=A01;a34002-Rtd=2")), ["pm10"]),
        (frame(at("SB01-RS=1"), cn="2021"), []),
        (frame("DataTime=20260401080000;RestartTime=20260401075900", cn="2081"), []),
        (frame("", cn="9014", flag="Flag=4"), []),
        (frame("", cn="1013"), []),
        (frame(at("a34002-Rtd=1"), qn="QN=Wed Apr 01 08:00:00 CST 2026"), ["pm10"]),
        (frame(at("a34002-Rtd=1"), qn="QN=20260401080000"), ["pm10"]),
        (frame(at("a34002-Rtd=1"), qn=None, flag=None), ["pm10"]),
        (frame(at("a34002-Rtd=1"), mn="LXHB0CS"), ["pm10"]),
        (frame(at("a34002-Rtd=1"), pw="PW=O447JGPYQ75V3C58D138L2WX"), ["pm10"]),
        (frame(at("a34002-Rtd=1"), pw="PW=" + "x" * 25), ["auth"]),
        (frame(at("a34002-Rtd=1"), flag="Flag=256"), ["field"]),
        (frame(at("a34002-Rtd=1"), flag="Flag=5;Flag=5"), ["field"]),
        (frame(at("a34002-Rtd=1"), RF=1), ["pm10"]),
        (frame(at("a34002-Rtd=1"), RF=2), ["field"]),
        (frame(at("a34002-Rtd=1"), PNUM=1, PNO=1), ["pm10"]),
        (frame(at("a34002-Rtd=1"), PNUM=2), ["packet"]),
        (frame(at("a34002-Rtd=1"), flag="Flag=7", PNUM=2, PNO=1), ["packet"]),
        (build_frame(b"ST=22;CN=2011;PW=1;MN=1;CP=&&DataTime=20260401080000;a34002-Rtd=1"), ["cp"]),
        (build_frame(b"ST=22;CN=2011;PW=1;MN=1"), ["cp"]),
        (build_frame(b"CN=2011;PW=1;MN=1;CP=&&&&"), ["field"]),
        (frame("{0xE4,0x3E}").replace(b"\r\n", b"")[:-4] + b"0000", ["sm4_key"]),
        (b"", ["empty"]),
    ],
)  # fmt: skip
def test_what_a_frame_becomes(payload: bytes, expected: list[str]) -> None:
    assert outcome(payload) == expected


@pytest.mark.parametrize(
    ("cn", "data", "note"),
    [
        ("2081", "DataTime=20260401080000;RestartTime=20260401075900",
         "the station has started (CN 2081): DataTime=20260401080000;RestartTime=20260401075900"),
        ("2021", "DataTime=20260401080000;SB01-RS=1",
         "state of its devices (CN 2021): DataTime=20260401080000;SB01-RS=1"),
        ("2041", "", "running times of its devices (CN 2041)"),
        ("3020", "i11001-Info=\x1b[2J;PW=hidden", "information about an instrument (CN 3020): hex: 69 31 31"),
        ("3020", "PW=hidden;x=1", "information about an instrument (CN 3020): PW=***;x=1"),
    ],
)  # fmt: skip
def test_what_a_station_says_of_itself_is_noted(cn: str, data: str, note: str) -> None:
    decoded = decode_hj212(frame(data, cn=cn))
    assert (decoded.items, decoded.refused) == ([], [])
    assert [one[: len(note)] for one in decoded.notes] == [note]


@pytest.mark.parametrize("cn", ["9014", "1072", "3014"])
def test_answers_and_orders_say_nothing(cn: str) -> None:
    decoded = decode_hj212(frame("NewPW=hidden", cn=cn))
    assert (decoded.items, decoded.refused, decoded.notes) == ([], [], [])


def test_a_bad_frame_costs_no_other() -> None:
    good = frame(at("a34002-Rtd=1"))
    assert outcome(good + SAMPLE.replace(b"1C80", b"0759") + b"xx" + good) == ["pm10", "pm10", "crc"]


def test_packets_of_one_payload_are_put_together() -> None:
    parts = ["DataTime=20260401080000;a34002-Rtd=1,a34002-Fl", "ag=T;a34004-Rtd=2", "a34001-Rtd=3"]
    sent = [frame(part, flag="Flag=7", PNUM=3, PNO=number) for number, part in enumerate(parts, 1)]
    for order in itertools.permutations(sent):
        decoded = decode_hj212(b"".join(order))
        assert [(i.metric, i.value, i.quality) for i in decoded.items] == [
            ("pm10", 1.0, Quality.RANGE), ("pm25", 2.0, 0), ("tsp", 3.0, 0),
        ]  # fmt: skip
        assert decoded.refused == []
    assert outcome(sent[0] + sent[2]) == ["packet", "packet"]
    assert outcome(b"".join(sent) + sent[1]) == ["pm10", "pm25", "tsp"]
    assert outcome(sent[0] + frame(parts[1], flag="Flag=7", PNUM=3, PNO=1)) == ["packet", "packet"]
    assert outcome(frame(parts[0], qn=None, flag="Flag=7", PNUM=3, PNO=1)) == ["packet"]


def test_a_contradiction_needs_the_same_qn_command_and_time() -> None:
    first = frame(at("a34002-Rtd=1"))
    for other in (
        frame(at("a34002-Rtd=2"), qn="QN=20260401080000002"),
        frame(at("a34002-Rtd=2"), qn=None),
        frame("DataTime=20260401080100;a34002-Rtd=2"),
        frame(at("a34002-Rtd=2"), mn="OTHER"),
    ):
        assert outcome(first + other) == ["pm10", "pm10"]


def test_no_password_is_shown() -> None:
    payload = frame(at("a34002-Rtd=1"), pw="PW=hidden")
    assert b"hidden" not in redacted(payload)
    assert b"a34002-Rtd=1" in redacted(payload)
    assert "hidden" not in repr(parse_segment(payload[6:-6]))


def test_the_table_names_metrics_of_ours_in_units_that_fit() -> None:
    for factor in FACTORS.values():
        assert not factor.unit or convertible(factor.unit, METRICS[factor.metric].unit)


# --- the frames from the field --------------------------------------------------------------------------------------


def frames(kind: str) -> list[Any]:
    if not FRAMES.is_file():
        return [
            pytest.param({}, marks=pytest.mark.skip(reason="the folder ../shared with hj212_frames.json is absent"))
        ]
    return [pytest.param(one, id=one["id"]) for one in json.loads(FRAMES.read_text(encoding="utf-8"))[kind]]


READINGS = {"a01": 0, "a02": 1, "a03": 9, "a04": 5, "a05": 5, "a06": 11, "a07": 11, "a08": 9, "a09": 5, "a10": 1,
            "a11": 11, "a14": 0, "a15": 3}  # fmt: skip
REFUSED = {"r01": "crc", "r02": "length", "r03": "crc", "r04": "length", "r05": "cp", "r07": "number"}


def run(payload: bytes) -> tuple[int, list[dict[str, Any]]]:
    result = CliRunner().invoke(app, ["decode", "--format", "hj212"], input=payload)
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("sent", frames("accept"))
def test_frames_to_accept(sent: dict[str, str]) -> None:
    code, rows = run(sent["frame"].encode())
    assert code == 0
    assert len(rows) == READINGS[sent["id"]]
    for row in rows:
        assert list(row) == [
            "time", "mine", "device", "metric", "channel", "stat", "period_s", "value", "unit", "quality",
        ]  # fmt: skip
        assert (row["mine"], row["unit"]) == (None, None)
        assert f"MN={row['device']};" in sent["frame"]


@pytest.mark.parametrize("sent", frames("reject"))
def test_frames_to_refuse(sent: dict[str, str]) -> None:
    code, rows = run(sent["frame"].encode())
    assert code == 2
    assert [row["reject"] for row in rows] == [REFUSED[sent["id"]]]


def test_flags_and_values_as_sent() -> None:
    payload = frame(at("a34002-Rtd=985.0,a34002-Flag=T;a34004-Rtd=0.0,a34004-Flag=D;Leq-Rtd=66.8,Leq-Flag=N;"))
    code, rows = run(payload)
    assert code == 0
    assert [(row["metric"], row["value"], row["quality"]) for row in rows] == [
        ("pm10", 985.0, ["range"]), ("pm25", 0.0, ["invalid"]), ("laeq", 66.8, []),
    ]  # fmt: skip


def test_a_frame_that_says_nothing_prints_nothing() -> None:
    assert run(SAMPLE) == (0, [])
    code, rows = run(frame(at("a34002-Rtd=--.-,a34002-Flag=N;a34004-Rtd=3")))
    assert code == 2
    assert [row.get("metric") or row["reject"] for row in rows] == ["pm25", "number"]


def test_the_device_is_the_mn_whatever_the_topic() -> None:
    arguments = ["decode", "--format", "hj212", "--topic", "mines/shifan-1/logger/up/hj212"]
    result = CliRunner().invoke(app, arguments, input=frame(at("a34002-Rtd=1")))
    row = json.loads(result.stdout)
    assert (row["mine"], row["device"]) == ("shifan-1", MN)


# --- anything at all ------------------------------------------------------------------------------------------------

names = st.sampled_from(["a34002", "LA", "w00000", "q9", "SB1", "数据", "DataTime", "Flag", ""])
suffixes = st.sampled_from(["-Rtd", "-Avg", "-Cou", "-Flag", "-td", "-ZsRtd", "-", "", "-Info"])
texts = st.one_of(
    st.from_regex(r"-?[0-9.]{0,8}", fullmatch=True),
    st.sampled_from(["N", "D", "1e5", "0x10", "nan", "inf", "20260401080000", "20260230000000", "&&", "１", "="]),
    st.text(max_size=5),
)
data = st.lists(st.tuples(names, suffixes, texts, st.sampled_from([";", ",", "; "])), max_size=8).map(
    lambda parts: "".join(f"{name}{suffix}={text}{end}" for name, suffix, text, end in parts)
)


def check(payload: bytes) -> None:
    if not payload.strip(b" \t\r\n"):
        with pytest.raises(DecodeRefused, match="empty"):
            decode_hj212(payload)
        return
    decoded = decode_hj212(payload)
    assert {one.word for one in decoded.refused} <= WORDS
    for item in decoded.items:
        assert (item.stat == "inst") == (item.period_s == 0)
        assert -(2**63) <= item.time_ns < 2**63
        assert item.unit is None


@settings(max_examples=300)
@given(data, st.sampled_from(["2011", "2051", "2061", "2031", "2081", "9014", "9999"]))
def test_any_data_are_items_or_words(text: str, cn: str) -> None:
    payload = f"QN=20260401080000001;ST=22;CN={cn};PW=1;MN=1;Flag=5;CP=&&DataTime=20260401080000;{text}&&".encode()
    check(build_frame(payload[:1024]))


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(["QN", "ST", "CN", "PW", "MN", "Flag", "PNUM", "PNO", "RF", "x"]), texts)))
@example([("Flag", "٣")])
@example([("PNUM", "٣"), ("PNO", "٣")])
def test_any_head_is_a_segment_or_a_word(fields: list[tuple[str, str]]) -> None:
    check(build_frame(";".join(f"{name}={text}" for name, text in fields).encode()[:900] + b";CP=&&&&"))


@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    check(raw)
    check(build_frame(raw))
