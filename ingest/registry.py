"""Who may speak and what is expected of him: the registered devices of the active policies, looked up per reading."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from greenmine.core.reading import Series
from greenmine.policy.model import Device, MetricSetting, Policy


class DeviceEntry(NamedTuple):
    """A registered device: the unit it sends each series in, by (metric, channel, stat, period_s)."""

    gateway: str | None
    settings: Mapping[tuple[str, str, str, int], MetricSetting]


@dataclass(frozen=True, slots=True)
class Registry:
    """All registered devices by (mine, device), and each mine's tolerance for clocks that are ahead (ns)."""

    devices: Mapping[tuple[str, str], DeviceEntry]
    max_ahead_ns: Mapping[str, int]
    addresses: Mapping[tuple[str, str], tuple[str, str] | None] = field(default_factory=dict)
    """(`dev_eui`, `mn` or `edge`; the address) to (mine, device), or to None where two devices claim one address.
    Device EUIs are in lower case."""

    @classmethod
    def of(
        cls, policies: Iterable[Policy], approvals: Mapping[tuple[str, str], tuple[str, str]] | None = None
    ) -> Registry:
        """The registry that these policies describe, and what people approved beside them: an address that a policy
        names is the policy's, and an approval of a device that no policy names any more does nothing."""
        devices: dict[tuple[str, str], DeviceEntry] = {}
        ahead: dict[str, int] = {}
        addresses: dict[tuple[str, str], tuple[str, str] | None] = {}
        for policy in policies:
            mine = policy.mine.id
            ahead[mine] = policy.quality.max_ahead * 1_000_000_000
            settings: dict[str, dict[tuple[str, str, str, int], MetricSetting]] = {}
            for series, setting in policy.series().items():
                settings.setdefault(series.device, {})[series[2:]] = setting
            for device in policy.devices:
                devices[mine, device.id] = DeviceEntry(device.gateway, settings.get(device.id, {}))
                for address in _addresses(device):
                    addresses[address] = None if address in addresses else (mine, device.id)
        for approved, named in (approvals or {}).items():
            if named in devices:
                addresses.setdefault(approved, named)
        return cls(devices, ahead, addresses)

    def setting(self, series: Series) -> MetricSetting | None:
        """How a series is registered, or None."""
        entry = self.devices.get((series.mine, series.device))
        return entry.settings.get(series[2:]) if entry else None


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
