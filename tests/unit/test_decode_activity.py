"""Activity messages: what is taken, and the word of every refusal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.activity import ActivityKind, ActivityState
from greenmine.core.errors import DecodeRefused
from greenmine.ingest.decode_activity import MAX_BYTES, DecodedActivity, decode_activity

BLAST: dict[str, Any] = {"ts": "2026-11-22T08:00:00+08:00", "kind": "blast", "state": "start"}
BLAST_NS = 1_795_305_600_000_000_000


def test_a_whole_one() -> None:
    payload = json.dumps({**BLAST, "zone": "采场东帮", "lat": 39.7, "lon": 110}, ensure_ascii=False).encode()
    expected = DecodedActivity(BLAST_NS, ActivityKind.BLAST, ActivityState.START, "采场东帮", 39.7, 110.0)
    assert decode_activity(payload) == expected


def test_milliseconds_and_nothing_optional() -> None:
    payload = json.dumps({**BLAST, "ts": BLAST_NS // 1_000_000, "zone": None}).encode()
    assert decode_activity(payload) == DecodedActivity(
        BLAST_NS, ActivityKind.BLAST, ActivityState.START, "", None, None
    )


@pytest.mark.parametrize(
    ("payload", "word"),
    [
        (b"", "empty"),
        (b" " * (MAX_BYTES + 1), "size"),
        (b"\xff", "encoding"),
        (b"{", "json"),
        (b"[" * 4000, "depth"),
        (b'{"kind": "blast", "state": "start", "ts": ' + b"9" * 4000 + b"}", "range"),
        (b"[]", "type"),
        (b'{"ts": NaN}', "not_finite"),
        (b'{"kind": "blast", "kind": "haul"}', "duplicate_key"),
        ({**BLAST, "why": 1}, "unknown_field"),
        ({"kind": "blast", "state": "start"}, "missing_field"),
        ({**BLAST, "kind": None}, "missing_field"),
        ({**BLAST, "kind": "party"}, "kind"),
        ({**BLAST, "kind": ["blast"]}, "kind"),
        ({**BLAST, "state": "now"}, "state"),
        ({**BLAST, "ts": True}, "type"),
        ({**BLAST, "ts": "today"}, "ts_format"),
        ({**BLAST, "ts": "2026-11-22T08:00:00"}, "ts_zone"),
        ({**BLAST, "zone": 3}, "type"),
        ({**BLAST, "zone": "x" * 65}, "zone"),
        ({**BLAST, "zone": "a\nb"}, "zone"),
        ({**BLAST, "zone": "\ud800"}, "zone"),
        ({**BLAST, "lat": 39.7}, "missing_field"),
        ({**BLAST, "lat": 91, "lon": 0}, "range"),
        ({**BLAST, "lat": 10**400, "lon": 0}, "range"),
        ({**BLAST, "lat": 0, "lon": "110"}, "type"),
    ],
)
def test_refusals(payload: bytes | dict[str, Any], word: str) -> None:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    with pytest.raises(DecodeRefused) as refused:
        decode_activity(raw)
    assert refused.value.word == word


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_FIELDS = st.fixed_dictionaries({}, optional=dict.fromkeys(("ts", "kind", "state", "zone", "lat", "lon"), _JSON))


@given(st.binary(max_size=200) | _FIELDS.map(lambda entry: json.dumps({**BLAST, **entry}).encode()))
def test_nothing_but_a_refusal_leaves_it(payload: bytes) -> None:
    try:
        found = decode_activity(payload)
    except DecodeRefused:
        return
    assert isinstance(found, DecodedActivity)
