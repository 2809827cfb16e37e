"""The wired service: from a publish to a resolved alert, over restarts, with parts missing, and refusals to start."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from greenmine.core.act import Act, ActKind
from greenmine.core.alert import Condition, Handling
from greenmine.core.errors import ConfigError, NotFound, PolicyError, Refused, StoreUnavailable
from greenmine.core.reading_store import Selection
from greenmine.core.user import Role
from greenmine.home import Home, HomeLock
from greenmine.ingest.gathering_client import Publish
from greenmine.ingest.journal import Journal
from greenmine.ingest.subscriber import DROPPED_TOPIC
from greenmine.office import PRINCIPAL, LocalOffice, RemoteOffice, office, state_of
from greenmine.service import Service, load_policies
from greenmine.settings import MqttSettings, StoreSettings, WebSettings
from greenmine.store import alerts, audit
from tests.channel_servers import HttpServer
from tests.service_rig import MINE, WAIT_S, Api, publisher_of, running, send, settings_of, until, write_policy

PASSWORD = "Grosser-Bagger-293"
EVERYTHING = Selection()


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes a password dear to guess makes these tests slow; test_logins.py looks at the shipped cost."""
    monkeypatch.setattr("greenmine.logins.PasswordHasher", lambda: PasswordHasher(time_cost=1, memory_cost=64))


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    return write_policy(tmp_path / "policies").parent


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def webhook(tmp_path: Path, home: Path) -> Iterator[HttpServer]:
    """A receiver of notices, the secret with its address in the home, and a policy that names it."""
    write_policy(tmp_path / "policies", "{kind: webhook, url: 'secret:hook'}")
    Home(home).make()
    with HttpServer() as server:
        (Home(home).secrets / "hook").write_text(f"http://127.0.0.1:{server.port}/notices\n")
        yield server


def log_in(service: Service, name: str = "li", role: Role = Role.OPERATOR) -> Api:
    """A person's way in, with an account of his own."""
    assert service.web is not None
    if not any(user["name"] == name for user in service.administration.administer("users.list", {}, PRINCIPAL)):
        service.logins.add_user(name, role, "service:test")
        service.logins.set_password(name, PASSWORD, False, "service:test")
    _, token = service.logins.log_in(name, PASSWORD, "127.0.0.1")
    return Api(service.web.url, token)


def raised(service: Service) -> str:
    """Id of the one alert, once it is there."""
    (alert,) = until(lambda: service.board.alerts(open_only=True))
    return str(alert.id)


def all_told(service: Service) -> bool:
    return not service.pipeline.judge.state.notices


def test_from_a_publish_to_a_resolved_alert_over_two_restarts(home: Path, policies: Path, webhook: HttpServer) -> None:
    settings = settings_of(allow=(f"127.0.0.1:{webhook.port}",))
    with running(home, policies, settings) as service, publisher_of(service) as publisher:
        send(publisher, 40.0, 50)
        send(publisher, 301.5, 40)
        alert_id = raised(service)
        until(lambda: webhook.requests)
        api = log_in(service)
        status, answer = api.call("POST", f"/alerts/{alert_id}/acknowledge", {"note": "洒水车已出动"})
        assert (status, answer["alert"]["handling"]) == (200, "acknowledged")
        assert service.drain(WAIT_S)
        assert service.store.count(EVERYTHING) == 2
        api.close()
    # A restart between the acknowledgement and the end of the episode.
    with running(home, policies, settings) as service, publisher_of(service) as publisher:
        (alert,) = service.board.alerts()
        assert (alert.id, alert.condition, alert.handling) == (alert_id, Condition.FIRING, Handling.ACKNOWLEDGED)
        send(publisher, 35.0, 20)
        until(lambda: service.board.alerts()[0].condition is Condition.CLEARED)
        assert service.board.alerts()[0].is_open
        assert service.drain(WAIT_S)
    with running(home, policies, settings) as service:
        api = log_in(service)
        status, answer = api.call("POST", f"/alerts/{alert_id}/resolve", {"note": "已恢复"})
        assert (status, answer["alert"]["handling"], answer["alert"]["open"]) == (200, "closed", False)
        status, _ = api.call("POST", f"/alerts/{alert_id}/acknowledge", {"note": ""})
        assert status == 409
        assert service.drain(WAIT_S)
        account = service.state.account()
        assert account._asdict() == account._asdict() | {"received": 3, "stored": 3, "pending": 0, "dead": 0}
        assert api.call("GET", "/readings/count") == (200, {"count": 3})
        api.close()
    with state_of(Home(home)) as connection:
        steps = [(step.principal, step.reason.value) for step in alerts.history(connection, alert_id)]
        assert ("person:li", "acknowledged_by_person") in steps
        assert alerts.counts(connection) == {"raised": 1, "delivered": 1, "acknowledged": 1, "resolved": 1}
        assert audit.verify(audit.rows(connection)).broken_no is None
    bodies = [json.loads(request.body) for request in webhook.requests]
    keys = [request.headers["idempotency-key"] for request in webhook.requests]
    assert len(keys) == len(set(keys)), "a restart must not tell anybody twice"
    assert alert_id in json.dumps(bodies[0])


