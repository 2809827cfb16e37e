"""Logs: one line an event on standard error, structured, without secrets."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog

_LIBRARIES = ("amqtt", "transitions", "uvicorn", "asyncio", "urllib3")


class StandardError:
    """Standard error as it is now. A line that cannot be written (a closed pipe, a full disk) is lost: it must not end
    the thread that had something to say."""

    def write(self, text: str) -> None:
        """Write if that is possible."""
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """Flush if that is possible."""
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()


def configure_logs(level: str) -> None:
    """Set the level for our own events; libraries speak only from warning on."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, StandardError())),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(stream=StandardError(), level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    for name in _LIBRARIES:
        # The embedded broker logs each refused client itself; its own warnings repeat that.
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("amqtt.broker").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """A port that is taken is said by an error of ours; amqtt adds a stack trace to it."""
    return record.getMessage() != "Broker startup failed"
