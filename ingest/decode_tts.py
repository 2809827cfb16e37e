"""The Things Stack v3: the message `up` of its MQTT server."""

from __future__ import annotations

from greenmine.core.errors import DecodeRefused, placed
from greenmine.ingest.decoded import Decoded, Frame, Item
from greenmine.ingest.lorawan import add_fields, count, eui, frame_bytes, section, session, signal, text
from greenmine.ingest.strict_json import parse_object
from greenmine.ingest.timestamp import from_rfc3339

MAX_COUNTER = 2**32 - 1
MAX_PORT = 255
_IDS, _UPLINK = "end_device_ids", "uplink_message"


def decode_tts(payload: bytes, device_id: str | None = None) -> Decoded:
    """Decode an uplink message. `Item.device` is the device EUI in lower case, or the device id where it has none;
    `Item.metric` is the name in `decoded_payload`, where the application has a formatter; else `frame` has the bytes.
    `seq` is the frame counter and `boot` the device address.

    The server leaves out what is 0, "" or false. The time is `uplink_message.received_at`: the outer one is when the
    application server passed the message on. An uplink that was simulated in the console is no measurement.

    `device_id` is the topic's, which wins: a payload that names another is refused.

    Raises:
        DecodeRefused: the message as a whole; words of `strict_json.parse_object`, and `missing_field range base64
            scope simulated device_id_charset ts_format ts_zone ts_range`.
    """
    message = parse_object(payload)
    ids = section(message, _IDS)
    uplink = section(message, _UPLINK)
    if message.get("simulated"):
        raise DecodeRefused("simulated", "the uplink was simulated in the console; it is no measurement", "simulated")
    if device_id is not None and ids.get("device_id") != device_id:
        detail = f"the payload is not of {device_id[:64]}, which the topic names"
        raise DecodeRefused("scope", detail, f"{_IDS}.device_id")
    with placed(f"{_IDS}.dev_eui"):
        device = eui(text(ids, "dev_eui", _IDS)) if ids.get("dev_eui") else text(ids, "device_id", _IDS)[:128]
    with placed(f"{_UPLINK}.received_at"):
        time_ns = from_rfc3339(text(uplink, "received_at", _UPLINK))
    seq = count(uplink, "f_cnt", MAX_COUNTER, _UPLINK)
    like = Item(device, "", "", "inst", 0, time_ns, None, None, 0, seq, session(ids, "dev_addr"))
    decoded = Decoded(health=signal(uplink.get("rx_metadata")), sender=like)
    fields = section(message, _UPLINK, "decoded_payload", required=False)
    if fields:
        add_fields(fields, f"{_UPLINK}.decoded_payload", like, decoded)
    elif uplink.get("frm_payload"):
        with placed(f"{_UPLINK}.frm_payload"):
            decoded.frame = Frame(frame_bytes(uplink["frm_payload"]), count(uplink, "f_port", MAX_PORT, _UPLINK))
        decoded.sender = like._replace(place=f"{_UPLINK}.frm_payload")
    else:
        raise DecodeRefused("empty", "the uplink has neither decoded_payload nor frm_payload", _UPLINK)
    return decoded
