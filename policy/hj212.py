"""What a policy says of a station that speaks HJ 212, beside its MN."""

from __future__ import annotations

from greenmine.policy.section import SecretRef, Section


class Hj212Settings(Section):
    """Password and key of a station. Both are references; their values stand in files."""

    password: SecretRef | None = None
    sm4_key: SecretRef | None = None
