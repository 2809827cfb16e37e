"""Turns what pydantic says of a policy into a path as the file has it and words that say what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from pydantic_core import ErrorDetails

from greenmine.core.identifier import IDENTIFIER_PATTERN
from greenmine.policy.model import Policy
from greenmine.policy.yaml import YamlPath


def explain(error: ErrorDetails) -> tuple[YamlPath, str]:
    """Where in the file (keys and indices, without the names of union members) and what to do."""
    path, node = _walk(error["loc"])
    if error["type"] == "extra_forbidden":
        return path, _unknown_key(str(path[-1]), _walk(error["loc"][:-1])[1])
    return path, _message(error, path, node)


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where one of the known words is near, else nothing."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


def _unknown_key(key: str, parent: Mapping[str, Any]) -> str:
    known = sorted(parent.get("properties", {}))
    advice = nearest(key, known)
    return f"unknown key {key!r}{advice or '; remove it'} (known here: {', '.join(known)})"


def _message(error: ErrorDetails, path: YamlPath, node: Mapping[str, Any]) -> str:
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "missing":
        return "is missing; add it"
    if kind == "value_error":
        return str(context["error"])
    if kind in ("enum", "literal_error"):
        return f"{_shown(given)} is not known here; write {context['expected']}"
    if kind == "union_tag_invalid":
        return f"unknown kind {context['tag']!r}; write one of {context['expected_tags']}"
    if kind == "union_tag_not_found":
        return f"`kind` is missing; write one of {', '.join(node.get('discriminator', {}).get('mapping', ()))}"
    if kind == "string_pattern_mismatch":
        return _pattern_message(str(given), str(context["pattern"]), path)
    if kind in ("greater_than_equal", "less_than_equal") and path[-1:] in ((0,), (1,)):
        return f"{_shown(given)} is outside its range; a position is [longitude, latitude] in degrees"
    if kind == "too_long" and isinstance(given, list):
        return f"has {len(given)} items, at most {context['max_length']} are allowed"
    if kind == "too_short":
        return f"is empty; give at least {context['min_length']} or leave the key out"
    if kind in _WANTED:
        return _WANTED[kind].format(given=_shown(given))
    return f"{_shown(given)}: {error['msg'][:1].lower()}{error['msg'][1:]}"


_WANTED = {
    "string_type": "must be text, not {given}; put it in quotes if it looks like a number or is true or false",
    "float_type": "must be a number without quotes, not {given}",
    "int_type": "must be a whole number without quotes, not {given}",
    "list_type": "must be a list (lines that begin with `- `), not {given}",
    "tuple_type": "must be [longitude, latitude], not {given}",
    "dict_type": "must be keys and values, not {given}",
    "model_type": "must be keys and values, not {given}",
    "model_attributes_type": "must be keys and values, not {given}",
    "string_too_short": "is empty; write something or leave the key out",
}

_PATTERNS = {
    "^secret:": (
        "{given} is a literal value where a reference is due: keep bot and webhook URLs as secrets of the service "
        "and write secret:NAME here"
    ),
    "^[0-9]{6}$": "{given} is not a region code; write its six digits in quotes",
    "^[0-9a-fA-F]{16}$": "{given} is not a DevEUI; write its 16 hexadecimal digits in quotes",
    "^[0-9A-Za-z_]{1,24}$": "{given} is not an HJ 212 MN; write 1 to 24 letters and digits in quotes",
    "^[^/+#]": "{given} is not a Sparkplug address; write group/edge or group/edge/device",
    "_]{0,62}$": "{given} is not a principle; write a-z, 0-9 and _, as light_scattering",
    "^[^@": "{given} is not one e-mail address; write name@host",
}


def _pattern_message(given: str, pattern: str, path: YamlPath) -> str:
    shown = _shown(given)
    if pattern == IDENTIFIER_PATTERN and any(sign in given for sign in "*?[]()|+$^\\"):
        return (
            f"{shown} is not an identifier: there are no wildcards or regular expressions here; name each device, "
            "or leave `devices` out of a rule that holds for every device that reports the metric"
        )
    for part, message in _PATTERNS.items():
        if part in pattern:
            return message.format(given=shown)
    empty = "nothing, or " if "channel" in path else ""
    return f"{shown} is not an identifier; write {empty}1 to 63 of a-z, 0-9 and '-', beginning with a letter or digit"


def _shown(given: Any) -> str:
    if given is None:
        return "nothing"
    if isinstance(given, dict | list):
        return "keys and values" if isinstance(given, dict) else "a list"
    if isinstance(given, bool):
        return str(given).lower()
    text = repr(given)
    return text if len(text) <= 80 else f"{text[:77]}..."


@cache
def _raw_schema() -> dict[str, Any]:
    return Policy.model_json_schema(by_alias=True)


def _resolved(node: Mapping[str, Any]) -> Mapping[str, Any]:
    while True:
        if "$ref" in node:
            node = _raw_schema()["$defs"][node["$ref"].rsplit("/", 1)[1]]
            continue
        choices = [choice for choice in node.get("anyOf", ()) if choice.get("type") != "null"]
        if len(choices) != 1:
            return node
        node = choices[0]


def _walk(location: tuple[str | int, ...]) -> tuple[YamlPath, Mapping[str, Any]]:
    """The location without union members and markers of pydantic's, and the schema's node there."""
    node = _resolved(_raw_schema())
    path: list[str | int] = []
    for step in location:
        if step == "[key]":
            continue
        if "discriminator" in node:
            node = _resolved({"$ref": node["discriminator"]["mapping"][step]})
            continue
        path.append(step)
        node = _resolved(_child(node, step))
    return tuple(path), node


def _child(node: Mapping[str, Any], step: str | int) -> Mapping[str, Any]:
    if isinstance(step, int):
        prefix: list[Mapping[str, Any]] = node.get("prefixItems", [])
        child = prefix[step] if step < len(prefix) else node.get("items", {})
    else:
        named = node.get("properties", {}).get(step)
        child = named or next(iter(node.get("patternProperties", {}).values()), node.get("additionalProperties"))
    return child if isinstance(child, Mapping) else {}
