"""What is installed is what is in the repository, and the lock says all that is needed and no more."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
FOLDER_OF: dict[str, str] = SETUPTOOLS["package-dir"]
ROOMS = sorted(p.parent.name for p in ROOT.glob("*/__init__.py") if p.parent.name != "tests")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, str]:
    """Name to the block of the lock that pins it."""
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", LOCK)[1:]
    return {normal(re.match(r"[A-Za-z0-9._-]+", block)[0]): block for block in blocks}  # type: ignore[index]


def test_every_room_is_packaged_from_its_folder() -> None:
    assert len(ROOMS) > 5
    assert {FOLDER_OF[p]: p for p in FOLDER_OF if (ROOT / FOLDER_OF[p] / "__init__.py").exists()} == {
        room: "greenmine" if room == "app" else f"greenmine.{room}" for room in ROOMS
    }


def test_the_list_of_packages_and_their_folders_agree() -> None:
    assert sorted(SETUPTOOLS["packages"]) == sorted(FOLDER_OF)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_flat(room: str) -> None:
    deeper = [p for p in (ROOT / room).rglob("*.py") if p.parent != ROOT / room and "__pycache__" not in p.parts]
    assert deeper == []


def test_no_module_of_app_hides_a_room() -> None:
    modules = {p.stem for p in (ROOT / "app").glob("*.py")} | {p.name for p in (ROOT / "app").iterdir() if p.is_dir()}
    assert modules & (set(ROOMS) | {p.partition(".")[2] for p in FOLDER_OF}) == set()


@pytest.mark.parametrize("room", ROOMS)
def test_a_rooms_first_page_is_short_and_says_what_it_is_for(room: str) -> None:
    text = (ROOT / room / "__init__.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 20
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("room", ROOMS)
def test_importing_a_source_folder_by_its_own_name_is_forbidden(room: str) -> None:
    """`import core.x` would make second classes beside those of `greenmine.core.x`."""
    assert room in PROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "app"])
def test_a_room_has_its_contract_of_imports(room: str) -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter", encoding="utf-8")
    contract = contracts[f"importlinter:contract:{room}"]
    assert contract["source_modules"] == f"greenmine.{room}"
    assert contract["forbidden_modules"] == "greenmine.*"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "build_wheel.py"), str(out)], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(out.glob("*.whl"))) as file:
        yield file


def of_the_repository(room: str, *patterns: str) -> set[str]:
    """Paths in the wheel of the files of a room."""
    inside = "greenmine" if room == "app" else f"greenmine/{room}"
    found = (path for pattern in patterns for path in (ROOT / room).glob(pattern))
    return {f"{inside}/{path.relative_to(ROOT / room).as_posix()}" for path in found if path.is_file()}


def test_the_wheel_has_every_module_and_nothing_else_of_the_repository(wheel: zipfile.ZipFile) -> None:
    expected = set().union(*(of_the_repository(room, "*.py") for room in ROOMS))
    modules = {name for name in wheel.namelist() if name.endswith(".py")}
    assert modules == expected
    assert {name.partition("/")[0] for name in wheel.namelist()} == {
        "greenmine",
        f"greenmine-{importlib.metadata.version('greenmine')}.dist-info",
    }


@pytest.mark.parametrize(
    ("folder", "patterns"),
    [
        ("app", ["py.typed"]),
        ("web", ["templates/**/*", "static/**/*"]),
        ("simulator", ["data/**/*"]),
        ("examples", ["**/*.yaml"]),
    ],
)
def test_the_wheel_has_the_data(wheel: zipfile.ZipFile, folder: str, patterns: list[str]) -> None:
    expected = {name for name in of_the_repository(folder, *patterns) if "__pycache__" not in name}
    assert expected
    assert expected <= set(wheel.namelist())


def test_the_wheel_names_licence_command_and_python(wheel: zipfile.ZipFile) -> None:
    info = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")).removesuffix("METADATA")
    metadata = wheel.read(f"{info}METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert f"{info}licenses/LICENSE" in wheel.namelist()
    assert "greenmine = greenmine.__main__:main" in wheel.read(f"{info}entry_points.txt").decode()


def test_the_licence_is_the_whole_apache_licence() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert all(f"\n   {section}. " in text for section in range(1, 10))


def test_the_lock_pins_every_package_with_hashes() -> None:
    packages = locked()
    assert len(packages) > 50
    for name, block in packages.items():
        assert re.match(r"[A-Za-z0-9._-]+==[^ ;\\]+", block), name
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", block), name
        assert not re.search(r"--hash=(?!sha256:)", block), name


def test_the_lock_names_no_place_to_download_from() -> None:
    assert "://" not in LOCK
    assert "--index" not in LOCK
    assert "--find-links" not in LOCK
    assert "make lock" in LOCK.splitlines()[1]


def test_the_lock_has_all_that_the_project_asks_for() -> None:
    project = PROJECT["project"]
    asked = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    names = {normal(re.match(r"[A-Za-z0-9._-]+", requirement)[0]) for requirement in asked}  # type: ignore[index]
    assert names <= set(locked())
    assert "setuptools" in locked()  # or --no-build-isolation has nothing to build with


@pytest.mark.parametrize("name", ["niquests", "urllib3-future", "urllib3_future", "grafana-api"])
def test_what_breaks_other_packages_stays_out_of_the_lock(name: str) -> None:
    assert normal(name) not in locked()
    assert f"    #   {name}" not in LOCK


def test_no_lock_of_another_kind_is_kept() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert {"uv.lock", "pylock.toml", ".env", ".venv/"} <= set(ignored)
