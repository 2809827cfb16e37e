"""Tables of the relational state. Times are ns UTC (or the journal's clock, where the pipeline wrote them)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

VERSION = 1

metadata = MetaData()
_Id = BigInteger().with_variant(Integer(), "sqlite")


def _series_columns() -> list[Column[Any]]:
    """The identity of a series, as `core.reading.Series` has it."""
    texts = [Column(name, String, nullable=False) for name in ("mine", "device", "metric", "channel", "stat")]
    return [*texts, Column("period_s", Integer, nullable=False)]


meta = Table("meta", metadata, Column("key", String, primary_key=True), Column("value", Text, nullable=False))

account = Table(
    "account",
    metadata,
    Column("id", Integer, primary_key=True),
    *(
        Column(name, BigInteger, nullable=False)
        for name in ("received", "stored", "pending", "quarantined", "duplicate", "conflict", "dead")
    ),
)

series = Table(
    "series",
    metadata,
    Column("id", _Id, primary_key=True),
    *_series_columns(),
    Column("newest_ns", BigInteger, nullable=False),
    Column("value", Float, nullable=False),
    Column("quality", Integer, nullable=False),
    Column("received_ns", BigInteger, nullable=False),
    Column("usable_clock_ns", BigInteger),
    UniqueConstraint("mine", "device", "metric", "channel", "stat", "period_s"),
)

recent = Table(
    "recent",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("cursor", BigInteger, nullable=False),
    Column("taken", Boolean, nullable=False),
    Column("blob", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
"""The log of identities: the readings of each commit (`store.columns`) that may not yet be in a chunk of their series,
nor in its row. Those that were `taken` are not in `device_hour` yet."""

device_hour = Table(
    "device_hour",
    metadata,
    Column("mine", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("start_ns", BigInteger, primary_key=True, autoincrement=False),
    *(Column(name, BigInteger, nullable=False) for name in ("taken", "quarantined", "duplicate", "conflict", "dead")),
    sqlite_with_rowid=False,
)
"""The message account by device and hour (`store.hours`)."""

reason = Table(
    "reason",
    metadata,
    *(Column(name, String, primary_key=True) for name in ("mine", "device", "kind", "word")),
    Column("count", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""How often something was `refused`, `quarantined` or `flagged`, and why."""

