"""Limits as rows that a person reads or a program takes: what applies to a mine on a day, and why."""

from __future__ import annotations

from datetime import date
from typing import Any

from greenmine.policy.applicable import AppliedLimit, applicable_limits, feeding
from greenmine.policy.library import Library
from greenmine.policy.limit import Comparison, Statistic, WindowKind
from greenmine.policy.model import Policy

STATISTICS = {
    Statistic.MEAN: ("均值", "mean"),
    Statistic.ENERGY_MEAN: ("等效声级", "Leq"),
    Statistic.FLOW_WEIGHTED_MEAN: ("流量加权均值", "flow-weighted mean"),
    Statistic.MAXIMUM: ("最大值", "maximum"),
    Statistic.MINIMUM: ("最小值", "minimum"),
    Statistic.WORST: ("最不利值", "worst value"),
    Statistic.SUDDEN_FREQUENT: ("频发噪声最大声级", "Lmax, frequent"),
    Statistic.SUDDEN_OCCASIONAL: ("偶发噪声最大声级", "Lmax, occasional"),
    Statistic.ROLLING_8H_MAXIMUM: ("8小时滑动均值最大值", "highest 8 h mean"),
    Statistic.PERCENTILE_95: ("日均值第95百分位数", "95th percentile of daily means"),
    Statistic.PERCENTILE_98: ("日均值第98百分位数", "98th percentile of daily means"),
    Statistic.HOURS_OVER: ("超值小时数", "hours over a level"),
}
WINDOWS = {
    WindowKind.HOUR: ("1小时", "1 h"),
    WindowKind.DAY: ("24小时", "24 h"),
    WindowKind.DAYTIME: ("昼间", "day"),
    WindowKind.NIGHT: ("夜间", "night"),
    WindowKind.MONTH: ("月", "month"),
    WindowKind.SEASON: ("季", "season"),
    WindowKind.YEAR: ("年", "year"),
}
COMPARISONS = {
    Comparison.VALUE: ("", ""),
    Comparison.DOWNWIND_MINUS_UPWIND: ("下风向减上风向", "downwind minus upwind"),
    Comparison.HIGHEST_OUTSIDE: ("周界外最高点", "highest outside"),
    Comparison.MINUS_REFERENCE: ("与参照点差值", "minus reference"),
}


def limit_rows(policy: Policy, on: date, library: Library) -> list[dict[str, Any]]:
    """One row a limit of the mine's on a day, then one for each part that had no edition in force (`status`
    `not_in_force`). `reported_by` names the series that feed it; empty where no sensor does."""
    found = applicable_limits(policy, on, library)
    rows = [_row(policy, limit) for limit in found.limits]
    for name in found.not_in_force:
        why = {"zh": f"{on} 当日没有已知的有效版本", "en": f"no edition that is known was in force on {on}"}
        rows.append({**dict.fromkeys(rows[0] if rows else _NAMES), "mine": policy.mine.id, "limit": name,
                     "status": "not_in_force", "why": why, "reported_by": []})  # fmt: skip
    return rows


_NAMES = ("mine", "limit", "status", "why", "reported_by")


def _row(policy: Policy, limit: AppliedLimit) -> dict[str, Any]:
    return {
        "mine": policy.mine.id,
        "limit": limit.id,
        "standard": limit.basis,
        "title": limit.title.model_dump(),
        "clause": limit.clause,
        "item": limit.item,
        "statistic": limit.statistic.value,
        "window": limit.window.value,
        "compare": limit.compare.value,
        "unit": limit.unit,
        "digits": limit.digits,
        "at_least": limit.at_least,
        "at_most": limit.at_most,
        "bands": {band.id: band.at_least for band in limit.bands},
        "steps": dict(limit.steps),
        "class": limit.class_name,
        "binding": limit.binding.value,
        "valid_from": limit.valid_from.isoformat(),
        "valid_to": None if limit.valid_to is None else limit.valid_to.isoformat(),
        "status": limit.status.value,
        "source": limit.source,
        "validity": None if limit.validity is None else limit.validity.model_dump(mode="json", exclude_none=True),
        "screening": limit.screening,
        "judged": limit.judged,
        "why": limit.why.model_dump(),
        "reported_by": [series_name(*series[1:4]) for series in feeding(policy, limit)],
    }


def series_name(device: str, metric: str, channel: str) -> str:
    """`dust-n1/pm10`, `soil-1/soil_moisture@d20`."""
    return f"{device}/{metric}" + (f"@{channel}" if channel else "")


def bound_text(row: dict[str, Any]) -> str:
    """The values of a row: `≤ 120 ug/m3`, `6 … 9`, or its steps."""
    unit = "" if row.get("unit") in (None, "1") else f" {row['unit']}"
    least, most = row.get("at_least"), row.get("at_most")
    if row.get("bands"):
        return " / ".join(f"{name} {value:g}" for name, value in row["bands"].items()) + unit
    if row.get("steps"):
        return " / ".join(f"{name} {value:g}" for name, value in row["steps"].items()) + unit
    if least is not None and most is not None:
        return f"{least:g} … {most:g}{unit}"
    if least is not None:
        return f"≥ {least:g}{unit}"
    return "" if most is None else f"≤ {most:g}{unit}"


def asked_text(row: dict[str, Any], language: str) -> str:
    """What is compared over which window, in `zh` or `en`."""
    if row.get("statistic") is None:
        return ""
    place = 0 if language == "zh" else 1
    words = [
        WINDOWS[WindowKind(row["window"])][place],
        STATISTICS[Statistic(row["statistic"])][place],
        COMPARISONS[Comparison(row["compare"])][place],
    ]
    return " ".join(word for word in words if word)
