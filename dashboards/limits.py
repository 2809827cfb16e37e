"""Which limits of a policy hold for a series, as lines in the unit a person reads."""

from __future__ import annotations

from greenmine.core.alert import Severity
from greenmine.core.metric import METRICS
from greenmine.core.reading import Series
from greenmine.dashboards.panel import LimitLine, Words
from greenmine.dashboards.shown import limit_number, shown_value, unit_symbol
from greenmine.policy.model import AbsenceRule, LimitRule, MeanRule, Policy, RuleBase

_SEVERITY = {
    Severity.NOTICE: ("提示", "notice"),
    Severity.WARNING: ("预警", "warning"),
    Severity.CRITICAL: ("严重", "critical"),
}


def window_name(seconds: int) -> Words:
    """A length of time in words: `1 小时`, `1 h`."""
    for size, zh, en in ((86400, "天", "d"), (3600, "小时", "h"), (60, "分钟", "min")):
        if seconds >= size and seconds % size == 0:
            return Words(zh=f"{seconds // size} {zh}", en=f"{seconds // size} {en}")
    return Words(zh=f"{seconds} 秒", en=f"{seconds} s")


def applies(rule: RuleBase, series: Series) -> bool:
    """Whether a rule judges a series: its metric, and its device and channel where the rule names some."""
    metric = getattr(rule, "metric", None)
    return (
        (metric is None or metric == series.metric)
        and (rule.devices is None or series.device in rule.devices)
        and (rule.channel is None or rule.channel == series.channel)
    )


def limit_lines(policy: Policy, series: Series) -> list[LimitLine]:
    """All raise and clear levels for a series in its shown unit, most severe first, raise before clear."""
    lines: list[LimitLine] = []
    for rule in policy.rules:
        if isinstance(rule, LimitRule) and applies(rule, series):
            lines.append(_line(rule, "raise"))
            lines.append(_line(rule, "clear"))
    return sorted(lines, key=lambda line: (-line.severity.rank, line.rule, line.edge != "raise"))


def raise_lines(policy: Policy, series: Series) -> list[LimitLine]:
    """Only the levels at which alerts begin, most severe first."""
    return [line for line in limit_lines(policy, series) if line.edge == "raise"]


_OF_THE_SERVICE = {
    "broker-link": Words(zh="与消息服务器的连接中断", en="Connection to the broker lost"),
    "store-refuses": Words(zh="数据库拒绝写入，数据等待入库", en="The store refuses readings, they wait"),
    "disk-room": Words(zh="磁盘已满，停止接收数据", en="The disk is full, nothing is taken in"),
}
"""What the alerts of the service itself have in the place of a rule."""


def rule_title(policy: Policy | None, rule_id: str) -> Words:
    """What a rule is called: its title, else its limit in words, else (a rule no longer in the policy) its id."""
    rule = next((r for r in policy.rules if r.id == rule_id), None) if policy else None
    if rule is None:
        return _OF_THE_SERVICE.get(rule_id) or Words.same(rule_id)
    if rule.title is not None:
        return Words.of(rule.title)
    if isinstance(rule, AbsenceRule):
        metric = METRICS.get(rule.metric or "")
        zh, en = (metric.zh, metric.en) if metric else ("", "")
        return Words(zh=f"{zh}数据中断", en=f"No data: {en}" if en else "No data")
    metric = METRICS[rule.metric]
    label = _line(rule, "raise").label
    return Words(zh=f"{metric.zh} {label.zh}", en=f"{metric.en} {label.en}")


def _line(rule: LimitRule, edge: str) -> LimitLine:
    metric = METRICS[rule.metric]
    level = rule.raise_level if edge == "raise" else rule.clear
    value = shown_value(rule.metric, level, rule.unit)
    window_s = rule.window if isinstance(rule, MeanRule) else 0
    number = f"{limit_number(value)} {unit_symbol(metric.shown_unit)}".rstrip()
    severity_zh, severity_en = _SEVERITY[rule.severity]
    above = rule.direction == "above"
    window = window_name(window_s) if window_s else None
    mean_zh = f"{window.zh}均值 " if window else ""
    mean_en = f"{window.en} mean " if window else ""
    if edge == "raise":
        sign = ">" if above else "<"
        label = Words(zh=f"{severity_zh} {mean_zh}{sign} {number}", en=f"{severity_en} {mean_en}{sign} {number}")
    else:
        sign = "≤" if above else "≥"
        label = Words(
            zh=f"{severity_zh}解除 {mean_zh}{sign} {number}", en=f"{severity_en} clears {mean_en}{sign} {number}"
        )
    return LimitLine(
        value=value,
        edge="raise" if edge == "raise" else "clear",
        direction=rule.direction,
        severity=rule.severity,
        rule=rule.id,
        window_s=window_s,
        label=label,
    )
