"""SM4 of CP: the cipher's published vector, how its bytes are written, and what only a right key opens."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.errors import DecodeRefused
from greenmine.ingest.hj212_frame import Frame, crc16
from greenmine.ingest.hj212_sm4 import decrypt_cp, encrypt_cp, is_encrypted, plain_segment, to_key

HEX_KEY = "0123456789ABCDEFFEDCBA9876543210"
KEY = bytes.fromhex(HEX_KEY)
CIPHERED = "681EDF34D206965E86B3E94F536E4246"
"""GB/T 32907-2016, annex A.1: the key enciphered with itself."""

plains = st.binary(min_size=1, max_size=200)
keys = st.binary(min_size=16, max_size=16)


def written(hexadecimal: str) -> bytes:
    return b"{" + b",".join(f"0x{byte:02X}".encode() for byte in bytes.fromhex(hexadecimal)) + b"}"


def test_the_vector_of_the_standard() -> None:
    assert encrypt_cp(KEY, KEY) == written(CIPHERED)
    assert decrypt_cp(written(CIPHERED), KEY) == KEY


def test_the_tail_under_a_block_stays_plain_inside_or_behind_the_braces() -> None:
    assert encrypt_cp(KEY + b"tail", KEY) == written(CIPHERED + b"tail".hex())
    assert decrypt_cp(written(CIPHERED + b"tail".hex()), KEY) == KEY + b"tail"
    assert decrypt_cp(written(CIPHERED) + b"tail", KEY) == KEY + b"tail"


@pytest.mark.parametrize(
    "sent",
    [written(CIPHERED).lower(), written(CIPHERED).replace(b",", b", "), written(CIPHERED).replace(b"}", b",}")],
)
def test_how_else_the_bytes_are_written(sent: bytes) -> None:
    assert is_encrypted(sent)
    assert decrypt_cp(sent, KEY) == KEY


@pytest.mark.parametrize("sent", [b"", b"{}", b"{0x}", b"{0xG0}", b"{0x12", b"{0x123}", b"{0x12;0x13}", b"x{0x12}"])
def test_what_is_not_written_so_is_refused(sent: bytes) -> None:
    with pytest.raises(DecodeRefused, match="written as") as refused:
        decrypt_cp(sent, KEY)
    assert refused.value.word == "cp"


@pytest.mark.parametrize("secret", [HEX_KEY, HEX_KEY.lower()])
def test_a_key_in_hexadecimal(secret: str) -> None:
    assert to_key(secret) == KEY


def test_a_key_in_characters() -> None:
    assert to_key("sixteen chars ok") == b"sixteen chars ok"


@pytest.mark.parametrize("secret", ["", "short", HEX_KEY[:-1], HEX_KEY + "0", "x" * 32, "密钥" * 8])
def test_what_is_no_key_is_not_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match="SM4 key") as refused:
        to_key(secret)
    assert not secret or secret not in str(refused.value)


@given(plains, keys)
def test_what_is_encrypted_is_decrypted(plain: bytes, key: bytes) -> None:
    assert decrypt_cp(encrypt_cp(plain, key), key) == plain


@given(st.binary(max_size=120), keys)
def test_any_bytes_are_data_or_refused(cp: bytes, key: bytes) -> None:
    for sent in (cp, b"{0x%b}" % cp, b"{0x12" + cp):
        with contextlib.suppress(DecodeRefused):
            decrypt_cp(sent, key)


def sealed(plain: bytes) -> Frame:
    segment = b"CN=2011;CP=&&" + encrypt_cp(plain, KEY) + b"&&"
    return Frame(segment, b"", crc16(b"CN=2011;CP=&&" + plain + b"&&"))


def test_the_crc_proves_the_key() -> None:
    plain = b"DataTime=20260401080000;a34002-Rtd=1"
    assert plain_segment(sealed(plain), KEY) == b"CN=2011;CP=&&" + plain + b"&&"
    with pytest.raises(DecodeRefused) as refused:
        plain_segment(sealed(plain), bytes(16))
    assert refused.value.word == "crc"
