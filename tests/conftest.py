"""What all tests share."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings

# How long an example takes says more about the machine than about the code.
settings.register_profile(
    "greenmine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # To explain a failure takes minutes and gigabytes where an example opens a database.
    phases=[phase for phase in Phase if phase is not Phase.explain],
)
settings.load_profile("greenmine")

PROGRAMS = frozenset({"mosquitto", "influxdb", "victoria", "chromium"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Write into a JUnit report which tests need which real program, so that CI can tell when none of them ran."""
    for item in items:
        needed = PROGRAMS & {mark.name for mark in item.iter_markers()}
        item.user_properties.extend(("program", name) for name in sorted(needed))
