"""The JSON Schema of policy files, for editors and for whoever writes policies by program.

It describes files as they are written, before a region's file is merged in: a file with `extends` may leave out what
its region gives, and a file without `mine.id` is a region's. What a schema cannot say (levels in order, names that
must exist) `load_policy` checks.
"""

from __future__ import annotations

from typing import Any

from greenmine.core.metric import METRICS
from greenmine.core.quality import Quality, flag_names
from greenmine.core.unit import UNITS
from greenmine.policy.descriptions import DESCRIPTIONS, description
from greenmine.policy.duration import duration_text
from greenmine.policy.limit import JUDGED_UNITS
from greenmine.policy.load import MINES_OWN_KEYS
from greenmine.policy.merge import KEYED_LISTS
from greenmine.policy.model import Policy

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_ID = "urn:greenmine:policy:1"


def json_schema() -> dict[str, Any]:
    """A new dictionary that is a JSON Schema, draft 2020-12."""
    raw = Policy.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = raw.pop("$defs")
    for name, definition in definitions.items():
        _describe(name, definition)
    _describe("Policy", raw)
    return {
        "$schema": DIALECT,
        "$id": SCHEMA_ID,
        "title": "greenmine policy",
        "description": (
            "One mine's policy, or the settings that the mines of a region share. A mine's file names its region's "
            "with `extends`; the two are merged, and the mine's settings win."
        ),
        "type": "object",
        "properties": raw["properties"],
        "additionalProperties": False,
        "required": ["schema"],
        **_kinds_of_file(raw["required"], definitions),
        "$defs": definitions,
    }


def _kinds_of_file(required: list[str], definitions: dict[str, Any]) -> dict[str, Any]:
    """A mine's file that extends a region's, a complete one, and a region's, with what each must and must not have."""
    whole_mine: list[str] = definitions["MineInfo"].pop("required")
    own = [key for key in MINES_OWN_KEYS if key in whole_mine]
    definitions["Dropped"] = {
        "title": "Dropped",
        "description": "Takes the thing with this id away that the region's file has.",
        "type": "object",
        "properties": {"id": {"type": "string"}, "drop": {"const": True}},
        "required": ["id", "drop"],
        "additionalProperties": False,
    }
    definitions["RegionFile"] = {
        "title": "A region's file",
        "properties": {"extends": False, "mine": {"properties": dict.fromkeys(MINES_OWN_KEYS, False)}},
    }
    definitions["CompleteFile"] = {
        "title": "A mine's file that extends none",
        "properties": {"mine": {"required": whole_mine}},
        "required": required,
    }
    definitions["ExtendingFile"] = {
        "title": "A mine's file that extends a region's",
        "properties": {"mine": {"required": own}},
        "required": ["schema", "extends", "mine"],
    }
    is_mine = {"properties": {"mine": {"required": ["id"]}}, "required": ["mine"]}
    return {
        "if": {"properties": {"extends": {"type": "string"}}, "required": ["extends"]},
        "then": {"$ref": "#/$defs/ExtendingFile"},
        "else": {"if": is_mine, "then": {"$ref": "#/$defs/CompleteFile"}, "else": {"$ref": "#/$defs/RegionFile"}},
    }


def _describe(model: str, definition: dict[str, Any]) -> None:
    """Put in descriptions and vocabularies, and mend what pydantic says in Python's words."""
    if model in DESCRIPTIONS:
        definition["description"] = DESCRIPTIONS[model]
    for key, node in definition.get("properties", {}).items():
        node.pop("title", None)
        node["description"] = description(model, key)
        _mend(node)
        if key in ("metric", "unit", "metrics"):
            _name_vocabulary(model, key, node)
        if model == "Policy" and key in KEYED_LISTS:
            node["items"] = {"anyOf": [node["items"], {"$ref": "#/$defs/Dropped"}]}
        if model == "Policy" and key == "standards":
            name = {"type": "string", "description": "The part by its name, as GB 12348-2008/boundary."}
            node["items"] = {"anyOf": [name, node["items"]]}
        if model == "QualitySettings" and key == "unusable":
            node["items"] = {"enum": flag_names(sum(Quality))}


def _mend(node: Any) -> None:
    if isinstance(node, list):
        for item in node:
            _mend(item)
    if not isinstance(node, dict):
        return
    if type(node.get("default")) is int and node.get("type") == "string":
        node["default"] = duration_text(node["default"])
    if "default" in node and node["default"] is None:
        del node["default"]
    if "patternProperties" in node:
        node["additionalProperties"] = False
    for python_word, word in (("gt", "exclusiveMinimum"), ("ge", "minimum"), ("le", "maximum")):
        bound = node.pop(python_word, None)
        # A duration is text here: its bounds are the loader's to check.
        if bound is not None and node.get("type") == "number":
            node[word] = bound
    for child in node.values():
        _mend(child)


def _name_vocabulary(model: str, key: str, node: dict[str, Any]) -> None:
    if key == "metrics":
        node["propertyNames"] = {"enum": list(METRICS)}
        return
    words = {"metric": list(METRICS), "unit": list(UNITS)}[key]
    if model == "OwnLimit" and key == "metric":
        words = list(JUDGED_UNITS)
    for choice in node.get("anyOf", [node]):
        if choice.get("type") == "string":
            choice["enum"] = words
