"""The JSON view of Sparkplug B payloads, as tools print it: `{"topic": ..., "payload": {"metrics": [...]}}`."""

from __future__ import annotations

from typing import Any

from greenmine.core.errors import DecodeRefused
from greenmine.ingest.sparkplug import DataType, SparkplugMetric, SparkplugPayload, check_count
from greenmine.ingest.strict_json import parse_object

_TYPES = {kind.name.lower(): int(kind) for kind in DataType}
_OTHER_TYPE = 12
"""Stands for every data type that is no number (String)."""


def parse_sparkplug_json(view: bytes) -> tuple[str | None, SparkplugPayload]:
    """The topic, where the view names one, and the payload. A payload alone will do.

    Raises:
        DecodeRefused: words of `strict_json.parse_object`, `type` of what Sparkplug has in another, `range`
            of a value that it cannot send, and `too_many_records`.
    """
    document = parse_object(view)
    topic, payload = document.get("topic"), document.get("payload", document)
    if not (topic is None or isinstance(topic, str)) or not isinstance(payload, dict):
        raise DecodeRefused("type", "a view has a topic, which is text, and a payload, which is an object")
    metrics = payload.get("metrics", [])
    if not isinstance(metrics, list) or not all(isinstance(one, dict) for one in metrics):
        raise DecodeRefused("type", "metrics is an array of objects", "metrics")
    check_count(len(metrics))
    return topic, SparkplugPayload(
        _whole(payload, "timestamp"), _whole(payload, "seq"), [_metric(one) for one in metrics]
    )


def _metric(sent: dict[str, Any]) -> SparkplugMetric:
    name, value = sent.get("name"), sent.get("value")
    if not (name is None or isinstance(name, str)):
        raise DecodeRefused("type", "name is text", "name")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise DecodeRefused("range", "a value does not fit 64 bits", "value")
    return SparkplugMetric(
        None if name is None else name.encode(),
        _whole(sent, "alias"),
        _whole(sent, "timestamp"),
        _datatype(sent),
        _kind(value),
        value,
        value is None or sent.get("isNull", sent.get("is_null")) is True,
        None,
        None,
        sent.get("isHistorical", sent.get("is_historical")) is True,
    )


def _datatype(sent: dict[str, Any]) -> int | None:
    found = sent.get("dataType", sent.get("datatype"))
    if isinstance(found, str):
        return _TYPES.get(found.lower(), _OTHER_TYPE)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "long"
    return "double" if isinstance(value, float) else "string"


def _whole(sent: dict[str, Any], key: str) -> int | None:
    found = sent.get(key)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < 2**64:
        raise DecodeRefused("type", f"{key} is an integer from 0", key)
    return found
