"""Which limits hold for a mine on a day, and why: its policy's standards and own limits, resolved by date."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from greenmine.core.reading import Series
from greenmine.core.verdict import LimitBinding
from greenmine.policy.judging import StandardChoice
from greenmine.policy.library import Library
from greenmine.policy.limit import (
    SOIL_RELATIVE,
    Band,
    ClassOf,
    Comparison,
    LimitRow,
    LimitStatus,
    OwnLimit,
    Part,
    Standard,
    Statistic,
    Validity,
    WindowKind,
    holds,
)
from greenmine.policy.model import Policy, Text


@dataclass(frozen=True)
class AppliedLimit:
    """One limit as it holds for the mine: bounds in `unit`, whom it binds, where it comes from and what it is asked of.

    `id` is `GB 3095-2026/ambient-air/pm10-24h`, or `permit/...` and `eia/...` of the mine's own. `valid_to` None while
    nothing ends it. `devices` None where every device that reports the item is meant.
    """

    id: str
    basis: str
    title: Text
    clause: str
    item: str
    statistic: Statistic
    window: WindowKind
    compare: Comparison
    unit: str
    digits: int
    at_least: float | None
    at_most: float | None
    binding: LimitBinding
    class_name: str | None
    valid_from: date
    valid_to: date | None
    status: LimitStatus
    source: str
    why: Text
    methods: tuple[str, ...] = ()
    screening: bool = False
    validity: Validity | None = None
    bands: tuple[Band, ...] = ()
    steps: tuple[tuple[str, float], ...] = ()
    cap_reference: float | None = None
    allowed_a_day: int = 0
    devices: tuple[str, ...] | None = None
    channel: str | None = None
    reference: str | None = None
    worst_item_decides: bool = False
    level: float | None = None
    class_bounds: tuple[tuple[str, float | None, float | None], ...] = ()

    @property
    def judged(self) -> bool:
        """Whether verdicts are given on it; operating limits are conditions."""
        return self.binding is not LimitBinding.OPERATING


class Applicable(NamedTuple):
    """The limits of a day, and what of the policy's standards had no edition in force then."""

    limits: list[AppliedLimit]
    not_in_force: list[str]


def applicable_limits(policy: Policy, on: date, library: Library) -> Applicable:
    """All limits of the mine on a day, in the order of the policy, standards before its own.

    Raises:
        NotFound: the policy names a part that the library does not have (`check_policy` refuses such a policy).
    """
    found: list[AppliedLimit] = []
    missing: list[str] = []
    for choice in policy.standards:
        named, part_name, _ = library.part(choice.part)
        edition = library.edition(named, on)
        part = None if edition is None else edition.parts.get(part_name)
        if edition is None or part is None:
            missing.append(choice.part)
            continue
        found += _of_part(policy, choice, named, edition, part_name, part, on, library)
    began = policy.valid_from
    found += [_own(limit, policy) for limit in policy.limits if holds(limit, on) and (limit.valid_from or began) <= on]
    return Applicable(found, missing)


def class_of(policy: Policy, choice: StandardChoice, part: Part) -> str | None:
    """The class under which a part holds for the mine; None where it has no classes, or none was given."""
    if choice.class_name is not None or part.class_of is None:
        return choice.class_name
    if part.class_of is ClassOf.AIR_GRADE:
        return str(policy.mine.air_grade)
    if part.class_of is ClassOf.NOISE_CLASS:
        return str(policy.mine.noise_class)
    return part.default_class


def feeding(policy: Policy, limit: AppliedLimit) -> list[Series]:
    """The series of the mine that the limit is asked of, in order."""
    metric = "soil_moisture" if limit.item == SOIL_RELATIVE else limit.item
    return sorted(
        series
        for series in policy.series()
        if series.metric == metric
        and (limit.devices is None or series.device in limit.devices)
        and (limit.channel is None or series.channel == limit.channel)
    )


