"""ChirpStack v4, JSON marshaler: the event `up` of a device."""

from __future__ import annotations

from greenmine.core.errors import DecodeRefused, placed
from greenmine.ingest.decoded import Decoded, Frame, Item
from greenmine.ingest.lorawan import add_fields, count, eui, frame_bytes, section, session, signal, text
from greenmine.ingest.strict_json import parse_object
from greenmine.ingest.timestamp import from_rfc3339

MAX_COUNTER = 2**32 - 1
MAX_PORT = 255


def decode_chirpstack(payload: bytes, dev_eui: str | None = None) -> Decoded:
    """Decode an uplink event. `Item.device` is the device EUI in lower case, `Item.metric` the name in `object`, where
    the network has a codec; else `frame` has the bytes. `seq` is the frame counter and `boot` the device address.

    Counters and port that are left out are 0. The time is `time`, when the network server received the uplink.

    `dev_eui` is the topic's, which wins: a payload that names another is refused.

    Raises:
        DecodeRefused: the event as a whole; words of `strict_json.parse_object`, and `missing_field range base64
            scope device_id_charset ts_format ts_zone ts_range`.
    """
    event = parse_object(payload)
    with placed("deviceInfo.devEui"):
        device = eui(text(section(event, "deviceInfo"), "devEui", "deviceInfo"))
        if dev_eui is not None and dev_eui.lower() != device:
            raise DecodeRefused("scope", f"the topic is not that of {device}, which the payload names")
    with placed("time"):
        time_ns = from_rfc3339(text(event, "time"))
    seq = count(event, "fCnt", MAX_COUNTER)
    like = Item(device, "", "", "inst", 0, time_ns, None, None, 0, seq, session(event, "devAddr"))
    decoded = Decoded(health=signal(event.get("rxInfo")), sender=like)
    fields = section(event, "object", required=False)
    if fields:
        add_fields(fields, "object", like, decoded)
    elif event.get("data"):
        with placed("data"):
            decoded.frame = Frame(frame_bytes(event["data"]), count(event, "fPort", MAX_PORT))
        decoded.sender = like._replace(place="data")
    else:
        raise DecodeRefused("empty", "the uplink has neither object nor data")
    return decoded
