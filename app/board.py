"""The board's view of the state: `web.backend.Board` over the state database."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from greenmine.core.alert import Alert, Transition
from greenmine.core.latest import Latest
from greenmine.core.reading import Series
from greenmine.ingest.calibration import Calibrations
from greenmine.pipeline.effects import SeriesState
from greenmine.policy.model import Policy
from greenmine.store import alerts
from greenmine.store.state import StateDb


class StateBoard:
    """What was committed last."""

    def __init__(
        self,
        state: StateDb,
        policies: Callable[[], Mapping[str, Policy]],
        series: Callable[[], Mapping[Series, SeriesState]],
        calibrations: Callable[[], Calibrations],
    ) -> None:
        """`series` is what the pipeline remembers of them: their rows in the state are up to a minute older."""
        self._state = state
        self._policies = policies
        self._series = series
        self._calibrations = calibrations

    def policies(self) -> Mapping[str, Policy]:
        """Active policies by mine id."""
        return self._policies()

    def latest(self, mine: str) -> list[Latest]:
        """Newest value of each series of a mine that was ever heard."""
        known = list(self._series().values())  # in one step, since the pipeline's thread may be adding one
        calibrations = self._calibrations()
        return [
            Latest(
                one.series,
                one.newest_ns,
                one.value,
                one.quality,
                one.received_ns,
                calibrations.value(one.series, one.newest_ns, one.value),
            )
            for one in known
            if one.series.mine == mine and one.newest_ns > 0
        ]

    def alerts(self, mine: str | None = None, open_only: bool = False, limit: int = 500) -> list[Alert]:
        """Alerts, newest raise first."""
        with self._state.reading() as connection:
            return alerts.listed(connection, mine, open_only, limit)

    def history(self, alert_id: str) -> tuple[Alert, list[Transition]]:
        """An alert and its transitions. Raises NotFound."""
        with self._state.reading() as connection:
            return alerts.get(connection, alert_id), alerts.history(connection, alert_id)
