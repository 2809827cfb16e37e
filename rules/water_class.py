"""The class of a water by its worst item (GB 3838-2002 5.1, GB/T 14848-2017 6)."""

from __future__ import annotations

from collections.abc import Sequence

from greenmine.core.verdict import Outcome, VerdictReason
from greenmine.policy.applicable import AppliedLimit
from greenmine.rules.finding import Decision


def class_number(limit: AppliedLimit, value: float | None) -> int | None:
    """The best class whose bounds a rounded value keeps, 1 for I; one more than the last where it keeps none. Of a
    bound that two classes share the better one is taken."""
    if value is None:
        return None
    for number, (_, least, most) in enumerate(limit.class_bounds, start=1):
        if (least is None or value >= least) and (most is None or value <= most):
            return number
    return len(limit.class_bounds) + 1


def worst_item(limits: Sequence[AppliedLimit], decisions: Sequence[Decision]) -> Decision:
    """What the items of one point say together: exceeded as soon as one is; met only where all that are measured are;
    the value is the number of the class that the worst item sets."""
    required = _required(limits[0])
    classes = {
        limit.item: class_number(limit, one.value)
        for limit, one in zip(limits, decisions, strict=True)
        if one.outcome in (Outcome.MET, Outcome.EXCEEDED) and limit.class_bounds
    }
    known = {item: number for item, number in classes.items() if number is not None}
    worst = max(known.values(), default=None)
    detail = {"classes": known, "worst": sorted(item for item, number in known.items() if number == worst)}
    outcomes = {one.outcome for one in decisions}
    validity = min(one.validity for one in decisions)
    value = None if worst is None else float(worst)
    for outcome in (Outcome.EXCEEDED, Outcome.NOT_EVALUABLE, Outcome.INSUFFICIENT):
        if outcome in outcomes:
            reason = next(one.reason for one in decisions if one.outcome is outcome)
            reason = VerdictReason.OVER_LIMIT if outcome is Outcome.EXCEEDED else reason
            return Decision(outcome, reason, value, value, float(required), validity, detail)
    return Decision(Outcome.MET, VerdictReason.WITHIN_LIMIT, value, value, float(required), validity, detail)


def _required(limit: AppliedLimit) -> int:
    names = [name for name, _, _ in limit.class_bounds]
    return names.index(limit.class_name) + 1 if limit.class_name in names else len(names)
