"""The commands of docs/certificates.md do what it says, in its order; its files are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from greenmine.authority import new_request
from greenmine.settings import load_settings
from greenmine.terminal import BAD_INPUT, FAILED
from tests.service_rig import running
from tests.unit.test_cli import gm

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "certificates.md").read_text(encoding="utf-8")
PARTS = dict(zip(("English", "中文"), TEXT.split("\n## ")[1:], strict=True))


def commands(part: str) -> list[list[str]]:
    """The shell lines that call greenmine, here or in its container, without what the shell does with the output."""
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```$", PARTS[part])
    lines = [line.partition(" > ")[0] for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("greenmine ")]


@pytest.mark.parametrize("part", PARTS)
def test_the_commands_work_in_their_order(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dust-n1.csr").write_text(new_request("its own")[1])
    serial = ""
    with running(tmp_path / "home", ROOT / "examples" / "shifan-1.yaml", with_mqtt=False):
        for words in commands(part):
            ran = [serial if before == "--serial" else word for before, word in zip(["", *words], words, strict=False)]
            done = gm(*ran, "--home", tmp_path / "home")
            assert done.code == 0, (words, done.err)
            found = re.search(r"serial / 序列号 +([0-9a-f]+)", done.out)
            serial = serial or (found[1] if found and "--certificate" in words else "")
    assert {path.name for path in Path("keys").iterdir()} == {
        *("ca.crt", "shifan-1.dust-s1.key", "shifan-1.dust-s1.crt", "shifan-1.dust-n1.crt")
    }
    assert {path.name for path in Path("broker").iterdir()} == {"ca.crt", "server.key", "server.crt"}


def test_both_languages_have_the_same_commands() -> None:
    assert len(commands("English")) == 12
    assert commands("English") == commands("中文")


def test_the_commands_for_the_container_exist() -> None:
    inside = re.findall(r"(?m)^docker compose exec greenmine greenmine (.*)$", TEXT)
    assert len(inside) == 2
    for line in inside:
        assert gm(*shlex.split(line), "--help").code not in (BAD_INPUT, FAILED)


@pytest.mark.parametrize("part", PARTS)
def test_the_settings_are_settings(part: str, tmp_path: Path) -> None:
    (shown,) = re.findall(r"(?ms)^```yaml\n(.*?)^```$", PARTS[part])
    for number, text in enumerate((shown, shown.replace("\n    # ", "\n    "), shown.replace("optional", "required"))):
        (tmp_path / f"{number}.yaml").write_text(text, encoding="utf-8")
        tls = load_settings(tmp_path / f"{number}.yaml").mqtt.tls
        assert tls is not None
        assert (tls.host, tls.port) == ("0.0.0.0", 8883)


def test_every_link_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", TEXT) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
