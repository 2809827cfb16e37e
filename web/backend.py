"""What the web needs from the rest of the system, as small ports; `app` wires the real ones, tests wire fakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from greenmine.core.account import Account
from greenmine.core.act import Act, ActResult
from greenmine.core.alert import Alert, Transition
from greenmine.core.clock import Clock
from greenmine.core.errors import NotFound
from greenmine.core.latest import ChangeListener, Latest, Wants
from greenmine.core.reading_store import ReadingStore
from greenmine.core.user import User
from greenmine.core.waiting import Network, WaitingDevice
from greenmine.policy.model import Policy


class Board(Protocol):
    """The present state, read-only and cheap (memory or one indexed query)."""

    def policies(self) -> Mapping[str, Policy]:
        """Active policies by mine id."""
        ...

    def latest(self, mine: str) -> list[Latest]:
        """Newest value of each series of a mine."""
        ...

    def alerts(self, mine: str | None = None, open_only: bool = False, limit: int = 500) -> list[Alert]:
        """Alerts, newest raise first."""
        ...

    def history(self, alert_id: str) -> tuple[Alert, list[Transition]]:
        """An alert and its transitions in order. Raises NotFound."""
        ...


class Devices(Protocol):
    """What is known of devices besides their readings."""

    def waiting(self) -> list[WaitingDevice]:
        """Devices that nobody has registered, heard last first. To approve or reject one, submit an act."""
        ...

    def waiting_one(self, network: Network, address: str) -> WaitingDevice:
        """One of them. Raises NotFound."""
        ...

    def suggestion(self, device: WaitingDevice) -> str:
        """YAML for the policy's `devices`, guessed from what the device sent."""
        ...


class NoDevices:
    """The shipped fake: nobody waits."""

    def waiting(self) -> list[WaitingDevice]:
        """Nobody."""
        return []

    def waiting_one(self, network: Network, address: str) -> WaitingDevice:
        """Never found."""
        raise NotFound(f"{network.value} {address!r} is not on the waiting list")

    def suggestion(self, device: WaitingDevice) -> str:
        """The bare device."""
        return f"- id: {device.device or 'new-device'}\n"


class Desk(Protocol):
    """Where people act and where live views listen."""

    def submit(self, act: Act, timeout_s: float = 10.0) -> ActResult:
        """Journal an act, wait until it is judged. Raises NotFound, Conflict, StoreUnavailable (not judged in time;
        the act is in the journal and will be)."""
        ...

    def subscribe(self, listener: ChangeListener, wanted: Callable[[], Wants] = Wants) -> Callable[[], None]:
        """Be told of changes after each commit, as far as they are wanted then; returns the function that ends it."""
        ...


class Logins(Protocol):
    """Passwords and server-side sessions. Tokens are random, stored only as hashes."""

    def log_in(self, name: str, password: str, address: str) -> tuple[User, str]:
        """User and a new session token. Raises Refused with word `credentials` or `locked`."""
        ...

    def session_user(self, token: str) -> User | None:
        """The user of a live session or of the local service token (`service.json`), or None."""
        ...

    def log_out(self, token: str) -> None:
        """End the session; its token is dead from now on."""
        ...

    def change_password(self, name: str, old: str, new: str) -> None:
        """Raises Refused with word `credentials` or `weak`."""
        ...


class Check(NamedTuple):
    """One thing that /readyz and `doctor` look at. `advice` says what to do where `ok` is False."""

    name: str
    ok: bool
    detail: str
    advice: str


class Operations(Protocol):
    """How the service itself is."""

    def account(self) -> Account:
        """The message account now."""
        ...

    def checks(self) -> list[Check]:
        """Everything that must be right for the service to be ready."""
        ...

    def metrics_text(self) -> tuple[bytes, str]:
        """OpenMetrics exposition and its content type."""
        ...

    def administer(self, operation: str, arguments: Mapping[str, Any], principal: str) -> Any:
        """Administrative operations for admins, each JSON in and out: see `app.administration` for the names
        (`users.add`, `users.reset`, `devices.provision`, `devices.revoke`, `readings.import`, ...).
        Raises NotFound, Conflict, Refused, UserError."""
        ...


@dataclass(frozen=True)
class Backend:
    """Everything that `create_app` is given."""

    board: Board
    desk: Desk
    logins: Logins
    operations: Operations
    readings: ReadingStore
    clock: Clock
    devices: Devices = field(default_factory=NoDevices)
