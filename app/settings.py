"""Settings of the service: a YAML file, environment variables `GREENMINE_...` over it, secrets in files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from greenmine.core.errors import ConfigError, PolicyError
from greenmine.policy.yaml import read_yaml

ENV_PREFIX = "GREENMINE_"
_REFERENCE = re.compile(r"secret:[A-Za-z0-9_.-]{1,64}", re.ASCII)


def _reference(value: str) -> str:
    if not _REFERENCE.fullmatch(value):
        raise ValueError("write secret:NAME here and the secret itself into a file of that name (mode 0600)")
    return value


def _without_password(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from error
    if parts.username is not None or parts.password is not None:
        raise ValueError("leave the account out of the URL; it has settings of its own, and its secret a file")
    return url


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(str(error)) from error


_MQTT_PATHS = ("ca_file", "cert_file", "key_file", "accounts_dir")
SecretReference = Annotated[str, AfterValidator(_reference)]
Url = Annotated[str, AfterValidator(_without_password)]
UserPath = Annotated[Path, AfterValidator(_expanded)]
"""`~` stands for the user's own folder."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MqttTlsSettings(_Part):
    """TLS of the embedded broker, beside its plain port. Without `cert_file` and `key_file` it has what `greenmine
    devices ca server` made. `client_certificates`: whether a client may or must have a certificate of the home's
    authority; with one it needs no password."""

    host: str = "127.0.0.1"
    port: int = Field(default=8883, ge=0, le=65535)
    cert_file: UserPath | None = None
    key_file: UserPath | None = None
    client_certificates: Literal["optional", "required"] = "optional"

    @model_validator(mode="after")
    def _both_files(self) -> MqttTlsSettings:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        return self


class MqttSettings(_Part):
    """`embedded` runs a broker in this process; `external` connects to `url` as `user`.

    `topics` are what is subscribed to there; by default our own tree, and those of other networks that policies name
    addresses of. `cert_file` and `key_file`: our own certificate, where the broker asks for one. `accounts_dir`: where
    `devices provision` also writes mosquitto's password and ACL files, and the authority's certificate and revocation
    list. `tls`: also listen with TLS, where the broker is embedded.
    """

    mode: Literal["embedded", "external"] = "embedded"
    host: str = "127.0.0.1"
    port: int = Field(default=1883, ge=0, le=65535)
    url: Url | None = None
    user: str = "greenmine-ingest"
    password: SecretReference = "secret:mqtt-ingest"  # noqa: S105 - a reference
    ca_file: UserPath | None = None
    cert_file: UserPath | None = None
    key_file: UserPath | None = None
    topics: list[str] | None = Field(default=None, min_length=1)
    accounts_dir: UserPath | None = None
    tls: MqttTlsSettings | None = None

    @model_validator(mode="after")
    def _external_has_url(self) -> MqttSettings:
        if self.mode == "external" and not self.url:
            raise ValueError("mode external needs url, e.g. mqtts://broker:8883")
        if self.mode == "external" and self.tls is not None:
            raise ValueError("tls is of the embedded broker; an external one has settings of its own")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        return self


class Hj212Settings(_Part):
    """The listener for HJ 212 over TCP; off unless `port` is set. Who may speak, the policies say.

    `idle`: twice the longest interval of real-time data. `unfinished`: how long the rest of a frame may take.
    """

    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=0, le=65535)
    max_connections: int = Field(default=2000, ge=1, le=50_000)
    max_per_address: int = Field(default=32, ge=1, le=50_000)
    idle_s: float = Field(default=7200.0, gt=0, le=86_400)
    first_frame_s: float = Field(default=60.0, gt=0, le=3600)
    unfinished_s: float = Field(default=10.0, gt=0, le=600)


class WebSettings(_Part):
    """Where the board is served. Behind a TLS proxy set `secure_cookies` and name the public host."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    allowed_hosts: list[str] = Field(default_factory=lambda: ["127.0.0.1", "localhost"])
    secure_cookies: bool = False


class StoreSettings(_Part):
    """Where readings rest: DuckDB in the home, or InfluxDB 2."""

    kind: Literal["duckdb", "influxdb"] = "duckdb"
    url: Url | None = None
    org: str = "greenmine"
    token: SecretReference = "secret:influxdb-token"  # noqa: S105 - a reference
    bucket: str = "greenmine"
    retention_days: int = Field(default=400, ge=1, le=36500)
    flush_ms: int = Field(default=1000, ge=0, le=60_000)
    """How long readings gather between two writes. Alarms and the live board do not wait for it."""

    @model_validator(mode="after")
    def _influx_has_url(self) -> StoreSettings:
        if self.kind == "influxdb" and not self.url:
            raise ValueError("kind influxdb needs url, e.g. http://influxdb:8086")
        return self


class EmailSettings(_Part):
    """The mail server for e-mail notices."""

    host: str
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none-loopback-only"] = "starttls"
    username: str | None = None
    password: SecretReference = "secret:smtp-password"  # noqa: S105 - a reference
    sender: str
    timeout_s: float = Field(default=20.0, gt=0, le=120)


class WebhookSettings(_Part):
    """`allow` lists host:port of receivers inside one's own network; all other private addresses are refused."""

    allow: list[str] = Field(default_factory=list)
    timeout_s: float = Field(default=10.0, gt=0, le=60)


