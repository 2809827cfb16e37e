"""Replay of CSV files: the quirks on small files written here, the facts on the real ones where they are."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from greenmine.core.clock import NS_PER_S, to_rfc3339
from greenmine.core.errors import Problem, UserError
from greenmine.core.quality import Quality
from greenmine.ingest.admit import admit
from greenmine.ingest.decode_json import decode_json
from greenmine.ingest.registry import Registry
from greenmine.policy.canonical import from_canonical_json, to_canonical_json
from greenmine.policy.check import check_policy, policy_warnings
from greenmine.policy.model import LimitRule, MeanRule, Policy
from greenmine.simulator.csv_replay import Replay, ReplayCounts, data_sets, mappings, messages, policies
from greenmine.simulator.message import TimedMessage

PRSA_HEADER = "No,year,month,day,hour,PM2.5,PM10,SO2,NO2,CO,O3,TEMP,PRES,DEWP,RAIN,wd,WSPM,station"
PRSA_ROW = "1,2013,3,1,0,4,7,4,7,300,77,-0.7,1023,-18.8,0.5,NNW,4.4,Somewhere"
HOUR_NS = 3600 * NS_PER_S


def prsa(folder: Path, *rows: str, station: str = "Huairou", header: str = PRSA_HEADER) -> Path:
    path = folder / f"PRSA_Data_{station}_20130301-20170228.csv"
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path


def noise(folder: Path, *rows: str, header: str = "datetime,LEQ dB -A") -> Path:
    path = folder / "noisemonitor_laeq_1min.csv"
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path


def objects(message: TimedMessage) -> list[dict[str, object]]:
    payload = json.loads(message.payload)
    return payload if isinstance(payload, list) else [payload]


def replayed(
    folder: Path, include_off: bool = False, **options: float
) -> tuple[list[TimedMessage], ReplayCounts, list[str]]:
    problems: list[Problem] = []
    replay = Replay(data_sets(folder, include_off), report=problems.append, **options)
    sent = list(replay.messages())
    (counts,) = replay.counts.values()
    return sent, counts, [str(problem) for problem in problems]


def test_a_row_of_dust_becomes_one_message(tmp_path: Path) -> None:
    prsa(tmp_path, PRSA_ROW, station="Aotizhongxin")
    (message,), counts, problems = replayed(tmp_path)
    assert (message.mine, message.device, message.client) == ("shifan-a", "dust-downwind", "shifan-a.dust-downwind")
    assert message.topic == "mines/shifan-a/dust-downwind/up"
    assert to_rfc3339(message.time_ns) == "2013-02-28T17:00:00Z", "published when the hour has ended"
    ts = "2013-03-01T00:00:00+08:00"
    assert objects(message) == [
        {"ts": ts, "stat": "avg", "period_s": 3600, "values": {"pm10": 7, "pm25": 4}, "seq": 1, "boot": "replay"},
        {
            "ts": ts,
            "values": {"air_temp": -0.7, "pressure": 1023, "wind_speed": 4.4, "wind_dir": 337.5},
            "seq": 2,
            "boot": "replay",
        },
        {"ts": ts, "stat": "sum", "period_s": 3600, "values": {"rain": 0.5}, "seq": 3, "boot": "replay"},
    ]
    assert (message.readings, counts.readings, counts.messages, counts.rows, problems) == (7, 7, 1, 1, [])


def test_quotes_around_headers_and_texts_change_nothing(tmp_path: Path) -> None:
    quoted = ",".join(f'"{name}"' for name in PRSA_HEADER.split(","))
    prsa(tmp_path, PRSA_ROW)
    plain, *_ = replayed(tmp_path)
    prsa(tmp_path, PRSA_ROW.replace("NNW", '"NNW"').replace("Somewhere", '"Somewhere"'), header=quoted)
    assert replayed(tmp_path) == (plain, *replayed(tmp_path)[1:])
    assert len(plain) == 1


def test_blanks_in_a_header_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "noisemonitor_laeq_1s.csv"
    path.write_text("datetime, LEQ dB -A \n2025-03-22 00:00:00,44.085907\n", encoding="utf-8")
    with pytest.raises(UserError, match="no file that a mapping knows"):
        data_sets(tmp_path)  # off by default: it is the same place as the file by minutes
    (message,), *_ = replayed(tmp_path, include_off=True)
    (found,) = objects(message)
    assert (found["ts"], found["stat"], found["period_s"]) == ("2025-03-22T00:00:00+08:00", "avg", 1)
    assert found["values"] == {"laeq": 44.085907}
    assert to_rfc3339(message.time_ns) == "2025-03-21T16:00:01Z"


def test_missing_values_are_left_out_and_counted(tmp_path: Path) -> None:
    prsa(tmp_path, PRSA_ROW.replace(",4,7,", ",NA,NA,", 1), PRSA_ROW.replace(",0,4,7,4,", ",1,4, ,4,", 1))
    sent, counts, problems = replayed(tmp_path)
    assert [sorted(key for entry in objects(m) for key in entry["values"]) for m in sent] == [  # type: ignore[call-overload]
        ["air_temp", "pressure", "rain", "wind_dir", "wind_speed"],
        ["air_temp", "pm25", "pressure", "rain", "wind_dir", "wind_speed"],
    ]
    assert (counts.missing["PM10"], counts.missing["PM2.5"], counts.missing["TEMP"]) == (2, 1, 0)
    assert problems == []


def test_a_row_with_nothing_in_it_is_no_message(tmp_path: Path) -> None:
    noise(tmp_path, "2025-03-21 00:00:30,NA", "2025-03-21 00:01:30,47.5")
    sent, counts, problems = replayed(tmp_path)
    assert (len(sent), counts.rows, counts.missing["LEQ dB -A"], problems) == (1, 2, 1, [])


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("2025-03-21 00:00:30", "has 1 cells where the header has 2; the row is left out"),
        ("2025-03-21 00:00:30,1,2", "has 3 cells where the header has 2; the row is left out"),
        ("yesterday,47.5", "datetime: 'yesterday' is no time; the row is left out"),
        ("2025-02-30 00:00:30,47.5", "datetime: '2025-02-30 00:00:30' is no time; the row is left out"),
        ('2025-03-21 00:00:30,"47.5', "is no CSV: unexpected end of data; the row is left out"),
        ('"2025-03-21 00:00:30"x,47.5', "is no CSV: .*; the row is left out"),
        ("2025-03-21 00:00:30," + "9" * 200_000, "is no CSV: field larger than field limit"),
    ],
)
def test_a_bad_row_is_told_and_costs_nothing_else(tmp_path: Path, row: str, told: str) -> None:
    path = noise(tmp_path, "2025-03-21 00:00:00,47.5", row, "", "2025-03-21 00:02:00,48.5")
    sent, counts, problems = replayed(tmp_path)
    assert [objects(m)[0]["values"] for m in sent] == [{"laeq": 47.5}, {"laeq": 48.5}]
    assert (counts.rows, counts.bad_rows, counts.bad_values, counts.messages) == (3, 1, 0, 2)
    (problem,) = problems
    assert problem.startswith(f"{path}:3: ")
    assert re.search(told, problem), problem


@pytest.mark.parametrize(
    "cell", ["n/a", "nan", "inf", "-Infinity", "1e999", "1_000", "１２", "0x1F", "4 7", "<script>"]
)
def test_a_value_that_is_no_number_is_told_and_costs_nothing_else(tmp_path: Path, cell: str) -> None:
    path = prsa(tmp_path, PRSA_ROW.replace("-0.7", cell))
    (message,), counts, problems = replayed(tmp_path)
    assert message.readings == 6
    assert (counts.rows, counts.bad_rows, counts.bad_values) == (1, 0, 1)
    assert problems == [f"{path}:2: TEMP: {cell!r} is no value"]


def test_an_unknown_word_is_no_value(tmp_path: Path) -> None:
    path = prsa(tmp_path, PRSA_ROW.replace("NNW", "NNX"))
    _, counts, problems = replayed(tmp_path)
    assert (counts.bad_values, problems) == (1, [f"{path}:2: wd: 'NNX' is no value"])


def test_bytes_that_are_no_text_spoil_their_own_cell(tmp_path: Path) -> None:
    path = tmp_path / "noisemonitor_laeq_1min.csv"
    path.write_bytes(b"\xef\xbb\xbfdatetime,LEQ dB -A\r\n2025-03-21 00:00:00,\xff\xfe\r\n2025-03-21 00:01:00,48.5\r\n")
    sent, counts, problems = replayed(tmp_path)
    assert [objects(m)[0]["values"] for m in sent] == [{"laeq": 48.5}]
    assert (counts.bad_values, len(problems)) == (1, 1)


def test_a_file_without_its_columns_is_refused(tmp_path: Path) -> None:
    noise(tmp_path, "2025-03-21 00:00:00,47.5", header="time,LEQ dB -A")
    with pytest.raises(UserError, match="noise-1min needs the columns datetime; the file has time, LEQ dB -A"):
        replayed(tmp_path)
    noise(tmp_path).write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="the file has no header"):
        replayed(tmp_path)
    noise(tmp_path, header='"datetime,LEQ')
    with pytest.raises(UserError, match=r"laeq_1min\.csv:1: is no CSV"):
        replayed(tmp_path)


SWMP_HEADER = (
    "StationCode,isSWMP,DateTimeStamp,Historical,ProvisionalPlus,F_Record,Temp,F_Temp,SpCond,F_SpCond,Sal,F_Sal,DO_Pct,"
    "F_DO_Pct,DO_mgl,F_DO_mgl,Depth,F_Depth,pH,F_pH,Turb,F_Turb"
)


def test_the_sources_flags_are_passed_on_as_far_as_they_are_explained(tmp_path: Path) -> None:
    good = "g ,P,7/2/2021 0:15,1,1,,30.8,<0> ,13.59,<0> ,7.8,<0> ,77,<0> ,5.5,<1> [SDO] (CCU),0.63,<0> (CND),7.2,<0> ,"
    good += "13,<-3> [STS]"
    gone = "g ,P,8/31/2021 23:45,1,1,{CSM},,<-2> [GSM],,<-2> ,,<-2> ,,<-2> ,,<-2> ,,<-2> ,8.1,<-2> [GSM],,<-2> "
    (tmp_path / "SWMP_gndblwq2021.csv").write_text("\n".join([SWMP_HEADER, good, gone]), encoding="utf-8")
    (message,), counts, problems = replayed(tmp_path)
    assert problems == []
    (found,) = objects(message)
    assert found["ts"] == "2021-07-02T00:15:00-06:00"
    assert found["flags"] == {"turbidity": "D"}, "rejected; suspect alone is no letter"
    assert found["values"] == {
        "water_temp": 30.8,
        "conductivity": 13.59,
        "ph": 7.2,
        "do": 5.5,
        "turbidity": 13,
        "level": 0.63,
    }
    assert counts.missing["pH"] == 1, "a value under the flag of missing is missing"
    registry = Registry.of(policies(tmp_path))
    admitted = {
        item.metric: admit(item, message.mine, message.device, registry, message.time_ns).reading
        for item in decode_json(message.payload).items
    }
    assert admitted["conductivity"].value == pytest.approx(13_590), "mS/cm in the file, uS/cm in the canon"
    assert admitted["turbidity"].quality == Quality.INVALID


def test_impossible_values_stay_as_they_are(tmp_path: Path) -> None:
    header = ",".join(
        ["datetime", *(f"{c}{x}" for c in ("temp", "cond", "ph", "do", "turb", "stage") for x in ("", "_cor", "_qual"))]
    )
    row = "2019-01-01 00:00,-9999,1,10,7999,1,10,0.0,1,10,109.8,1,10,2122,1,10,60.44,1,NULL"
    (tmp_path / "LRO_MainStreet2019.csv").write_text(f"{header}\n{row}\n", encoding="utf-8")
    (message,), *_ = replayed(tmp_path)
    (found,) = objects(message)
    assert found["ts"] == "2019-01-01T00:00:00-07:00"
    assert "flags" not in found
    expected = {"water_temp": -9999, "conductivity": 7999, "ph": 0, "do": 109.8, "turbidity": 2122, "level": 60.44}
    assert found["values"] == expected, "raw, not corrected"


def test_soil_is_in_the_files_unit_and_zone(tmp_path: Path) -> None:
    text = (
        "DateTime_utc,SoilMoisture_volumetric_MovAvg24h\n2015-06-30 17:00:00+00:00,0.25\n2015-06-30 18:00:00+00:00,\n"
    )
    (tmp_path / "neptoon_Sheepdrove2-CRNS.csv").write_text(text, encoding="utf-8")
    (message,), counts, problems = replayed(tmp_path)
    (item,) = decode_json(message.payload).items
    reading = admit(item, message.mine, message.device, Registry.of(policies(tmp_path)), message.time_ns).reading
    assert (reading.value, to_rfc3339(reading.time_ns)) == (25, "2015-06-30T17:00:00Z")
    assert (counts.rows, list(counts.missing.values()), problems) == (2, [1], [])


def test_files_are_merged_in_time_and_a_step_back_is_late(tmp_path: Path) -> None:
    later = PRSA_ROW.replace("2013,3,1,0", "2013,3,1,5")
    prsa(tmp_path, PRSA_ROW, later, PRSA_ROW.replace("2013,3,1,0", "2013,3,1,2"))
    prsa(tmp_path, PRSA_ROW.replace("2013,3,1,0", "2013,3,1,1"), later, station="Aotizhongxin")
    sent = list(messages(tmp_path))
    start_ns = int(datetime(2013, 2, 28, 17, tzinfo=UTC).timestamp()) * NS_PER_S
    assert [(m.device, (m.time_ns - start_ns) // HOUR_NS) for m in sent] == [
        ("dust-upwind", 0),
        ("dust-downwind", 1),
        ("dust-downwind", 5),
        ("dust-upwind", 5),
        ("dust-upwind", 5),
    ]
    assert objects(sent[-1])[0]["ts"] == "2013-03-01T02:00:00+08:00", "sent late with its own time"


def test_a_part_of_the_days_can_be_taken(tmp_path: Path) -> None:
    start = datetime(2025, 3, 21, tzinfo=UTC)
    noise(tmp_path, *(f"{start + timedelta(minutes=m):%Y-%m-%d %H:%M:%S},47.5" for m in range(3 * 1440)))
    assert len(replayed(tmp_path, max_days=1)[0]) == 1440
    assert replayed(tmp_path, max_days=0.5)[1].rows == 720
    assert len(replayed(tmp_path)[0]) == 3 * 1440


def test_progress_runs_from_nothing_to_all(tmp_path: Path) -> None:
    path = noise(tmp_path, *(f"2025-03-21 {m // 60 % 24:02}:{m % 60:02}:00,47.5" for m in range(5_000)))
    told: list[tuple[int, int]] = []
    assert len(list(messages(tmp_path, progress=lambda done, total: told.append((done, total))))) == 5_000
    size = path.stat().st_size
    assert told == sorted(told)
    assert {total for _, total in told} == {size}
    assert told[0][0] < size / 100
    assert told[-1] == (size, size)
    assert len(told) >= 5


def test_reading_is_lazy(tmp_path: Path) -> None:
    noise(tmp_path, *(f"2025-03-21 {m // 60:02}:{m % 60:02}:00,47.5" for m in range(1_000)))
    replay = Replay(data_sets(tmp_path))
    next(replay.messages())
    (counts,) = replay.counts.values()
    assert counts.rows == 1


def test_a_folder_without_data_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file that a mapping knows; known are .*PRSA_Data_Huairou_\*\.csv"):
        data_sets(tmp_path)
    with pytest.raises(UserError, match="absent is not a folder"):
        data_sets(tmp_path / "absent")
    prsa(tmp_path, PRSA_ROW)
    copy = tmp_path / "copy"
    copy.mkdir()
    prsa(copy, PRSA_ROW)
    with pytest.raises(UserError, match="both play shifan-a/dust-upwind; keep one of them"):
        data_sets(tmp_path)


def test_policies_are_only_for_the_files_that_are_there(tmp_path: Path) -> None:
    prsa(tmp_path, PRSA_ROW)
    (policy,) = policies(tmp_path)
    assert [device.id for device in policy.devices] == ["dust-upwind"]
    (tmp_path / "noisemonitor_laeq_1s.csv").write_text("datetime, LEQ dB -A \n", encoding="utf-8")
    _, by_seconds = policies(data_sets(tmp_path, include_off=True))
    assert ([d.id for d in by_seconds.devices], by_seconds.rules) == (["noise-boundary-1s"], [])


@pytest.fixture(scope="module")
def all_policies(tmp_path_factory: pytest.TempPathFactory) -> list[Policy]:
    """Policies for every file that any mapping knows."""
    folder = tmp_path_factory.mktemp("all")
    for mapping in mappings():
        for file in mapping.files:
            (folder / file.pattern.replace("*", "x")).write_text("x\n", encoding="utf-8")
    return policies(data_sets(folder, include_off=True))


def test_the_policies_are_sound_and_say_that_the_data_are_public(all_policies: list[Policy]) -> None:
    assert [policy.mine.id for policy in all_policies] == ["shifan-a", "shifan-d", "shifan-e", "shifan-b", "shifan-c"]
    for policy in all_policies:
        assert check_policy(policy) == []
        assert policy_warnings(policy) == []
        assert from_canonical_json(to_canonical_json(policy)) == policy
        assert "公开数据回放" in policy.mine.name.zh
        assert "replay of public data" in policy.mine.name.en
        assert policy.contacts
        assert all(device.name is not None and "public data" in device.name.en for device in policy.devices)


def test_every_mapping_names_its_source_and_licence() -> None:
    assert {mapping.id for mapping in mappings() if not mapping.default} == {"noise-1s"}
    for mapping in mappings():
        assert mapping.source
        assert mapping.licence
        assert mapping.assumptions


# The real files, where they are.

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the folder ../shared/data is not there")


@dataclass
class Seen:
    """What one pass over all real files gave."""

    counts: dict[str, ReplayCounts]
    problems: list[Problem]
    values: dict[tuple[str, str], list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))
    in_order: bool = True
    first: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def seen() -> Seen:
    problems: list[Problem] = []
    replay = Replay(data_sets(SHARED), report=problems.append)
    found = Seen({path.name: counts for path, counts in replay.counts.items()}, problems)
    before_ns = 0
    for message in replay.messages():
        found.in_order &= message.time_ns >= before_ns
        before_ns = message.time_ns
        found.first.setdefault(message.device, message.time_ns)
        found.last[message.device] = message.time_ns
        for entry in objects(message):
            for key, value in entry["values"].items():  # type: ignore[attr-defined]
                if key in ("pm10", "turbidity", "ph", "laeq", "soil_moisture", "water_temp", "conductivity"):
                    found.values[message.device, key].append((message.time_ns, value))
    return found


@needs_shared
def test_the_counts_of_the_real_files(seen: Seen) -> None:
    assert seen.problems == []
    assert seen.in_order
    rows = {name: counts.rows for name, counts in seen.counts.items()}
    assert rows == {
        "PRSA_Data_Aotizhongxin_20130301-20170228.csv": 35_064,
        "PRSA_Data_Huairou_20130301-20170228.csv": 35_064,
        "LRO_MainStreet2019.csv": 25_881,
        "SWMP_gndblwq2021.csv": 5_856,
        "noisemonitor_laeq_1min.csv": 16_470,
        "neptoon_Sheepdrove2-CRNS.csv": 13_207,
    }
    missing = {name: counts.missing for name, counts in seen.counts.items()}
    assert missing["PRSA_Data_Aotizhongxin_20130301-20170228.csv"]["PM10"] == 718
    assert missing["PRSA_Data_Huairou_20130301-20170228.csv"]["PM10"] == 777
    assert set(missing["SWMP_gndblwq2021.csv"].values()) == {523}
    assert set(missing["LRO_MainStreet2019.csv"].values()) == {0}
    assert missing["neptoon_Sheepdrove2-CRNS.csv"] == {"SoilMoisture_volumetric_MovAvg24h": 2_325}
    assert sum(counts.bad_rows + counts.bad_values for counts in seen.counts.values()) == 0


@needs_shared
def test_the_values_of_the_real_files(seen: Seen) -> None:
    def extent(device: str, metric: str) -> tuple[float, float]:
        values = [value for _, value in seen.values[device, metric]]
        return min(values), max(values)

    def mean(device: str, metric: str) -> float:
        values = [value for _, value in seen.values[device, metric]]
        return sum(values) / len(values)

    assert (extent("dust-downwind", "pm10")[1], round(mean("dust-downwind", "pm10"), 1)) == (984, 110.1)
    assert (extent("dust-upwind", "pm10")[1], round(mean("dust-upwind", "pm10"), 1)) == (993, 91.5)
    assert extent("water-river", "water_temp") == (-9999, 7999)
    assert extent("water-river", "conductivity") == (-0.98, 7999)
    assert extent("water-river", "ph") == (0, 15.2)
    assert extent("water-river", "turbidity")[1] == 2122
    assert sum(value > 9 for _, value in seen.values["water-river", "ph"]) == 887
    assert [round(value, 1) for value in extent("noise-boundary", "laeq")] == [38.2, 68.9]
    assert [round(value, 3) for value in extent("soil-area", "soil_moisture")] == [0.226, 0.566]


@needs_shared
def test_the_times_of_the_real_files(seen: Seen) -> None:
    span = {device: (to_rfc3339(seen.first[device]), to_rfc3339(seen.last[device])) for device in seen.first}
    assert span == {
        # The end of the first hour and of the last, at +08:00.
        "dust-downwind": ("2013-02-28T17:00:00Z", "2017-02-28T16:00:00Z"),
        "dust-upwind": ("2013-02-28T17:00:00Z", "2017-02-28T16:00:00Z"),
        "soil-area": ("2015-06-30T17:00:00Z", "2016-12-31T23:00:00Z"),
        "water-river": ("2019-01-01T07:00:00Z", "2019-09-27T22:00:00Z"),
        "water-estuary": ("2021-07-02T06:00:00Z", "2021-08-26T19:30:00Z"),
        "noise-boundary": ("2025-03-20T16:01:30Z", "2025-04-01T02:30:30Z"),
    }
    for policy in policies(SHARED):
        activated = datetime.combine(policy.valid_from, datetime.min.time(), policy.mine.zone).timestamp() * NS_PER_S
        assert all(activated < seen.first[device.id] for device in policy.devices)


@needs_shared
def test_the_rules_raise_on_the_real_files_and_are_no_storm(seen: Seen) -> None:
    """A plain reading of each rule with its hysteresis; hold times are left out, so there are at least as many here."""

    def raised(rule: LimitRule, values: list[tuple[int, float]]) -> int:
        sign = 1 if rule.direction == "above" else -1
        count, firing = 0, False
        for _, value in values:
            if not firing and sign * value > sign * rule.raise_level:
                count, firing = count + 1, True
            elif firing and sign * value < sign * rule.clear:
                firing = False
        return count

    found: dict[str, int] = {}
    for policy in policies(SHARED):
        for rule in policy.rules:
            if not isinstance(rule, LimitRule):
                continue
            for device in policy.devices:
                values = [
                    (t, 100 * v if rule.metric == "soil_moisture" else v)
                    for t, v in seen.values[device.id, rule.metric]
                ]
                if isinstance(rule, MeanRule):
                    assert rule.energy
                    size = rule.window // 60
                    levels = [v for _, v in values]
                    values = [
                        (
                            values[i][0],
                            10 * math.log10(sum(10 ** (v / 10) for v in levels[i - size + 1 : i + 1]) / size),
                        )
                        for i in range(size - 1, len(levels))
                    ]
                found[f"{device.id} {rule.id}"] = raised(rule, values)
    must = ["dust-downwind pm10-hour-high", "dust-upwind pm10-hour-high", "dust-downwind pm10-hour-severe"]
    must += [
        "water-river turbidity-high",
        "water-river ph-high",
        "noise-boundary laeq-10min-high",
        "soil-area soil-dry",
    ]
    assert all(found[name] > 0 for name in must), found
    assert max(found.values()) < 400, "over four years; no storm"


@needs_shared
def test_real_messages_keep_the_contract_and_are_admitted() -> None:
    found = data_sets(SHARED, include_off=True)
    registry = Registry.of(policies(found))
    count = 0
    for message in messages(found, max_days=0.2):
        decoded = decode_json(message.payload)
        assert decoded.refused == []
        assert len(decoded.items) == message.readings
        for item in decoded.items:
            assert admit(item, message.mine, message.device, registry, message.time_ns).quarantine == ""
            count += 1
    assert count > 17_000
