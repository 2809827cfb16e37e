"""Verdicts: what the readings and facts of a mine say of every limit that its policy names, window by window of local
time. One function for live, replay, backtest and tests; a function of the set of readings and facts, in whatever order
they came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import NamedTuple, Protocol

from greenmine.core.fact import Fact
from greenmine.core.reading import Series
from greenmine.core.verdict import Grade, Outcome, Verdict
from greenmine.policy.applicable import AppliedLimit, applicable_limits
from greenmine.policy.library import Library
from greenmine.policy.limit import SOIL_RELATIVE, Comparison, WindowKind
from greenmine.policy.model import Policy
from greenmine.rules.columns import Readings
from greenmine.rules.finding import Decision
from greenmine.rules.hour_table import Hours
from greenmine.rules.judge_boundary import SUBJECT, BoundaryJudge
from greenmine.rules.judge_point import PointJudge
from greenmine.rules.judge_soil import SoilJudge
from greenmine.rules.local_time import Span, days, local_day, windows
from greenmine.rules.mine_data import MineData
from greenmine.rules.water_class import worst_item
from greenmine.rules.wind import Windfield

ENGINE_VERSION = "1"
"""Part of every verdict: raised whenever the same readings, facts and policy could be judged otherwise."""
LONG_WINDOWS = frozenset({WindowKind.MONTH, WindowKind.SEASON, WindowKind.YEAR})


class Asked(NamedTuple):
    """What is to be judged: the windows of these kinds that lie wholly within the span (UTC ns). `as_if` judges all of
    it by the limits of that day instead of those of each window's own."""

    start_ns: int
    end_ns: int
    kinds: frozenset[WindowKind] = frozenset(WindowKind)
    as_if: date | None = None


class _Judge(Protocol):
    def judge(self, window: Span) -> tuple[Decision, float]: ...


@dataclass(frozen=True)
class _Regime:
    """Days on which the same limits hold; `last` None for ever."""

    first: date
    last: date | None
    limits: list[AppliedLimit]


class Evaluation:
    """One look at one mine: prepares its data once, and judges what is asked of them."""

    def __init__(self, policy: Policy, library: Library, readings: Readings, facts: Sequence[Fact] = ()) -> None:
        self.data = MineData(policy, readings, facts)
        self._policy = policy
        self._library = library

    @cached_property
    def wind(self) -> Windfield:
        """The wind at the mine, by the hour."""
        return Windfield(self.data)

    def verdicts(self, asked: Asked) -> Iterator[Verdict]:
        """All verdicts of the span, by limit, then subject, then window. The readings have to cover the windows asked,
        and what comes a little before them (`health.LOOK_BACK_NS`)."""
        grid = Hours.of(days(asked.start_ns, asked.end_ns, self.data.zone))
        spans = {
            kind: windows(kind, asked.start_ns, asked.end_ns, self.data.zone, self.data.parts) for kind in asked.kinds
        }
        for regime in self._regimes(asked):
            of_class: dict[tuple[str, str], list[tuple[AppliedLimit, Series]]] = {}
            for limit in regime.limits:
                if limit.window not in asked.kinds or not limit.judged:
                    continue
                mine = [one for one in spans[limit.window] if _within(one, regime, asked)]
                yield from self._of_limit(limit, mine, grid)
                if limit.worst_item_decides:
                    for series in self.data.points(limit):
                        part = limit.id.rpartition("/")[0]
                        of_class.setdefault((part, _subject(series)), []).append((limit, series))
            for (part, subject), items in of_class.items():
                mine = [one for one in spans[items[0][0].window] if _within(one, regime, asked)]
                yield from self._of_class(part, subject, items, mine, grid)

    def boundary(self, limit: AppliedLimit, grid: Hours, without: frozenset[str], turned_deg: float) -> BoundaryJudge:
        """The judge of a difference, with points left out or the wind turned."""
        return BoundaryJudge(self.data, limit, self.wind, grid, without, turned_deg)

    def judge_of(self, limit: AppliedLimit, series: Series, grid: Hours) -> PointJudge | SoilJudge:
        """The judge of a limit at one point."""
        if limit.item == SOIL_RELATIVE:
            return SoilJudge(self.data, limit, series)
        return PointJudge(self.data, limit, series, grid)

    def limits_on(self, day: date) -> list[AppliedLimit]:
        """The limits of the mine on a day."""
        return applicable_limits(self._policy, day, self._library).limits

    def _of_limit(self, limit: AppliedLimit, spans: list[Span], grid: Hours) -> Iterator[Verdict]:
        if not spans:
            return
        points = self.data.points(limit)
        if not points:
            return
        if limit.compare in (Comparison.DOWNWIND_MINUS_UPWIND, Comparison.HIGHEST_OUTSIDE):
            boundary = self.boundary(limit, grid, frozenset(), 0.0)
            for span in spans:
                decision, excluded = boundary.judge(span)
                grade = self._grade(limit, boundary.behind(decision))
                yield _verdict(self._policy.mine.id, limit, SUBJECT, span, grade, decision, excluded)
            return
        for series in points:
            yield from self._judged(limit, _subject(series), self.judge_of(limit, series, grid), [series], spans)

    def _judged(
        self, limit: AppliedLimit, subject: str, judge: _Judge, series: list[Series], spans: list[Span]
    ) -> Iterator[Verdict]:
        grade = self._grade(limit, series)
        mine = self._policy.mine.id
        for span in spans:
            yield _verdict(mine, limit, subject, span, grade, *judge.judge(span))

    def _of_class(
        self, part: str, subject: str, items: list[tuple[AppliedLimit, Series]], spans: list[Span], grid: Hours
    ) -> Iterator[Verdict]:
        """The class that the worst item sets, beside the verdicts on the items themselves."""
        limits = [limit for limit, _ in items]
        judges = [self.judge_of(limit, series, grid) for limit, series in items]
        grade = self._grade(limits[0], [series for _, series in items])
        for span in spans:
            judged = [judge.judge(span) for judge in judges]
            decision = worst_item(limits, [one for one, _ in judged])
            verdict = _verdict(
                self._policy.mine.id, limits[0], subject, span, grade, decision, max(share for _, share in judged)
            )
            yield verdict._replace(limit=f"{part}/class", unit="1")

    def _grade(self, limit: AppliedLimit, series: Sequence[Series]) -> Grade:
        """Evidence only where every sensor behind it works by a method of the standard; a screening never is."""
        if limit.screening or not limit.methods:
            return Grade.LEAD
        for one in series:
            sensor = self.data.sensor(one)
            if sensor is None or sensor.principle not in limit.methods:
                return Grade.LEAD
        return Grade.EVIDENCE

    def _regimes(self, asked: Asked) -> Iterator[_Regime]:
        """The spans of days between which the limits change."""
        if asked.as_if is not None:
            yield _Regime(date.min, None, self.limits_on(asked.as_if))
            return
        first = local_day(asked.start_ns, self.data.zone)
        last = local_day(asked.end_ns, self.data.zone)
        starts = sorted({first, *(day for day in self._changes() if first < day <= last)})
        for start, following in zip(starts, [*starts[1:], None], strict=True):
            yield _Regime(start, None if following is None else following - timedelta(days=1), self.limits_on(start))

    def _changes(self) -> Iterator[date]:
        """Every day on which any limit begins, or ends the day before."""
        rows = [row for standard in self._library.standards.values() for row in standard.limits]
        for limit in [*rows, *self._policy.limits]:
            if limit.valid_from is not None:
                yield limit.valid_from
            if limit.valid_to is not None:
                yield limit.valid_to + timedelta(days=1)
        yield from (standard.valid_from for standard in self._library.standards.values())
        yield self._policy.valid_from


