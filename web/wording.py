"""What happened to an alert, in words: conditions, handlings, reasons, who, and quality flags; Chinese and English."""

from __future__ import annotations

from greenmine.core.activity import ActivityKind
from greenmine.core.alert import Alert, Condition, Handling, Reason, Transition
from greenmine.core.gap import GapReason
from greenmine.core.metric import METRICS
from greenmine.core.principal import Principal, PrincipalKind
from greenmine.core.quality import Quarantine
from greenmine.dashboards.shown import limit_text, number_text, shown_digits, shown_unit, shown_value, unit_symbol
from greenmine.web.texts import pick

CONDITIONS: dict[str, tuple[str, str]] = {
    Condition.INACTIVE: ("未触发", "inactive"),
    Condition.PENDING: ("观察中", "pending"),
    Condition.FIRING: ("告警中", "firing"),
    Condition.STALE: ("告警中，数据中断", "firing, data lost"),
    Condition.CLEARED: ("已解除", "cleared"),
}
HANDLINGS: dict[str, tuple[str, str]] = {
    Handling.NONE: ("未确认", "not acknowledged"),
    Handling.ACKNOWLEDGED: ("已确认", "acknowledged"),
    Handling.IN_RECTIFICATION: ("整改中", "in rectification"),
    Handling.VERIFIED: ("整改已核实", "verified"),
    Handling.CLOSED: ("已结束", "closed"),
}
REASONS: dict[str, tuple[str, str]] = {
    Reason.OVER_LIMIT: ("读数{value}高于限值{limit}", "The reading{value} is over the limit{limit}"),
    Reason.UNDER_LIMIT: ("读数{value}低于限值{limit}", "The reading{value} is under the limit{limit}"),
    Reason.MEAN_OVER_LIMIT: ("均值{value}高于限值{limit}", "The mean{value} is over the limit{limit}"),
    Reason.MEAN_UNDER_LIMIT: ("均值{value}低于限值{limit}", "The mean{value} is under the limit{limit}"),
    Reason.NO_USABLE_DATA: ("在规定时间内没有收到可用数据", "No usable data came in the time allowed"),
    Reason.BACK_WITHIN_CLEAR_LEVEL: (
        "数值{value}已回到解除水平以内",
        "The value{value} is back within the clear level",
    ),
    Reason.DATA_RETURNED: ("数据恢复", "Data came again"),
    Reason.SILENT_WHILE_FIRING: ("告警期间数据中断，告警保持", "Data stopped while the alert was firing; it stays"),
    Reason.SERVICE_FAULT: ("系统自身故障", "A fault of the system itself"),
    Reason.SERVICE_MENDED: ("系统故障已排除", "The system is mended"),
    Reason.RULE_REMOVED: ("规则已从策略中删除", "The rule was removed from the policy"),
    Reason.ACKNOWLEDGED_BY_PERSON: ("已由人员确认", "Acknowledged by a person"),
    Reason.NOTE_BY_PERSON: ("添加了备注", "A note was added"),
    Reason.RESOLVED_BY_PERSON: ("处置完毕，由人员结束", "Resolved and closed by a person"),
    Reason.NOTICE_DELIVERED: ("通知已送达", "A notice was delivered"),
    Reason.NOTICE_REFUSED: ("通知被拒收", "A notice was refused"),
}
FLAGS: dict[str, tuple[str, str]] = {
    "range": ("超出物理范围", "out of physical range"),
    "negative": ("负值", "negative"),
    "unregistered": ("设备未登记", "not registered"),
    "rate": ("变化过快", "changes too fast"),
    "spike": ("尖峰", "spike"),
    "stuck": ("数值不变", "stuck"),
    "humid": ("高湿干扰", "humidity"),
    "calibration": ("校准中", "calibration"),
    "maintenance": ("维护中", "maintenance"),
    "manual": ("手工数据", "entered by hand"),
    "invalid": ("无效", "invalid"),
    "late": ("补传", "arrived late"),
    "skew": ("时钟超前", "clock ahead"),
    "conflict": ("数值冲突", "conflicting values"),
}
QUARANTINES: dict[str, tuple[str, str]] = {
    Quarantine.UNREGISTERED: ("未登记", "not registered"),
    Quarantine.CLOCK_AHEAD: ("时间超前", "time ahead"),
    Quarantine.CLOCK_UNSET: ("时钟未设置", "clock never set"),
    Quarantine.MISSING: ("缺值", "no value"),
    Quarantine.SENTINEL: ("仪器故障码", "the instrument's fault code"),
    Quarantine.UNIT_DOUBT: ("单位存疑", "unit in doubt"),
}
ACTIVITIES: dict[str, tuple[str, str]] = {
    ActivityKind.BLAST: ("爆破", "blast"),
    ActivityKind.WATERING: ("洒水", "watering"),
    ActivityKind.HAUL: ("运输", "haulage"),
    ActivityKind.CRUSHER: ("破碎", "crushing"),
    ActivityKind.STOP: ("停产", "stopped"),
    ActivityKind.WEATHER_WARNING: ("气象预警", "weather warning"),
}
GAP_REASONS: dict[str, tuple[str, str]] = {
    GapReason.OPEN: ("等待补传", "not filled yet"),
    GapReason.FILLED: ("已补齐", "filled"),
    GapReason.EXPIRED: ("未补齐，已放弃", "given up"),
    GapReason.RESET: ("编号重置", "numbers reset"),
}
_PRINCIPALS = {
    PrincipalKind.DEVICE: ("设备 ", "device "),
    PrincipalKind.RULE: ("规则 ", "rule "),
}


