"""The one text of a policy, for the journal and for its hash: JSON with sorted keys and every setting written out.

Durations are `{"s": seconds}`, so that a bare number never means one. Things with an id are ordered by id: neither
comments, nor the order of keys, nor the order in which a file lists its rules, nor whether a setting is written out
or left to its default, changes the text. The name given to `extends` is part of it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, NoReturn

from pydantic import ValidationError

from greenmine.core.errors import PolicyError, Problem
from greenmine.policy.duration import CANONICAL
from greenmine.policy.explain import explain
from greenmine.policy.merge import KEYED_LISTS
from greenmine.policy.model import Policy
from greenmine.policy.yaml import field_name

_NAME = "canonical policy"


def ordered_by_id(policy: Policy) -> Policy:
    """The same policy with its devices, limits, rules, contacts, ladders and tarps ordered by id."""
    lists: dict[str, Any] = {name: sorted(getattr(policy, name), key=lambda item: item.id) for name in KEYED_LISTS}
    return policy.model_copy(update=lists)


def to_canonical_json(policy: Policy) -> str:
    """The canonical text. `from_canonical_json` gives the policy back, ordered by id as `load_policy` orders it."""
    data = ordered_by_id(policy).model_dump(mode="json", by_alias=True)
    return json.dumps(data, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def from_canonical_json(text: str) -> Policy:
    """The policy of a canonical text.

    Raises:
        PolicyError: the text is not JSON or not a policy that this version knows.
    """
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
        return Policy.model_validate(data, by_alias=True, by_name=False, context=CANONICAL)
    except ValidationError as error:
        found = [explain(detail) for detail in error.errors(include_url=False)]
        raise PolicyError([Problem(_NAME, None, field_name(path), message) for path, message in found]) from error
    except (ValueError, RecursionError) as error:
        raise PolicyError([Problem(_NAME, None, "", f"is not canonical JSON: {error}")]) from error


def policy_hash(policy: Policy) -> str:
    """SHA-256 of the canonical text in UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(to_canonical_json(policy).encode()).hexdigest()


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a finite number")
