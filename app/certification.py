"""Certificates of a home: what its authority signs, keeps on record, revokes and hands to brokers. Every operation
takes and gives JSON, for the service and for the command line on a home that no service holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from greenmine.authority import DEVICE_DAYS, SERVER_DAYS, Authority, Signed
from greenmine.core.clock import Clock, to_rfc3339
from greenmine.core.errors import Refused
from greenmine.store import audit, certificates, device_accounts
from greenmine.store.audit import AuditEntry
from greenmine.store.certificates import Certificate, Purpose
from greenmine.store.device_accounts import DeviceAccount
from greenmine.store.state import StateDb


class Certification:
    """Signs for devices that have been found to be registered, and for brokers."""

    def __init__(self, state: StateDb, clock: Clock, folder: Path) -> None:
        self._state = state
        self._clock = clock
        self.authority = Authority(folder)

    def init(self, _: Mapping[str, Any], principal: str) -> Any:
        """Make the authority. Raises Conflict where there is one."""
        now_ns = self._clock.wall_ns()
        made = self.authority.make(now_ns)
        with self._state.writing() as connection:
            audit.append(connection, [AuditEntry(now_ns, principal, "ca.init", made.serial, signed_json(made))])
        return {**signed_json(made), "pem": made.pem}

    def certify_server(self, arguments: Mapping[str, Any], principal: str) -> Any:
        """Sign a broker's request. Raises NotFound, Refused."""
        hosts = arguments.get("hosts")
        if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
            raise Refused("hosts", "hosts is a list of names or addresses")
        now_ns = self._clock.wall_ns()
        made = self.authority.sign_server(_request(arguments), hosts, now_ns, _days(arguments, SERVER_DAYS))
        with self._state.writing() as connection:
            return self._keep(connection, made, Purpose.SERVER, " ".join(hosts), now_ns, principal)

    def certify_device(self, account: DeviceAccount, arguments: Mapping[str, Any], principal: str) -> dict[str, Any]:
        """Sign a device's request; its account is made if there is none, without a password. Raises NotFound,
        Refused."""
        now_ns = self._clock.wall_ns()
        made = self.authority.sign_device(_request(arguments), account.name, now_ns, _days(arguments, DEVICE_DAYS))
        with self._state.writing() as connection:
            device_accounts.admit(connection, account._replace(created_ns=now_ns))
            return self._keep(connection, made, Purpose.DEVICE, account.name, now_ns, principal)

    def revoke(self, name: str, serial: str, principal: str) -> Any:
        """Revoke one certificate; its account goes on with what else it has. Raises NotFound."""
        now_ns = self._clock.wall_ns()
        with self._state.writing() as connection:
            certificates.revoke(connection, name, serial, now_ns)
            entry = AuditEntry(now_ns, principal, "certificate.revoke", name, {"serial": serial})
            audit.append(connection, [entry])
        return {"account": name, "certificates": [serial], "revoked_at": to_rfc3339(now_ns)}

    def write_revocations(self) -> None:
        """Bring the revocation list to what is on record. Raises NotFound, Corrupt."""
        if not self.authority.exists:
            return
        with self._state.reading() as connection:
            revoked = certificates.revoked(connection)
        self.authority.write_revocations(revoked, self._clock.wall_ns())

    def trust(self) -> tuple[bytes, bytes] | None:
        """Certificate and revocation list of the authority in PEM, which a broker judges devices by."""
        if not self.authority.exists or not self.authority.revocation_file.exists():
            return None
        return self.authority.certificate_file.read_bytes(), self.authority.revocation_file.read_bytes()

    def _keep(
        self, connection: Connection, made: Signed, purpose: Purpose, name: str, now_ns: int, principal: str
    ) -> dict[str, Any]:
        said, times = signed_json(made), (made.not_before_ns, made.not_after_ns)
        certificates.add(connection, Certificate(made.serial, purpose.value, name, made.fingerprint, *times))
        audit.append(connection, [AuditEntry(now_ns, principal, f"{purpose.value}.certify", name, said)])
        authority = self.authority.certificate_file.read_text(encoding="ascii")
        return {"account": name, **said, "pem": made.pem, "authority": authority}


def signed_json(made: Signed | Certificate) -> dict[str, Any]:
    """What stays on record of a certificate, as listings and the audit log show it."""
    return {
        "serial": made.serial,
        "fingerprint": made.fingerprint,
        "not_before": to_rfc3339(made.not_before_ns),
        "not_after": to_rfc3339(made.not_after_ns),
    }


def certificate_json(one: Certificate) -> dict[str, Any]:
    """A certificate as listings show it."""
    return {**signed_json(one), "revoked_at": None if one.revoked_ns is None else to_rfc3339(one.revoked_ns)}


def _request(arguments: Mapping[str, Any]) -> str:
    request = arguments.get("request")
    if not isinstance(request, str) or not request:
        raise Refused("request", "request is a certificate request (PKCS #10) in PEM")
    return request


def _days(arguments: Mapping[str, Any], default: int) -> int:
    days = arguments.get("days", default)
    if not isinstance(days, int) or isinstance(days, bool):
        raise Refused("days", "days is a whole number")
    return days
