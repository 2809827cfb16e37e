"""Uplink events of ChirpStack v4's JSON marshaler. Written without knowledge of any decoder."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from datetime import UTC
from typing import Any

from greenmine.simulator.encode import timestamp


def chirpstack_topic(application: str, dev_eui: str) -> str:
    """Where ChirpStack publishes a device's uplinks."""
    return f"application/{application}/device/{dev_eui.lower()}/event/up"


def chirpstack_uplink(
    dev_eui: str,
    time_ns: int,
    *,
    fields: Mapping[str, Any] | None = None,
    frame: bytes = b"",
    counter: int = 0,
    port: int = 2,
    rssi: int = -97,
    snr: float = 7.2,
) -> bytes:
    """One event; `fields` is what a codec of ChirpStack made of `frame`, None where there is none."""
    event: dict[str, Any] = {
        "deduplicationId": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{dev_eui}/{counter}/{time_ns}")),
        "time": timestamp(time_ns, UTC),
        "deviceInfo": {"applicationName": "mine-soil", "deviceName": "probe", "devEui": dev_eui.lower()},
        "devAddr": "01a2b3c4",
        "adr": True,
        "dr": 5,
        "fCnt": counter,
        "fPort": port,
        "confirmed": False,
        "data": base64.b64encode(frame).decode(),
        "rxInfo": [{"gatewayId": "0016c001f153a14c", "rssi": rssi, "snr": snr}],
        "txInfo": {"frequency": 868100000, "modulation": {"lora": {"bandwidth": 125000, "spreadingFactor": 7}}},
    }
    if fields is not None:
        event["object"] = dict(fields)
    return json.dumps(event, ensure_ascii=False, allow_nan=False).encode()
