"""The JSON Schema is valid, describes every key, and agrees with the loader on the shipped files and on wrong ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from greenmine.policy.load import EXAMPLES
from greenmine.policy.schema import json_schema
from greenmine.policy.yaml import parse_yaml, read_yaml

FILES = sorted([*EXAMPLES.glob("*.yaml"), *EXAMPLES.glob("regions/*.yaml")])


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_head() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"]
    assert schema["title"]
    assert schema["description"]


def test_every_call_gives_a_new_dictionary() -> None:
    first = json_schema()
    first["properties"].clear()
    assert json_schema()["properties"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_files_are_valid(validator: Draft202012Validator, path: Path) -> None:
    assert [error.message for error in validator.iter_errors(read_yaml(path).data)] == []


def test_three_files_are_shipped() -> None:
    assert [path.stem for path in FILES] == ["150622", "shifan-1", "shifan-2"]


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(child)


def test_every_key_is_described_in_english() -> None:
    schema = json_schema()
    models = [schema, *(node for name, node in schema["$defs"].items() if "description" in node and name != "Dropped")]
    for model in models:
        assert "issue" not in model["description"]
        for key, node in model.get("properties", {}).items():
            assert node["description"].isascii(), key
            assert node["description"].endswith("."), key


def test_defaults_are_written_as_in_a_file() -> None:
    defaults = [
        node["default"]
        for node in nodes(json_schema())
        if node.get("pattern", "").endswith("(s|m|h|d)$") and "default" in node
    ]
    assert set(defaults) == {"0s", "5m", "10s"}


REGION = "schema: 1\nrules: []\n"
COMPLETE = """\
schema: 1
valid_from: 2026-01-01
mine:
  id: shifan
  name: {zh: 示范, en: Demo}
  enterprise: {zh: 示范, en: Demo}
  region: "150622"
  timezone: Asia/Shanghai
  location: [110.2, 39.7]
  noise_class: 3
  air_grade: 2
rules:
  - {id: a, kind: absence, severity: notice, intervals: 3}
"""
EXTENDING = COMPLETE.replace("valid_from: 2026-01-01", "extends: r.yaml").replace("  noise_class: 3\n", "")


@pytest.mark.parametrize("text", [REGION, COMPLETE, EXTENDING, EXTENDING + "  - {id: b, drop: true}\n"])
def test_kinds_of_file(validator: Draft202012Validator, text: str) -> None:
    assert [error.message for error in validator.iter_errors(parse_yaml(text.encode(), "m.yaml").data)] == []


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        (REGION, "schema: 1\n", ""),
        (REGION, "schema: 1", "schema: 2"),
        (REGION, "rules: []", "mine: {name: {zh: a, en: b}}"),
        (REGION, "rules: []", "foo: 1"),
        (COMPLETE, "  noise_class: 3\n", ""),
        (COMPLETE, "valid_from: 2026-01-01\n", ""),
        (COMPLETE, "noise_class: 3", "noise_class: 9"),
        (COMPLETE, "[110.2, 39.7]", "[39.7, 110.2]"),
        (COMPLETE, '"150622"', "150622"),
        (COMPLETE, "intervals: 3", "intervals: 1"),
        (COMPLETE, "intervals: 3", "after: 3"),
        (COMPLETE, "intervals: 3", "intervals: 3, foo: 1"),
        (COMPLETE, "intervals: 3", "intervals: 3, metric: ch5"),
        (COMPLETE, "kind: absence", "kind: absense"),
        (COMPLETE, "id: a,", "id: '*',"),
        (COMPLETE, "rules:\n", "quality: {unusable: [rang]}\nrules:\n"),
        (COMPLETE, "rules:\n", "templates: {A b: {zh: a, en: b}}\nrules:\n"),
        (
            COMPLETE,
            "rules:\n",
            "devices: [{id: d, sensors: [{kind: dust, principle: x, metrics: {ch5: {unit: K, "
            "interval: 1s}}}]}]\nrules:\n",
        ),
        (EXTENDING, "  id: shifan\n", ""),
        (EXTENDING, "{id: a, kind", "{id: a, drop: true, kind"),
    ],
)
def test_wrong_files_are_refused(validator: Draft202012Validator, text: str, old: str, new: str) -> None:
    wrong = text.replace(old, new)
    assert wrong != text
    assert not validator.is_valid(parse_yaml(wrong.encode(), "m.yaml").data)