class ChannelSettings(_Part):
    """How notices leave."""

    email: EmailSettings | None = None
    webhook: WebhookSettings = Field(default_factory=WebhookSettings)


class JournalSettings(_Part):
    """Group commit: a batch waits `linger_ms` for company; an idle interval of `tick_ms` is an empty batch."""

    linger_ms: int = Field(default=20, ge=0, le=1000)
    tick_ms: int = Field(default=1000, ge=50, le=10_000)
    keep_hours: int = Field(default=72, ge=1, le=8760)
    """How long what the store has confirmed stays in the journal's file before it goes to the archive."""
    quota_mb: int = Field(default=0, ge=0)
    """Of the journal's file; at 90 % what is stored goes to the archive at once, at 100 % nothing more is acknowledged.
    0: only the room on the disk counts."""
    ballast_mb: int = Field(default=64, ge=0, le=10_000)
    """A file that is given up when the disk is full, so that there is room to mend that."""


class Settings(BaseSettings):
    """Everything. Environment variables win over the file: `GREENMINE_WEB__PORT=9090`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    home: UserPath | None = None
    policies: list[UserPath] = Field(default_factory=list)
    secrets_dirs: list[UserPath] = Field(default_factory=list)
    mqtt: MqttSettings = Field(default_factory=MqttSettings)
    hj212: Hj212Settings = Field(default_factory=Hj212Settings)
    web: WebSettings = Field(default_factory=WebSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    channels: ChannelSettings = Field(default_factory=ChannelSettings)
    journal: JournalSettings = Field(default_factory=JournalSettings)
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then the file."""
        return env_settings, init_settings


def load_settings(path: Path) -> Settings:
    """Settings from a file and the environment. Paths in the file are relative to it, those in the environment to the
    working folder.

    Raises:
        ConfigError: with file and line, or environment variable, and field of everything that is wrong.
    """
    try:
        document = read_yaml(path)
    except PolicyError as error:
        raise ConfigError(str(error)) from error
    try:
        return Settings(**_with_paths(document.data, path.parent))
    except ValidationError as error:
        problems = [_problem(path, document.lines, e["loc"], e["type"], e["msg"]) for e in error.errors()]
        raise ConfigError("\n".join(problems)) from error
    except SettingsError as error:
        raise ConfigError(
            f"environment variables {ENV_PREFIX}...: {error}; lists and groups are written as JSON"
        ) from error


def home_of(option: Path | None, settings: Settings | None = None) -> Path:
    """The home: the option, the settings, GREENMINE_HOME, or `~/.greenmine`.

    Raises:
        ConfigError: none is named, and this user has no folder of his own.
    """
    if option is not None:
        return option
    if settings is not None and settings.home is not None:
        return settings.home
    named = os.environ.get("GREENMINE_HOME")
    try:
        return Path(named).expanduser() if named else Path.home() / ".greenmine"
    except RuntimeError as error:
        raise ConfigError(f"{error}; name a home with --home or GREENMINE_HOME") from error


def _with_paths(data: dict[str, Any], base: Path) -> dict[str, Any]:
    """The same with its paths under `base`; what is no path is left for the validation to name."""

    def under(value: Any) -> Any:
        if isinstance(value, list):
            return [under(one) for one in value]
        return str(base / value) if isinstance(value, str) and value and not value.startswith("~") else value

    found = dict(data)
    for name in ("home", "policies", "secrets_dirs"):
        if name in found:
            found[name] = under(found[name])
    if isinstance(found.get("mqtt"), dict):
        mqtt = dict(found["mqtt"])
        for part in (mqtt, mqtt.get("tls")):
            if isinstance(part, dict):
                part.update({name: under(part[name]) for name in _MQTT_PATHS if name in part})
        found["mqtt"] = mqtt
    return found


def _problem(path: Path, lines: Any, location: tuple[int | str, ...], kind: str, message: str) -> str:
    leading = [location[:n] for n in range(len(location), 0, -1)]
    set_by = {name.upper() for name in os.environ}
    variables = [ENV_PREFIX + "__".join(map(str, names)).upper() for names in leading]
    variable = next((name for name in variables if name in set_by), None)
    line = next((lines[names] for names in leading if names in lines), None)
    where = f"environment variable {variable}" if variable else f"{path}:{line}" if line else str(path)
    text = "there is no such setting" if kind == "extra_forbidden" else message.removeprefix("Value error, ")
    return f"{where}: {'.'.join(str(part) for part in location)}: {text}"
