"""The same accounts and grants written for mosquitto: a password file and an ACL file, each topic in full; where there
is a certificate authority, also its certificate and its revocation list."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from greenmine.ingest.gate import Account, granted_topics

PASSWORD_FILE = "passwords"  # noqa: S105 - a file name
ACL_FILE = "acl"
AUTHORITY_FILE = "ca.crt"
REVOCATION_FILE = "crl.pem"


def write_mosquitto_files(
    folder: Path, accounts: Iterable[Account], trust: tuple[bytes, bytes] | None = None
) -> tuple[Path, Path]:
    """Write the files (mode 0600, each replaced atomically); mosquitto reads the first two again on SIGHUP. `trust`:
    the authority's certificate and revocation list in PEM, which are left as they are where they say that already,
    because mosquitto has to be started anew for them."""
    folder.mkdir(parents=True, exist_ok=True)
    ordered = sorted(accounts)
    passwords = "".join(f"{one.name}:{one.password_hash}\n" for one in ordered if one.password_hash)
    acl = "".join(_acl(account) for account in ordered)
    if trust is not None:
        for name, content in zip((AUTHORITY_FILE, REVOCATION_FILE), trust, strict=True):
            path = folder / name
            if not path.exists() or path.read_bytes() != content:
                _replace(path, content.decode("ascii"))
    return _replace(folder / PASSWORD_FILE, passwords), _replace(folder / ACL_FILE, acl)


def _acl(account: Account) -> str:
    if not account.mine:
        trees = "".join(f"topic readwrite {tree}#\n" for tree in account.trees)
        return f"user {account.name}\n{trees}" + ("topic read $SYS/#\n\n" if account.is_service else "\n")
    writes, reads = granted_topics(account.mine, account.device)
    lines = [f"user {account.name}", *(f"topic write {t}" for t in writes), *(f"topic read {t}" for t in reads)]
    return "\n".join(lines) + "\n\n"


def _replace(path: Path, text: str) -> Path:
    fresh = path.with_name(path.name + ".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(handle, 0o600)  # one that a crash left behind may have another mode
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    return path
