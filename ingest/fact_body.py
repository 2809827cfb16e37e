"""The form of the facts about devices, checked when a fact is added: what is wrong would otherwise do nothing, or do
harm, years later. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from greenmine.core.errors import NotFound, Refused
from greenmine.core.fact import Fact, FactKind
from greenmine.core.metric import METRICS
from greenmine.core.waiting import LONGEST_ADDRESS, Network
from greenmine.policy.model import Device, Policy

_Body = Mapping[str, Any]
MOST_SLOPE = 1e6
MOST_OFFSET = 1e9
_LONGEST = {"certificate": 200, "serial": 64, "model": 100, "previous_serial": 64, "place": 200}


def check_fact_body(kind: FactKind, subject: str, body: _Body, policy: Policy) -> None:
    """Check what a fact of a kind has to say of its subject; kinds without a form may say anything.

    Raises:
        NotFound: the policy names no such device, or the device reports no such metric.
        Refused: `fact_subject`, or `fact_body` with what is wrong.
    """
    check = _CHECKS.get(kind)
    if check is None or (kind is FactKind.APPROVAL and "network" not in body):
        return
    device_id, *rest = subject.split("/")
    device = policy.device(device_id)
    if device is None:
        raise NotFound(f"{policy.mine.id} has no registered device {device_id!r}")
    if kind is FactKind.CALIBRATION:
        _check_series(device, rest)
    elif rest:
        raise Refused("fact_subject", f"the subject of a {kind.value} is a device alone")
    if "corrects" in body and not (_is_whole(body["corrects"]) and body["corrects"] > 0):
        raise Refused("fact_body", "corrects is the id of an earlier fact, as `greenmine facts list` shows it")
    if body.get("withdrawn", False) is True:
        if set(body) != {"withdrawn", "corrects"}:
            raise Refused("fact_body", "a withdrawal has only corrects and withdrawn")
        return
    check(body)


def formed_body(fact: Fact) -> dict[str, Any] | None:
    """The body of a fact about a device, None where it has not the form of its kind: facts that were recorded before
    their form was checked do nothing."""
    check = _CHECKS.get(fact.kind)
    parts = len(fact.subject.split("/"))
    if check is None or (parts not in (2, 3) if fact.kind is FactKind.CALIBRATION else parts != 1):
        return None
    body: dict[str, Any] = json.loads(fact.body)
    if not body.get("withdrawn", False):
        try:
            check(body)
        except Refused:
            return None
    return body


def _check_series(device: Device, rest: list[str]) -> None:
    if len(rest) not in (1, 2) or not all(rest):
        raise Refused("fact_subject", "the subject of a calibration is device/metric or device/metric/channel")
    metric, *channel = rest
    sensors = [sensor for sensor in device.sensors if metric in sensor.metrics]
    if metric not in METRICS or not sensors:
        raise NotFound(f"{device.id} reports no {metric!r}")
    if channel and channel[0] not in [sensor.channel for sensor in sensors]:
        raise NotFound(f"{device.id} reports no {metric} at {channel[0]!r}")


def _calibration(body: _Body) -> None:
    _only(body, needed={"slope", "offset"}, optional={"certificate"})
    if not (_is_number(body["slope"]) and 0 < body["slope"] <= MOST_SLOPE):
        raise Refused("fact_body", f"slope is a number over 0, at most {MOST_SLOPE:g}")
    if not (_is_number(body["offset"]) and abs(body["offset"]) <= MOST_OFFSET):
        raise Refused("fact_body", f"offset is a number between -{MOST_OFFSET:g} and {MOST_OFFSET:g}")


def _replacement(body: _Body) -> None:
    _only(body, needed={"serial"}, optional={"model", "previous_serial"})


def _move(body: _Body) -> None:
    _only(body, needed={"position"}, optional={"place"})
    position = body["position"]
    if not (isinstance(position, list) and len(position) == 2 and all(map(_is_number, position))):
        raise Refused("fact_body", "position is [longitude, latitude] in degrees")
    if abs(position[0]) > 180 or abs(position[1]) > 90:
        raise Refused("fact_body", "longitude is -180 to 180 and latitude -90 to 90; longitude comes first")


def _approval(body: _Body) -> None:
    if set(body) != {"network", "address"}:
        raise Refused("fact_body", "an approval of an address has network and address")
    if body["network"] not in (Network.DEV_EUI, Network.MN, Network.EDGE):
        raise Refused("fact_body", "network is dev_eui, mn or edge; an own topic names its device itself")
    address = body["address"]
    if not isinstance(address, str) or not 0 < len(address) <= LONGEST_ADDRESS:
        raise Refused("fact_body", f"address is text of at most {LONGEST_ADDRESS} characters")


_CHECKS: dict[FactKind, Callable[[_Body], None]] = {
    FactKind.CALIBRATION: _calibration,
    FactKind.REPLACEMENT: _replacement,
    FactKind.DEVICE_MOVE: _move,
    FactKind.APPROVAL: _approval,
}


def _only(body: _Body, needed: set[str], optional: set[str]) -> None:
    missing, unknown = needed - set(body), set(body) - needed - optional - {"corrects"}
    if missing or unknown:
        raise Refused(
            "fact_body",
            f"needs {', '.join(sorted(needed))}, may have {', '.join(sorted(optional | {'corrects'}))}; "
            f"missing: {', '.join(sorted(missing)) or '-'}; unknown: {', '.join(sorted(unknown))[:200] or '-'}",
        )
    for name in (needed | optional) & set(body) & set(_LONGEST):
        text = body[name]
        if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST[name]:
            raise Refused("fact_body", f"{name} is text of at most {_LONGEST[name]} characters")


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond any float
        return False


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
