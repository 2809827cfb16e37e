"""SM4 of HJ 212-2025: CP encrypted in ECB mode without padding, written as `{0xE4,0x3E,...}`.

Whole blocks of 16 bytes are encrypted and the tail under 16 bytes stays plain, either as bytes in the braces or as text
behind them. The CRC of a frame is over its plain text. ECB shows equal blocks as equal: it keeps readings from being
read in passing, and is no proof of who sent them.
"""

from __future__ import annotations

import re

from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4

from greenmine.core.errors import DecodeRefused
from greenmine.ingest.hj212_frame import Frame, crc16

BLOCK_BYTES = 16
_WRITTEN = re.compile(rb"\{((?:0[xX][0-9A-Fa-f]{2},)*0[xX][0-9A-Fa-f]{2}),?\}(.*)", re.DOTALL)
_HEX_KEY = re.compile(r"[0-9A-Fa-f]{32}", re.ASCII)


def is_encrypted(cp: bytes) -> bool:
    """Whether CP is written as encrypted data are."""
    return cp[:3].lower() == b"{0x"


def to_key(secret: str) -> bytes:
    """The key from its secret: 32 hexadecimal digits, or 16 ASCII characters.

    Raises:
        ValueError: neither; the message does not repeat the secret.
    """
    if _HEX_KEY.fullmatch(secret):
        return bytes.fromhex(secret)
    if len(secret) == BLOCK_BYTES and secret.isascii():
        return secret.encode()
    raise ValueError("an SM4 key is 32 hexadecimal digits or 16 ASCII characters")


def encrypt_cp(plain: bytes, key: bytes) -> bytes:
    """CP as it is sent."""
    whole = len(plain) - len(plain) % BLOCK_BYTES
    encryptor = _cipher(key).encryptor()
    sent = encryptor.update(plain[:whole]) + encryptor.finalize() + plain[whole:]
    return b"{" + b",".join(b"0x%02X" % byte for byte in sent) + b"}"


def decrypt_cp(cp: bytes, key: bytes) -> bytes:
    """The data in an encrypted CP.

    Raises:
        DecodeRefused: `cp`, it is not written as bytes in braces.
    """
    match = _WRITTEN.fullmatch(bytes(cp).translate(None, b" "))
    if match is None:
        raise DecodeRefused("cp", "encrypted data are written as {0xE4,0x3E,...}", "CP")
    sent = bytes(int(one, 16) for one in match[1].split(b","))
    whole = len(sent) - len(sent) % BLOCK_BYTES
    decryptor = _cipher(key).decryptor()
    return decryptor.update(sent[:whole]) + decryptor.finalize() + sent[whole:] + match[2]


def plain_segment(frame: Frame, key: bytes) -> bytes:
    """The data segment with CP decrypted.

    Raises:
        DecodeRefused: `cp`, and `crc` where the frame's CRC does not fit the plain text (damage, or another key).
    """
    head, opening, rest = frame.segment.partition(b"CP=&&")
    cp, closing, after = rest.partition(b"&&")
    segment = head + opening + decrypt_cp(cp, key) + closing + after
    if frame.unproved_crc is not None and crc16(segment) != frame.unproved_crc:
        raise DecodeRefused("crc", "the CRC does not fit the decrypted data: damage, or another key")
    return segment


def _cipher(key: bytes) -> Cipher[modes.ECB]:
    return Cipher(SM4(key), modes.ECB())  # noqa: S305 - the standard's mode
