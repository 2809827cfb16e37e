"""What judges besides readings and policy: dated statements, each by somebody, never changed.

Bodies that have a form (checked by `ingest.fact_body` when the fact is added):

* CALIBRATION of `device/metric[/channel]`: `{"slope", "offset", "certificate"?}`; calibrated = slope * raw + offset, in
  the metric's canonical unit.
* REPLACEMENT of `device`: `{"serial", "model"?, "previous_serial"?}`; another instrument stands there from then on.
* DEVICE_MOVE of `device`: `{"position": [lon, lat], "place"?}`, degrees, WGS 84.
* APPROVAL of `device` with `{"network", "address"}`: an address of another network speaks for it.

The first three may have `"corrects": id`: the earlier fact of that id is then as if it had never been said; with
`"withdrawn": true` nothing takes its place.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class FactKind(StrEnum):
    """Kinds of facts that verdicts and admission may ask for."""

    CALIBRATION = "calibration"
    MAINTENANCE = "maintenance"
    EXCEPTIONAL = "exceptional"
    DEVICE_MOVE = "device_move"
    REPLACEMENT = "replacement"
    BACKGROUND = "background"
    APPROVAL = "approval"
    INVALIDATION = "invalidation"


class Fact(NamedTuple):
    """A row of the append-only table. Times in ns UTC; `valid_to_ns` None is open; `body` is canonical JSON.

    A fact is corrected by a later one of the same subject, never by an edit.
    """

    id: int
    mine: str
    kind: FactKind
    subject: str
    valid_from_ns: int
    valid_to_ns: int | None
    recorded_at_ns: int
    by: str
    reason: str
    body: str
