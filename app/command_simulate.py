"""`greenmine simulate`: scenarios and load, published to any broker."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from greenmine.core.clock import NS_PER_S, ScaledClock, SystemClock
from greenmine.core.errors import UserError
from greenmine.policy.duration import parse_duration
from greenmine.terminal import FAILED, JsonOption, err, listing, out, print_json, reported

app = typer.Typer(no_args_is_help=True, help="Simulated sensors / 模拟传感器")
Broker = Annotated[str, typer.Option("--broker", help="mqtt://host:port or mqtts://host:port / 消息服务器")]
Passwords = Annotated[
    Path,
    typer.Option("--passwords", help="JSON of {account: password}, as `devices provision --json` gives it / 账号文件"),
]


@app.command("list")
@reported
def list_scenarios_(as_json: JsonOption = False) -> None:
    """List the shipped scenarios. 列出场景。"""
    from greenmine.simulator.scenario import list_scenarios

    rows = [
        {"name": s.name, "title_zh": s.title.zh, "title_en": s.title.en, "duration_s": s.duration, "seed": s.seed}
        for s in list_scenarios()
    ]
    columns = [("name", "name / 名称"), ("title_zh", "场景"), ("title_en", "scenario"), ("duration_s", "seconds / 秒")]
    listing(rows, columns, as_json, "no scenarios / 没有场景")


@app.command("run")
@reported
def run_scenario(
    scenario: Annotated[str, typer.Argument(help="Name or file / 场景")],
    broker: Broker,
    passwords: Passwords,
    policies: Annotated[
        list[Path] | None, typer.Option("--policies", help="Policy files; the examples if left out")
    ] = None,
    speed: Annotated[
        float,
        typer.Option(min=0.1, max=3600, help="Seconds of scenario a second; a service on real time wants 1 / 倍速"),
    ] = 1.0,
    ca_file: Annotated[Path | None, typer.Option(help="Certificate authority for mqtts / 证书")] = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a scenario's sensors over MQTT, paced by the clock. 运行场景。"""
    from greenmine.policy.load import EXAMPLES
    from greenmine.service import load_policies
    from greenmine.simulator.publish import MqttPublisher, run_live
    from greenmine.simulator.run import messages
    from greenmine.simulator.scenario import load_scenario

    chosen = load_scenario(scenario)
    if speed > 1:
        _tell(
            "faster than time: a service on real time quarantines what is more than 5 minutes ahead; see `demo --speed`"
        )
    mines = list(load_policies(policies or [EXAMPLES]).values())
    system = SystemClock()
    start_ns = chosen.start_ns(system.wall_ns())
    clock = ScaledClock(system, speed, start_ns)
    stream = messages(mines, chosen, start_ns, start_ns + chosen.duration * NS_PER_S)
    with MqttPublisher(broker, _passwords(passwords), tell=_tell, ca_file=ca_file) as publisher:
        sent = run_live(stream, publisher, clock, _until_interrupted())
        drained = publisher.drain(30.0)
        counts = {"published": sent, "acknowledged": publisher.acknowledged}
    if as_json:
        print_json(counts)
    else:
        out.print(", ".join(f"{name} {count}" for name, count in counts.items()))
    if not drained:
        raise typer.Exit(FAILED)


@app.command()
@reported
def load(
    broker: Broker,
    passwords: Passwords,
    rate: Annotated[float, typer.Option(min=0.1, max=100_000, help="Readings a second / 每秒数据量")] = 1000.0,
    sensors: Annotated[int, typer.Option(min=1, max=100_000, help="Sensors / 传感器数")] = 100,
    for_: Annotated[str, typer.Option("--for", help="How long, e.g. 30s / 时长")] = "30s",
    batch: Annotated[int, typer.Option(min=1, max=1000, help="Readings a message / 每条消息数据量")] = 1,
    devices: Annotated[int, typer.Option(min=1, max=10_000, help="Devices that share the sensors / 设备数")] = 10,
    mine: Annotated[str, typer.Option(help="Mine id / 矿")] = "load",
    as_json: JsonOption = False,
) -> None:
    """Publish at a fixed rate (open loop) to measure a service. Its mine must be registered: `simulate load-policy`."""
    from greenmine.simulator.load import LoadPlan, run_load

    duration_s = _seconds(for_)
    plan = LoadPlan(rate, sensors, duration_s, batch, devices, (), mine)
    result = run_load(plan, broker, _passwords(passwords), SystemClock(), _until_interrupted())
    if as_json:
        print_json(result._asdict())
    else:
        for name, value in result._asdict().items():
            out.print(f"{name:>22}  {value}", highlight=False)
    if result.acknowledged < result.sent:
        raise typer.Exit(FAILED)


@app.command("load-policy")
@reported
def print_load_policy(
    sensors: Annotated[int, typer.Option(min=1, max=100_000, help="Sensors / 传感器数")] = 100,
    devices: Annotated[int, typer.Option(min=1, max=10_000, help="Devices that share them / 设备数")] = 10,
    rate: Annotated[float, typer.Option(min=0.1, max=100_000, help="Readings a second / 每秒数据量")] = 1000.0,
    mine: Annotated[str, typer.Option(help="Mine id / 矿")] = "load",
) -> None:
    """Print the policy of the mine that `simulate load` publishes for (JSON, which is YAML). 输出负载试验矿的策略。"""
    from greenmine.simulator.load import LoadPlan, load_policy_document

    print_json(load_policy_document(LoadPlan(rate, sensors, 1.0, 1, devices, (), mine)))


def _passwords(path: Path) -> Callable[[str], str | None]:
    import json

    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from error
    rows = found if isinstance(found, list) else [{"account": k, "password": v} for k, v in found.items()]
    known = {row["account"]: row["password"] for row in rows}

    def password(account: str) -> str | None:
        if account not in known:
            raise UserError(f"{path} has no password of {account}; run `greenmine devices provision --json`")
        return str(known[account])

    return password


def _until_interrupted() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _seconds(text: str) -> float:
    try:
        return float(parse_duration(text))
    except ValueError as error:
        raise UserError(f"--for: {error}") from error


def _tell(text: str) -> None:
    err.print(text, markup=False, highlight=False)
