"""A private certificate authority for devices and their broker: X.509 (RFC 5280) by the `cryptography` library.

Whoever holds the authority's key can be any device, so it lies in the home (0600), and one that leaked means a new
authority. Devices' keys are made where they are handed out and never come here: the authority sees requests only.

The revocation list is valid as long as the authority: a broker goes on with the one it has, however old, because one
that runs out would close the door to every device at once.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import Conflict, Corrupt, NotFound, Refused
from greenmine.home import write_private

AUTHORITY_DAYS = 3650
DEVICE_DAYS, SERVER_DAYS = 730, 825
LONGEST_NAME = 64
"""Of a subject's common name (RFC 5280 appendix A, ub-common-name)."""
LEAST_RSA_BITS = 2048
LONGEST_REQUEST = 20_000
BACKDATED = timedelta(hours=1)
"""Devices whose clocks are behind take a new certificate all the same."""
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_WEAK_HASHES = (hashes.MD5, hashes.SHA1)
_SIGNING = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


class Signed(NamedTuple):
    """A certificate in PEM, and what of it stays on record."""

    pem: str
    serial: str
    fingerprint: str
    not_before_ns: int
    not_after_ns: int


class Authority:
    """The authority of a home: `ca.key`, `ca.crt` and `crl.pem` in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def certificate_file(self) -> Path:
        """Its certificate, which is no secret."""
        return self._folder / "ca.crt"

    @property
    def revocation_file(self) -> Path:
        """The list of what it has revoked."""
        return self._folder / "crl.pem"

    @property
    def exists(self) -> bool:
        """Whether one was made here."""
        return self.certificate_file.exists()

    def make(self, now_ns: int) -> Signed:
        """Make key, certificate and an empty revocation list.

        Raises:
            Conflict: there is an authority already; every device's certificate hangs on it.
        """
        if self.exists:
            raise Conflict(f"there is an authority in {self._folder} already; `greenmine devices ca show` shows it")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        start = _moment(now_ns)
        builder = _builder(_subject("greenmine device authority"), key.public_key(), start, AUTHORITY_DAYS)
        certificate = (
            builder.issuer_name(_subject("greenmine device authority"))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_private(self._folder / "ca.key", _key_pem(key))
        write_private(self.certificate_file, _pem(certificate))  # last: it says that there is an authority
        self.write_revocations({}, now_ns)
        return _signed(certificate)

    def shown(self) -> Signed:
        """Its own certificate.

        Raises:
            NotFound: there is none.
        """
        return _signed(self._certificate())

    def sign_device(self, request_pem: str, name: str, now_ns: int, days: int = DEVICE_DAYS) -> Signed:
        """A client certificate for the key in the request. Whatever else the request says of itself is not looked at:
        the subject is `name`.

        Raises:
            NotFound: there is no authority.
            Refused: `request`, `key`, `name` or `days`.
        """
        return self._sign(request_pem, name, now_ns, days, ExtendedKeyUsageOID.CLIENT_AUTH, None)

    def sign_server(self, request_pem: str, hosts: list[str], now_ns: int, days: int = SERVER_DAYS) -> Signed:
        """A certificate for a broker that devices call by one of `hosts`, names or addresses. Raises like
        `sign_device`; Refused `host`."""
        if not hosts:
            raise Refused("host", "name at least one host that devices call the broker by")
        names = x509.SubjectAlternativeName([_host(host) for host in hosts])
        name = hosts[0][:LONGEST_NAME]
        return self._sign(request_pem, name, now_ns, days, ExtendedKeyUsageOID.SERVER_AUTH, names)

    def write_revocations(self, revoked: Mapping[str, int], now_ns: int) -> bool:
        """Write the revocation list from serials and times (ns UTC), unless it says that already; whether it was
        written."""
        before = self._revocations()
        known = None if before is None else {one.serial_number for one in before}
        serials = {int(serial, 16): at_ns for serial, at_ns in revoked.items()}
        if known == set(serials):
            return False
        authority, number = self._certificate(), 1
        updated = max(_moment(now_ns) - BACKDATED, authority.not_valid_before_utc)
        if before is not None:  # of two lists that a broker has read, the later one counts
            number += before.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            updated = max(updated, before.last_update_utc + timedelta(seconds=1))
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(authority.subject)
            .last_update(updated)
            .next_update(authority.not_valid_after_utc)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(_issuer_key(authority), critical=False)
        )
        for serial, at_ns in sorted(serials.items()):
            one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_moment(at_ns)).build()
            builder = builder.add_revoked_certificate(one)
        signed = builder.sign(self._key(), hashes.SHA256())
        write_private(self.revocation_file, signed.public_bytes(serialization.Encoding.PEM).decode())
        return True

    def revoked(self) -> set[str] | None:
        """Serials in the revocation list as written; none where there is no list, or a damaged one."""
        found = self._revocations()
        return None if found is None else {f"{one.serial_number:x}" for one in found}

    def _sign(
        self,
        request_pem: str,
        name: str,
        now_ns: int,
        days: int,
        purpose: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None,
    ) -> Signed:
        authority, key = self._certificate(), _requested_key(request_pem)
        if not 0 < len(name) <= LONGEST_NAME:
            raise Refused("name", f"a certificate's name has 1 to {LONGEST_NAME} characters, {name!r} has {len(name)}")
        start = _moment(now_ns)
        if not 1 <= days <= AUTHORITY_DAYS or start + timedelta(days=days) > authority.not_valid_after_utc:
            until = authority.not_valid_after_utc.date()
            raise Refused("days", f"a certificate lasts a day or more and ends before its authority does, on {until}")
        usage = [_SIGNING[0], *([_SIGNING[2]] if isinstance(key, rsa.RSAPublicKey) else [])]
        builder = (
            _builder(_subject(name), key, start, days)
            .issuer_name(authority.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(*usage), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(_issuer_key(authority), critical=False)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return _signed(builder.sign(self._key(), hashes.SHA256()))

    def _certificate(self) -> x509.Certificate:
        if not self.exists:
            raise NotFound("this home has no certificate authority; `greenmine devices ca init` makes one")
        try:
            return x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
        except ValueError as error:
            raise Corrupt(f"{self.certificate_file} is damaged; put it back from the backup") from error

    def _key(self) -> ec.EllipticCurvePrivateKey:
        path = self._folder / "ca.key"
        if not path.exists():
            raise NotFound(f"the authority's key {path} is not there; put it back to sign or to revoke")
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError) as error:
            raise Corrupt(f"{path} is damaged; put it back from the backup") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != self._certificate().public_key():
            raise Corrupt(f"{path} is not the key of {self.certificate_file}; put it back from the backup")
        return key

    def _revocations(self) -> x509.CertificateRevocationList | None:
        """The list as written; none where there is no list, or a damaged one."""
        if not self.revocation_file.exists():
            return None
        try:
            return x509.load_pem_x509_crl(self.revocation_file.read_bytes())
        except ValueError:
            return None


def new_request(name: str) -> tuple[str, str]:
    """A new EC P-256 key and a request for it, both in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(_subject(name[:LONGEST_NAME]))
    return _key_pem(key), request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def expiry_of(pem: bytes) -> int:
    """When the first certificate of a PEM file ends, ns UTC.

    Raises:
        Refused: `certificate`.
    """
    try:
        return _nanoseconds(x509.load_pem_x509_certificate(pem).not_valid_after_utc)
    except ValueError as error:
        raise Refused("certificate", f"this is no certificate in PEM: {error}") from error


