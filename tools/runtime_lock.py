"""The part of requirements.lock that the project needs at run time: `python tools/runtime_lock.py [NAME...] > FILE`.

The lock holds the extras and the development tools too, which have no business in a production image. What a package is
there for stands under it (`# via`); followed backwards from the project's own dependencies, or from NAMEs, that gives
the rest. It may keep a package too many (one that only an extra of a dependency asks for), never one too few.
Only the standard library.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def normal(name: str) -> str:
    """PEP 503: one spelling a name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement: str) -> str:
    """The package that a requirement line asks for."""
    found = _NAME.match(requirement.strip())
    if found is None:
        raise ValueError(f"not a requirement: {requirement!r}")
    return normal(found[0])


def blocks_of(lock: str) -> dict[str, str]:
    """Package name to its lines: the pin with markers, the hashes, and what it is there for."""
    return {name_of(block): block for block in re.split(r"(?m)^(?=[A-Za-z0-9])", lock)[1:]}


def users_of(block: str) -> set[str]:
    """The packages named after `# via`."""
    said = re.findall(r"(?m)^ +#(?: via)? +([A-Za-z0-9._-]+)(?: \(.*\))?$", block)
    return {normal(name) for name in said if name != "via"}


def subset(lock: str, wanted: Iterable[str]) -> str:
    """The lock's lines for `wanted` and all they need. Raises KeyError for a package that the lock has not."""
    blocks = blocks_of(lock)
    kept = {normal(name) for name in wanted}
    for name in kept:
        blocks[name]
    while True:
        more = {name for name, block in blocks.items() if name not in kept and users_of(block) & kept}
        if not more:
            return "".join(blocks[name] for name in sorted(kept))
        kept |= more


def main() -> int:
    names = sys.argv[1:]
    if not names:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        names = [name_of(requirement) for requirement in project["dependencies"]]
    sys.stdout.write(subset((ROOT / "requirements.lock").read_text(encoding="utf-8"), names))
    return 0


if __name__ == "__main__":
    sys.exit(main())
