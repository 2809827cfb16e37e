from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from email.header import decode_header, make_header

import pytest

from greenmine.alerts.channel_connection import Deadline
from greenmine.alerts.channel_email import EmailChannel, Security
from greenmine.core.clock import ManualClock
from greenmine.core.errors import ConfigError
from greenmine.core.notice import Delivery, Notice, NoticeKind, notice_key
from tests.channel_servers import Authority, LoopbackServer, Reply, SmtpServer

PASSWORD = "pa55-w0rd"
KEY = notice_key("al-1", 1, "li", "email", "li@example.org")
NOTICE = Notice(
    KEY, "al-1", 1, NoticeKind.RAISED, "li", "email", "li@example.org", "北坑 PM10 超限", "dust-n1: 213\n.\n结束", "{}"
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def plain() -> Iterator[SmtpServer]:
    with SmtpServer() as server:
        yield server


@pytest.fixture
def secured(authority: Authority) -> Iterator[SmtpServer]:
    with SmtpServer(tls=authority.server_context("localhost"), users={"green": PASSWORD}) as server:
        yield server


def over_plain(server: SmtpServer, timeout_s: float = 5.0) -> EmailChannel:
    return EmailChannel("127.0.0.1", server.port, "none-loopback-only", None, None, "greenmine@example.org", timeout_s)


def over_tls(
    server: SmtpServer,
    context: ssl.SSLContext | None,
    security: Security = "starttls",
    host: str = "localhost",
    password: str = PASSWORD,
) -> EmailChannel:
    return EmailChannel(host, server.port, security, "green", password, "greenmine@example.org", 5.0, context)


def is_retry(delivery: Delivery) -> bool:
    return not delivery.delivered and not delivery.permanent


def is_refused(delivery: Delivery) -> bool:
    return not delivery.delivered and delivery.permanent


def test_the_message_as_it_arrives(plain: SmtpServer) -> None:
    clock = ManualClock(1_795_305_600_000_000_000)  # 2026-11-22T00:00:00Z
    channel = EmailChannel(
        "127.0.0.1", plain.port, "none-loopback-only", None, None, "greenmine@example.org", 5.0, clock=clock
    )
    assert channel.send(NOTICE) == Delivery.ok("taken by the mail server")
    (mail,) = plain.mails
    assert (mail.sender, mail.recipients) == ("greenmine@example.org", ["li@example.org"])
    assert mail.message["Subject"] == "北坑 PM10 超限"
    assert mail.message["Message-ID"] == f"<{KEY}@example.org>"
    assert mail.message["X-Greenmine-Idempotency-Key"] == KEY
    assert mail.message["Date"] == "Sun, 22 Nov 2026 00:00:00 +0000"
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert mail.message.get_content_charset() == "utf-8"
    assert mail.message.get_content().split("\r\n") == [*NOTICE.text.split("\n"), ""]
    assert max(len(line) for line in mail.raw.split(b"\r\n")) < 120
    assert mail.raw.isascii()


def test_starttls_with_login(secured: SmtpServer, authority: Authority) -> None:
    assert over_tls(secured, authority.client_context()).send(NOTICE).delivered
    assert len(secured.mails) == 1
    assert secured.commands.index("STARTTLS") < secured.commands.index("AUTH") < secured.commands.index("MAIL")


def test_tls_from_the_first_byte(authority: Authority) -> None:
    context = authority.server_context("localhost")
    with SmtpServer(tls=context, implicit=True, users={"green": PASSWORD}) as server:
        assert over_tls(server, authority.client_context(), "tls").send(NOTICE).delivered
        assert len(server.mails) == 1


def test_a_server_without_starttls_gets_neither_password_nor_message() -> None:
    with SmtpServer(users={"green": PASSWORD}) as server:
        delivery = over_tls(server, None).send(NOTICE)
        assert is_refused(delivery)
        assert "STARTTLS" in delivery.detail
        assert set(server.commands) <= {"EHLO", "QUIT"}


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_an_unknown_authority_and_a_wrong_name_get_nothing(authority: Authority, security: Security) -> None:
    context = authority.server_context("mail.other.example")
    with SmtpServer(tls=context, implicit=security == "tls", users={"green": PASSWORD}) as server:
        for client in (None, authority.client_context()):
            delivery = over_tls(server, client, security).send(NOTICE)
            assert is_retry(delivery)
            assert "certificate is not accepted" in delivery.detail
        assert set(server.commands) <= {"EHLO", "STARTTLS"}


def test_tls_below_1_2_is_not_spoken(authority: Authority) -> None:
    channel = EmailChannel("localhost", 25, "starttls", None, None, "greenmine@example.org", 1.0)
    assert channel._tls.minimum_version == ssl.TLSVersion.TLSv1_2
    weak = authority.client_context()
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        weak.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.raises(ConfigError, match=r"TLS 1\.2"):
        EmailChannel("localhost", 25, "starttls", None, None, "greenmine@example.org", 1.0, weak)


def test_a_context_that_does_not_verify_is_not_taken() -> None:
    careless = ssl.create_default_context()
    careless.check_hostname = False
    with pytest.raises(ConfigError, match="verify"):
        EmailChannel("localhost", 25, "tls", None, None, "greenmine@example.org", 1.0, careless)


@pytest.mark.parametrize("host", ["mail.example.org", "10.0.0.5", "0.0.0.0", "::", "127.0.0.1.example.org", ""])
def test_plain_smtp_is_for_this_machine_only(host: str) -> None:
    with pytest.raises(ConfigError, match="only for this machine"):
        EmailChannel(host, 25, "none-loopback-only", None, None, "greenmine@example.org", 1.0)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_plain_smtp_to_this_machine_may_be_set(host: str) -> None:
    EmailChannel(host, 25, "none-loopback-only", None, None, "greenmine@example.org", 1.0)


def test_plain_smtp_stops_when_localhost_turns_out_to_be_another_machine(
    plain: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, "getpeername", lambda _: ("192.0.2.7", 25))
    delivery = over_plain(plain).send(NOTICE)
    assert is_refused(delivery)
    assert "another machine" in delivery.detail
    assert "MAIL" not in plain.commands


@pytest.mark.parametrize("sender", ["", "greenmine", "a@b\nBcc: c@d", "a@b, c@d", "Mine <a@b.org>"])
def test_a_sender_that_is_no_address_is_a_mistake_in_the_settings(sender: str) -> None:
    with pytest.raises(ConfigError, match="sender"):
        EmailChannel("localhost", 25, "tls", None, None, sender, 1.0)


def test_user_name_and_password_come_together() -> None:
    with pytest.raises(ConfigError, match="both"):
        EmailChannel("localhost", 25, "tls", "green", None, "a@example.org", 1.0)


@pytest.mark.parametrize(
    "target",
    [
        "",
        "li",
        "@",
        "li@",
        "@example.org",
        "li@example.org,wang@example.org",
        "li@example.org\r\nRCPT TO:<evil@example.org>",
        "li@example.org\x00",
        "<li@example.org>",
        "Li <li@example.org>",
        '"a b"@example.org',
        "li..wang@example.org",
        "li@[127.0.0.1]",
        "李@example.org",
        "x" * 260 + "@example.org",
    ],
)
def test_a_target_that_is_not_one_plain_address_is_refused_before_connecting(plain: SmtpServer, target: str) -> None:
    assert is_refused(over_plain(plain).send(replace(NOTICE, target=target)))
    assert plain.server.connections == 0


HEADER_ATTACKS = ["x\r\nBcc: victim@example.org", "x\nX-Evil: 1", "x\r\n\r\n<html>", "x\r.\r", "x\u2028Bcc: a@b.c"]


@pytest.mark.parametrize("text", HEADER_ATTACKS)
def test_text_of_devices_makes_no_header_and_no_second_message(plain: SmtpServer, text: str) -> None:
    assert over_plain(plain).send(replace(NOTICE, subject=text, text=text)).delivered
    (mail,) = plain.mails
    assert mail.recipients == ["li@example.org"]
    assert set(mail.message.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "X-Greenmine-Idempotency-Key", "Auto-Submitted",
        "Content-Type", "Content-Transfer-Encoding", "MIME-Version",
    }  # fmt: skip


def test_subject_and_text_are_bounded(plain: SmtpServer) -> None:
    assert over_plain(plain).send(replace(NOTICE, subject="粉" * 5_000, text="尘" * 500_000)).delivered
    (mail,) = plain.mails
    assert len(str(make_header(decode_header(mail.message["Subject"])))) == 200
    assert len(mail.message.get_content().strip()) == 64_000


def test_a_key_that_is_no_identifier_is_hashed_not_injected(plain: SmtpServer) -> None:
    over_plain(plain).send(replace(NOTICE, key="a>\r\nBcc: b@c.d"))
    over_plain(plain).send(replace(NOTICE, key="a>\r\nBcc: b@c.d"))
    first, second = (m.message["X-Greenmine-Idempotency-Key"] for m in plain.mails)
    assert first == second
    assert len(first) == 64
    assert plain.mails[0].message["Bcc"] is None


@pytest.mark.parametrize(
    ("command", "reply", "permanent"),
    [
        ("BANNER", "421 4.3.2 too busy", False),
        ("BANNER", "554 5.7.1 no service for you", True),
        ("MAIL", "451 4.3.0 try later", False),
        ("MAIL", "553 5.1.8 sender not allowed", True),
        ("RCPT", "450 4.2.0 greylisted", False),
        ("RCPT", "452 4.2.2 mailbox full", False),
        ("RCPT", "550 5.1.1 no such user", True),
        ("DATA", "451 4.3.0 try later", False),
        ("DATA", "554 5.5.1 no valid recipients", True),
        ("END", "452 4.3.1 no space", False),
        ("END", "552 5.3.4 too big", True),
        ("MAIL", "garbage that is no reply", False),
    ],
)
def test_4xx_is_for_later_and_5xx_is_refused(plain: SmtpServer, command: str, reply: str, permanent: bool) -> None:
    plain.replies[command] = [reply]
    delivery = over_plain(plain).send(NOTICE)
    assert not delivery.delivered
    assert delivery.permanent is permanent
    assert delivery.detail
    if reply[:3].isdigit():
        assert reply[:3] in delivery.detail
    assert plain.mails == []


def test_a_refused_login_is_permanent_and_says_what_to_check(secured: SmtpServer, authority: Authority) -> None:
    delivery = over_tls(secured, authority.client_context(), password="wrong-secret").send(NOTICE)
    assert is_refused(delivery)
    assert "535" in delivery.detail
    assert "user name" in delivery.detail
    assert "wrong-secret" not in delivery.detail
    assert secured.mails == []


def test_a_login_that_fails_for_now_is_for_later(secured: SmtpServer, authority: Authority) -> None:
    secured.replies["AUTH"] = ["454 4.7.0 temporary authentication failure"]
    assert is_retry(over_tls(secured, authority.client_context()).send(NOTICE))


def test_a_server_without_login_is_refused_with_advice(plain: SmtpServer) -> None:
    channel = EmailChannel(
        "127.0.0.1", plain.port, "none-loopback-only", "green", PASSWORD, "greenmine@example.org", 5.0
    )
    delivery = channel.send(NOTICE)
    assert is_refused(delivery)
    assert "check host, port and security" in delivery.detail


def test_nobody_listening_is_for_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    delivery = EmailChannel("127.0.0.1", port, "none-loopback-only", None, None, "a@example.org", 1.0).send(NOTICE)
    assert is_retry(delivery)
    assert "ConnectionRefusedError" in delivery.detail


@pytest.mark.parametrize("command", ["BANNER", "EHLO", "RCPT", "END"])
def test_a_connection_that_breaks_is_for_later(plain: SmtpServer, command: str) -> None:
    plain.replies[command] = [lambda _, connection: connection.shutdown(socket.SHUT_RDWR)]
    assert is_retry(over_plain(plain).send(NOTICE))


@pytest.mark.parametrize("command", ["BANNER", "EHLO", "END"])
def test_a_silent_server_is_left_in_time(plain: SmtpServer, command: str) -> None:
    plain.replies[command] = [lambda server, _: server.closing.wait(10)]
    delivery = over_plain(plain, timeout_s=0.2).send(NOTICE)
    assert delivery == Delivery.retry("the mail server did not finish within 0.2 s")


def test_the_socket_may_give_up_a_moment_before_the_deadline(plain: SmtpServer) -> None:
    lost = smtplib.SMTPServerDisconnected("Connection unexpectedly closed: timed out")
    lost.__context__ = TimeoutError("timed out")
    delivery = over_plain(plain, timeout_s=0.2)._failed(lost, Deadline(5.0))
    assert delivery == Delivery.retry("the mail server did not finish within 0.2 s")


def test_a_dripping_server_is_cut_off(plain: SmtpServer) -> None:
    def drip(server: LoopbackServer, connection: socket.socket) -> None:
        server.drip(connection, b"250-slow\r\n" * 10_000)

    plain.replies["EHLO"] = [drip]
    delivery = over_plain(plain, timeout_s=0.3).send(NOTICE)
    assert delivery == Delivery.retry("the mail server did not finish within 0.3 s")


def test_a_dripping_server_is_cut_off_inside_tls_too(secured: SmtpServer, authority: Authority) -> None:
    def drip(server: LoopbackServer, connection: socket.socket) -> None:
        server.drip(connection, b"250-slow\r\n" * 10_000)

    secured.replies["AUTH"] = [drip]
    channel = EmailChannel(
        "localhost", secured.port, "starttls", "green", PASSWORD, "a@example.org", 0.5, authority.client_context()
    )
    assert channel.send(NOTICE) == Delivery.retry("the mail server did not finish within 0.5 s")


@pytest.mark.parametrize(
    "farewell", ["421 gone", lambda _, connection: connection.shutdown(socket.SHUT_RDWR)], ids=["421", "cut"]
)
def test_once_taken_a_bad_farewell_does_not_make_it_a_repeat(plain: SmtpServer, farewell: Reply) -> None:
    plain.replies["QUIT"] = [farewell]
    assert over_plain(plain).send(NOTICE).delivered
    assert len(plain.mails) == 1


def test_an_answer_with_control_characters_is_shown_harmless(plain: SmtpServer) -> None:
    plain.replies["RCPT"] = ["550 \x1b[31mno\x07 " + "x" * 600]
    delivery = over_plain(plain).send(NOTICE)
    assert delivery.detail.isprintable()
    assert len(delivery.detail) < 400


def test_the_password_is_in_no_answer_and_no_log(
    secured: SmtpServer, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    channel = over_tls(secured, authority.client_context(), password="canary-secret")
    secured.replies["AUTH"] = ["535 5.7.8 canary?", "454 later"]
    details = [channel.send(NOTICE).detail for _ in range(3)]
    assert "canary-secret" not in " ".join(details) + caplog.text + repr(channel)
