"""Times and languages that people write: read strictly, shown in the mine's zone."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.clock import NS_PER_S, to_rfc3339
from greenmine.core.errors import Refused
from greenmine.web.language import language_cookie, preferred
from greenmine.web.session import csrf_token, local_path
from greenmine.web.times import (
    EARLIEST_NS,
    LATEST_NS,
    chart_time,
    full_time_text,
    parse_local,
    parse_rfc3339,
    query_span,
    time_text,
    zone_text,
)
from tests.web_fakes import NOW_NS

SHANGHAI = ZoneInfo("Asia/Shanghai")


@given(st.integers(EARLIEST_NS, LATEST_NS - 1))
def test_what_we_write_we_read(time_ns: int) -> None:
    assert parse_rfc3339(to_rfc3339(time_ns)) == time_ns


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "-1e99", "1795334400", "2026-11-22", "2026-11-22T08:00:00", "2026-13-01T00:00:00Z",
        "1999-12-31T23:59:59Z", "2100-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "２０２６-11-22T08:00:00Z",
    ],
)  # fmt: skip
def test_what_is_no_time_with_an_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rfc3339(text)


def test_a_browser_s_local_time_is_read_in_the_mine_s_zone() -> None:
    assert parse_local("2026-11-22T16:00", SHANGHAI) == NOW_NS
    assert parse_local("2026-11-22T08:00:00Z", SHANGHAI) == NOW_NS


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-11-22T08:00:00Z", "2026-11-22T08:00:00Z"),
        ("2026-11-22T09:00:00Z", "2026-11-22T08:00:00Z"),
        ("2001-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("-1e99", None),
        (None, "tomorrow"),
    ],
)
def test_spans_that_make_no_sense_are_refused(start: str | None, end: str | None) -> None:
    with pytest.raises(Refused) as caught:
        query_span(start, end)
    assert caught.value.word == "time"


def test_a_span_may_be_open() -> None:
    assert query_span(None, None) == (None, None)
    assert query_span("2026-11-22T08:00:00Z", "") == (NOW_NS, None)


def test_times_are_shown_in_the_mine_s_zone_as_short_as_they_are_clear() -> None:
    assert time_text(NOW_NS, SHANGHAI, NOW_NS) == "16:00:00"
    assert time_text(NOW_NS - 20 * 3600 * NS_PER_S, SHANGHAI, NOW_NS) == "11-21 20:00:00"
    assert time_text(NOW_NS - 400 * 86400 * NS_PER_S, SHANGHAI, NOW_NS) == "2025-10-18 16:00:00"
    assert full_time_text(NOW_NS, SHANGHAI) == "2026-11-22 16:00:00 UTC+08:00"
    assert zone_text(NOW_NS, SHANGHAI) == "Asia/Shanghai (UTC+08:00)"
    assert chart_time(NOW_NS + 5_000_000, SHANGHAI) == "2026-11-22 16:00:00.005"


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        ("", "zh"),
        ("en-GB,en;q=0.9", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("de-DE,de;q=0.9,en;q=0.7", "en"),
        ("fr", "zh"),
        ("en;q=0.2, zh;q=0.3", "zh"),
        ("en;q=0", "zh"),
        ("en;q=x", "zh"),
        ("*", "zh"),
    ],
)
def test_the_browser_s_wish_decides_and_chinese_where_it_has_none(accept: str, language: str) -> None:
    assert preferred(accept) == language


@pytest.mark.parametrize(
    ("path", "query", "cookie"),
    [
        ("/", b"lang=en", "greenmine_lang=en"),
        ("/", b"lang=zh&x=1", "greenmine_lang=zh"),
        ("/", b"lang=de", ""),
        ("/", b"lang=en%0d%0aSet-Cookie:x", ""),
        ("/api/v1/mines", b"lang=en", ""),
        ("/", b"", ""),
    ],
)
def test_only_a_known_language_of_a_page_is_remembered(path: str, query: bytes, cookie: str) -> None:
    assert language_cookie({"path": path, "query_string": query}).split(";")[0] == cookie


@pytest.mark.parametrize(
    ("given_next", "path"),
    [
        ("/mines/a?x=1", "/mines/a?x=1"),
        ("https://evil", "/"),
        ("//evil", "/"),
        ("/\\evil", "/"),
        ("\\\\evil", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
        ("javascript:alert(1)", "/"),
        ("mines", "/"),
        ("", "/"),
        (None, "/"),
        ("/" + "a" * 3000, "/"),
        ("/\t/evil", "/"),
    ],
)
def test_nobody_is_sent_to_another_site(given_next: str | None, path: str) -> None:
    assert local_path(given_next) == path


@given(st.text())
def test_a_redirect_is_always_within_the_site(text: str) -> None:
    path = local_path(text)
    assert path.startswith("/")
    assert not path.startswith(("//", "/\\"))


def test_the_forgery_token_hides_the_session_and_differs_with_it() -> None:
    assert csrf_token("a") != csrf_token("b")
    assert "secret" not in csrf_token("secret")
