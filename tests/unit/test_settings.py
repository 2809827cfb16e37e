"""Settings from a file and the environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from greenmine.core.errors import ConfigError
from greenmine.settings import Settings, home_of, load_settings

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "service"
Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("GREENMINE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Path:
        path = tmp_path / "greenmine.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def problems(path: Path) -> list[str]:
    """The lines of the error, without the folder."""
    with pytest.raises(ConfigError) as error:
        load_settings(path)
    return [line.replace(f"{path.parent}/", "") for line in str(error.value).splitlines()]


def test_what_is_left_out_has_a_default(write: Write) -> None:
    settings = load_settings(write("policies: []\n"))
    assert (settings.mqtt.mode, settings.mqtt.host, settings.mqtt.port) == ("embedded", "127.0.0.1", 1883)
    assert (settings.web.host, settings.web.port) == ("127.0.0.1", 8080)
    assert settings.store.kind == "duckdb"
    assert settings.home is None


@pytest.mark.parametrize("name", ["greenmine.yaml", "production.yaml"])
def test_the_shipped_examples_load(name: str) -> None:
    settings = load_settings(EXAMPLES / name)
    assert settings.home is not None
    assert all(path.is_absolute() for path in [settings.home, *settings.policies])


def test_paths_are_relative_to_the_file(write: Write) -> None:
    path = write(
        "home: home\npolicies: [../a, /b]\nsecrets_dirs: [s]\nmqtt: {ca_file: ca.pem, accounts_dir: accounts}\n"
    )
    settings = load_settings(path)
    base = path.parent
    assert settings.home == base / "home"
    assert settings.policies == [base / "../a", Path("/b")]
    assert settings.secrets_dirs == [base / "s"]
    assert (settings.mqtt.ca_file, settings.mqtt.accounts_dir) == (base / "ca.pem", base / "accounts")


def test_paths_of_tls_are_relative_to_the_file_too(write: Write) -> None:
    path = write("mqtt: {cert_file: a.crt, key_file: a.key, tls: {cert_file: b.crt, key_file: /b.key, port: 8883}}\n")
    mqtt, base = load_settings(path).mqtt, path.parent
    assert (mqtt.cert_file, mqtt.key_file) == (base / "a.crt", base / "a.key")
    assert mqtt.tls is not None
    assert (mqtt.tls.cert_file, mqtt.tls.key_file) == (base / "b.crt", Path("/b.key"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mqtt: {tls: {cert_file: a.crt}}", "cert_file and key_file go together"),
        ("mqtt: {mode: external, url: 'mqtts://b:8883', tls: {}}", "tls is of the embedded broker"),
        ("mqtt: {tls: {client_certificates: perhaps}}", "mqtt.tls.client_certificates"),
        ("mqtt: {tls: yes}", "mqtt.tls"),
    ],
)
def test_tls_that_cannot_be_is_refused(write: Write, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_settings(write(text + "\n"))


def test_tls_is_off_unless_it_is_asked_for(write: Write) -> None:
    assert load_settings(write("mqtt: {port: 1883}\n")).mqtt.tls is None
    assert load_settings(write("mqtt: {tls: {}}\n")).mqtt.tls is not None


def test_a_tilde_is_the_users_folder(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "li"))
    path = write("home: ~/mine\npolicies: ['~/policies']\n")
    assert load_settings(path).home == tmp_path / "li" / "mine"
    assert load_settings(path).policies == [tmp_path / "li" / "policies"]
    monkeypatch.setenv("GREENMINE_HOME", "~/other")
    assert load_settings(path).home == tmp_path / "li" / "other"
    assert home_of(None) == tmp_path / "li" / "other"


def test_the_environment_wins_over_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("home: from-file\nweb: {host: 0.0.0.0, port: 8080}\nlog_level: info\n")
    monkeypatch.setenv("GREENMINE_WEB__PORT", "9090")
    monkeypatch.setenv("GREENMINE_LOG_LEVEL", "debug")
    monkeypatch.setenv("GREENMINE_MQTT__PORT", "1884")
    settings = load_settings(path)
    assert (settings.web.host, settings.web.port) == ("0.0.0.0", 9090)
    assert settings.log_level == "debug"
    assert (settings.mqtt.mode, settings.mqtt.port) == ("embedded", 1884)


def test_paths_in_the_environment_are_relative_to_the_working_folder(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As for every other command: `GREENMINE_HOME=h greenmine users list` must find the home that `run` made.
    path = write("home: from-file\n")
    monkeypatch.setenv("GREENMINE_HOME", "from-environment")
    settings = load_settings(path)
    assert settings.home == Path("from-environment")
    assert home_of(None, settings) == home_of(None) == Path("from-environment")


def test_an_empty_variable_is_not_set(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENMINE_HOME", "")
    monkeypatch.setenv("HOME", "/home/li")
    assert load_settings(write("log_level: info\n")).home is None
    assert home_of(None) == Path("/home/li/.greenmine")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("home: h\nweb:\n  port: 99999\n", ["greenmine.yaml:3: web.port: Input should be less than or equal to 65535"]),
        ("web:\n  prot: 1\n", ["greenmine.yaml:2: web.prot: there is no such setting"]),
        ("\nfoo: 1\n", ["greenmine.yaml:2: foo: there is no such setting"]),
        (
            "mqtt: {mode: external}\n",
            ["greenmine.yaml:1: mqtt: mode external needs url, e.g. mqtts://broker:8883"],
        ),
        (
            "store:\n  kind: influxdb\n",
            ["greenmine.yaml:1: store: kind influxdb needs url, e.g. http://influxdb:8086"],
        ),
    ],
)
def test_problems_name_file_line_and_field(write: Write, text: str, expected: list[str]) -> None:
    assert problems(write(text)) == expected


def test_every_problem_is_named_at_once(write: Write) -> None:
    text = "web: {port: no}\nstore: {kind: mysql}\nlog_level: loud\njournal:\n  tick_ms: 1\nfoo: 1\n"
    found = problems(write(text))
    assert [line.split(":")[1] for line in found] == ["1", "2", "5", "3", "6"]
    fields = ["web.port", "store.kind", "journal.tick_ms", "log_level", "foo"]
    assert [line.split(": ")[1] for line in found] == fields


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("home: [\n", "not valid YAML"),
        ("home: a\nhome: b\n", "home"),
        ("- 1\n", "keys and values"),
        ("", "empty"),
    ],
)
def test_what_is_no_settings_file_is_said_with_its_line(write: Write, text: str, word: str) -> None:
    (problem,) = problems(write(text))
    assert problem.startswith("greenmine.yaml:")
    assert word in problem


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_settings(tmp_path / "nothing.yaml")


@pytest.mark.parametrize(
    ("name", "value", "start"),
    [
        ("GREENMINE_WEB__PORT", "abc", "environment variable GREENMINE_WEB__PORT: web.port: "),
        ("greenmine_web__port", "0.5", "environment variable GREENMINE_WEB__PORT: web.port: "),
        ("GREENMINE_WEB__PROT", "1", "environment variable GREENMINE_WEB__PROT: web.prot: there is no such setting"),
        ("GREENMINE_WEB", '{"port": -1}', "environment variable GREENMINE_WEB: web.port: "),
        ("GREENMINE_POLICIES", "a,b", 'environment variables GREENMINE_...: error parsing value for field "policies"'),
        ("GREENMINE_STORE", "influxdb", 'environment variables GREENMINE_...: error parsing value for field "store"'),
    ],
)
def test_a_problem_of_the_environment_is_not_laid_on_the_file(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str, value: str, start: str
) -> None:
    path = write("web: {port: 8080}\nstore: {kind: duckdb}\npolicies: []\n")
    monkeypatch.setenv(name, value)
    (problem,) = problems(path)
    assert problem.startswith(start)


def test_lists_in_the_environment_are_json(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENMINE_POLICIES", '["/a", "/b"]')
    assert load_settings(write("policies: [c]\n")).policies == [Path("/a"), Path("/b")]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("mqtt: {password: hunter2}\n", "mqtt.password"),
        ("store: {token: hunter2}\n", "store.token"),
        ("store: {token: 'secret:../hunter2'}\n", "store.token"),
        ("channels: {email: {host: m, sender: a@b, password: hunter2}}\n", "channels.email.password"),
        ("mqtt: {mode: external, url: 'mqtts://li:hunter2@broker'}\n", "mqtt.url"),
        ("store: {kind: influxdb, url: 'http://li:hunter2@influx:8086'}\n", "store.url"),
    ],
)
def test_a_secret_is_never_a_value_and_never_repeated(write: Write, text: str, field: str) -> None:
    (problem,) = problems(write(text))
    assert problem.startswith(f"greenmine.yaml:1: {field}: ")
    assert "hunter2" not in problem


def test_a_secret_in_the_environment_is_refused_and_not_repeated(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENMINE_STORE__TOKEN", "hunter2")
    (problem,) = problems(write("policies: []\n"))
    assert problem.startswith("environment variable GREENMINE_STORE__TOKEN: store.token: write secret:NAME")
    assert "hunter2" not in problem


def test_the_option_wins_over_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENMINE_HOME", "/env")
    settings = Settings(home=Path("/file"))
    assert settings.home == Path("/env")
    assert home_of(Path("/option"), settings) == Path("/option")
    assert home_of(None, settings) == Path("/env")


def test_a_user_without_a_folder_is_told_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(ConfigError, match="name a home with --home"):
        home_of(None)
