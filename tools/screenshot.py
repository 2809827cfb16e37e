"""Makes the pictures in the README: runs the demo, waits for the alarm, photographs the board in headless Chromium.

    python tools/screenshot.py [--out docs/images]

Needs the chromium program.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from greenmine.core.alert import Condition, Severity
from greenmine.core.user import Role
from greenmine.demo import Demo, DemoPlan
from greenmine.logs import configure_logs

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WAIT_FOR_ALARM_S = 60.0
SETTLE_MS = 2500
PICTURES = (
    ("board-mine", "/mines/shifan-1", 1440, 900, "zh"),
    ("board-device", "/mines/shifan-1/devices/dust-s1?range=1h", 1440, 900, "en"),
    ("board-phone", "/mines/shifan-1", 390, 844, "en"),
)


def main() -> None:
    """Photograph every page of PICTURES while the dust episode lasts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    out = parser.parse_args().out
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("the pictures need the chromium program: apt-get install chromium")
    out.mkdir(parents=True, exist_ok=True)
    configure_logs("error")
    with tempfile.TemporaryDirectory(prefix="greenmine-screenshot-") as home:
        demo = Demo(DemoPlan(speed=60, home=Path(home) / "home"))
        demo.start()
        try:
            password = secrets.token_urlsafe(12)
            demo.service.logins.add_user("photographer", Role.OPERATOR, "service:screenshot")
            demo.service.logins.set_password("photographer", password, False, "service:screenshot")
            wait_for_alarm(demo)
            assert demo.service.web is not None
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
                for name, path, width, height, language in PICTURES:
                    photograph(
                        browser, demo.service.web.url, path, password, (width, height), language, out / f"{name}.png"
                    )
                browser.close()
        finally:
            demo.finish()


def wait_for_alarm(demo: Demo) -> None:
    """Until a warning or worse is firing."""
    waited_s = 0.0
    while waited_s < WAIT_FOR_ALARM_S:
        for alert in demo.service.board.alerts(open_only=True):
            if alert.severity is not Severity.NOTICE and alert.condition is Condition.FIRING:
                return
        demo.wait(0.5)
        waited_s += 0.5
    sys.exit("no alarm came; is the scenario still the dust episode?")


def photograph(
    browser: Browser, url: str, path: str, password: str, size: tuple[int, int], language: str, target: Path
) -> None:
    """Log in afresh and save one page."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    page = context.new_page()
    page.goto(f"{url}/login?lang={language}")
    page.fill("input[name=name]", "photographer")
    page.fill("input[name=password]", password)
    page.press("input[name=password]", "Enter")
    page.wait_for_url(lambda found: "/login" not in found)
    page.goto(url + path)
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=str(target))
    context.close()
    print(target)


if __name__ == "__main__":
    main()
