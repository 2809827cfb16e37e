"""From templates to pages: the environment, and `Ui`, what every template may ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from greenmine.core.alert import Alert, Severity, Transition
from greenmine.core.clock import NS_PER_S, to_rfc3339
from greenmine.core.user import User
from greenmine.dashboards.panel import Words
from greenmine.ingest.commissioning_findings import Finding
from greenmine.ingest.commissioning_words import finding_text
from greenmine.ingest.reason_words import FLAGS, meaning_of
from greenmine.ingest.refusal_advice import advice_for
from greenmine.policy.model import Text
from greenmine.store.hours import FLAGGED
from greenmine.web import texts, wording
from greenmine.web.assets import asset_path, plotly_path, plotly_style_ids
from greenmine.web.language import Language, language_of
from greenmine.web.state import State
from greenmine.web.times import full_time_text, time_text, zone_text

if TYPE_CHECKING:
    from greenmine.web.session import Session

_UTC = ZoneInfo("UTC")

SCRIPT_WORDS = (
    *("live.connecting", "live.on", "live.lost", "live.ended", "live.log_in", "live.failed"),
    *("act.sending", "act.note_needed", "said.acknowledge", "said.note", "said.resolve"),
    *("age.s", "age.m", "age.h", "age.d"),
    *("chart.loading", "chart.empty", "chart.failed", "chart.flagged", "chart.thinned", "chart.readings"),
)
"""Keys of the words that live.js and chart.js say."""

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.globals.update(asset=asset_path, plotly=plotly_path, plotly_style_ids=plotly_style_ids)


@dataclass(frozen=True)
class Ui:
    """Words, times and numbers for one answer: in one language, at one moment, in each mine's zone."""

    language: Language
    now_ns: int
    path: str
    query: str
    session: Session | None = None
    zones: Mapping[str, ZoneInfo] = field(default_factory=dict)

    @property
    def user(self) -> User | None:
        """Who is logged in."""
        return self.session.user if self.session else None

    @property
    def may_act(self) -> bool:
        """Whether forms are shown."""
        return self.session is not None and self.session.user.role.may_act

    @property
    def csrf(self) -> str:
        """The anti-forgery token for forms."""
        return self.session.csrf if self.session else ""

    def t(self, key: str, **names: object) -> str:
        """The words for a key."""
        return texts.text(self.language, key, **names)

    def words(self, words: Words | Text) -> str:
        """Words of a policy or a panel."""
        return words.in_language(self.language)

    def state(self, state: State) -> str:
        """A state in words."""
        return texts.pick(texts.STATES, self.language, state)

    def severity(self, severity: Severity) -> str:
        """A severity in words."""
        return texts.pick(texts.SEVERITIES, self.language, severity)

    def kind(self, kind: str) -> str:
        """A kind of sensor in words."""
        return texts.pick(texts.KINDS, self.language, kind)

    def condition(self, alert: Alert) -> str:
        """An alert's condition in words."""
        return texts.pick(wording.CONDITIONS, self.language, alert.condition)

    def handling(self, alert: Alert) -> str:
        """An alert's handling in words."""
        return texts.pick(wording.HANDLINGS, self.language, alert.handling)

    def flag(self, flag: str) -> str:
        """A quality flag in words."""
        return texts.pick(wording.FLAGS, self.language, flag)

    def metric(self, metric: str) -> str:
        """A metric's name."""
        return wording.metric_text(self.language, metric)

    def look(self, state: str) -> str:
        """How a device stands in the commissioning view."""
        return texts.pick(texts.LOOKS, self.language, state)

    def finding(self, finding: Finding) -> str:
        """What looks wrong about a device, and what to do."""
        return finding_text(self.language, finding)

    def clock_difference(self, behind_ns: int) -> str:
        """How much later a value was received than its device says it was measured."""
        seconds = behind_ns / NS_PER_S
        number = f"{abs(seconds):.1f}" if abs(seconds) < 10 else f"{abs(seconds):.0f}"
        return self.t("commissioning.behind" if seconds >= 0 else "commissioning.ahead", n=number)

    def signal(self, health: Mapping[str, float | None]) -> str:
        """Radio signal as far as it is known."""
        return _with_units(health, (("rssi_dbm", "dBm"), ("snr_db", "dB SNR")))

    def battery(self, health: Mapping[str, float | None]) -> str:
        """Battery as far as it is known."""
        return _with_units(health, (("battery_v", "V"), ("battery_percent", "%")))

    def gap(self, reason: str) -> str:
        """What became of a gap."""
        return texts.pick(wording.GAP_REASONS, self.language, reason)

    def network(self, network: str) -> str:
        """Whose name an address is."""
        return texts.pick(texts.NETWORKS, self.language, network)

    def principle(self, word: str) -> str:
        """How a sensor measures."""
        return texts.pick(texts.PRINCIPLES, self.language, word)

    def quarantine(self, word: str) -> str:
        """Why a reading was kept apart."""
        return texts.pick(wording.QUARANTINES, self.language, word)

    def advice(self, word: str, kind: str = "") -> str:
        """What to do about a refusal, a quarantine or (`kind` flagged) a flag."""
        advice = FLAGS[word][1] if kind == FLAGGED and word in FLAGS else advice_for(word)
        return advice[0 if self.language == "zh" else 1]

    def meaning(self, word: str, kind: str = "") -> str:
        """What a reason of a refusal, a quarantine or a flag means (`kind` says which), as a sentence."""
        zh, en = meaning_of(word, kind)
        if not en:
            return ""
        return f"{zh}。" if self.language == "zh" else f"{en[0].upper()}{en[1:]}. "

    def reason(self, alert: Alert, step: Transition) -> str:
        """Why a transition happened."""
        return wording.reason_text(self.language, alert, step)

    def who(self, principal: str) -> str:
        """Who did it."""
        return wording.principal_text(self.language, principal)

    def zone(self, mine: str | None) -> ZoneInfo:
        """A mine's zone; for no mine the one zone of all, or UTC where they differ."""
        if mine is not None and mine in self.zones:
            return self.zones[mine]
        found = {zone.key: zone for zone in self.zones.values()}
        return next(iter(found.values())) if len(found) == 1 else _UTC

    def zone_name(self, mine: str | None = None) -> str:
        """The zone in which times are shown."""
        return zone_text(self.now_ns, self.zone(mine))

    def time(self, time_ns: int, mine: str | None = None) -> Markup:
        """A time element: short local time, with date and offset as its title."""
        zone = self.zone(mine)
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            to_rfc3339(time_ns), full_time_text(time_ns, zone), time_text(time_ns, zone, self.now_ns)
        )

    def short_time(self, time_ns: int, mine: str | None = None) -> str:
        """The same short local time as bare text, to stand within a sentence."""
        return time_text(time_ns, self.zone(mine), self.now_ns)

    def age(self, age_ns: int) -> str:
        """How long ago."""
        key, number = texts.age_parts(age_ns / NS_PER_S)
        return self.t(key, n=number)

    def span(self, start_ns: int, end_ns: int | None) -> str:
        """How long something lasted, or has lasted until now."""
        until = self.now_ns if end_ns is None else end_ns
        return texts.span_text(self.language, (until - start_ns) / NS_PER_S)

    def other_language(self) -> str:
        """This page in the other language."""
        return self.with_query(lang="en" if self.language == "zh" else "zh")

    def with_query(self, **changes: str | None) -> str:
        """This page with some query parameters changed, or taken out (None)."""
        pairs = [(name, value) for name, value in parse_qsl(self.query) if name not in (*changes, "part", "said")]
        pairs += [(name, value) for name, value in changes.items() if value is not None]
        return self.path + (f"?{urlencode(pairs)}" if pairs else "")

    def said(self) -> str:
        """What a form that was just sent did, in words; empty where none was."""
        said = dict(parse_qsl(self.query)).get("said", "")
        return (
            self.t(f"said.{said}")
            if said in ("acknowledge", "note", "resolve", "password", "approve", "reject")
            else ""
        )

    def live_words(self) -> Markup:
        """Words that the scripts need, as data attributes of the body."""
        pairs = [f'data-{key.replace(".", "-").replace("_", "-")}="{escape(self.t(key))}"' for key in SCRIPT_WORDS]
        return Markup(" ".join(pairs))  # noqa: S704 each value is escaped


def _with_units(health: Mapping[str, float | None], wanted: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{value:g} {unit}" for name, unit in wanted if (value := health.get(name)) is not None)


def ui_of(request: Request, now_ns: int, zones: Mapping[str, ZoneInfo] | None = None) -> Ui:
    """The Ui of a request."""
    return Ui(
        language=language_of(request),
        now_ns=now_ns,
        path=request.url.path,
        query=request.url.query,
        session=getattr(request.state, "session", None),
        zones=zones or {},
    )


def render(
    template: str, ui: Ui, names: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    """A page or a part of one."""
    html = _environment.get_template(template).render({**names, "ui": ui})
    return HTMLResponse(html, status, dict(headers or {}))


def render_error(
    request: Request, status: int, title: str, detail: str, instance: str, headers: Mapping[str, str]
) -> HTMLResponse:
    """The page for an error; needs nothing that may itself be broken."""
    ui = ui_of(request, 0)
    names = {"error_title": title, "detail": detail, "instance": instance, "code": status}
    return render("error.html", ui, names, status, headers)
