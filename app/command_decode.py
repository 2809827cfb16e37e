"""`greenmine decode`: what greenmine makes of a payload, without any configuration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from greenmine.core.clock import to_rfc3339
from greenmine.core.errors import DecodeRefused, UserError
from greenmine.core.metric import METRICS
from greenmine.core.quality import flag_names
from greenmine.ingest.decode_json import decode_json
from greenmine.ingest.decoded import Decoded, Item
from greenmine.ingest.topic import Topic, parse_topic
from greenmine.terminal import BAD_INPUT, print_line, reported

FORMATS = {"json": decode_json}


@reported
def decode(
    file: Annotated[Path | None, typer.Argument(help="File with one payload, - for standard input / 数据文件")] = None,
    format_: Annotated[str, typer.Option("--format", help="json")] = "json",
    topic: Annotated[str | None, typer.Option(help="MQTT topic it came on; gives mine and device / 主题")] = None,
) -> None:
    """Decode a payload to one JSON line a reading; refusals are lines too, and then the exit code is 2. 解码数据。"""
    decoder = FORMATS.get(format_)
    if decoder is None:
        raise UserError(f"--format {format_!r} is not known; known are {', '.join(FORMATS)}")
    payload = _payload(file)
    try:
        parsed = None if topic is None else parse_topic(topic)
        decoded = decoder(payload)
    except DecodeRefused as refused:
        print_line({"reject": refused.word, "detail": refused.detail})
        raise typer.Exit(BAD_INPUT) from refused
    _print(decoded, parsed)
    if decoded.refused:
        raise typer.Exit(BAD_INPUT)


def _payload(file: Path | None) -> bytes:
    try:
        if file is not None and str(file) != "-":
            return file.read_bytes()
        if sys.stdin is None:
            raise UserError("standard input is closed; name a FILE")
        return sys.stdin.buffer.read()
    except OSError as error:
        raise UserError(f"{file or 'standard input'}: cannot be read: {error.strerror}") from error


def _print(decoded: Decoded, topic: Topic | None) -> None:
    for item in decoded.items:
        print_line(_line(item, topic))
    for refused in decoded.refused:
        print_line({"reject": refused.word, "detail": refused.detail})


def _line(item: Item, topic: Topic | None) -> dict[str, Any]:
    return {
        "time": to_rfc3339(item.time_ns),
        "mine": topic.mine if topic else None,
        "device": item.device or (topic.device if topic else None),
        "metric": item.metric,
        "channel": item.channel,
        "stat": item.stat,
        "period_s": item.period_s,
        "value": item.value,
        "unit": item.unit or METRICS[item.metric].unit,
        "quality": flag_names(item.quality),
    }
