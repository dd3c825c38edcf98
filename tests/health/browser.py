"""A real Chromium, for the page's tests and pictures; it never leaves this machine."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-proxy-server",
)


def missing() -> str | None:
    """Why there is no browser to test with; None: there is one."""
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            return f"{program} is not installed: apt-get install chromium chromium-driver"
    return None


@contextmanager
def chromium() -> Generator[WebDriver]:
    """A browser with a profile of its own, that forgets everything."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for option in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        # The driver is spoken to on the loopback, which a proxy of the environment has nothing to do with.
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        service = Service(shutil.which("chromedriver"), env=environment)
        browser = webdriver.Chrome(options=options, service=service)
        try:
            yield browser
        finally:
            browser.quit()


def resize(browser: WebDriver, width: int, height: int = 900, scale: float = 1.0) -> None:
    """The window's inside, in CSS pixels; a narrow one is a phone's."""
    metrics: dict[str, Any] = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def prefer(browser: WebDriver, theme: Literal["light", "dark"]) -> None:
    """What `prefers-color-scheme` says."""
    feature = {"name": "prefers-color-scheme", "value": theme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def save(browser: WebDriver, path: Path) -> None:
    """A picture of the window."""
    path.write_bytes(base64.b64decode(browser.get_screenshot_as_base64()))
