"""What can only be seen across a policy's sections: errors that refuse it, and warnings for its author.

A finding is the path of the value in the policy's data (keys as in the file, indices) and what to do about it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from greenmine.core.quality import Quality, flag_names
from greenmine.core.reading import Series
from greenmine.policy.check_codecs import codec_errors, codec_warnings
from greenmine.policy.check_limits import limit_errors, limit_warnings
from greenmine.policy.check_relay import relay_errors
from greenmine.policy.check_rules import rule_errors, rule_warnings
from greenmine.policy.explain import nearest
from greenmine.policy.merge import KEYED_LISTS
from greenmine.policy.model import Policy, WebhookChannel
from greenmine.policy.yaml import YamlPath, field_name

Finding = tuple[YamlPath, str]

FLAGS = flag_names(sum(Quality))
FAR_KM = 50.0
"""A device further than this from its mine is probably a slip of the pen."""

_PICKLES = (".pkl", ".pickle", ".joblib")
_SECRET_KEYS = ("url", "webhook", "token", "password", "secret", "api_key", "access_key")
_PROVINCES = re.compile("1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[12]")


def check_policy(policy: Policy) -> list[Finding]:
    """Everything that refuses the policy."""
    return [
        *_repeated_ids(policy),
        *_region_errors(policy),
        *_device_errors(policy),
        *_series_errors(policy),
        *codec_errors(policy),
        *limit_errors(policy),
        *rule_errors(policy),
        *_quality_errors(policy),
        *relay_errors(policy),
        *_model_errors(policy),
        *_literal_secrets(policy),
    ]


def policy_warnings(policy: Policy) -> list[Finding]:
    """What is allowed and probably not meant."""
    return [*_device_warnings(policy), *codec_warnings(policy), *limit_warnings(policy), *rule_warnings(policy)]


def _repeated_ids(policy: Policy) -> Iterator[Finding]:
    for name in KEYED_LISTS:
        first: dict[str, int] = {}
        for index, item in enumerate(getattr(policy, name)):
            if item.id in first:
                where = f"{name}[{first[item.id]}]"
                yield (name, index, "id"), f"{item.id!r} is already the id of {where}; every id is used once"
            first.setdefault(item.id, index)


def _repeats(values: Sequence[str], path: YamlPath) -> Iterator[Finding]:
    for value, count in Counter(values).items():
        if count > 1:
            again = [index for index, other in enumerate(values) if other == value][1]
            yield (*path, again), f"{value!r} is here {count} times; once is enough"


def _region_errors(policy: Policy) -> Iterator[Finding]:
    region = policy.mine.region
    if not _PROVINCES.match(region):
        yield ("mine", "region"), f"{region!r} begins with no province's code; see GB/T 2260, e.g. '150622'"
    extended = PurePosixPath(policy.extends or "").stem
    if len(extended) == 6 and extended.isdigit():
        # 150622 is a county, 150600 its city, 150000 its province.
        prefix = extended[:2] if extended.endswith("0000") else extended[:4] if extended.endswith("00") else extended
        if not region.startswith(prefix):
            yield ("mine", "region"), f"{region!r} does not lie in the extended region {extended}; correct one of them"


def _device_errors(policy: Policy) -> Iterator[Finding]:
    seen: dict[tuple[str, str], str] = {}
    known = {device.id for device in policy.devices}
    for index, device in enumerate(policy.devices):
        where: YamlPath = ("devices", index)
        if device.gateway is not None:
            gateway = policy.device(device.gateway)
            if gateway is None:
                advice = nearest(device.gateway, known)
                yield (*where, "gateway"), f"there is no device {device.gateway!r}{advice}; add it or correct the name"
            elif gateway.id == device.id:
                yield (*where, "gateway"), "a device cannot be its own gateway; leave the key out"
            elif gateway.gateway is not None:
                message = f"{gateway.id!r} is itself behind {gateway.gateway!r}; name the device that really publishes"
                yield (*where, "gateway"), message
        for key, address in _addresses(device.address):
            first = seen.setdefault((key, address.lower()), device.id)
            if first != device.id:
                yield (
                    (*where, "address", key),
                    f"{address!r} is already the address of {first!r}; an address is one device's",
                )


def _addresses(address: Any) -> list[tuple[str, str]]:
    return [] if address is None else [(key, value) for key, value in address if value is not None]


def _series_errors(policy: Policy) -> Iterator[Finding]:
    first: dict[Series, YamlPath] = {}
    for d, device in enumerate(policy.devices):
        for s, sensor in enumerate(device.sensors):
            for metric, setting in sensor.metrics.items():
                path: YamlPath = ("devices", d, "sensors", s, "metrics", metric)
                series = Series(policy.mine.id, device.id, metric, sensor.channel, setting.stat, setting.period)
                if series in first:
                    other = field_name(first[series])
                    yield path, f"{other} already reports the same series; give one of the sensors another channel"
                first.setdefault(series, path)


def _quality_errors(policy: Policy) -> Iterator[Finding]:
    path: YamlPath = ("quality", "unusable")
    for index, name in enumerate(policy.quality.unusable):
        if name not in FLAGS:
            yield (*path, index), f"{name!r} is not a quality flag{nearest(name, FLAGS)}; flags are {', '.join(FLAGS)}"
    yield from _repeats(policy.quality.unusable, path)


def _model_errors(policy: Policy) -> Iterator[Finding]:
    for name, settings in policy.models.items():
        path = settings.get("path")
        if path is None:
            continue
        where: YamlPath = ("models", name, "path")
        if not isinstance(path, str):
            yield where, "must be text, the file's name in the folder of models"
        elif path.startswith(("/", "~")) or "\\" in path or ":" in path or PureWindowsPath(path).drive:
            yield where, f"{path!r}: write a path inside the folder of models, with `/` and without a drive or a URL"
        elif ".." in PurePosixPath(path).parts:
            yield where, f"{path!r} leads out of the folder of models; remove `..`"
        elif path.lower().endswith(_PICKLES):
            yield where, f"{path!r}: a pickle runs code when it is loaded; train and export the model with greenmine"


def _literal_secrets(policy: Policy) -> Iterator[Finding]:
    """In the sections of free form: typed ones take references only."""
    for name in ("ladders", "tarps", "models", "plan"):
        section = getattr(policy, name)
        data = [item.model_dump() for item in section] if isinstance(section, list) else section
        for path, value in _leaves(data, (name,)):
            if path[-1] in _SECRET_KEYS and value is not None and not str(value).startswith("secret:"):
                message = (
                    "a literal value where a reference is due: keep it as a secret of the service, write secret:NAME"
                )
                yield path, message


def _leaves(data: Any, path: YamlPath) -> Iterator[tuple[YamlPath, Any]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _leaves(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _leaves(value, (*path, index))
    else:
        yield path, data


def _device_warnings(policy: Policy) -> Iterator[Finding]:
    gateways = {device.gateway for device in policy.devices}
    if not policy.devices:
        yield (), "the policy has no devices; every reading will be unregistered"
    for index, device in enumerate(policy.devices):
        if not device.sensors and device.id not in gateways:
            yield ("devices", index), f"{device.id!r} has no sensors and is nobody's gateway"
        if device.position is not None:
            away_km = _distance_km(policy.mine.location, device.position)
            if away_km > FAR_KM:
                yield ("devices", index, "position"), f"is {away_km:.0f} km from the mine; check longitude and latitude"
    for index, contact in enumerate(policy.contacts):
        targets = [
            channel.url if isinstance(channel, WebhookChannel) else getattr(channel, "to", channel.kind)
            for channel in contact.channels
        ]
        yield from _repeats(targets, ("contacts", index, "channels"))


def _distance_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Great-circle distance of two points [longitude, latitude] on a sphere of 6371 km."""
    lon_a, lat_a, lon_b, lat_b = map(math.radians, (*a, *b))
    haversine = (
        math.sin((lat_b - lat_a) / 2) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    )
    return 2 * 6371 * math.asin(min(1.0, math.sqrt(haversine)))
