"""From a statistic of a window to an outcome: validity first, then half-even rounding to the limit's digits, then the
comparison; and the outcome is told only where doubtful readings do not change it."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from greenmine.core.unit import exactly
from greenmine.core.verdict import Outcome, VerdictReason
from greenmine.policy.applicable import AppliedLimit
from greenmine.policy.limit import JUDGED_UNITS, Statistic


@dataclass(frozen=True, slots=True)
class Finding:
    """What one way of reading the data says of a window. `value` in the item's canonical unit, None where there is
    none; `gate` why no outcome can be told of it, None where one can; `validity` 0 to 1."""

    value: Fraction | None
    gate: VerdictReason | None
    validity: float
    detail: dict[str, Any] = field(default_factory=dict)


class Decision(NamedTuple):
    """What is told. `value` is rounded as it was compared and `unrounded` before, in the limit's unit."""

    outcome: Outcome
    reason: VerdictReason
    value: float | None
    unrounded: float | None
    limit_value: float
    validity: float
    detail: dict[str, Any]


INSUFFICIENT = {VerdictReason.NO_DATA, VerdictReason.TOO_FEW_DATA}


def decide(limit: AppliedLimit, all_readings: Finding, sure: Finding, doubt: VerdictReason) -> Decision:
    """The outcome of a window.

    `all_readings` counts the doubtful readings in, `sure` leaves them out (the same object where there are none). Where
    the two differ nothing is told but that: `not_evaluable` with the reason `doubt`.
    """
    one = _compare(limit, all_readings)
    if sure is all_readings:
        return one
    other = _compare(limit, sure)
    both = {"with_doubtful": _brief(one), "without_doubtful": _brief(other)}
    if one.outcome is other.outcome:
        return one._replace(detail={**one.detail, **both}, validity=min(one.validity, other.validity))
    return one._replace(
        outcome=Outcome.NOT_EVALUABLE, reason=doubt, validity=other.validity, detail={**one.detail, **both}
    )


def beyond(limit: AppliedLimit, value: Fraction) -> VerdictReason | None:
    """On which side a value in the canonical unit is beyond the limit after rounding; None where it is not."""
    rounded = round(in_limit_unit(limit, value), limit.digits)
    if limit.at_most is not None and rounded > written(limit.at_most):
        return VerdictReason.OVER_LIMIT
    if limit.at_least is not None and rounded < written(limit.at_least):
        return VerdictReason.UNDER_LIMIT
    return None


def in_limit_unit(limit: AppliedLimit, value: Fraction) -> Fraction:
    """A value of the item in the unit of the limit; a number of hours is a number."""
    if limit.statistic is Statistic.HOURS_OVER:
        return value
    return exactly(value, JUDGED_UNITS[limit.item], limit.unit)


def written(number: float) -> Fraction:
    """The decimal that somebody wrote."""
    return Fraction(repr(number))


def worse(limit: AppliedLimit, low: Fraction, high: Fraction) -> Fraction:
    """Of the lowest and the highest value the one nearer to a bound, or further beyond it."""
    scale = in_limit_unit(limit, high), in_limit_unit(limit, low)
    over = None if limit.at_most is None else scale[0] - written(limit.at_most)
    under = None if limit.at_least is None else written(limit.at_least) - scale[1]
    if under is None:
        return high
    return low if over is None or under > over else high


def _compare(limit: AppliedLimit, finding: Finding) -> Decision:
    value = finding.value
    side = None if value is None else beyond(limit, value)
    bound = limit.at_least if side is VerdictReason.UNDER_LIMIT or limit.at_most is None else limit.at_most
    assert bound is not None
    unrounded = None if value is None else in_limit_unit(limit, value)
    rounded = None if unrounded is None else float(round(unrounded, limit.digits))
    if finding.gate is not None:
        outcome = Outcome.INSUFFICIENT if finding.gate in INSUFFICIENT else Outcome.NOT_EVALUABLE
        reason = finding.gate
    elif value is None:
        outcome, reason = Outcome.INSUFFICIENT, VerdictReason.NO_DATA
    else:
        outcome = Outcome.MET if side is None else Outcome.EXCEEDED
        reason = side or VerdictReason.WITHIN_LIMIT
    exact = None if unrounded is None else round(float(unrounded), 9)
    return Decision(outcome, reason, rounded, exact, bound, finding.validity, finding.detail)


def _brief(decision: Decision) -> dict[str, Any]:
    return {"outcome": decision.outcome.value, "value": decision.value, "validity": round(decision.validity, 6)}
