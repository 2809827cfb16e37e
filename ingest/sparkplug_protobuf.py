"""Sparkplug B payloads on the wire: Protocol Buffers, described here by the field numbers of Sparkplug 3.0 section 6.4.

Only what a reading needs is described; anything else (data sets, templates, metadata) is skipped unread. Text is
described as bytes, which is the same on the wire, so that text that is not UTF-8 costs its metric alone.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from greenmine.core.clock import NS_PER_MS
from greenmine.core.errors import DecodeRefused
from greenmine.ingest.sparkplug import REBIRTH, DataType, SparkplugMetric, SparkplugPayload, check_count

_F = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "greenmine.sparkplug"
_VALUE_FIELDS = (
    ("int_value", 10, _F.TYPE_UINT32),
    ("long_value", 11, _F.TYPE_UINT64),
    ("float_value", 12, _F.TYPE_FLOAT),
    ("double_value", 13, _F.TYPE_DOUBLE),
    ("boolean_value", 14, _F.TYPE_BOOL),
    ("string_value", 15, _F.TYPE_BYTES),
    ("bytes_value", 16, _F.TYPE_BYTES),
    ("dataset_value", 17, _F.TYPE_BYTES),
    ("template_value", 18, _F.TYPE_BYTES),
    ("extension_value", 19, _F.TYPE_BYTES),
)
_PROPERTY_FIELDS = (
    ("int_value", 3, _F.TYPE_UINT32),
    ("long_value", 4, _F.TYPE_UINT64),
    ("string_value", 8, _F.TYPE_BYTES),
)


def parse_sparkplug(payload: bytes) -> SparkplugPayload:
    """A payload as it was sent.

    Raises:
        DecodeRefused: `protobuf`, `too_many_records` (an empty metric costs its sender two bytes).
    """
    sent: Any = _Payload()
    try:
        sent.ParseFromString(payload)
    except message.DecodeError as error:
        raise DecodeRefused("protobuf", "the payload is no Sparkplug B message") from error
    check_count(len(sent.metrics))
    return SparkplugPayload(
        sent.timestamp if sent.HasField("timestamp") else None,
        sent.seq if sent.HasField("seq") else None,
        [_metric(one) for one in sent.metrics],
    )


def rebirth_command(at_ns: int) -> bytes:
    """The payload of an NCMD that asks an edge node for its births (Sparkplug 3.0, `Node Control/Rebirth`)."""
    command: Any = _Payload()
    command.timestamp = at_ns // NS_PER_MS
    command.metrics.add(
        name=REBIRTH.encode(), timestamp=command.timestamp, datatype=DataType.BOOLEAN, boolean_value=True
    )
    sent: bytes = command.SerializeToString(deterministic=True)
    return sent


def _metric(sent: Any) -> SparkplugMetric:
    properties = dict(zip(sent.properties.keys, sent.properties.values, strict=False))
    unit = properties.get(b"engUnit")
    kind = sent.WhichOneof("value")
    return SparkplugMetric(
        sent.name if sent.HasField("name") else None,
        sent.alias if sent.HasField("alias") else None,
        sent.timestamp if sent.HasField("timestamp") else None,
        sent.datatype if sent.HasField("datatype") else None,
        kind.removesuffix("_value") if kind else None,
        getattr(sent, kind) if kind else None,
        sent.is_null,
        unit.string_value if unit is not None and unit.HasField("string_value") else None,
        _whole(properties.get(b"Quality")),
        sent.is_historical,
    )


def _whole(sent: Any) -> int | None:
    """A property that is an integer; None where there is none, or it is something else."""
    kind = None if sent is None else sent.WhichOneof("value")
    return getattr(sent, kind) if kind in ("int_value", "long_value") else None


def _payload_class() -> type[message.Message]:
    file = descriptor_pb2.FileDescriptorProto(name="greenmine/sparkplug.proto", package=_PACKAGE, syntax="proto2")
    value = file.message_type.add(name="PropertyValue")
    value.oneof_decl.add(name="value")
    for name, number, kind in _PROPERTY_FIELDS:
        value.field.add(name=name, number=number, type=kind, label=_F.LABEL_OPTIONAL, oneof_index=0)
    properties = file.message_type.add(name="PropertySet")
    properties.field.add(name="keys", number=1, type=_F.TYPE_BYTES, label=_F.LABEL_REPEATED)
    _add_message(properties, "values", 2, "PropertyValue", _F.LABEL_REPEATED)
    metric = file.message_type.add(name="Metric")
    metric.oneof_decl.add(name="value")
    for name, number, kind in (
        ("name", 1, _F.TYPE_BYTES),
        ("alias", 2, _F.TYPE_UINT64),
        ("timestamp", 3, _F.TYPE_UINT64),
        ("datatype", 4, _F.TYPE_UINT32),
        ("is_historical", 5, _F.TYPE_BOOL),
        ("is_null", 7, _F.TYPE_BOOL),
    ):
        metric.field.add(name=name, number=number, type=kind, label=_F.LABEL_OPTIONAL)
    _add_message(metric, "properties", 9, "PropertySet", _F.LABEL_OPTIONAL)
    for name, number, kind in _VALUE_FIELDS:
        metric.field.add(name=name, number=number, type=kind, label=_F.LABEL_OPTIONAL, oneof_index=0)
    payload = file.message_type.add(name="Payload")
    payload.field.add(name="timestamp", number=1, type=_F.TYPE_UINT64, label=_F.LABEL_OPTIONAL)
    _add_message(payload, "metrics", 2, "Metric", _F.LABEL_REPEATED)
    payload.field.add(name="seq", number=3, type=_F.TYPE_UINT64, label=_F.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Payload"))


def _add_message(
    owner: descriptor_pb2.DescriptorProto, name: str, number: int, of: str, label: _F.Label.ValueType
) -> None:
    owner.field.add(name=name, number=number, type=_F.TYPE_MESSAGE, label=label, type_name=f".{_PACKAGE}.{of}")


_Payload = _payload_class()
