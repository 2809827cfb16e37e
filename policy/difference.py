"""What changed between two policies: setting by setting, things with an id by their id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from greenmine.policy.canonical import to_canonical_json
from greenmine.policy.merge import KEYED_LISTS
from greenmine.policy.model import Policy


class Difference(NamedTuple):
    """One setting that differs. `change` is added, removed or changed; a side that has none is None."""

    field: str
    change: str
    before: Any
    after: Any


def differences(before: Policy, after: Policy) -> list[Difference]:
    """All settings that differ, in the order of their names. Defaults are written out on both sides, so that a default
    that is spelled out is no difference."""
    old, new = json.loads(to_canonical_json(before)), json.loads(to_canonical_json(after))
    return list(_of_objects("", old, new))


def _of_objects(path: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Difference]:
    for key in sorted({*old, *new}):
        where = f"{path}.{key}" if path else key
        if not path and key in KEYED_LISTS:
            yield from _of_objects(where, _by_id(old.get(key, [])), _by_id(new.get(key, [])))
        elif key not in new:
            yield Difference(where, "removed", _plain(old[key]), None)
        elif key not in old:
            yield Difference(where, "added", None, _plain(new[key]))
        elif isinstance(old[key], dict) and isinstance(new[key], dict) and not _is_duration(old[key]):
            yield from _of_objects(where, old[key], new[key])
        elif old[key] != new[key]:
            yield Difference(where, "changed", _plain(old[key]), _plain(new[key]))


def _by_id(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {item["id"]: item for item in items}


def _is_duration(value: dict[str, Any]) -> bool:
    return value.keys() == {"s"}


def _plain(value: Any) -> Any:
    """Durations as people write them, and without the settings that say nothing."""
    if isinstance(value, dict):
        if _is_duration(value):
            return f"{value['s']:g}s"
        return {key: _plain(one) for key, one in value.items() if one is not None}
    return [_plain(one) for one in value] if isinstance(value, list) else value
