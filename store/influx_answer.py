"""What an answer of InfluxDB 2 that is no success means for the one who asked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from greenmine.core.errors import StoreUnavailable
from greenmine.store.bisection import Refusal

_DROPPED = re.compile(r"\bdropped=(\d+)")
_BEYOND_RETENTION = re.compile(r"(beyond|outside) retention policy")
_ADVICE = {
    401: "the token is not valid: put a valid one into the secret that the settings name",
    403: "the token may not do this: give it read and write access to the buckets",
    404: "the bucket or the organisation does not exist, or the token may not see it: check both names in the "
    "settings, or let ensure_buckets create the buckets",
}
_NOT_INFLUX = "not an answer of InfluxDB 2 to this request: check that the URL leads to it and not to a proxy's page"


class Answer(NamedTuple):
    """An HTTP answer other than 2xx. `status` 0 stands for a failure of TLS, told in `reason`."""

    status: int
    reason: str
    body: str
    headers: Mapping[str, str]

    @property
    def message(self) -> str | None:
        """InfluxDB's own words; None if the body is not its kind of answer."""
        try:
            body = json.loads(self.body)
        except ValueError:
            return None
        message = body.get("message") if isinstance(body, dict) else None
        return message if isinstance(message, str) else None

    @property
    def retry_after_s(self) -> float | None:
        """The wish in a Retry-After header, in seconds; a date is taken relative to the server's own clock."""
        wish = self.headers.get("Retry-After", "").strip()
        if wish.isdecimal():
            return float(wish)
        try:
            wait = parsedate_to_datetime(wish) - parsedate_to_datetime(self.headers.get("Date", ""))
        except (ValueError, TypeError):  # not a date, or one with and one without a zone
            return None
        return max(0.0, wait.total_seconds())

    def refusal(self, line_count: int) -> Refusal | None:
        """The fault that InfluxDB found with some of the lines of a write; None if the answer is not about lines.

        InfluxDB 2.9 answers 400 to lines that it cannot parse and then stores none of the request; to lines that it
        can parse and not store (the type of a field, the retention) it answers 422, with the others stored. Older
        ones answer 400 for both, some 500 for the retention.

        An answer without InfluxDB's kind of body comes from something between us: a proxy's 400 must not turn good
        readings into dead letters.
        """
        message = self.message or ("the server takes no request as long as this one" if self.status == 413 else None)
        if message is None:
            return None
        if self.status not in (400, 413, 422) and not (self.status == 500 and _BEYOND_RETENTION.search(message)):
            return None
        dropped = _DROPPED.search(message)
        # the number covers one kind of fault in one shard: it may be too small, never too large
        return Refusal(message, every=line_count == 1 or (dropped is not None and int(dropped[1]) == line_count))

    def explain(self, attempt: str) -> StoreUnavailable:
        """The error for the caller; `attempt` says what could not be done, and where."""
        if not self.status:
            advice = "check the server's certificate and the setting of its authority"
            return StoreUnavailable(f"{attempt}: {self.reason} - {advice}", needs_operator=True)
        text = f"{attempt}: {self.status} {self.message or self.reason}".rstrip()
        if self.status in (429, 503):
            return StoreUnavailable(f"{text} - overloaded or starting, try again", retry_after_s=self.retry_after_s)
        if self.status >= 500:
            return StoreUnavailable(f"{text} - see the server's log", retry_after_s=self.retry_after_s)
        advice = (
            _NOT_INFLUX if self.message is None else _ADVICE.get(self.status, "check organisation, bucket and token")
        )
        return StoreUnavailable(f"{text} - {advice}", needs_operator=True)
