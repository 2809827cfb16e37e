"""The error tree, drawn once.

GreenmineError
├── UserError            the person who called can mend it: command line exit 2
│   ├── PolicyError      one or more problems, each with file, line and field
│   └── ConfigError      settings, secrets, home directory
├── Refused              an input was refused; carries a machine-readable word
│   └── DecodeRefused    a payload or one of its items; becomes a dead letter
│       └── UnknownAddress   from a device of another network that no policy maps; it goes on the waiting list
├── NotFound             no such alert, user, device, dead letter
├── Conflict             the act does not fit the present state
├── StoreUnavailable     a store cannot answer now; retry, nothing is lost
│   └── StoreFull        the disk is full: nothing was written, the same may be tried again on the same handle
└── Corrupt              a checksum, a hash chain or a cursor does not fit
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


class GreenmineError(Exception):
    """Root of all errors that greenmine raises on purpose."""


class UserError(GreenmineError):
    """Something the caller wrote or chose; the message says what, where and what to do."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file: where (file, 1-based line, dotted field), what, and what to do."""

    file: str
    line: int | None
    field: str
    message: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.field}: {self.message}" if self.field else f"{where}: {self.message}"


class PolicyError(UserError):
    """A policy cannot be used; `problems` has every reason found."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(p) for p in problems))


class ConfigError(UserError):
    """Settings, secrets or the home directory cannot be used."""


class Refused(GreenmineError):
    """An input was refused. `word` is stable and machine-readable, `detail` is for people."""

    def __init__(self, word: str, detail: str = "") -> None:
        self.word = word
        self.detail = detail
        super().__init__(f"{word}: {detail}" if detail else word)


class DecodeRefused(Refused):
    """A payload, or one item of it, cannot be understood. `word` is one of `core.dead_letter.DeadReason`; `field` is
    the place in the payload, '' where it is the whole."""

    def __init__(self, word: str, detail: str = "", field: str = "") -> None:
        # Names out of a payload may hold half of a surrogate pair, which no file and no answer can carry.
        self.field = field.encode("utf-8", "backslashreplace").decode()
        super().__init__(word, detail.encode("utf-8", "backslashreplace").decode())

    def at(self, field: str) -> DecodeRefused:
        """The same, of a place in the payload."""
        return DecodeRefused(self.word, self.detail, field)

    def shown(self) -> dict[str, str]:
        """As live views and `decode` show it."""
        return {"word": self.word, "field": self.field, "detail": self.detail}

    def within(self, where: str) -> DecodeRefused:
        """The same, of a place within another: `v` within `[3]` is `[3].v`."""
        return self.at(f"{where}.{self.field}" if where and self.field else where or self.field)


class UnknownAddress(DecodeRefused):
    """A device of another network, whose address neither a policy nor an approval maps to a device of ours.

    `network` is `dev_eui`, `mn` or `edge`. The detail begins with both, so that its dead letters can be found. `items`
    is what the message said, where it could be read: whoever looks at the waiting list wants to see it.
    """

    def __init__(self, network: str, address: str) -> None:
        self.network = network
        self.address = address
        self.items: Sequence[Any] = ()
        detail = f"{address_words(network, address)} no policy maps it to a device"
        super().__init__("unknown_address", detail, "MN" if network == "mn" else "")


@contextmanager
def placed(field: str) -> Iterator[None]:
    """Name this place in what is refused meanwhile and names none."""
    try:
        yield
    except DecodeRefused as refused:
        if refused.field:
            raise
        raise refused.at(field) from refused


def address_words(network: str, address: str) -> str:
    """How the detail of every `UnknownAddress` of this address begins, and of no other."""
    return f"{network} {json.dumps(address, ensure_ascii=False)}:"


class NotFound(GreenmineError):
    """What was named does not exist, or the caller may not know that it does."""


class Conflict(GreenmineError):
    """The act does not fit the state the thing is in now."""


class StoreUnavailable(GreenmineError):
    """A store cannot take or give data now. `retry_after_s` is the server's wish, where it gave one."""

    def __init__(self, message: str, retry_after_s: float | None = None, needs_operator: bool = False) -> None:
        self.retry_after_s = retry_after_s
        self.needs_operator = needs_operator
        super().__init__(message)


class StoreFull(StoreUnavailable):
    """The disk has no room. What was to be written was rolled back as a whole; the handle may be used again."""


class Corrupt(GreenmineError):
    """Stored data does not fit its own checksum, chain or cursor."""
