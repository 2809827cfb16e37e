"""What only administrators do: people's and devices' accounts, imports. One object for the service and for the command
line on a home that no service holds. Every operation takes and gives JSON."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from greenmine.certification import Certification, certificate_json
from greenmine.core.clock import Clock, to_rfc3339
from greenmine.core.errors import NotFound, Refused
from greenmine.core.identifier import is_identifier
from greenmine.core.user import Role
from greenmine.ingest.gate import BRIDGE_TREES, Account, Gate, account_name, hash_password, new_password
from greenmine.ingest.grants import write_mosquitto_files
from greenmine.logins import Logins
from greenmine.policy.model import Policy
from greenmine.store import audit, certificates, device_accounts, users
from greenmine.store.audit import AuditEntry
from greenmine.store.certificates import Certificate, Purpose
from greenmine.store.device_accounts import DeviceAccount
from greenmine.store.state import StateDb

Operation = Callable[[Mapping[str, Any], str], Any]
ImportRows = Callable[[list[list[Any]], str], dict[str, int]]
"""Takes rows as `import_rows.FIELDS` names them; returns what they added to the account. Raises Refused for a malformed
row, StoreUnavailable."""


class Administration:
    """`administer(operation, arguments, principal)`; see `_operations` for the names."""

    def __init__(
        self,
        state: StateDb,
        clock: Clock,
        logins: Logins,
        policies: Callable[[], Mapping[str, Policy]],
        import_rows: ImportRows,
        certification: Certification,
        gate: Gate | None = None,
        accounts_dir: Path | None = None,
        checks: Callable[[], list[Any]] = list,
    ) -> None:
        self._state = state
        self._clock = clock
        self._logins = logins
        self._policies = policies
        self._import_rows = import_rows
        self._certification = certification
        self._gate = gate
        self._accounts_dir = accounts_dir
        self._refreshing = threading.Lock()
        self._operations: dict[str, Operation] = {
            "users.add": self._users_add,
            "users.list": self._users_list,
            "users.reset": self._users_reset,
            "devices.provision": self._devices_provision,
            "devices.certify": self._devices_certify,
            "devices.list": self._devices_list,
            "devices.revoke": self._devices_revoke,
            "ca.init": self._ca_init,
            "ca.server": certification.certify_server,
            "readings.import": self._readings_import,
            "service.checks": lambda _, __: [check._asdict() for check in checks()],
        }

    def administer(self, operation: str, arguments: Mapping[str, Any], principal: str) -> Any:
        """Carry out one operation.

        Raises:
            NotFound: the operation or what it names does not exist.
            Conflict, Refused: it cannot be done.
        """
        found = self._operations.get(operation)
        if found is None:
            raise NotFound(f"there is no operation {operation!r}; there are {', '.join(self._operations)}")
        return found(arguments, principal)

    def refresh_gate(self) -> None:
        """Give the broker the accounts as they are now, and the certificates that were revoked.

        Raises:
            NotFound, Corrupt: the revocation list cannot be signed; all else was done.
        """
        with self._refreshing:  # of two at once the later must not be overwritten by the earlier
            with self._state.reading() as connection:
                active, own = device_accounts.listed(connection, active_only=True), device_certificates(connection)
            accounts = [
                Account(a.name, a.mine, a.device, a.password_hash, _valid_serials(own.get(a.name, ()))) for a in active
            ]
            if self._gate is not None:
                self._gate.replace(accounts)
            try:
                self._certification.write_revocations()
            finally:
                if self._accounts_dir is not None:
                    write_mosquitto_files(self._accounts_dir, accounts, self._certification.trust())

    def provision(self, mine: str, device: str, principal: str) -> dict[str, str]:
        """A device's account with a new random password, which is shown this once."""
        try:
            name = account_name(mine, device)
        except ValueError as error:
            raise Refused("identifier", str(error)) from error
        return self._provision(DeviceAccount(name, mine, device, "", 0, None), principal)

    def provision_service(self, name: str, principal: str) -> dict[str, str]:
        """An account for a part of greenmine or a bridge, which may use everything under `mines/`."""
        if not is_identifier(name):
            raise Refused("identifier", "a service account is 1 to 63 of a-z, 0-9 and '-'")
        return self._provision(DeviceAccount(name, "", "", "", 0, None), principal)

    def provision_bridge(self, network: str, name: str, principal: str) -> dict[str, str]:
        """An account for the bridge of another network, which may use that network's topics and nothing else."""
        if network not in BRIDGE_TREES:
            raise Refused("bridge", f"a bridge is of one of {', '.join(BRIDGE_TREES)}")
        if not is_identifier(name):
            raise Refused("identifier", "a bridge's account is 1 to 63 of a-z, 0-9 and '-'")
        return self._provision(DeviceAccount(name, "", network, "", 0, None), principal)

    def _provision(self, account: DeviceAccount, principal: str) -> dict[str, str]:
        password = new_password()
        now_ns = self._clock.wall_ns()
        made = account._replace(password_hash=hash_password(password), created_ns=now_ns)
        with self._state.writing() as connection:
            device_accounts.put(connection, made)
            audit.append(connection, [AuditEntry(now_ns, principal, "device.provision", made.name, {})])
        self.refresh_gate()
        return {"account": made.name, "password": password}

    def _users_add(self, arguments: Mapping[str, Any], principal: str) -> Any:
        role = _text(arguments, "role", Role.OPERATOR.value)
        if role not in list(Role):
            raise Refused("role", f"a role is one of {', '.join(Role)}")
        user, password = self._logins.add_user(_text(arguments, "name"), Role(role), principal)
        return {"name": user.name, "role": user.role.value, "password": password}

    def _users_list(self, _: Mapping[str, Any], __: str) -> Any:
        with self._state.reading() as connection:
            return [user_json(user) for user in users.listed(connection)]

    def _users_reset(self, arguments: Mapping[str, Any], principal: str) -> Any:
        name = _text(arguments, "name")
        return {"name": name, "password": self._logins.reset_user(name, principal)}

    def _devices_provision(self, arguments: Mapping[str, Any], principal: str) -> Any:
        if "service" in arguments:
            return [self.provision_service(_text(arguments, "service"), principal)]
        if "bridge" in arguments:
            return [self.provision_bridge(_text(arguments, "bridge"), _text(arguments, "name"), principal)]
        mine = _text(arguments, "mine")
        policy = self._policy(mine)
        registered = [device.id for device in policy.devices if device.gateway is None]
        wanted = [_text(arguments, "device")] if arguments.get("device") else registered
        for device in wanted:
            _speaks_itself(policy, device)
        return [self.provision(mine, device, principal) for device in wanted]

    def _devices_certify(self, arguments: Mapping[str, Any], principal: str) -> Any:
        mine, device = _text(arguments, "mine"), _text(arguments, "device")
        _speaks_itself(self._policy(mine), device)
        account = DeviceAccount(account_name(mine, device), mine, device, "", 0, None)
        made = self._certification.certify_device(account, arguments, principal)
        self.refresh_gate()
        return made

    def _ca_init(self, arguments: Mapping[str, Any], principal: str) -> Any:
        made = self._certification.init(arguments, principal)
        self.refresh_gate()
        return made

    def _policy(self, mine: str) -> Policy:
        policy = self._policies().get(mine)
        if policy is None:
            raise NotFound(f"there is no active policy of a mine {mine!r}; load it with `greenmine run` first")
        return policy

    def _devices_list(self, _: Mapping[str, Any], __: str) -> Any:
        with self._state.reading() as connection:
            own = device_certificates(connection)
            return [account_json(one, own.get(one.name, ())) for one in device_accounts.listed(connection)]

    def _devices_revoke(self, arguments: Mapping[str, Any], principal: str) -> Any:
        name = _text(arguments, "account")
        if "serial" in arguments:
            revoked = self._certification.revoke(name, _text(arguments, "serial"), principal)
            self.refresh_gate()
            return revoked
        now_ns = self._clock.wall_ns()
        with self._state.writing() as connection:
            device_accounts.revoke(connection, name, now_ns)
            serials = certificates.revoke_all(connection, name, now_ns)
            said = {"certificates": serials} if serials else {}
            audit.append(connection, [AuditEntry(now_ns, principal, "device.revoke", name, said)])
        self.refresh_gate()
        return {"account": name, "certificates": serials, "revoked_at": to_rfc3339(now_ns)}

    def _readings_import(self, arguments: Mapping[str, Any], principal: str) -> Any:
        rows = arguments.get("rows")
        if not isinstance(rows, list) or not rows or len(rows) > 5_000:
            raise Refused("rows", "rows is a list of 1 to 5,000 readings")
        return self._import_rows(rows, principal)


