"""`greenmine decode` of the formats of other networks: the lines of the contract, refusals, and no configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from greenmine.cli import app
from greenmine.core.clock import NS_PER_S
from greenmine.simulator.encode_chirpstack import chirpstack_topic, chirpstack_uplink
from greenmine.simulator.encode_sparkplug import DOUBLE, EdgeSession, MetricValue, sparkplug_payload
from greenmine.simulator.encode_tts import tts_topic, tts_uplink

EUI = "a84041b2c1841f3d"
AT_NS = 1_776_067_200 * NS_PER_S
AT = "2026-04-13T08:00:00Z"
DDATA = "spBv1.0/mine-a/DDATA/gw01/soil07"


def decode(name: str, payload: bytes | str, *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, lines of standard output, and standard error."""
    raw = payload if isinstance(payload, bytes) else payload.encode()
    result = CliRunner().invoke(app, ["decode", "--format", name, *arguments, "-"], input=raw)
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()], result.stderr


def line(metric: str | None, value: float | None, **more: Any) -> dict[str, Any]:
    """A line of the contract, keys in its order."""
    known = {
        "time": AT, "mine": None, "device": None, "metric": metric, "channel": "", "stat": "inst", "period_s": 0,
        "value": value, "unit": None, "quality": [],
    }  # fmt: skip
    assert more.keys() <= known.keys()
    return {**known, **more}


def test_senml_line_by_line() -> None:
    pack = (
        '[{"bn":"urn:dev:mac:0024befffe804ff1:","bt":1776067200,"bu":"%RH","n":"soil20","v":21.4},'
        '{"n":"soilT","u":"Cel","v":12.8,"t":-5},{"n":"bat","u":"V","v":3.61},{"n":"door","u":"/","vb":false}]'
    )
    code, lines, notes = decode("senml", pack)
    device = "0024befffe804ff1"
    assert lines == [
        line("soil20", 21.4, device=device, unit="%"),
        line("soilT", 12.8, device=device, unit="Cel", time="2026-04-13T07:59:55Z"),
        line("bat", 3.61, device=device, unit="V"),
    ]
    assert [list(one) for one in lines] == [list(line("x", 1))] * 3, "in the order of the contract"
    assert code == 0, "a door is no number, and nobody said that it had to be one"
    assert "door is true or false" in notes.replace("\n", " ")


def test_senml_of_a_topic_and_relative_to_a_moment() -> None:
    pack = '[{"n":"pm10","v":81.3,"u":"ug/m3","t":-60},{"n":"humidity","u":"%RH","v":140}]'
    code, lines, _ = decode("senml", pack, "--topic", "mines/m1/d1/up/senml", "--at", "2026-04-13T16:01:00+08:00")
    assert lines == [
        line("pm10", 81.3, mine="m1", device="d1", unit="ug/m3"),
        line("humidity", 140, mine="m1", device="d1", unit="%", time="2026-04-13T08:01:00Z", quality=["range"]),
    ]
    assert code == 0


def test_senml_of_another_device_than_the_topics() -> None:
    pack = '[{"bn":"urn:dev:ow:other:","n":"pm10","v":1},{"bn":"","n":"ph","v":7}]'
    code, lines, _ = decode("senml", pack, "--topic", "mines/m1/d1/up/senml", "--at", AT)
    assert lines[0] == line("ph", 7, mine="m1", device="d1")
    assert lines[1]["reject"] == "senml_scope"
    assert code == 2


@pytest.mark.parametrize("name", ["chirpstack", "tts"])
def test_uplinks_line_by_line(name: str) -> None:
    fields = {"water_SOIL": "21.40", "temp_SOIL": "12.80", "conduct_SOIL": 100, "BatV": 3.346}
    if name == "tts":
        payload, topic = tts_uplink("soil07", EUI, AT_NS, fields=fields), tts_topic("mine-soil", "soil07")
    else:
        payload, topic = chirpstack_uplink(EUI, AT_NS, fields=fields), chirpstack_topic("1", EUI)
    expected = [line(metric, float(value), device=EUI) for metric, value in fields.items()]
    for arguments in ([], ["--topic", topic]):
        assert decode(name, payload, *arguments) == (0, expected, "")


@pytest.mark.parametrize(
    ("name", "topic"), [("chirpstack", chirpstack_topic("1", "00000000000000ff")), ("tts", tts_topic("a", "other"))]
)
def test_an_uplink_of_another_device_than_the_topics(name: str, topic: str) -> None:
    payload = (
        tts_uplink("soil07", EUI, AT_NS, fields={"a": 1})
        if name == "tts"
        else chirpstack_uplink(EUI, AT_NS, fields={"a": 1})
    )
    code, (refused,), _ = decode(name, payload, "--topic", topic)
    assert (code, refused["reject"]) == (2, "scope")


