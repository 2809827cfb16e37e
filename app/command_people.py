"""`greenmine users`, `greenmine devices`, `greenmine audit`: accounts, and the record of what everybody did."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from greenmine.command_certificates import DaysOption, provision_certificate
from greenmine.core.clock import SystemClock, to_rfc3339
from greenmine.core.user import Role
from greenmine.home import Home
from greenmine.terminal import (
    FAILED,
    HomeOption,
    JsonOption,
    err,
    headed,
    listing,
    out,
    print_json,
    reported,
    short_time,
    the_home,
)

users = typer.Typer(no_args_is_help=True, help="People's accounts / 用户")
devices = typer.Typer(no_args_is_help=True, help="Devices' MQTT accounts / 设备账号")
audit = typer.Typer(no_args_is_help=True, help="The tamper-evident record / 审计记录")
SHOWN_ONCE = "shown this once; it must be changed at the first login / 仅显示一次，首次登录须修改"


@users.command("add")
@reported
def add_user(
    name: Annotated[str, typer.Argument(help="User name / 用户名")],
    role: Annotated[Role, typer.Option(help="admin, operator or viewer / 角色")] = Role.OPERATOR,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a person; prints a random first password. 添加用户。"""
    from greenmine.office import office

    with office(the_home(home)) as desk:
        found = desk.administer("users.add", {"name": name, "role": role.value})
    _shown_once(found, as_json)


