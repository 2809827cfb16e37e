"""Scenarios: what happens in the simulated world, when, and under which seed. Typed YAML in `data/scenarios`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import UserError
from greenmine.core.metric import SensorKind
from greenmine.policy.duration import Seconds
from greenmine.policy.model import Device, Identifier, Number, Policy, Section, Text
from greenmine.policy.typed_yaml import read_typed
from greenmine.simulator.dust import Plume

DEFAULT_SCENARIO = "dust-episode"
_SCENARIOS = files("greenmine.simulator") / "data" / "scenarios"


def _moment(text: str) -> str:
    if text != "now":
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise ValueError("write now, or a time such as 2026-11-22T08:00:00+08:00") from error
        if moment.tzinfo is None:
            raise ValueError("the time needs its offset, as +08:00")
    return text


class DustEpisode(Section):
    """A truck convoy without watering: PM10, PM2.5 and TSP rise over `ramp`, stay, and fall back within `length`.

    `strength` is the PM10 in ug/m3 that it adds at the mine's most downwind dust device. Without `mine` it is the
    first mine that has a dust sensor. `start` counts from the scenario's start.
    """

    kind: Literal["dust"]
    mine: Identifier | None = None
    start: Seconds
    length: Seconds = Field(gt=0)
    ramp: Seconds = Field(gt=0)
    strength: Annotated[Number, Field(gt=0, le=5_000)]

    @model_validator(mode="after")
    def _ramps_fit(self) -> DustEpisode:
        if 2 * self.ramp > self.length:
            raise ValueError("rise and fall (twice the ramp) do not fit into the length")
        return self


class Outage(Section):
    """A device that says nothing for `length`. Without `mine` and `device` it is the first device with sensors."""

    mine: Identifier | None = None
    device: Identifier | None = None
    start: Seconds
    length: Seconds = Field(gt=0)


class Silence(NamedTuple):
    """A device that says nothing from `start_ns` until before `end_ns`."""

    mine: str
    device: str
    start_ns: int
    end_ns: int


class Scenario(Section):
    """What happens. Times of episodes and outages count from the scenario's start."""

    schema_version: Literal[1] = Field(alias="schema")
    name: Identifier
    title: Text
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)]
    start: Annotated[str, StringConstraints(strict=True), AfterValidator(_moment)] = "now"
    duration: Seconds = Field(gt=0)
    episodes: list[DustEpisode] = Field(default_factory=list, max_length=100)
    outages: list[Outage] = Field(default_factory=list, max_length=1_000)

    def start_ns(self, now_ns: int) -> int:
        """When it starts, ns UTC, in a run that begins at `now_ns`."""
        if self.start == "now":
            return now_ns
        return int(datetime.fromisoformat(self.start).timestamp()) * NS_PER_S

    def plumes(self, policies: Sequence[Policy], start_ns: int) -> list[Plume]:
        """Its dust episodes at these mines.

        Raises:
            UserError: the mine is not there or has no dust sensor.
        """
        return [
            Plume(
                _mine(self.name, policies, episode.mine, SensorKind.DUST).mine.id,
                start_ns + episode.start * NS_PER_S,
                start_ns + (episode.start + episode.length) * NS_PER_S,
                episode.ramp * NS_PER_S,
                episode.strength,
            )
            for episode in self.episodes
        ]

    def silences(self, policies: Sequence[Policy], start_ns: int) -> list[Silence]:
        """Its outages at these mines.

        Raises:
            UserError: the mine or the device is not there.
        """
        found = []
        for outage in self.outages:
            policy = _mine(self.name, policies, outage.mine, None)
            device = _device(self.name, policy, outage.device)
            begin_ns = start_ns + outage.start * NS_PER_S
            found.append(Silence(policy.mine.id, device.id, begin_ns, begin_ns + outage.length * NS_PER_S))
        return found


def list_scenarios() -> list[Scenario]:
    """The scenarios that come with greenmine, by name."""
    names = sorted(entry.name for entry in _SCENARIOS.iterdir() if entry.name.endswith(".yaml"))
    return [load_scenario(name.removesuffix(".yaml")) for name in names]


def load_scenario(name_or_path: str | Path) -> Scenario:
    """A scenario that comes with greenmine by its name, or any from a file (a path that ends in .yaml or .yml).

    Raises:
        UserError: no such scenario, or the file cannot be read or has mistakes.
    """
    text_name = str(name_or_path)
    if text_name.endswith((".yaml", ".yml")):
        path = Path(name_or_path)
        try:
            return read_typed(path.read_bytes(), text_name, Scenario)
        except OSError as error:
            raise UserError(f"{text_name}: cannot be read: {error}") from error
    known = sorted(e.name.removesuffix(".yaml") for e in _SCENARIOS.iterdir() if e.name.endswith(".yaml"))
    if text_name not in known:
        raise UserError(f"there is no scenario {text_name!r}; known are {', '.join(known)}, or give a .yaml file")
    entry = _SCENARIOS / f"{text_name}.yaml"
    return read_typed(entry.read_bytes(), entry.name, Scenario)


def _mine(scenario: str, policies: Sequence[Policy], mine: str | None, kind: SensorKind | None) -> Policy:
    fitting = [p for p in policies if any(s.kind is kind or kind is None for d in p.devices for s in d.sensors)]
    found = next((p for p in fitting if mine is None or p.mine.id == mine), None)
    if found is None:
        what = "a mine" if mine is None else f"mine {mine!r}"
        sensors = "sensors" if kind is None else f"{kind.value} sensors"
        there = ", ".join(p.mine.id for p in fitting) or "none"
        raise UserError(f"scenario {scenario!r} needs {what} with {sensors}; such mines here: {there}")
    return found


def _device(scenario: str, policy: Policy, device: str | None) -> Device:
    with_sensors = [d for d in policy.devices if d.sensors]
    found = with_sensors[0] if device is None else policy.device(device)
    if found is None:
        there = ", ".join(d.id for d in policy.devices)
        raise UserError(f"scenario {scenario!r} needs device {device!r} of mine {policy.mine.id}; there are: {there}")
    return found