def test_an_uplink_that_the_network_has_not_decoded() -> None:
    code, (refused,), _ = decode("chirpstack", chirpstack_uplink(EUI, AT_NS, frame=bytes(11)))
    assert (code, refused["reject"]) == (2, "no_codec")
    assert "11 bytes" in refused["detail"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"a": 1, "door": True, "text": "open"}, []),
        ({"a": 1, "soil_moisture": "wet"}, ["type"]),  # one of ours has to be a number
        ({"a": 1, "b": "1e999"}, ["not_finite"]),
        ({"a": 1, "b": 2**64}, ["range"]),
    ],
)
def test_a_number_that_is_none_is_refused_and_a_text_is_passed_over(fields: dict[str, Any], words: list[str]) -> None:
    code, lines, _ = decode("chirpstack", chirpstack_uplink(EUI, AT_NS, fields=fields))
    assert lines[0] == line("a", 1, device=EUI)
    assert [one["reject"] for one in lines[1:]] == words
    assert code == (2 if words else 0)


def test_sparkplug_on_the_wire() -> None:
    session = EdgeSession("mine-a", "gw01")
    topic, birth = session.device_birth("soil07", {"soil_moisture": 21.4, "soil/temp": -3.25}, AT_NS)
    device = "mine-a/gw01/soil07"
    expected = [line("soil_moisture", 21.4, device=device), line("soil/temp", -3.25, device=device)]
    assert decode("sparkplug", birth, "--topic", topic) == (0, expected, "")
    code, lines, notes = decode("sparkplug", session.data("soil07", {"soil/temp": 4.0}, AT_NS)[1])
    assert lines == [line(None, 4.0)], "neither device nor name are in it"
    assert code == 0
    assert "alias 2" in notes


def test_sparkplug_as_tools_print_it() -> None:
    view = {
        "topic": DDATA,
        "payload": {
            "timestamp": 1776067200000,
            "seq": 17,
            "metrics": [
                {"alias": 3, "timestamp": 1776067199000, "dataType": "Float", "value": 21.4},
                {"name": "T", "dataType": "Int8", "value": 255},
                {"name": "gone", "dataType": "Double", "value": None},
                {"name": "valve", "dataType": "String", "value": "open"},
            ],
        },
    }
    code, lines, notes = decode("sparkplug", json.dumps(view))
    device = "mine-a/gw01/soil07"
    assert lines == [
        line("T", -1, device=device),
        line("gone", None, device=device),
        line(None, 21.4, device=device, time="2026-04-13T07:59:59Z"),
    ]
    assert code == 0
    assert "valve is not a number" in notes


@pytest.mark.parametrize(
    ("view", "word"),
    [
        ({"payload": []}, "type"),
        ({"metrics": {}}, "type"),
        ({"metrics": [5]}, "type"),
        ({"metrics": [{"name": 5, "value": 1}]}, "type"),
        ({"metrics": [{"name": "a", "alias": -1, "value": 1}]}, "type"),
        ({"timestamp": 1, "metrics": [{"value": 1}]}, "missing_field"),
        ({"timestamp": 1, "metrics": [{"name": "a", "value": 10**30, "dataType": "Int64"}]}, "range"),
        ({"timestamp": 1, "metrics": [{"name": "a", "value": 2**64, "dataType": "Int64"}]}, "range"),
        ({"timestamp": 1, "metrics": [{"name": "a", "value": -(2**63), "dataType": "Int64"}]}, ""),
        ({"timestamp": 1, "metrics": [{"name": "x" * 300, "value": 1}]}, "size"),
        ({"timestamp": 1, "metrics": [{"name": "a"}] * 5_001}, "too_many_records"),
        ({"seq": 256}, "range"),
    ],
)
def test_views_that_cannot_be_read(view: dict[str, Any], word: str) -> None:
    code, lines, _ = decode("sparkplug", json.dumps(view))
    assert [one.get("reject") for one in lines] == ([word] if word else [None])
    assert code == (2 if word else 0)


def test_a_nan_on_the_wire_is_refused() -> None:
    payload = sparkplug_payload([MetricValue(float("nan"), DOUBLE, "a"), MetricValue(1.0, DOUBLE, "b")], AT_NS, 1)
    code, lines, _ = decode("sparkplug", payload, "--topic", DDATA)
    assert lines[0] == line("b", 1, device="mine-a/gw01/soil07")
    assert (code, [one["reject"] for one in lines[1:]]) == (2, ["not_finite"])


@pytest.mark.parametrize("topic", ["spBv1.0//DDATA/gw01/soil07", "application//device/x/event/up", "nonsense"])
def test_a_topic_that_is_none(topic: str) -> None:
    code, (refused,), _ = decode("sparkplug", sparkplug_payload([], AT_NS, 1), "--topic", topic)
    assert code == 2
    assert refused["reject"] in ("topic_empty_level", "topic_shape")


def test_a_file_is_one_payload(tmp_path: Path) -> None:
    path = tmp_path / "uplink.json"
    path.write_bytes(chirpstack_uplink(EUI, AT_NS, fields={"a": 1}) * 2)
    result = CliRunner().invoke(app, ["decode", "--format", "chirpstack", str(path)])
    assert result.exit_code == 2
    assert json.loads(result.stdout)["reject"] == "json"


def test_a_format_that_nobody_knows() -> None:
    assert decode("modbus", b"")[0] == 2
