"""`greenmine devices waiting`: devices that speak and that nobody has registered."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from greenmine.core.act import Act, ActKind
from greenmine.core.errors import NotFound
from greenmine.core.waiting import Network, WaitingDevice, canonical_address
from greenmine.home import Home
from greenmine.terminal import HomeOption, JsonOption, listing, out, print_json, reported, short_time, the_home

app = typer.Typer(no_args_is_help=True, help="Unregistered devices that wait for approval / 待审批设备")

Address = Annotated[str, typer.Argument(help="Address as `waiting list` shows it / 地址")]
NetworkOption = Annotated[Network | None, typer.Option("--network", help="Where two networks know it / 网络")]
NoteOption = Annotated[str, typer.Option("--note", help="Why / 说明")]


@app.command("list")
@reported
def list_waiting(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List devices that nobody has registered, heard last first. 列出未登记设备。"""
    from greenmine.office import state_of
    from greenmine.store import waiting
    from greenmine.web.api_devices import waiting_fields

    with state_of(the_home(home)) as connection:
        rows = [waiting_fields(one) for one in waiting.listed(connection)]
    if not as_json:
        rows = [{**row, "seen": short_time(row["last_seen"]), "sent": _sent(row["values"])} for row in rows]
    columns = [
        ("network", "network / 网络"),
        ("address", "address / 地址"),
        ("seen", "last seen / 最近"),
        ("messages", "messages / 消息"),
        ("sent", "values / 数值"),
    ]
    listing(rows, columns, as_json, "nobody waits / 没有待审批设备")


@app.command()
@reported
def show(address: Address, network: NetworkOption = None, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show one of them, with YAML that could register it. 查看设备及登记示例。"""
    from greenmine.ingest.device_suggestion import suggest_device
    from greenmine.web.api_devices import waiting_fields

    device = _find(the_home(home), address, network)
    suggestion = suggest_device(device)
    if as_json:
        print_json({**waiting_fields(device), "suggestion": suggestion})
        return
    for key, value in waiting_fields(device).items():
        shown = _sent(value) if key == "values" else "" if value is None else value
        out.print(f"{key:>12}  {shown}", markup=False, highlight=False)
    out.print("\n# under devices: of the mine's policy / 写入该矿策略的 devices 下", markup=False, highlight=False)
    out.print(suggestion, markup=False, highlight=False)


@app.command()
@reported
def approve(
    address: Address,
    mine: Annotated[str, typer.Option(help="Mine / 矿")],
    device: Annotated[str, typer.Option(help="Device that the mine's policy names / 策略中的设备")],
    network: NetworkOption = None,
    replay: Annotated[bool, typer.Option(help="Read its dead letters again / 重放其死信")] = True,
    note: NoteOption = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which registered device an address of another network is. 批准：将地址绑定到已登记设备。"""
    found = the_home(home)
    key = _key(found, address, network)
    detail = _decide(found, ActKind.APPROVE_DEVICE, {**key, "mine": mine, "device": device, "replay": replay}, note)
    if as_json:
        print_json(detail)
        return
    out.print(f"{detail['network']} {detail['address']} is {mine}/{device} / 已批准", markup=False, highlight=False)
    replayed = detail.get("replayed")
    if replayed:
        told = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in replayed.items())
        out.print(f"dead letters read again / 已重放: {told}", highlight=False)
    if "not_replayed" in detail:
        out.print(f"its dead letters were not read again / 未重放: {detail['not_replayed']}", markup=False)


@app.command()
@reported
def reject(
    address: Address,
    network: NetworkOption = None,
    note: NoteOption = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take one off the list for good, until somebody approves it. 拒绝并不再列出。"""
    found = the_home(home)
    detail = _decide(found, ActKind.REJECT_DEVICE, _key(found, address, network), note)
    if as_json:
        print_json(detail)
    else:
        out.print(f"{detail['network']} {detail['address']} rejected / 已拒绝", markup=False, highlight=False)


def _decide(home: Home, kind: ActKind, body: dict[str, Any], note: str) -> dict[str, Any]:
    from greenmine.office import PRINCIPAL, office

    with office(home) as desk:
        return desk.act(Act(kind, PRINCIPAL, note=note, body=body))


def _key(home: Home, address: str, network: Network | None) -> dict[str, str]:
    """Network and address; where the network is left out, of the device that waits."""
    if network is None:
        device = _find(home, address, None)
        return {"network": device.network.value, "address": device.address}
    return {"network": network.value, "address": address}


def _find(home: Home, address: str, network: Network | None) -> WaitingDevice:
    from greenmine.office import state_of
    from greenmine.store import waiting

    with state_of(home) as connection:
        found = [
            one
            for one in waiting.listed(connection)
            if network in (None, one.network) and one.address == canonical_address(one.network, address)
        ]
    if not found:
        raise NotFound(f"{address!r} is not on the waiting list; `greenmine devices waiting list` shows who is")
    if len(found) > 1:
        networks = ", ".join(one.network.value for one in found)
        raise NotFound(f"{address!r} waits in more than one network: add --network, one of {networks}")
    return found[0]


def _sent(values: list[dict[str, Any]]) -> str:
    words = [
        f"{one['name']} {'-' if one['value'] is None else format(one['value'], 'g')} {one['unit'] or ''}".strip()
        for one in values
    ]
    return ", ".join(words)
