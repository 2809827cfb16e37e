#!/usr/bin/env python3
"""Makes the secrets of docker-compose.yml in deploy/secrets: random passwords, and certificates for MQTT over TLS.

    python3 deploy/make_secrets.py --host broker.example.org --host 203.0.113.7

--host names what devices call this machine; localhost and the name inside compose are in the certificate anyway. What
exists is left as it is, so it can be run again. Needs the openssl program for the certificates; put your own
mqtt-ca.crt, mqtt-server.crt and mqtt-server.key there instead if you have them.

The folder is for its owner only (0700), which closes all that is in it. The files that containers read are 0444 inside
it: compose binds such files as they are, and each image reads them as a user of its own. The authority's key, which no
container gets, is 0400. Back the folder up; nothing in it can be made again.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

PASSWORDS = ("grafana-password", "influxdb-password", "influxdb-token", "mqtt-ingest")
ALWAYS_NAMED = ("localhost", "127.0.0.1", "mosquitto")
CA_DAYS, SERVER_DAYS = 3650, 825
CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class CannotMake(Exception):
    """What is missing or went wrong, and what to do."""


def place(path: Path, content: bytes, mode: int) -> None:
    """Write `path` whole or not at all; an existing one is never replaced."""
    handle, fresh = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.link(fresh, path)
    finally:
        os.unlink(fresh)


def openssl(*arguments: str | Path) -> None:
    try:
        command = ["openssl", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the operator's own
    except OSError as error:
        raise CannotMake("the openssl program is missing; install it, or put your own certificates there") from error
    if done.returncode != 0:
        raise CannotMake(f"openssl {arguments[0]} failed:\n{done.stderr.strip()}")


def alternative_name(host: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(host)}"
    except ValueError:
        if not host or not all(c.isascii() and (c.isalnum() or c in ".-") for c in host):
            raise CannotMake(f"--host {host!r} is neither a host name nor an address") from None
        return f"DNS:{host}"


def make_authority(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as work:
        key, certificate = Path(work) / "key", Path(work) / "crt"
        subject = ("-subj", "/O=greenmine/CN=greenmine device authority")
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        openssl("req", "-x509", *CURVE, "-keyout", key, "-out", certificate, "-days", str(CA_DAYS), *subject, *usage)
        (folder / "mqtt-ca.key").unlink(missing_ok=True)  # of a run that broke off: the certificate comes last
        place(folder / "mqtt-ca.key", key.read_bytes(), 0o400)
        place(folder / "mqtt-ca.crt", certificate.read_bytes(), 0o444)


def make_server(folder: Path, hosts: list[str]) -> None:
    if not (folder / "mqtt-ca.key").exists():
        raise CannotMake("mqtt-ca.crt is yours, so sign a mqtt-server.crt and mqtt-server.key with it yourself")
    names = ",".join(dict.fromkeys(alternative_name(host) for host in (*hosts, *ALWAYS_NAMED)))
    with tempfile.TemporaryDirectory(dir=folder) as work:
        key, request, certificate, extensions = (Path(work) / name for name in ("key", "csr", "crt", "ext"))
        extensions.write_text(
            f"subjectAltName={names}\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n"
            "keyUsage=critical,digitalSignature\nauthorityKeyIdentifier=keyid\n",
            encoding="ascii",
        )
        openssl("req", "-new", *CURVE, "-keyout", key, "-out", request, "-subj", "/O=greenmine/CN=mosquitto")
        authority = ("-CA", folder / "mqtt-ca.crt", "-CAkey", folder / "mqtt-ca.key", "-set_serial", serial())
        days = ("-days", str(SERVER_DAYS))
        openssl("x509", "-req", "-in", request, "-out", certificate, *authority, *days, "-extfile", extensions)
        (folder / "mqtt-server.key").unlink(missing_ok=True)
        place(folder / "mqtt-server.key", key.read_bytes(), 0o444)
        place(folder / "mqtt-server.crt", certificate.read_bytes(), 0o444)


def serial() -> str:
    return hex(secrets.randbits(127) | 1 << 126)


def make_all(folder: Path, hosts: list[str]) -> list[str]:
    """Make what is missing; returns the names of what was made."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    before = {path.name for path in folder.iterdir()}
    for name in PASSWORDS:
        if name not in before:
            place(folder / name, secrets.token_hex(32).encode(), 0o444)
    if "mqtt-ca.crt" not in before:
        make_authority(folder)
    if "mqtt-server.crt" not in before:
        make_server(folder, hosts)
    elif hosts:
        print("mqtt-server.crt is there and keeps its names; for others move it and mqtt-server.key away first")
    return sorted({path.name for path in folder.iterdir()} - before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", action="append", default=[], help="a name or address of this machine (repeatable)")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "secrets")
    options = parser.parse_args()
    try:
        made = make_all(options.out, options.host)
    except (CannotMake, OSError) as error:
        print(f"cannot make the secrets in {options.out}: {error}", file=sys.stderr)
        return 1
    print(f"{options.out}: made {', '.join(made)}" if made else f"{options.out}: all is there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
