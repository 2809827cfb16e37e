"""Mapping files: what the columns of a public data set mean, and which invented mine it plays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from greenmine.core.errors import UserError
from greenmine.core.metric import SensorKind
from greenmine.core.quality import HJ212_LETTERS
from greenmine.policy.canonical import ordered_by_id
from greenmine.policy.duration import Seconds, duration_text
from greenmine.policy.model import (
    Channel,
    Contact,
    Device,
    Identifier,
    MetricName,
    MetricSetting,
    MineInfo,
    Number,
    Policy,
    Position,
    Rule,
    Section,
    Sensor,
    Text,
    UnitName,
)
from greenmine.policy.typed_yaml import read_typed

_DATA = files("greenmine.simulator") / "data"

Words = Annotated[str, StringConstraints(min_length=1, max_length=500, strict=True)]


def _letters(letters: dict[str, str]) -> dict[str, str]:
    unknown = [letter for letter in letters.values() if letter not in HJ212_LETTERS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no HJ 212 letter; known are {' '.join(HJ212_LETTERS)}")
    return letters


class Flag(Section):
    """The source's own flag of a column: the first word of its cell is looked up, unknown words mean nothing.

    `missing` words make the value missing; `letters` are passed on as HJ 212 letters.
    """

    column: Words
    missing: list[Words] = Field(default_factory=list)
    letters: Annotated[dict[str, str], AfterValidator(_letters)] = Field(default_factory=dict)


class Column(Section):
    """A column that is a metric, in the file's own unit. `words` gives text cells (wind directions) their number."""

    column: Words
    unit: UnitName
    interval: Seconds = Field(gt=0)
    stat: Literal["inst", "avg", "min", "max", "sum"] = "inst"
    period: Seconds = Field(default=0, validate_default=False)
    words: dict[str, Number] | None = None
    flag: Flag | None = None

    @property
    def setting(self) -> MetricSetting:
        """How the policy registers the metric."""
        return MetricSetting.model_validate(
            {
                "unit": self.unit,
                "interval": duration_text(self.interval),
                "stat": self.stat,
                "period": duration_text(self.period),
            }
        )


class MappedSensor(Section):
    """A sensor whose metrics are columns."""

    kind: SensorKind
    principle: Words
    channel: Channel = ""
    metrics: dict[MetricName, Column] = Field(min_length=1)


class MappedFile(Section):
    """A file by its name pattern, and the device it plays."""

    pattern: Words
    device: Identifier
    name: Text
    position: Position | None = None


class TimeColumns(Section):
    """Where a row's time stands. Several columns are joined with a blank; `format` is `iso` or that of strptime.

    `zone` is the offset of times that have none, as `+08:00`.
    """

    columns: list[Words] = Field(min_length=1)
    format: Words = "iso"
    zone: Annotated[str, StringConstraints(pattern=r"^[+-][0-9]{2}:[0-9]{2}$", strict=True)]


class Mapping(Section):
    """All about one data set. `default: false` leaves it out unless it is asked for."""

    schema_version: Literal[1] = Field(alias="schema")
    id: Identifier
    title: Text
    source: Words
    licence: Words
    assumptions: list[Words] = Field(default_factory=list)
    default: bool = True
    files: list[MappedFile] = Field(min_length=1)
    time: TimeColumns
    missing: list[str]
    sensors: list[MappedSensor] = Field(min_length=1)
    mine: MineInfo
    valid_from: date
    rules: list[Rule] = Field(default_factory=list)
    contacts: list[Contact] = Field(default_factory=list)

    @model_validator(mode="after")
    def _plays_what_a_policy_allows(self) -> Mapping:
        self.device(self.files[0])
        return self

    def device(self, file: MappedFile) -> Device:
        """The device that a file plays, as the policy registers it."""
        sensors = [
            Sensor(
                kind=sensor.kind,
                principle=sensor.principle,
                channel=sensor.channel,
                metrics={metric: column.setting for metric, column in sensor.metrics.items()},
            )
            for sensor in self.sensors
        ]
        return Device(id=file.device, name=file.name, position=file.position, sensors=sensors)


@dataclass(frozen=True, slots=True)
class DataSet:
    """A file that is there, its mapping, and the entry of the mapping that names it."""

    mapping: Mapping
    file: MappedFile
    path: Path

    @property
    def mine(self) -> str:
        """The invented mine it plays."""
        return self.mapping.mine.id

    @property
    def device(self) -> str:
        """The device of that mine."""
        return self.file.device


def mappings() -> list[Mapping]:
    """The mappings that come with greenmine, by file name."""
    entries = sorted((e for e in _DATA.iterdir() if e.name.endswith(".yaml")), key=lambda entry: entry.name)
    return [read_typed(entry.read_bytes(), entry.name, Mapping) for entry in entries]


def data_sets(folder: Path, include_off: bool = False) -> list[DataSet]:
    """The files under `folder` (at any depth) that a mapping knows by name, in the order of the mappings.

    `include_off` takes also the data sets that are off by default.

    Raises:
        UserError: no such folder, no file that is known, or two files that play the same device.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    known = [mapping for mapping in mappings() if mapping.default or include_off]
    paths = sorted(path for path in folder.rglob("*.csv") if path.is_file())
    found = [
        DataSet(mapping, file, path)
        for mapping in known
        for file in mapping.files
        for path in paths
        if fnmatchcase(path.name, file.pattern)
    ]
    if not found:
        patterns = ", ".join(file.pattern for mapping in known for file in mapping.files)
        raise UserError(f"{folder} has no file that a mapping knows; known are {patterns}")
    plays: dict[tuple[str, str], Path] = {}
    for data_set in found:
        other = plays.setdefault((data_set.mine, data_set.device), data_set.path)
        if other != data_set.path:
            raise UserError(
                f"{other} and {data_set.path} both play {data_set.mine}/{data_set.device}; keep one of them"
            )
    return found


def policies(source: Path | Sequence[DataSet]) -> list[Policy]:
    """One policy a mine that the data sets (or those in a folder) play, with the rules and contacts of the mappings.

    Raises:
        UserError: as `data_sets`, or mappings that describe one mine differently.
    """
    found = data_sets(source) if isinstance(source, Path) else source
    by_mine: dict[str, list[DataSet]] = {}
    for data_set in found:
        by_mine.setdefault(data_set.mine, []).append(data_set)
    return [_policy(playing) for playing in by_mine.values()]


def _policy(playing: list[DataSet]) -> Policy:
    parts: list[Mapping] = []
    for data_set in playing:
        if data_set.mapping not in parts:
            parts.append(data_set.mapping)
    first = parts[0]
    for other in parts[1:]:
        if other.mine != first.mine:
            raise UserError(f"mappings {first.id} and {other.id} describe mine {first.mine.id} differently")
    there = {data_set.device for data_set in playing}
    contacts = {contact.id: contact for part in parts for contact in part.contacts}
    policy = Policy(
        schema=1,
        mine=first.mine,
        valid_from=min(part.valid_from for part in parts),
        devices=[data_set.mapping.device(data_set.file) for data_set in playing],
        rules=[rule for part in parts for rule in (_for_devices(r, there) for r in part.rules) if rule is not None],
        contacts=list(contacts.values()),
    )
    return ordered_by_id(policy)


def _for_devices(rule: Rule, there: set[str]) -> Rule | None:
    """The rule for the devices whose files are there; None where none of its devices is."""
    if rule.devices is None:
        return rule
    left = [device for device in rule.devices if device in there]
    update: dict[str, Any] = {"devices": left}
    return rule.model_copy(update=update) if left else None
