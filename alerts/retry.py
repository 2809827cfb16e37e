"""When a notice that was not taken is tried again."""

from __future__ import annotations

import hashlib

NS = 1_000_000_000
FIRST_S = 5.0
LONGEST_S = 900.0
GIVE_UP_AFTER_NS = 24 * 3600 * NS


def next_attempt_ns(key: str, attempts: int, now_ns: int, retry_after_s: float | None) -> int:
    """Exponential back-off from 5 s to 15 min, spread by a jitter that is the same in every replay; the other side's
    Retry-After is a lower bound (up to an hour)."""
    digest = hashlib.sha256(f"{key}:{attempts}".encode()).digest()
    spread = 0.5 + int.from_bytes(digest[:4], "big") / 2**33
    wait_s = min(LONGEST_S, FIRST_S * 2 ** min(attempts - 1, 10)) * spread
    if retry_after_s is not None:
        wait_s = max(wait_s, min(retry_after_s, 3600.0))
    return now_ns + int(wait_s * NS)
