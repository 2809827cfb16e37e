"""Who acts. Every act, fact and transition names one."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class PrincipalKind(StrEnum):
    """A person logs in, a device publishes, a service is part of greenmine, a rule is part of a policy."""

    PERSON = "person"
    DEVICE = "device"
    SERVICE = "service"
    RULE = "rule"


class Principal(NamedTuple):
    """Kind and name, written `person:li`, `device:mine.dust-n1`, `service:pipeline`, `rule:mine/pm10-high`."""

    kind: PrincipalKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.name}"

    @classmethod
    def parse(cls, text: str) -> Principal:
        """The inverse of `str`.

        Raises:
            ValueError: no colon, an unknown kind, or an empty name.
        """
        kind, colon, name = text.partition(":")
        if not colon or not name:
            raise ValueError(f"not a principal: {text!r}; write kind:name, e.g. person:li")
        return cls(PrincipalKind(kind), name)


SERVICE = Principal(PrincipalKind.SERVICE, "greenmine")