def _of_part(
    policy: Policy,
    choice: StandardChoice,
    named: Standard,
    edition: Standard,
    part_name: str,
    part: Part,
    on: date,
    library: Library,
) -> list[AppliedLimit]:
    name = class_of(policy, choice, part)
    why = _why(choice, named, edition, part, name)
    ends = library.valid_to(edition)
    applied = []
    for row in edition.rows(part_name, on):
        bounds = row.bounds(name)
        if bounds is not None:
            applied.append(_row(row, edition, part, choice, name, bounds, ends, why))
    return applied


def _row(
    row: LimitRow,
    edition: Standard,
    part: Part,
    choice: StandardChoice,
    name: str | None,
    bounds: tuple[float | None, float | None],
    ends: date | None,
    why: Text,
) -> AppliedLimit:
    last = [day for day in (row.valid_to, ends) if day is not None]
    return AppliedLimit(
        id=f"{edition.standard}/{row.part}/{row.id}",
        basis=edition.standard,
        title=edition.title,
        clause=row.clause,
        item=row.item,
        statistic=row.statistic,
        window=row.window,
        compare=row.compare,
        unit=row.unit,
        digits=row.digits,
        at_least=bounds[0],
        at_most=bounds[1],
        binding=part.binding,
        class_name=name if part.class_of is not None else None,
        valid_from=max(edition.valid_from, row.valid_from or edition.valid_from),
        valid_to=min(last) if last else None,
        status=row.status,
        source=row.source,
        why=why,
        methods=tuple(part.methods),
        screening=part.screening,
        validity=row.validity or part.validity,
        bands=tuple(row.bands),
        steps=tuple(sorted(row.steps.items(), key=lambda step: step[1])),
        cap_reference=row.cap_reference,
        allowed_a_day=row.allowed_a_day,
        devices=None if choice.devices is None else tuple(sorted(choice.devices)),
        channel=choice.channel,
        reference=choice.reference,
        worst_item_decides=part.worst_item_decides,
        class_bounds=tuple((each, *(row.bounds(each) or (None, None))) for each in row.classes),
    )


def _own(limit: OwnLimit, policy: Policy) -> AppliedLimit:
    words = {"permit": ("排污许可证", "Discharge permit"), "eia": ("环境影响评价文件", "EIA")}[limit.basis]
    outlet = "" if limit.outlet is None else f" · {limit.outlet}"
    return AppliedLimit(
        id=f"{limit.basis}/{limit.id}",
        basis=limit.document,
        title=limit.title or Text(zh=words[0], en=words[1]),
        clause=limit.clause,
        item=limit.metric,
        statistic=limit.statistic,
        window=limit.window,
        compare=limit.compare,
        unit=limit.unit,
        digits=limit.digits,
        at_least=limit.at_least,
        at_most=limit.at_most,
        binding=LimitBinding.PERMIT,
        class_name=None,
        valid_from=limit.valid_from or policy.valid_from,
        valid_to=limit.valid_to,
        status=limit.status,
        source=limit.source,
        why=Text(zh=f"{words[0]} {limit.document}{outlet}", en=f"{words[1]} {limit.document}{outlet}"),
        methods=tuple(limit.methods),
        validity=limit.validity,
        devices=tuple(sorted(limit.devices)),
        channel=limit.channel,
        level=limit.level,
    )


_CLASSES = {
    ClassOf.AIR_GRADE: ("环境空气功能区 {0} 级", "air grade {0} of the mine"),
    ClassOf.NOISE_CLASS: ("{0} 类声环境功能区", "acoustic zone class {0} of the mine"),
    ClassOf.LINE: ("生产线 {0}", "{0} production line"),
    ClassOf.GIVEN: ("{0} 类", "class {0}"),
}


def _why(choice: StandardChoice, named: Standard, edition: Standard, part: Part, name: str | None) -> Text:
    zh, en = f"策略所列 {choice.part}：{part.applies.zh}", f"policy names {choice.part}: {part.applies.en}"
    if part.class_of is not None:
        words = _CLASSES[part.class_of]
        zh, en = f"{zh}；{words[0].format(name)}", f"{en}; {words[1].format(name)}"
    if edition.standard != named.standard:
        zh, en = (
            f"{zh}；当日有效版本为 {edition.standard}",
            f"{en}; the edition in force that day is {edition.standard}",
        )
    return Text(zh=zh[:200], en=en[:200])
