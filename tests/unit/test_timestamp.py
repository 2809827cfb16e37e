"""Source times: RFC 3339 text and integer milliseconds to nanoseconds that fit 64 bits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.clock import NS_PER_MS, NS_PER_S, to_rfc3339
from greenmine.core.errors import DecodeRefused
from greenmine.ingest.timestamp import from_milliseconds, from_rfc3339

T = TypeVar("T", int, str)
INT64 = 2**63
TIMES_NS = st.integers(-INT64, INT64 - 1)
WORDS = {"ts_format", "ts_zone", "ts_range"}


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T08:00:00+08:00", 0),
        ("1969-12-31T19:00:00-05:00", 0),
        ("1970-01-01T00:00:00-00:00", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01 00:00:00Z", 0),
        ("1970-01-01T00:00:00.5Z", 500 * NS_PER_MS),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01T00:00:00.0000000019Z", 1),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("2026-11-22T08:00:00+08:00", 1_795_305_600 * NS_PER_S),
        ("2024-02-29T00:00:00Z", 1_709_164_800 * NS_PER_S),
        ("2016-12-31T23:59:60Z", 1_483_228_799 * NS_PER_S + 999 * NS_PER_MS),
        ("2017-01-01T07:59:60.7+08:00", 1_483_228_799 * NS_PER_S + 999 * NS_PER_MS),
        ("1677-09-21T00:12:43.145224192Z", -INT64),
        ("2262-04-11T23:47:16.854775807Z", INT64 - 1),
    ],
)
def test_text_that_is_a_time(text: str, time_ns: int) -> None:
    assert from_rfc3339(text) == time_ns


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "ts_format"),
        ("now", "ts_format"),
        ("2026-11-22", "ts_format"),
        ("2026-11-22T08:00Z", "ts_format"),
        ("2026-11-22T08:00:00+0800", "ts_format"),
        ("2026-11-22T08:00:00 +08:00", "ts_format"),
        ("2026-11-22T08:00:00Z\n", "ts_format"),
        ("20261122T080000Z", "ts_format"),
        ("\uff12026-11-22T08:00:00Z", "ts_format"),
        ("2026-11-22T08:00:00.Z", "ts_format"),
        ("-026-11-22T08:00:00Z", "ts_format"),
        ("2026-03-29T02:30:00", "ts_zone"),
        ("2026-03-29T02:30:00.123", "ts_zone"),
        ("2026-02-29T00:00:00Z", "ts_range"),
        ("2026-13-01T00:00:00Z", "ts_range"),
        ("2026-00-01T00:00:00Z", "ts_range"),
        ("2026-01-01T24:00:00Z", "ts_range"),
        ("2026-01-01T00:60:00Z", "ts_range"),
        ("2026-01-01T00:00:61Z", "ts_range"),
        ("2026-01-01T00:00:00+24:00", "ts_range"),
        ("2026-01-01T00:00:00+00:60", "ts_range"),
        ("0000-01-01T00:00:00Z", "ts_range"),
        ("0001-01-01T00:00:00+08:00", "ts_range"),
        ("9999-12-31T23:59:59Z", "ts_range"),
        ("9999-12-31T23:59:59-08:00", "ts_range"),
        ("1677-09-21T00:12:43.145224191Z", "ts_range"),
        ("2262-04-11T23:47:16.854775808Z", "ts_range"),
    ],
)
def test_the_word_of_text_that_is_no_time(text: str, word: str) -> None:
    with pytest.raises(DecodeRefused) as refused:
        from_rfc3339(text)
    assert refused.value.word == word


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (INT64, "range"),
        (-INT64 - 1, "range"),
        (2**100, "range"),
        (INT64 - 1, "ts_range"),
        (-INT64, "ts_range"),
        (1_767_225_600_000_000, "ts_range"),  # microseconds
        (1_767_225_600_000_000_000, "ts_range"),  # nanoseconds
        (253_402_300_799_999, "ts_range"),  # the year 9999: no 64 bits of nanoseconds
        (INT64 // NS_PER_MS + 1, "ts_range"),
    ],
)
def test_the_word_of_milliseconds_that_are_no_time(value: int, word: str) -> None:
    with pytest.raises(DecodeRefused) as refused:
        from_milliseconds(value)
    assert refused.value.word == word


@pytest.mark.parametrize("value", [0, -1, 1_767_225_600, INT64 // NS_PER_MS, -(INT64 // NS_PER_MS)])
def test_milliseconds_that_are_a_time(value: int) -> None:
    assert from_milliseconds(value) == value * NS_PER_MS


@given(TIMES_NS)
def test_what_is_shown_is_read_back_as_the_same_time(time_ns: int) -> None:
    assert from_rfc3339(to_rfc3339(time_ns)) == time_ns


@given(
    st.integers(-9_000_000_000, 9_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_every_offset_names_the_same_instant(instant: datetime, zone: timezone) -> None:
    assert from_rfc3339(instant.astimezone(zone).isoformat()) == from_rfc3339(instant.isoformat())


def read_or_refused(read: Callable[[T], int], value: T) -> int | DecodeRefused:
    try:
        return read(value)
    except DecodeRefused as refused:
        return refused


@given(st.integers())
def test_only_a_refusal_leaves_the_parser_of_milliseconds(value: int) -> None:
    time_ns = read_or_refused(from_milliseconds, value)
    if isinstance(time_ns, DecodeRefused):
        assert time_ns.word in {"range", "ts_range"}
    else:
        assert -INT64 <= time_ns < INT64
        to_rfc3339(time_ns)


NEARLY = st.from_regex(
    r"[0-9]{3,5}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{0,12})?(Z|z|[+-][0-9]{2}:[0-9]{2})?",
    fullmatch=True,
)


@given(st.text(max_size=40) | NEARLY)
def test_only_a_refusal_leaves_the_parser_of_text(text: str) -> None:
    time_ns = read_or_refused(from_rfc3339, text)
    if isinstance(time_ns, DecodeRefused):
        assert time_ns.word in WORDS
    else:
        assert -INT64 <= time_ns < INT64
        to_rfc3339(time_ns)
