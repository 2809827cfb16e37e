"""What is told to whom: the notices of a transition, composed in each contact's language."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from greenmine.alerts.channel_text import block, one_line
from greenmine.core.alert import SERVICE_RULES, Alert, AlertKey, Severity
from greenmine.core.clock import NS_PER_S, to_rfc3339
from greenmine.core.metric import METRICS
from greenmine.core.notice import Notice, NoticeKind, notice_key
from greenmine.core.unit import convert
from greenmine.policy.model import Contact, ContactChannel, EmailChannel, Policy, Rule, Text, WebhookChannel

LONGEST_SUBJECT = 300
LONGEST_TEXT = 4_000
"""Characters. What policies and devices write may not act on whoever shows it: both are made safe here already."""

_SEVERITY = {
    Severity.NOTICE: Text(zh="提示", en="Notice"),
    Severity.WARNING: Text(zh="警告", en="Warning"),
    Severity.CRITICAL: Text(zh="严重", en="Critical"),
}


class _Words(NamedTuple):
    raised: str
    cleared: str
    silent: str
    link: str
    disk: str
    store: str
    limit: str
    over: str
    under: str
    measured: str
    advice: str
    alert: str


_WORDS = {
    "zh": _Words(
        "报警", "报警解除", "没有可用数据", "与消息服务器的连接中断", "磁盘已满，停止接收数据",
        "数据库拒绝写入，数据等待入库", "限值", "高于", "低于", "数据时间", "建议", "报警编号",
    ),
    "en": _Words(
        "alert", "cleared", "no usable data", "connection to the broker lost", "the disk is full, nothing is taken in",
        "the store refuses readings, they wait", "limit", "above", "below", "measured", "advice", "alert id",
    ),
}  # fmt: skip


def compose(policy: Policy, alert: Alert, kind: NoticeKind, at_ns: int) -> list[Notice]:
    """One notice for each channel of each contact who is told of this alert. `at_ns` is the journal's clock now."""
    rule = next((r for r in policy.rules if r.id == alert.key.rule), None)
    return [
        _notice(policy, alert, kind, at_ns, contact, channel, rule)
        for contact in told(policy, alert.key, alert.severity)
        for channel in contact.channels
    ]


def told(policy: Policy, key: AlertKey, severity: Severity) -> Iterator[Contact]:
    """Contacts who are told at once: those the rule names, otherwise the enterprise's own people, and everybody where
    the enterprise has nobody. A contact's own `min_severity` holds in each case."""
    rule = next((r for r in policy.rules if r.id == key.rule), None)
    if rule is not None and rule.tell is not None:
        chosen = [c for c in policy.contacts if c.id in rule.tell]
    else:
        chosen = [c for c in policy.contacts if c.level == "enterprise"] or list(policy.contacts)
    return (contact for contact in chosen if severity.rank >= contact.min_severity.rank)


def _notice(
    policy: Policy,
    alert: Alert,
    kind: NoticeKind,
    at_ns: int,
    contact: Contact,
    channel: ContactChannel,
    rule: Rule | None,
) -> Notice:
    target = _target(channel)
    subject = _subject(policy, alert, kind, contact.language)
    return Notice(
        key=notice_key(alert.id, alert.transition, contact.id, channel.kind, target),
        alert_id=alert.id,
        transition=alert.transition,
        kind=kind,
        contact=contact.id,
        channel=channel.kind,
        target=target,
        subject=subject,
        text=block("\n".join((subject, *_lines(policy, alert, contact.language, at_ns, rule))), LONGEST_TEXT),
        payload=_payload(policy, alert, kind, at_ns, contact, subject),
    )


def _target(channel: ContactChannel) -> str:
    if isinstance(channel, EmailChannel):
        return channel.to
    return channel.url if isinstance(channel, WebhookChannel) else ""


