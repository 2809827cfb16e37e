"""Bad messages among good ones, over real brokers and through the real pipeline.

Every good reading is kept exactly once, and every bad message has its word.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from sqlalchemy import select

from greenmine.core.account import Account as Counts
from greenmine.core.clock import NS_PER_S, ManualClock, to_rfc3339
from greenmine.core.quality import flag_names
from greenmine.core.reading_store import InMemoryReadingStore, Selection
from greenmine.ingest.broker import EmbeddedBroker
from greenmine.ingest.gate import Account, Gate, hash_password
from greenmine.ingest.journal import JournalReader
from greenmine.ingest.journal_writer import Submission
from greenmine.ingest.record import Record, RecordKind
from greenmine.ingest.subscriber import BrokerUrl, Subscriber
from greenmine.pipeline.pipeline import Pipeline
from greenmine.policy.canonical import to_canonical_json
from greenmine.policy.load import load_policy
from greenmine.store import dead_letters, schema
from greenmine.store.state import StateDb
from greenmine.store.writer import StoreWriter
from tests import mqtt_client as m
from tests.journal_rig import JournalRig
from tests.mosquitto_server import StartMosquitto, mosquitto
from tests.mqtt_client import WAIT_S, Client, RawClient

__all__ = ["mosquitto"]

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = ROOT.parent / "shared" / "bad_inputs.jsonl"
NOW_NS = 1_795_305_600 * NS_PER_S
NOW_MS = NOW_NS // 1_000_000
PASSWORD = "a password"
MINE = "shifan-1"


def device(name: str) -> Account:
    return Account(f"{MINE}.{name}", MINE, name, hash_password(PASSWORD))


def service(name: str) -> Account:
    return Account(name, "", "", hash_password(PASSWORD))


LAST = b'{"ts": "2026-01-01T00:00:00Z", "kind": "haul", "state": "start"}'
"""Counted nowhere; what was sent before it is in the journal when it is."""
DUST, GOOD, OFFICE, INGEST = device("dust-n1"), device("dust-s1"), service("office"), service("greenmine-ingest")
ACCOUNTS = [DUST, GOOD, OFFICE, INGEST]


class Kept(NamedTuple):
    """A reading as the store has it."""

    metric: str
    time_ns: int
    value: float
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """What is sent under an id of the catalogue, and what becomes of it. `topic` is below `mines/shifan-1/` unless it
    begins elsewhere; times of `kept` are ns."""

    id: str
    payloads: tuple[bytes, ...]
    dead: tuple[str, ...] = ()
    quarantined: tuple[str, ...] = ()
    kept: tuple[Kept, ...] = ()
    duplicates: int = 0
    conflicts: int = 0
    topic: str = "mines/shifan-1/dust-n1/up"


def json_case(id: str, *payloads: bytes | str, **expected: object) -> Case:
    raw = tuple(one if isinstance(one, bytes) else one.encode() for one in payloads)
    return Case(id, raw, **expected)  # type: ignore[arg-type]


def values(text: str, second: int = 0, rest: str = "") -> str:
    return f'{{"ts": {NOW_MS + second * 1000}, "values": {text}{rest}}}'


def at(second: int) -> int:
    return NOW_NS + second * NS_PER_S


# Readings that are kept are of series and seconds of their own, so that no case changes what another is.
JSON_CASES = [
    json_case("json-01", b"", dead=("empty",)),
    json_case("json-02", b" ", dead=("json",)),
    json_case("json-04", '{"values":{"pm10":1', dead=("json",)),
    json_case("json-05", b"\xef\xbb\xbf" + values('{"pm10": 5}').encode(), dead=("json",)),
    json_case("json-07", b'{"ts": 1, "values": {"pm10": "\xff"}}', dead=("encoding",)),
    json_case("json-08", gzip.compress(values('{"pm10": 8}').encode()), dead=("encoding",)),
    json_case("json-10", b"[" * 100_000, dead=("depth",)),
    json_case("json-11", '{"a":' * 50 + "1" + "}" * 50, dead=("depth",)),
    # 100,000 keys do not fit the 256 KiB that a broker lets in; so many do.
    json_case("json-13", json.dumps({f"k{i}": 1 for i in range(15_000)}), dead=("too_many_fields",)),
    json_case("json-14", values('{"pm10": NaN}'), dead=("not_finite",)),
    json_case("json-16", values('{"pm10": 1e999}'), dead=("not_finite",)),
    json_case("json-17", values('{"pm10": -1e999}'), dead=("not_finite",)),
    json_case("json-19", values('{"pm10": 9223372036854775808}'), dead=("range",)),
    json_case("json-20", values('{"pm10": "12.5"}'), dead=("type",)),
    json_case("json-22", values('{"pm10": true}'), dead=("type",)),
    json_case("json-23", values('{"pm10": null}'), quarantined=("missing",)),
    json_case("json-25", values('{"pm10": 1, "pm10": 99}'), dead=("duplicate_key",)),
    json_case("json-26", values('{"PM10": 1}'), dead=("unknown_field",)),
    json_case("json-29", '{"ts": -1, "values": {"pm10": 29}}', quarantined=("clock_unset",)),
    json_case("json-31", '{"ts": 1767225600, "values": {"pm10": 31}}', quarantined=("clock_unset",)),
    json_case("json-32", '{"ts": 1767225600000000000, "values": {"pm10": 32}}', dead=("ts_range",)),
    json_case("json-34", '{"ts": "2026-03-29T02:30:00", "values": {"pm10": 34}}', dead=("ts_zone",)),
    json_case(
        "json-35",
        '{"ts": "2016-12-31T23:59:60Z", "values": {"tsp": 35}}',
        kept=(Kept("tsp", 1_483_228_799_999 * 1_000_000, 35.0),),
    ),
    json_case(
        "json-37",
        values('{"pm10": 37}', second=1),
        values('{"pm10": 99}', second=1),
        kept=(Kept("pm10", at(1), 37.0),),
        conflicts=1,
    ),
    json_case(
        "json-38",
        values('{"pm10": 38}', 2, ', "seq": 5'),
        values('{"pm10": 38}', 2, ', "seq": 5'),
        values('{"pm10": 39}', 3, ', "seq": 6'),
        kept=(Kept("pm10", at(2), 38.0), Kept("pm10", at(3), 39.0)),
        duplicates=1,
    ),
    json_case(
        "json-40",
        values('{"pm10": 40}', 4, ', "seq": 4294967295, "boot": "a"'),
        values('{"pm10": 41}', 5, ', "seq": 0, "boot": "b"'),
        kept=(Kept("pm10", at(4), 40.0), Kept("pm10", at(5), 41.0)),
    ),
    json_case(
        "json-41",
        values('{"water_temp": -273.16}'),
        kept=(Kept("water_temp", at(0), -273.16, ("range",)),),
        topic="mines/shifan-1/pond-1/up",
    ),
    json_case("json-43", values('{"pm10": 1}', rest=', "unit": "ppm"'), dead=("unit",)),
    json_case("json-44", values('{"pm10": "\\ud800"}'), dead=("encoding",)),
    json_case("json-47", values('{"pm10": 1}', rest=', "msg": "\\r\\nBcc: a@b"'), dead=("unknown_field",)),
    json_case("json-49", values('{"pm25": 1e-400}'), kept=(Kept("pm25", at(0), 0.0),)),
]


def topic_case(id: str, topic: str, word: str) -> Case:
    return Case(id, (values('{"pm10": 1}').encode(),), dead=(word,), topic=topic)


TOPIC_CASES = [
    topic_case("mqtt-01", "mines//dev1/up", "topic_empty_level"),
    topic_case("mqtt-04", "mines/m1/dev1", "topic_shape"),
    topic_case("mqtt-05", "mines/m1/dev1/up/extra/x/y", "topic_shape"),
    topic_case("mqtt-10", "mines/m1/d\u202e1/up", "device_id_charset"),
    topic_case("mqtt-11", "mines/m1/dev\uff11/up", "device_id_charset"),
    topic_case("mqtt-13", "mines/../admin/dev1/up", "device_id_charset"),
    topic_case("mqtt-14", "mines/%2e%2e/dev1/up", "device_id_charset"),
    topic_case("mqtt-16", "mines/m1/dev1 v=1 9/up", "device_id_charset"),
    topic_case("mqtt-17", "mines/m1/dev1\n/up", "device_id_charset"),
    topic_case("mqtt-19", "mines/m1/{{7*7}}/up", "device_id_charset"),
    topic_case("mqtt-20", "mines/m1/<script>alert(1)</script>/up", "device_id_charset"),
]
EMBEDDED_CASES = [
    # Not under mines/: nobody may publish there, and the word says what is wrong with it before that.
    topic_case("mqtt-02", "/mines/m1/dev1/up", "topic_shape"),
    topic_case("mqtt-07", "a/" * 10_000 + "a", "topic_too_long"),
]
NOT_HERE = {
    "mqtt-23": "tests/contracts/test_broker.py::test_a_device_is_given_its_own_commands_and_nothing_else",
    "mqtt-25": "tests/contracts/test_broker.py::test_a_device_is_given_its_own_commands_and_nothing_else",
    "mqtt-26": "tests/contracts/test_broker.py::test_a_device_is_given_its_own_commands_and_nothing_else",
    "mqtt-29": "tests/contracts/test_broker.py::test_nobody_takes_the_session_of_another_by_its_client_id",
}
"""Shown by a test of the broker itself, since nothing of it comes to the pipeline."""
IN_OWN_TESTS = {
    "mqtt-08": "test_a_topic_that_is_not_text_ends_its_connection",
    "mqtt-28": "test_a_device_may_not_send_commands",
    "mqtt-34": "test_a_retained_reading_is_refused",
    "mqtt-35": "test_a_retained_reading_is_refused",
    "mqtt-37": "test_every_qos_is_taken_once",
    "mqtt-38": "test_every_qos_is_taken_once",
    "mqtt-43": "test_a_response_topic_is_ignored",
}


class Bureau:
    """Journal, pipeline, state and store behind a broker; the clock stands still."""

    def __init__(self, folder: Path) -> None:
        self.journal = JournalRig(folder / "journal.db", clock=ManualClock(NOW_NS))
        policy = load_policy(ROOT / "examples" / "shifan-1.yaml").policy
        activation = {"mine": policy.mine.id, "canonical": to_canonical_json(policy)}
        self.journal.writer.offer(Submission(Record(RecordKind.SERVICE, "service:greenmine", b'{"event": "start"}')))
        self.journal.writer.offer(
            Submission(Record(RecordKind.POLICY, "service:greenmine", json.dumps(activation).encode()))
        )
        self.state = StateDb(folder / "state.db")
        self.store = InMemoryReadingStore()
        self.reader = JournalReader(folder / "journal.db")
        self.pipeline = Pipeline(self.reader, self.state)
        self.port = 0

    def judge(self) -> Counts:
        """Judge and store everything that came; the account."""
        self.pipeline.run_available()
        StoreWriter(self.state, self.store, ManualClock(NOW_NS)).run_available()
        account = self.state.account()
        assert account.balanced
        assert account.pending == 0
        return account

    def words(self) -> dict[tuple[str, bytes], list[str]]:
        """Words of the dead letters by topic and payload."""
        found: dict[tuple[str, bytes], list[str]] = defaultdict(list)
        with self.state.reading() as connection:
            letters = dead_letters.listed(connection, limit=100_000)
        for letter in letters:
            found[self._sent(letter.record_id)].append(letter.word)
        return found

    def reasons(self) -> dict[tuple[str, bytes], list[str]]:
        """Reasons of what was quarantined, by topic and payload."""
        found: dict[tuple[str, bytes], list[str]] = defaultdict(list)
        table = schema.quarantine.c
        with self.state.reading() as connection:
            rows = connection.execute(select(table.record_id, table.reason)).all()
        for record_id, reason in rows:
            found[self._sent(record_id)].append(reason)
        return found

    def kept(self, name: str) -> list[Kept]:
        return [
            Kept(one.series.metric, one.time_ns, one.value or 0.0, tuple(flag_names(one.quality)))
            for one in self.store.query(Selection(MINE, name))
        ]

    def close(self) -> None:
        self.journal.close()
        self.reader.close()
        self.state.close()

    def _sent(self, record_id: int) -> tuple[str, bytes]:
        stored = self.reader.record(record_id)
        assert stored is not None
        return stored.record.source, stored.record.payload


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Bureau]:
    bureau = Bureau(tmp_path)
    broker = EmbeddedBroker("127.0.0.1", 0, Gate(ACCOUNTS), bureau.journal.writer)
    broker.start()
    bureau.port = broker.port
    yield bureau
    broker.stop()
    bureau.close()


@pytest.fixture
def external(tmp_path: Path, mosquitto: StartMosquitto) -> Iterator[Bureau]:
    bureau, linked = Bureau(tmp_path), threading.Event()
    bureau.port = mosquitto(ACCOUNTS).port
    subscriber = Subscriber(
        BrokerUrl.parse(f"mqtt://127.0.0.1:{bureau.port}"), INGEST.name, PASSWORD, bureau.journal.writer, _set(linked)
    )
    subscriber.start()
    assert linked.wait(WAIT_S), subscriber.refusal
    yield bureau
    subscriber.stop()
    bureau.close()


def _set(linked: threading.Event) -> Callable[[bool], None]:
    return lambda up: linked.set() if up else None


@pytest.fixture(params=["amqtt", pytest.param("mosquitto", marks=pytest.mark.mosquitto)])
def bureau(request: pytest.FixtureRequest) -> Bureau:
    found: Bureau = request.getfixturevalue("embedded" if request.param == "amqtt" else "external")
    return found


def send_among_good(bureau: Bureau, cases: list[Case]) -> int:
    """Send every case from a service's account and a good reading of a device before, between and after; the number of
    good ones. Returns when all are in the journal."""
    good = 0
    with Client(bureau.port, OFFICE.name, PASSWORD) as office, Client(bureau.port, GOOD.name, PASSWORD) as device:
        for case in cases:
            device.publish("mines/shifan-1/dust-s1/up", values(f'{{"pm10": {good}}}', good - 1_000).encode())
            good += 1
            for payload in case.payloads:
                office.publish(case.topic, payload)
        device.publish("mines/shifan-1/dust-s1/up", values(f'{{"pm10": {good}}}', good - 1_000).encode())
        office.publish("mines/shifan-1/dust-n1/activity", LAST)
    bureau.journal.wait_for_payload(LAST)
    return good + 1


def check(bureau: Bureau, cases: list[Case], good: int) -> None:
    account, words, reasons = bureau.judge(), bureau.words(), bureau.reasons()
    assert bureau.kept("dust-s1") == [Kept("pm10", at(n - 1_000), float(n)) for n in range(good)]
    for case in cases:
        sent = {(case.topic, payload) for payload in case.payloads}
        assert sorted(word for key in sent for word in words.pop(key, [])) == sorted(case.dead), case.id
        assert sorted(reason for key in sent for reason in reasons.pop(key, [])) == sorted(case.quarantined), case.id
    assert words == {}
    assert reasons == {}
    kept = [one for case in cases for one in case.kept]
    assert sorted(bureau.kept("dust-n1") + bureau.kept("pond-1")) == sorted(kept)
    dead, quarantined = sum(len(case.dead) for case in cases), sum(len(case.quarantined) for case in cases)
    duplicates, conflicts = sum(case.duplicates for case in cases), sum(case.conflicts for case in cases)
    stored = good + len(kept)
    assert account == Counts(
        stored + quarantined + duplicates + conflicts + dead, stored, 0, quarantined, duplicates, conflicts, dead
    )


def test_bad_messages_cost_no_good_reading_through_the_embedded_broker(embedded: Bureau) -> None:
    cases = [*JSON_CASES, *TOPIC_CASES, *EMBEDDED_CASES]
    check(embedded, cases, send_among_good(embedded, cases))


@pytest.mark.mosquitto
def test_bad_messages_cost_no_good_reading_through_mosquitto(external: Bureau) -> None:
    # A line feed in a topic ends the connection at mosquitto, and so it never comes here.
    cases = [*JSON_CASES, *(case for case in TOPIC_CASES if "\n" not in case.topic)]
    check(external, cases, send_among_good(external, cases))


def test_good_values_beside_bad_ones_in_a_payload_are_kept(bureau: Bureau) -> None:
    entries = [
        values('{"pm10": 1, "pm25": "x", "tsp": 3}', 10),
        "7",
        values('{"pm10": 2, "nonsense": 1}', 11),
        '{"ts": "never", "values": {"pm10": 9}}',
        values('{"pm10": 3, "pm25": null, "tsp": 1e400}', 12),
    ]
    with Client(bureau.port, DUST.name, PASSWORD) as client:
        client.publish("mines/shifan-1/dust-n1/up", f"[{', '.join(entries)}]".encode())
        client.publish("mines/shifan-1/dust-n1/activity", LAST)
    bureau.journal.wait_for_payload(LAST)
    assert bureau.judge() == Counts(10, 4, 0, 1, 0, 0, 5)
    assert bureau.kept("dust-n1") == [
        Kept("pm10", at(10), 1.0), Kept("pm10", at(11), 2.0), Kept("pm10", at(12), 3.0), Kept("tsp", at(10), 3.0),
    ]  # fmt: skip


@pytest.mark.parametrize("year", [1, 1677, 2263, 9999])
def test_a_time_that_no_64_bits_hold_does_not_stop_the_pipeline(bureau: Bureau, year: int) -> None:
    with Client(bureau.port, DUST.name, PASSWORD) as client:
        client.publish(
            "mines/shifan-1/dust-n1/up", f'{{"ts": "{year:04}-01-01T00:00:00Z", "values": {{"pm10": 1}}}}'.encode()
        )
        client.publish(
            "mines/shifan-1/dust-n1/up", values('{"pm10": 1e308, "pm25": 2}', 1, ', "unit": "g/m3"').encode()
        )
        client.publish("mines/shifan-1/dust-n1/up", values('{"pm10": 1.7e308}', 1, ', "unit": "mg/m3"').encode())
        client.publish("mines/shifan-1/dust-n1/up", values('{"pm25": 2}', 1).encode())
        client.publish("mines/shifan-1/dust-n1/activity", LAST)
    bureau.journal.wait_for_payload(LAST)
    assert bureau.judge() == Counts(5, 1, 0, 0, 0, 0, 4)
    assert bureau.kept("dust-n1") == [Kept("pm25", at(1), 2.0)]


def test_a_time_at_the_ends_of_64_bits_is_kept_apart_and_can_be_shown(bureau: Bureau) -> None:
    times = ["1677-09-21T00:12:43.145224192Z", "2262-04-11T23:47:16.854775807Z"]
    with Client(bureau.port, DUST.name, PASSWORD) as client:
        for text in times:
            client.publish("mines/shifan-1/dust-n1/up", f'{{"ts": "{text}", "values": {{"pm10": 1}}}}'.encode())
        client.publish("mines/shifan-1/dust-n1/activity", LAST)
    bureau.journal.wait_for_payload(LAST)
    assert bureau.judge() == Counts(2, 0, 0, 2, 0, 0, 0)
    with bureau.state.reading() as connection:
        kept_apart = connection.execute(select(schema.quarantine.c.time_ns)).scalars().all()
    assert [to_rfc3339(time_ns) for time_ns in kept_apart] == times


def test_a_topic_that_is_not_text_ends_its_connection(bureau: Bureau) -> None:
    with RawClient(bureau.port, m.connect(DUST.name, PASSWORD)) as client:
        client.expect(m.CONNACK)
        client.send(m.publish(b"mines/shifan-1/\xff\xfe/up", b"x"))
        assert client.is_closed()
    check(bureau, [], send_among_good(bureau, []))


def test_a_device_may_not_send_commands(bureau: Bureau, request: pytest.FixtureRequest) -> None:
    with Client(bureau.port, DUST.name, PASSWORD) as client:
        client.publish("mines/shifan-1/dust-n1/down", b"close the valve")
    embedded = "amqtt" in request.node.name
    sent = Case("mqtt-28", (b"close the valve",), ("denied",) if embedded else (), topic="mines/shifan-1/dust-n1/down")
    check(bureau, [sent], send_among_good(bureau, []))


def test_a_retained_reading_is_refused(embedded: Bureau) -> None:
    """By the embedded broker nothing is ever retained, so there is nothing to clear either."""
    topic = "mines/shifan-1/dust-n1/up"
    with Client(embedded.port, DUST.name, PASSWORD) as client:
        client.publish(topic, values('{"pm10": 1}').encode(), retain=True)
        client.publish(topic, b"", retain=True)
    cases = [
        Case("mqtt-34", (values('{"pm10": 1}').encode(),), ("retained_telemetry",)),
        Case("mqtt-35", (b"",), ("retained_telemetry",)),
    ]
    check(embedded, cases, send_among_good(embedded, []))


@pytest.mark.mosquitto
def test_a_retained_reading_is_refused_when_it_is_old_and_taken_when_it_is_new(
    tmp_path: Path, mosquitto: StartMosquitto
) -> None:
    """To a subscriber that is there mosquitto delivers it like any other. A device may clear what it retained itself;
    the empty message is a dead letter."""
    bureau, linked = Bureau(tmp_path), threading.Event()
    bureau.port = mosquitto(ACCOUNTS).port
    old, new = values('{"pm10": 1}', 1).encode(), values('{"pm25": 2}', 2).encode()
    with Client(bureau.port, DUST.name, PASSWORD) as client:
        client.publish("mines/shifan-1/dust-n1/up", old, retain=True)
        url = BrokerUrl.parse(f"mqtt://127.0.0.1:{bureau.port}")
        subscriber = Subscriber(url, INGEST.name, PASSWORD, bureau.journal.writer, _set(linked))
        subscriber.start()
        assert linked.wait(WAIT_S)
        client.publish("mines/shifan-1/dust-n1/up", new, retain=True)
        client.publish("mines/shifan-1/dust-n1/up", b"", retain=True)
    cases = [
        Case("mqtt-34", (old,), ("retained_telemetry",)),
        Case("mqtt-34 live", (new,), kept=(Kept("pm25", at(2), 2.0),)),
        Case("mqtt-35", (b"",), ("empty",)),
    ]
    try:
        check(bureau, cases, send_among_good(bureau, []))
    finally:
        subscriber.stop()
        bureau.close()


def test_every_qos_is_taken_once(bureau: Bureau) -> None:
    with Client(bureau.port, DUST.name, PASSWORD) as client:
        for qos in (0, 1, 2):
            client.publish("mines/shifan-1/dust-n1/up", values(f'{{"pm10": {qos}}}', qos).encode(), qos=qos)
    cases = [Case("mqtt-37", (), kept=tuple(Kept("pm10", at(qos), float(qos)) for qos in (0, 1, 2)))]
    check(bureau, cases, send_among_good(bureau, []))


@pytest.mark.mosquitto
def test_a_response_topic_is_ignored(external: Bureau) -> None:
    """A property of MQTT 5 that asks for an answer somewhere: nothing is ever published there."""
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = "mines/shifan-1/dust-s1/down"
    payload = values('{"pm10": 43}').encode()
    with Client(external.port, GOOD.name, PASSWORD) as victim:
        victim.subscribe("mines/shifan-1/dust-s1/down")
        with Client(external.port, DUST.name, PASSWORD, paho.MQTTv5) as client:
            sent = client.mqtt.publish("mines/shifan-1/dust-n1/up", payload, qos=1, properties=properties)
            sent.wait_for_publish(WAIT_S)
        external.journal.wait_for_payload(payload)
        external.judge()
        with Client(external.port, OFFICE.name, PASSWORD) as office:
            office.publish("mines/shifan-1/dust-s1/down", b"an order")
        assert victim.next().payload == b"an order"
    assert external.kept("dust-n1") == [Kept("pm10", at(0), 43.0)]


def test_every_case_of_the_catalogue_is_shown_somewhere() -> None:
    if not CATALOGUE.exists():
        pytest.skip("the catalogue of bad inputs is not beside this repository")
    catalogue = [json.loads(line) for line in CATALOGUE.read_text(encoding="utf-8").splitlines()]
    asked = {one["id"]: one for one in catalogue if one["id"].startswith(("mqtt-", "json-"))}
    here = {case.id: case for case in (*JSON_CASES, *TOPIC_CASES, *EMBEDDED_CASES)}
    assert set(asked) == set(here) | set(NOT_HERE) | set(IN_OWN_TESTS)
    for test in NOT_HERE.values():
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")
    for name in IN_OWN_TESTS.values():
        assert name in globals()
    for id, case in here.items():
        expected = asked[id]["expect"]
        if "DLQ:" in expected:
            assert case.dead == (expected.partition("DLQ:")[2].split()[0].rstrip(","),), id
        elif id == "json-47":
            assert case.dead == ("unknown_field",)  # what a header does with a line end is tested with the e-mails
        else:
            assert case.dead == (), id
