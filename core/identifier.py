"""Identifiers of mines, devices, channels and rules: a small ASCII alphabet that needs no escaping anywhere."""

from __future__ import annotations

import re

IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
IDENTIFIER_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"


def is_identifier(text: str) -> bool:
    """Whether `text` is 1 to 63 of a-z, 0-9 and '-', not starting with '-'."""
    return IDENTIFIER.fullmatch(text) is not None
