"""Dead letters: what was refused, and the reasons for which anything is."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class DeadReason(StrEnum):
    """The words of all refusals. They are stable: people filter by them, and metrics carry them."""

    # the message as a whole, before its payload is looked at
    DENIED = "denied"
    RETAINED_TELEMETRY = "retained_telemetry"
    TOPIC_EMPTY_LEVEL = "topic_empty_level"
    TOPIC_ENCODING = "topic_encoding"
    TOPIC_SHAPE = "topic_shape"
    TOPIC_TOO_LONG = "topic_too_long"
    FORMAT_NOT_SUPPORTED = "format_not_supported"
    JOURNAL_CHECKSUM = "journal_checksum"
    # who it is from
    SCOPE = "scope"
    UNREGISTERED = "unregistered"
    UNKNOWN_ADDRESS = "unknown_address"
    AMBIGUOUS_ADDRESS = "ambiguous_address"
    DEVICE_ID_CHARSET = "device_id_charset"
    SIMULATED = "simulated"
    # its form
    EMPTY = "empty"
    SIZE = "size"
    ENCODING = "encoding"
    JSON = "json"
    PROTOBUF = "protobuf"
    BASE64 = "base64"
    DEPTH = "depth"
    TOO_MANY_FIELDS = "too_many_fields"
    TOO_MANY_RECORDS = "too_many_records"
    DUPLICATE_KEY = "duplicate_key"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    TYPE = "type"
    KIND = "kind"
    STATE = "state"
    # one value
    CHANNEL_CHARSET = "channel_charset"
    FLAG = "flag"
    NOT_FINITE = "not_finite"
    RANGE = "range"
    STAT = "stat"
    UNIT = "unit"
    TS_FORMAT = "ts_format"
    TS_RANGE = "ts_range"
    TS_ZONE = "ts_zone"
    CLOCK_AHEAD = "clock_ahead"
    CLOCK_UNSET = "clock_unset"
    ZONE = "zone"
    # formats of other networks
    NO_CODEC = "no_codec"
    FRAME_SHORT = "frame_short"
    SENML_MUST_UNDERSTAND = "senml_must_understand"
    SENML_NAME = "senml_name"
    SENML_NAME_CHARSET = "senml_name_charset"
    SENML_NAME_LEN = "senml_name_len"
    SENML_NO_VALUE = "senml_no_value"
    SENML_NOT_ARRAY = "senml_not_array"
    SENML_RECORD = "senml_record"
    SENML_SCOPE = "senml_scope"
    SENML_TWO_VALUES = "senml_two_values"
    SENML_VD = "senml_vd"
    SENML_VERSION = "senml_version"
    SPARKPLUG_ALIAS = "sparkplug_alias"
    # HJ 212
    HEADER = "header"
    LENGTH = "length"
    CRC = "crc"
    CP = "cp"
    CN = "cn"
    QN = "qn"
    QN_REUSE = "qn_reuse"
    MN = "mn"
    AUTH = "auth"
    FIELD = "field"
    NUMBER = "number"
    DATA_TIME = "data_time"
    PACKET = "packet"
    TIMEOUT = "timeout"
    SM4_KEY = "sm4_key"
    UNKNOWN_FACTOR = "unknown_factor"
    # after it was taken
    STORE_REJECTED = "store_rejected"


class DeadLetterTotals(NamedTuple):
    """How many dead letters are kept, the bytes of their payloads, and how many that nobody had replayed were dropped,
    oldest first, to keep within the quota."""

    rows: int = 0
    bytes: int = 0
    dropped: int = 0
