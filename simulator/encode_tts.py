"""Uplink messages of The Things Stack v3, which leaves out what is 0, "" or false. Written without knowledge of any
decoder."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC
from typing import Any

from greenmine.core.clock import NS_PER_MS
from greenmine.simulator.encode import timestamp

FORWARDED_AFTER_NS = 210 * NS_PER_MS
"""How much later than the network server the application server stamps a message."""


def tts_topic(application: str, device_id: str, tenant: str = "ttn") -> str:
    """Where The Things Stack publishes a device's uplinks."""
    return f"v3/{application}@{tenant}/devices/{device_id}/up"


def tts_uplink(
    device_id: str,
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
    """One message; `fields` is what a payload formatter made of `frame`, None where there is none."""
    uplink = {
        "f_port": port,
        "f_cnt": counter,
        "frm_payload": base64.b64encode(frame).decode(),
        "decoded_payload": None if fields is None else dict(fields),
        "rx_metadata": [_without_empty({"gateway_ids": {"gateway_id": "gw01"}, "rssi": rssi, "snr": snr})],
        "received_at": timestamp(time_ns, UTC),
    }
    message = {
        "end_device_ids": _without_empty({"device_id": device_id, "dev_eui": dev_eui.upper(), "dev_addr": "260BAB12"}),
        "received_at": timestamp(time_ns + FORWARDED_AFTER_NS, UTC),
        "uplink_message": _without_empty(uplink),
    }
    return json.dumps(message, ensure_ascii=False, allow_nan=False).encode()


def _without_empty(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value}
