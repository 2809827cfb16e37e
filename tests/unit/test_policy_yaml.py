"""The YAML reader: what it gives, and each thing it refuses with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmine.core.errors import PolicyError, Problem
from greenmine.policy.scalar import plain_value
from greenmine.policy.yaml import MAX_BYTES, MAX_DEPTH, YamlFile, field_name, parse_yaml, read_yaml


def test_data_and_lines() -> None:
    text = "# a comment\nmine:\n  id: x\n  location: [110.5, -39]\nrules:\n  - id: a\n    on: yes\n  - {id: b}\nnone:\n"
    file = parse_yaml(text.encode(), "m.yaml")
    assert file.data == {
        "mine": {"id": "x", "location": [110.5, -39]},
        "rules": [{"id": "a", "on": "yes"}, {"id": "b"}],
        "none": None,
    }
    assert file.lines[()] == 2
    assert file.lines[("mine",)] == 2
    assert file.lines[("mine", "location", 1)] == 4
    assert file.lines[("rules", 0)] == 6
    assert file.lines[("rules", 0, "on")] == 7
    assert file.lines[("rules", 1, "id")] == 8


def test_byte_order_mark_crlf_and_document_markers_are_fine() -> None:
    file = parse_yaml("﻿---\r\na: 1\r\nb: 中文\r\n...\r\n".encode(), "m.yaml")
    assert file.data == {"a": 1, "b": "中文"}
    assert file.lines[("b",)] == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("FALSE", False),
        ("yes", "yes"),
        ("on", "on"),
        ("0", 0),
        ("-12", -12),
        ("+7", 7),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-0.0", -0.0),
        ("2026-01-01", "2026-01-01"),
        ("12:30:45", "12:30:45"),
        ("1.2.3", "1.2.3"),
        ("nan", "nan"),
        ("10s", "10s"),
    ],
)
def test_plain_scalars(text: str, value: object) -> None:
    read = plain_value(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text",
    ["012", "-07", "00", "0x1F", "0o17", "0b11", "1_000", "1_0.5", "1.0_0", ".nan", ".NaN", ".inf", "-.INF", "+.Inf"],
)
def test_numbers_that_are_misread_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        plain_value(text)


@pytest.mark.parametrize("text", ["1e999", "-1e999", "9" * 19, "9" * 5000])
def test_numbers_that_are_too_long_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"too (long|large)"):
        plain_value(text)


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_reads_back(number: float) -> None:
    assert plain_value(repr(number)) == number


@settings(deadline=None)
@given(st.integers(min_value=-(10**18) + 1, max_value=10**18 - 1))
def test_every_whole_number_reads_back(number: int) -> None:
    assert plain_value(str(number)) == number


REFUSED = {
    "tab for indent": (b"mine:\n\tid: x\n", 2, "", "replace every tab by spaces"),
    "tabs, counted": (b"a:\t1\nb:\t2\nc:\t3\n", 1, "", "and on 2 more lines"),
    "duplicate key": (b"a: 1\nb: 2\na: 3\n", 3, "a", "already on line 1"),
    "duplicate key in a flow mapping": (b"r:\n  - {a: 1, a: 2}\n", 2, "r[0].a", "duplicate key 'a'"),
    "anchor": (b"a: &x 1\n", 1, "a", "anchors (&x)"),
    "anchor on a mapping": (b"a: &x\n  b: 1\n", 1, "a", "anchors (&x)"),
    "alias": (b"b: 1\na: *x\n", 2, "a", "aliases (*x)"),
    "merge key": (b"a:\n  <<: {b: 1}\n", 2, "a", "merge keys (<<)"),
    "tag": (b"a: 1\nb: !!python/object:os.system x\n", 2, "b", "tags ("),
    "second document": (b"a: 1\n---\nb: 2\n", 2, "", "second document"),
    "directive": (b"%YAML 1.1\n---\na: 1\n", 2, "", "%YAML and %TAG"),
    "empty": (b"", 1, "", "the file is empty"),
    "only a comment": (b"# nothing\n", 1, "", "the file is empty"),
    "a list": (b"\n- a\n", 2, "", "must be keys and values"),
    "a text": (b"hello\n", 1, "", "must be keys and values"),
    "key that is a truth value": (b"a: 1\ntrue: 2\n", 2, "", "the key 'true' is not text"),
    "key that is a number": (b"r:\n  1: 2\n", 2, "r", "the key '1' is not text"),
    "key that is a list": (b"? [a]\n: 1\n", 1, "", "a key must be plain text"),
    "octal": (b"mine:\n  id: 012\n", 2, "mine.id", '"012" in quotes'),
    "underscore": (b"a:\n  - 1_000\n", 2, "a[0]", "write 1000"),
    "infinite": (b"raise: .inf\n", 1, "raise", "finite"),
    "not a number": (b"raise: .nan\n", 1, "raise", "finite"),
    "GBK": ("a: 1\nname: 示范矿\n".encode("gbk"), 2, "", "GBK / GB18030): open it in an editor and save as UTF-8"),
    "UTF-16": ("a: 1\n".encode("utf-16"), 1, "", "looks like UTF-16"),
    "no encoding": (b"a: 1\nb: \xff\xff\n", 2, "", "cannot be told"),
    "control character": (b"a: 1\nb: \x07\n", 2, "", "U+0007"),
    "escaped NUL": (b'a: "x\\0"\n', 1, "a", "control character"),
    "half a character": (b'a: "\\ud800"\n', 1, "a", "half a character"),
    "unclosed quote": (b"a: 1\nb: 'x\n", 3, "", "not valid YAML"),
    "unclosed flow": (b"a: [1, 2\nb: 3\n", 2, "", "not valid YAML"),
    "colon in text": (b"a: b: c\n", 1, "", "not valid YAML"),
    "long line": (b"a: 1\nb: " + b"x" * 4000 + b"\n", 2, "", "longer than 4000"),
}


@pytest.mark.parametrize(("raw", "line", "where", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_line_and_field(raw: bytes, line: int, where: str, words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_yaml(raw, "m.yaml")
    first = caught.value.problems[0]
    assert (first.file, first.line, first.field) == ("m.yaml", line, where)
    assert words in first.message


def test_every_problem_is_told() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_yaml(b"a: 012\nb: &x 1\nc: *x\nd: .nan\nd: 1\n", "m.yaml")
    assert [(p.line, p.field) for p in caught.value.problems] == [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "d")]


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ("{a: ", "}")])
def test_depth_is_limited(opened: str, closed: str) -> None:
    def nested(levels: int) -> bytes:
        return ("a: " + opened * (levels - 1) + closed * (levels - 1)).encode()

    parse_yaml(nested(MAX_DEPTH), "m.yaml")
    with pytest.raises(PolicyError, match="nested deeper than 20"):
        parse_yaml(nested(MAX_DEPTH + 1), "m.yaml")
    with pytest.raises(PolicyError, match="nested deeper than 20"):
        parse_yaml(b"a: " + opened.encode() * 900, "m.yaml")


def test_alias_bomb_stays_small() -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(PolicyError) as caught:
        parse_yaml("\n".join(lines).encode(), "m.yaml")
    assert {p.line for p in caught.value.problems} == set(range(1, 10))


def test_size_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    line = b"# " + b"x" * 61 + b"\n"
    path.write_bytes(b"a: 1\n" + line * ((MAX_BYTES - 5) // 64))
    assert read_yaml(path).data == {"a": 1}
    path.write_bytes(b"a: 1\n" + line * (MAX_BYTES // 64))
    with pytest.raises(PolicyError, match="larger than 1 MiB"):
        read_yaml(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(PolicyError, match="there is no such file") as caught:
            read_yaml(path)
        assert caught.value.problems[0].file == str(path)


def read_or_problems(raw: bytes) -> YamlFile | list[Problem]:
    try:
        return parse_yaml(raw, "m.yaml")
    except PolicyError as error:
        return error.problems


YAML_WORDS = ["a", "b", ":", "- ", "\n", "\n  ", "[", "]", "{", "}", ",", "&x ", "*x", "<<", "!t ", "? ", "|", ">"]
YAML_WORDS += ["#", "---", "012", ".nan", " ", "'", '"']


@settings(deadline=None)
@given(st.binary(max_size=200) | st.lists(st.sampled_from(YAML_WORDS), max_size=40).map(lambda w: "".join(w).encode()))
def test_anything_is_read_or_refused_with_a_line(raw: bytes) -> None:
    answer = read_or_problems(raw)
    if isinstance(answer, YamlFile):
        assert all(isinstance(key, str) for key in answer.data)
    else:
        assert answer
        assert all(p.file == "m.yaml" and p.line and p.line >= 1 for p in answer)


@pytest.mark.parametrize(
    ("path", "name"),
    [((), ""), (("mine", "id"), "mine.id"), (("rules", 2, "clear"), "rules[2].clear"), (("a", 0, 1), "a[0][1]")],
)
def test_field_names(path: tuple[str | int, ...], name: str) -> None:
    assert field_name(path) == name
