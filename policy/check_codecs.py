"""Findings about codecs: names that must exist, and mappings that no registered sensor can take."""

from __future__ import annotations

from collections.abc import Iterator

from greenmine.policy.codec import Codec
from greenmine.policy.explain import nearest
from greenmine.policy.model import Device, Policy
from greenmine.policy.yaml import YamlPath

Finding = tuple[YamlPath, str]


def codec_errors(policy: Policy) -> Iterator[Finding]:
    """What refuses a policy."""
    for index, device in enumerate(policy.devices):
        if device.codec is not None and device.codec not in policy.codecs:
            advice = nearest(device.codec, policy.codecs)
            message = f"there is no codec {device.codec!r}{advice}; add it to `codecs` or correct the name"
            yield ("devices", index, "codec"), message


def codec_warnings(policy: Policy) -> Iterator[Finding]:
    """What is probably not meant."""
    for index, device in enumerate(policy.devices):
        codec = policy.codecs.get(device.codec or "")
        missing = [] if codec is None else sorted(_targets(codec) - _registered(device))
        if missing:
            shown = ", ".join(_shown(*one) for one in missing)
            message = f"{device.codec!r} also gives {shown}, which no sensor of {device.id!r} is registered for"
            yield ("devices", index, "codec"), message


def _targets(codec: Codec) -> set[tuple[str, str, str, int]]:
    named = {(one.metric, one.channel, one.stat, one.period) for one in codec.fields.values()}
    return named | {(one.metric, one.channel, "inst", 0) for one in codec.bytes_}


def _registered(device: Device) -> set[tuple[str, str, str, int]]:
    return {
        (metric, sensor.channel, setting.stat, setting.period)
        for sensor in device.sensors
        for metric, setting in sensor.metrics.items()
    }


def _shown(metric: str, channel: str, stat: str, period_s: int) -> str:
    name = f"{metric}@{channel}" if channel else metric
    return name if stat == "inst" else f"{name} ({stat} over {period_s} s)"
