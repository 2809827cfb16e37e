"""The commissioning view made ready for its templates: each device with what came last and what looks wrong."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from greenmine.core.latest import Latest
from greenmine.core.quality import flag_names
from greenmine.core.reading import Series
from greenmine.core.waiting import WaitingDevice
from greenmine.dashboards.build import device_path, device_title, series_title
from greenmine.dashboards.panel import Words
from greenmine.dashboards.shown import shown_unit, shown_value, unit_symbol
from greenmine.ingest.commissioning import KEPT_VALUES, Heard, Sample
from greenmine.ingest.commissioning_findings import (
    Finding,
    FindingKind,
    Registered,
    findings,
    probable_unit,
)
from greenmine.policy.model import Policy
from greenmine.web.compiled import compiled

SHOWN_PAYLOAD = 600


@dataclass(frozen=True)
class SeriesLine:
    """A series of a device: its newest value as people read it, and how it is registered against how it comes.

    `number` is empty where nothing came; `registered` and `probable` are units as sent, `probable` empty where nothing
    can be said of it.
    """

    title: Words
    number: str
    unit: str
    registered: str
    probable: str
    interval_s: float | None
    registered_s: int | None
    flags: tuple[str, ...]
    quarantine: str

    @property
    def unit_differs(self) -> bool:
        """Whether the numbers look like another unit than the registered one."""
        return bool(self.probable and self.registered and self.probable != self.registered)


@dataclass(frozen=True)
class DeviceLook:
    """One device of the view. `heard` is None where nothing ever came; `waits` where it is on the waiting list."""

    device: str
    title: Words
    link: str
    registered: bool
    waits: bool
    gateway: str
    heard: Heard | None
    payload: str
    behind_ns: int | None
    lines: list[SeriesLine]
    findings: list[Finding]

    @property
    def state(self) -> str:
        """The word of the state whose colour and sign it gets."""
        if self.heard is None:
            return "no_data" if self.findings else "unwatched"
        kinds = {finding.kind for finding in self.findings}
        if kinds & {FindingKind.REFUSED, FindingKind.SILENT}:
            return "late"
        return "suspect" if kinds or not self.registered else "ok"


def registered_of(policy: Policy) -> dict[str, dict[Series, Registered]]:
    """The registered series by device."""
    found: dict[str, dict[Series, Registered]] = {}
    for series, setting in policy.series().items():
        found.setdefault(series.device, {})[series] = Registered(setting.unit, setting.interval)
    return found


def with_known(
    mine: str, heard: Mapping[str, Heard], latest: Iterable[Latest], waiting: Iterable[WaitingDevice]
) -> dict[str, Heard]:
    """What was heard since somebody looks, and of what did not come meanwhile the newest that is known."""
    found = dict(heard)
    for device in waiting:
        if device.mine == mine and device.device and device.device not in found:
            found[device.device] = Heard(
                mine, device.device, received_ns=device.last_seen_ns, payload=device.sample
            )  # fmt: skip
    for item in latest:
        series = item.series
        one = found.setdefault(series.device, Heard(mine, series.device))
        if series not in one.samples:
            flags = tuple(flag_names(item.quality)) if item.quality else ()
            one.samples[series] = deque([Sample(item.time_ns, item.value, flags, "")], KEPT_VALUES)
        if not one.messages:
            one.received_ns = max(one.received_ns, item.received_ns)
    return found


def device_looks(
    policy: Policy,
    heard: Mapping[str, Heard],
    now_ns: int,
    only: str | None = None,
    waiting: Collection[str] = (),
) -> list[DeviceLook]:
    """The devices of a mine in the order of its policy, then those that speak unregistered; `only` one of them."""
    registered = registered_of(policy)
    known = [device.id for device in policy.devices]
    strangers = sorted(heard.keys() - set(known))
    return [
        _look(policy, device, registered.get(device, {}), heard.get(device), now_ns, device in waiting)
        for device in (*known, *strangers)
        if only in (None, device)
    ]


def _look(
    policy: Policy, device: str, registered: Mapping[Series, Registered], heard: Heard | None, now_ns: int, waits: bool
) -> DeviceLook:
    entry = policy.device(device)
    payload = heard.payload if heard else ""
    return DeviceLook(
        device=device,
        title=device_title(entry) if entry else Words.same(device),
        link=device_path(policy.mine.id, device) if entry else "",
        registered=entry is not None,
        waits=waits,
        gateway=(entry.gateway or "") if entry else "",
        heard=heard,
        payload=payload[:SHOWN_PAYLOAD] + ("…" if len(payload) > SHOWN_PAYLOAD else ""),
        behind_ns=heard.clock_behind_ns() if heard else None,
        lines=[_line(series, registered.get(series), heard) for series in _ordered(policy, registered, heard)],
        findings=findings(registered, heard, now_ns),
    )


def _ordered(policy: Policy, registered: Iterable[Series], heard: Heard | None) -> list[Series]:
    """Registered series as everywhere on the board, then those that come unregistered."""
    wanted = set(registered)
    ordered = [one.series for one in compiled(policy).watched if one.series in wanted]
    return ordered + sorted(set(heard.samples if heard else ()) - wanted)


def _line(series: Series, registered: Registered | None, heard: Heard | None) -> SeriesLine:
    samples = heard.samples.get(series) if heard else None
    newest = samples[-1] if samples else None
    number = ""
    if newest is not None and newest.value is not None:
        number = _exact(shown_value(series.metric, newest.value))
    values = [sample.value for sample in samples or () if sample.value is not None]
    return SeriesLine(
        title=series_title(series),
        number=number,
        unit=unit_symbol(shown_unit(series.metric)),
        registered=registered.unit if registered else "",
        probable=(probable_unit(series, registered, values) or "") if registered else "",
        interval_s=heard.interval_s(series) if heard else None,
        registered_s=registered.interval_s if registered else None,
        flags=newest.flags if newest else (),
        quarantine=newest.quarantine if newest else "",
    )


def _exact(value: float) -> str:
    """Four digits that count: a board rounds dust to whole numbers, and 0.084 is what gives a wrong unit away."""
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
