"""What a policy could say of a device that nobody has registered, guessed from what it sent. Pure.

A guess is a start for a person: principle and interval are not in any message, and a unit that the message does not
name is taken to be the canonical one.
"""

from __future__ import annotations

import json
import re

from greenmine.core.identifier import is_identifier
from greenmine.core.metric import METRICS
from greenmine.core.unit import convertible
from greenmine.core.waiting import Network, WaitingDevice, WaitingValue

INTERVAL = "60s"
"""Stands in the suggestion until a person writes the real one."""


def suggest_device(waiting: WaitingDevice) -> str:
    """An entry of the policy's `devices` in YAML, with comments on what has to be looked at."""
    lines = [f"- id: {_device_id(waiting)}"]
    if waiting.network is not Network.MQTT:
        lines.append(f"  address: {{{waiting.network.value}: {json.dumps(waiting.address, ensure_ascii=False)}}}")
    sensors = _sensors(waiting.values)
    if not sensors:
        lines.append("  sensors: []  # no metric of ours was recognised / 未识别出指标")
    else:
        lines.append("  sensors:")
    for (kind, channel), metrics in sensors.items():
        lines.append(f"    - kind: {kind}")
        lines.append("      principle: unknown  # look at the instrument / 请按仪器填写测量原理")
        lines += [f"      channel: {channel}"] if channel else []
        lines.append("      metrics:")
        lines += [
            f'        {name}: {{unit: "{unit}", interval: {INTERVAL}}}  # {comment}' for name, unit, comment in metrics
        ]
    unknown = sorted({value.name for value in waiting.values if _metric_of(value.name)[0] not in METRICS})
    if unknown:
        names = ", ".join(json.dumps(name, ensure_ascii=False) for name in unknown)
        lines.append(f"  # not recognised / 未识别: {names}")
    return "\n".join(lines) + "\n"


def _device_id(waiting: WaitingDevice) -> str:
    if is_identifier(waiting.device):
        return waiting.device
    made = re.sub(r"[^a-z0-9]+", "-", waiting.address.lower()).strip("-")[:63].rstrip("-")
    return made or "new-device"


def _metric_of(name: str) -> tuple[str, str]:
    """Metric and channel of a name such as `soil_moisture@d20`."""
    metric, _, channel = name.lower().partition("@")
    return metric, channel if is_identifier(channel) else ""


def _sensors(values: tuple[WaitingValue, ...]) -> dict[tuple[str, str], list[tuple[str, str, str]]]:
    """Metrics with unit and comment by kind of sensor and channel."""
    found: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for value in values:
        name, channel = _metric_of(value.name)
        metric = METRICS.get(name)
        if metric is None:
            continue
        metrics = found.setdefault((metric.kind.value, channel), [])
        if name not in [one[0] for one in metrics]:
            metrics.append((name, *_unit(value, metric.unit)))
    return found


def _unit(value: WaitingValue, canonical: str) -> tuple[str, str]:
    shown = "no value / 无数值" if value.value is None else f"sent / 收到 {value.value:g}"
    if value.unit is not None and convertible(value.unit, canonical):
        return value.unit, shown
    return canonical, f"{shown}; the unit is a guess / 单位为推测"