def evaluate(
    policy: Policy, library: Library, readings: Readings, facts: Sequence[Fact], asked: Asked
) -> list[Verdict]:
    """All verdicts of a mine over a span of time."""
    return list(Evaluation(policy, library, readings, facts).verdicts(asked))


class Review(NamedTuple):
    """A reference point that is often dirtier than what lies downwind of it: the point has to be looked at."""

    mine: str
    limit: str
    reference: str
    negative: int
    judged: int


REVIEW_FROM_HOURS, REVIEW_SHARE = 24, 0.3
"""From how many judged hours, and from what share of negative ones, a reference is to be reviewed: our choice."""


def reviews(verdicts: Sequence[Verdict]) -> list[Review]:
    """References whose difference was negative too often among these verdicts (HJ/T 55: a dirty or dirtied point)."""
    counts: dict[tuple[str, str, str], list[int]] = {}
    for one in verdicts:
        upwind = one.detail.get("upwind") or []
        if one.outcome in (Outcome.MET, Outcome.EXCEEDED) and upwind:
            count = counts.setdefault((one.mine, one.limit, upwind[0]), [0, 0])
            count[0] += one.value is not None and one.value < 0
            count[1] += 1
    return [
        Review(*key, negative, judged)
        for key, (negative, judged) in sorted(counts.items())
        if judged >= REVIEW_FROM_HOURS and negative >= REVIEW_SHARE * judged
    ]


def _within(span: Span, regime: _Regime, asked: Asked) -> bool:
    return asked.as_if is not None or (regime.first <= span.day and (regime.last is None or span.day <= regime.last))


def _subject(series: Series) -> str:
    return f"{series.device}@{series.channel}" if series.channel else series.device


def _verdict(
    mine: str, limit: AppliedLimit, subject: str, span: Span, grade: Grade, decision: Decision, excluded: float
) -> Verdict:
    return Verdict(
        mine=mine,
        limit=limit.id,
        subject=subject,
        window_start_ns=span.start_ns,
        window_end_ns=span.end_ns,
        outcome=decision.outcome,
        reason=decision.reason,
        grade=grade,
        binding=limit.binding,
        value=decision.value,
        unrounded=decision.unrounded,
        limit_value=decision.limit_value,
        unit=limit.unit,
        validity=round(decision.validity, 6),
        excluded=round(excluded, 6),
        detail=decision.detail,
    )
