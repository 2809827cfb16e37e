"""`greenmine run` and `greenmine demo`."""

from __future__ import annotations

import gc
import signal
import threading
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from greenmine.core.errors import StoreUnavailable, UserError
from greenmine.policy.duration import parse_duration
from greenmine.terminal import FAILED, HomeOption, err, print_line, reported

DEFAULT_FOR_S = 0


def _spare_the_collector() -> None:
    """Let the collector of cycles leave alone what lives as long as the process, and look less often: readings make no
    cycles, and by its defaults it took a tenth of the CPU time of ingest."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@reported
def run(
    config: Annotated[
        Path, typer.Option("--config", help="Settings file; see examples/service/greenmine.yaml / 配置文件")
    ],
    home: HomeOption = None,
) -> None:
    """Run the service until it is told to stop (Ctrl-C, SIGTERM). 运行服务。"""
    from greenmine.home import Home
    from greenmine.logs import configure_logs
    from greenmine.service import Service, load_policies
    from greenmine.settings import home_of, load_settings

    settings = load_settings(config)
    configure_logs(settings.log_level)
    service = Service(Home(home_of(home, settings)), settings, load_policies(settings.policies))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        service.start()
        _spare_the_collector()
        _announce(service)
        while not stop.wait(0.5) and not service.failed.is_set():
            pass
    finally:
        _stop(service)
        gc.unfreeze()  # or the frozen outlive their libraries, and DuckDB's binding reports them as leaked
    if service.failure is not None:
        err.print(f"greenmine: stopped: {service.failure}", style="red", markup=False, highlight=False)
        raise typer.Exit(FAILED)
    err.print("stopped / 已停止")


def _stop(service: Any) -> None:
    """Stop it; what goes wrong with that after a failure follows from it, and the failure is what has to be said."""
    try:
        service.stop()
    except StoreUnavailable as error:
        if service.failure is None:
            raise
        err.print(f"greenmine: at the end: {error}", markup=False, highlight=False)


@reported
def demo(
    for_: Annotated[str, typer.Option("--for", help="How long, e.g. 60s; until Ctrl-C if left out / 时长")] = "0s",
    speed: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds of demo time a second / 倍速")] = 60.0,
    headless: Annotated[bool, typer.Option("--headless", help="No live screen / 无界面")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Last line is a JSON summary / 末行输出 JSON")] = False,
    data: Annotated[
        Path | None, typer.Option(help="Replay real files from this folder to their end / 真实数据")
    ] = None,
    scenario: Annotated[str, typer.Option(help="See `greenmine simulate list` / 场景")] = "dust-episode",
    home: Annotated[
        Path | None,
        typer.Option("--home", help="Folder without a home in it yet; a new temporary one if left out / 数据目录"),
    ] = None,
) -> None:
    """Show a watched mine: everything in one process, in a fresh home. 演示。"""
    from greenmine.demo import Demo, DemoPlan
    from greenmine.logs import configure_logs

    configure_logs("warning")
    try:
        duration_s = float(parse_duration(for_))
    except ValueError as error:
        raise UserError(f"--for: {error}") from error
    if headless and duration_s == 0 and data is None:
        raise UserError("--headless needs --for, e.g. --for 60s")
    plan = DemoPlan(duration_s, speed, headless, data, scenario, home)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn(),
        console=err, transient=headless,
    )  # fmt: skip
    task = bar.add_task("数据回放 / replay", total=None, visible=data is not None)
    show = Demo(plan, progress=lambda done, total: bar.update(task, completed=done, total=total))
    # A second Ctrl-C ends at once; the first ends in good order. So does SIGTERM, also where Ctrl-C is ignored (`&`).
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        show.start()
        if data is not None:
            with bar:
                _wait(show, 0.0)
        elif headless:
            _wait(show, duration_s)
        elif not err.is_terminal:
            # Nothing to draw on; what has to be known is said in lines.
            _announce(show.service)
            _wait(show, duration_s)
        else:
            from greenmine.demo_screen import watch

            watch(show, err, duration_s)
    except KeyboardInterrupt:
        err.print("ending / 正在结束 …")
    summary = show.finish()
    if as_json:
        print_line(summary)
    else:
        _tell(summary)


def _wait(show: Any, duration_s: float) -> None:
    left_s = duration_s or float("inf")
    while left_s > 0 and not show.wait(min(0.5, left_s)):
        left_s -= 0.5


def _announce(service: Any) -> None:
    err.print(f"home / 数据目录: {service.home.path}", markup=False, highlight=False)
    if service.first_admin_password is not None:
        err.print(f"first login / 首次登录: admin  {service.first_admin_password}", markup=False, highlight=False)
        err.print("shown this once; it must be changed at the first login / 仅显示一次，首次登录须修改")
    if service.web is not None:
        err.print(f"board / 看板: {service.web.url}", highlight=False)
    if service.broker is not None:
        err.print(f"mqtt: {service.broker.host}:{service.broker.port}", highlight=False)


def _tell(summary: dict[str, Any]) -> None:
    alerts = summary.pop("alerts")
    home = summary.pop("home")
    err.print("  ".join(f"{name} {count}" for name, count in summary.items()), highlight=False)
    err.print("alerts / 报警: " + "  ".join(f"{name} {count}" for name, count in alerts.items()), highlight=False)
    err.print(f"home / 数据目录: {home}", highlight=False)