def test_an_installer_looks_and_only_then_is_listened_to_raw_messages(home: Path, policies: Path) -> None:
    with running(home, policies, settings_of()) as service, publisher_of(service) as publisher:
        send(publisher, 40.0, 50)
        assert service.drain(WAIT_S)
        assert not service.pipeline.judge.intake.shown
        api = log_in(service)
        path = f"/mines/{MINE}/commissioning?lang=en"
        first = api.page(path)
        assert "the next message is shown here raw" in first
        assert "Nothing has ever come from it" in first, "of dust-2"
        send(publisher, 0.041, 30)
        assert service.drain(WAIT_S)
        assert service.pipeline.judge.intake.shown == {(MINE, "")}
        second = until(lambda: '<pre class="raw"' in (html := api.page(path)) and html)
        assert "0.041" in second.split('<pre class="raw"', 1)[1]
        assert "the numbers look like mg/m3" in second
        data = api.page(f"/mines/{MINE}/data?lang=en&device=dust-1")
        assert 'id="of-one"' in data
        api.close()


def test_a_receiver_that_refuses_at_first_is_told_in_the_end(home: Path, policies: Path, webhook: HttpServer) -> None:
    webhook.answers = [b"HTTP/1.1 503 X\r\nContent-Length: 0\r\nRetry-After: 0\r\n\r\n"]
    settings = settings_of(allow=(f"127.0.0.1:{webhook.port}",))
    with running(home, policies, settings) as service, publisher_of(service) as publisher:
        send(publisher, 301.5, 40)
        raised(service)
        until(lambda: len(webhook.requests) >= 2)
        until(lambda: all_told(service))
    keys = {request.headers["idempotency-key"] for request in webhook.requests}
    assert len(keys) == 1


def test_acts_on_a_stopped_home_count_and_the_next_start_goes_on(home: Path, policies: Path) -> None:
    with running(home, policies) as service, publisher_of(service) as publisher:
        send(publisher, 301.5, 40)
        alert_id = raised(service)
    with office(Home(home)) as desk:
        assert isinstance(desk, LocalOffice)
        answer = desk.act(Act(ActKind.ACKNOWLEDGE, PRINCIPAL, alert_id, "seen"))
        assert answer["handling"] == "acknowledged"
        desk.administer("users.add", {"name": "wang", "role": "viewer"})
        desk.administer("devices.provision", {"mine": MINE, "device": "dust-2"})
        assert desk.count(EVERYTHING) == 1
    with running(home, policies) as service, publisher_of(service) as publisher:
        (alert,) = service.board.alerts()
        assert (alert.handling, alert.acknowledged_by) == (Handling.ACKNOWLEDGED, "person:local")
        send(publisher, 35.0, 20)
        until(lambda: service.board.alerts()[0].condition is Condition.CLEARED)
        assert {user["name"] for user in service.administration.administer("users.list", {}, "")} == {"admin", "wang"}
        assert f"{MINE}.dust-2" in {row["account"] for row in service.administration.administer("devices.list", {}, "")}
        assert service.drain(WAIT_S)
        assert service.store.count(EVERYTHING) == 2


