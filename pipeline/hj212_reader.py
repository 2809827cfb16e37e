"""From a journalled message of HJ 212 to the readings of our devices: MN, key, packets, periods.

Over MQTT the topic says who speaks, and every frame's MN has to be its own or of a device behind it; its password has
to fit where the policy names one. From the listener the MN itself says who speaks; it has checked the password, and
marks what it denied. Passwords and keys are inputs beside the journal: a replay without them refuses what needs them.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from greenmine.core.errors import ConfigError, DecodeRefused, UnknownAddress
from greenmine.core.metric import METRICS
from greenmine.core.quality import flag_names
from greenmine.ingest.decode_hj212 import MINUTE_S, decode_hj212, decode_segment
from greenmine.ingest.decoded import Decoded, Item, RefusedItem
from greenmine.ingest.hj212_frame import Damage, Frame, scan_payload
from greenmine.ingest.hj212_gate import NOBODY, SOURCE
from greenmine.ingest.hj212_packets import MAX_AGE_NS, Assembly, Joined, PacketKey, Part, given_up, key_of, with_part
from greenmine.ingest.hj212_segment import MINUTE, Segment, parse_segment
from greenmine.ingest.hj212_sm4 import is_encrypted, plain_segment, to_key
from greenmine.ingest.record import Batch, RecordFlag, StoredRecord
from greenmine.ingest.topic import Topic, TopicKind
from greenmine.pipeline.effects import DeadLetter, Effects
from greenmine.pipeline.hours import Hours
from greenmine.pipeline.state import JudgeState, Past
from greenmine.policy.hj212 import Hj212Settings

Secrets = Callable[[str], str]
_NO_SETTINGS = Hj212Settings()
MINUTE_PERIODS_S = frozenset(minutes * 60 for minutes in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30))
"""HJ 212-2017 table 7: what the interval of minute data may be."""


class Sender(NamedTuple):
    """Who speaks: a device of ours, and the MN it is heard under where the listener heard it."""

    mine: str
    device: str
    mn: str


def no_secrets(reference: str) -> str:
    """The resolver of a pipeline that has none."""
    raise ConfigError(f"no secrets are at hand for {reference}")


class Hj212Reader:
    """Reads messages by the registry and the unfinished packets of a state. Only a `live` message adds packets."""

    def __init__(self, state: JudgeState, past: Past, secrets: Secrets = no_secrets) -> None:
        self._state = state
        self._past = past
        self._secrets = secrets
        self._hours = Hours(state)
        self._known_secrets: dict[str, str] = {}
        self._generation = -1

    def read(
        self, topic: Topic, stored: StoredRecord, batch: Batch, fx: Effects, live: bool
    ) -> tuple[str, str, Decoded]:
        """Mine and device of the sender and what it says; `Item.device` is a device of ours.

        Raises:
            DecodeRefused: `empty`, `timeout` (the listener waited for the rest), `unknown_address`,
                `ambiguous_address`; `header length crc` of what the listener found to be no frame, `mn` of one that
                names nobody. All else stands in `Decoded.refused`: the decoder's words, `mn` (not the sender's),
                `auth` (not the registered password, or that cannot be had), `sm4_key`, `packet`, `unknown_factor`.
        """
        if stored.record.flags & RecordFlag.UNFINISHED:
            raise DecodeRefused("timeout", "the rest of the frame did not come in time")
        if stored.record.source == SOURCE + NOBODY:
            raise _nobodys(stored.record.payload)
        sender = self._sender(topic, stored)
        decoded = Decoded(doubts_units=True)
        for one in scan_payload(stored.record.payload):
            try:
                segment, device = self._segment(one, sender)
                if segment.packets:
                    whole = self._whole(segment, sender, stored, batch, fx, live)
                    if whole is None:
                        decoded.notes.append(f"packet {segment.packet_no} of {segment.packets} is kept for the others")
                        continue
                    segment = whole
                self._add(segment, device, sender.mine, decoded)
            except DecodeRefused as refused:
                decoded.refused.append(RefusedItem(refused.word, refused.detail, refused.field))
        return sender.mine, sender.device, decoded

    def on_clock(self, clock_ns: int, fx: Effects) -> None:
        """Give up packets whose others did not come."""
        held = self._state.hj212_packets
        for key in [key for key, one in held.items() if one.begun_ns + MAX_AGE_NS <= clock_ns]:
            self._forget(key, clock_ns, fx)

    def _sender(self, topic: Topic, stored: StoredRecord) -> Sender:
        if topic.kind is not TopicKind.HJ212_TCP:
            return Sender(topic.mine, topic.device, "")
        mn = stored.record.source.split("/")[1]
        try:
            return Sender(*self._state.registry.device_at("mn", mn), mn)
        except UnknownAddress as unknown:
            with suppress(DecodeRefused):
                unknown.items = decode_hj212(stored.record.payload).items
            raise

    def _segment(self, one: Frame | Damage, sender: Sender) -> tuple[Segment, str]:
        """A frame's segment in plain text, and the device that its MN is."""
        if isinstance(one, Damage):
            raise DecodeRefused(one.word, one.detail)
        segment = parse_segment(one.segment)
        device = self._device(segment.mn, sender)
        settings = self._state.registry.stations.get((sender.mine, device), _NO_SETTINGS)
        if settings.password is not None and not sender.mn:
            self._check_password(segment, device, settings.password)
        if not is_encrypted(segment.cp):
            return segment, device
        if settings.sm4_key is None:
            raise DecodeRefused("sm4_key", f"the data are encrypted, and the policy names no key of {device}", "CP")
        try:
            key = to_key(self._secret(settings.sm4_key))
        except (ConfigError, ValueError) as error:
            raise DecodeRefused("sm4_key", f"the key of {device} cannot be used: {error}", "CP") from error
        return parse_segment(plain_segment(one, key)), device

    def _check_password(self, segment: Segment, device: str, reference: str) -> None:
        """Refuse a frame (`auth`) whose password is not the registered one, or where that cannot be had."""
        try:
            password = self._secret(reference)
        except ConfigError as error:
            raise DecodeRefused("auth", f"the password of {device} cannot be had: {error}", "PW") from error
        if not hmac.compare_digest(password.encode(), segment.password.encode()):
            raise DecodeRefused("auth", f"the password is not that of {device}", "PW")

    def _secret(self, reference: str) -> str:
        """What a reference stands for; looked up once for each set of policies, and again as long as it is missing."""
        if self._generation != self._state.generation:
            self._generation = self._state.generation
            self._known_secrets.clear()
        known = self._known_secrets.get(reference)
        if known is None:
            known = self._known_secrets[reference] = self._secrets(reference)
        return known

    def _device(self, mn: str, sender: Sender) -> str:
        registry = self._state.registry
        found = registry.addresses.get(("mn", mn))
        if found is not None and found[0] == sender.mine and sender.mn in ("", mn):
            device = found[1]
            if sender.device in (device, registry.devices[found].gateway):
                return device
        detail = f"MN {mn} is not that of {sender.device or sender.mn}, nor of a device behind it"
        raise DecodeRefused("mn", detail, "MN")

    def _add(self, segment: Segment, device: str, mine: str, decoded: Decoded) -> None:
        said = Decoded()
        decode_segment(segment, said)
        decoded.refused += said.refused
        decoded.notes += said.notes
        settings = self._state.registry.stations.get((mine, device), _NO_SETTINGS)
        ignored = {name.lower() for name in settings.ignore}
        for item in said.items:
            if ignored and not ignored.isdisjoint(_names(item.place)):
                decoded.notes.append(f"{item.place} is not used: the policy ignores it")
                continue
            if item.metric not in METRICS:
                flags = " ".join(flag_names(item.quality))
                detail = f"{item.metric} ({item.stat} {item.period_s} s) is {item.value:.15g} {flags}".rstrip()
                decoded.refused.append(RefusedItem("unknown_factor", detail, item.place))
                continue
            period_s = self._minute_s(mine, device, item) if segment.cn == MINUTE else item.period_s
            decoded.items.append(item._replace(device=device, period_s=period_s))

    def _minute_s(self, mine: str, device: str, item: Item) -> int:
        """The one registered period that minute data can have, which no frame says: of this statistic, or else of its
        metric, or else of the station."""
        minutes = [key for key in self._state.registry.devices[mine, device].settings if key[3] in MINUTE_PERIODS_S]
        for known in ((item.metric, item.channel, item.stat), (item.metric, item.channel), ()):
            periods = {key[3] for key in minutes if key[: len(known)] == known}
            if len(periods) == 1:
                return periods.pop()
            if periods:
                break
        return MINUTE_S

    def _whole(
        self, segment: Segment, sender: Sender, stored: StoredRecord, batch: Batch, fx: Effects, live: bool
    ) -> Segment | None:
        """The segment with the data of all its packets, at the one that makes them whole; None at the others."""
        key = key_of(segment)
        if live:
            before = self._state.hj212_packets.get(key)
            part = Part(stored.id, stored.record.source[:300], stored.record.client[:200], segment.cp)
            assembly = with_part(before, segment, part, batch.clock_ns)
            if assembly is before:
                return None
            for other in given_up(self._state.hj212_packets, key, len(part.cp)):
                self._forget(other, batch.clock_ns, fx)
            self._state.hj212_packets[key] = fx.hj212_packets[key] = assembly
        else:
            assembly = self._read_again(key, segment, sender, stored)
        if not assembly.is_whole:
            if live:
                return None
            raise DecodeRefused("packet", f"{len(assembly.parts)} of {segment.packets} packets came in time", "CP")
        if live:
            joined = fx.hj212_joined.setdefault(stored.id, Joined(batch.clock_ns, {stored.id}))
            joined.records.update(one.record_id for one in assembly.parts.values())
        return replace(segment, cp=assembly.joined())

    def _read_again(self, key: PacketKey, segment: Segment, sender: Sender, stored: StoredRecord) -> Assembly:
        """The packets that this one made whole, from the journal."""
        part = Part(stored.id, "", "", segment.cp)
        assembly = with_part(None, segment, part, 0)
        for other in self._past.joined_records(stored.id):
            for one in scan_payload(other.record.payload):
                try:
                    found, _ = self._segment(one, sender)
                    if found.packets and key_of(found) == key:
                        assembly = with_part(assembly, found, Part(other.id, "", "", found.cp), 0)
                except DecodeRefused:
                    continue  # it has a dead letter of its own
        return assembly

    def _forget(self, key: PacketKey, clock_ns: int, fx: Effects) -> None:
        assembly = self._state.hj212_packets.pop(key)
        fx.hj212_packets[key] = None
        if assembly.is_whole:
            return
        detail = f"{len(assembly.parts)} of {assembly.packets} packets came in time (QN {key.qn}, CN {key.cn})"
        mine, device = self._hours.sender(*(self._state.registry.addresses.get(("mn", key.mn)) or ("", "")))
        for number in sorted(assembly.parts):
            part = assembly.parts[number]
            fx.count(received=1, dead=1)
            self._hours.dead(mine, device, "packet", clock_ns, fx)
            head = (clock_ns, part.record_id, part.source, part.client, "packet", "CP", detail)
            fx.dead.append(DeadLetter(*head, mine, device, len(part.cp)))


def _names(sent: str) -> tuple[str, str, str]:
    """The names by which a policy may ignore a field: as sent, its factor, and its suffix, in lower case."""
    name = sent.lower()
    code, hyphen, kind = name.partition("-")
    return name, code, hyphen + kind


def _nobodys(payload: bytes) -> DecodeRefused:
    """Why the listener could not say whose these bytes are."""
    for one in scan_payload(payload):
        if isinstance(one, Damage):
            return DecodeRefused(one.word, one.detail)
    return DecodeRefused("mn", "MN is missing, or is none", "MN")
