"""Who may speak and what is expected of him: the registered devices of the active policies, looked up per reading."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from greenmine.core.errors import DecodeRefused, UnknownAddress
from greenmine.core.reading import Series
from greenmine.policy.codec import Codec
from greenmine.policy.hj212 import Hj212Settings
from greenmine.policy.model import Device, MetricSetting, Policy


class DeviceEntry(NamedTuple):
    """A registered device: the unit it sends each series in, by (metric, channel, stat, period_s)."""

    gateway: str | None
    settings: Mapping[tuple[str, str, str, int], MetricSetting]


@dataclass(frozen=True)
class Registry:
    """All registered devices by (mine, device), and each mine's tolerance for clocks that are ahead (ns)."""

    devices: Mapping[tuple[str, str], DeviceEntry]
    max_ahead_ns: Mapping[str, int]
    addresses: Mapping[tuple[str, str], tuple[str, str] | None] = field(default_factory=dict)
    """(`dev_eui`, `mn` or `edge`; the address) to (mine, device), or to None where two devices claim one address.
    Device EUIs are in lower case."""
    codecs: Mapping[tuple[str, str], Codec] = field(default_factory=dict)
    """How the values of devices that do not speak our own format become ours, by (mine, device)."""
    stations: Mapping[tuple[str, str], Hj212Settings] = field(default_factory=dict)
    """References to the passwords and keys of stations that speak HJ 212, by (mine, device)."""

    @cached_property
    def edge_nodes(self) -> frozenset[str]:
        """Sparkplug edge nodes (`group/edge`) that are a device of ours or have one behind them."""
        return frozenset("/".join(name.split("/")[:2]) for kind, name in self.addresses if kind == "edge")

    def behind(self, address: str) -> tuple[tuple[str, str], ...]:
        """Mine and device of a Sparkplug address (`group/edge[/device]`) and, of an edge node, of all that is behind
        it."""
        return tuple(
            named
            for (network, one), named in self.addresses.items()
            if network == "edge" and named is not None and (one == address or one.startswith(f"{address}/"))
        )

    def device_at(self, network: str, address: str) -> tuple[str, str]:
        """Mine and device of an address: `dev_eui` (lower case), `mn` or `edge`.

        Raises:
            DecodeRefused: `ambiguous_address`; as UnknownAddress, `unknown_address`.
        """
        if (network, address) not in self.addresses:
            raise UnknownAddress(network, address)
        found = self.addresses[network, address]
        if found is None:
            raise DecodeRefused("ambiguous_address", f"{network} {address!r} is claimed by more than one device")
        return found

    @classmethod
    def of(
        cls, policies: Iterable[Policy], approvals: Mapping[tuple[str, str], tuple[str, str]] | None = None
    ) -> Registry:
        """The registry that these policies describe, and what people approved beside them: an address that a policy
        names is the policy's, and an approval of a device that no policy names any more does nothing."""
        devices: dict[tuple[str, str], DeviceEntry] = {}
        ahead: dict[str, int] = {}
        addresses: dict[tuple[str, str], tuple[str, str] | None] = {}
        codecs: dict[tuple[str, str], Codec] = {}
        stations: dict[tuple[str, str], Hj212Settings] = {}
        for policy in policies:
            mine = policy.mine.id
            ahead[mine] = policy.quality.max_ahead * 1_000_000_000
            settings: dict[str, dict[tuple[str, str, str, int], MetricSetting]] = {}
            for series, setting in policy.series().items():
                settings.setdefault(series.device, {})[series[2:]] = setting
            for device in policy.devices:
                devices[mine, device.id] = DeviceEntry(device.gateway, settings.get(device.id, {}))
                if device.codec is not None:
                    codecs[mine, device.id] = policy.codecs[device.codec]
                if device.hj212 is not None:
                    stations[mine, device.id] = device.hj212
                for address in _addresses(device):
                    addresses[address] = None if address in addresses else (mine, device.id)
        for approved, named in (approvals or {}).items():
            if named in devices:
                addresses.setdefault(approved, named)
        return cls(devices, ahead, addresses, codecs, stations)

    def setting(self, series: Series) -> MetricSetting | None:
        """How a series is registered, or None."""
        entry = self.devices.get((series.mine, series.device))
        return entry.settings.get(series[2:]) if entry else None


def subscribed_topics(policies: Iterable[Policy]) -> list[str]:
    """The filters that bring in what these policies' devices send: our own tree, and that of each network in which one
    has an address."""
    addresses = [device.address for policy in policies for device in policy.devices if device.address is not None]
    found = ["mines/#"]
    if any(address.dev_eui is not None for address in addresses):
        found += ["application/+/device/+/event/up", "v3/+/devices/+/up"]
    if any(address.edge is not None for address in addresses):
        found.append("spBv1.0/#")
    return found


def _addresses(device: Device) -> Iterator[tuple[str, str]]:
    named = device.address
    if named is None:
        return
    if named.dev_eui is not None:
        yield "dev_eui", named.dev_eui.lower()
    if named.mn is not None:
        yield "mn", named.mn
    if named.edge is not None:
        yield "edge", named.edge
