"""The panel model: what a dashboard shows, as data. `web` draws it, Grafana's renderer translates it.

It says which series a panel is of, in which unit a person reads it, and which limits hold; nothing about colours,
queries or HTML. A dashboard is a grid of 24 columns, filled from left to right; a panel that does not fit the row
starts the next one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from greenmine.core.alert import Severity
from greenmine.core.metric import SensorKind
from greenmine.core.reading import Series
from greenmine.policy.model import Position, Text

GRID_COLUMNS = 24


class Part(BaseModel):
    """Base of all parts of the model: immutable, and nothing undeclared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Words(Part):
    """The same words in Chinese and English. Unlike a policy's `Text` they may be composed, so they have no bound."""

    zh: str
    en: str

    @classmethod
    def of(cls, text: Text) -> Words:
        """The words of a policy."""
        return cls(zh=text.zh, en=text.en)

    @classmethod
    def same(cls, text: str) -> Words:
        """An identifier, which is the same in every language."""
        return cls(zh=text, en=text)

    def in_language(self, language: str) -> str:
        """`zh` or `en`; anything else is given English."""
        return self.zh if language == "zh" else self.en


class PanelKind(StrEnum):
    """How a panel shows its targets."""

    TIMESERIES = "timeseries"
    STAT = "stat"
    MAP = "map"
    ALERT_LIST = "alert_list"


class Target(Part):
    """One series of a panel. `unit` is the canonical unit in which readings are stored; `interval_s` is how often
    the sensor reports, so that a silence can be told from a slow sensor."""

    mine: str
    device: str
    metric: str
    channel: str = ""
    stat: str = "inst"
    period_s: int = 0
    unit: str
    interval_s: int
    legend: Words

    @property
    def series(self) -> Series:
        """The series that is selected."""
        return Series(self.mine, self.device, self.metric, self.channel, self.stat, self.period_s)


class LimitLine(Part):
    """A level of a rule, in the panel's shown unit. `edge` raise is where the alert begins, clear where it ends.

    `window_s` is 0 where each reading is judged and the length of the window where a mean is.
    """

    value: float
    edge: Literal["raise", "clear"]
    direction: Literal["above", "below"]
    severity: Severity
    rule: str
    window_s: int = 0
    label: Words


class Marker(Part):
    """A place on a map: a device, or a mine where `device` is empty. `position` is None for a device not yet placed."""

    mine: str
    device: str
    title: Words
    kinds: list[SensorKind]
    position: Position | None
    link: str


class Layout(Part):
    """Size in the grid: `w` of 24 columns, `h` rows."""

    w: int = Field(ge=1, le=GRID_COLUMNS)
    h: int = Field(ge=1)


class Panel(Part):
    """One panel. `unit` is the shown unit (`mg/m3`), `digits` go with it; both are empty for maps and alert lists.

    `mines` says whose alerts an alert list holds. `link` is a path of the web pages that shows more.
    """

    id: str
    title: Words
    kind: PanelKind
    layout: Layout
    targets: list[Target] = Field(default_factory=list)
    limits: list[LimitLine] = Field(default_factory=list)
    markers: list[Marker] = Field(default_factory=list)
    mines: list[str] = Field(default_factory=list)
    metric: str = ""
    unit: str = ""
    digits: int = 0
    link: str = ""


class Dashboard(Part):
    """A page of panels. `timezone` is the zone in which its times are shown."""

    id: str
    title: Words
    timezone: str
    panels: list[Panel]
    link: str

    def panel(self, panel_id: str) -> Panel | None:
        """The panel with this id, or None."""
        return next((p for p in self.panels if p.id == panel_id), None)

    def of_kind(self, kind: PanelKind) -> list[Panel]:
        """The panels of one kind, in order."""
        return [p for p in self.panels if p.kind is kind]
