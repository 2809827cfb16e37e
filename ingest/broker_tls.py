"""TLS of the embedded broker: 1.2 or newer, and who a client is by its certificate (RFC 5280).

Whether a certificate was revoked is not looked up in a revocation list: the gate knows every certificate that counts,
so one that it does not know is refused, whoever signed it. A connection outlives the end of its certificate's validity.
Whoever is still in the handshake, for ten seconds at most, does not count among the broker's connections.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, NamedTuple

from greenmine.core.errors import ConfigError


class TlsListener(NamedTuple):
    """Where the broker also listens, and how."""

    host: str
    port: int
    context: ssl.SSLContext


class Presented(NamedTuple):
    """What a client's certificate says: its common name, and its serial in lower-case hexadecimal."""

    name: str
    serial: str


def server_context(
    cert_file: Path, key_file: Path, authority_file: Path | None, required: bool = False
) -> ssl.SSLContext:
    """TLS for a broker with this certificate. Clients may (with `required`: must) present one of the authority; without
    an authority they are not asked.

    Raises:
        ConfigError: a file cannot be read, does not fit the other, or clients must present what nobody can check.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert_file, key_file)
        if authority_file is not None:
            context.load_verify_locations(authority_file)
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise ConfigError(
            f"TLS of the embedded broker: {cert_file}, {key_file} and the authority cannot be used: {error}; "
            "make them with `greenmine devices ca init` and `greenmine devices ca server --host NAME`, "
            "or name yours in mqtt.tls"
        ) from error
    if required and authority_file is None:
        raise ConfigError(
            "mqtt.tls asks every client for a certificate; make an authority: `greenmine devices ca init`"
        )
    return context


def presented(link: ssl.SSLObject | None) -> Presented | None:
    """The certificate that a client has proved to have the key of; none without TLS or without a certificate. A
    certificate that names nobody, or several, has an empty name."""
    found: Any = link.getpeercert() if link is not None else None
    if not found:
        return None
    names = [value for part in found["subject"] for key, value in part if key == "commonName"]
    serial = int(found["serialNumber"], 16)
    return Presented(names[0] if len(names) == 1 else "", f"{serial:x}")
