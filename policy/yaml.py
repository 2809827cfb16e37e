"""Reading the small, unambiguous part of YAML 1.2 that policies are written in, with a line for every value.

Whatever two programs may read differently, or a person may misread, is refused: tabs, duplicate keys, anchors, merge
keys, tags, numbers such as 012, 1_000 or .inf. ruamel.yaml parses; the values are built here, so that a file with
several mistakes gets several problems and nothing of YAML's object model is ever executed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from greenmine.core.errors import PolicyError, Problem
from greenmine.policy.scalar import plain_value

YamlPath = tuple[str | int, ...]
"""Keys and indices from the top of a file to a value."""

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_LINE_CHARS = 4000


@dataclass(frozen=True)
class YamlFile:
    """A file's plain data (str, int, float, bool, None, list, dict with str keys) and where each value begins.

    `lines` maps the path of every value to its 1-based line (for the value of a key, the line of the key);
    `()` is the file's mapping itself. `name` is the file's name as the caller wrote it.
    """

    name: str
    data: dict[str, Any]
    lines: dict[YamlPath, int]


def field_name(path: YamlPath) -> str:
    """A path as people read it: `rules[2].clear`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def read_yaml(path: Path) -> YamlFile:
    """Read one file of at most 1 MiB.

    Raises:
        PolicyError: it cannot be read, or is not the YAML that policies are written in; every problem found.
    """
    name = str(path)
    try:
        if not path.is_file():
            raise _refusal(name, None, "there is no such file; check the name and the folder")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _refusal(name, None, f"cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise _refusal(name, None, "is larger than 1 MiB; a policy is one mine's, move other data elsewhere")
    return parse_yaml(raw, name)


def parse_yaml(raw: bytes, name: str) -> YamlFile:
    """Like `read_yaml`, from bytes; `name` stands in the problems."""
    text = _decode(raw, name)
    _check_characters(text, name)
    reader = _Reader(name)
    try:
        reader.read(YAML(typ="safe", pure=True).parse(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        advice = "check the indentation and the quotes; text with ': ', ' #' or a leading @ ` % & * ! needs quotes"
        message = f"this is not valid YAML: {error.problem or error.context}; {advice}"
        reader.problems.append(Problem(name, mark.line + 1 if mark else 1, "", message))
    except YAMLError as error:
        reader.problems.append(Problem(name, 1, "", f"this is not valid YAML: {error}"))
    if reader.problems:
        raise PolicyError(reader.problems)
    if reader.data is None:
        raise _refusal(name, 1, "the file is empty; start with `schema: 1`")
    if not isinstance(reader.data, dict):
        raise _refusal(name, reader.lines[()], "the top of the file must be keys and values, as `schema: 1`")
    return YamlFile(name, reader.data, reader.lines)


def _refusal(name: str, line: int | None, message: str) -> PolicyError:
    return PolicyError([Problem(name, line, "", message)])


def _decode(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        guess = "it looks like UTF-16"
    else:
        try:
            raw.decode("gb18030")
            guess = "it looks like GBK / GB18030"
        except UnicodeDecodeError:
            guess = "its encoding cannot be told"
    raise _refusal(
        name, line, f"the file is not UTF-8 ({guess}): open it in an editor and save as UTF-8 / 另存为 UTF-8"
    )


_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def _check_characters(text: str, name: str) -> None:
    problems = []
    lines = text.split("\n")
    tabs = [number for number, line in enumerate(lines, 1) if "\t" in line]
    if tabs:
        more = f" (and on {len(tabs) - 1} more lines)" if len(tabs) > 1 else ""
        problems.append(Problem(name, tabs[0], "", f"there is a tab here{more}; replace every tab by spaces"))
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE_CHARS:
            problems.append(Problem(name, number, "", f"the line is longer than {MAX_LINE_CHARS} characters; break it"))
        elif found := _FORBIDDEN.search(line):
            code = ord(found[0])
            problems.append(Problem(name, number, "", f"there is a control character (U+{code:04X}) here; remove it"))
    if problems:
        raise PolicyError(problems)


class _TooDeep(Exception):
    """Leaves the recursion; the problem is already recorded."""


@dataclass
class _Reader:
    """Builds data from parser events, collecting problems. The depth is checked before the parser goes deeper."""

    name: str
    problems: list[Problem] = field(default_factory=list)
    lines: dict[YamlPath, int] = field(default_factory=dict)
    data: Any = None

    def read(self, events: Iterator[Event]) -> None:
        documents = 0
        try:
            for event in events:
                if isinstance(event, DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        self._problem(event, (), "a second document (`---`) begins here; one file is one policy")
                        return
                    if event.version or event.tags:
                        self._problem(event, (), "%YAML and %TAG lines are not supported; remove them")
                elif isinstance(event, MappingStartEvent | SequenceStartEvent | ScalarEvent | AliasEvent):
                    self.lines[()] = _line(event)
                    self.data = self._value(event, events, ())
                elif isinstance(event, StreamEndEvent):
                    return
        except _TooDeep:
            return

    def _problem(self, event: Event, path: YamlPath, message: str) -> None:
        self.problems.append(Problem(self.name, _line(event), field_name(path), message))

    def _value(self, event: Event, events: Iterator[Event], path: YamlPath) -> Any:
        if isinstance(event, AliasEvent):
            self._problem(event, path, f"aliases (*{event.anchor}) are not supported; write the value out here")
            return None
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor is not None:
            self._problem(event, path, f"anchors (&{anchor}) are not supported; remove it")
        if tag is not None:
            self._problem(event, path, f"tags ({tag[:40]}) are not supported; remove it")
        if isinstance(event, ScalarEvent):
            return self._scalar(event, path)
        if len(path) >= MAX_DEPTH:
            self._problem(event, path[:3], f"nested deeper than {MAX_DEPTH} levels; no policy needs that")
            raise _TooDeep
        if isinstance(event, SequenceStartEvent):
            return self._sequence(events, path)
        return self._mapping(events, path)

    def _scalar(self, event: ScalarEvent, path: YamlPath) -> Any:
        if _FORBIDDEN.search(event.value):
            self._problem(event, path, "there is a control character or half a character here; remove it")
            return None
        if not event.implicit[0]:
            return event.value
        try:
            return plain_value(event.value)
        except ValueError as error:
            self._problem(event, path, str(error))
            return None

    def _sequence(self, events: Iterator[Event], path: YamlPath) -> list[Any]:
        items: list[Any] = []
        for event in events:
            if isinstance(event, SequenceEndEvent):
                break
            item_path = (*path, len(items))
            self.lines[item_path] = _line(event)
            items.append(self._value(event, events, item_path))
        return items

    def _mapping(self, events: Iterator[Event], path: YamlPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            key = self._key(event, events, path)
            value_event = next(events)
            if key is None:
                self._value(value_event, events, (*path, "?"))
                continue
            key_path = (*path, key)
            if key in found:
                first = self.lines[key_path]
                self._problem(event, key_path, f"duplicate key {key!r}: it is already on line {first}; remove one")
                self._value(value_event, events, (*path, "?"))
                continue
            self.lines[key_path] = _line(event)
            found[key] = self._value(value_event, events, key_path)
        return found

    def _key(self, event: Event, events: Iterator[Event], path: YamlPath) -> str | None:
        if not isinstance(event, ScalarEvent):
            self._value(event, events, (*path, "?"))
            self._problem(event, path, "a key must be plain text")
            return None
        if event.value == "<<" and event.implicit[0]:
            advice = "write the keys out, or put what mines share into a region's file (extends:)"
            self._problem(event, path, f"merge keys (<<) are not supported; {advice}")
            return None
        before = len(self.problems)
        value = self._value(event, events, (*path, event.value))
        if len(self.problems) > before:
            return None
        if not isinstance(value, str):
            self._problem(event, path, f"the key {event.value!r} is not text; put it in quotes if it is meant")
            return None
        return value


def _line(event: Event) -> int:
    line: int = event.start_mark.line
    return line + 1
