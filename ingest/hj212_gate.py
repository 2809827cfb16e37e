"""Which stations may speak on the HJ 212 listener: MN and password (PW) of the registered ones."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from greenmine.core.errors import DecodeRefused
from greenmine.ingest.hj212_frame import Frame
from greenmine.ingest.hj212_sm4 import plain_segment

SOURCE = "hj212-tcp/"
"""Begins the source of a frame in the journal; its MN follows."""
NOBODY = "-"
"""In the place of an MN where nobody can be named."""
_MN = re.compile(r"[0-9A-Za-z_]{1,24}", re.ASCII)


class Admission(Enum):
    """What became of an MN and its password."""

    GRANTED = "granted"
    UNKNOWN = "unknown"
    DENIED = "denied"
    DAMAGED = "damaged"
    """The station may speak, but its encrypted data do not fit the frame's CRC."""


class Station(NamedTuple):
    """A registered station. `password` None: it cannot be had, and the station is denied, since a station without a
    password would be anybody. `sm4_key`: 16 bytes, None where none is configured or it cannot be had."""

    password: str | None
    sm4_key: bytes | None = None

    def __repr__(self) -> str:
        """Without the secrets: this may end up in a log."""
        return f"Station(password={'set' if self.password else None}, sm4_key={'set' if self.sm4_key else None})"


class StationGate:
    """Decides from the stations it was given last, by MN."""

    def __init__(self, stations: Mapping[str, Station] | None = None) -> None:
        self._stations: Mapping[str, Station] = dict(stations or {})

    def replace(self, stations: Mapping[str, Station]) -> None:
        """Use these from now on, for open connections too. May be called on any thread."""
        self._stations = dict(stations)

    def admit(self, mn: str, password: str, frame: Frame) -> Admission:
        """Judge a frame by its MN and PW, and by its CRC where that is of encrypted data."""
        station = self._stations.get(mn)
        if station is None:
            return Admission.UNKNOWN
        if station.password is None or not hmac.compare_digest(station.password.encode(), password.encode()):
            return Admission.DENIED
        # Where there is no key nobody can say, and the frame is kept for the day on which there is one.
        if frame.unproved_crc is not None and station.sm4_key is not None:
            try:
                plain_segment(frame, station.sm4_key)
            except DecodeRefused:
                return Admission.DAMAGED
        return Admission.GRANTED

    @property
    def without_password(self) -> list[str]:
        """Registered stations whose password cannot be had."""
        return sorted(mn for mn, station in self._stations.items() if station.password is None)

    def __len__(self) -> int:
        """How many stations are registered."""
        return len(self._stations)


def is_mn(text: str) -> bool:
    """Whether this can be an MN: it may then stand in a source and in a log."""
    return _MN.fullmatch(text) is not None
