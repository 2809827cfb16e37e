"""Findings about rules: whom they tell, which series can feed them, and levels that can never be reached."""

from __future__ import annotations

from collections.abc import Iterator

from greenmine.core.alert import SERVICE_RULES
from greenmine.core.metric import METRICS
from greenmine.core.reading import Series
from greenmine.core.unit import convert
from greenmine.policy.explain import nearest
from greenmine.policy.model import AbsenceRule, LimitRule, MeanRule, MetricSetting, Policy, Rule
from greenmine.policy.yaml import YamlPath

Finding = tuple[YamlPath, str]

KEPT_HISTORY_S = 72 * 3600
"""How far back conditions look at most: what the state keeps of a series. What is longer is a verdict's."""


def rule_errors(policy: Policy) -> Iterator[Finding]:
    """What refuses a policy."""
    contacts = [contact.id for contact in policy.contacts]
    for index, rule in enumerate(policy.rules):
        path: YamlPath = ("rules", index)
        if rule.id in SERVICE_RULES:
            yield (*path, "id"), f"{rule.id!r} is an alert of greenmine itself; choose another id"
        yield from _reference_errors(policy, rule, path)
        yield from _missing_names(rule.tell or [], contacts, (*path, "tell"), "contact")
        fed_by = _feeding(policy, rule)
        if isinstance(rule, LimitRule):
            yield from _level_errors(rule, path)
        if isinstance(rule, MeanRule):
            yield from _mean_errors(rule, fed_by, path)
        if isinstance(rule, AbsenceRule):
            yield from _absence_errors(rule, fed_by, path)


def rule_warnings(policy: Policy) -> Iterator[Finding]:
    """What is probably not meant."""
    scopes: dict[tuple[object, ...], str] = {}
    for index, rule in enumerate(policy.rules):
        path: YamlPath = ("rules", index)
        first = scopes.setdefault(_scope(policy, rule), rule.id)
        if first != rule.id:
            yield path, f"{rule.id!r} watches the same series at the same severity as {first!r}; one of them is enough"
        told = [contact for contact in policy.contacts if rule.tell is None or contact.id in rule.tell]
        if not any(contact.min_severity.rank <= rule.severity.rank for contact in told):
            yield (
                path,
                f"nobody is told: no contact of {rule.id!r} takes {rule.severity.value}; add one or lower min_severity",
            )


def _missing_names(names: list[str], known: list[str], path: YamlPath, what: str) -> Iterator[Finding]:
    for index, name in enumerate(names):
        if name not in known:
            yield (*path, index), f"there is no {what} {name!r}{nearest(name, known)}; add it or correct the name"
        elif name in names[:index]:
            yield (*path, index), f"{name!r} is already in the list; once is enough"


def _reference_errors(policy: Policy, rule: Rule, path: YamlPath) -> Iterator[Finding]:
    """Devices that do not exist or do not report what the rule watches; a rule that nothing feeds."""
    ids = [device.id for device in policy.devices]
    named = rule.devices or []
    yield from _missing_names(named, ids, (*path, "devices"), "device")
    feeding = {series.device for series in _feeding(policy, rule)}
    what = "anything" if rule.metric is None else rule.metric
    what += "" if rule.channel is None else f" on channel {rule.channel!r}"
    for index, name in enumerate(named):
        if name in ids and name not in feeding:
            yield (*path, "devices", index), f"{name!r} does not report {what}; remove it or add the sensor"
    if not feeding and not named:
        advice = f"add the sensor, or take the rule away (a region's by {{id: {rule.id}, drop: true}})"
        yield path, f"no device reports {what}, so {rule.id!r} can never judge anything; {advice}"


def _feeding(policy: Policy, rule: Rule) -> dict[Series, MetricSetting]:
    return {
        series: setting
        for series, setting in policy.series().items()
        if (rule.metric is None or series.metric == rule.metric)
        and (rule.channel is None or series.channel == rule.channel)
        and (rule.devices is None or series.device in rule.devices)
    }


def _level_errors(rule: LimitRule, path: YamlPath) -> Iterator[Finding]:
    """Levels outside what the quantity can be: the rule would never fire, or never clear."""
    metric = METRICS[rule.metric]
    unit = rule.unit or metric.unit
    raised, clear = (convert(level, unit, metric.unit) for level in (rule.raise_level, rule.clear))
    possible = f"{rule.metric} is between {metric.low:g} and {metric.high:g} {metric.unit}; check the unit"
    if raised >= metric.high if rule.direction == "above" else raised <= metric.low:
        yield (*path, "raise"), f"{rule.raise_level:g} {unit} can never be passed, {possible}"
    if clear < metric.low if rule.direction == "above" else clear > metric.high:
        yield (*path, "clear"), f"{rule.clear:g} {unit} can never be reached, {possible}"


def _mean_errors(rule: MeanRule, fed_by: dict[Series, MetricSetting], path: YamlPath) -> Iterator[Finding]:
    metric = METRICS[rule.metric]
    if rule.statistic == "energy" and metric.unit != "dB":
        yield (*path, "statistic"), f"an energy mean is for sound levels, not for {rule.metric}; write arithmetic"
    if metric.unit == "deg":
        yield (*path, "metric"), f"a mean of {rule.metric} says nothing: 359 and 1 degree are neighbours"
    if rule.window > KEPT_HISTORY_S:
        longest = f"{KEPT_HISTORY_S // 3600} h"
        what = f"{rule.window} s are longer than the {longest} of history that conditions keep"
        yield (*path, "window"), f"{what}; shorten it, or judge by a limit instead"
    for series, setting in fed_by.items():
        if rule.window < 2 * setting.interval:
            message = (
                f"{rule.window} s hold fewer than two readings of {series.device!r}, which reports every "
                f"{setting.interval} s; make the window longer"
            )
            yield (*path, "window"), message
            return


def _absence_errors(rule: AbsenceRule, fed_by: dict[Series, MetricSetting], path: YamlPath) -> Iterator[Finding]:
    for series, setting in fed_by.items():
        if rule.after is not None and rule.after <= setting.interval:
            message = (
                f"{rule.after} s are no longer than the {setting.interval} s between two readings of "
                f"{series.device!r}; make it longer or write intervals: 3"
            )
            yield (*path, "after"), message
            return


def _scope(policy: Policy, rule: Rule) -> tuple[object, ...]:
    series = frozenset(_feeding(policy, rule))
    direction = rule.direction if isinstance(rule, LimitRule) else ""
    window = rule.window if isinstance(rule, MeanRule) else 0
    # The metric tells apart rules that, in a policy with other errors, nothing feeds.
    return (rule.kind, rule.metric, direction, window, rule.severity, series)
