"""A device with a certificate at a whole service with the embedded broker: from the authority to a stored reading."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from greenmine.authority import Authority
from greenmine.core.errors import ConfigError
from greenmine.service import Service
from greenmine.settings import MqttSettings, MqttTlsSettings
from tests.service_rig import MINE, WAIT_S, running, settings_of, until, write_policy
from tests.unit.test_cli import gm

ACCOUNT = f"{MINE}.dust-1"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A stopped home with an authority and a broker's certificate."""
    path = tmp_path / "home"
    with running(path, write_policy(tmp_path / "policies").parent, with_mqtt=False, with_web=False):
        pass
    assert gm("devices", "ca", "init", "--home", path).code == 0
    assert gm("devices", "ca", "server", "--host", "localhost", "--home", path).code == 0
    return path


@contextmanager
def served(home: Path, **changes: object) -> Iterator[Service]:
    tls = MqttTlsSettings(port=0, **changes)  # type: ignore[arg-type]
    with running(home, home.parent / "policies", settings_of(mqtt=MqttSettings(port=0, tls=tls))) as service:
        yield service


@contextmanager
def connected(service: Service, keys: Path) -> Iterator[tuple[mqtt.Client, threading.Event]]:
    """A client with the certificate in `keys`, and what tells that its connection was lost."""
    assert service.broker is not None
    assert service.broker.tls is not None
    context = ssl.create_default_context(cafile=keys / "ca.crt")
    context.load_cert_chain(keys / f"{ACCOUNT}.crt", keys / f"{ACCOUNT}.key")
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=ACCOUNT, reconnect_on_failure=False)
    client.tls_set_context(context)
    reasons: list[str] = []
    answered, lost = threading.Event(), threading.Event()

    def on_connect(*arguments: object) -> None:
        reasons.append(str(arguments[3]))
        answered.set()

    client.on_connect = on_connect
    client.on_disconnect = lambda *_: lost.set()
    client.connect("localhost", service.broker.tls.port)
    client.loop_start()
    assert answered.wait(WAIT_S)
    assert reasons == ["Success"]
    try:
        yield client, lost
    finally:
        client.disconnect()
        client.loop_stop()


def provision(home: Path, folder: Path) -> str:
    wanted = ["--mine", MINE, "--device", "dust-1", "--certificate", "--out", folder, "--json"]
    return str(gm("devices", "provision", *wanted, "--home", home).json["serial"])


def test_a_reading_by_certificate_is_stored_and_a_revocation_cuts_at_once(home: Path, tmp_path: Path) -> None:
    with served(home) as service:
        old = provision(home, tmp_path / "old")
        with connected(service, tmp_path / "old") as (client, lost):
            stamp = datetime.now(UTC).isoformat()
            reading = json.dumps({"ts": stamp, "values": {"pm10": 81.3}})
            client.publish(f"mines/{MINE}/dust-1/up", reading, qos=1).wait_for_publish(WAIT_S)
            until(lambda: service.state.account().stored == 1)
            provision(home, tmp_path / "new")
            assert not lost.is_set()
            assert gm("devices", "revoke", ACCOUNT, "--serial", old, "--home", home).code == 0
            assert lost.wait(WAIT_S)
        with connected(service, tmp_path / "new") as (_, lost):
            assert gm("devices", "revoke", ACCOUNT, "--home", home).code == 0
            assert lost.wait(WAIT_S)
        (check,) = [check for check in service.checks() if check.name == "mqtt"]
        assert "(TLS)" in check.detail


def test_what_was_provisioned_while_it_stood_still_gets_in(home: Path, tmp_path: Path) -> None:
    provision(home, tmp_path / "keys")
    with served(home, client_certificates="required") as service, connected(service, tmp_path / "keys"):
        pass


def test_without_a_brokers_certificate_it_does_not_start_and_says_why(home: Path) -> None:
    (home / "ca" / "server.key").unlink()
    with pytest.raises(ConfigError, match="ca server --host"), served(home):
        pass


def test_an_authority_whose_key_is_kept_elsewhere_keeps_nobody_out(home: Path, tmp_path: Path) -> None:
    """Signing and revoking need the key; a broker that only lets devices in does not."""
    accounts = tmp_path / "accounts"
    serial = provision(home, tmp_path / "keys")
    (home / "ca" / "ca.key").rename(tmp_path / "ca.key")
    settings = settings_of(mqtt=MqttSettings(port=0, accounts_dir=accounts))
    with running(home, tmp_path / "policies", settings):
        assert f"user {ACCOUNT}" in (accounts / "acl").read_text()
        refused = gm("devices", "revoke", ACCOUNT, "--home", home)
        assert "put it back to sign or to revoke" in refused.err
        assert f"user {ACCOUNT}" not in (accounts / "acl").read_text(), "the account itself is revoked all the same"
    with running(home, tmp_path / "policies", settings):
        (check,) = [c for c in gm("doctor", "--json", "--home", home).json if c["name"] == "revocations"]
        assert not check["ok"]
    (tmp_path / "ca.key").rename(home / "ca" / "ca.key")
    with running(home, tmp_path / "policies", settings):
        assert "revocations" not in {check["name"] for check in gm("doctor", "--json", "--home", home).json}
    assert Authority(home / "ca").revoked() == {serial}
    assert (accounts / "crl.pem").read_bytes() == (home / "ca" / "crl.pem").read_bytes()