def user_json(user: Any) -> dict[str, Any]:
    """A user as listings show it."""
    return {
        "name": user.name,
        "role": user.role.value,
        "created_at": to_rfc3339(user.created_at_ns),
        "must_change_password": user.must_change_password,
    }


def device_certificates(connection: Connection) -> dict[str, list[Certificate]]:
    """Every device's certificates by account, the one that lasts longest first."""
    found: dict[str, list[Certificate]] = {}
    for one in certificates.listed(connection):
        if one.purpose == Purpose.DEVICE.value:
            found.setdefault(one.name, []).append(one)
    return found


def _valid_serials(own: Iterable[Certificate]) -> frozenset[str]:
    return frozenset(one.serial for one in own if one.revoked_ns is None)


def account_json(account: DeviceAccount, own: Iterable[Certificate] = ()) -> dict[str, Any]:
    """A device account with its certificates as listings show it."""
    return {
        "account": account.name,
        "mine": account.mine or None,
        "device": (account.device or None) if account.mine else None,
        "bridge": None if account.mine else account.device or None,
        "password": bool(account.password_hash),
        "certificates": [certificate_json(one) for one in own],
        "created_at": to_rfc3339(account.created_ns),
        "revoked_at": None if account.revoked_ns is None else to_rfc3339(account.revoked_ns),
    }


def _speaks_itself(policy: Policy, device: str) -> None:
    """Raises NotFound, or Refused for a device behind a gateway."""
    known = policy.device(device)
    if known is None:
        raise NotFound(f"{policy.mine.id} has no registered device {device!r}; add it to the mine's policy first")
    if known.gateway is not None:
        raise Refused("gateway", f"{device} speaks through its gateway {known.gateway}; provision that one")


def _text(arguments: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = arguments.get(name, default)
    if not isinstance(value, str) or not value:
        raise Refused(name, f"{name} is missing or not text")
    return value
