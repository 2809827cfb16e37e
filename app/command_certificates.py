"""`greenmine devices ca`, and `devices provision` with certificates: keys are made here, where they are handed out;
only requests go to the service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from greenmine.core.errors import ConfigError
from greenmine.home import Home
from greenmine.terminal import HomeOption, JsonOption, err, out, print_json, reported, short_time, the_home

ca = typer.Typer(no_args_is_help=True, help="A private certificate authority / 私有证书机构")
DaysOption = Annotated[int | None, typer.Option("--days", min=1, help="How long it is valid / 有效天数")]


@ca.command("init")
@reported
def init(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Make the authority of this home: EC P-256, 10 years. 创建证书机构。"""
    from greenmine.office import office

    target = the_home(home)
    with office(target) as desk:
        made = desk.administer("ca.init", {})
    _tell(made, [target.authority / "ca.crt"], as_json)
    err.print("whoever has ca.key can be any device: back it up unseen / 私钥 ca.key 可冒充任何设备，请妥善备份")


@ca.command("show")
@reported
def show(
    pem: Annotated[bool, typer.Option("--pem", help="The certificate itself, to be given away / 输出证书")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the authority's certificate, which devices and brokers need. 查看证书机构。"""
    from greenmine.authority import Authority
    from greenmine.certification import signed_json

    target = the_home(home)
    target.must_exist()
    shown = Authority(target.authority).shown()
    if pem and not as_json:
        typer.echo(shown.pem, nl=False)
        return
    _tell({**signed_json(shown), **({"pem": shown.pem} if pem else {})}, [target.authority / "ca.crt"], as_json)


@ca.command("server")
@reported
def server(
    host: Annotated[list[str], typer.Option("--host", help="What devices call the broker (repeatable) / 主机名")],
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder; the home's ca if left out / 目录")] = None,
    days: DaysOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Issue a broker's certificate with a new key: server.key, server.crt. 签发服务器证书。"""
    from greenmine.authority import new_request

    target = the_home(home)
    key, request = new_request(host[0])
    wanted = {"request": request, "hosts": host, **({} if days is None else {"days": days})}
    _issue(target, "ca.server", wanted, (out_dir or target.authority) / "server", key, as_json)


def provision_certificate(
    home: Home, mine: str, device: str, csr: Path | None, out_dir: Path, days: int | None, as_json: bool
) -> None:
    """A device's certificate, for a key made here or for the one that a request proves. The key is written into
    `out_dir` (0600) and nowhere else.

    Raises:
        ConfigError: a file of that name is there already.
    """
    from greenmine.authority import new_request

    key, request = (None, _read(csr)) if csr is not None else new_request(f"{mine}.{device}")
    wanted = {"mine": mine, "device": device, "request": request, **({} if days is None else {"days": days})}
    _issue(home, "devices.certify", wanted, out_dir / f"{mine}.{device}", key, as_json)


def _issue(home: Home, operation: str, wanted: dict[str, Any], stem: Path, key: str | None, as_json: bool) -> None:
    from greenmine.office import office

    key_file, certificate_file = (stem.with_name(stem.name + ending) for ending in (".key", ".crt"))
    for path in (certificate_file, *([key_file] if key is not None else [])):
        if path.exists():
            raise ConfigError(f"{path} is there already; move it away, or name another folder with --out")
    with office(home) as desk:
        stem.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if key is not None:
            _write_new(key_file, key)
        try:
            made = desk.administer(operation, wanted)
        except BaseException:
            if key is not None:
                key_file.unlink()
            raise
    _write_new(certificate_file, made.pop("pem"))
    authority_file, authority = stem.with_name("ca.crt"), made.pop("authority")
    if not authority_file.exists():
        _write_new(authority_file, authority)
    elif authority_file.read_text(encoding="utf-8", errors="replace") != authority:
        err.print(f"{authority_file} is of another authority and was left / 未覆盖另一机构的证书", markup=False)
    _tell(made, [*([key_file] if key is not None else []), certificate_file, authority_file], as_json)


def _write_new(path: Path, text: str) -> None:
    """Write a file that only its owner may read and that was not there before."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> str:
    try:
        return path.read_bytes()[:65_536].decode("ascii")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no certificate request (PKCS #10) in PEM") from error


def _tell(made: dict[str, Any], files: list[Path], as_json: bool) -> None:
    if as_json:
        print_json({**made, "files": [str(path) for path in files]})
        return
    if "account" in made:
        out.print(f"{made['account']}", highlight=False, markup=False)
    out.print(f"serial / 序列号       {made['serial']}", highlight=False)
    out.print(f"SHA-256 / 指纹        {made['fingerprint']}", highlight=False)
    valid = f"{short_time(made['not_before'])} - {short_time(made['not_after'])}"
    out.print(f"valid / 有效期        {valid}", highlight=False)
    for path in files:
        out.print(str(path), highlight=False, markup=False)
