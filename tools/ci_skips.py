"""Fails where a real program is there and tests that need it did not run: `python tools/ci_skips.py REPORT PROGRAM...`.

A skipped test is green; where `.ci/run` has installed the program, that would hide that nothing was tried. REPORT is
pytest's JUnit file, in which `tests/conftest.py` names the programs of each test.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path


def problems(report: ET.Element, programs: Iterable[str]) -> list[str]:
    """One line for each test that was skipped though its program is there, and for each program that no test used."""
    found = []
    for program in programs:
        ran = 0
        for case in report.iter("testcase"):
            if not any(p.get("name") == "program" and p.get("value") == program for p in case.iter("property")):
                continue
            skipped = case.find("skipped")
            if skipped is None:
                ran += 1
            else:
                name = f"{case.get('classname')}::{case.get('name')}"
                found.append(f"{program} is installed, yet {name} was skipped: {skipped.get('message')}")
        if ran == 0:
            found.append(f"{program} is installed, yet no test that needs it ran")
    return found


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    found = problems(ET.parse(Path(sys.argv[1])).getroot(), sys.argv[2:])
    print("\n".join(found) if found else f"tests with {', '.join(sys.argv[2:])} did run")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