def test_an_offline_act_tells_the_timers_that_nobody_was_listening(home: Path, policies: Path) -> None:
    with running(home, policies) as service, publisher_of(service) as publisher:
        send(publisher, 301.5, 40)
        alert_id = raised(service)
    with office(Home(home)) as desk:
        desk.act(Act(ActKind.NOTE, PRINCIPAL, alert_id, "first"))
        desk.act(Act(ActKind.NOTE, PRINCIPAL, alert_id, "second"))
    with state_of(Home(home)) as connection:
        starts = [row.body for row in audit.rows(connection) if row.action == "service.start"]
    assert ['"offline":true' in body.replace(" ", "") for body in starts] == [False, True]


def test_what_waits_for_the_store_is_counted_offline(
    home: Path, policies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(Home(home), settings_of(), load_policies([policies]))
    monkeypatch.setattr(service.store_writer, "run_available", lambda: 0)
    try:
        service.start(with_web=False)
        with publisher_of(service) as publisher:
            send(publisher, 40.0, 40)
            until(lambda: service.state.account().pending == 1)
    finally:
        service.stop()
    with office(Home(home)) as desk:
        assert desk.count(EVERYTHING) == 1
        assert [reading.value for reading in desk.readings(EVERYTHING)] == [40.0]


def test_what_was_journalled_but_not_judged_is_judged_offline(
    home: Path, policies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(Home(home), settings_of(), load_policies([policies]))
    try:
        service.start(with_web=False)
        with publisher_of(service) as publisher:
            monkeypatch.setattr(service.pipeline, "run_available", lambda: 0)  # as if it were killed here
            send(publisher, 301.5, 40)
    finally:
        service.stop()
    assert service.pipeline.cursor > 0
    with office(Home(home)) as desk:
        assert desk.count(EVERYTHING) == 1
    with state_of(Home(home)) as connection:
        assert alerts.counts(connection)["raised"] == 1


def test_who_only_asks_leaves_no_trace(home: Path, policies: Path) -> None:
    with running(home, policies, with_mqtt=False, with_web=False):
        pass

    def entries() -> int:
        with state_of(Home(home)) as connection:
            return len(list(audit.rows(connection)))

    before = entries()
    with office(Home(home)) as desk:
        assert desk.count(EVERYTHING) == 0
        assert list(desk.readings(EVERYTHING)) == []
        assert [user["name"] for user in desk.administer("users.list", {})] == ["admin"]
        with pytest.raises(NotFound):
            desk.act(Act(ActKind.REPLAY_DEAD_LETTERS, PRINCIPAL, body={"ids": [1]}))
    assert entries() == before


def test_commands_speak_to_the_service_whatever_name_it_has_outside(home: Path, policies: Path) -> None:
    settings = settings_of(web=WebSettings(port=0, host="0.0.0.0", allowed_hosts=["greenmine.example.org"]))
    with running(home, policies, settings), office(Home(home)) as desk:
        assert isinstance(desk, RemoteOffice)
        assert desk.count(EVERYTHING) == 0
        assert {check["name"] for check in desk.checks()} >= {"journal", "pipeline", "store", "mqtt", "disk"}


def test_a_host_that_is_not_ours_is_refused(home: Path, policies: Path) -> None:
    with running(home, policies) as service:
        assert service.web is not None
        port = int(service.web.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), WAIT_S) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: rebound.example.net\r\nConnection: close\r\n\r\n")
            assert connection.makefile("rb").readline().split()[1] == b"400"


def test_the_first_admin_is_shown_once(home: Path, policies: Path) -> None:
    with running(home, policies, with_mqtt=False) as service:
        first = service.first_admin_password
        assert first is not None
        user, _ = service.logins.log_in("admin", first, "127.0.0.1")
        assert (user.role, user.must_change_password) == (Role.ADMIN, True)
    with running(home, policies, with_mqtt=False) as service:
        assert service.first_admin_password is None
        assert service.logins.log_in("admin", first, "127.0.0.1")[0].name == "admin"


@pytest.mark.parametrize("part", ["mqtt", "web"])
def test_a_start_that_fails_lets_go_and_the_next_one_shows_the_first_password(
    home: Path, policies: Path, part: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        parts = {"mqtt": MqttSettings(port=0), "web": WebSettings(port=0)}
        parts[part] = MqttSettings(port=port) if part == "mqtt" else WebSettings(port=port)
        service = Service(Home(home), settings_of(**parts), load_policies([policies]))
        try:
            with pytest.raises(ConfigError, match=rf"cannot listen on 127.0.0.1:{port}.*{part}.port"):
                service.start()
        finally:
            service.stop()
    assert not Home(home).is_locked()
    assert not Home(home).service_file.exists()
    with running(home, policies) as service:
        assert service.first_admin_password is not None


@pytest.mark.parametrize("name", ["state.db", "readings.duckdb"])
def test_a_home_with_a_broken_file_is_refused_and_let_go(home: Path, policies: Path, name: str) -> None:
    with running(home, policies, with_mqtt=False, with_web=False):
        pass
    (home / name).write_bytes(b"this is not a database, not at all" * 1000)
    with pytest.raises(StoreUnavailable, match=name):
        Service(Home(home), settings_of(), load_policies([policies]))
    assert not Home(home).is_locked()


def test_a_home_with_a_broken_journal_goes_on_and_says_what_is_lost(home: Path, policies: Path) -> None:
    with running(home, policies, with_mqtt=False, with_web=False) as service:
        assert service.drain(30)
    # Only now: until its end a service journals that time passes.
    lost = service.pipeline.cursor
    (home / "journal.db").write_bytes(b"this is not a database, not at all" * 1000)
    with running(home, policies, with_mqtt=False, with_web=False) as service:
        assert service.drain(30)
        assert service.pipeline.cursor > lost
        with service.state.reading() as connection:
            said = connection.exec_driver_sql("SELECT body FROM audit WHERE action = 'service.journal_loss'").scalars()
            ((first, last),) = json.loads(said.one())["batches"]
            assert first == 1
            assert last >= lost, "the clock went on while nobody looked"


def test_a_missing_secret_is_refused_before_anything_runs(home: Path, policies: Path) -> None:
    settings = settings_of(mqtt=MqttSettings(mode="external", url="mqtt://127.0.0.1:1"))
    service = Service(Home(home), settings, load_policies([policies]))
    try:
        with pytest.raises(ConfigError, match="secret 'mqtt-ingest' is missing"):
            service.start()
    finally:
        service.stop()
    assert not Home(home).is_locked()


def test_two_services_on_one_home(home: Path, policies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HomeLock.__init__, "__defaults__", (0.0,))
    with running(home, policies, with_mqtt=False) as first:
        with pytest.raises(ConfigError, match="another greenmine process holds the home"):
            Service(Home(home), settings_of(), load_policies([policies]))
        found = Home(home).running_service()
        assert first.web is not None
        assert found is not None
        assert found["url"] == first.web.url


def test_a_store_that_is_down_at_the_start_delays_no_alert(home: Path, policies: Path, webhook: HttpServer) -> None:
    (Home(home).secrets / "influxdb-token").write_text("token-of-nobody\n")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    settings = settings_of(
        allow=(f"127.0.0.1:{webhook.port}",), store=StoreSettings(kind="influxdb", url=f"http://127.0.0.1:{port}")
    )
    with running(home, policies, settings) as service, publisher_of(service) as publisher:
        send(publisher, 301.5, 40)
        raised(service)
        until(lambda: webhook.requests)
        until(lambda: service.store_writer.trouble is not None)
        (store,) = [check for check in service.checks() if check.name == "store"]
        assert not store.ok
        assert "nothing is lost" in store.advice
        assert service.state.account().pending == 1
        assert "token-of-nobody" not in repr(service.checks())
    # The same home with a store of its own: what waited is written.
    with running(home, policies, settings_of(allow=(f"127.0.0.1:{webhook.port}",))) as service:
        until(lambda: service.state.account().stored == 1)
        assert service.store.count(EVERYTHING) == 1


def test_an_offline_office_on_a_home_whose_readings_are_elsewhere(home: Path, policies: Path) -> None:
    Home(home).make()
    (Home(home).secrets / "influxdb-token").write_text("token-of-nobody\n")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    settings = settings_of(store=StoreSettings(kind="influxdb", url=f"http://127.0.0.1:{port}"))
    with running(home, policies, settings, with_web=False) as service, publisher_of(service) as publisher:
        send(publisher, 301.5, 40)
        alert_id = raised(service)
    with office(Home(home)) as desk:
        with pytest.raises(NotFound, match="InfluxDB; start its service first"):
            desk.count(EVERYTHING)
        assert desk.act(Act(ActKind.ACKNOWLEDGE, PRINCIPAL, alert_id, "seen"))["handling"] == "acknowledged"
    assert not (home / "readings.duckdb").exists(), "the office must not start a second store"


def test_accounts_made_offline_reach_an_external_brokers_files_at_the_next_start(
    tmp_path: Path, home: Path, policies: Path
) -> None:
    accounts = tmp_path / "mosquitto"
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    mqtt = MqttSettings(mode="external", url=f"mqtt://127.0.0.1:{port}", accounts_dir=accounts)
    Home(home).make()
    (Home(home).secrets / "mqtt-ingest").write_text("password-of-ingest\n")
    with running(home, policies, settings_of(mqtt=mqtt), with_web=False) as service:
        # A broker that is away is no reason not to start: it is said by a check.
        (check,) = [check for check in service.checks() if check.name == "mqtt"]
        assert not check.ok
    with office(Home(home)) as desk:
        desk.administer("devices.provision", {"mine": MINE})
    assert f"{MINE}.dust-1" not in (accounts / "acl").read_text()
    with running(home, policies, settings_of(mqtt=mqtt), with_web=False):
        assert f"user {MINE}.dust-1" in (accounts / "acl").read_text()


def test_what_the_broker_drops_is_on_record(home: Path, policies: Path) -> None:
    mqtt = MqttSettings(mode="external", url="mqtt://127.0.0.1:1")
    Home(home).make()
    (Home(home).secrets / "mqtt-ingest").write_text("password-of-ingest\n")
    with running(home, policies, settings_of(mqtt=mqtt), with_web=False) as service:
        assert service.subscriber is not None
        assert not [check for check in service.checks() if check.name == "broker"]
        message = Publish(1, 0, DROPPED_TOPIC.encode(), b"5")
        service.subscriber._publishes([message])
        (check,) = [check for check in service.checks() if check.name == "broker"]
        assert (check.ok, "dropped 5 messages" in check.detail, "5 条" in check.detail) == (True, True, True)
        assert "greenmine_mqtt_broker_dropped 5.0" in service.operations.metrics_text()[0].decode()
        assert service.drain(WAIT_S)
        with service.state.reading() as connection:
            rows = [row for row in audit.rows(connection) if row.action == "service.broker_dropped"]
    assert [json.loads(row.body)["messages"] for row in rows] == [5]
    assert service.state.account().received == 0


def test_a_journal_that_does_not_commit_fails_the_service(
    home: Path, policies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(Home(home), settings_of(), load_policies([policies]))
    try:
        service.start(with_web=False)
        with publisher_of(service) as publisher:
            send(publisher, 40.0, 50)

            def full(*_: object) -> list[int]:
                raise StoreUnavailable("the journal did not commit: database or disk is full", needs_operator=True)

            monkeypatch.setattr(Journal, "append", full)
            with pytest.raises(StoreUnavailable):
                service.submit(Act(ActKind.ACKNOWLEDGE, PRINCIPAL, "nothing", ""), timeout_s=0.1)
            assert service.failed.wait(WAIT_S)
        assert "disk is full" in str(service.failure)
        (journal,) = [check for check in service.checks() if check.name == "journal"]
        assert not journal.ok
    finally:
        service.stop()
    monkeypatch.undo()
    assert not Home(home).is_locked()
    with running(home, policies, with_mqtt=False, with_web=False) as service:
        until(lambda: service.state.account().stored == 1)


def test_a_pipeline_that_fails_ends_the_service(home: Path, policies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(home, policies, with_web=False) as service, publisher_of(service) as publisher:

        def broken(*_: object) -> None:
            raise RuntimeError("a fault in the judging")

        monkeypatch.setattr(service.pipeline.judge, "apply", broken)
        send(publisher, 40.0, 50)
        assert service.failed.wait(WAIT_S)
        assert "a fault in the judging" in str(service.failure)
    monkeypatch.undo()
    # What was acknowledged is in the journal, and the next start judges it.
    with running(home, policies, with_mqtt=False, with_web=False) as service:
        until(lambda: service.state.account().stored == 1)


def test_notices_to_the_console_stand_where_the_service_was_told(home: Path, policies: Path) -> None:
    console = io.StringIO()
    service = Service(Home(home), settings_of(), load_policies([policies]), console=console)
    try:
        service.start(with_web=False)
        with publisher_of(service) as publisher:
            send(publisher, 301.5, 40)
        alert_id = raised(service)
        until(lambda: alert_id in console.getvalue())
    finally:
        service.stop()


def test_a_policy_that_is_no_longer_named_is_taken_away_and_comes_back(
    tmp_path: Path, home: Path, policies: Path
) -> None:
    other = write_policy(tmp_path / "other", mine="shifan-8").parent
    with running(home, policies, with_mqtt=False, with_web=False) as service:
        assert set(service.board.policies()) == {MINE}
    with running(home, other, with_mqtt=False, with_web=False) as service:
        assert set(service.board.policies()) == {"shifan-8"}
        with pytest.raises(NotFound, match="no active policy"):
            service.administration.administer("devices.provision", {"mine": MINE}, PRINCIPAL)
    with running(home, {**load_policies([policies]), **load_policies([other])}, with_mqtt=False) as service:
        assert set(service.board.policies()) == {MINE, "shifan-8"}


def test_bad_policies_are_all_named(tmp_path: Path, policies: Path) -> None:
    twice = write_policy(tmp_path / "again")
    broken = tmp_path / "broken.yaml"
    broken.write_text("schema: 1\nmine: {id: shifan-6}\nfoo: 1\n", encoding="utf-8")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(PolicyError) as error:
        load_policies([policies, twice, broken, empty, tmp_path / "nothing.yaml"])
    said = str(error.value)
    assert f"{twice}: mine.id: {MINE} is the mine of {policies / twice.name} already" in said
    assert f"{broken}:3: foo" in said
    # An empty folder must not end the watch over all mines that were in it.
    assert f"{empty}: this folder has no policy in it" in said
    assert f"{tmp_path / 'nothing.yaml'}: there is no such file" in said


@pytest.mark.parametrize(
    ("operation", "arguments", "word"),
    [
        ("users.add", {}, "name"),
        ("users.add", {"name": ["li"]}, "name"),
        ("users.add", {"name": "li", "role": "boss"}, "role"),
        ("devices.provision", {"mine": MINE, "device": 5}, "device"),
        ("devices.provision", {"service": "Bad Name"}, "identifier"),
        ("readings.import", {"rows": []}, "rows"),
        ("readings.import", {"rows": [[]] * 5001}, "rows"),
        ("readings.import", {"rows": [None]}, "row"),
    ],
)
def test_administration_refuses_what_makes_no_sense(
    home: Path, policies: Path, operation: str, arguments: dict[str, object], word: str
) -> None:
    with (
        running(home, policies, with_mqtt=False, with_web=False) as service,
        pytest.raises(Refused) as refused,
    ):
        service.administration.administer(operation, arguments, PRINCIPAL)
    assert refused.value.word == word


def test_an_operation_that_does_not_exist(home: Path, policies: Path) -> None:
    with (
        running(home, policies, with_mqtt=False, with_web=False) as service,
        pytest.raises(NotFound, match=r"there is no operation .users\.delete.; there are users"),
    ):
        service.administration.administer("users.delete", {}, PRINCIPAL)


def test_who_may_administer_over_http(home: Path, policies: Path) -> None:
    with running(home, policies, with_mqtt=False) as service:
        for name, role, expected in (
            ("boss", Role.ADMIN, 200),
            ("li", Role.OPERATOR, 403),
            ("guest", Role.VIEWER, 403),
        ):
            api = log_in(service, name, role)
            assert api.call("POST", "/admin/devices.list", {})[0] == expected
            api.close()
        assert service.web is not None
        nobody = Api(service.web.url, "not-a-token")
        assert nobody.call("POST", "/admin/devices.list", {})[0] == 401
        nobody.close()
