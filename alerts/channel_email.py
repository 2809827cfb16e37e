"""The e-mail channel: SMTP with TLS, one message a notice, recognisable when repeated."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import re
import smtplib
import ssl
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import format_datetime
from typing import Any, Literal

from greenmine.alerts.channel_connection import Deadline, verifying_context
from greenmine.alerts.channel_text import block, one_line
from greenmine.core.clock import NS_PER_S, Clock, SystemClock
from greenmine.core.errors import ConfigError
from greenmine.core.notice import Delivery, Notice

Security = Literal["starttls", "tls", "none-loopback-only"]

_KEY_HEADER = "X-Greenmine-Idempotency-Key"
_MAX_SUBJECT = 200
_MAX_TEXT = 64_000
_MAX_ANSWER = 200
_MAX_ADDRESS = 254  # RFC 5321 4.5.3.1.3, the path less its brackets
# dot-atom@host (RFC 5321 4.1.2), without quoted local parts and address literals, which no contact needs
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PLAIN_ADDRESS = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@({_LABEL}(?:\.{_LABEL})*)")
_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class EmailChannel:
    """Sends each notice as one plain-text message to `notice.target`.

    `security` is `starttls` (refused where the server does not offer it), `tls` from the first byte, or
    `none-loopback-only`. TLS is 1.2 or newer and verified against `host`. `timeout_s` bounds the exchange. An
    `ssl_context` replaces the default one, for a private authority; one that does not verify raises ConfigError, as
    does plain SMTP to anything but this machine. The Message-ID comes from the notice's key: a repeat carries the same
    one.
    """

    def __init__(
        self,
        host: str,
        port: int,
        security: Security,
        username: str | None,
        password: str | None,
        sender: str,
        timeout_s: float,
        ssl_context: ssl.SSLContext | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._host, self._port, self._security = host, port, security
        self._username, self._password = username, password
        self._timeout_s = timeout_s
        self._clock = clock or SystemClock()
        address = _address(sender)
        if address is None:
            raise ConfigError(f"e-mail sender {sender!r} is not an address; write for instance alerts@example.org")
        self._sender = address
        if (username is None) != (password is None):
            raise ConfigError("e-mail needs both a user name and a password, or neither")
        if security == "none-loopback-only" and not _may_be_loopback(host):
            raise ConfigError(f"e-mail to {host} needs security starttls or tls; plain SMTP is only for this machine")
        self._tls = verifying_context(ssl_context)
        # A name for EHLO that needs no look-up: smtplib's default asks DNS, without a time limit.
        self._hello = self._sender.domain if "." in self._sender.domain else "[127.0.0.1]"

    def send(self, notice: Notice) -> Delivery:
        """Try once. 4xx answers, broken connections and time-outs are for later; 5xx answers are refusals."""
        recipient = _address(notice.target)
        if recipient is None:
            return Delivery.refused(
                "the contact's e-mail address is not valid; write one like name@example.org in ASCII"
            )
        message = _message(notice, self._sender, recipient, self._clock.wall_ns())
        with Deadline(self._timeout_s) as deadline:
            try:
                smtp = self._connect(deadline)
                try:
                    self._greet(smtp)
                    smtp.send_message(message, self._sender.addr_spec, [recipient.addr_spec])
                    # The message is the server's from here on: a failing farewell must not send it again.
                    with contextlib.suppress(smtplib.SMTPException, OSError):
                        smtp.quit()
                finally:
                    smtp.close()
            except (smtplib.SMTPException, OSError, UnicodeError) as error:
                return self._failed(error, deadline)
        return Delivery.ok("taken by the mail server")

    def _connect(self, deadline: Deadline) -> smtplib.SMTP:
        if self._security == "tls":
            return _TlsSession(
                deadline, self._host, self._port, self._hello, timeout=self._timeout_s, context=self._tls
            )
        return _PlainSession(deadline, self._host, self._port, self._hello, timeout=self._timeout_s)

    def _greet(self, smtp: smtplib.SMTP) -> None:
        if self._security == "none-loopback-only":
            # A name such as `localhost` is what the hosts file makes of it; what counts is who answered.
            peer = smtp.sock.getpeername()[0] if smtp.sock else ""
            if not _is_loopback_address(peer):
                raise smtplib.SMTPNotSupportedError("plain SMTP reached another machine")
        if self._security == "starttls":
            smtp.starttls(context=self._tls)
        if self._username is not None and self._password is not None:
            smtp.login(self._username, self._password)

    def _failed(self, error: Exception, deadline: Deadline) -> Delivery:
        # smtplib makes a lost connection of the socket's own time-out, which may come a moment before the deadline.
        if deadline.passed or isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
            return Delivery.retry(f"the mail server did not finish within {self._timeout_s:g} s")
        if isinstance(error, smtplib.SMTPRecipientsRefused):
            code, text = next(iter(error.recipients.values()))
            return _by_code(code, text, "the recipient was not accepted; check the contact's address")
        if isinstance(error, smtplib.SMTPAuthenticationError):
            advice = "the login was not accepted; check the user name and the password's secret"
            return _by_code(error.smtp_code, error.smtp_error, advice)
        if isinstance(error, smtplib.SMTPResponseException):
            return _by_code(error.smtp_code, error.smtp_error, "the message was not accepted")
        if isinstance(error, smtplib.SMTPNotSupportedError):
            return Delivery.refused(
                f"the mail server lacks what the settings ask for ({one_line(str(error), _MAX_ANSWER)});"
                " check host, port and security (starttls is usual on 587, tls on 465)"
            )
        if isinstance(error, UnicodeError):
            return Delivery.refused("the login has characters that SMTP cannot carry; use ASCII")
        if isinstance(error, ssl.SSLCertVerificationError):
            return Delivery.retry(
                f"the mail server's certificate is not accepted ({error.verify_message}); it must be valid for the host"
                " in the settings and issued by an authority this machine trusts"
            )
        if isinstance(error, ssl.SSLError):
            return Delivery.retry("no TLS connection with the mail server; check security and port (587 or 465)")
        return Delivery.retry(f"the connection to the mail server failed ({type(error).__name__})")


class _PlainSession(smtplib.SMTP):
    """Known to the deadline before it connects: smtplib connects and waits for the greeting in its constructor."""

    def __init__(self, deadline: Deadline, *args: Any, **options: Any) -> None:
        deadline.watch(lambda: self.sock)
        super().__init__(*args, **options)


class _TlsSession(smtplib.SMTP_SSL):
    def __init__(self, deadline: Deadline, *args: Any, **options: Any) -> None:
        deadline.watch(lambda: self.sock)
        super().__init__(*args, **options)


class _Unfolded(EmailPolicy):
    """Keeps identifiers on one line (RFC 5322 allows 998 characters): folded, some readers see a blank before them."""

    def fold_binary(self, name: str, value: Any) -> bytes:
        if name in ("Message-ID", _KEY_HEADER):
            return f"{name}: {value}{self.linesep}".encode("ascii")
        return super().fold_binary(name, value)


def _message(notice: Notice, sender: Address, recipient: Address, wall_ns: int) -> EmailMessage:
    identity = notice.key if _SAFE_ID.fullmatch(notice.key) else hashlib.sha256(notice.key.encode()).hexdigest()
    message = EmailMessage(_Unfolded(linesep="\r\n"))
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = one_line(notice.subject, _MAX_SUBJECT)
    message["Date"] = format_datetime(datetime.fromtimestamp(wall_ns / NS_PER_S, UTC))
    message["Message-ID"] = f"<{identity}@{sender.domain}>"
    message[_KEY_HEADER] = identity
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    message.set_content(block(notice.text, _MAX_TEXT), charset="utf-8", cte="base64")
    return message


def _by_code(code: int, text: bytes | str, advice: str) -> Delivery:
    said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    detail = f"SMTP {code}: {one_line(said, _MAX_ANSWER)} - {advice}"
    # RFC 5321 4.2.1: only 5yz is permanent. smtplib gives -1 for an answer that is no SMTP.
    return Delivery.refused(detail) if 500 <= code < 600 else Delivery.retry(detail)


def _address(text: str) -> Address | None:
    """One plain address, or None. Headers are built from its two parts, so nothing else can hide in it."""
    found = _PLAIN_ADDRESS.fullmatch(text)
    return Address(username=found[1], domain=found[2]) if found and len(text) <= _MAX_ADDRESS else None


def _may_be_loopback(host: str) -> bool:
    return host == "localhost" or _is_loopback_address(host)


def _is_loopback_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
