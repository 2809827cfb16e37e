"""The home: the folder in which a service keeps its journal, its state, its readings and its secrets."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenmine.core.errors import ConfigError

LOCK_WAIT_S = 2.0
"""How long a home may be held by another command, which is soon done, before that is an error."""
_LOCK_TRY_EVERY_S = 0.05
_REFERENCE = re.compile(r"secret:([A-Za-z0-9_.-]{1,64})", re.ASCII)


@dataclass(frozen=True)
class Home:
    """Paths of a home."""

    path: Path

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.path / "journal.db"

    @property
    def archive(self) -> Path:
        """What left the journal's file, compressed."""
        return self.path / "archive"

    @property
    def ballast(self) -> Path:
        """Room that is given up when the disk is full."""
        return self.path / "ballast"

    @property
    def state(self) -> Path:
        """The relational state's file."""
        return self.path / "state.db"

    @property
    def readings(self) -> Path:
        """The embedded store of readings."""
        return self.path / "readings.duckdb"

    @property
    def secrets(self) -> Path:
        """Secrets made at the first start."""
        return self.path / "secrets"

    @property
    def authority(self) -> Path:
        """The certificate authority for devices, where one was made."""
        return self.path / "ca"

    @property
    def service_file(self) -> Path:
        """How the command line finds a running service: URL, token, process id; mode 0600."""
        return self.path / "service.json"

    def make(self) -> None:
        """Create the folder, for its owner only.

        Raises:
            ConfigError: it cannot be created or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.secrets.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise self.unusable(error) from error

    def must_exist(self) -> None:
        """Say so where there is nothing yet.

        Raises:
            ConfigError: nothing was ever started here, or it belongs to somebody else.
        """
        try:
            there = self.state.exists()
        except OSError as error:
            raise self.unusable(error) from error
        if not there:
            raise ConfigError(
                f"there is no greenmine home at {self.path}; start one with `greenmine run` or `greenmine demo`, "
                "or name yours with --home or GREENMINE_HOME"
            )

    def running_service(self) -> dict[str, Any] | None:
        """What `service.json` says, while its service holds the lock; None where none runs."""
        if not self.is_locked():
            return None
        try:
            found: dict[str, Any] = json.loads(self.service_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found

    def is_locked(self) -> bool:
        """Whether a process holds this home."""
        try:
            with (self.path / "lock").open("rb") as handle:
                # Shared, so that two who only look are not in each other's way.
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except BlockingIOError:
            return True
        except OSError as error:
            raise self.unusable(error) from error
        return False

    def unusable(self, error: OSError) -> ConfigError:
        """The words for a home that the system does not let us use."""
        return ConfigError(
            f"the home {self.path} cannot be used: {error.strerror}; run this as its owner, or name another with --home"
        )


class HomeLock:
    """One process at a time writes a home; the lock ends with the process, however it ends.

    Raises:
        ConfigError: another process holds it.
    """

    def __init__(self, home: Home, wait_s: float = LOCK_WAIT_S) -> None:
        self._home = home
        try:
            self._handle = os.open(home.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise home.unusable(error) from error
        try:
            self._take(wait_s)
            # Left behind by a holder that was killed: it would lead commands to a service that is gone.
            home.service_file.unlink(missing_ok=True)
        except BlockingIOError as error:
            os.close(self._handle)
            raise ConfigError(
                f"another greenmine process holds the home {home.path}; stop it first, or wait until it is done"
            ) from error
        except OSError as error:
            os.close(self._handle)
            raise home.unusable(error) from error

    def _take(self, wait_s: float) -> None:
        until_s = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until_s:
                    raise
                time.sleep(_LOCK_TRY_EVERY_S)
            else:
                return

    def announce(self, url: str, token: str) -> None:
        """Write `service.json`."""
        text = json.dumps({"url": url, "token": token, "pid": os.getpid()})
        write_private(self._home.service_file, text)

    def release(self) -> None:
        """Let go, and take `service.json` away."""
        self._home.service_file.unlink(missing_ok=True)
        os.close(self._handle)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, replacing it as a whole."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


class SecretFiles:
    """Resolves `secret:NAME` from files: the given folders, systemd's credentials, the home's own."""

    def __init__(self, home: Home, folders: list[Path]) -> None:
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        self._folders = [*folders, *([Path(credentials)] if credentials else []), home.secrets]
        self._own = home.secrets

    def resolve(self, reference: str) -> str:
        """The secret behind `secret:NAME`.

        Raises:
            ConfigError: no such file, or not a reference; names the folders that were looked into, never a value.
        """
        reference_to = _REFERENCE.fullmatch(reference)
        if reference_to is None:
            # What stands there may be the secret itself, so it is not repeated.
            raise ConfigError("a secret is written as secret:NAME, with its value in a file of that name (mode 0600)")
        name = reference_to[1]
        for folder in self._folders:
            path = folder / name
            try:
                if not path.is_file():
                    continue
                value = path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
                raise ConfigError(f"the secret {path} cannot be read: {reason}") from error
            if not value:
                raise ConfigError(f"the secret {path} is empty")
            return value
        looked = ", ".join(str(folder) for folder in self._folders)
        raise ConfigError(
            f"secret {name!r} is missing; put it into a file of that name (mode 0600) in one of: {looked}"
        )

    def make(self, name: str) -> str:
        """The home's own secret of this name, made at random at the first call."""
        path = self._own / name
        kept = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
        if kept:
            return kept
        value = secrets.token_urlsafe(32)
        write_private(path, value + "\n")
        return value
