"""`devices ca`, `devices provision --certificate`, `devices revoke` at a home."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from greenmine.authority import new_request
from greenmine.terminal import BAD_INPUT, FAILED
from tests.service_rig import MINE, running, write_policy
from tests.unit.test_cli import Ran, gm

ACCOUNT = f"{MINE}.dust-1"


@pytest.fixture(params=["stopped", "served"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A home that no service holds, and one that a service does."""
    path, policies = tmp_path / "home", write_policy(tmp_path / "policies").parent
    with running(path, policies, with_mqtt=False, with_web=request.param == "served"):
        if request.param == "served":
            yield path
    if request.param == "stopped":
        yield path


def provision(home: Path, *more: str | Path) -> Ran:
    return gm("devices", "provision", "--mine", MINE, "--device", "dust-1", *more, "--home", home)


def row(home: Path) -> Any:
    rows = gm("devices", "list", "--json", "--home", home).json
    return next(one for one in rows if one["account"] == ACCOUNT)


def revoked(home: Path) -> set[str]:
    return {f"{one.serial_number:x}" for one in x509.load_pem_x509_crl((home / "ca" / "crl.pem").read_bytes())}


def test_a_certificate_from_first_to_last(home: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    assert "ca init" in provision(home, "--certificate", "--out", keys).err
    assert list(keys.iterdir()) == [], "a key without a certificate stays behind"

    made = gm("devices", "ca", "init", "--json", "--home", home).json
    shown = gm("devices", "ca", "show", "--json", "--home", home).json
    assert made["serial"] == shown["serial"]
    assert gm("devices", "ca", "show", "--pem", "--home", home).out == made["pem"]
    assert gm("devices", "ca", "init", "--home", home).code == FAILED

    first = provision(home, "--certificate", "--out", keys, "--days", "90", "--json").json
    assert {path.name: path.stat().st_mode & 0o777 for path in keys.iterdir()} == {
        f"{ACCOUNT}.key": 0o600,
        f"{ACCOUNT}.crt": 0o600,
        "ca.crt": 0o600,
    }
    certificate = x509.load_pem_x509_certificate((keys / f"{ACCOUNT}.crt").read_bytes())
    key = serialization.load_pem_private_key((keys / f"{ACCOUNT}.key").read_bytes(), None)
    assert certificate.public_key() == key.public_key()
    assert certificate.subject.rfc4514_string() == f"CN={ACCOUNT}"
    assert (keys / "ca.crt").read_text() == made["pem"]

    listed = row(home)
    assert listed["password"] is False
    assert [one["serial"] for one in listed["certificates"]] == [first["serial"]]
    assert listed["certificates"][0]["not_after"] == first["not_after"]
    table = gm("devices", "list", "--home", home).out
    assert first["serial"] in table
    assert first["not_after"][:10] in table

    again = provision(home, "--certificate", "--out", keys)
    assert (again.code, "already" in again.err) == (BAD_INPUT, True)
    second = provision(home, "--certificate", "--out", tmp_path / "next", "--json").json
    assert [one["serial"] for one in row(home)["certificates"]] == [second["serial"], first["serial"]]

    one = gm("devices", "revoke", ACCOUNT, "--serial", first["serial"].upper(), "--json", "--home", home).json
    assert one["certificates"] == [first["serial"]]
    assert row(home)["revoked_at"] is None
    assert revoked(home) == {first["serial"]}
    assert gm("devices", "revoke", ACCOUNT, "--serial", first["serial"], "--home", home).code == BAD_INPUT
    every = gm("devices", "revoke", ACCOUNT, "--json", "--home", home).json
    assert every["certificates"] == [second["serial"]]
    assert row(home)["revoked_at"] is not None
    assert revoked(home) == {first["serial"], second["serial"]}


def test_the_key_is_kept_nowhere_and_the_record_says_what_was_signed(home: Path, tmp_path: Path) -> None:
    gm("devices", "ca", "init", "--home", home)
    made = provision(home, "--certificate", "--out", tmp_path / "keys", "--json").json
    lines = (tmp_path / "keys" / f"{ACCOUNT}.key").read_bytes().splitlines()
    for path in home.rglob("*"):
        if path.is_file():
            assert lines[1] not in path.read_bytes(), path
    record = gm("audit", "export", "--home", home).out
    (line,) = [one for one in record.splitlines() if "device.certify" in one]
    for word in ("serial", "fingerprint", "not_before", "not_after"):
        assert made[word] in line
    assert "BEGIN" not in record
    assert gm("audit", "verify", "--home", home).code == 0


def test_a_device_keeps_its_own_key(home: Path, tmp_path: Path) -> None:
    gm("devices", "ca", "init", "--home", home)
    key, request = new_request("the device's own")
    (tmp_path / "csr.pem").write_text(request)
    made = provision(home, "--csr", tmp_path / "csr.pem", "--out", tmp_path / "out", "--json").json
    assert {Path(path).name for path in made["files"]} == {f"{ACCOUNT}.crt", "ca.crt"}
    certificate = x509.load_pem_x509_certificate((tmp_path / "out" / f"{ACCOUNT}.crt").read_bytes())
    assert certificate.public_key() == serialization.load_pem_private_key(key.encode(), None).public_key()
    (tmp_path / "csr.pem").write_text("no request")
    refused = provision(home, "--csr", tmp_path / "csr.pem", "--out", tmp_path / "other")
    assert (refused.code, "PKCS #10" in refused.err) == (BAD_INPUT, True)
    (tmp_path / "csr.pem").write_bytes(b"\xff\xfe")
    assert provision(home, "--csr", tmp_path / "csr.pem", "--out", tmp_path / "other").code == BAD_INPUT
    assert len(row(home)["certificates"]) == 1


def test_a_password_stays_beside_a_certificate_and_does_not_come_back_with_one(home: Path, tmp_path: Path) -> None:
    gm("devices", "ca", "init", "--home", home)
    provision(home)
    provision(home, "--certificate", "--out", tmp_path / "1")
    assert row(home)["password"] is True
    gm("devices", "revoke", ACCOUNT, "--home", home)
    provision(home, "--certificate", "--out", tmp_path / "2")
    listed = row(home)
    assert (listed["password"], listed["revoked_at"]) == (False, None)
    assert [one["revoked_at"] is None for one in listed["certificates"]].count(True) == 1


def test_a_brokers_certificate(home: Path, tmp_path: Path) -> None:
    gm("devices", "ca", "init", "--home", home)
    hosts = ["--host", "broker.example.org", "--host", "192.0.2.7"]
    made = gm("devices", "ca", "server", *hosts, "--json", "--home", home).json
    assert made["account"] == "broker.example.org 192.0.2.7"
    assert (home / "ca" / "server.key").stat().st_mode & 0o777 == 0o600
    assert gm("devices", "ca", "server", *hosts, "--home", home).code == BAD_INPUT
    assert gm("devices", "ca", "server", "--host", "a b", "--out", tmp_path, "--home", home).code == BAD_INPUT
    assert [one["account"] for one in gm("devices", "list", "--json", "--home", home).json] == []


@pytest.mark.parametrize("arguments", [
    ["--certificate"],
    ["--certificate", "--mine", MINE],
    ["--certificate", "--service", "bridge-1"],
    ["--certificate", "--bridge", "tts", "lora-1"],
    ["--certificate", "--mine", MINE, "--device", "nosuch"],
    ["--certificate", "--mine", MINE, "--device", "dust-1", "--days", "0"],
    ["--certificate", "--mine", MINE, "--device", "dust-1", "--days", "4000"],
    ["--csr", "nosuch.pem", "--mine", MINE, "--device", "nosuch"],
])  # fmt: skip
def test_what_cannot_be_certified(home: Path, tmp_path: Path, arguments: list[str]) -> None:
    gm("devices", "ca", "init", "--home", home)
    refused = gm("devices", "provision", *arguments, "--out", tmp_path / "out", "--home", home)
    assert refused.code in (BAD_INPUT, FAILED), refused
    assert "Traceback" not in refused.err
    assert not list((tmp_path / "out").glob("*"))
