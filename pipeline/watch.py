"""Conditions and alerts: shows readings and the clock to the rules and turns their events into alerts and notices."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping

from greenmine.alerts import lifecycle
from greenmine.alerts.lifecycle import Cause
from greenmine.alerts.notices import compose
from greenmine.core.alert import (
    DISK_RULE,
    LINK_RULE,
    STORE_RULE,
    Alert,
    AlertKey,
    Condition,
    Reason,
    Severity,
    Transition,
)
from greenmine.core.latest import Change
from greenmine.core.metric import METRICS
from greenmine.core.notice import NoticeKind
from greenmine.core.principal import SERVICE, Principal, PrincipalKind
from greenmine.core.reading import Reading, Series
from greenmine.pipeline.activities import Activities
from greenmine.pipeline.effects import Effects, NoticeState, SeriesState
from greenmine.pipeline.state import JudgeState
from greenmine.rules import conditions
from greenmine.rules.binding import Binding
from greenmine.rules.conditions import INACTIVE, ConditionState, Event, EventKind
from greenmine.store.audit import AuditEntry

LINK_GRACE_NS = 60 * 1_000_000_000
"""How long the connection to an external broker may be lost before the mines are told."""


class Watch:
    """Drives the conditions of all bindings over one state."""

    def __init__(self, state: JudgeState, activities: Activities) -> None:
        self._state = state
        self._activities = activities

    def on_reading(self, reading: Reading, series: SeriesState, clock_ns: int, fx: Effects) -> None:
        """The newest reading of a series has come, and it is usable."""
        judged = reading.judged_value
        assert judged is not None
        series.usable_clock_ns = clock_ns
        if series.window is not None:
            series.window.add(reading.time_ns, judged)
        if series.is_quiet(reading.time_ns, judged):
            return
        for binding in self._state.bindings.get(reading.series, ()):
            before = self._condition(binding)
            if binding.is_absence:
                step = conditions.on_data(before, judged, reading.time_ns)
            else:
                value: float | None = judged
                if binding.window_ns:
                    assert series.window is not None
                    value = series.window.mean(binding)
                if value is None:
                    continue
                if binding.asks_activity and not self._activities.judges(binding, reading.time_ns):
                    continue  # passed over: it moves the condition in neither direction
                step = conditions.on_value(binding, before, value, reading.time_ns, clock_ns)
            self._moved(binding, before, step, clock_ns, fx)

    def on_death(self, mine: str, device: str, clock_ns: int, fx: Effects) -> None:
        """A device is said to be gone: what fires on its readings is stale from now on, not after a silence."""
        active = sorted({one for one in self._active() if (one[0].mine, one[0].device) == (mine, device)})
        for series, place in active:
            binding = self._state.bindings[series][place]
            before = self._condition(binding)
            self._moved(binding, before, conditions.on_death(binding, before), clock_ns, fx)

    def on_clock(self, clock_ns: int, fx: Effects) -> None:
        """Time has passed: end holds, notice silence."""
        state = self._state
        if state.link_down_since_ns is not None:
            self._link_lost(clock_ns, fx)
        for series, place in sorted({*self._active(), *self._perhaps_silent(clock_ns)}):
            binding = state.bindings[series][place]
            before = self._condition(binding)
            step = conditions.on_clock(binding, before, self._heard_ns(series, clock_ns), clock_ns)
            self._moved(binding, before, step, clock_ns, fx)

    def _active(self) -> Iterator[tuple[Series, int]]:
        """Series and place among its bindings of every condition that is not inactive."""
        for _, rule, series in self._state.conditions:
            for place, binding in enumerate(self._state.bindings[series]):
                if binding.rule.id == rule:
                    yield series, place

    def _perhaps_silent(self, clock_ns: int) -> Iterator[tuple[Series, int]]:
        """The same of absence rules whose series may have been silent for too long, and when to look again."""
        due = self._state.absences
        while due and due[0][0] < clock_ns:
            _, series, place = due[0]
            yield series, place
            silence_ns = self._state.bindings[series][place].silence_ns
            heard_ns = self._heard_ns(series, clock_ns)
            # Once it is silent, a new silence is as long again at least.
            silent = clock_ns - heard_ns > silence_ns
            heapq.heapreplace(due, ((clock_ns if silent else heard_ns) + silence_ns, series, place))

    def link_restored(self, clock_ns: int, fx: Effects) -> None:
        """The external broker is back: end the alerts of the lost connection."""
        self._restored(self._state.link_alerts, Reason.DATA_RETURNED, clock_ns, fx)

    def disk_full(self, clock_ns: int, fx: Effects) -> None:
        """Nothing is taken from devices any more: one alert a mine, and not one for every silence that follows."""
        like, alarm = AlertKey("", DISK_RULE, "disk", ""), ("disk", Severity.CRITICAL, Reason.SERVICE_FAULT)
        self._trouble(like, alarm, self._state.disk_alerts, clock_ns, fx)

    def disk_has_room(self, clock_ns: int, fx: Effects) -> None:
        """There is room again."""
        self._restored(self._state.disk_alerts, Reason.SERVICE_MENDED, clock_ns, fx)

    def store_refuses(self, clock_ns: int, fx: Effects) -> None:
        """The store takes nothing until somebody mends that. Readings wait and alarms go on: no more than a warning."""
        like, alarm = AlertKey("", STORE_RULE, "store", ""), ("store", Severity.WARNING, Reason.SERVICE_FAULT)
        self._trouble(like, alarm, self._state.store_alerts, clock_ns, fx)

    def store_takes(self, clock_ns: int, fx: Effects) -> None:
        """It takes readings again."""
        self._restored(self._state.store_alerts, Reason.SERVICE_MENDED, clock_ns, fx)

    def _restored(self, alerts: set[AlertKey], reason: Reason, clock_ns: int, fx: Effects) -> None:
        for key in sorted(alerts):
            alert = self._state.alerts[key]
            event = Event(EventKind.CLEAR, reason, None, None)
            self._change(alert, Condition.CLEARED, event, clock_ns, str(SERVICE), fx)

    def pause(self, until_ns: int, fx: Effects) -> None:
        """What was said up to a time (journal's clock) is set aside: no hold runs through it, since nobody can tell yet
        whether it held. What is pending begins its hold anew then."""
        for identity, before in list(self._state.conditions.items()):
            mine, rule, series = identity
            since_ns = until_ns if before.phase is Condition.PENDING else before.since_ns
            clear_since_ns = None if before.clear_since_ns is None else until_ns
            after = before._replace(since_ns=since_ns, clear_since_ns=clear_since_ns)
            if after != before:
                self._state.conditions[identity] = after
                fx.conditions[mine, rule, self._state.series[series].id] = after

    def drop_removed(self, mine: str, former: Mapping[Series, list[Binding]], clock_ns: int, fx: Effects) -> None:
        """After a change of a mine's policy from these bindings: forget conditions whose rule or series is gone, or
        whose rule now asks something else, and clear their alerts."""
        state = self._state
        asked = _questions(mine, former)
        kept = {one for one, question in _questions(mine, state.bindings).items() if asked.get(one) == question}
        touched: set[AlertKey] = set()
        for identity in sorted(i for i in state.conditions if i[0] == mine and i not in kept):
            _, rule, series = identity
            del state.conditions[identity]
            state.series[series].active -= 1
            fx.conditions[mine, rule, state.series[series].id] = None
            key = AlertKey(mine, rule, series.device, series.channel)
            self._no_longer(state.firing, key, series)
            self._no_longer(state.stale, key, series)
            touched.add(key)
        for key in sorted(touched):
            self._follow(key, Event(EventKind.CLEAR, Reason.RULE_REMOVED, None, None), clock_ns, fx)

    def keep(self, alert: Alert, transition: Transition, fx: Effects) -> None:
        """Take over a new state of an alert."""
        self._state.keep_alert(alert)
        fx.alerts[alert.id] = alert
        fx.transitions.append(transition)
        fx.changes += (Change("alert", alert), Change("transition", transition))
        body = {
            "no": transition.no,
            "condition": transition.condition.value,
            "handling": transition.handling.value,
            "value": transition.value,
            "source_time_ns": transition.source_time_ns,
            "note": transition.note,
        }
        action = f"alert.{transition.reason.value}"
        fx.audit.append(AuditEntry(transition.at_ns, transition.principal, action, alert.id, body))

    def _condition(self, binding: Binding) -> ConditionState:
        return self._state.conditions.get((binding.series.mine, binding.rule.id, binding.series), INACTIVE)

    def _heard_ns(self, series: Series, clock_ns: int) -> int:
        state = self._state
        if state.link_down_since_ns is not None or state.disk_alerts:
            return clock_ns
        known = state.series.get(series)
        usable_ns = known.usable_clock_ns or 0 if known else 0
        return max(usable_ns, state.expected_since_ns.get(series.mine, 0), state.listening_since_ns)

    def _moved(
        self, binding: Binding, before: ConditionState, step: conditions.Step, clock_ns: int, fx: Effects
    ) -> None:
        after, events = step
        if not events and after == before:
            return
        state, mine, rule = self._state, binding.series.mine, binding.rule.id
        series = state.series.get(binding.series)
        # An absence may concern a series that was never heard; its condition is rebuilt by the clock after a restart.
        series_id = series.id if series is not None else self._register_silent(binding.series, fx)
        known = state.series[binding.series]
        known.active += (after != INACTIVE) - (before != INACTIVE)
        if after == INACTIVE:
            state.conditions.pop((mine, rule, binding.series), None)
            fx.conditions[mine, rule, series_id] = None
        else:
            state.conditions[mine, rule, binding.series] = after
            fx.conditions[mine, rule, series_id] = after
        for event in events:
            self._event(binding, event, clock_ns, fx)

    def _register_silent(self, series: Series, fx: Effects) -> int:
        state = self._state
        silent = SeriesState(state.next_series_id, series, 0, 0.0, 0, 0, None)
        state.prepare(silent)
        state.next_series_id += 1
        state.series[series] = fx.new_series[series] = silent
        return silent.id

    def _event(self, binding: Binding, event: Event, clock_ns: int, fx: Effects) -> None:
        state, key = self._state, binding.key
        if event.kind is EventKind.RAISE:
            first = key not in state.firing
            state.firing.setdefault(key, set()).add(binding.series)
            if first:
                self._raise(binding, event, clock_ns, fx)
                return
        elif event.kind is EventKind.STALE:
            state.stale.setdefault(key, set()).add(binding.series)
        else:
            self._no_longer(state.stale, key, binding.series)
        if event.kind is EventKind.CLEAR:
            self._no_longer(state.firing, key, binding.series)
        self._follow(key, event, clock_ns, fx)

    def _follow(self, key: AlertKey, event: Event, clock_ns: int, fx: Effects) -> None:
        """Bring the alert of a key to what its series, of which one has just changed, say together."""
        alert = self._state.alerts.get(key)
        members = self._state.firing.get(key)
        if members is None:
            wanted = Condition.CLEARED
        else:
            wanted = Condition.STALE if self._state.stale.get(key) == members else Condition.FIRING
        if alert is not None and alert.condition is not wanted:
            self._change(alert, wanted, event, clock_ns, _rule(key), fx)

    def _raise(self, binding: Binding, event: Event, clock_ns: int, fx: Effects) -> None:
        cause = Cause(
            metric=binding.series.metric,
            kind=binding.rule.kind,
            severity=binding.rule.severity,
            reason=event.reason,
            value=event.value,
            limit=binding.raise_level,
            unit=METRICS[binding.series.metric].unit,
            source_time_ns=event.time_ns,
            at_ns=clock_ns,
            principal=_rule(binding.key),
        )
        self._raise_for(binding.key, cause, fx)

    def _raise_for(self, key: AlertKey, cause: Cause, fx: Effects) -> None:
        open_alert = self._state.alerts.get(key)
        if open_alert is None:
            step = lifecycle.raised(key, self._next_position(), cause)
        else:
            step = lifecycle.raised_again(open_alert, cause)
            self._withdraw_clearings(open_alert, cause.at_ns, fx)
        self.keep(*step, fx)
        self._tell(step[0], NoticeKind.RAISED, cause.at_ns, fx)

    def _withdraw_clearings(self, alert: Alert, clock_ns: int, fx: Effects) -> None:
        """A clearing that is still waiting to be told must not arrive after the raise that took it back."""
        waiting = self._state.notices
        clearings = (
            key
            for key, one in waiting.items()
            if one.notice.alert_id == alert.id and one.notice.kind is NoticeKind.CLEARED
        )
        for key in sorted(clearings):
            fx.notices[key] = waiting.pop(key)._replace(
                state="withdrawn", ended_ns=clock_ns, detail="raised again before it was told"
            )
            body = {"alert": alert.id, "state": "withdrawn"}
            fx.audit.append(AuditEntry(clock_ns, str(SERVICE), "notice.ended", key, body))

    def _change(
        self, alert: Alert, condition: Condition, event: Event, clock_ns: int, principal: str, fx: Effects
    ) -> None:
        step = lifecycle.condition_changed(
            alert,
            condition,
            reason=event.reason,
            value=event.value,
            source_time_ns=event.time_ns,
            at_ns=clock_ns,
            principal=principal,
        )
        self.keep(*step, fx)
        if condition is Condition.CLEARED:
            self._tell(step[0], NoticeKind.CLEARED, clock_ns, fx)

    def _tell(self, alert: Alert, kind: NoticeKind, clock_ns: int, fx: Effects) -> None:
        policy = self._state.policies.get(alert.key.mine)
        if policy is None:
            return
        for notice in compose(policy, alert, kind, clock_ns):
            waiting = NoticeState(notice, "pending", 0, clock_ns, clock_ns, None, None, "")
            self._state.notices[notice.key] = fx.notices[notice.key] = waiting

    def _link_lost(self, clock_ns: int, fx: Effects) -> None:
        state = self._state
        assert state.link_down_since_ns is not None
        if clock_ns - state.link_down_since_ns >= LINK_GRACE_NS:
            like, alarm = AlertKey("", LINK_RULE, "broker", ""), ("link", Severity.CRITICAL, Reason.NO_USABLE_DATA)
            self._trouble(like, alarm, state.link_alerts, clock_ns, fx)

    def _trouble(
        self,
        like: AlertKey,
        alarm: tuple[str, Severity, Reason],
        known: set[AlertKey],
        clock_ns: int,
        fx: Effects,
    ) -> None:
        """Raise an alert of the service itself, of this kind, severity and reason, for every mine that has none."""
        kind, severity, reason = alarm
        cause = Cause(
            metric="",
            kind=kind,
            severity=severity,
            reason=reason,
            value=None,
            limit=None,
            unit="",
            source_time_ns=None,
            at_ns=clock_ns,
            principal=str(SERVICE),
        )
        for mine in sorted(self._state.policies):
            key = like._replace(mine=mine)
            if key not in known:
                self._raise_for(key, cause, fx)

    def _next_position(self) -> int:
        """Which alert this is since the journal began; two of one key may be raised in one batch."""
        self._state.alerts_raised += 1
        return self._state.alerts_raised

    @staticmethod
    def _no_longer(members: dict[AlertKey, set[Series]], key: AlertKey, series: Series) -> None:
        found = members.get(key)
        if found is not None:
            found.discard(series)
            if not found:
                del members[key]


def _rule(key: AlertKey) -> str:
    return str(Principal(PrincipalKind.RULE, f"{key.mine}/{key.rule}"))


def _questions(mine: str, bindings: Mapping[Series, list[Binding]]) -> dict[tuple[str, str, Series], tuple[str, bool]]:
    """What is asked of each series of a mine by each rule: levels and times may change, but not this."""
    return {
        (mine, binding.rule.id, series): (binding.rule.kind, binding.above)
        for series, of_series in bindings.items()
        if series.mine == mine
        for binding in of_series
    }
