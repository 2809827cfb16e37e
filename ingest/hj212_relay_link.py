"""The connection to a platform: frames in, frames out, nothing of what they mean."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

from greenmine.ingest.hj212_frame import MAX_NOISE_BYTES, Frame, FrameScanner

MOST_UNREAD = 1000
"""Frames of the platform that wait to be looked at; one that sends more is not what it should be."""


class RelayLink(asyncio.Protocol):
    """Sets `changed` whenever there is something to look at."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._scanner = FrameScanner()
        self._transport: asyncio.Transport | None = None
        self._heard: deque[Frame] = deque()
        self.ended = False
        self.writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, _: Exception | None) -> None:
        """Ended, by either side."""
        self.ended = True
        self.changed.set()

    def data_received(self, data: bytes) -> None:
        """Bytes have come; what is damaged is passed over, its message will be sent again."""
        self._heard.extend(found for found in self._scanner.feed(data) if isinstance(found, Frame))
        if self._scanner.noise_bytes > MAX_NOISE_BYTES or len(self._heard) > MOST_UNREAD:
            self.close()
        self.changed.set()

    def pause_writing(self) -> None:
        """The platform does not take what was sent."""
        self.writable = False

    def resume_writing(self) -> None:
        """It does again."""
        self.writable = True
        self.changed.set()

    def take(self) -> list[Frame]:
        """The frames that came since the last call."""
        heard = list(self._heard)
        self._heard.clear()
        return heard

    def write(self, frame: bytes) -> None:
        """Send a frame."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def close(self) -> None:
        """End the connection; what the platform does not take is let go of."""
        self.ended = True
        if self._transport is not None:
            self._transport.abort()
