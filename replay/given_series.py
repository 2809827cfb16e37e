"""The series of a rule test as readings, admitted as if they had come from the devices."""

from __future__ import annotations

from collections.abc import Iterator

from greenmine.core.metric import METRICS
from greenmine.core.quality import from_names
from greenmine.core.reading import Reading, Series
from greenmine.core.unit import convert
from greenmine.ingest.admit import admit
from greenmine.ingest.decoded import Item
from greenmine.ingest.registry import Registry
from greenmine.policy.duration import parse_duration
from greenmine.policy.model import Policy
from greenmine.replay.notation import samples
from greenmine.replay.rule_test_model import RuleTest, SeriesGiven

_FAR_FUTURE_NS = 2**62


def given_readings(test: RuleTest, policy: Policy, start_ns: int) -> list[Reading]:
    """All readings of a test, in canonical units; values stand in the unit in which the series is registered.

    Raises:
        ValueError: a series that the policy does not register, or a text that is not understood.
    """
    registry = Registry.of([policy])
    found: list[Reading] = []
    for name, given in test.series.items():
        series = series_named(name, policy.mine.id)
        full = SeriesGiven(values=given) if isinstance(given, str) else given
        if series.mine == policy.mine.id and series not in policy.series():
            known = ", ".join(sorted(f"{one.device}/{one.metric}" for one in policy.series()))
            raise ValueError(f"series {name!r} is not registered in the policy; registered are {known}")
        try:
            found += _readings(series, full, test.interval, start_ns, registry)
        except (ValueError, KeyError) as error:
            raise ValueError(f"series {name!r}: {error}") from error
    return found


def series_named(name: str, mine: str) -> Series:
    """The series of a name in a rule test.

    Raises:
        ValueError: the duration of its statistic is none.
    """
    head, _, statistic = name.partition(" ")
    where, _, rest = head.rpartition(":")
    device, _, metric = rest.partition("/")
    metric, _, channel = metric.partition("@")
    stat, _, period = statistic.partition(" ")
    return Series(where or mine, device, metric, channel, stat or "inst", parse_duration(period) if period else 0)


def _readings(
    series: Series, given: SeriesGiven, interval_s: int, start_ns: int, registry: Registry
) -> Iterator[Reading]:
    quality = int(from_names(given.flags))
    step_ns = (given.interval or interval_s) * 1_000_000_000
    begin_ns = start_ns + given.after * 1_000_000_000
    setting = registry.setting(series)
    unit = METRICS[series.metric].unit if setting is None else setting.unit
    for sample in samples(given.values):
        time_ns = begin_ns + sample.place * step_ns
        if setting is None:
            # Of a neighbour's, which another policy admits.
            value = None if sample.value is None else convert(sample.value, unit, METRICS[series.metric].unit)
            yield Reading(series, time_ns, value, quality)
            continue
        item = Item(
            None, series.metric, series.channel, series.stat, series.period_s, time_ns, sample.value, unit, quality
        )
        admitted = admit(item, series.mine, series.device, registry, _FAR_FUTURE_NS)
        if not admitted.quarantine:
            yield admitted.reading
