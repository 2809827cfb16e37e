"""Fakes of the web's ports with two invented mines, for tests and for looking at the pages.

`python -m tests.web_fakes --port 8900 --scene alarm` serves them; log in as `li` / `horse-battery` (operator),
`admin` or `viewer` with the same password.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import random
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx
import uvicorn

from greenmine.core.account import Account, DeviceHour
from greenmine.core.act import Act, ActKind, ActResult
from greenmine.core.activity import ActivityInterval
from greenmine.core.alert import Alert, AlertKey, Condition, Handling, Reason, Transition, alert_id
from greenmine.core.clock import NS_PER_S, ManualClock
from greenmine.core.errors import Conflict, NotFound, Refused
from greenmine.core.gap import Gap
from greenmine.core.latest import Change, ChangeListener, Latest, Wants
from greenmine.core.quality import Quality
from greenmine.core.reading import Reading, Series
from greenmine.core.reading_store import InMemoryReadingStore, Selection
from greenmine.core.user import Role, User
from greenmine.core.waiting import Network, WaitingDevice, WaitingKey, WaitingValue
from greenmine.ingest.device_suggestion import suggest_device
from greenmine.policy.model import Policy
from greenmine.store.dead_letters import DeadLetterRow
from greenmine.store.hours import ReasonKey
from greenmine.web.app import create_app
from greenmine.web.backend import Backend, Check, DeadLettersAsked
from greenmine.web.stream import LiveHub
from tests import web_intake_scenes

NOW_NS = 1_795_334_400 * NS_PER_S
"""2026-11-22T16:00:00+08:00, when the invented world stands still."""
PASSWORD = "horse-battery"
MIN_NS = 60 * NS_PER_S
HOUR_NS = 60 * MIN_NS


def _text(zh: str, en: str) -> dict[str, str]:
    return {"zh": zh, "en": en}


def _sensor(kind: str, principle: str, interval: str, channel: str = "", **units: str) -> dict[str, Any]:
    metrics = {name: {"unit": unit, "interval": interval} for name, unit in units.items()}
    return {"kind": kind, "principle": principle, "channel": channel, "metrics": metrics}


def _dust(interval: str = "60s") -> dict[str, Any]:
    units = {"pm10": "ug/m3", "pm25": "ug/m3", "tsp": "ug/m3"}
    return _sensor("dust", "light_scattering", interval, **units)


def _limit(rule_id: str, metric: str, raise_at: float, clear: float, **more: Any) -> dict[str, Any]:
    base = {"id": rule_id, "kind": "threshold", "severity": "warning", "metric": metric}
    return {**base, "raise": raise_at, "clear": clear, **more}


def open_pit_policy(**changes: Any) -> Policy:
    """示范露天煤矿, with some sections of its document changed."""
    return Policy.model_validate({**open_pit_document(), **changes})


def quarry_policy(**changes: Any) -> Policy:
    """示范石灰石矿, with some sections of its document changed."""
    return Policy.model_validate({**quarry_document(), **changes})


def open_pit_document() -> dict[str, Any]:
    """示范露天煤矿: eight stations and a gateway, one of them not yet placed."""
    soil = [
        _sensor("soil", "fdr", "600s", channel=depth, soil_moisture="%", soil_temp="Cel") for depth in ("d20", "d40")
    ]
    devices = [
        ("gw-1", _text("网关 1 号", "Gateway 1"), (110.0052, 39.8010), []),
        ("dust-n1", _text("北界扬尘", "Dust north"), (110.0040, 39.8088), [_dust()]),
        ("dust-s1", _text("南界扬尘", "Dust south"), (110.0065, 39.7942), [_dust()]),
        ("dust-road", _text("运煤路口", "Haul road"), (110.0135, 39.8003), [_dust()]),
        ("water-out", _text("矿井水总排口", "Mine water outlet"), (110.0168, 39.7955),
         [_sensor("water", "electrode", "300s", ph="1", turbidity="NTU", conductivity="uS/cm", do="mg/L", ss="mg/L")]),
        ("noise-w1", _text("西厂界噪声", "Noise west"), (109.9945, 39.8030),
         [_sensor("noise", "class_1_meter", "60s", laeq="dB", lamax="dB")]),
        ("soil-p1", _text("排土场复垦区", "Soil of the reclaimed inner dump, north bench"), (109.9978, 39.8071), soil),
        ("met-1", _text("气象站", "Weather station"), (110.0049, 39.8012),
         [_sensor("weather", "compact", "60s", wind_speed="m/s", wind_dir="deg", air_temp="Cel", humidity="%")]),
        ("dust-new", _text("新装扬尘仪", "New dust meter"), None, [_dust()]),
    ]  # fmt: skip
    rules: list[dict[str, Any]] = [
        _limit("pm10-notice", "pm10", 150.0, 120.0, severity="notice", title=_text("PM10 偏高", "PM10 raised")),
        _limit("pm10-warning", "pm10", 250.0, 200.0, hold="5m", title=_text("PM10 超过预警值", "PM10 over warning"),
               advice=_text("立即加开雾炮和洒水车。", "Run the fog cannons and the water trucks.")),
        _limit("pm10-critical", "pm10", 420.0, 350.0, severity="critical",
               title=_text("PM10 严重超标", "PM10 far over level"),
               advice=_text("停止剥离与装卸作业，报告县局。", "Stop stripping and loading; report to the county.")),
        {**_limit("tsp-hour", "tsp", 1.0, 0.8, unit="mg/m3"), "kind": "mean", "window": "1h"},
        _limit("ph-low", "ph", 6.0, 6.2, direction="below", title=_text("pH 偏低", "pH too low")),
        _limit("ph-high", "ph", 9.0, 8.8, title=_text("pH 偏高", "pH too high")),
        _limit("turbidity-high", "turbidity", 50.0, 40.0),
        _limit("ss-high", "ss", 50.0, 45.0, severity="critical"),
        {**_limit("laeq-day", "laeq", 65.0, 63.0), "kind": "mean", "window": "10m"},
        _limit("soil-dry", "soil_moisture", 12.0, 14.0, direction="below", severity="notice", channel="d20"),
        {"id": "silent", "kind": "absence", "severity": "notice", "intervals": 10,
         "title": _text("监测数据中断", "Station silent")},
    ]  # fmt: skip
    return _document("demo-pit", _text("示范露天煤矿", "Demo Open Pit"), (110.005, 39.80), devices, rules)


def quarry_document() -> dict[str, Any]:
    """示范石灰石矿: four stations."""
    devices = [
        ("dust-gate", _text("矿区大门", "Main gate"), (110.2010, 39.6100), [_dust()]),
        ("dust-crusher", _text("破碎站", "Crusher"), (110.2052, 39.6125), [_dust()]),
        ("noise-village", _text("村庄侧噪声", "Noise, village side"), (110.1985, 39.6078),
         [_sensor("noise", "class_1_meter", "60s", laeq="dB", lamax="dB")]),
        ("water-pond", _text("沉淀池", "Settling pond"), (110.2060, 39.6082),
         [_sensor("water", "electrode", "300s", ph="1", turbidity="NTU")]),
    ]  # fmt: skip
    rules = [
        _limit("pm10-warning", "pm10", 250.0, 200.0, title=_text("PM10 超过预警值", "PM10 over warning level")),
        _limit("turbidity-high", "turbidity", 50.0, 40.0, title=_text("浊度偏高", "Turbidity high")),
        {**_limit("laeq-day", "laeq", 65.0, 63.0), "kind": "mean", "window": "10m"},
    ]
    return _document("demo-quarry", _text("示范石灰石矿", "Demo Quarry"), (110.202, 39.61), devices, rules)


def _document(
    mine: str,
    name: dict[str, str],
    location: tuple[float, float],
    devices: Sequence[tuple[str, dict[str, str], tuple[float, float] | None, list[dict[str, Any]]]],
    rules: list[dict[str, Any]],
) -> dict[str, Any]:
    info = {
        "id": mine,
        "name": name,
        "enterprise": _text("示范矿业有限公司", "Demo Mining Ltd"),
        "region": "150622",
        "timezone": "Asia/Shanghai",
        "location": location,
        "noise_class": 3,
        "air_grade": 2,
    }
    listed = [{"id": d, "name": n, "position": p, "sensors": s} for d, n, p, s in devices]
    return {"schema": 1, "mine": info, "valid_from": "2026-01-01", "devices": listed, "rules": rules}


_LEVELS = {
    "pm10": (85.0, 40.0), "pm25": (38.0, 15.0), "tsp": (320.0, 160.0), "ph": (7.4, 0.25), "turbidity": (18.0, 6.0),
    "conductivity": (1250.0, 90.0), "do": (7.2, 0.6), "ss": (24.0, 6.0), "laeq": (56.0, 5.0), "lamax": (71.0, 6.0),
    "soil_moisture": (19.0, 1.5), "soil_temp": (6.0, 2.0), "wind_speed": (3.2, 1.8), "wind_dir": (200.0, 60.0),
    "air_temp": (-2.0, 6.0), "humidity": (48.0, 14.0),
}  # fmt: skip


def usual_value(series: Series, time_ns: int) -> float:
    """A daily course with noise, the same for the same series and time."""
    level, swing = _LEVELS[series.metric]
    noise = random.Random(f"{series}{time_ns}").gauss(0, swing / 5)
    day = 2 * math.pi * (time_ns % (24 * HOUR_NS)) / (24 * HOUR_NS)
    return max(0.0 if level > 0 else -60.0, level + swing * math.sin(day) + noise)


class IndexedReadings(InMemoryReadingStore):
    """The shipped fake with an index by series, so that a page of charts over a day of readings is quick."""

    def query(self, selection: Selection, newest_first_limit: int | None = None) -> Iterator[Reading]:
        """As the fake; a selection of one whole series does not look at the others."""
        self._check()
        found = [r for r in self._of(selection) if selection.matches(r)]
        if newest_first_limit is not None:
            found = sorted(found, key=lambda r: r.time_ns)[-newest_first_limit:] if newest_first_limit else []
        return iter(sorted(found, key=lambda r: (r.series, r.time_ns)))

    def count(self, selection: Selection) -> int:
        """As the fake."""
        self._check()
        return sum(1 for r in self._of(selection) if selection.matches(r))

    def change(self, series: Series, how: Callable[[Reading, float], Reading | None]) -> None:
        """Rewrite history: `how` is given each reading and its age in minutes; None takes it away."""
        for reading in list(self._of(Selection.of_series(series))):
            after = how(reading, (NOW_NS - reading.time_ns) / MIN_NS)
            del self._values[(series, reading.time_ns)]
            if after is not None:
                self._values[(series, reading.time_ns)] = after
        self._index: dict[Series, list[Reading]] = {}

    def _of(self, selection: Selection) -> list[Reading]:
        if None in selection[:6]:
            return list(self._values.values())
        if getattr(self, "_indexed", -1) != len(self._values) or not self._index:
            self._index = {}
            for reading in self._values.values():
                self._index.setdefault(reading.series, []).append(reading)
            self._indexed = len(self._values)
        return self._index.get(Series(*selection[:6]), [])  # type: ignore[arg-type]


class FakeBoard:
    """The present state in dictionaries."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = {policy.mine.id: policy for policy in policies}
        self.newest: dict[Series, Latest] = {}
        self.known: dict[str, Alert] = {}
        self.steps: dict[str, list[Transition]] = {}
        self.intervals: list[ActivityInterval] = []

    def policies(self) -> Mapping[str, Policy]:
        """Active policies."""
        return self._policies

    def latest(self, mine: str) -> list[Latest]:
        """Newest values of a mine."""
        return [item for item in self.newest.values() if item.series.mine == mine]

    def alerts(self, mine: str | None = None, open_only: bool = False, limit: int = 500) -> list[Alert]:
        """Alerts, newest raise first."""
        found = [a for a in self.known.values() if mine in (None, a.key.mine) and (a.is_open or not open_only)]
        return sorted(found, key=lambda alert: -alert.raised_at_ns)[:limit]

    def history(self, alert_id: str) -> tuple[Alert, list[Transition]]:
        """An alert and its transitions."""
        if alert_id not in self.known:
            raise NotFound(f"no alert {alert_id!r}")
        return self.known[alert_id], list(self.steps[alert_id])

    def activities(self, mine: str, start_ns: int, end_ns: int) -> list[ActivityInterval]:
        """Intervals of activity in the span."""
        found = [one for one in self.intervals if one.mine == mine and one.touches(start_ns, end_ns - 1)]
        return sorted(found, key=lambda one: (one.start_ns, one.id))


