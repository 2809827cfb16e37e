"""An alert on its two axes, and the transitions that are its history."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

LINK_RULE = "broker-link"
"""Stands for a rule in the key of alerts about the connection to an external broker."""
DISK_RULE = "disk-room"
"""The same of alerts that the disk is full, and so nothing is taken from devices."""
STORE_RULE = "store-refuses"
"""The same of alerts that the store takes nothing until somebody mends that."""
SERVICE_RULES = {
    LINK_RULE: ("消息服务器", "broker"),
    DISK_RULE: ("磁盘", "disk"),
    STORE_RULE: ("数据库", "store"),
}
"""What the service itself watches at every mine (no rule of a policy is called so), and which part of it each is
about, (Chinese, English), in the place of a device's name."""


class Condition(StrEnum):
    """What the readings say."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    STALE = "stale"
    CLEARED = "cleared"


class Handling(StrEnum):
    """What people have done."""

    NONE = "none"
    ACKNOWLEDGED = "acknowledged"
    IN_RECTIFICATION = "in_rectification"
    VERIFIED = "verified"
    CLOSED = "closed"


class Severity(StrEnum):
    """How loud; `rank` orders them."""

    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for notice, 1 for warning, 2 for critical."""
        return list(Severity).index(self)


class Reason(StrEnum):
    """Why a transition happened."""

    OVER_LIMIT = "over_limit"
    UNDER_LIMIT = "under_limit"
    MEAN_OVER_LIMIT = "mean_over_limit"
    MEAN_UNDER_LIMIT = "mean_under_limit"
    NO_USABLE_DATA = "no_usable_data"
    BACK_WITHIN_CLEAR_LEVEL = "back_within_clear_level"
    DATA_RETURNED = "data_returned"
    SERVICE_FAULT = "service_fault"
    SERVICE_MENDED = "service_mended"
    SILENT_WHILE_FIRING = "silent_while_firing"
    RULE_REMOVED = "rule_removed"
    ACKNOWLEDGED_BY_PERSON = "acknowledged_by_person"
    NOTE_BY_PERSON = "note_by_person"
    RESOLVED_BY_PERSON = "resolved_by_person"
    NOTICE_DELIVERED = "notice_delivered"
    NOTICE_REFUSED = "notice_refused"


class AlertKey(NamedTuple):
    """One open alert a key. `device` is never empty; `channel` is '' or the channel of the series."""

    mine: str
    rule: str
    device: str
    channel: str


@dataclass(frozen=True, slots=True)
class Alert:
    """The present state of an alert. Times are the journal's clock in ns; `value` and `limit` in `unit`.

    `value` is what raised it, `last_value` the newest judged one. `source_time_ns` is the source time of the reading
    that raised it (None for absence). `transition` counts its transitions, from 1.
    """

    id: str
    key: AlertKey
    metric: str
    kind: str
    severity: Severity
    condition: Condition
    handling: Handling
    raised_at_ns: int
    cleared_at_ns: int | None
    source_time_ns: int | None
    value: float | None
    last_value: float | None
    limit: float | None
    unit: str
    transition: int
    acknowledged_at_ns: int | None = None
    acknowledged_by: str | None = None
    notes: int = 0

    @property
    def is_open(self) -> bool:
        """Open until the condition is cleared and, once anybody has handled it, closed."""
        if self.condition is not Condition.CLEARED:
            return True
        return self.handling not in (Handling.NONE, Handling.CLOSED)


class Transition(NamedTuple):
    """One step of an alert's history, with its reason, who, when, and the value behind it."""

    alert_id: str
    no: int
    at_ns: int
    condition: Condition
    handling: Handling
    reason: Reason
    principal: str
    value: float | None
    source_time_ns: int | None
    note: str


def alert_id(key: AlertKey, raised_at_ns: int, position: int) -> str:
    """A short id that is the same in every replay: from the key, the journal's clock, and its number among all."""
    text = "\x1f".join((*key, str(raised_at_ns), str(position)))
    return "a" + hashlib.sha256(text.encode()).hexdigest()[:15]
