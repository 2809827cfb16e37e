"""What can only be seen across the section `relay` and the devices it names."""

from __future__ import annotations

from collections.abc import Iterator

from greenmine.policy.explain import nearest
from greenmine.policy.model import Policy
from greenmine.policy.yaml import YamlPath


def relay_errors(policy: Policy) -> Iterator[tuple[YamlPath, str]]:
    """Stations of devices that are not there, and names or devices that stand twice."""
    if policy.relay is None:
        return
    known = {device.id for device in policy.devices}
    names: dict[str, int] = {}
    devices: dict[tuple[str, str], int] = {}
    for index, station in enumerate(policy.relay.stations):
        where: YamlPath = ("relay", "stations", index)
        if station.device not in known:
            advice = nearest(station.device, known)
            yield (*where, "device"), f"there is no device {station.device!r}{advice}; add it or correct the name"
        if names.setdefault(station.mn, index) != index:
            first = f"relay.stations[{names[station.mn]}]"
            yield (*where, "mn"), f"{station.mn!r} is already the MN of {first}; an MN is one station's"
        if devices.setdefault((station.device, station.channel), index) != index:
            yield (*where, "device"), f"{station.device!r} is forwarded already; once is enough"
