"""The certificate authority of a home: what it signs, what it refuses, what it revokes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from greenmine.authority import AUTHORITY_DAYS, Authority, expiry_of, new_request
from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import Conflict, Corrupt, NotFound, Refused

DAY_NS = 86_400 * NS_PER_S
NOW_NS = 1_790_000_000 * NS_PER_S
NAME = "north.dust-1"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path / "ca")
    made.make(NOW_NS)
    return made


def request_of(key: Any, algorithm: Any = None, name: str = "anything") -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM).decode()


def extension(certificate: x509.Certificate, kind: Any) -> Any:
    return certificate.extensions.get_extension_for_class(kind)


def test_the_authority_is_ec_p256_lasts_ten_years_and_signs_nothing_but_leaves(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    made = authority.make(NOW_NS)
    certificate = x509.load_pem_x509_certificate(made.pem.encode())
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    constraints = extension(certificate, x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    usage = extension(certificate, x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)
    assert made.not_after_ns - NOW_NS == AUTHORITY_DAYS * DAY_NS
    assert authority.shown() == made
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "ca").iterdir()}
    assert modes == {"ca.key": 0o600, "ca.crt": 0o600, "crl.pem": 0o600}
    assert (tmp_path / "ca").stat().st_mode & 0o777 == 0o700


def test_a_second_authority_is_never_put_in_the_place_of_the_first(authority: Authority, tmp_path: Path) -> None:
    before = authority.shown()
    with pytest.raises(Conflict, match="already"):
        authority.make(NOW_NS + DAY_NS)
    assert authority.shown() == before


def test_a_devices_certificate_says_who_it_is_and_nothing_else(authority: Authority) -> None:
    key, request = new_request("other.name")
    made = authority.sign_device(request, NAME, NOW_NS, 30)
    certificate = x509.load_pem_x509_certificate(made.pem.encode())
    assert certificate.subject.rfc4514_string() == f"CN={NAME}"
    assert certificate.public_key() == serialization.load_pem_private_key(key.encode(), None).public_key()
    assert list(extension(certificate, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not extension(certificate, x509.BasicConstraints).value.ca
    assert (made.not_before_ns, made.not_after_ns) == (NOW_NS - 3600 * NS_PER_S, NOW_NS + 30 * DAY_NS)
    assert made.fingerprint == certificate.fingerprint(hashes.SHA256()).hex()
    assert int(made.serial, 16) == certificate.serial_number
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.shown().pem.encode()))
    assert expiry_of(made.pem.encode()) == made.not_after_ns


def test_a_servers_certificate_names_its_hosts(authority: Authority) -> None:
    made = authority.sign_server(new_request("broker")[1], ["broker.example.org", "192.0.2.7"], NOW_NS)
    certificate = x509.load_pem_x509_certificate(made.pem.encode())
    names = extension(certificate, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker.example.org"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]
    assert list(extension(certificate, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]


@pytest.mark.parametrize("hosts", [[], [""], ["broker example"], ["broker/x"], ["bröker"], ["x" * 254]])
def test_what_is_no_host_is_refused(authority: Authority, hosts: list[str]) -> None:
    with pytest.raises(Refused, match=r"^host"):
        authority.sign_server(new_request("broker")[1], hosts, NOW_NS)


STRONG: dict[str, Any] = {
    "P-256": lambda: request_of(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()),
    "P-384": lambda: request_of(ec.generate_private_key(ec.SECP384R1()), hashes.SHA384()),
    "Ed25519": lambda: request_of(ed25519.Ed25519PrivateKey.generate()),
    "RSA 2048": lambda: request_of(rsa.generate_private_key(65537, 2048), hashes.SHA256()),
}
WEAK: dict[str, Any] = {
    "P-192": lambda: request_of(ec.generate_private_key(ec.SECP192R1()), hashes.SHA256()),
    "secp256k1": lambda: request_of(ec.generate_private_key(ec.SECP256K1()), hashes.SHA256()),
    "RSA 1024": lambda: request_of(rsa.generate_private_key(65537, 1024), hashes.SHA256()),
    "DSA": lambda: request_of(dsa.generate_private_key(2048), hashes.SHA256()),
}


@pytest.mark.parametrize("kind", STRONG)
def test_a_devices_own_strong_key_is_signed(authority: Authority, kind: str) -> None:
    assert authority.sign_device(STRONG[kind](), NAME, NOW_NS).serial


@pytest.mark.parametrize("kind", WEAK)
def test_a_devices_own_weak_key_is_refused(authority: Authority, kind: str) -> None:
    with pytest.raises(Refused, match=r"^key"):
        authority.sign_device(WEAK[kind](), NAME, NOW_NS)


def test_a_request_whose_sender_has_not_the_key_is_refused(authority: Authority) -> None:
    request = x509.load_pem_x509_csr(new_request(NAME)[1].encode())
    der = bytearray(request.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1  # the end of the signature
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(Refused, match=r"^request"):
        authority.sign_device(forged, NAME, NOW_NS)


@pytest.mark.parametrize("request_pem", ["", "x", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n", "证书", "x" * 20_001])
def test_what_is_no_request_is_refused(authority: Authority, request_pem: str) -> None:
    with pytest.raises(Refused, match=r"^request"):
        authority.sign_device(request_pem, NAME, NOW_NS)


@pytest.mark.parametrize(("name", "days", "word"), [
    ("x" * 65, 30, "name"), ("", 30, "name"), (NAME, 0, "days"), (NAME, AUTHORITY_DAYS + 1, "days"),
])  # fmt: skip
def test_names_and_times_that_do_not_fit_are_refused(authority: Authority, name: str, days: int, word: str) -> None:
    with pytest.raises(Refused, match=rf"^{word}"):
        authority.sign_device(new_request(NAME)[1], name, NOW_NS, days)


def test_no_certificate_outlives_its_authority(authority: Authority) -> None:
    with pytest.raises(Refused, match=r"^days"):
        authority.sign_device(new_request(NAME)[1], NAME, NOW_NS + DAY_NS, AUTHORITY_DAYS)


def test_the_revocation_list_is_written_when_it_changes_and_only_then(authority: Authority) -> None:
    first, second = (authority.sign_device(new_request(NAME)[1], NAME, NOW_NS) for _ in range(2))

    def listed() -> tuple[int, set[str]]:
        found = x509.load_pem_x509_crl(authority.revocation_file.read_bytes())
        issuer = x509.load_pem_x509_certificate(authority.shown().pem.encode())
        assert found.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
        assert found.next_update_utc == issuer.not_valid_after_utc
        return extension(found, x509.CRLNumber).value.crl_number, {f"{one.serial_number:x}" for one in found}  # type: ignore[arg-type]

    def updated() -> Any:
        return x509.load_pem_x509_crl(authority.revocation_file.read_bytes()).last_update_utc

    assert listed() == (1, set())
    before = updated()
    assert authority.write_revocations({first.serial: NOW_NS}, NOW_NS)
    assert listed() == (2, {first.serial})
    assert updated() > before, "within one second a broker could not tell the two lists apart"
    assert not authority.write_revocations({first.serial: NOW_NS}, NOW_NS + 1)
    assert authority.write_revocations({first.serial: NOW_NS, second.serial: NOW_NS}, NOW_NS)
    assert listed() == (3, {first.serial, second.serial})
    authority.revocation_file.write_text("damaged")
    assert authority.write_revocations({first.serial: NOW_NS}, NOW_NS)
    assert listed() == (1, {first.serial})


@pytest.mark.skipif(not shutil.which("openssl"), reason="the openssl program is not installed")
def test_openssl_agrees(authority: Authority, tmp_path: Path) -> None:
    made = authority.sign_device(new_request(NAME)[1], NAME, NOW_NS)
    leaf = tmp_path / "leaf.crt"
    leaf.write_text(made.pem)

    def verify(purpose: str, at_ns: int = NOW_NS) -> str:
        trusted = ("-CAfile", authority.certificate_file, "-CRLfile", authority.revocation_file)
        wanted = ("-x509_strict", "-crl_check", *trusted)
        done = subprocess.run(
            ["openssl", "verify", *wanted, "-purpose", purpose, "-attime", str(at_ns // NS_PER_S), leaf],
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout + done.stderr

    assert verify("sslclient").endswith("OK\n")
    assert "purpose" in verify("sslserver")
    assert "expired" in verify("sslclient", NOW_NS + 731 * DAY_NS)
    authority.write_revocations({made.serial: NOW_NS}, NOW_NS)
    assert "revoked" in verify("sslclient")


def test_what_is_missing_or_damaged_is_said(tmp_path: Path, authority: Authority) -> None:
    with pytest.raises(NotFound, match="ca init"):
        Authority(tmp_path / "elsewhere").shown()
    (tmp_path / "ca" / "ca.key").rename(tmp_path / "away")
    with pytest.raises(NotFound, match="put it back"):
        authority.sign_device(new_request(NAME)[1], NAME, NOW_NS)
    (tmp_path / "ca" / "ca.key").write_text(new_request(NAME)[0])
    with pytest.raises(Corrupt, match="is not the key of"):
        authority.sign_device(new_request(NAME)[1], NAME, NOW_NS)
    (tmp_path / "ca" / "ca.key").write_text("damaged")
    with pytest.raises(Corrupt, match="damaged"):
        authority.sign_device(new_request(NAME)[1], NAME, NOW_NS)
    authority.certificate_file.write_text("damaged")
    with pytest.raises(Corrupt, match="damaged"):
        authority.shown()
    with pytest.raises(Refused, match=r"^certificate"):
        expiry_of(b"damaged")
