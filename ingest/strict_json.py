"""JSON as payloads may hold it: bounded in bytes, depth and fields, UTF-8 without halves of characters, and with every
repeated key noticed. What the values mean is each format's own matter.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from greenmine.core.errors import DecodeRefused

MAX_BYTES = 256 * 1024
MAX_BYTES_TO_EXPLAIN = 4 * 1024 * 1024
"""Up to here an oversized payload is read once, so that its refusal can name the deeper reason."""
MAX_FIELDS = 1_000
MAX_DEPTH = 8


class FaultyObject(dict[str, Any]):
    """An object that named keys twice, or has more fields than are read (then it is empty)."""

    repeated: frozenset[str] = frozenset()
    fields: int = 0


def parse_json(payload: bytes, explain: Callable[[Any], None] | None = None) -> tuple[Any, bool]:
    """The document, and whether it has \\u escapes (which may hide half of a surrogate pair). Numbers may be NaN or
    infinite, and integers of more than 20 digits are 2**64: beyond 64 bits in any case. `explain` looks at the document
    of an oversized payload and may refuse it for a deeper reason.

    Raises:
        DecodeRefused: `empty size encoding json depth`; of an oversized payload also `too_many_fields`, and what
            `explain` says.
    """
    if not payload:
        raise DecodeRefused("empty", "zero bytes")
    oversize = len(payload) > MAX_BYTES
    too_large = DecodeRefused("size", f"{len(payload)} bytes; the most is {MAX_BYTES}")
    if len(payload) > MAX_BYTES_TO_EXPLAIN:
        raise too_large
    try:
        text = payload.decode("utf-8")
        document = json.loads(text, object_pairs_hook=_pairs, parse_int=_integer)
    except RecursionError as error:
        raise DecodeRefused("depth", f"nested deeper than {MAX_DEPTH}") from error
    except UnicodeDecodeError as error:
        raise too_large if oversize else DecodeRefused("encoding", f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        # What is too large may have been cut on its way.
        raise too_large if oversize else DecodeRefused("json", f"{error.msg} at character {error.pos}") from error
    if oversize:
        check_nesting(document, 1)
        if explain is not None:
            explain(document)
        raise too_large
    return document, "\\u" in text


def parse_object(payload: bytes) -> dict[str, Any]:
    """A payload that is one object, all of it sound: what another network's server writes. An object in it that names a
    key twice is a `FaultyObject`; the top must not.

    Raises:
        DecodeRefused: as `parse_json`, and `type depth too_many_fields duplicate_key encoding`.
    """
    document, escaped = parse_json(payload)
    if not isinstance(document, dict):
        raise DecodeRefused("type", "a payload is one object")
    check_nesting(document, 1)
    if escaped:
        check_surrogates(document)
    check_keys(document, "")
    return document


def check_keys(entry: dict[str, Any], where: str) -> None:
    """Refuse an object that names a key twice: `duplicate_key`."""
    if isinstance(entry, FaultyObject) and entry.repeated:
        twice = min(entry.repeated)[:80]
        raise DecodeRefused(
            "duplicate_key", f"{where or 'payload'}: {twice} stands twice", f"{where}.{twice}" if where else twice
        )


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_FIELDS:
        oversized = FaultyObject()
        oversized.fields = len(pairs)
        return oversized
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    marked = FaultyObject(plain)
    counts = Counter(key for key, _ in pairs)
    marked.repeated = frozenset(key for key, count in counts.items() if count > 1)
    return marked


def _integer(text: str) -> int:
    # Python refuses to convert very long digit strings; anything over 20 characters is beyond 64 bits in any case, and
    # must cost only the value it stands for.
    return int(text) if len(text) <= 20 else 2**64


def check_nesting(entry: Any, depth: int) -> None:
    """Refuse what is nested too deep (`depth`; `entry` itself is at `depth`), and any object in it that has too many
    fields (`too_many_fields`)."""
    level = [entry] if isinstance(entry, dict | list) else []
    while level:
        if depth > MAX_DEPTH:
            raise DecodeRefused("depth", f"nested deeper than {MAX_DEPTH}")
        deeper: list[Any] = []
        for node in level:
            if isinstance(node, FaultyObject) and node.fields:
                raise DecodeRefused("too_many_fields", f"an object has {node.fields} fields; the most is {MAX_FIELDS}")
            children = node.values() if isinstance(node, dict) else node
            deeper.extend(child for child in children if isinstance(child, dict | list))
        level, depth = deeper, depth + 1


def check_surrogates(document: Any) -> None:
    """Refuse text with half of a surrogate pair: `encoding`."""
    try:
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise DecodeRefused("encoding", "a string has half of a surrogate pair") from error
