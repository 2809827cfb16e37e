"""People who log in."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Role(StrEnum):
    """`admin` manages users and devices, `operator` acknowledges and notes, `viewer` looks."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"

    @property
    def may_act(self) -> bool:
        """Whether this role may handle alerts and record facts."""
        return self is not Role.VIEWER


class User(NamedTuple):
    """A person's account. `name` is normalised (NFKC, lower case)."""

    name: str
    role: Role
    created_at_ns: int
    must_change_password: bool
