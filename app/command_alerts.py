"""`greenmine alerts`, `greenmine facts`: what happened, and what people do about it."""

from __future__ import annotations

import getpass
import json
from typing import Annotated, Any

import typer

from greenmine.core.act import Act, ActKind
from greenmine.core.clock import to_rfc3339
from greenmine.core.errors import DecodeRefused, Refused
from greenmine.core.fact import FactKind
from greenmine.home import Home
from greenmine.ingest.timestamp import from_rfc3339
from greenmine.terminal import HomeOption, JsonOption, headed, listing, out, print_json, reported, short_time, the_home

app = typer.Typer(no_args_is_help=True, help="Alerts / 报警")
facts = typer.Typer(no_args_is_help=True, help="Dated facts that judge beside readings / 事实记录")

AlertId = Annotated[str, typer.Argument(help="Id of the alert / 报警编号")]
NoteOption = Annotated[str, typer.Option("--note", help="What was found or done / 说明")]


@app.command("list")
@reported
def list_alerts(
    mine: Annotated[str | None, typer.Option(help="Only of this mine / 矿")] = None,
    open_only: Annotated[bool, typer.Option("--open", help="Only open ones / 未关闭")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List alerts, newest first. 列出报警。"""
    from greenmine.office import state_of
    from greenmine.store import alerts as alert_table

    with state_of(the_home(home)) as connection:
        rows = [_alert(alert) for alert in alert_table.listed(connection, mine, open_only)]
    columns = [
        ("id", "id / 编号"),
        ("raised", "raised / 发生"),
        ("where", "where / 位置"),
        ("rule", "rule / 规则"),
        ("severity", "severity / 级别"),
        ("condition", "condition / 状况"),
        ("handling", "handling / 处置"),
        ("finding", "value, limit / 数值与限值"),
    ]
    if not as_json:
        rows = [{**row, **_short(row)} for row in rows]
    listing(rows, columns, as_json, "no alerts / 没有报警")


@app.command()
@reported
def show(alert_id: AlertId, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show an alert with its whole history. 查看报警及其全部经过。"""
    from sqlalchemy import select

    from greenmine.office import state_of
    from greenmine.store import alerts as alert_table
    from greenmine.store import schema

    with state_of(the_home(home)) as connection:
        alert = _alert(alert_table.get(connection, alert_id))
        history = [
            {**step._asdict(), "at": to_rfc3339(step.at_ns)} for step in alert_table.history(connection, alert_id)
        ]
        notices = [
            dict(row)
            for row in connection.execute(
                select(
                    schema.notice.c.kind,
                    schema.notice.c.contact,
                    schema.notice.c.channel,
                    schema.notice.c.state,
                    schema.notice.c.attempts,
                    schema.notice.c.detail,
                )
                .where(schema.notice.c.alert_id == alert_id)
                .order_by(schema.notice.c.created_ns, schema.notice.c.key)
            ).mappings()
        ]
    if as_json:
        print_json({**alert, "history": history, "notices": notices})
        return
    for key, value in alert.items():
        out.print(f"{key:>16}  {'' if value is None else value}", markup=False, highlight=False)
    out.print()
    listing(history, headed("at", "reason", "condition", "handling", "principal", "value", "note"), False, "")
    out.print()
    told = headed("kind", "contact", "channel", "state", "attempts", "detail")
    listing(notices, told, False, "nobody was to be told / 无通知")


@app.command()
@reported
def ack(alert_id: AlertId, note: NoteOption = "", home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Acknowledge an alert: somebody has seen it and is on it. 确认报警。"""
    _act(ActKind.ACKNOWLEDGE, alert_id, note, the_home(home), as_json)


@app.command("note")
@reported
def note_alert(alert_id: AlertId, note: NoteOption, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Add a note to an alert. 添加说明。"""
    _act(ActKind.NOTE, alert_id, note, the_home(home), as_json)


@app.command()
@reported
def resolve(alert_id: AlertId, note: NoteOption, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Close the handling of an alert whose condition has cleared. 关闭报警处置。"""
    _act(ActKind.RESOLVE, alert_id, note, the_home(home), as_json)


@facts.command("list")
@reported
def list_facts(
    mine: Annotated[str | None, typer.Option(help="Only of this mine / 矿")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List facts in the order in which they were recorded. 列出事实。"""
    from sqlalchemy import select

    from greenmine.office import state_of
    from greenmine.store import schema

    query = select(schema.fact).order_by(schema.fact.c.id)
    if mine is not None:
        query = query.where(schema.fact.c.mine == mine)
    with state_of(the_home(home)) as connection:
        rows = [_fact(dict(row)) for row in connection.execute(query).mappings()]
    columns = headed("id", "mine", "kind", "subject", "valid_from", "valid_to", "recorded_at", "by", "reason")
    listing(rows, columns, as_json, "no facts / 没有记录")


@facts.command("add")
@reported
def add_fact(
    mine: Annotated[str, typer.Option(help="Mine / 矿")],
    kind: Annotated[FactKind, typer.Option(help="What kind of fact / 类别")],
    subject: Annotated[str, typer.Option(help="device, device/metric or device/metric/channel / 对象")],
    reason: Annotated[str, typer.Option(help="Why / 原因")],
    valid_from: Annotated[str, typer.Option("--from", help="RFC 3339, e.g. 2026-11-22T08:00:00+08:00 / 起")],
    valid_to: Annotated[str | None, typer.Option("--to", help="RFC 3339; open if left out / 止")] = None,
    body: Annotated[str, typer.Option(help="Details as a JSON object / 细节")] = "{}",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record a fact. It is never changed; a later one corrects it. 记录事实。"""
    from greenmine.office import PRINCIPAL, office

    fact = {
        "mine": mine,
        "kind": kind.value,
        "subject": subject,
        "valid_from_ns": fact_time("--from", valid_from),
        "valid_to_ns": None if valid_to is None else fact_time("--to", valid_to),
        "reason": reason,
        "body": _object(body),
    }
    with office(the_home(home)) as desk:
        found = desk.act(Act(ActKind.FACT, PRINCIPAL, body=fact))
    if as_json:
        print_json(found)
    else:
        out.print(f"fact {found['id']} recorded / 已记录")


def _act(kind: ActKind, alert_id: str, note: str, home: Home, as_json: bool) -> None:
    from greenmine.office import PRINCIPAL, office

    with office(home) as desk:
        alert = desk.act(Act(kind, PRINCIPAL, alert_id, note or f"by {getpass.getuser()}"))
    if as_json:
        print_json(alert)
    else:
        out.print(f"{alert['id']}: {alert['condition']}, {alert['handling']}", highlight=False)


def _alert(alert: Any) -> dict[str, Any]:
    from greenmine.web.api_models import alert_out

    return alert_out(alert).model_dump()


def _short(row: dict[str, Any]) -> dict[str, str]:
    place = f"{row['mine']}/{row['device']}" + (f"@{row['channel']}" if row["channel"] else "")
    finding = "" if row["value"] is None else f"{row['value']:g} / {row['limit']:g} {row['unit']}"
    return {"raised": short_time(row["raised_at"]), "where": place, "finding": finding}


def _fact(row: dict[str, Any]) -> dict[str, Any]:
    for name in ("valid_from", "valid_to", "recorded_at"):
        moment_ns = row.pop(f"{name}_ns")
        row[name] = None if moment_ns is None else to_rfc3339(moment_ns)
    row["body"] = json.loads(row["body"])
    return row


def fact_time(option: str, text: str) -> int:
    """A time of an option. Raises Refused."""
    try:
        return from_rfc3339(text)
    except DecodeRefused as refused:
        raise Refused("time", f"{option} {text!r}: {refused.detail}") from refused


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Refused("body", f"--body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Refused("body", "--body is not a JSON object")
    return found
