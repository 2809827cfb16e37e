"""What changed between two policies."""

from __future__ import annotations

import copy
from typing import Any

from greenmine.policy.difference import Difference, differences
from greenmine.policy.model import Policy
from tests.unit.test_policy_check import good, limit


def changed(edit: Any) -> list[Difference]:
    data = good()
    after = copy.deepcopy(data)
    edit(after)
    return differences(Policy.model_validate(data), Policy.model_validate(after))


def test_the_same_policy_in_another_order_differs_in_nothing() -> None:
    def reverse(data: dict[str, Any]) -> None:
        data["rules"].reverse()
        data["devices"].reverse()
        data["quality"] = {"lateness": "5m"}

    assert changed(reverse) == []


def test_a_level_a_new_rule_and_one_that_left() -> None:
    def edit(data: dict[str, Any]) -> None:
        data["rules"][0]["raise"] = 240
        data["rules"][4]["window"] = "30s"
        data["rules"][6] = limit("new", "pm10", 99, 9)

    found = changed(edit)
    assert [(one.field, one.change) for one in found] == [
        ("rules.new", "added"),
        ("rules.noise.window", "changed"),
        ("rules.pm10-high.raise", "changed"),
        ("rules.silent-d1", "removed"),
    ]
    assert (found[1].before, found[1].after) == ("20s", "30s")
    assert (found[2].before, found[2].after) == (250, 240)
    assert found[0].before is None
    assert found[0].after["raise"] == 99
    assert found[3].after is None
