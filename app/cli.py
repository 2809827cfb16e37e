"""The command line: puts the commands together. Each command imports what it needs, so that `--help` is quick."""

from __future__ import annotations

from typing import Annotated

import typer

import greenmine
from greenmine import (
    command_alerts,
    command_certificates,
    command_dead_letters,
    command_decode,
    command_facts,
    command_ingest,
    command_journal,
    command_look,
    command_people,
    command_policy,
    command_readings,
    command_rules,
    command_run,
    command_simulate,
    command_waiting,
)

app = typer.Typer(
    name="greenmine",
    help="Environmental monitoring of mines / 矿山环境监测",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"greenmine {greenmine.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Version / 版本")
    ] = False,
) -> None:
    """Environmental monitoring of mines. 矿山环境监测。"""


app.command()(command_run.demo)
app.command()(command_run.run)
app.command()(command_look.doctor)
app.command()(command_look.tail)
app.command()(command_decode.decode)
app.add_typer(command_policy.app, name="policy")
app.add_typer(command_rules.app, name="rules")
app.add_typer(command_readings.app, name="readings")
app.add_typer(command_alerts.app, name="alerts")
app.add_typer(command_dead_letters.app, name="dead-letters")
app.add_typer(command_ingest.gaps, name="gaps")
app.add_typer(command_ingest.ingest, name="ingest")
app.add_typer(command_facts.app, name="facts")
app.add_typer(command_journal.app, name="journal")
app.add_typer(command_people.users, name="users")
command_people.devices.add_typer(command_waiting.app, name="waiting")
command_people.devices.add_typer(command_certificates.ca, name="ca")
app.add_typer(command_people.devices, name="devices")
app.add_typer(command_people.audit, name="audit")
app.add_typer(command_simulate.app, name="simulate")
