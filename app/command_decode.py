"""`greenmine decode`: what greenmine makes of a payload, without any configuration."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from greenmine.core.clock import to_rfc3339
from greenmine.core.errors import DecodeRefused, UserError
from greenmine.core.identifier import is_identifier
from greenmine.core.metric import METRICS
from greenmine.core.quality import flag_names
from greenmine.ingest.codec import is_ours
from greenmine.ingest.decode_chirpstack import decode_chirpstack
from greenmine.ingest.decode_hj212 import decode_hj212
from greenmine.ingest.decode_json import decode_json
from greenmine.ingest.decode_senml import decode_senml
from greenmine.ingest.decode_sparkplug import decode_payload, decode_sparkplug
from greenmine.ingest.decode_tts import decode_tts
from greenmine.ingest.decoded import Decoded, Item, RefusedItem
from greenmine.ingest.sparkplug import SparkplugTopic, sparkplug_topic
from greenmine.ingest.sparkplug_json import parse_sparkplug_json
from greenmine.ingest.timestamp import from_rfc3339
from greenmine.ingest.topic import Topic, TopicKind, parse_topic
from greenmine.terminal import BAD_INPUT, err, print_line, reported

_OTHER_KINDS = ("type", "stat")
"""A value that is no number may well be meant to be none: a door, a text. Whether it matters, only a codec says."""
UNNAMED = ""
"""The metric of a value whose name the payload does not give; shown as null."""


@reported
def decode(
    file: Annotated[Path | None, typer.Argument(help="File with one payload, - for standard input / 数据文件")] = None,
    format_: Annotated[
        str, typer.Option("--format", help="json, senml, hj212, sparkplug, chirpstack, tts / 格式")
    ] = "json",
    topic: Annotated[str | None, typer.Option(help="MQTT topic it came on; gives mine and device / 主题")] = None,
    at: Annotated[str | None, typer.Option(help="When it came (RFC 3339); now if left out / 接收时间")] = None,
) -> None:
    """Decode a payload to one JSON line a reading; refusals are lines too, and then the exit code is 2. 解码数据。

    Times that are relative (SenML) are taken from --at. A Sparkplug payload is binary, or the JSON view of a message;
    a value whose alias no birth in it names has the metric null. The device of HJ 212 is its MN.
    """
    decoder = FORMATS.get(format_)
    if decoder is None:
        raise UserError(f"--format {format_!r} is not known; known are {', '.join(FORMATS)}")
    at_ns = _at_ns(at)
    payload = _payload(file)
    try:
        parsed = None if topic is None else parse_topic(topic)
        decoded = decoder(payload, topic, at_ns)
    except DecodeRefused as refused:
        print_line(_reject(refused))
        raise typer.Exit(BAD_INPUT) from refused
    for one in decoded.unreadable:
        if one.word not in _OTHER_KINDS or is_ours(one.name):
            decoded.refused.append(RefusedItem(one.word, one.detail, one.field))
    _print(decoded, parsed, format_)
    if decoded.refused:
        raise typer.Exit(BAD_INPUT)


def _json(payload: bytes, _: str | None, __: int) -> Decoded:
    return decode_json(payload)


def _senml(payload: bytes, topic: str | None, at_ns: int) -> Decoded:
    decoded = decode_senml(payload, at_ns)
    sender = None if topic is None else parse_topic(topic).device
    if sender:
        decoded.items = [item for item in decoded.items if not _speaks_for_another(item, sender, decoded)]
    return decoded


def _speaks_for_another(item: Item, sender: str, decoded: Decoded) -> bool:
    # Whose address a MAC is, only a policy says; another id of our kind is another device in any case.
    named = item.device
    if named is None or named == sender or not is_identifier(named) or _is_mac(named):
        return False
    detail = f"{item.metric} is of {named}, and the topic is {sender}'s"
    decoded.refused.append(RefusedItem("senml_scope", detail, item.place))
    return True


def _is_mac(name: str) -> bool:
    return len(name) in (12, 16) and set(name) <= set("0123456789abcdef")


def _chirpstack(payload: bytes, topic: str | None, _: int) -> Decoded:
    return _with_frame(decode_chirpstack(payload, _named_in(topic, TopicKind.CHIRPSTACK)))


def _tts(payload: bytes, topic: str | None, _: int) -> Decoded:
    return _with_frame(decode_tts(payload, _named_in(topic, TopicKind.TTS)))


def _named_in(topic: str | None, kind: TopicKind) -> str | None:
    """The device that a LoRaWAN network's topic names."""
    return topic.split("/")[3] if topic is not None and parse_topic(topic).kind is kind else None


