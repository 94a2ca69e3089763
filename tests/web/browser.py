"""A real Chromium, driven through Playwright, that tells what its pages complain about."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.services.fixtures import give_up

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox",  # tests run as root, where the sandbox refuses to start
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # Nothing but the page under test is asked for.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HEIGHT = 900
LIMIT_MS = 180_000
"""Playwright's own limit of 30 seconds is not for a machine that does much besides."""


def chromium() -> Iterator[Any]:
    """A running Chromium, until the generator is closed."""
    from playwright.sync_api import sync_playwright

    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        give_up("no Chromium (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=list(ARGUMENTS), timeout=LIMIT_MS
        )
        yield browser
        browser.close()


class Watched:
    """A page of its own profile. `page` is Playwright's; `errors` what its console said."""

    def __init__(self, context: Any, theme: str) -> None:
        self.page = context.new_page()
        self.theme = theme
        self.errors: list[str] = []
        self._context = context
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def open(self, url: str) -> Any:
        """Go there; the page of Playwright, once it has loaded."""
        self.page.goto(url, wait_until="load")
        return self.page

    def picture(self, folder: Path, name: str) -> Path:
        """A screenshot of the whole page, named after the theme too."""
        path = folder / f"{name}-{self.theme}.png"
        self.page.screenshot(path=str(path), full_page=True)
        return path

    def close(self) -> None:
        """End it. Asserts that no page complained."""
        self._context.close()
        assert not self.errors, self.errors


def open_page(browser: Any, theme: str, width: int, javascript: bool) -> Watched:
    """A page in a fresh profile, `theme` light or dark, so many CSS pixels wide."""
    context = browser.new_context(
        color_scheme=theme,
        viewport={"width": width, "height": HEIGHT},
        java_script_enabled=javascript,
    )
    context.set_default_timeout(LIMIT_MS)
    return Watched(context, theme)
