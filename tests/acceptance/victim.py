"""A service that a test may kill: started with a home, told how to reach the broker, ready when it prints its line.

python victim.py HOME POLICY embedded PORT
python victim.py HOME POLICY external URL
... early                     acknowledges on receipt, before the commit: what the kill test must turn red on
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

from greenmine.home import Home, write_private
from greenmine.ingest.journal_writer import JournalWriter, Submission
from greenmine.policy.load import load_policy
from greenmine.service import Service
from greenmine.settings import MqttSettings, Settings

INGEST = "greenmine-ingest"


class Impatient(JournalWriter):
    """Acknowledges what it has only in memory."""

    def offer(self, submission: Submission) -> bool:
        taken = super().offer(submission._replace(sink=None))
        if taken and submission.sink is not None:
            submission.sink.acknowledge([submission.token])
        return taken


def main() -> None:
    """Serve until told to stop."""
    home_path, policy_path, mode, where = sys.argv[1:5]
    if "early" in sys.argv[5:]:
        import greenmine.service

        greenmine.service.JournalWriter = Impatient  # type: ignore[misc]
    if mode == "embedded":
        mqtt = MqttSettings(port=int(where))
    else:
        mqtt = MqttSettings(mode="external", url=where, user=INGEST)
    home = Home(Path(home_path))
    home.make()
    if mode == "external" and not (home.secrets / "mqtt-ingest").exists():
        write_private(home.secrets / "mqtt-ingest", os.environ["VICTIM_PASSWORD"])
    policy = load_policy(Path(policy_path)).policy
    service = Service(home, Settings(mqtt=mqtt), {policy.mine.id: policy})
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    service.start(with_web=False)
    passwords = home.path / "passwords.json"
    if not passwords.exists():
        made = [service.administration.provision(policy.mine.id, d.id, "service:test") for d in policy.devices]
        write_private(passwords, json.dumps({one["account"]: one["password"] for one in made}))
    while service.subscriber is not None and not service.subscriber.connected:
        stop.wait(0.01)
    print("ready", flush=True)
    while not stop.wait(0.1) and not service.failed.is_set():
        pass
    drained = service.drain(60.0)
    service.stop()
    print("drained" if drained and not service.failed.is_set() else "failed", flush=True)


if __name__ == "__main__":
    main()
