"""A reading and the series it belongs to."""

from __future__ import annotations

from typing import NamedTuple

STATS = ("inst", "avg", "min", "max", "sum")


class Series(NamedTuple):
    """What a value is of: the identity of a series. `channel` is '' or a depth or position; `period_s` 0 for an
    instant."""

    mine: str
    device: str
    metric: str
    channel: str = ""
    stat: str = "inst"
    period_s: int = 0


class Reading(NamedTuple):
    """One value of a series at a source time (the start of the period), in the metric's canonical unit.

    `value` is None only for a value that the sender reported as missing; such a reading is quarantined. `calibrated` is
    the value after the calibration in force at its time; where there is one, it is the one judged.
    """

    series: Series
    time_ns: int
    value: float | None
    quality: int = 0
    calibrated: float | None = None

    @property
    def judged_value(self) -> float | None:
        """The calibrated value where there is one, else the raw one."""
        return self.value if self.calibrated is None else self.calibrated


def field_name(metric: str, stat: str, period_s: int) -> str:
    """Column of a statistic: `pm10` for an instant, `pm10_avg_3600` otherwise."""
    return metric if stat == "inst" else f"{metric}_{stat}_{period_s}"


def split_field_name(field: str) -> tuple[str, str, int]:
    """The inverse of `field_name`: metric, stat, period in seconds."""
    head, _, period = field.rpartition("_")
    metric, _, stat = head.rpartition("_")
    if metric and stat in STATS and period.isdigit():
        return metric, stat, int(period)
    return field, "inst", 0
