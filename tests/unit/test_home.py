"""The home: its lock, its secrets, who may read it, and how commands find the service that holds it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from greenmine.core.errors import ConfigError
from greenmine.home import Home, HomeLock, SecretFiles, write_private

HOLDER = """
import sys
from pathlib import Path
from greenmine.home import Home, HomeLock
lock = HomeLock(Home(Path(sys.argv[1])))
lock.announce("http://127.0.0.1:1", "t")
print("held", flush=True)
sys.stdin.read()
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    one = Home(tmp_path / "deep" / "home")
    one.make()
    return one


def test_a_home_is_for_its_owner_only(home: Home) -> None:
    assert mode(home.path) == mode(home.secrets) == 0o700
    home.make()


def test_a_home_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used: Not a directory"):
        Home(tmp_path / "file" / "home").make()


def test_a_missing_home_says_how_to_start_one(tmp_path: Path) -> None:
    home = Home(tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"no greenmine home at .*greenmine run.*--home"):
        home.must_exist()
    assert home.running_service() is None
    assert not home.path.exists()


def test_one_process_holds_a_home_and_the_next_is_told(home: Home) -> None:
    lock = HomeLock(home)
    with pytest.raises(ConfigError, match="another greenmine process holds the home"):
        HomeLock(home, wait_s=0)
    lock.release()
    HomeLock(home, wait_s=0).release()


def test_a_command_waits_for_one_that_is_soon_done(home: Home) -> None:
    first = HomeLock(home)
    trying = threading.Event()
    found: list[HomeLock] = []

    def second() -> None:
        trying.set()
        found.append(HomeLock(home, wait_s=30))

    thread = threading.Thread(target=second)
    thread.start()
    assert trying.wait(10)
    first.release()
    thread.join(30)
    assert len(found) == 1
    found[0].release()


def test_looking_does_not_take_the_lock(home: Home) -> None:
    assert not home.is_locked()
    lock = HomeLock(home)
    assert home.is_locked()
    lock.release()
    assert not home.is_locked()


def test_a_service_is_found_while_it_runs_and_not_after_it_was_killed(home: Home) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert home.running_service() == {"url": "http://127.0.0.1:1", "token": "t", "pid": holder.pid}
        assert mode(home.service_file) == 0o600
    finally:
        holder.kill()
        holder.wait(30)
        assert holder.stdin is not None
        holder.stdin.close()
        assert holder.stdout is not None
        holder.stdout.close()
    assert home.service_file.exists()
    assert home.running_service() is None
    # The next holder is not the service that this file speaks of.
    lock = HomeLock(home, wait_s=0)
    assert not home.service_file.exists()
    assert home.running_service() is None
    lock.release()


def test_a_service_file_that_cannot_be_read_is_no_service(home: Home) -> None:
    lock = HomeLock(home)
    home.service_file.write_text("{")
    assert home.running_service() is None
    lock.release()


def test_a_lock_that_cannot_be_opened_is_words(home: Home) -> None:
    (home.path / "lock").mkdir()
    with pytest.raises(ConfigError, match="cannot be used: Is a directory"):
        HomeLock(home)
    with pytest.raises(ConfigError, match="cannot be used: Is a directory"):
        home.is_locked()


def test_a_private_file_is_written_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    (tmp_path / "secret.new").write_text("left behind by a crash")
    umask = os.umask(0)
    try:
        write_private(path, "新")
    finally:
        os.umask(umask)
    assert path.read_text(encoding="utf-8") == "新"
    assert mode(path) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


def test_own_secrets_are_random_private_and_kept(home: Home, tmp_path: Path) -> None:
    secrets = SecretFiles(home, [])
    made = secrets.make("service-token")
    assert len(made) >= 40
    assert secrets.make("service-token") == made == SecretFiles(home, []).resolve("secret:service-token")
    assert mode(home.secrets / "service-token") == 0o600
    other = Home(tmp_path / "other")
    other.make()
    assert SecretFiles(other, []).make("service-token") != made


def test_an_empty_secret_of_its_own_is_made_anew(home: Home) -> None:
    # An empty service token would make an administrator of everybody who sends none.
    (home.secrets / "service-token").write_text("\n")
    assert len(SecretFiles(home, []).make("service-token")) >= 40


def test_secrets_are_looked_for_in_order(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, credentials = tmp_path / "given", tmp_path / "credentials"
    for folder in (given, credentials):
        folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    secrets = SecretFiles(home, [given])
    for folder, value in ((home.secrets, "own"), (credentials, "systemd"), (given, "given")):
        (folder / "smtp").write_text(f" {value}\n")
        assert secrets.resolve("secret:smtp") == value


def test_a_missing_secret_names_where_it_was_looked_for(home: Home, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        SecretFiles(home, [tmp_path / "given"]).resolve("secret:smtp")
    assert str(tmp_path / "given") in str(error.value)
    assert str(home.secrets) in str(error.value)
    assert "'smtp'" in str(error.value)


@pytest.mark.parametrize(
    "reference", ["hunter2", "secret:../hunter2", "secret:", "xsecret:hunter2", "secret:a/hunter2"]
)
def test_what_is_no_reference_is_refused_and_not_repeated(home: Home, reference: str) -> None:
    (home.path / "hunter2").write_text("beside the folder")
    with pytest.raises(ConfigError) as error:
        SecretFiles(home, []).resolve(reference)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(("content", "word"), [(b"\xff\xfe", "not UTF-8"), (b" \n", "is empty")])
def test_a_secret_that_cannot_be_used(home: Home, content: bytes, word: str) -> None:
    (home.secrets / "smtp").write_bytes(content)
    with pytest.raises(ConfigError, match=word):
        SecretFiles(home, []).resolve("secret:smtp")


def test_the_announcement_is_json_for_one_reader(home: Home) -> None:
    lock = HomeLock(home)
    lock.announce("http://127.0.0.1:8080", "token")
    found = json.loads(home.service_file.read_text())
    assert found == {"url": "http://127.0.0.1:8080", "token": "token", "pid": os.getpid()}
    lock.release()
    assert not home.service_file.exists()
