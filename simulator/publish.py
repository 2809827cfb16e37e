"""Publishing over real MQTT, one connection for each device account. The only file of this room that knows paho."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from greenmine.core.clock import NS_PER_S, Clock
from greenmine.core.errors import ConfigError
from greenmine.simulator.message import TimedMessage

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_LOGIN_REFUSALS = ("Bad user name or password", "Not authorized", "Client identifier not valid", "Banned")
_KEEPALIVE_S = 30
_RECONNECT_AFTER_S = (1, 5)
_LOOK_EVERY_S = 0.2
"""How often a blocked publish looks whether it was told to stop."""
_PACE_STEP_S = 0.02
"""How often the pace of a live run looks at its clock, which may run faster than time and may be stepped."""


class Publishes(Protocol):
    """What a live run needs of a publisher."""

    def publish(self, message: TimedMessage, stop: threading.Event | None = None) -> bool:
        """Send a message; False if `stop` was set before it could be sent."""
        ...


class MqttPublisher:
    """Publishes with QoS 1 over MQTT 3.1.1. What is unacknowledged lives in memory: it is lost with this process.

    `url` is `mqtt://host[:port]` or `mqtts://...`; `password` gives the password of an account (client id = user
    name), or None to connect without a login. At most `in_flight` messages of an account are unacknowledged;
    `publish` waits while it is so. After a broken connection paho connects again by itself and repeats what was not
    acknowledged. With `ack_log`, every acknowledged message is a line of JSON there, written before it is counted:
    `{"topic", "seq", "sequence": [[device, seq], ...]}`. `on_ack` is called in a network thread and must be quick.
    Use from one thread.
    """

    def __init__(
        self,
        url: str,
        password: Callable[[str], str | None],
        *,
        in_flight: int = 100,
        ack_log: Path | None = None,
        on_ack: Callable[[TimedMessage], None] | None = None,
        tell: Callable[[str], None] | None = None,
        connect_timeout_s: float = 10.0,
        ca_file: Path | None = None,
    ) -> None:
        self._secure, self._host, self._port = _address(url)
        self._url = url
        self._password = password
        self._in_flight = in_flight
        self._on_ack = on_ack
        self._tell = tell or (lambda _: None)
        self._connect_timeout_s = connect_timeout_s
        self._ca_file = ca_file
        self._changed = threading.Condition()
        self._connections: dict[str, _Connection] = {}
        self._failure: str | None = None
        self.published = 0
        self.acknowledged = 0
        try:
            self._log = None if ack_log is None else ack_log.open("a", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"the publisher's log {ack_log} cannot be written: {error}") from error

    def publish(self, message: TimedMessage, stop: threading.Event | None = None) -> bool:
        """Send a message; False if `stop` was set while it had to wait for acknowledgements.

        Raises:
            ConfigError: the broker cannot be reached at first, it refuses the login, or the log cannot be written.
        """
        connection = self._connections.get(message.client)
        if connection is None:
            connection = self._connect(message.client)
        with self._changed:
            while True:
                self._check(connection)
                if stop is not None and stop.is_set():
                    return False
                if len(connection.waiting) < self._in_flight:
                    break
                self._changed.wait(_LOOK_EVERY_S)
        # Outside the lock: paho calls `_on_publish` while it holds a lock that its `publish` needs too.
        info = connection.client.publish(message.topic, message.payload, qos=1)
        if info.rc == mqtt.MQTT_ERR_QUEUE_SIZE:
            raise ConfigError(f"more than 65,535 messages of {message.client} are in flight; lower in_flight")
        with self._changed:
            self.published += 1
            if info.mid in connection.early:
                connection.early.remove(info.mid)
                self._acknowledge(message)
            else:
                connection.waiting[info.mid] = message
        return True

    @property
    def unacknowledged(self) -> int:
        """Messages that were published and not yet acknowledged."""
        return self.published - self.acknowledged

    def drain(self, timeout_s: float) -> bool:
        """Wait until everything is acknowledged; False if it is not after `timeout_s`.

        Raises:
            ConfigError: the log could not be written.
        """
        with self._changed:
            done = self._changed.wait_for(lambda: self.unacknowledged == 0, timeout_s)
            if self._failure is not None:
                raise ConfigError(self._failure)
            return done

    def close(self) -> None:
        """Disconnect; what is not acknowledged by now will not be sent again."""
        for connection in self._connections.values():
            connection.client.disconnect()
        for connection in self._connections.values():
            connection.client.loop_stop()
        self._connections.clear()
        with self._changed:
            if self._log is not None:
                self._log.close()
                self._log = None

    def __enter__(self) -> MqttPublisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connect(self, account: str) -> _Connection:
        connection = _Connection(self, account)
        client = connection.client
        try:
            password = self._password(account)
        except KeyError as error:
            raise ConfigError(f"there is no password for {account}; provision the device first") from error
        if password is not None:
            client.username_pw_set(account, password)
        client.connect_timeout = self._connect_timeout_s
        client.max_inflight_messages_set(self._in_flight)
        client.reconnect_delay_set(*_RECONNECT_AFTER_S)
        try:
            if self._secure:
                client.tls_set(None if self._ca_file is None else str(self._ca_file))
            client.connect(self._host, self._port, keepalive=_KEEPALIVE_S)
        except (OSError, ValueError) as error:
            raise ConfigError(f"the broker at {self._url} cannot be reached: {error}; is it running there?") from error
        client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: connection.answered, self._connect_timeout_s)
            refusal = connection.refusal if connection.answered else "it does not answer to MQTT"
        if refusal is not None:
            client.disconnect()
            client.loop_stop()
            raise ConfigError(self._refused(account, refusal))
        self._connections[account] = connection
        return connection

    def _refused(self, account: str, reason: str) -> str:
        advice = "check the device's password and that it is provisioned"
        return f"the broker at {self._url} refuses {account}: {reason}; {advice}"

    def _check(self, connection: _Connection) -> None:
        if self._failure is not None:
            raise ConfigError(self._failure)
        if connection.refusal is not None:
            raise ConfigError(self._refused(connection.account, connection.refusal))

    def _acknowledge(self, message: TimedMessage) -> None:
        """Under the lock."""
        if self._log is not None:
            seq = message.sequence[0][1] if message.sequence else None
            line = {"topic": message.topic, "seq": seq, "sequence": message.sequence}
            try:
                self._log.write(json.dumps(line, separators=(",", ":")) + "\n")
                self._log.flush()
            except OSError as error:
                # In paho's thread nobody would see it: kept for the next `publish` or `drain`.
                self._failure = f"the publisher's log cannot be written: {error}"
                log, self._log = self._log, None
                with contextlib.suppress(OSError):  # closing tries to write the rest and fails alike
                    log.close()
        self.acknowledged += 1
        if self._on_ack is not None:
            self._on_ack(message)
        self._changed.notify_all()


class _Connection:
    """One account's client, and what it has sent that is not acknowledged."""

    def __init__(self, publisher: MqttPublisher, account: str) -> None:
        self.account = account
        self.answered = False
        self.refusal: str | None = None
        self.waiting: dict[int, TimedMessage] = {}
        self.early: set[int] = set()
        """Message ids acknowledged before `publish` could say whose they are."""
        self._publisher = publisher
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=account, clean_session=True, protocol=mqtt.MQTTv311
        )
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_publish = self._on_publish

    def _on_connect(
        self, _c: mqtt.Client, _u: Any, _f: mqtt.ConnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        refused = str(reason) if reason.is_failure else None
        with self._publisher._changed:
            again = self.answered
            if refused is None or not again or refused in _LOGIN_REFUSALS:
                # A broker that is only just starting may refuse for other reasons; paho tries again.
                self.refusal = refused
            self.answered = True
            self._publisher._changed.notify_all()
        if refused is not None and not again:
            # Ends the network loop, which would otherwise try again while the caller is told.
            self.client.disconnect()
        if again:
            self._publisher._tell(
                f"{self.account}: " + ("connected again" if refused is None else f"refused: {refused}")
            )

    def _on_disconnect(
        self, _c: mqtt.Client, _u: Any, _f: mqtt.DisconnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        with self._publisher._changed:
            if not self.answered:
                self.answered, self.refusal = True, "it closed the connection without an answer"
                self.client.disconnect()
            self._publisher._changed.notify_all()
        if reason.is_failure and self.refusal is None:
            self._publisher._tell(f"{self.account}: connection lost ({reason}); connecting again")

    def _on_publish(self, _c: mqtt.Client, _u: Any, mid: int, _r: ReasonCode, _p: Properties) -> None:
        with self._publisher._changed:
            message = self.waiting.pop(mid, None)
            if message is None:
                self.early.add(mid)
            else:
                self._publisher._acknowledge(message)


def run_live(messages: Iterable[TimedMessage], publisher: Publishes, clock: Clock, stop: threading.Event) -> int:
    """Publish each message when `clock` reaches its time, until they end or `stop` is set; returns how many.

    A run that has fallen behind (the broker was away) publishes what is due at once, nothing is skipped.

    Raises:
        ConfigError: as `MqttPublisher.publish`.
    """
    done = 0
    for message in messages:
        if not _wait_until(message.time_ns, clock, stop) or not publisher.publish(message, stop):
            break
        done += 1
    return done


def _wait_until(time_ns: int, clock: Clock, stop: threading.Event) -> bool:
    while (left_ns := time_ns - clock.wall_ns()) > 0:
        if stop.wait(min(left_ns / NS_PER_S, _PACE_STEP_S)):
            return False
    return not stop.is_set()


def _address(url: str) -> tuple[bool, str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{url!r} is no broker address: {error}; write mqtt://host:1883") from error
    if parts.scheme not in _PORTS or not parts.hostname or parts.username or parts.path.strip("/"):
        raise ConfigError(f"{url!r} is no broker address; write mqtt://host:1883 or mqtts://host:8883, without a login")
    return parts.scheme == "mqtts", parts.hostname, port or _PORTS[parts.scheme]
