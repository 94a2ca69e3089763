"""The overview in a real browser."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.web.browser import Watched
from tests.web.conftest import Web

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_overview_in_both_themes(
    web: Web, browser_page: Callable[..., Watched], artefacts: Path, theme: str
) -> None:
    """It loads without a complaint, and its ground is as light as the theme."""
    watched = browser_page(theme=theme)
    page = watched.open(web.url)
    assert page.locator("h1").inner_text() == "Overview"
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    red = int(ground.partition("(")[2].partition(",")[0])
    assert (red > 128) == (theme == "light")
    assert watched.picture(artefacts, "overview").stat().st_size > 1_000


def test_keys_walk_the_rows_and_pin_the_address(
    web: Web, browser_page: Callable[..., Watched]
) -> None:
    """The keys of the list that ? shows."""
    page = browser_page().open(f"{web.url}/datasets")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    assert page.locator("table.rows tbody tr.here").count() == 1
    page.keyboard.press("y")
    assert "pin=0%3A" in page.url
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "find"


def test_it_works_without_javascript_and_on_a_phone(
    web: Web, browser_page: Callable[..., Watched], artefacts: Path
) -> None:
    """Nothing is wider than the screen; the search is a plain form."""
    watched = browser_page(width=390, javascript=False)
    page = watched.open(web.url)
    watched.picture(artefacts, "overview-phone")
    assert page.locator("form.find").count() == 1
