"""What is shipped for deployment fits together, holds no secret, and is what its own programs accept."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from greenmine.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = YAML(typ="safe", pure=True).load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
MOSQUITTO = (ROOT / "deploy" / "mosquitto" / "mosquitto.conf").read_text(encoding="utf-8")
CERTIFICATES = (ROOT / "deploy" / "mosquitto" / "certificates.conf").read_text(encoding="utf-8")
MADE_SECRETS = {
    *("grafana-password", "influxdb-password", "influxdb-token", "mqtt-ingest"),
    *("mqtt-ca.crt", "mqtt-ca.key", "mqtt-server.crt", "mqtt-server.key"),
}

every_service = pytest.mark.parametrize("name", SERVICES)


def test_the_compose_file_follows_the_schema() -> None:
    program = Path(sys.executable).parent / "check-jsonschema"
    done = subprocess.run(
        [program, "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_services_are_those_of_the_design() -> None:
    assert set(SERVICES) == {"mosquitto", "influxdb", "grafana", "greenmine"}


@every_service
def test_a_service_is_watched_restarted_and_bounded(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert re.fullmatch(r"[1-9]g", service["mem_limit"])
    assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")


@every_service
def test_an_image_is_pinned_to_a_minor_version(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9/-]+:\d+\.\d+", SERVICES[name]["image"])


def test_only_mqtt_over_tls_is_open_to_the_network() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert [port for port in published if not port.startswith("127.0.0.1:")] == ["8883:8883", "8884:8884"]


@every_service
def test_a_service_waits_for_what_it_needs_to_be_healthy(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        assert how == {"condition": "service_healthy"}


def test_greenmine_waits_for_broker_and_store() -> None:
    assert set(SERVICES["greenmine"]["depends_on"]) == {"mosquitto", "influxdb"}


def test_every_secret_is_a_file_that_is_made_and_used() -> None:
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    assert used == MADE_SECRETS - {"mqtt-ca.key"}  # the authority's key belongs to no container
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./deploy/secrets/{name}"}


@every_service
def test_the_environment_names_secrets_by_file_and_holds_none(name: str) -> None:
    service = SERVICES[name]
    for variable, value in service.get("environment", {}).items():
        if re.search("PASSWORD|TOKEN|SECRET|KEY", variable):
            assert variable.endswith("_FILE")
            assert value.removeprefix("/run/secrets/") in service["secrets"]


def test_influxdb_and_grafana_have_no_default_password() -> None:
    assert {"DOCKER_INFLUXDB_INIT_PASSWORD_FILE", "DOCKER_INFLUXDB_INIT_ADMIN_TOKEN_FILE"} <= set(
        SERVICES["influxdb"]["environment"]
    )
    assert "GF_SECURITY_ADMIN_PASSWORD__FILE" in SERVICES["grafana"]["environment"]
    assert SERVICES["grafana"]["environment"]["GF_AUTH_ANONYMOUS_ENABLED"] == "false"


@pytest.mark.parametrize(
    "path",
    [
        "docker-compose.yml",
        "deploy/Dockerfile",
        "deploy/greenmine.yaml",
        "deploy/greenmine.service",
        "deploy/make_secrets.py",
        "deploy/mosquitto/certificates.conf",
        "deploy/mosquitto/mosquitto.conf",
        "deploy/mosquitto/entrypoint.sh",
    ],
)
def test_no_file_holds_what_looks_like_a_password(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert not re.search(r"[0-9a-fA-F]{24}|[A-Za-z0-9+/_-]{40}", re.sub(r"/[\w./-]+|[-=]{20,}|[A-Z_]{20,}", "", text))
    for line in text.splitlines():
        found = re.match(r"\s*-?\s*\w*(?:password|token|secret)\w*\s*[:=]\s*(\S+)", line, re.IGNORECASE)
        if found:
            assert re.match(r"secret:|/run/secrets/|/mosquitto/run/|\$\{|\[|\(|secrets|file:", found[1]), line


def test_secrets_are_not_committed() -> None:
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()


@every_service
def test_mounts_exist_and_data_rests_in_named_volumes(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source, target, *options = mount.split(":")
        if source.startswith("."):
            assert (ROOT / source).exists()
            assert options == ["ro"]
        else:
            assert source in COMPOSE["volumes"]
        assert target.startswith("/")


def test_every_volume_is_used() -> None:
    used = {mount.partition(":")[0] for service in SERVICES.values() for mount in service["volumes"]}
    assert set(COMPOSE["volumes"]) <= used


def test_greenmines_settings_fit_the_containers_around_it() -> None:
    settings = load_settings(ROOT / "deploy" / "greenmine.yaml")
    service = SERVICES["greenmine"]
    targets = {mount.split(":")[1]: mount.split(":")[0] for mount in service["volumes"]}
    assert targets[str(settings.home)] == "greenmine-home"
    assert targets[str(settings.mqtt.accounts_dir)] == "mqtt-accounts"
    assert [targets[str(path)] for path in settings.policies] == ["./examples"]
    assert settings.mqtt.url == "mqtts://mosquitto:8883"
    assert settings.store.url == "http://influxdb:8086"
    for reference in (settings.mqtt.password, settings.store.token, str(settings.mqtt.ca_file)):
        assert re.sub(r"^(secret:|/run/secrets/)", "", reference) in service["secrets"]
    influxdb = SERVICES["influxdb"]["environment"]
    assert influxdb["DOCKER_INFLUXDB_INIT_ORG"] == settings.store.org
    assert influxdb["DOCKER_INFLUXDB_INIT_BUCKET"] == settings.store.bucket
    assert influxdb["DOCKER_INFLUXDB_INIT_RETENTION"] == f"{settings.store.retention_days}d"
    assert f"127.0.0.1:{settings.web.port}:{settings.web.port}" in service["ports"]
    assert f":{settings.web.port}/healthz" in " ".join(service["healthcheck"]["test"])
    assert settings.mqtt.user in (ROOT / "deploy" / "mosquitto" / "entrypoint.sh").read_text(encoding="utf-8")


def test_mosquitto_gets_the_files_that_its_configuration_names() -> None:
    service = SERVICES["mosquitto"]
    named = re.findall(r"(?m)^\w+ (/\S+)$", MOSQUITTO + CERTIFICATES)
    assert {Path(path).name for path in named if path.startswith("/run/secrets/")} <= set(service["secrets"])
    assert "mosquitto-data:/mosquitto/data" in service["volumes"]
    assert "/mosquitto/data/" in named


@pytest.mark.parametrize(
    "line",
    [
        "allow_anonymous false",
        "persistence true",
        "autosave_interval 1",
        "max_packet_size 263168",
        "listener 1883 127.0.0.1",
        "listener 8883",
        "tls_version tlsv1.2",
    ],
)
def test_mosquittos_configuration_says(line: str) -> None:
    assert line in MOSQUITTO.splitlines()


@pytest.mark.parametrize(
    "line",
    [
        "listener 8884",
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "crlfile /mosquitto/run/device-crl.pem",
        "tls_version tlsv1.2",
    ],
)
def test_the_listener_for_certificates_says(line: str) -> None:
    assert line in CERTIFICATES.splitlines()


def test_every_listener_takes_the_user_name_for_client_id_and_the_queue_is_as_reckoned() -> None:
    assert MOSQUITTO.count("\nlistener ") == MOSQUITTO.count("\nuse_username_as_clientid true")
    limits = dict(re.findall(r"(?m)^(max_queued_\w+) (\d+)$", MOSQUITTO))
    assert int(limits["max_queued_messages"]) == 500 * 3600
    assert int(limits["max_queued_bytes"]) == 500 * 3600 * 400


def test_the_image_is_built_from_hashes_and_runs_without_rights() -> None:
    installs = re.findall(r"pip install ([^&\n]+)", DOCKERFILE)
    assert installs
    assert all("--require-hashes" in line or "--no-deps --no-index" in line for line in installs)
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"(?m)^USER 1883:1883$", final)
    assert "HEALTHCHECK" in final
    assert all(re.match(r"python:\d+\.\d+-slim", image) for image in re.findall(r"(?m)^FROM (\S+)", DOCKERFILE))


def test_the_image_is_built_from_all_that_the_wheel_needs_and_no_secret() -> None:
    ignored = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert ignored[0] == "**"
    assert rooms | {"pyproject.toml", "requirements.lock", "README.md", "LICENSE", "tools", "examples"} <= let_in
    assert not let_in & {"deploy", "deploy/secrets", ".git", "home", ".env"}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_the_unit_is_valid(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "greenmine.service").read_text(encoding="utf-8")
    unit = tmp_path / "greenmine.service"
    unit.write_text(text.replace("/opt/greenmine/bin/greenmine run", f"{sys.executable} run"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if "greenmine" in line]
    assert (done.returncode, complaints) == (0, [])


@pytest.mark.parametrize(
    "line",
    [
        "Type=exec",
        "Restart=on-failure",
        "RestartPreventExitStatus=2",
        "NoNewPrivileges=true",
        "ProtectSystem=strict",
        "StateDirectoryMode=0700",
        "LoadCredential=influxdb-token:greenmine.influxdb-token",
    ],
)
def test_the_unit_says(line: str) -> None:
    assert line in (ROOT / "deploy" / "greenmine.service").read_text(encoding="utf-8").splitlines()
