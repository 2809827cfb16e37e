"""Logs go to standard error, and never end the thread that writes them."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from greenmine.logs import configure_logs


class Broken(io.StringIO):
    """Standard error whose reader has gone."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def configure_as_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the start of a program: without the handlers that pytest has put there."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure_logs("info")


def test_an_event_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")
    structlog.get_logger("x").warning("store: takes nothing", error="two\nlines")
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert "event='store: takes nothing'" in line
    assert "level='warning'" in line


def test_below_the_level_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("error")
    structlog.get_logger("x").warning("not so bad")
    assert capsys.readouterr() == ("", "")


def test_standard_error_is_the_one_of_the_moment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = io.StringIO()
    monkeypatch.setattr(sys, "stderr", first)
    configure_logs("info")
    first.close()
    monkeypatch.undo()
    structlog.get_logger("x").info("still there")
    assert "still there" in capsys.readouterr().err


@pytest.mark.parametrize("stream", [Broken(), None])
def test_a_standard_error_that_is_gone_is_no_reason_to_end(
    stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_as_a_program(monkeypatch)
    monkeypatch.setattr(sys, "stderr", stream)
    structlog.get_logger("x").error("nobody hears this")
    try:
        raise ValueError("what is logged with a trace")
    except ValueError:
        structlog.get_logger("x").exception("nor this")
    logging.getLogger("library").error("nor this")


def test_configuring_again_adds_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    configure_as_a_program(monkeypatch)
    configure_logs("info")
    logging.getLogger("library").warning("once")
    assert capsys.readouterr().err.count("once") == 1
    assert len(logging.getLogger("amqtt.broker").filters) == 1


def test_a_port_that_is_taken_is_not_said_twice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_as_a_program(monkeypatch)
    logger = logging.getLogger("amqtt.broker")
    logger.error("Broker startup failed")
    logger.error("something else")
    said = capsys.readouterr().err
    assert "startup" not in said
    assert "something else" in said
