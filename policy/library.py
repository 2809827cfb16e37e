"""The dated library of limits: the data files of `policy/standards`, one a standard, and which edition holds when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files

from greenmine.core.errors import NotFound
from greenmine.policy.explain import nearest
from greenmine.policy.limit import Part, Standard
from greenmine.policy.typed_yaml import read_typed


@dataclass(frozen=True)
class Library:
    """All editions, by number. An edition ends on the day before the one that replaces it."""

    standards: dict[str, Standard]

    def valid_to(self, standard: Standard) -> date | None:
        """The last day of an edition; None while nothing replaces it."""
        successor = self._successor(standard)
        return None if successor is None else successor.valid_from - timedelta(days=1)

    def part(self, name: str) -> tuple[Standard, str, Part]:
        """The standard and the part that a policy names as `GB 12348-2008/boundary`.

        Raises:
            NotFound: there is no such standard or no such part; the message says what is near.
        """
        code, _, part_name = name.rpartition("/")
        standard = self.standards.get(code)
        if standard is None:
            # A name without a part, or with an unknown number: `DB13/2934-2019` has a slash of its own.
            known = [f"{one.standard}/{part}" for one in self.standards.values() for part in one.parts]
            if name in self.standards:
                parts = ", ".join(f"{name}/{part}" for part in self.standards[name].parts)
                raise NotFound(f"{name!r} is a whole standard; name a part of it: {parts}")
            raise NotFound(
                f"there is no {name!r} in the library of limits{nearest(name, known)}; known: {_list(known)}"
            )
        if part_name not in standard.parts:
            parts = ", ".join(standard.parts)
            raise NotFound(f"{code} has no part {part_name!r}{nearest(part_name, standard.parts)}; its parts: {parts}")
        return standard, part_name, standard.parts[part_name]

    def edition(self, standard: Standard, on: date) -> Standard | None:
        """The edition of the same standard that is in force on a day; None before the oldest one that is known."""
        found: Standard | None = standard
        while found is not None and on < found.valid_from:
            found = self.standards.get(found.replaces or "")
        while found is not None:
            successor = self._successor(found)
            if successor is None or on < successor.valid_from:
                return found
            found = successor
        return None

    def _successor(self, standard: Standard) -> Standard | None:
        return next((one for one in self.standards.values() if one.replaces == standard.standard), None)


def _list(names: list[str]) -> str:
    return ", ".join(sorted(names))


@cache
def shipped_library() -> Library:
    """The library that is part of the program."""
    folder = files("greenmine.policy") / "standards"
    found = [
        read_typed(file.read_bytes(), file.name, Standard)
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".yaml")
    ]
    return Library({standard.standard: standard for standard in found})
