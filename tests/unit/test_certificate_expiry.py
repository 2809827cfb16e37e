"""What `doctor` says of certificates that end."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenmine import command_look
from greenmine.certificate_expiry import WARNED_BEFORE_NS, Expiry, expiry
from greenmine.core.clock import NS_PER_S, ManualClock, SystemClock
from greenmine.store.certificates import Certificate, Purpose
from greenmine.terminal import FAILED
from tests.service_rig import MINE, running, write_policy
from tests.unit.test_cli import gm

DAY_NS = 86_400 * NS_PER_S
NOW_NS = 1_790_000_000 * NS_PER_S
FAR_NS = NOW_NS + 3000 * DAY_NS


def one(name: str, until_ns: int, serial: str = "1", revoked: bool = False) -> Certificate:
    return Certificate(serial, Purpose.DEVICE.value, name, "f", 0, until_ns, NOW_NS if revoked else None)


def looked(*certificates: Certificate, authority_ns: int = FAR_NS) -> Expiry:
    return expiry(certificates, authority_ns, NOW_NS)


@pytest.mark.parametrize(("until_ns", "ok", "warn"), [
    (NOW_NS + WARNED_BEFORE_NS, True, False),
    (NOW_NS + WARNED_BEFORE_NS - 1, True, True),
    (NOW_NS + 1, True, True),
    (NOW_NS, False, True),
])  # fmt: skip
def test_thirty_days_before_and_after_the_end(until_ns: int, ok: bool, warn: bool) -> None:
    found = looked(one("north.dust-1", until_ns))
    assert (found.ok, found.warn) == (ok, warn)
    assert "north.dust-1" in found.detail
    assert bool(found.advice) == warn
    of_authority = looked(authority_ns=until_ns)
    assert (of_authority.ok, of_authority.warn) == (ok, warn)


def test_a_renewed_or_revoked_certificate_is_not_spoken_of() -> None:
    old, new = one("a", NOW_NS + DAY_NS, "1"), one("a", NOW_NS + 90 * DAY_NS, "2")
    assert not looked(old, new).warn
    assert not looked(one("a", NOW_NS - DAY_NS, revoked=True)).warn
    assert looked(old, one("a", NOW_NS + 90 * DAY_NS, "2", revoked=True)).warn


def test_the_soonest_are_named_in_both_languages_and_the_rest_counted() -> None:
    found = looked(*(one(f"d{n:02}", NOW_NS + n * DAY_NS) for n in range(1, 13)))
    assert "within 30 days / 30 天内到期: d01 2026-09-22, d02 " in found.detail
    assert found.detail.endswith("(+2)")
    assert "d11" not in found.detail
    assert "devices provision --certificate" in found.advice
    assert "重新签发" in found.advice
    assert "证书机构" in looked(authority_ns=NOW_NS + DAY_NS).advice


def test_doctor_warns_before_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    with running(home, write_policy(tmp_path / "policies").parent) as service:
        assert "certificates" not in {
            check["name"] for check in gm("doctor", "--json", "--home", service.home.path).json
        }
        gm("devices", "ca", "init", "--home", home)
        wanted = ["--mine", MINE, "--device", "dust-1", "--days", "40", "--out", tmp_path / "keys"]
        gm("devices", "provision", "--certificate", *wanted, "--home", home)
        clock = ManualClock(SystemClock().wall_ns())
        monkeypatch.setattr(command_look, "SystemClock", lambda: clock)
        assert gm("doctor", "--home", home).code == 0
        assert "warn certificates" not in gm("doctor", "--home", home).out
        clock.advance(11 * DAY_NS)
        warned = gm("doctor", "--home", home)
        assert warned.code == 0
        assert f"warn certificates end within 30 days / 30 天内到期: {MINE}.dust-1" in warned.out
        clock.advance(30 * DAY_NS)
        assert gm("doctor", "--home", home).code == FAILED
        (home / "ca" / "ca.crt").write_text("damaged")
        assert "damaged" in gm("doctor", "--home", home).out