def _with_frame(decoded: Decoded) -> Decoded:
    if decoded.frame is not None:
        detail = f"{len(decoded.frame.payload)} bytes that the network has not decoded; a codec in the policy can"
        decoded.refused.append(RefusedItem("no_codec", detail, decoded.sender.place if decoded.sender else ""))
    return decoded


def _hj212(payload: bytes, _: str | None, __: int) -> Decoded:
    return decode_hj212(payload)


def _sparkplug(payload: bytes, topic: str | None, _: int) -> Decoded:
    if payload.lstrip()[:1] == b"{":
        view_topic, sent = parse_sparkplug_json(payload)
        message = decode_payload(sent, _address(topic or view_topic), {})
    else:
        message = decode_sparkplug(payload, _address(topic), {})
    for alias, item in message.unnamed:
        message.decoded.items.append(item._replace(metric=UNNAMED))
        message.decoded.notes.append(f"alias {alias} is named in a birth, which is not here")
    return message.decoded


def _address(topic: str | None) -> str:
    found = None
    if topic is not None and parse_topic(topic).kind is TopicKind.SPARKPLUG:
        found = sparkplug_topic(topic)
    return found.address if isinstance(found, SparkplugTopic) else ""


FORMATS: dict[str, Callable[[bytes, str | None, int], Decoded]] = {
    "json": _json,
    "senml": _senml,
    "hj212": _hj212,
    "sparkplug": _sparkplug,
    "chirpstack": _chirpstack,
    "tts": _tts,
}
"""Payload, topic and time of receipt (ns) to what it says."""


def _at_ns(at: str | None) -> int:
    if at is None:
        return time.time_ns()
    try:
        return from_rfc3339(at)
    except DecodeRefused as refused:
        raise UserError(f"--at {at!r}: write a time as 2026-11-22T08:00:00+08:00 ({refused.word})") from refused


def _payload(file: Path | None) -> bytes:
    try:
        if file is not None and str(file) != "-":
            return file.read_bytes()
        if sys.stdin is None:
            raise UserError("standard input is closed; name a FILE")
        return sys.stdin.buffer.read()
    except OSError as error:
        raise UserError(f"{file or 'standard input'}: cannot be read: {error.strerror}") from error


def _print(decoded: Decoded, topic: Topic | None, format_: str) -> None:
    for item in decoded.items:
        print_line(_line(item, topic, format_))
    for refused in decoded.refused:
        print_line(_reject(refused))
    passed_over = (one.detail for one in decoded.unreadable if one.word in _OTHER_KINDS and not is_ours(one.name))
    for note in (*passed_over, *decoded.notes):
        err.print(f"note / 提示: {note}", highlight=False, markup=False)


def _reject(refused: DecodeRefused | RefusedItem) -> dict[str, str]:
    """A refusal, with its place in the payload where it has one."""
    place = {"field": refused.field} if refused.field else {}
    return {"reject": refused.word, **place, "detail": refused.detail}


def _line(item: Item, topic: Topic | None, format_: str) -> dict[str, Any]:
    """Without configuration, the unit of a value that does not carry one is known of our own format alone."""
    named = topic.device or None if topic else None
    # A gateway names a device behind it in our own format, and an MN in HJ 212.
    sent = item.device if format_ in ("json", "hj212") else None
    return {
        "time": to_rfc3339(item.time_ns),
        "mine": topic.mine or None if topic else None,
        "device": sent or named or item.device or None,
        "metric": item.metric or None,
        "channel": item.channel,
        "stat": item.stat,
        "period_s": item.period_s,
        "value": item.value,
        "unit": item.unit or (METRICS[item.metric].unit if format_ == "json" else None),
        "quality": flag_names(item.quality),
    }