class FakeDesk:
    """Acts take effect at once; listeners are told on the caller's thread, as the pipeline tells them on its own."""

    def __init__(self, board: FakeBoard, clock: ManualClock) -> None:
        self._board = board
        self._clock = clock
        self._listeners: list[tuple[ChangeListener, Callable[[], Wants]]] = []
        self._answers: dict[tuple[str, str], tuple[Act, ActResult]] = {}
        self.acts: list[Act] = []
        self.fail: Exception | None = None
        self.devices = FakeDevices()

    def submit(self, act: Act, timeout_s: float = 10.0) -> ActResult:
        """Judge an act; a key used again for another act is refused."""
        if self.fail is not None:
            raise self.fail
        known = self._answers.get((act.principal, act.idempotency_key)) if act.idempotency_key else None
        if known is not None:
            if known[0] != act:
                raise Refused("idempotency_key", "this Idempotency-Key was used for another request")
            return known[1]
        result = self._judge(act)
        self.acts.append(act)
        if act.kind in (ActKind.APPROVE_DEVICE, ActKind.REJECT_DEVICE):
            self.devices.listed.pop(WaitingKey(Network(act.body["network"]), act.body["address"]), None)
        if act.idempotency_key:
            self._answers[(act.principal, act.idempotency_key)] = (act, result)
        return result

    def subscribe(self, listener: ChangeListener, wanted: Callable[[], Wants] = Wants) -> Callable[[], None]:
        """Be told of changes."""
        entry = (listener, wanted)
        self._listeners.append(entry)
        return lambda: self._listeners.remove(entry)

    def tell(self, *changes: Change) -> None:
        """Tell the listeners."""
        entries = [(listener, wanted()) for listener, wanted in list(self._listeners)]
        messages = any(wants.messages for _, wants in entries)
        told = [change for change in changes if messages or change.kind != "message"]
        for listener, _ in entries:
            listener(told)

    def hear(self, device: str, values: Mapping[str, float | None], ago_s: float = 7.0, **more: Any) -> None:
        """A message of a device of demo-pit, as the pipeline tells `tail` of it; `late_s` is how long it was on its
        way."""
        now_ns = self._clock.wall_ns()
        received_ns = now_ns - int(ago_s * NS_PER_S)
        mine, late_s = more.pop("mine", "demo-pit"), more.pop("late_s", 1.0)
        time_ns = received_ns - int(late_s * NS_PER_S)
        names = {name: name.partition("@")[::2] for name in values}
        readings = [
            {
                **Series(mine, device, *names[name])._asdict(), "time_ns": time_ns, "value": value, "quality": [],
                "quarantine": "",
            }
            for name, value in values.items()
        ]  # fmt: skip
        payload = json.dumps({"ts": time_ns // 1_000_000, "values": values}, ensure_ascii=False)
        message = {
            "received_ns": received_ns, "mine": mine, "device": device, "topic": f"mines/{mine}/{device}/up",
            "client": f"{mine}.{device}", "payload": payload, "readings": readings, "refused": [], **more,
        }  # fmt: skip
        self.tell(Change("message", message))

    def set_value(self, series: Series, value: float, quality: int = 0, time_ns: int | None = None) -> None:
        """A new newest value."""
        now_ns = self._clock.wall_ns()
        item = Latest(series, now_ns if time_ns is None else time_ns, value, quality, now_ns)
        self._board.newest[series] = item
        self.tell(Change("latest", item))

    def raise_alert(self, policy: Policy, rule_id: str, series: Series, value: float, ago_ns: int = 0) -> Alert:
        """A rule of the policy fires."""
        rule: Any = next(r for r in policy.rules if r.id == rule_id)
        at_ns = self._clock.wall_ns() - ago_ns
        absent = rule.kind == "absence"
        key = AlertKey(policy.mine.id, rule_id, series.device, series.channel)
        alert = Alert(
            id=alert_id(key, at_ns, len(self._board.known)),
            key=key,
            metric=series.metric,
            kind=rule.kind,
            severity=rule.severity,
            condition=Condition.FIRING,
            handling=Handling.NONE,
            raised_at_ns=at_ns,
            cleared_at_ns=None,
            source_time_ns=None if absent else at_ns,
            value=None if absent else value,
            last_value=None if absent else value,
            limit=None if absent else rule.raise_level,
            unit="" if absent else (rule.unit or "ug/m3" if series.metric in ("pm10", "tsp") else rule.unit or "1"),
            transition=0,
        )
        reason = {"threshold": Reason.OVER_LIMIT, "mean": Reason.MEAN_OVER_LIMIT}.get(rule.kind, Reason.NO_USABLE_DATA)
        return self.change(alert, reason, f"rule:{policy.mine.id}/{rule_id}", at_ns, value=alert.value)

    def clear(self, alert: Alert, value: float, at_ns: int | None = None) -> Alert:
        """The readings are back within the clear level."""
        now_ns = self._clock.wall_ns() if at_ns is None else at_ns
        cleared = dataclasses.replace(alert, condition=Condition.CLEARED, cleared_at_ns=now_ns, last_value=value)
        rule = f"rule:{alert.key.mine}/{alert.key.rule}"
        return self.change(cleared, Reason.BACK_WITHIN_CLEAR_LEVEL, rule, now_ns, value=value)

    def change(
        self, alert: Alert, reason: Reason, principal: str, at_ns: int, note: str = "", value: float | None = None
    ) -> Alert:
        """One transition."""
        after = dataclasses.replace(alert, transition=alert.transition + 1)
        step = Transition(
            after.id, after.transition, at_ns, after.condition, after.handling, reason, principal, value,
            after.source_time_ns if value is not None else None, note,
        )  # fmt: skip
        self._board.known[after.id] = after
        self._board.steps.setdefault(after.id, []).append(step)
        self.tell(Change("alert", after), Change("transition", step))
        return after

    def _judge(self, act: Act) -> ActResult:
        if act.kind is ActKind.FACT:
            return ActResult(detail={"id": len(self.acts) + 1})
        if act.kind is ActKind.REPLAY_DEAD_LETTERS:
            return ActResult(detail={"messages": len(act.body["ids"]), "stored": 3, "still_dead": 1})
        if act.kind in (ActKind.APPROVE_DEVICE, ActKind.REJECT_DEVICE):
            return ActResult(detail={name: act.body[name] for name in ("network", "address")})
        alert, _ = self._board.history(act.alert_id)
        now_ns = self._clock.wall_ns()
        if act.kind is not ActKind.ACKNOWLEDGE and not act.note.strip():
            raise Refused("note_empty", "write what was found or done")
        if act.kind is ActKind.NOTE:
            noted = dataclasses.replace(alert, notes=alert.notes + 1)
            return ActResult(self.change(noted, Reason.NOTE_BY_PERSON, act.principal, now_ns, act.note))
        if not alert.is_open:
            raise Conflict(f"alert {alert.id} is already closed")
        if act.kind is ActKind.ACKNOWLEDGE:
            if alert.handling is not Handling.NONE:
                return ActResult(alert)
            name = act.principal
            acknowledged = dataclasses.replace(
                alert, handling=Handling.ACKNOWLEDGED, acknowledged_at_ns=now_ns, acknowledged_by=name
            )
            return ActResult(self.change(acknowledged, Reason.ACKNOWLEDGED_BY_PERSON, name, now_ns, act.note))
        if alert.condition is not Condition.CLEARED:
            raise Conflict(f"the condition of alert {alert.id} still holds")
        closed = dataclasses.replace(alert, handling=Handling.CLOSED)
        return ActResult(self.change(closed, Reason.RESOLVED_BY_PERSON, act.principal, now_ns, act.note))


class FakeLogins:
    """Four people with one password; five failures lock a name."""

    def __init__(self) -> None:
        self.users = {
            "admin": User("admin", Role.ADMIN, 0, False),
            "li": User("li", Role.OPERATOR, 0, False),
            "viewer": User("viewer", Role.VIEWER, 0, False),
            "new": User("new", Role.OPERATOR, 0, True),
        }
        self.passwords = dict.fromkeys(self.users, PASSWORD)
        self.sessions: dict[str, str] = {"service-token": "admin"}
        self._failures: dict[str, int] = {}
        self._made = 0

    def log_in(self, name: str, password: str, address: str) -> tuple[User, str]:
        """A user and a new token."""
        if self._failures.get(name, 0) >= 5:
            raise Refused("locked", "too many failures")
        if self.passwords.get(name) != password:
            self._failures[name] = self._failures.get(name, 0) + 1
            raise Refused("credentials")
        self._made += 1
        token = f"token-{name}-{self._made}"
        self.sessions[token] = name
        return self.users[name], token

    def session_user(self, token: str) -> User | None:
        """The user of a live token."""
        name = self.sessions.get(token)
        return self.users[name] if name else None

    def log_out(self, token: str) -> None:
        """End a session."""
        self.sessions.pop(token, None)

    def change_password(self, name: str, old: str, new: str) -> None:
        """Refuses a wrong old one and a short new one."""
        if self.passwords[name] != old:
            raise Refused("credentials")
        if len(new) < 12:
            raise Refused("weak", "at least 12 characters")
        self.passwords[name] = new
        self.users[name] = self.users[name]._replace(must_change_password=False)


class FakeOperations:
    """Good health unless told otherwise."""

    def __init__(self) -> None:
        self.found = [Check("journal", True, "writable", "")]
        self.administered: list[tuple[str, Mapping[str, Any], str]] = []

    def account(self) -> Account:
        """A balanced account."""
        return Account(received=10, stored=7, pending=1, quarantined=1, dead=1)

    def checks(self) -> list[Check]:
        """What was set."""
        return self.found

    def metrics_text(self) -> tuple[bytes, str]:
        """A tiny exposition."""
        return b"# EOF\n", "application/openmetrics-text; version=1.0.0; charset=utf-8"

    def administer(self, operation: str, arguments: Mapping[str, Any], principal: str) -> Any:
        """Remembers the call; a second user of the same normalised name is a conflict."""
        if operation == "users.add" and str(arguments.get("name", "")).strip().lower() == "admin":
            raise Conflict("user 'admin' exists already")
        if operation == "nothing":
            raise NotFound("no such operation")
        self.administered.append((operation, arguments, principal))
        return {"done": operation}


class FakeDevices:
    """A waiting list in a dictionary; what is decided about takes effect at once."""

    def __init__(self) -> None:
        self.listed: dict[WaitingKey, WaitingDevice] = {}

    def add(self, network: Network, address: str, mine: str = "", ago_s: float = 30.0, **more: Any) -> None:
        """Somebody waits."""
        last_ns = NOW_NS - int(ago_s * NS_PER_S)
        values = tuple(WaitingValue(*one) for one in more.pop("values", ()))
        sample = more.pop("sample", "")
        device = WaitingDevice(network, address, mine, last_ns - 3 * HOUR_NS, last_ns, 181, 77, values, sample)
        self.listed[device.key] = device

    def waiting(self) -> list[WaitingDevice]:
        """Heard last first."""
        return sorted(self.listed.values(), key=lambda one: -one.last_seen_ns)

    def waiting_one(self, network: Network, address: str) -> WaitingDevice:
        """One of them."""
        if (network, address) not in self.listed:
            raise NotFound(f"{network.value} {address!r} is not on the waiting list")
        return self.listed[WaitingKey(network, address)]

    def suggestion(self, device: WaitingDevice) -> str:
        """As the service guesses it."""
        return suggest_device(device)


class FakeIntakes:
    """What came in and what did not, in lists."""

    def __init__(self) -> None:
        self.known_gaps: list[Gap] = []
        self.known_hours: list[DeviceHour] = []
        self.known_reasons: dict[ReasonKey, int] = {}
        self.known_letters: list[tuple[DeadLetterRow, bytes | None]] = []

    def gaps(self, mine: str | None, device: str | None, open_only: bool, limit: int) -> list[Gap]:
        """Gaps as they were put here."""
        return [
            gap
            for gap in self.known_gaps
            if mine in (None, gap.stream.mine)
            and device in (None, gap.stream.device)
            and (gap.closed_ns is None or not open_only)
        ][:limit]

    def hours(self, mine: str | None, device: str | None, from_ns: int | None, to_ns: int | None) -> list[DeviceHour]:
        """Hours as they were put here."""
        return [
            one
            for one in self.known_hours
            if mine in (None, one.mine)
            and device in (None, one.device)
            and (from_ns or 0) <= one.start_ns < (to_ns or 2**63)
        ]

    def dead_letters(self, asked: DeadLettersAsked) -> list[DeadLetterRow]:
        """Letters as they were put here."""
        return [
            row
            for row, _ in self.known_letters
            if asked.word in (None, row.word)
            and asked.mine in (None, row.mine)
            and asked.device in (None, row.device)
            and (row.replayed_ns is None or asked.replayed_too)
        ][: asked.limit]

    def dead_letter(self, number: int) -> tuple[DeadLetterRow, bytes | None]:
        """One that was put here."""
        for row, payload in self.known_letters:
            if row.id == number:
                return row, payload
        raise NotFound("no such dead letter")

    def reasons(self, mine: str | None, device: str | None) -> dict[ReasonKey, int]:
        """Reasons as they were put here."""
        found = self.known_reasons.items()
        return {key: n for key, n in found if mine in (None, key.mine) and device in (None, key.device)}


@dataclasses.dataclass
class World:
    """All fakes of one backend."""

    board: FakeBoard
    desk: FakeDesk
    logins: FakeLogins
    operations: FakeOperations
    readings: IndexedReadings
    clock: ManualClock
    devices: FakeDevices = dataclasses.field(default_factory=FakeDevices)
    intakes: FakeIntakes = dataclasses.field(default_factory=lambda: FakeIntakes())

    @property
    def backend(self) -> Backend:
        """What `create_app` is given."""
        return Backend(
            self.board, self.desk, self.logins, self.operations, self.readings, self.clock, self.intakes, self.devices
        )


def make_world(scene: str = "rest", hours: int = 0) -> World:
    """A world in a scene, with `hours` of stored readings.

    Scenes: `empty` no policy; `one` a mine alone; `rest` two mines and all is well; `bare` two mines that never sent
    anything; `alarm` everything that can be wrong.
    """
    pit, quarry = open_pit_policy(), quarry_policy()
    policies = {"empty": [], "one": [pit]}.get(scene, [pit, quarry])
    clock = ManualClock(NOW_NS)
    board = FakeBoard(policies)
    desk = FakeDesk(board, clock)
    world = World(board, desk, FakeLogins(), FakeOperations(), IndexedReadings(), clock, desk.devices)
    if scene == "bare":
        return world
    for policy in policies:
        for series, setting in policy.series().items():
            step_ns = setting.interval * NS_PER_S
            for back in range(hours * 3600 // setting.interval, -1, -1):
                time_ns = NOW_NS - back * step_ns - 7 * NS_PER_S
                world.readings.write([Reading(series, time_ns, usual_value(series, time_ns))])
            time_ns = NOW_NS - 7 * NS_PER_S
            board.newest[series] = Latest(series, time_ns, usual_value(series, time_ns), 0, time_ns + NS_PER_S)
    if scene == "alarm":
        _alarm(world, pit, quarry, hours)
    return world


def say_all(world: World) -> None:
    """What devices of demo-pit send, good and bad, for the commissioning view; call it once somebody looks there."""
    policy = world.board.policies()["demo-pit"]
    for series in [series for series in world.board.newest if series.device == "dust-new"]:
        del world.board.newest[series]
    for device in policy.devices[:-1]:
        series = [s for s in policy.series() if s.device == device.id]
        interval_s = min((policy.series()[s].interval for s in series), default=60)
        for back in range(5, -1, -1) if series else ():
            at_ns = NOW_NS - back * interval_s * NS_PER_S
            values = {f"{s.metric}@{s.channel}".rstrip("@"): round(usual_value(s, at_ns), 1) for s in series}
            values |= _TROUBLE.get(device.id, {})
            late_s = 8 * 3600 + 2.0 if device.id == "noise-w1" else 1.4
            health = {"rssi_dbm": -118.0, "snr_db": -6.5, "battery_v": 3.2, "battery_percent": 14.0}
            more = {"health": health} if device.id == "soil-p1" else {}
            world.desk.hear(device.id, values, ago_s=back * interval_s + 7, late_s=late_s, **more)
    refused = [{"word": "ts_zone", "detail": "ts '2026-11-22 16:00:00' has no offset"}]
    world.desk.hear("dust-road", {}, 4, refused=refused, payload='{"ts":"2026-11-22 16:00:00","values":{"pm10":91}}')
    world.desk.hear("dust-x9", {"pm10": 64.0}, 30, payload="<script>alert(1)</script>" * 40)


_TROUBLE: dict[str, dict[str, float]] = {
    "dust-s1": {"pm10": 0.0, "pm25": 0.0, "tsp": 0.0},
    "dust-n1": {"pm10": 0.084, "pm25": 0.036},
    "water-out": {"do": 7.5},
}


def _alarm(world: World, pit: Policy, quarry: Policy, hours: int) -> None:
    web_intake_scenes.add_strangers(world.devices, NOW_NS)
    web_intake_scenes.add_losses(world.intakes, pit, NOW_NS)
    web_intake_scenes.add_activity(world.board.intervals, NOW_NS)
    desk, board = world.desk, world.board
    road = Series("demo-pit", "dust-road", "pm10")
    north = Series("demo-pit", "dust-n1", "pm10")
    pond = Series("demo-quarry", "water-pond", "turbidity")
    if hours:
        _episode(world.readings, road, 480.0, 75)
        _episode(world.readings, north, 190.0, 40)
        silent = Series("demo-pit", "dust-s1", "pm10")
        world.readings.change(silent, lambda reading, age: None if 95 < age <= 150 else reading)
        calibration = int(Quality.CALIBRATION)
        world.readings.change(
            north,
            lambda reading, age: reading._replace(value=5.0, quality=calibration) if 200 <= age < 215 else reading,
        )
    desk.set_value(road, 463.0)
    desk.set_value(Series("demo-pit", "dust-road", "tsp"), 1420.0)
    desk.set_value(north, 171.0)
    desk.set_value(Series("demo-pit", "water-out", "ph"), 15.2, int(Quality.RANGE))
    desk.set_value(pond, 61.5)
    desk.raise_alert(pit, "pm10-critical", road, 436.0, 22 * MIN_NS)
    warned = desk.raise_alert(pit, "pm10-warning", road, 268.0, 48 * MIN_NS)
    desk.submit(Act(ActKind.ACKNOWLEDGE, "person:li", warned.id, "已通知洒水车，预计 10 分钟到场。"))
    desk.raise_alert(pit, "pm10-notice", north, 158.0, 14 * MIN_NS)
    desk.raise_alert(quarry, "turbidity-high", pond, 55.2, 3 * HOUR_NS)
    over = desk.raise_alert(pit, "laeq-day", Series("demo-pit", "noise-w1", "laeq"), 66.3, 5 * HOUR_NS)
    over = desk.clear(over, 62.1, NOW_NS - 4 * HOUR_NS)
    handled = desk.raise_alert(
        quarry, "pm10-warning", Series("demo-quarry", "dust-crusher", "pm10"), 274.0, 6 * HOUR_NS
    )
    desk.submit(Act(ActKind.ACKNOWLEDGE, "person:li", handled.id, ""))
    handled = desk.clear(board.known[handled.id], 180.0, NOW_NS - 5 * HOUR_NS)
    for metric in ("pm10", "pm25", "tsp"):
        board.newest.pop(Series("demo-pit", "dust-new", metric))
        old = Series("demo-pit", "dust-s1", metric)
        board.newest[old] = board.newest[old]._replace(
            time_ns=NOW_NS - 9 * MIN_NS, received_ns=NOW_NS - 9 * MIN_NS + NS_PER_S
        )


def _episode(store: IndexedReadings, series: Series, peak: float, minutes: int) -> None:
    def lift(reading: Reading, age: float) -> Reading:
        if age > minutes or reading.value is None:
            return reading
        return reading._replace(value=max(reading.value, peak * min(1.0, (minutes - age) / (minutes * 0.6))))

    store.change(series, lift)


class RunningSite:
    """A site served on a loopback port by a thread of this process."""

    def __init__(self, world: World, base: str, hub: LiveHub) -> None:
        self.world = world
        self.base = base
        self.hub = hub

    def client(self, **more: Any) -> httpx.Client:
        """A client without a session."""
        return httpx.Client(base_url=self.base, timeout=20, **more)

    @contextlib.contextmanager
    def logged_in(self, name: str = "li", **more: Any) -> Iterator[httpx.Client]:
        """A client with a session of this person, and its anti-forgery token as a default header."""
        with self.client(**more) as client:
            answer = client.post("/login", data={"name": name, "password": PASSWORD})
            assert answer.status_code == 303, answer.text
            client.headers["x-csrf-token"] = csrf_of(client)
            yield client


def csrf_of(client: httpx.Client) -> str:
    """The token that the pages of this client's session carry."""
    page = client.get("/password").text
    return page.split('name="csrf" value="', 1)[1].split('"', 1)[0]


@contextlib.contextmanager
def running(
    world: World, heartbeat_s: float = 5.0, secure_cookies: bool = False, port: int = 0
) -> Iterator[RunningSite]:
    """Serve a world until the block ends."""
    app = create_app(
        world.backend, allowed_hosts=["127.0.0.1", "localhost"], secure_cookies=secure_cookies, heartbeat_s=heartbeat_s
    )
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    ready = threading.Event()

    class _Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready.set()

    server = _Server(uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        assert ready.wait(20), "the server did not start"
        yield RunningSite(world, f"http://127.0.0.1:{listener.getsockname()[1]}", app.state.hub)
    finally:
        app.state.hub.close()
        server.should_exit = True
        thread.join(20)
        listener.close()


def main() -> None:
    """Serve a scene until interrupted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8900)
    parser.add_argument("--scene", default="alarm")
    parser.add_argument("--hours", type=int, default=24)
    given = parser.parse_args()
    with running(make_world(given.scene, given.hours), port=given.port) as site:
        if given.scene == "alarm":
            with site.logged_in() as visitor:
                visitor.get("/mines/demo-pit/commissioning")
            say_all(site.world)
        print(site.base, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
