"""What `tail` says of a message to whoever installs a device: raw, decoded, and what looks wrong about it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from greenmine.core.clock import NS_PER_S, to_rfc3339
from greenmine.core.metric import METRICS
from greenmine.core.reading import Series
from greenmine.ingest.commissioning import CommissioningLog, Heard
from greenmine.ingest.commissioning_findings import FindingKind, Registered, findings
from greenmine.ingest.commissioning_words import finding_text
from greenmine.ingest.refusal_advice import advice_for

SHOWN_PAYLOAD = 500
_OF_ONE_MESSAGE = (FindingKind.REFUSED, FindingKind.SERIES_NEVER_HEARD)
"""A refusal is printed with its message; and what has not come yet may come with the next one."""


class Line(NamedTuple):
    """A line on the terminal and its style there."""

    text: str
    style: str = ""


class Installer:
    """Remembers what each device sent since `tail` began, so that it can tell a constant or a wrong unit.

    Args:
        registered: the series that a mine's policy expects, as the API lists them.
    """

    def __init__(self, registered: Callable[[str], Sequence[Mapping[str, Any]]]) -> None:
        self._ask = registered
        self._log = CommissioningLog()
        self._registered: dict[str, dict[str, dict[Series, Registered]]] = {}

    def lines(self, message: Mapping[str, Any]) -> Iterator[Line]:
        """What to print of one message."""
        received_ns, payload = message["received_ns"], message["payload"]
        yield Line(f"{to_rfc3339(received_ns)} {message['topic']}", "bold")
        yield Line(f"  {payload[:SHOWN_PAYLOAD]}{'…' if len(payload) > SHOWN_PAYLOAD else ''}", "dim")
        for reading in message["readings"]:
            yield _reading(reading, received_ns)
        advised = set()
        for refused in message["refused"]:
            zh, en = advice = advice_for(refused["word"])
            place = f" ({refused['field']})" if refused.get("field") else ""
            yield Line(f"  refused / 拒收: {refused['word']}{place}: {refused['detail']}", "red")
            if advice not in advised:
                yield Line(f"    → {en} / {zh}", "red")
            advised.add(advice)
        for note in message.get("notes") or ():
            yield Line(f"  note / 注: {note}", "dim")
        health = {name: value for name, value in (message.get("health") or {}).items() if value is not None}
        if health:
            yield Line("  " + ", ".join(f"{name} {value:g}" for name, value in health.items()), "cyan")
        for heard in self._log.hear(message):
            yield from self._findings(heard)

    def _findings(self, heard: Heard) -> Iterator[Line]:
        registered = self._of(heard.mine).get(heard.device, {})
        found = (one for one in findings(registered, heard, heard.received_ns) if one.kind not in _OF_ONE_MESSAGE)
        texts = [f"{finding_text('en', one)} / {finding_text('zh', one)}" for one in found]
        for text in dict.fromkeys(texts):
            yield Line(f"  ! {heard.device}: {text}", "yellow")

    def _of(self, mine: str) -> dict[str, dict[Series, Registered]]:
        """A mine's registered series by device; asked for once."""
        if mine not in self._registered:
            found: dict[str, dict[Series, Registered]] = {}
            for row in self._ask(mine) if mine else ():
                series = Series(mine, row["device"], row["metric"], row["channel"], row["stat"], row["period_s"])
                found.setdefault(series.device, {})[series] = Registered(row["unit"], row["interval_s"])
            self._registered[mine] = found
        return self._registered[mine]


def devices_of(message: Mapping[str, Any]) -> set[str]:
    """The sender of a message and the devices behind it."""
    return {message["device"], *(reading["device"] for reading in message["readings"])}


def _reading(reading: Mapping[str, Any], received_ns: int) -> Line:
    name = f"{reading['metric']}@{reading['channel']}" if reading["channel"] else reading["metric"]
    if reading["stat"] != "inst":
        name += f" {reading['stat']} {reading['period_s']} s"
    known = METRICS.get(reading["metric"])
    value = "-" if reading["value"] is None else format(reading["value"], "g")
    unit = f" {known.unit}" if known is not None and known.unit != "1" and reading["value"] is not None else ""
    behind_s = (received_ns - reading["time_ns"]) / NS_PER_S
    flags = [*reading["quality"]]
    if reading["quarantine"]:
        flags.append(f"quarantined / 隔离: {reading['quarantine']}")
    text = f"  {reading['device']}  {name} = {value}{unit}  ({behind_s:+.1f} s behind)  {' '.join(flags)}"
    return Line(text.rstrip(), "yellow" if flags else "green")
