"""Which stations may speak on the HJ 212 listener: MN and password (PW) of the registered ones."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from enum import Enum

_MN = re.compile(r"[0-9A-Za-z_]{1,24}", re.ASCII)


class Admission(Enum):
    """What became of an MN and its password."""

    GRANTED = "granted"
    UNKNOWN = "unknown"
    DENIED = "denied"


class StationGate:
    """Decides from the passwords it was given last, by MN. None for a registered station whose password cannot be had:
    it is denied, since a station without one would be anybody."""

    def __init__(self, passwords: Mapping[str, str | None] | None = None) -> None:
        self._passwords: Mapping[str, str | None] = dict(passwords or {})

    def replace(self, passwords: Mapping[str, str | None]) -> None:
        """Use these from now on, for open connections too."""
        self._passwords = dict(passwords)

    def admit(self, mn: str, password: str) -> Admission:
        """Judge one frame's MN and PW."""
        if mn not in self._passwords:
            return Admission.UNKNOWN
        expected = self._passwords[mn]
        if expected is None or not hmac.compare_digest(expected.encode(), password.encode()):
            return Admission.DENIED
        return Admission.GRANTED

    @property
    def without_password(self) -> list[str]:
        """Registered stations whose password cannot be had."""
        return sorted(mn for mn, password in self._passwords.items() if password is None)


def is_mn(text: str) -> bool:
    """Whether this can be an MN: it may then stand in a source and in a log."""
    return _MN.fullmatch(text) is not None
