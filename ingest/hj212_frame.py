"""The frame of HJ 212-2017 and -2025 (clause 6.2, annex A): `##`, four digits of length, the data segment, four hex
digits of CRC, CR LF. Pure; knows bytes and nothing of what they mean.

A stream may begin in the middle of a frame, lose bytes and hold frames without a trailer between them. `FrameScanner`
takes it in pieces and gives frames and damage in order; after damage it goes on at the next `##`. A segment never has
`##` and four digits in it: that is the next frame, and the one before it lost its end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from greenmine.core.errors import DecodeRefused

HEADER = b"##"
TRAILER = b"\r\n"
MAX_SEGMENT_BYTES = 1024
"""Longest data segment; longer ones have to be split into packets (2025, clause 6.3)."""
MAX_NOISE_BYTES = 64 * 1024
"""What a stream may bring without a header before it is given up."""
_FULL_HEADER = re.compile(rb"##[0-9]{4}")
_SEALED = re.compile(rb"CP=&&\{0[xX]")
_CRC = re.compile(rb"[0-9A-Fa-f]{4}")


class Frame(NamedTuple):
    """A whole frame whose length and CRC fit. `raw` is all of it, trailer included where there was one.

    Of a frame with an encrypted CP (2025) the CRC is over the plain text: it is `unproved_crc` until that is known.
    """

    segment: bytes
    raw: bytes
    unproved_crc: int | None = None


class Damage(NamedTuple):
    """Bytes that are no frame: `word` is `header length crc timeout`."""

    word: str
    detail: str
    raw: bytes


def _shifted(register: int) -> int:
    for _ in range(8):
        register = (register >> 1) ^ 0xA001 if register & 1 else register >> 1
    return register


_CRC_OF_BYTE = tuple(_shifted(value) for value in range(256))


def crc16(segment: bytes) -> int:
    """The CRC of annex A: the register's high byte meets each byte. It is not Modbus CRC-16."""
    register = 0xFFFF
    for byte in segment:
        # Annex A shifts (register >> 8) ^ byte eight times: it has eight bits, so there are 256 outcomes.
        register = _CRC_OF_BYTE[(register >> 8) ^ byte]
    return register


def build_frame(segment: bytes) -> bytes:
    """A frame around a data segment.

    Raises:
        ValueError: the segment is longer than `MAX_SEGMENT_BYTES`.
    """
    if len(segment) > MAX_SEGMENT_BYTES:
        raise ValueError(f"a data segment has at most {MAX_SEGMENT_BYTES} bytes, this one {len(segment)}")
    return b"##%04d%b%04X\r\n" % (len(segment), segment, crc16(segment))


@dataclass(slots=True)
class FrameScanner:
    """Cuts a stream into frames. Keeps at most one unfinished frame, about 1 kB."""

    _buffer: bytearray = field(default_factory=bytearray)
    noise_bytes: int = 0
    """Bytes since the last good frame that belonged to none; over `MAX_NOISE_BYTES` the stream should be closed."""

    def feed(self, data: bytes) -> list[Frame | Damage]:
        """Take what has come; give what is complete."""
        self._buffer += data
        found: list[Frame | Damage] = []
        while (one := self._next()) is not None:
            if isinstance(one, Frame):
                self.noise_bytes = 0
            else:
                self.noise_bytes += len(one.raw)
            found.append(one)
        return found

    def flush(self, word: str = "timeout") -> list[Damage]:
        """Nothing more comes: what waits for its rest is damage."""
        if not self._buffer:
            return []
        raw = bytes(self._buffer)
        self._buffer.clear()
        return [] if not raw.strip(b"\r\n") else [Damage(word, f"{len(raw)} bytes of an unfinished frame", raw)]

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the unfinished frame."""
        return len(self._buffer)

    def _next(self) -> Frame | Damage | None:
        buffer = self._buffer
        start = buffer.find(HEADER)
        if start < 0:
            # A last '#' may be the first half of a header.
            keep = 1 if buffer.endswith(b"#") else 0
            return self._noise(len(buffer) - keep)
        if start > 0 and (noise := self._noise(start)) is not None:
            return noise
        if not _digits(buffer[2:6]):
            return self._damaged("length")
        if len(buffer) < 6:
            return None
        length = int(buffer[2:6])
        if length > MAX_SEGMENT_BYTES:
            return self._damaged("length")
        end = 6 + length + 4
        inner = _FULL_HEADER.search(buffer, 2, min(end, len(buffer)))
        if inner is not None:
            return self._damaged("length")
        if len(buffer) < end:
            return None
        return self._complete(length, end)

    def _complete(self, length: int, end: int) -> Frame | Damage:
        buffer = self._buffer
        segment, crc = bytes(buffer[6 : 6 + length]), bytes(buffer[6 + length : end])
        if not _CRC.fullmatch(crc):
            return self._damaged("length")
        sent = int(crc, 16)
        fits = sent == crc16(segment)
        if not fits and _SEALED.search(segment) is None:
            return self._damaged("crc")
        end = self._after(end)
        raw = bytes(buffer[:end])
        del buffer[:end]
        return Frame(segment, raw, None if fits else sent)

    def _after(self, end: int) -> int:
        """The end including CR, LF, both or none: which of them came costs nobody a reading."""
        while end < len(self._buffer) and self._buffer[end] in TRAILER and self._buffer[end - 1] != 0x0A:
            end += 1
        return end

    def _damaged(self, word: str) -> Damage:
        """What is at the front is no frame; go on at the next header."""
        stop = self._buffer.find(HEADER, 1)
        if stop < 0:
            # A last '#' may be the first half of a header.
            stop = len(self._buffer) - (1 if self._buffer.endswith(b"#") else 0)
        raw = bytes(self._buffer[:stop])
        del self._buffer[:stop]
        detail = {"length": "the length does not fit", "crc": "the CRC does not fit"}[word]
        return Damage(word, detail, raw)

    def _noise(self, length: int) -> Damage | None:
        raw = bytes(self._buffer[:length])
        del self._buffer[:length]
        # Line ends between frames, and trailers that came late, are no damage.
        return Damage("header", "bytes outside of any frame", raw) if raw.strip(TRAILER) else None


def _digits(part: bytes | bytearray) -> bool:
    return part.isdigit() or not part


def scan_payload(payload: bytes) -> list[Frame | Damage]:
    """Everything in a payload that is complete in itself (an MQTT message, a file): frames stand back to back.

    Raises:
        DecodeRefused: `empty`.
    """
    if not payload.strip(b" \t\r\n"):
        raise DecodeRefused("empty", "no bytes")
    scanner = FrameScanner()
    return [*scanner.feed(payload), *scanner.flush("length")]