def reason_text(language: str, alert: Alert, step: Transition) -> str:
    """Why a transition happened, with the value behind it and the alert's limit, in shown units."""
    value = limit = ""
    if step.value is not None:
        value = f" {_shown(alert, step.value)}" + (" " if language == "zh" else "")
    if alert.limit is not None:
        limit = f" {limit_text(alert.metric, alert.limit, alert.unit)}"
    return pick(REASONS, language, step.reason).format(value=value, limit=limit)


def principal_text(language: str, principal: str) -> str:
    """Who did it: a person by name, a rule or a device by id, a service as the system."""
    try:
        kind, name = Principal.parse(principal)
    except ValueError:
        return principal
    if kind is PrincipalKind.PERSON:
        return name
    if kind is PrincipalKind.SERVICE:
        return "系统" if language == "zh" else "system"
    return _PRINCIPALS[kind][0 if language == "zh" else 1] + name


def alert_value_text(alert: Alert, value: float | None) -> str:
    """A value of an alert in the metric's shown unit; empty for None."""
    return "" if value is None else _shown(alert, value)


def alert_limit_text(alert: Alert) -> str:
    """The alert's limit in the metric's shown unit; empty for absence."""
    return "" if alert.limit is None else limit_text(alert.metric, alert.limit, alert.unit)


def metric_text(language: str, metric: str) -> str:
    """The metric's name; the word as it is for one that is not known."""
    known = METRICS.get(metric)
    return metric if known is None else (known.zh if language == "zh" else known.en)


def _shown(alert: Alert, value: float) -> str:
    """With as many digits as it takes to see on which side of the limit the value lies: never `150 over 150`."""
    if alert.metric not in METRICS:
        return f"{value:.6g} {alert.unit}".rstrip()
    shown = shown_value(alert.metric, value, alert.unit)
    limit = shown if alert.limit is None else shown_value(alert.metric, alert.limit, alert.unit)
    digits = shown_digits(alert.metric)
    number = number_text(shown, digits)
    for more in (1, 2, 3):
        if (float(number) > limit) == (shown > limit) and (float(number) < limit) == (shown < limit):
            break
        number = number_text(shown, digits + more)
    return f"{number} {unit_symbol(shown_unit(alert.metric))}".rstrip()