def _requested_key(request_pem: str) -> PublicKey:
    if len(request_pem) > LONGEST_REQUEST:
        raise Refused("request", f"a certificate request has at most {LONGEST_REQUEST} characters")
    try:
        request = x509.load_pem_x509_csr(request_pem.encode())
        proved = request.is_signature_valid
        weak = isinstance(request.signature_hash_algorithm, _WEAK_HASHES)
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise Refused("request", f"this is no certificate request (PKCS #10) in PEM: {error}") from error
    if not proved or weak:
        raise Refused("request", "the request's signature does not prove that its sender has the key")
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= LEAST_RSA_BITS:
        return key
    raise Refused("key", f"a key is EC P-256, P-384, P-521, Ed25519, or RSA of {LEAST_RSA_BITS} bits or more")


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not 0 < len(host) <= 253 or not all(c.isascii() and (c.isalnum() or c in ".-") for c in host):
            raise Refused("host", f"{host!r} is neither a host name nor an address") from None
        return x509.DNSName(host)


def _builder(subject: x509.Name, key: PublicKey, start: datetime, days: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - BACKDATED)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*on: str) -> x509.KeyUsage:
    names = (*_SIGNING, "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: name in on for name in names})


def _issuer_key(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _signed(certificate: x509.Certificate) -> Signed:
    return Signed(
        _pem(certificate),
        f"{certificate.serial_number:x}",
        certificate.fingerprint(hashes.SHA256()).hex(),
        _nanoseconds(certificate.not_valid_before_utc),
        _nanoseconds(certificate.not_valid_after_utc),
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def _moment(ns: int) -> datetime:
    """X.509 knows whole seconds."""
    return datetime.fromtimestamp(ns // NS_PER_S, UTC)


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * NS_PER_S
