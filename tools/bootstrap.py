#!/usr/bin/env python3
"""Makes `.venv` from requirements.lock and installs the project into it; does nothing where that is done already.

    python3 tools/bootstrap.py

Only the standard library, and written so that Python 3.6 can still read it: an old `python3` gets as far as finding a
newer one or saying which is needed. The stamp `.venv/bootstrap.json` is written last and atomically, so a run that was
interrupted is simply done again; a lock keeps two runs apart.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

OLDEST, NEWEST = (3, 11), (3, 13)  # what requirements.lock was resolved for
ROOT = Path(__file__).resolve().parent.parent
CANDIDATES = ("python3.13", "python3.12", "python3.11", "python3", "python")
# What would send pip's installs elsewhere or change what the new interpreter sees.
DISTURBING = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PIP_USER",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_NO_DEPS",
)
NETWORK_WORDS = (
    "connection",
    "name resolution",
    "name or service not known",
    "timed out",
    "network is unreachable",
    "proxyerror",
    "could not find a version",
    "max retries exceeded",
)


class SetupError(Exception):
    """What went wrong and what to do about it."""


def version_text(version):
    return ".".join(str(part) for part in version)


def suitable(version):
    return OLDEST <= tuple(version[:2]) <= NEWEST


def find_python():
    """Path and (major, minor) of the Python to build with: the running one where it fits, else one found on PATH."""
    running = sys.version_info[:2]
    # Out of a virtual environment, which may be the very one that is about to be replaced, to the Python it came from.
    base = getattr(sys, "_base_executable", None) or sys.executable
    if suitable(running):
        return base, running
    for name in CANDIDATES:
        path = shutil.which(name)
        version = ask_version(path) if path else None
        if version and suitable(version):
            print(f"setup: python3 is {version_text(running)}, using {name} ({version_text(version)})")
            return path, version
    if running > NEWEST:
        print(f"setup: Python {version_text(running)} is newer than what was tried ({version_text(NEWEST)})")
        return base, running
    raise SetupError(
        "this is Python {} ({}), greenmine needs {} to {}, and no {} is on PATH.\n"
        "Install one (Debian: apt install python3 python3-venv; macOS: brew install python@3.13), or name it:\n"
        "    make setup PYTHON=/path/to/python3.13".format(
            version_text(sys.version_info[:3]),
            sys.executable,
            version_text(OLDEST),
            version_text(NEWEST),
            " or ".join(CANDIDATES[:3]),
        )
    )


def ask_version(path):
    """(major, minor) that the interpreter at `path` reports, or None where it does not run (pyenv's shims)."""
    try:
        out = subprocess.run(
            [path, "-c", "import sys; print(sys.version_info[0], sys.version_info[1])"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=20,
            check=True,
        ).stdout.split()
        return int(out[0]), int(out[1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def wanted_stamp(root, version):
    """What the environment depends on: `packages` is all that the lock and Python decide, `project` the rest."""

    def digest(name):
        try:
            return hashlib.sha256((root / name).read_bytes()).hexdigest()
        except OSError as error:
            raise SetupError(f"cannot read {root / name}: {error.strerror}; is this a whole checkout?") from None

    return {
        "packages": {"requirements.lock": digest("requirements.lock"), "python": version_text(version)},
        "project": {"pyproject.toml": digest("pyproject.toml"), "root": str(root)},
    }


def present_stamp(venv):
    """The stamp of a finished environment whose interpreter still runs, or {}."""
    if not python_of(venv).exists():  # follows the link: false when the Python it was made from is gone
        return {}
    try:
        stamp = json.loads((venv / "bootstrap.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def python_of(venv):
    return venv / "bin" / "python"


@contextlib.contextmanager
def only_one(root):
    """Hold the lock of this checkout; it lies on this very file, so it leaves nothing behind."""
    try:
        import fcntl
    except ImportError:
        raise SetupError("this needs Linux or macOS; on Windows use WSL") from None
    with open(str(root / "tools" / "bootstrap.py"), "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("setup: another set-up of this folder is running, waiting for it", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def environment():
    kept = {name: value for name, value in os.environ.items() if name not in DISTURBING}
    kept.update(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1")
    return kept


def run(command, log=os.devnull, on_line=None):
    """Run, with all output into `log` and each line to `on_line`. Raises SetupError with the end of the output."""
    tail = []
    with open(str(log), "a", encoding="utf-8") as file:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            errors="replace",
            env=environment(),
        )
        with process:
            for line in process.stdout:
                file.write(line)
                tail = [*tail[-24:], line.rstrip()]
                if on_line:
                    on_line(line)
    if process.returncode != 0:
        raise SetupError(explain(process.returncode, tail, log))


def explain(code, tail, log):
    output = "\n".join(tail)
    lower = output.lower()
    text = f"a step ended with code {code}:\n\n{output}\n"
    if log != os.devnull:
        text += f"\nThe whole output is in {log}."
    if "do not match the hashes" in lower or "hashes are required" in lower:
        return text + "\nA package is not the one that requirements.lock names. Nothing of it was installed."
    if "no space left" in lower:
        return text + "\nThe disk is full; about 1.5 GB are needed."
    if "ensurepip" in lower or "no module named venv" in lower:
        return text + "\nThis Python comes without venv. On Debian and Ubuntu: apt install python3-venv"
    if any(word in lower for word in NETWORK_WORDS):
        return text + (
            "\nThe package index was not reached. Check the network, or a mirror in PIP_INDEX_URL, a proxy in"
            " HTTPS_PROXY; then run it again."
        )
    return text


class Progress:
    """A line per package and phase of pip's output: counted in place on a terminal, one in ten in a log."""

    def __init__(self, total):
        self.total = total
        self.seen = 0
        self.live = sys.stdout.isatty()

    def line(self, line):
        found = re.match(r"Collecting ([A-Za-z0-9._-]+)", line)
        if found:
            self.seen += 1
            self.show(f"downloading {min(self.seen, self.total)}/{self.total} {found.group(1)}")
        elif line.startswith("Building wheel for"):
            self.show(f"building {line.split()[3]}", always=True)
        elif line.startswith("Installing collected packages"):
            self.show("installing {} packages".format(line.count(",") + 1), always=True)

    def show(self, text, always=False):
        if self.live:
            sys.stdout.write(f"\r\033[K  {text}")
            sys.stdout.flush()
        elif always or self.seen % 10 == 1:
            print("  " + text, flush=True)

    def end(self):
        if self.live:
            sys.stdout.write("\r\033[K")


def build_packages(venv, python, root):
    """A new environment with exactly what the lock names."""
    if venv.exists() and not (venv / "pyvenv.cfg").exists():
        raise SetupError(f"{venv} exists and is not a virtual environment; move it away")
    print(f"setup: making {venv} with {python}", flush=True)
    run([python, "-m", "venv", "--clear", venv])
    lock = root / "requirements.lock"
    total = len(re.findall(r"(?m)^[A-Za-z0-9]", lock.read_text(encoding="utf-8")))
    print(f"setup: installing {total} locked packages, about a minute the first time", flush=True)
    progress = Progress(total)
    try:
        pip(venv, progress.line, "--require-hashes", "--progress-bar", "off", "-r", lock)
    finally:
        progress.end()


def pip(venv, on_line, *arguments):
    # -I: the folders of this checkout must not be importable in pip, -u: progress as it happens
    run([python_of(venv), "-I", "-u", "-m", "pip", "install", *arguments], venv / "bootstrap.log", on_line)


def install_project(venv, root):
    print("setup: installing greenmine itself", flush=True)
    pip(venv, None, "--no-deps", "--no-build-isolation", "-e", root)


def write_stamp(venv, stamp):
    """Last of all, and whole or not at all."""
    new = venv / "bootstrap.json.new"
    with open(str(new), "w", encoding="utf-8") as file:
        json.dump(stamp, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(str(new), str(venv / "bootstrap.json"))


def bootstrap(root):
    """Bring `.venv` under `root` up to date; True where there was something to do."""
    python, version = find_python()
    venv, wanted = root / ".venv", wanted_stamp(root, version)
    if present_stamp(venv) == wanted:
        return False
    with only_one(root):
        present = present_stamp(venv)
        if present == wanted:  # the run that was waited for did it
            return False
        started = time.monotonic()
        if present.get("packages") != wanted["packages"] or present.get("project", {}).get("root") != str(root):
            with contextlib.suppress(OSError):
                (venv / "bootstrap.json").unlink()
            build_packages(venv, python, root)
        install_project(venv, root)
        write_stamp(venv, wanted)
        print(f"setup: ready after {time.monotonic() - started:.0f} s", flush=True)
    return True


def main():
    try:
        bootstrap(ROOT)
    except SetupError as error:
        print(f"\nsetup failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