identity = Table(
    "identity",
    metadata,
    Column("series_id", BigInteger, primary_key=True),
    Column("first_ns", BigInteger, primary_key=True),
    Column("last_ns", BigInteger, primary_key=True),
    Column("blob", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""Chunks of identities of the last 72 hours (`pipeline.identities`), against which later arrivals are checked; of
series with a window at least those in it."""

condition = Table(
    "condition",
    metadata,
    Column("mine", String, primary_key=True),
    Column("rule", String, primary_key=True),
    Column("series_id", BigInteger, primary_key=True),
    Column("phase", String, nullable=False),
    Column("since_ns", BigInteger),
    Column("clear_since_ns", BigInteger),
    Column("value", Float),
    Column("time_ns", BigInteger),
)

alert = Table(
    "alert",
    metadata,
    Column("id", String, primary_key=True),
    Column("mine", String, nullable=False),
    Column("rule", String, nullable=False),
    Column("device", String, nullable=False),
    Column("channel", String, nullable=False),
    Column("metric", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("severity", String, nullable=False),
    Column("condition", String, nullable=False),
    Column("handling", String, nullable=False),
    Column("raised_at_ns", BigInteger, nullable=False),
    Column("cleared_at_ns", BigInteger),
    Column("source_time_ns", BigInteger),
    Column("value", Float),
    Column("last_value", Float),
    Column("limit", Float),
    Column("unit", String, nullable=False),
    Column("transition", Integer, nullable=False),
    Column("acknowledged_at_ns", BigInteger),
    Column("acknowledged_by", String),
    Column("notes", Integer, nullable=False),
    Column("is_open", Boolean, nullable=False),
    Index("alert_open", "is_open", "mine"),
    Index("alert_raised", "raised_at_ns"),
)

transition = Table(
    "transition",
    metadata,
    Column("alert_id", String, ForeignKey("alert.id"), primary_key=True),
    Column("no", Integer, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("condition", String, nullable=False),
    Column("handling", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("principal", String, nullable=False),
    Column("value", Float),
    Column("source_time_ns", BigInteger),
    Column("note", Text, nullable=False),
)

dead_letter = Table(
    "dead_letter",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("record_id", BigInteger, nullable=False, index=True),
    Column("source", Text, nullable=False),
    Column("client", String, nullable=False),
    Column("word", String, nullable=False),
    Column("field", String, nullable=False),
    Column("detail", Text, nullable=False),
    Column("replayed_ns", BigInteger),
    Column("mine", String, nullable=False),
    Column("device", String, nullable=False),
    Column("size", Integer, nullable=False),
    sqlite_autoincrement=True,
)
"""Refused messages and items (`record_id` names the journal's record), and readings that the store can never take
(`record_id` 0; the reading stands in `detail`). `mine` and `device` are those in whose account it stands, '' where the
sender is not registered. `size` is that of the payload, on one of the letters of a message."""

dead_letter_total = Table(
    "dead_letter_total",
    metadata,
    Column("of_store", Boolean, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in ("rows", "bytes", "dropped")),
)
"""What of messages, and of readings that the store refused, is kept as dead letters and was dropped."""

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("record_id", BigInteger, nullable=False, index=True),
    *_series_columns(),
    Column("time_ns", BigInteger, nullable=False),
    Column("value", Float),
    Column("quality", Integer, nullable=False),
    Column("reason", String, nullable=False),
    Index("quarantine_device", "mine", "device"),
)

conflict = Table(
    "conflict",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("record_id", BigInteger, nullable=False),
    *_series_columns(),
    Column("time_ns", BigInteger, nullable=False),
    Column("kept", Float, nullable=False),
    Column("refused", Float, nullable=False),
)

readings_outbox = Table(
    "readings_outbox",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("check_store", Boolean, nullable=False),
    Column("replayed", Boolean, nullable=False),
    Column("readings", Integer, nullable=False),
    Column("blob", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
"""`check_store`: the store has to be asked first which of these it has; those of `replayed` dead letters that it has
were counted when they first came."""

relay_outbox = Table(
    "relay_outbox",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("mine", String, nullable=False),
    Column("mn", String, nullable=False),
    Column("qn", String, nullable=False),
    Column("st", String, nullable=False),
    Column("cn", String, nullable=False),
    Column("flag", Integer, nullable=False),
    Column("cp", Text, nullable=False),
    Index("relay_outbox_mine", "mine", "id"),
    sqlite_autoincrement=True,
)
"""Messages for the platforms that mines forward to, without their passwords."""

relay_station = Table(
    "relay_station",
    metadata,
    Column("mine", String, primary_key=True),
    Column("mn", String, primary_key=True),
    Column("qn_ms", BigInteger, nullable=False),
)
"""The newest QN of each station, so that none is used twice after a restart."""

relay_total = Table(
    "relay_total",
    metadata,
    Column("mine", String, primary_key=True),
    Column("delivered", BigInteger, nullable=False),
    Column("unanswered", BigInteger, nullable=False),
    Column("dropped", BigInteger, nullable=False),
)
"""What became of a mine's messages since its first."""

recalibration = Table(
    "recalibration",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("mine", String, nullable=False),
    Column("device", String, nullable=False),
    Column("metric", String),
    Column("start_ns", BigInteger, nullable=False),
    Column("end_ns", BigInteger),
    sqlite_autoincrement=True,
)
"""Spans of stored readings whose calibrated value a later fact changes; worked off from the newest to the oldest, with
`end_ns` moving back."""

notice = Table(
    "notice",
    metadata,
    Column("key", String, primary_key=True),
    Column("alert_id", String, nullable=False, index=True),
    Column("transition", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("contact", String, nullable=False),
    Column("channel", String, nullable=False),
    Column("target", String, nullable=False),
    Column("subject", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("next_ns", BigInteger, nullable=False),
    Column("first_attempt_ns", BigInteger),
    Column("ended_ns", BigInteger),
    Column("detail", Text, nullable=False),
    Index("notice_due", "state", "next_ns"),
)

downlink = Table(
    "downlink",
    metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("target", String, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("expires_ns", BigInteger, nullable=False),
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    Column("detail", Text, nullable=False),
    Index("downlink_due", "state", "next_ns"),
)
"""Messages to devices: an outbox, and for a month what became of them."""

activity = Table(
    "activity",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("mine", String, nullable=False),
    Column("device", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("state", String, nullable=False),
    Column("zone", String, nullable=False),
    Column("time_ns", BigInteger, nullable=False, index=True),
    Column("lat", Float),
    Column("lon", Float),
    Column("at_ns", BigInteger, nullable=False),
    Column("record_id", BigInteger, nullable=False),
    UniqueConstraint("mine", "device", "kind", "state", "zone", "time_ns"),
)
"""What devices reported of the mine's doings, as it came."""

activity_interval = Table(
    "activity_interval",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("mine", String, nullable=False),
    Column("device", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("zone", String, nullable=False),
    Column("lat", Float),
    Column("lon", Float),
    Column("start_ns", BigInteger, nullable=False),
    Column("end_ns", BigInteger),
    Column("latest_end_ns", BigInteger, nullable=False),
    Column("ended_by", String),
    Column("kept", Boolean, nullable=False, index=True),
    Index("activity_interval_mine", "mine", "start_ns"),
)
"""What follows from the reports. `kept`: rules still look at it."""

sequence = Table(
    "sequence",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("mine", String, nullable=False),
    Column("device", String, nullable=False),
    Column("name", String, nullable=False),
    Column("boot", String, nullable=False),
    Column("former_boot", String, nullable=False),
    Column("highest", BigInteger, nullable=False),
    Column("highest_ns", BigInteger, nullable=False),
    Column("reset_ns", BigInteger),
    Column("cursor", BigInteger, nullable=False),
    UniqueConstraint("mine", "device", "name"),
)
"""Numbers that devices give their messages; as of the commit with this cursor."""

sequence_log = Table(
    "sequence_log",
    metadata,
    Column("cursor", BigInteger, primary_key=True, autoincrement=False),
    Column("blob", LargeBinary, nullable=False),
)
"""How far sequences were at each commit (id, highest, highest_ns), as far as it may not be in their rows yet."""

gap = Table(
    "gap",
    metadata,
    Column("id", String, primary_key=True),
    Column("mine", String, nullable=False),
    Column("device", String, nullable=False),
    Column("stream", String, nullable=False),
    Column("boot", String, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("from_ns", BigInteger, nullable=False),
    Column("to_ns", BigInteger, nullable=False),
    Column("opened_ns", BigInteger, nullable=False),
    Column("found_ns", BigInteger, index=True),
    Column("filled", Integer, nullable=False),
    Column("remaining", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_ns", BigInteger, nullable=False),
    Column("closed_ns", BigInteger),
    Column("reason", String, nullable=False),
    Index("gap_device", "mine", "device"),
    Index("gap_reason", "reason"),
)
"""Numbers that never came; `found_ns` is null while it may be mere disorder."""
edge_node = Table(
    "edge_node",
    metadata,
    Column("node", String, primary_key=True),
    Column("online", Boolean, nullable=False),
    Column("bd_seq", BigInteger),
    Column("seq", Integer),
    Column("rebirth_asked_ns", BigInteger),
)
"""Sparkplug edge nodes, `group/edge`, and their sessions."""

edge_birth = Table(
    "edge_birth",
    metadata,
    Column("node", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("record_id", BigInteger, nullable=False),
    Column("aliases", Text, nullable=False),
)
"""Births that are in force, by node and device ('' is the node itself); `aliases` is JSON, `[[alias, name, type]]`."""

hj212_packet = Table(
    "hj212_packet",
    metadata,
    Column("mn", String, primary_key=True),
    Column("qn", String, primary_key=True),
    Column("cn", String, primary_key=True),
    Column("packet_no", Integer, primary_key=True),
    Column("packets", Integer, nullable=False),
    Column("begun_ns", BigInteger, nullable=False),
    Column("record_id", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("client", String, nullable=False),
    Column("cp", LargeBinary, nullable=False),
)
"""Data of HJ 212 that come in packets, as far as they are there; `cp` is one packet's data in plain text."""

hj212_joined = Table(
    "hj212_joined",
    metadata,
    Column("record_id", BigInteger, primary_key=True),
    Column("records", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
)
"""Of which journal records (JSON) the data were put together that a record completed."""

fact = Table(
    "fact",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("mine", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("valid_from_ns", BigInteger, nullable=False),
    Column("valid_to_ns", BigInteger),
    Column("recorded_at_ns", BigInteger, nullable=False),
    Column("by", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("body", Text, nullable=False),
    Index("fact_mine", "mine", "kind", "subject"),
)

waiting_device = Table(
    "waiting_device",
    metadata,
    Column("network", String, primary_key=True),
    Column("address", String, primary_key=True),
    Column("mine", String, nullable=False),
    Column("first_seen_ns", BigInteger, nullable=False),
    Column("last_seen_ns", BigInteger, nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("record_id", BigInteger, nullable=False),
    Column("values", Text, nullable=False),
    Column("sample", Text, nullable=False),
)
"""Devices that nobody has registered, until a person approves or rejects them."""

muted_device = Table(
    "muted_device",
    metadata,
    Column("network", String, primary_key=True),
    Column("address", String, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("by", String, nullable=False),
)
"""Addresses that a person rejected; they do not wait again."""

policy_version = Table(
    "policy_version",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("mine", String, nullable=False, index=True),
    Column("hash", String, nullable=False),
    Column("activated_ns", BigInteger, nullable=False),
    Column("principal", String, nullable=False),
    Column("canonical", Text, nullable=False),
    Column("active", Boolean, nullable=False),
)

act_result = Table(
    "act_result",
    metadata,
    Column("principal", String, primary_key=True),
    Column("idempotency_key", String, primary_key=True),
    Column("body_hash", String, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("alert_id", String, nullable=False),
    Column("detail", Text, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("no", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("principal", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("previous", String, nullable=False),
    Column("hash", String, nullable=False),
)

user = Table(
    "user",
    metadata,
    Column("name", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("password_hash", String, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("must_change", Boolean, nullable=False),
)

session = Table(
    "session",
    metadata,
    Column("token_hash", String, primary_key=True),
    Column("user", String, nullable=False, index=True),
    Column("created_ns", BigInteger, nullable=False),
    Column("expires_ns", BigInteger, nullable=False),
)

device_account = Table(
    "device_account",
    metadata,
    Column("name", String, primary_key=True),
    Column("mine", String, nullable=False),
    Column("device", String, nullable=False),
    Column("password_hash", String, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("revoked_ns", BigInteger),
)
"""MQTT accounts: `{mine}.{device}` for devices; for services mine and device are empty, for bridges mine is and
device is the network."""

certificate = Table(
    "certificate",
    metadata,
    Column("serial", String, primary_key=True),
    Column("purpose", String, nullable=False),
    Column("name", String, nullable=False),
    Column("fingerprint", String, nullable=False),
    Column("not_before_ns", BigInteger, nullable=False),
    Column("not_after_ns", BigInteger, nullable=False),
    Column("revoked_ns", BigInteger),
)
"""What the home's own authority has signed, for devices and for brokers."""
