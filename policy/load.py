"""From a file to a checked policy, or to every problem found in it."""

from __future__ import annotations

import os.path
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from pydantic import ValidationError

from greenmine.core.errors import PolicyError, Problem
from greenmine.policy.canonical import ordered_by_id
from greenmine.policy.check import check_policy, policy_warnings
from greenmine.policy.explain import explain
from greenmine.policy.merge import Merged, merge
from greenmine.policy.model import Policy
from greenmine.policy.yaml import YamlFile, YamlPath, read_yaml

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
"""The shipped examples: beside this package in the repository, inside `greenmine` as installed."""

SCHEMA_VERSION = 1
MINES_OWN_KEYS = ("id", "name", "enterprise", "location", "permit")
"""What a region's file may not say of a mine."""


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy that can be used, the files it was read from (the mine's first), and what its author should look at."""

    policy: Policy
    files: list[Path]
    warnings: list[Problem] = field(default_factory=list)


def load_policy(path: Path) -> LoadedPolicy:
    """Read a mine's file with the region it extends, merge, and check all of it.

    Devices, limits, rules, contacts, ladders and tarps come back ordered by id, so that the order in which a file lists
    them changes neither what the policy does nor its hash.

    Raises:
        PolicyError: with every problem found, each with the file and line that wrote the value.
    """
    mine = read_yaml(path)
    problems = _schema_problems(mine)
    region: YamlFile | None = None
    files = [path]
    if mine.data.get("extends") is not None and not problems:
        try:
            region_path = _region_path(path, mine)
            region = _read_region(region_path)
            files.append(region_path)
        except PolicyError as error:
            problems += error.problems
    if problems:
        raise PolicyError(problems)
    merged = merge(mine, region)
    policy, faults = _validate(merged)
    problems = merged.problems + [merged.problem(where, message) for where, message, _ in faults]
    if policy is not None:
        problems += [merged.problem(where, message) for where, message in check_policy(policy)]
    if problems or policy is None:
        raise PolicyError(_in_order(problems))
    warnings = [merged.problem(where, message) for where, message in policy_warnings(policy)]
    return LoadedPolicy(ordered_by_id(policy), files, _in_order(warnings))


def check_file(path: Path) -> list[Problem]:
    """Check a mine's file or a region's (which has neither `extends` nor `mine.id`), and give the warnings.

    Raises:
        PolicyError: with every problem found.
    """
    data = read_yaml(path).data
    about = data.get("mine", {})
    if "extends" in data or (isinstance(about, dict) and "id" in about):
        return load_policy(path).warnings
    check_region(path)
    return []


def check_region(path: Path) -> None:
    """Check a region's file by itself: its keys and values, less what is missing because mines give it.

    What is seen only across sections (ids, names, levels) is checked with each mine that extends it.

    Raises:
        PolicyError: with every problem found.
    """
    merged = merge(_read_region(path), None)
    problems = merged.problems
    for where, message, kind in _validate(merged)[1]:
        left_to_mines = kind == "missing" and (len(where) == 1 or where[0] == "mine")
        if not left_to_mines:
            problems.append(merged.problem(where, message))
    if problems:
        raise PolicyError(_in_order(problems))


def _schema_problems(file: YamlFile) -> list[Problem]:
    version = file.data.get("schema")
    if type(version) is int and version == SCHEMA_VERSION:
        return []
    if "schema" not in file.data:
        message = f"is missing; write `schema: {SCHEMA_VERSION}` as the first line"
    elif type(version) is int and version > SCHEMA_VERSION:
        message = f"is {version}, newer than this greenmine knows ({SCHEMA_VERSION}); update greenmine"
    else:
        message = f"must be {SCHEMA_VERSION}, the only version there is"
    line = file.lines.get(("schema",), file.lines[()])
    return [Problem(file.name, line, "schema", message)]


def _region_path(path: Path, mine: YamlFile) -> Path:
    def refuse(message: str) -> PolicyError:
        return PolicyError([Problem(mine.name, mine.lines[("extends",)], "extends", message)])

    extends = mine.data["extends"]
    if not isinstance(extends, str) or not extends.endswith((".yaml", ".yml")):
        raise refuse("must name a region's file, as regions/150622.yaml")
    if "\\" in extends or PurePosixPath(extends).is_absolute() or PureWindowsPath(extends).drive:
        raise refuse(f"{extends!r}: write a path relative to this file, with `/`, as regions/150622.yaml")
    tree = path.absolute().parent.resolve().parent
    beside = path.parent / extends
    # At most one `..`, and no symbolic link that leads out: a policy must not make the service read other files.
    if os.path.normpath(extends).startswith("../../") or not beside.resolve().is_relative_to(tree):
        raise refuse(f"{extends!r} leads out of the policies' folder; put the region's file beside or one level above")
    if beside.is_file():
        return beside
    shipped = (EXAMPLES / extends).resolve()
    if shipped.is_file() and shipped.is_relative_to(EXAMPLES / "regions"):
        return shipped
    raise refuse(f"there is no {beside}, and no shipped {extends!r}; correct the name or add the file")


def _read_region(path: Path) -> YamlFile:
    region = read_yaml(path)
    problems = _schema_problems(region)
    if "extends" in region.data:
        message = "a region's file cannot extend another; put what is shared into one file"
        problems.append(Problem(region.name, region.lines[("extends",)], "extends", message))
    about = region.data.get("mine")
    for key in MINES_OWN_KEYS:
        if isinstance(about, dict) and key in about:
            message = "belongs into the mine's own file; a region's file holds what its mines share"
            problems.append(Problem(region.name, region.lines[("mine", key)], f"mine.{key}", message))
    if problems:
        raise PolicyError(problems)
    return region


def _validate(merged: Merged) -> tuple[Policy | None, list[tuple[YamlPath, str, str]]]:
    """The policy, or path, pydantic's type and message of everything wrong."""
    try:
        # Field names that differ from their key (raise_level for raise) are the code's, not the file's.
        return Policy.model_validate(merged.data, by_alias=True, by_name=False), []
    except ValidationError as error:
        return None, [(*explain(detail), detail["type"]) for detail in error.errors(include_url=False)]


def _in_order(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: (problem.file, problem.line or 0))
