"""`greenmine doctor` and `greenmine tail`: what is reachable and what to do; raw and decoded, live."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from greenmine.core.clock import SystemClock
from greenmine.core.errors import ConfigError, GreenmineError, StoreUnavailable
from greenmine.home import Home
from greenmine.terminal import FAILED, HomeOption, JsonOption, err, out, print_json, print_line, reported, the_home

if TYPE_CHECKING:
    from greenmine.settings import Settings


@reported
def doctor(
    config: Annotated[Path | None, typer.Option("--config", help="Also check these settings / 配置文件")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at everything the service needs; says what to do about what is wrong. 检查环境与服务。"""
    settings, read = (None, []) if config is None else _settings(config)
    target = the_home(home, settings)
    # By name: what the running service says of its policies is replaced by what the file would make of them.
    found = (*_machine(target), *_certificates(target), *_service(target), *read)
    checks = {check["name"]: check for check in found}
    _report(list(checks.values()), as_json)


def _report(checks: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(checks)
    else:
        for check in checks:
            warned = check["ok"] and check.get("warn")
            mark = (
                "[red]FAIL[/red]" if not check["ok"] else "[yellow]warn[/yellow]" if warned else "[green]ok  [/green]"
            )
            out.print(f"{mark} {check['name']:<10} {escape(str(check['detail']))}", highlight=False)
            if warned or not check["ok"]:
                out.print(f"                → {escape(str(check['advice']))}", highlight=False)
    if not all(check["ok"] for check in checks):
        raise typer.Exit(FAILED)


@reported
def tail(
    mine: Annotated[str | None, typer.Option(help="Only this mine / 矿")] = None,
    device: Annotated[str | None, typer.Option(help="Only this device / 设备")] = None,
    home: HomeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line a message / 每条消息一行 JSON")] = False,
) -> None:
    """Show messages as they come, raw and decoded; for installers. 实时查看原始与解码数据。"""
    from greenmine.installer import Installer, devices_of
    from greenmine.office import RemoteOffice

    target = the_home(home)
    running = target.running_service()
    if running is None:
        raise ConfigError(f"no service runs at {target.path}; start one with `greenmine run`, or name its --home")
    err.print("waiting for messages, Ctrl-C ends / 等待消息，Ctrl-C 结束")
    service = RemoteOffice(target, running["url"], running["token"])
    installer = Installer(service.registered)
    try:
        for message in service.stream(mine, device):
            if mine not in (None, message["mine"]) or device not in (None, *devices_of(message)):
                continue
            if as_json:
                print_line(message)
                sys.stdout.flush()
            else:
                for line in installer.lines(message):
                    out.print(line.text, markup=False, highlight=False, style=line.style)
    except KeyboardInterrupt:
        err.print("")
    else:
        raise StoreUnavailable("the service has ended")


def _machine(home: Home) -> list[dict[str, Any]]:
    from greenmine.operations import disk_check, sqlite_check

    version = ".".join(map(str, sys.version_info[:3]))
    found = [_check("python", sys.version_info >= (3, 11), version, "install Python 3.11 or newer")]
    found.append(sqlite_check()._asdict())
    there = home.state.exists()
    advice = "`greenmine run` or `greenmine demo` makes one; or name yours with --home or GREENMINE_HOME"
    found.append(_check("home", there, f"{home.path}{'' if there else ' (nothing there yet)'}", advice))
    if there:
        found.append(disk_check(home)._asdict())
    return found


def _certificates(home: Home) -> list[dict[str, Any]]:
    """Where the home has an authority."""
    from greenmine.authority import Authority
    from greenmine.certificate_expiry import expiry
    from greenmine.office import state_of
    from greenmine.store import certificates

    authority = Authority(home.authority)
    if not authority.exists:
        return []
    try:
        until_ns = authority.shown().not_after_ns
        with state_of(home) as connection:
            found = expiry(certificates.listed(connection), until_ns, SystemClock().wall_ns())
            revoked = set(certificates.revoked(connection))
    except GreenmineError as error:
        return [_check("certificates", False, str(error), "look at the folder `ca` of the home")]
    checks = [{"name": "certificates", **found._asdict()}]
    if authority.revoked() != revoked:
        detail = "the revocation list lacks what was revoked / 吊销列表不是最新"
        advice = (
            "put ca.key back into the folder `ca` of the home and start the service again / 请放回 ca.key 并重启服务"
        )
        checks.append(_check("revocations", False, detail, advice))
    return checks


def _service(home: Home) -> list[dict[str, Any]]:
    running = home.running_service()
    if running is None:
        return [_check("service", False, "not running", "start it with `greenmine run --config FILE`")]
    from greenmine.office import RemoteOffice

    try:
        return list(RemoteOffice(home, running["url"], running["token"]).checks())
    except GreenmineError as error:
        return [_check("service", False, str(error), "look at its log; `kill` the process if it hangs")]


def _settings(config: Path) -> tuple[Settings | None, list[dict[str, Any]]]:
    from greenmine.service import load_policies
    from greenmine.settings import load_settings

    advice = "mend the file; `greenmine policy check FILE` looks again"
    try:
        settings = load_settings(config)
    except GreenmineError as error:
        return None, [_check("settings", False, str(error), advice)]
    found = [_check("settings", True, str(config), "")]
    try:
        found.append(_check("policies", True, f"{len(load_policies(settings.policies))} mines", ""))
    except GreenmineError as error:
        found.append(_check("policies", False, str(error), advice))
    return settings, found


def _check(name: str, ok: bool, detail: str, advice: str) -> dict[str, Any]:
    return {"name": name, "ok": ok, "detail": detail, "advice": advice}