@users.command("list")
@reported
def list_users(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List people. 列出用户。"""
    from greenmine.administration import user_json
    from greenmine.office import state_of
    from greenmine.store import users as user_table

    with state_of(the_home(home)) as connection:
        rows = [user_json(user) for user in user_table.listed(connection)]
    listing(rows, headed("name", "role", "created_at", "must_change_password"), as_json, "no users / 没有用户")


@users.command("reset")
@reported
def reset_user(
    name: Annotated[str, typer.Argument(help="User name / 用户名")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a person a new random password and end his sessions. 重置密码。"""
    from greenmine.office import office

    with office(the_home(home)) as desk:
        found = desk.administer("users.reset", {"name": name})
    _shown_once(found, as_json)


@devices.command("provision")
@reported
def provision(
    mine: Annotated[str | None, typer.Option(help="Mine / 矿")] = None,
    device: Annotated[str | None, typer.Option(help="Device; all of the mine if left out / 设备")] = None,
    service: Annotated[str | None, typer.Option(help="A service instead of a device / 服务账号")] = None,
    bridge: Annotated[str | None, typer.Option(help="chirpstack, tts or sparkplug, with NAME / 网桥账号")] = None,
    name: Annotated[str | None, typer.Argument(help="Account of a bridge / 网桥账号名")] = None,
    certificate: Annotated[
        bool, typer.Option("--certificate", help="A key and certificate instead of a password / 证书代替密码")
    ] = False,
    csr: Annotated[
        Path | None, typer.Option("--csr", help="The device's own request (PEM), which is signed / 证书请求")
    ] = None,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the certificate's files / 证书目录")] = Path(),
    days: DaysOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make MQTT accounts (or new passwords) for registered devices, a service or a bridge. 生成设备账号。

    A bridge may use the topics of its network and nothing else: application/#, v3/# or spBv1.0/#. A certificate is of
    one device, needs `greenmine devices ca init` once, and its key is not kept here.
    """
    from greenmine.office import office

    if certificate or csr:
        if mine is None or device is None or (service, bridge) != (None, None):
            raise typer.BadParameter("a certificate is of one device: give --mine and --device")
        provision_certificate(the_home(home), mine, device, csr, out_dir, days, as_json)
        _say_when(the_home(home))
        return
    if (mine, service, bridge).count(None) != 2 or (bridge is None) != (name is None):
        raise typer.BadParameter("give either --mine (and --device), or --service, or --bridge and a NAME")
    if bridge:
        wanted: dict[str, Any] = {"bridge": bridge, "name": name}
    else:
        wanted = {"service": service} if service else {"mine": mine, **({"device": device} if device else {})}
    with office(the_home(home)) as desk:
        rows = desk.administer("devices.provision", wanted)
    listing(
        rows,
        [("account", "user = client id / 账号"), ("password", "password / 密码")],
        as_json,
        "no devices / 没有设备",
    )
    if not as_json:
        err.print("passwords are shown this once / 密码仅显示一次")
    _say_when(the_home(home))


@devices.command("list")
@reported
def list_devices(
    everything: Annotated[bool, typer.Option("--all", help="Also devices without an account / 含无账号设备")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List devices: MQTT accounts, instruments, places, calibrations. 列出设备账号、仪器、位置与校准。"""
    from greenmine.device_listing import device_rows
    from greenmine.office import state_of

    with state_of(the_home(home)) as connection:
        rows = device_rows(connection, SystemClock().wall_ns(), everything)
    if not as_json:
        rows = [{**row, **_certificate_shown(row), "calibrated": _metrics(row)} for row in rows]
    names = ["account", "mine", "device", "bridge", "created_at", "revoked_at", "certificate", "certificate_until"]
    names += ["serial", "position", "calibrated"]
    listing(rows, headed(*names), as_json, "no device accounts / 没有设备账号")


def _metrics(row: dict[str, Any]) -> str:
    return ", ".join(one["metric"] for one in row["calibrations"])


def _certificate_shown(row: dict[str, Any]) -> dict[str, Any]:
    """The serial and the end of the certificate that lasts longest of those that were not revoked."""
    valid = [one for one in row["certificates"] if one["revoked_at"] is None]
    if not valid:
        return {}
    return {"certificate": valid[0]["serial"], "certificate_until": short_time(valid[0]["not_after"])}


@devices.command("revoke")
@reported
def revoke(
    account: Annotated[str, typer.Argument(help="Account, {mine}.{device} / 账号")],
    serial: Annotated[
        str | None, typer.Option("--serial", help="Only this certificate; the account stays / 仅撤销此证书")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take an account's rights away at once, password and certificates. 撤销账号及其证书。"""
    from greenmine.office import office

    with office(the_home(home)) as desk:
        wanted = {"account": account} if serial is None else {"account": account, "serial": serial.lower()}
        found = desk.administer("devices.revoke", wanted)
    if as_json:
        print_json(found)
    else:
        out.print(f"{found['account']} revoked / 已撤销")
    _say_when(the_home(home))


@audit.command()
@reported
def verify(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Follow the hash chain; names the first entry that does not fit. 校验审计链。"""
    from greenmine.office import state_of
    from greenmine.store import audit as audit_chain

    with state_of(the_home(home)) as connection:
        report = audit_chain.verify(audit_chain.rows(connection))
    if as_json:
        print_json(report._asdict())
    elif report.broken_no is None:
        out.print(f"{report.entries} entries fit / 条记录完整; head {report.head}", highlight=False)
    else:
        err.print(f"entry {report.broken_no} is broken / 记录被改动: {report.reason}", style="red", highlight=False)
    if report.broken_no is not None:
        raise typer.Exit(FAILED)


@audit.command()
@reported
def export(home: HomeOption = None) -> None:
    """All entries as JSON lines. 导出审计记录。"""
    from greenmine.office import state_of
    from greenmine.store import audit as audit_chain

    with state_of(the_home(home)) as connection:
        for row in audit_chain.rows(connection):
            # The body as its text: it is what was hashed, and a tampered one need not be JSON.
            line = {**row._asdict(), "at": to_rfc3339(row.at_ns)}
            sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")


def _say_when(home: Home) -> None:
    """A broker outside this process is told of accounts by the service."""
    if home.running_service() is None:
        err.print("no service runs here: the broker learns of this when it starts / 服务未运行，启动后生效")


def _shown_once(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        out.print(f"{found['name']}  {found['password']}", highlight=False, markup=False)
        err.print(SHOWN_ONCE)