def _subject(policy: Policy, alert: Alert, kind: NoticeKind, language: str) -> str:
    words = _WORDS[language]
    head = words.cleared if kind is NoticeKind.CLEARED else words.raised
    severity = _SEVERITY[alert.severity].in_language(language)
    parts = [f"[{severity}] {head}", policy.mine.name.in_language(language), _device(policy, alert, language)]
    return one_line(" · ".join((*parts, _finding(alert, language))), LONGEST_SUBJECT)


def _finding(alert: Alert, language: str) -> str:
    words = _WORDS[language]
    metric = METRICS.get(alert.metric)
    if metric is None:
        return {"disk": words.disk, "store": words.store}.get(alert.kind, words.link)
    name = metric.zh if language == "zh" else metric.en
    if alert.value is None or alert.limit is None:
        return f"{name} {words.silent}"
    direction = words.over if alert.value > alert.limit else words.under
    value, limit = _shown_apart(alert.metric, alert.value, alert.limit)
    return f"{name} {value} {direction} {words.limit} {limit} {_unit(alert.metric)}".rstrip()


def shown(metric: str, value: float, more_digits: int = 0) -> str:
    """A value in the unit and with the digits in which a person reads the metric."""
    entry = METRICS[metric]
    return f"{convert(value, entry.unit, entry.shown_unit):.{entry.digits + more_digits}f}"


def _shown_apart(metric: str, value: float, limit: float) -> tuple[str, str]:
    """Value and limit with so many digits (up to three more) that one does not read as the other."""
    for more_digits in range(4):
        texts = shown(metric, value, more_digits), shown(metric, limit, more_digits)
        if texts[0] != texts[1]:
            break
    return texts


def _unit(metric: str) -> str:
    unit = METRICS[metric].shown_unit
    return "" if unit == "1" else {"ug/m3": "µg/m³", "mg/m3": "mg/m³", "Cel": "°C", "deg": "°"}.get(unit, unit)


def _device(policy: Policy, alert: Alert, language: str) -> str:
    device = policy.device(alert.key.device)
    part = SERVICE_RULES.get(alert.key.rule)
    if part is not None:
        return part[0 if language == "zh" else 1]
    name = device.name.in_language(language) if device and device.name else alert.key.device
    return f"{name} {alert.key.channel}" if alert.key.channel else name


def _lines(policy: Policy, alert: Alert, language: str, at_ns: int, rule: Rule | None) -> Iterator[str]:
    words = _WORDS[language]
    moment_ns = at_ns if alert.source_time_ns is None else alert.source_time_ns
    local = datetime.fromtimestamp(moment_ns // NS_PER_S, UTC).astimezone(policy.mine.zone)
    yield f"{words.measured}: {local:%Y-%m-%d %H:%M:%S} {policy.mine.timezone}"
    if rule is not None and rule.advice is not None:
        yield f"{words.advice}: {rule.advice.in_language(language)}"
    yield f"{words.alert}: {alert.id}"


def _payload(policy: Policy, alert: Alert, kind: NoticeKind, at_ns: int, contact: Contact, subject: str) -> str:
    body = {
        "schema": "greenmine.notice/1",
        "kind": kind.value,
        "at": to_rfc3339(at_ns),
        "contact": contact.id,
        "subject": subject,
        "alert": {
            "id": alert.id,
            **alert.key._asdict(),
            "metric": alert.metric,
            "severity": alert.severity.value,
            "condition": alert.condition.value,
            "handling": alert.handling.value,
            "value": alert.value,
            "last_value": alert.last_value,
            "limit": alert.limit,
            "unit": alert.unit,
            "raised_at": to_rfc3339(alert.raised_at_ns),
            "cleared_at": None if alert.cleared_at_ns is None else to_rfc3339(alert.cleared_at_ns),
            "transition": alert.transition,
        },
        "mine": {"id": policy.mine.id, "name": policy.mine.name.model_dump()},
    }
    return json.dumps(body, ensure_ascii=False, sort_keys=True)
