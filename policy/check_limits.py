"""Findings about the standards that a policy names and the limits of its own."""

from __future__ import annotations

from collections.abc import Iterator

from greenmine.core.errors import NotFound
from greenmine.core.reading import Series
from greenmine.policy.applicable import class_of
from greenmine.policy.explain import nearest
from greenmine.policy.judging import StandardChoice
from greenmine.policy.library import Library, shipped_library
from greenmine.policy.limit import SOIL_RELATIVE, Comparison, Standard
from greenmine.policy.model import Policy
from greenmine.policy.yaml import YamlPath

Finding = tuple[YamlPath, str]


def limit_errors(policy: Policy, library: Library | None = None) -> Iterator[Finding]:
    """What refuses a policy."""
    library = library or shipped_library()
    seen: dict[tuple[object, ...], int] = {}
    for index, choice in enumerate(policy.standards):
        path: YamlPath = ("standards", index)
        yield from _unknown_devices(policy, choice.devices or [], (*path, "devices"))
        if choice.reference is not None and policy.device(choice.reference) is None:
            yield (*path, "reference"), _no_device(policy, choice.reference)
        same = (choice.part, tuple(sorted(choice.devices or ())), choice.channel)
        if same in seen:
            yield path, f"{choice.part!r} is already standards[{seen[same]}]; once is enough"
        seen.setdefault(same, index)
        try:
            standard, part_name, _ = library.part(choice.part)
        except NotFound as error:
            yield path, str(error)
        else:
            yield from _class_errors(policy, choice, standard, part_name, path)
    for index, limit in enumerate(policy.limits):
        path = ("limits", index)
        yield from _unknown_devices(policy, limit.devices, (*path, "devices"))
        if limit.compare is Comparison.MINUS_REFERENCE:
            yield (*path, "compare"), "minus_reference needs a part of a standard with its `reference`; write value"
        if limit.valid_from is not None and limit.valid_to is not None and limit.valid_to < limit.valid_from:
            yield (*path, "valid_to"), f"{limit.valid_to} is before valid_from {limit.valid_from}; correct one of them"
        for d, device in enumerate(limit.devices):
            if policy.device(device) is not None and not _reports(policy, limit.metric, device, limit.channel):
                on = "" if limit.channel is None else f" on channel {limit.channel!r}"
                yield (
                    (*path, "devices", d),
                    f"{device!r} does not report {limit.metric}{on}; remove it or add the sensor",
                )
    yield from _soil_errors(policy)


def limit_warnings(policy: Policy, library: Library | None = None) -> Iterator[Finding]:
    """What is probably not meant."""
    library = library or shipped_library()
    for index, choice in enumerate(policy.standards):
        path: YamlPath = ("standards", index)
        try:
            standard, part_name, part = library.part(choice.part)
        except NotFound:
            continue
        ends = library.valid_to(standard)
        if ends is not None and policy.valid_from > ends:
            edition = library.edition(standard, policy.valid_from)
            by = "" if edition is None else f"; {edition.standard} is judged by instead: name it"
            yield path, f"{standard.standard} ended on {ends}, before this policy began{by}"
        items = {row.item for row in standard.limits if row.part == part_name}
        for d, device in enumerate(choice.devices or []):
            if not any(_reports(policy, item, device, choice.channel) for item in items):
                known = ", ".join(sorted(items))
                yield (*path, "devices", d), f"{device!r} reports nothing of {choice.part} ({known}); remove it"
        if part.class_of is None and choice.class_name is not None:
            yield (*path, "class"), f"{choice.part} has no classes; leave it out"


def _class_errors(
    policy: Policy, choice: StandardChoice, standard: Standard, part_name: str, path: YamlPath
) -> Iterator[Finding]:
    part = standard.parts[part_name]
    classes = list(dict.fromkeys(name for row in standard.limits if row.part == part_name for name in row.classes))
    name = class_of(policy, choice, part)
    if part.class_of is None or not classes:
        return
    if name is None:
        yield (
            path,
            f"{choice.part} has classes; write {{part: {choice.part}, class: ...}} with one of {', '.join(classes)}",
        )
    elif name not in classes:
        yield (*path, "class"), f"{name!r} is not a class of {choice.part}; its classes are {', '.join(classes)}"


def _soil_errors(policy: Policy) -> Iterator[Finding]:
    for d, device in enumerate(policy.devices):
        for s, sensor in enumerate(device.sensors):
            plot = None if sensor.soil is None else sensor.soil.reference_plot
            if plot is None:
                continue
            path: YamlPath = ("devices", d, "sensors", s, "soil", "reference_plot")
            if policy.device(plot) is None:
                yield path, _no_device(policy, plot)
            elif plot == device.id:
                yield path, "a probe is no reference of its own; name the probe on undisturbed land"
            elif not _reports(policy, SOIL_RELATIVE, plot, sensor.channel):
                yield path, f"{plot!r} has no soil moisture at {sensor.channel!r} with a field capacity; add it there"


def _reports(policy: Policy, item: str, device: str, channel: str | None) -> bool:
    wanted = "soil_moisture" if item == SOIL_RELATIVE else item

    def fits(series: Series) -> bool:
        return series.metric == wanted and series.device == device and channel in (None, series.channel)

    if not any(fits(series) for series in policy.series()):
        return False
    found = policy.device(device)
    assert found is not None
    return item != SOIL_RELATIVE or any(
        sensor.soil is not None and channel in (None, sensor.channel) for sensor in found.sensors
    )


def _unknown_devices(policy: Policy, names: list[str], path: YamlPath) -> Iterator[Finding]:
    for index, name in enumerate(names):
        if policy.device(name) is None:
            yield (*path, index), _no_device(policy, name)


def _no_device(policy: Policy, name: str) -> str:
    known = [device.id for device in policy.devices]
    return f"there is no device {name!r}{nearest(name, known)}; add it or correct the name"
