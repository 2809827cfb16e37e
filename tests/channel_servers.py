"""Real servers on the loopback for tests of what sends: they record what they get and answer as they are told."""

from __future__ import annotations

import base64
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Self, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

WAIT_S = 10.0


class LoopbackServer:
    """Listens on 127.0.0.1, counts connections, hands each to `serve` in a thread of its own."""

    def __init__(self, serve: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self._serve = serve
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.closing = threading.Event()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._run, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: socket.socket) -> None:
        connection.settimeout(WAIT_S)
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            self._serve(connection)
        except (OSError, EOFError):
            pass  # the client went away or was refused by TLS: what the tests are about is on the client's side
        finally:
            connection.close()

    def close(self) -> None:
        self.closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(WAIT_S)
        for connection in self._open:
            try:
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def drip(self, connection: socket.socket, data: bytes, every_s: float = 0.02) -> None:
        """Send a byte now and then until the client cuts or the server closes."""
        for byte in data:
            if self.closing.wait(every_s):
                return
            connection.sendall(bytes([byte]))


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answer = bytes | Callable[["HttpServer", socket.socket], None]


def answer(status: int, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} X", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


class HttpServer(LoopbackServer):
    """Keeps each request and gives the next of `answers`, then 200."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.answers: list[Answer] = []
        super().__init__(self._http, tls)

    def _http(self, connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        with stream:
            method, target, _ = stream.readline().decode("latin-1").split(" ", 2)
            headers: dict[str, str] = {}
            while line := stream.readline().strip():
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            body = stream.read(int(headers.get("content-length", "0")))
            self.requests.append(Request(method, target, headers, body))
            reply = self.answers.pop(0) if self.answers else answer(200)
            if callable(reply):
                reply(self, connection)
            else:
                connection.sendall(reply)


@dataclass
class Mail:
    sender: str
    recipients: list[str]
    message: EmailMessage
    raw: bytes


Reply = str | Callable[[LoopbackServer, socket.socket], None]


@dataclass
class SmtpServer:
    """A small SMTP server. `replies` replaces the answers to a command (BANNER, EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA,
    END, QUIT), one use each; a reply may be a function that writes to the connection itself."""

    tls: ssl.SSLContext | None = None
    implicit: bool = False
    users: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mails: list[Mail] = []
        self.commands: list[str] = []
        self.replies: dict[str, list[Reply]] = {}
        self.offer_starttls = self.tls is not None and not self.implicit
        self.server = LoopbackServer(self._session, self.tls if self.implicit else None)
        self.port = self.server.port

    def close(self) -> None:
        self.server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _say(self, connection: socket.socket, command: str, usual: str) -> bool:
        """Answer; True where the answer was the usual one."""
        scripted = self.replies.get(command, [])
        reply = scripted.pop(0) if scripted else usual
        if callable(reply):
            reply(self.server, connection)
            return False
        connection.sendall(reply.encode() + b"\r\n")
        return reply == usual

    def _session(self, connection: socket.socket) -> None:
        secured = self.implicit
        self._say(connection, "BANNER", "220 mail.example ESMTP")
        stream = connection.makefile("rb")
        sender, recipients = "", []
        while line := stream.readline():
            command, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            command = command.upper()
            self.commands.append(command)
            if command == "EHLO":
                extras = ["STARTTLS"] if self.offer_starttls and not secured else []
                extras += ["AUTH PLAIN"] if self.users else []
                lines = ["mail.example", *extras, "SIZE 1000000"]
                self._say(connection, "EHLO", "\r\n".join(f"250-{x}" for x in lines[:-1]) + f"\r\n250 {lines[-1]}")
            elif command == "STARTTLS":
                if self._say(connection, "STARTTLS", "220 go") and self.tls is not None:
                    stream.close()
                    connection = self.tls.wrap_socket(connection, server_side=True)
                    stream, secured = connection.makefile("rb"), True
            elif command == "AUTH":
                _, user, password = base64.b64decode(rest.split(" ")[1]).decode().split("\0")
                good = self.users.get(user) == password
                self._say(connection, "AUTH", "235 ok" if good else "535 5.7.8 bad credentials")
            elif command == "MAIL":
                sender = rest.partition("<")[2].partition(">")[0]
                self._say(connection, "MAIL", "250 ok")
            elif command == "RCPT":
                if self._say(connection, "RCPT", "250 ok"):
                    recipients.append(rest.partition("<")[2].partition(">")[0])
            elif command == "DATA":
                if self._say(connection, "DATA", "354 go on"):
                    raw = b""
                    while (line := stream.readline()) != b".\r\n":
                        raw += line.removeprefix(b".")
                    if self._say(connection, "END", "250 queued"):
                        message = cast(EmailMessage, message_from_bytes(raw, policy=policy.default))
                        self.mails.append(Mail(sender, recipients, message, raw))
                    recipients = []
            elif command == "QUIT":
                self._say(connection, "QUIT", "221 bye")
                break
            else:
                self._say(connection, command, "250 ok")
        stream.close()
        connection.close()


class Authority:
    """A certificate authority for one test run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "greenmine test authority")])
        self.certificate = self._signed(self._name, self._key.public_key(), None)
        self.file = folder / "authority.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, *names: str) -> tuple[Path, Path]:
        """Certificate and key files for host names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        certificate = self._signed(subject, key.public_key(), names)
        stem = f"{names[0].replace(':', '_')}"
        cert_file, key_file = self._folder / f"{stem}.pem", self._folder / f"{stem}.key"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return cert_file, key_file

    def server_context(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(*names))
        return context

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def _signed(
        self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey, names: tuple[str, ...] | None
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if names is None:
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(usage, critical=True)
        else:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
