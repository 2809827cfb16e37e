"""What a policy says of a station that speaks HJ 212, beside its MN."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from greenmine.policy.section import SecretRef, Section

IgnoredName = Annotated[
    str,
    StringConstraints(
        pattern=r"^([0-9A-Za-z]{1,20}(-[A-Za-z][A-Za-z-]{0,30})?|-[A-Za-z][A-Za-z-]{0,30})$", strict=True
    ),
]


class Hj212Settings(Section):
    """Password and key of a station, both as references whose values stand in files; and what of its data nobody
    needs."""

    password: SecretRef | None = None
    sm4_key: SecretRef | None = None
    ignore: list[IgnoredName] = Field(default_factory=list)
