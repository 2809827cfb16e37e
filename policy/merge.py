"""Puts a mine's file over its region's, and remembers for every value the file and line it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from greenmine.core.errors import Problem
from greenmine.policy.explain import nearest
from greenmine.policy.yaml import YamlFile, YamlPath, field_name

KEYED_LISTS = ("devices", "limits", "rules", "contacts", "ladders", "tarps")
"""Lists whose items have an `id`, by which they are merged."""


class Origin(NamedTuple):
    """Where a merged value was written: file, 1-based line, and its path in that file."""

    file: str
    line: int
    path: YamlPath


@dataclass
class Merged:
    """The data of a policy, and where each of its values came from."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[YamlPath, Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, path: YamlPath, message: str) -> Problem:
        """The problem at a path of the merged data, in terms of the file that wrote it (or its nearest parent)."""
        known = path
        while known not in self.origins:
            known = known[:-1]
        origin = self.origins[known]
        return Problem(origin.file, origin.line, field_name((*origin.path, *path[len(known) :])), message)


class _Part(NamedTuple):
    file: YamlFile
    path: YamlPath
    value: Any

    def child(self, step: str | int) -> _Part:
        return _Part(self.file, (*self.path, step), self.value[step])

    @property
    def origin(self) -> Origin:
        return Origin(self.file.name, self.file.lines[self.path], self.path)


def merge(mine: YamlFile, region: YamlFile | None) -> Merged:
    """The mine's data over the region's.

    Mappings merge key by key and the mine wins. Lists of things with an id merge by id: the mine's thing replaces the
    region's whole thing, `{id: x, drop: true}` takes it away. Every other list, and every plain value, is replaced.
    """
    merged = Merged()
    over = _Part(mine, (), mine.data)
    base = _Part(region, (), region.data) if region else None
    merged.data = _mapping(merged, base, over, ())
    return merged


def _mapping(merged: Merged, base: _Part | None, over: _Part, path: YamlPath) -> dict[str, Any]:
    merged.origins[path] = over.origin
    found: dict[str, Any] = {}
    given = {} if base is None else base.value
    for key in (*given, *(key for key in over.value if key not in given)):
        below = (*path, key)
        from_base = base.child(key) if base is not None and key in given else None
        from_mine = over.child(key) if key in over.value else None
        found[key] = _value(merged, from_base, from_mine, below)
    return found


def _value(merged: Merged, base: _Part | None, over: _Part | None, path: YamlPath) -> Any:
    parts = [part for part in (base, over) if part is not None]
    if len(path) == 1 and path[0] in KEYED_LISTS and all(isinstance(part.value, list) for part in parts):
        merged.origins[path] = parts[-1].origin
        return _keyed_list(merged, base, over, path)
    if len(parts) == 2 and all(isinstance(part.value, dict) for part in parts):
        return _mapping(merged, parts[0], parts[1], path)
    return _copy(merged, parts[-1], path)


def _copy(merged: Merged, part: _Part, path: YamlPath) -> Any:
    merged.origins[path] = part.origin
    if isinstance(part.value, dict):
        return {key: _copy(merged, part.child(key), (*path, key)) for key in part.value}
    if isinstance(part.value, list):
        return [_copy(merged, part.child(index), (*path, index)) for index in range(len(part.value))]
    return part.value


def _keyed_list(merged: Merged, base: _Part | None, over: _Part | None, path: YamlPath) -> list[Any]:
    theirs, ours = _items(base), _items(over)
    their_ids = {name for item in theirs if (name := _id(item)) is not None}
    replaced: dict[str | None, list[_Part]] = {}
    new: list[_Part] = []
    for item in ours:
        name = _id(item)
        if isinstance(item.value, dict) and "drop" in item.value:
            merged.problems += _drop_problems(item, name, their_ids)
            replaced.setdefault(name, [])
        elif name in their_ids:
            replaced.setdefault(name, []).append(item)
        else:
            new.append(item)
    items: list[_Part] = []
    for item in theirs:
        name = _id(item)
        # The first of the region's items makes way for all of the mine's: two with one id are found by the checks.
        items += [item] if name is None or name not in replaced else replaced[name]
        if name in replaced:
            replaced[name] = []
    return [_copy(merged, item, (*path, index)) for index, item in enumerate(items + new)]


def _items(part: _Part | None) -> list[_Part]:
    return [] if part is None else [part.child(index) for index in range(len(part.value))]


def _id(item: _Part) -> str | None:
    name = item.value.get("id") if isinstance(item.value, dict) else None
    return name if isinstance(name, str) else None


def _drop_problems(item: _Part, name: str | None, their_ids: set[str]) -> list[Problem]:
    if name not in their_ids:
        advice = nearest(name or "", their_ids) or "; remove this item"
        message = f"there is no {name!r} in the region's file to drop{advice}"
    elif item.value != {"id": name, "drop": True}:
        message = "an item that drops the region's is just {id: ..., drop: true}"
    else:
        return []
    origin = item.origin
    return [Problem(origin.file, origin.line, field_name(origin.path), message)]
