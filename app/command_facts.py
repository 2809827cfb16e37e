"""`greenmine facts calibrate|replace|move`: the facts about devices that people record often, without writing JSON."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from greenmine.command_alerts import fact_time
from greenmine.command_alerts import facts as app
from greenmine.core.act import Act, ActKind
from greenmine.core.errors import Refused
from greenmine.core.fact import FactKind
from greenmine.terminal import HomeOption, JsonOption, out, print_json, reported, the_home

__all__ = ["app"]

Mine = Annotated[str, typer.Option(help="Mine / 矿")]
Device = Annotated[str, typer.Option(help="Device / 设备")]
Since = Annotated[str, typer.Option("--from", help="RFC 3339, e.g. 2026-11-22T08:00:00+08:00 / 生效时间")]
Until = Annotated[str | None, typer.Option("--to", help="RFC 3339; open if left out / 失效时间")]
Reason = Annotated[str, typer.Option(help="Why / 原因")]
Corrects = Annotated[int | None, typer.Option(help="Id of an earlier fact that this one corrects / 更正的记录编号")]


@app.command()
@reported
def calibrate(
    mine: Mine,
    device: Device,
    metric: Annotated[str, typer.Option(help="Metric / 指标")],
    slope: Annotated[float, typer.Option(help="calibrated = slope * raw + offset / 斜率")],
    offset: Annotated[float, typer.Option(help="In the metric's canonical unit / 截距（规范单位）")],
    since: Since,
    until: Until = None,
    channel: Annotated[str, typer.Option(help="Channel; all if left out / 通道")] = "",
    certificate: Annotated[str, typer.Option(help="Number of the certificate / 检定证书编号")] = "",
    reason: Reason = "calibration / 校准",
    corrects: Corrects = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record a calibration; raw values stay, calibrated ones stand beside them. 记录校准。"""
    subject = "/".join(part for part in (device, metric, channel) if part)
    body = _body(corrects, slope=slope, offset=offset, certificate=certificate)
    _record(FactKind.CALIBRATION, mine, subject, since, until, reason, body, home, as_json)


@app.command()
@reported
def replace(
    mine: Mine,
    device: Device,
    serial: Annotated[str, typer.Option(help="Serial number of the new instrument / 新仪器编号")],
    since: Since,
    model: Annotated[str, typer.Option(help="Its model / 型号")] = "",
    previous_serial: Annotated[str, typer.Option("--previous", help="Serial number of the former / 原仪器编号")] = "",
    reason: Reason = "replacement / 更换仪器",
    corrects: Corrects = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record that another instrument stands in the device's place; series go on, calibrations end. 记录更换。"""
    body = _body(corrects, serial=serial, model=model, previous_serial=previous_serial)
    _record(FactKind.REPLACEMENT, mine, device, since, None, reason, body, home, as_json)


@app.command()
@reported
def move(
    mine: Mine,
    device: Device,
    position: Annotated[str, typer.Option(help="Longitude,latitude in degrees, WGS 84 / 经度,纬度")],
    since: Since,
    place: Annotated[str, typer.Option(help="In words / 地点说明")] = "",
    reason: Reason = "relocation / 迁移",
    corrects: Corrects = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record that a device stands elsewhere; its series go on. 记录设备迁移。"""
    try:
        longitude, latitude = (float(part) for part in position.split(","))
    except ValueError as error:
        raise Refused("position", f"--position {position!r}: write longitude,latitude, e.g. 110.21,39.68") from error
    body = _body(corrects, position=[longitude, latitude], place=place)
    _record(FactKind.DEVICE_MOVE, mine, device, since, None, reason, body, home, as_json)


def _body(corrects: int | None, **given: Any) -> dict[str, Any]:
    found = {name: value for name, value in given.items() if value != ""}
    return found if corrects is None else {**found, "corrects": corrects}


def _record(
    kind: FactKind,
    mine: str,
    subject: str,
    since: str,
    until: str | None,
    reason: str,
    body: dict[str, Any],
    home: Any,
    as_json: bool,
) -> None:
    from greenmine.office import PRINCIPAL, office

    fact = {
        "mine": mine,
        "kind": kind.value,
        "subject": subject,
        "valid_from_ns": fact_time("--from", since),
        "valid_to_ns": None if until is None else fact_time("--to", until),
        "reason": reason,
        "body": body,
    }
    with office(the_home(home)) as desk:
        found = desk.act(Act(ActKind.FACT, PRINCIPAL, body=fact))
    if as_json:
        print_json(found)
    else:
        out.print(f"fact {found['id']} recorded / 已记录")
