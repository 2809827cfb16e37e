"""Devices as listings show them: account, instrument, place, calibrations, each as of a moment."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from greenmine.administration import account_json, device_certificates
from greenmine.core.clock import to_rfc3339
from greenmine.core.reading import Series
from greenmine.ingest.device_facts import KINDS, DeviceFacts
from greenmine.policy.canonical import from_canonical_json
from greenmine.policy.model import Device, Policy
from greenmine.store import device_accounts, facts, schema
from greenmine.store.device_accounts import DeviceAccount


def device_rows(connection: Connection, now_ns: int, without_account: bool = False) -> list[dict[str, Any]]:
    """Every account (and every device of an active policy that has none), with what is known of it at `now_ns`."""
    table = schema.policy_version
    rows = connection.execute(select(table.c.canonical).where(table.c.active).order_by(table.c.mine))
    policies = {policy.mine.id: policy for policy in (from_canonical_json(row.canonical) for row in rows)}
    told = DeviceFacts.of(facts.listed(connection, kinds=KINDS))
    accounts = device_accounts.listed(connection)
    own = device_certificates(connection)
    found = [
        {
            **account_json(one, own.get(one.name, ())),
            **_known(policies.get(one.mine), one.mine, one.device, told, now_ns),
        }
        for one in accounts
    ]
    named = {(one.mine, one.device) for one in accounts}
    for mine, policy in policies.items() if without_account else ():
        for device in policy.devices:
            if (mine, device.id) not in named:
                nobody = account_json(DeviceAccount("", mine, device.id, "", 0, None))
                known = _known(policy, mine, device.id, told, now_ns)
                found.append({**nobody, "account": None, "created_at": None, **known})
    return found


def _known(policy: Policy | None, mine: str, device_id: str, told: DeviceFacts, now_ns: int) -> dict[str, Any]:
    device = policy.device(device_id) if policy is not None else None
    instrument = told.history.instrument_at(mine, device_id, now_ns)
    place = told.history.position_at(mine, device_id, now_ns)
    position = device.position if device is not None else None
    if place is not None:
        position = (place.longitude, place.latitude)
    return {
        "serial": None if instrument is None else instrument.serial,
        "model": (instrument.model or None) if instrument is not None else None,
        "replaced_at": None if instrument is None else to_rfc3339(instrument.since_ns),
        "position": None if position is None else list(position),
        "calibrations": [] if device is None else _calibrations(mine, device, told, now_ns),
    }


def _calibrations(mine: str, device: Device, told: DeviceFacts, now_ns: int) -> list[dict[str, Any]]:
    found = []
    for sensor in device.sensors:
        for metric, setting in sensor.metrics.items():
            series = Series(mine, device.id, metric, sensor.channel, setting.stat, setting.period)
            one = told.calibrations.at(series, now_ns)
            if one is not None:
                until = None if one.until_ns is None else to_rfc3339(one.until_ns)
                span = {"from": to_rfc3339(one.from_ns), "to": until}
                factors = {"slope": one.slope, "offset": one.offset, "fact": one.fact_id}
                found.append({"metric": metric, "channel": sensor.channel, **factors, **span})
    return found
