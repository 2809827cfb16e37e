"""What the demonstration shows in a terminal: where the board is, the newest values, the alarms, the account."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from greenmine.alerts.notices import shown
from greenmine.core.alert import Alert, Condition, Handling, Severity
from greenmine.core.clock import NS_PER_S
from greenmine.core.latest import Latest
from greenmine.core.metric import METRICS
from greenmine.demo import NOTICES_FILE, Demo
from greenmine.policy.model import Policy

REFRESH_S = 0.5
MOST_ALERTS = 6
LEAST_VALUES = 3
"""Of each mine; a terminal too small for that is cut at its end."""
_COLOUR = {Severity.NOTICE: "cyan", Severity.WARNING: "yellow", Severity.CRITICAL: "bold red"}
_CONDITION = {
    Condition.FIRING: "超限 firing",
    Condition.STALE: "无数据 stale",
    Condition.CLEARED: "已恢复 cleared",
    Condition.PENDING: "待定 pending",
    Condition.INACTIVE: "正常 inactive",
}
_HANDLING = {
    Handling.NONE: "未确认 unhandled",
    Handling.ACKNOWLEDGED: "已确认 acknowledged",
    Handling.CLOSED: "已关闭 closed",
}


def watch(demo: Demo, console: Console, duration_s: float) -> None:
    """Show the demo until its time is over (0: until it ends or somebody presses Ctrl-C)."""
    left_s = duration_s or float("inf")
    with Live(console=console, screen=False, auto_refresh=False, vertical_overflow="crop") as live:
        while left_s > 0:
            live.update(screen(demo, console.height), refresh=True)
            if demo.wait(min(REFRESH_S, left_s)):
                break
            left_s -= REFRESH_S
        live.update(screen(demo, console.height), refresh=True)


def screen(demo: Demo, height: int) -> Group:
    """Everything, in as many lines as the terminal has: of the newest values only as many as fit."""
    raised = demo.service.board.alerts(limit=MOST_ALERTS)
    alarmed = {(alert.key.mine, alert.key.device) for alert in raised if alert.condition is Condition.FIRING}
    latest = {
        # Those who are over a limit first: they must not be among the ones left out.
        mine: sorted(demo.service.board.latest(mine), key=lambda one: (mine, one.series.device) not in alarmed)
        for mine in demo.policies
    }
    # The head has 4 lines, the alerts a title and a heading (or a word), the foot 2, each mine a title and a heading.
    left = height - 4 - (len(raised) + 2 if raised else 1) - 2 - 2 * len(latest)
    shares: dict[str, int] = {}
    for number, mine in enumerate(sorted(latest, key=lambda mine: len(latest[mine]))):
        wanted = len(latest[mine])
        shares[mine] = min(wanted, max(LEAST_VALUES, left // (len(latest) - number)))
        left -= shares[mine]
    mines = [_mine(policy, latest[mine], shares[mine]) for mine, policy in demo.policies.items()]
    return Group(_head(demo), _alerts(raised), *mines, _foot(demo))


def _head(demo: Demo) -> Panel:
    service = demo.service
    where = service.web.url if service.web else ""
    text = Text.assemble(
        ("看板 board  ", "bold"), (where, "underline cyan"), "\n",
        ("用户 user ", "bold"), "admin", "    ",
        ("首次密码 first password ", "bold"), service.first_admin_password or "",
    )  # fmt: skip
    return Panel(text, title="greenmine demo", border_style="green")


def _mine(policy: Policy, latest: Sequence[Latest], lines: int) -> Group:
    table = _table("设备 device", "指标 metric", "值 value", "时间 time")
    for one in latest[:lines]:
        series, metric = one.series, METRICS[one.series.metric]
        local = datetime.fromtimestamp(one.time_ns // NS_PER_S, UTC).astimezone(policy.mine.zone)
        name = f"{series.metric}@{series.channel}" if series.channel else series.metric
        value = f"{shown(series.metric, one.value)} {'' if metric.shown_unit == '1' else metric.shown_unit}"
        table.add_row(series.device, name, value, f"{local:%m-%d %H:%M:%S}")
    rest = f"  (+{len(latest) - lines}, 见看板 on the board)" if lines < len(latest) else ""
    return Group(_title(f"{policy.mine.name.zh}  {policy.mine.name.en}{rest}"), table)


def _alerts(raised: Sequence[Alert]) -> Group | Text:
    if not raised:
        return _title("报警 alerts: 尚无 none yet")
    table = _table("级别", "矿/设备 device", "规则 rule", "状况 condition", "处置 handling")
    for alert in raised:
        table.add_row(
            Text(alert.severity.value, style=_COLOUR[alert.severity]),
            f"{alert.key.mine}/{alert.key.device}",
            alert.key.rule,
            _CONDITION[alert.condition],
            _HANDLING.get(alert.handling, alert.handling.value),
        )
    return Group(_title("报警 alerts"), table)


def _title(text: str) -> Text:
    """One line: the title of a table would be broken at the width of the table."""
    return Text(text, style="italic", no_wrap=True, overflow="ellipsis")


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _foot(demo: Demo) -> Text:
    account = demo.service.state.account()
    counts = "  ".join(f"{name} {count}" for name, count in account._asdict().items() if count or name == "received")
    notices = f"通知 notices {demo.service.deliverer.delivered}: {demo.home.path / NOTICES_FILE}"
    return Text(f"{counts}    Ctrl-C 结束 ends\n{notices}", style="dim", no_wrap=True, overflow="ellipsis")
