"""From one greenmine to another over HJ 212: readings equal on both sides, whatever breaks in between."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from greenmine.core.clock import NS_PER_S, SystemClock, to_rfc3339
from greenmine.core.reading_store import Selection
from greenmine.core.relay import RelayTotals
from greenmine.ingest.hj212_frame import Frame, FrameScanner
from greenmine.ingest.hj212_head import Head, head_of
from greenmine.ingest.journal_writer import Submission
from greenmine.ingest.record import Record, RecordKind
from greenmine.relay import StateRelayOutbox
from greenmine.service import Service
from greenmine.settings import Hj212Settings
from greenmine.store import relay
from tests.hj212_station import MN, PASSWORD, answer
from tests.service_rig import MINE, POLICY, WAIT_S, running, settings_of, until

NOW_S = SystemClock().wall_ns() // NS_PER_S - 3600


def write_mine(home: Path, port: int, password: str | None = PASSWORD, **more: object) -> Path:
    """A mine whose first instrument is forwarded to this port, and the password for that."""
    station = {"device": "dust-1", "mn": MN, "password": "secret:city", "units": {"pm10": "ug/m3"}}
    section = {"host": "127.0.0.1", "port": port, "overtime": "1s", "stations": [station], **more}
    text = POLICY.format(mine=MINE, channel="{kind: console}")
    return _write(home, "city", f"{text}relay: {json.dumps(section)}\n", password)


def write_city(home: Path) -> Path:
    """The platform that takes it."""
    text = POLICY.format(mine=MINE, channel="{kind: console}")
    station = f'  - id: dust-1\n    address: {{mn: "{MN}"}}\n    hj212: {{password: secret:station}}\n'
    return _write(home, "station", text.replace("  - id: dust-1\n", station), PASSWORD)


def _write(home: Path, secret: str, text: str, password: str | None) -> Path:
    path = home.parent / f"{home.name}.yaml"
    path.write_text(text, encoding="utf-8")
    (home / "secrets").mkdir(parents=True, exist_ok=True)
    if password is not None:
        (home / "secrets" / secret).write_text(password, encoding="utf-8")
    return path


@contextmanager
def mine(home: Path, policy: Path) -> Iterator[Service]:
    with running(home, policy, with_mqtt=False, with_web=False) as service:
        yield service


@contextmanager
def city(home: Path, policy: Path, port: int = 0) -> Iterator[Service]:
    settings = settings_of(hj212=Hj212Settings(port=port))
    with running(home, policy, settings, with_mqtt=False, with_web=False) as service:
        yield service


def port_of(service: Service) -> int:
    assert service.hj212.listener is not None
    return service.hj212.listener.port


def measure(service: Service, first: int, count: int) -> None:
    """The instrument measures once a second."""
    for n in range(first, first + count):
        ts = to_rfc3339((NOW_S + n) * NS_PER_S)
        payload = json.dumps({"ts": ts, "values": {"pm10": 20 + n * 0.1}}).encode()
        assert service.writer.put(Submission(Record(RecordKind.MESSAGE, f"mines/{MINE}/dust-1/up", payload)), WAIT_S)


def stored(service: Service) -> list[tuple[int, float | None]]:
    assert service.drain(WAIT_S)
    return [(one.time_ns, one.value) for one in service.store.query(Selection(MINE, "dust-1", "pm10"))]


def totals(service: Service) -> RelayTotals:
    with service.state.reading() as connection:
        return relay.totals(connection).get(MINE, RelayTotals())


def waiting(service: Service) -> int:
    with service.state.reading() as connection:
        return relay.depths(connection).get(MINE, 0)


class Platform:
    """A platform by hand: takes one connection after the other, and answers as it is told."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.heard: list[tuple[Head, bytes]] = []
        self.silent_for: set[str] = set()
        self.answers = True
        self._ending = threading.Event()
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def drop(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End."""
        self._ending.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self.drop()
        self._thread.join()
        self._server.close()

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                self._connection = connection
                self._talk(connection)
                self._connection = None

    def _talk(self, connection: socket.socket) -> None:
        scanner = FrameScanner()
        try:
            while data := connection.recv(4096):
                for frame in scanner.feed(data):
                    assert isinstance(frame, Frame)
                    head = head_of(frame.segment)
                    self.heard.append((head, frame.segment))
                    if self.answers and head.qn not in self.silent_for:
                        connection.sendall(answer(head.qn, flag=head.flag & ~1))
        except OSError:
            return


@pytest.fixture
def platform() -> Iterator[Platform]:
    one = Platform()
    yield one
    one.close()


def test_readings_are_equal_on_both_sides(tmp_path: Path) -> None:
    homes = tmp_path / "mine", tmp_path / "city"
    with city(homes[1], write_city(homes[1])) as there, mine(homes[0], write_mine(homes[0], port_of(there))) as here:
        measure(here, 0, 300)
        until(lambda: totals(here).delivered == 300)
        assert stored(there) == stored(here)
        assert waiting(here) == 0
        assert here.state.account().stored == there.state.account().stored == 300
        (check,) = here.relay.checks()
        assert check.ok
        assert "300 were answered" in check.detail
        text = here.operations.metrics_text()[0].decode()
        assert "greenmine_relay_delivered_total 300.0" in text
        assert "greenmine_relay_connected 1.0" in text


def test_a_restart_on_either_side_loses_nothing_and_stores_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = tmp_path / "mine", tmp_path / "city"
    policy = write_city(homes[1])
    with city(homes[1], policy) as there:
        port = port_of(there)
        with monkeypatch.context() as patch, mine(homes[0], write_mine(homes[0], port)) as here:
            # As if it were killed each time before it could write down what was answered.
            patch.setattr(StateRelayOutbox, "settle", lambda *_: None)
            measure(here, 0, 400)
            until(lambda: there.state.account().received > 50)
            assert totals(here) == RelayTotals()
        with mine(homes[0], write_mine(homes[0], port)) as here:
            measure(here, 400, 50)
            until(lambda: totals(here).delivered > 200)
    with mine(homes[0], write_mine(homes[0], port)) as here:
        measure(here, 450, 50)
        until(lambda: here.pipeline.judge.state.clock_ns and waiting(here) >= 50)
        with city(homes[1], policy, port) as there:
            until(lambda: waiting(here) == 0)
            assert stored(there) == stored(here)
            assert len(stored(here)) == 500
            account = there.state.account()
            assert (account.stored, account.conflict, account.dead) == (500, 0, 0)
            assert account.duplicate >= 50, "what was sent twice was known again"


def test_a_platform_that_is_not_there_delays_nobody_and_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with mine(tmp_path / "mine", write_mine(tmp_path / "mine", port, most_waiting=10)) as here:
        measure(here, 0, 30)
        assert len(stored(here)) == 30
        check = until(lambda: next((check for check in here.relay.checks() if not check.ok), None))
        assert "cannot connect" in check.detail
        until(lambda: totals(here).dropped == 20)
        assert waiting(here) == 10
        assert "20 were dropped by the quota" in next(iter(here.relay.checks())).detail
        assert b"greenmine_relay_dropped_total 20.0" in here.operations.metrics_text()[0]


def test_what_was_not_answered_is_sent_again_with_its_qn_and_marked(tmp_path: Path, platform: Platform) -> None:
    platform.answers = False
    policy = write_mine(tmp_path / "mine", platform.port, version=2025)
    with mine(tmp_path / "mine", policy) as here:
        measure(here, 0, 1)
        until(lambda: len(platform.heard) >= 2)
        platform.drop()
        until(lambda: len(platform.heard) >= 3)
        platform.answers = True
        until(lambda: totals(here).delivered == 1)
    assert len({head.qn for head, _ in platform.heard}) == 1
    assert [b";RF=1;" in segment for _, segment in platform.heard][:3] == [False, True, True]


def test_a_message_that_the_platform_will_not_have_stops_no_other(tmp_path: Path, platform: Platform) -> None:
    platform.answers = False
    with mine(tmp_path / "mine", write_mine(tmp_path / "mine", platform.port, recount=2)) as here:
        measure(here, 0, 1)
        until(lambda: platform.heard)
        platform.silent_for, platform.answers = {platform.heard[0][0].qn}, True
        measure(here, 1, 20)
        until(lambda: totals(here) == RelayTotals(20, 1, 0))


def test_a_missing_password_is_said_and_messages_wait(tmp_path: Path, platform: Platform) -> None:
    with mine(tmp_path / "mine", write_mine(tmp_path / "mine", platform.port, password=None)) as here:
        measure(here, 0, 1)
        until(lambda: waiting(here) == 1)
        (check,) = here.relay.checks()
        assert not check.ok
        assert "'city' is missing" in check.detail
    assert platform.heard == []
