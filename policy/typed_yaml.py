"""YAML files of ours (not policies) into typed values, with errors that say where."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from greenmine.core.errors import Problem, UserError
from greenmine.policy.yaml import YamlFile, YamlPath, field_name, parse_yaml

_Model = TypeVar("_Model", bound=BaseModel)


def read_typed(raw: bytes, name: str, model: type[_Model]) -> _Model:
    """The content `raw` of the file `name` as a `model`.

    Raises:
        UserError: no YAML, a key twice, an unknown key, a value of the wrong type; a line for each, with its place.
    """
    file = parse_yaml(raw, name)
    try:
        return model.model_validate(file.data)
    except ValidationError as error:
        problems = []
        for found in error.errors():
            path = _in_file(found["loc"], file)
            line = next((file.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in file.lines), None)
            problems.append(Problem(name, line, field_name(path), found["msg"].removeprefix("Value error, ")))
        raise UserError("\n".join(str(problem) for problem in problems)) from error


def _in_file(location: tuple[str | int, ...], file: YamlFile) -> YamlPath:
    """A place as the file has it: without the names of union members, which pydantic puts between."""
    path: YamlPath = ()
    for index, step in enumerate(location):
        if (*path, step) in file.lines or index == len(location) - 1:
            path = (*path, step)
    return path
