"""Which certificates end soon, for `greenmine doctor`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from greenmine.core.clock import NS_PER_S, to_rfc3339
from greenmine.store.certificates import Certificate

WARNED_BEFORE_NS = 30 * 86_400 * NS_PER_S
MOST_NAMED = 10
AUTHORITY_NAME = "ca"


class Expiry(NamedTuple):
    """`ok` until one has ended, `warn` in the 30 days before."""

    ok: bool
    warn: bool
    detail: str
    advice: str


def expiry(certificates: Iterable[Certificate], authority_until_ns: int, now_ns: int) -> Expiry:
    """What ends within 30 days of `now_ns`, or has ended. Of several certificates of one device (or broker) the one
    that lasts longest counts, and revoked ones do not."""
    until = {AUTHORITY_NAME: authority_until_ns}
    for one in certificates:
        if one.revoked_ns is None:
            until[one.name] = max(one.not_after_ns, until.get(one.name, 0))
    by_end = sorted(until.items(), key=lambda named: (named[1], named[0]))
    due = [named for named in by_end if named[1] - now_ns < WARNED_BEFORE_NS]
    if not due:
        name, first_ns = by_end[0]
        return Expiry(True, False, f"{len(until)} certificates, {name} ends first: {_day(first_ns)}", "")
    ended = due[0][1] <= now_ns
    named = ", ".join(f"{name} {_day(end_ns)}" for name, end_ns in due[:MOST_NAMED])
    rest = f" (+{len(due) - MOST_NAMED})" if len(due) > MOST_NAMED else ""
    words = "ended or end within 30 days / 已到期或 30 天内到期" if ended else "end within 30 days / 30 天内到期"
    return Expiry(not ended, True, f"{words}: {named}{rest}", _advice(AUTHORITY_NAME in dict(due)))


def _advice(authority: bool) -> str:
    if authority:
        return (
            "the authority itself ends: make a new one in time and give every device a new certificate, see "
            "docs/certificates.md / 证书机构即将到期，请及时更换并重新签发全部证书"
        )
    return (
        "issue a new one with `greenmine devices provision --certificate` (a broker's: `greenmine devices ca server`), "
        "install it, then revoke the old one / 请重新签发并安装，再撤销旧证书"
    )


def _day(ns: int) -> str:
    return to_rfc3339(ns)[:10]
