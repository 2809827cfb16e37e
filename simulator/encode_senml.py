"""SenML in JSON as a probe writes it (RFC 8428). Written without knowledge of any decoder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from greenmine.core.clock import NS_PER_S


class SenmlValue(NamedTuple):
    """A number under a name, in a unit of SenML; `unit` None where the pack's base unit holds."""

    name: str
    value: float
    unit: str | None = None


def senml_pack(
    values: Iterable[SenmlValue],
    time_ns: int | None = None,
    *,
    base_name: str = "",
    base_unit: str | None = None,
    extra: Iterable[dict[str, Any]] = (),
) -> bytes:
    """One pack with its base fields in its first record; whole seconds as integers. `extra` records follow."""
    records: list[dict[str, Any]] = []
    for one in values:
        record: dict[str, Any] = {"n": one.name, "v": one.value}
        if one.unit is not None:
            record["u"] = one.unit
        records.append(record)
    records += extra
    if records:
        records[0] = {**_base(time_ns, base_name, base_unit), **records[0]}
    return json.dumps(records, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _base(time_ns: int | None, base_name: str, base_unit: str | None) -> dict[str, Any]:
    base: dict[str, Any] = {}
    if base_name:
        base["bn"] = base_name
    if time_ns is not None:
        seconds, nanos = divmod(time_ns, NS_PER_S)
        base["bt"] = seconds if nanos == 0 else float(f"{seconds}.{nanos:09d}")
    if base_unit is not None:
        base["bu"] = base_unit
    return base
