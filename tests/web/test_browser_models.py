"""All other screens in a real browser: both themes, no complaint, links that lead somewhere."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.web.browser import Watched
from tests.web.conftest import Web
from tests.web.screens import addresses

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_screen_loads_without_a_complaint(
    web: Web, browser_page: Callable[..., Watched], artefacts: Path, theme: str
) -> None:
    """A picture of each is kept; wide tables scroll in themselves, never the page."""
    watched = browser_page(theme=theme)
    for name, address in addresses(web).items():
        page = watched.open(web.url + address)
        assert page.locator("h1").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        watched.picture(artefacts, name)


def test_every_screen_fits_a_phone(web: Web, browser_page: Callable[..., Watched]) -> None:
    """Nothing but tables and drawings is wider than the screen."""
    watched = browser_page(width=390)
    for name, address in addresses(web).items():
        page = watched.open(web.url + address)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


def test_the_slider_goes_to_a_version(web: Web, browser_page: Callable[..., Watched]) -> None:
    """Moving it leads to the row as it was."""
    page = browser_page().open(f"{web.url}/entity?ref=inquiry/1003")
    slider = page.locator("#slider")
    assert slider.is_visible()
    slider.press("ArrowLeft")
    page.wait_for_url("**as_of=0%2F**")
    assert "came later" in page.locator("main").inner_text()


def test_a_verification_is_watched(web: Web, browser_page: Callable[..., Watched]) -> None:
    """The button starts it; the page tells its end by itself."""
    page = browser_page().open(f"{web.url}/verify")
    page.get_by_role("button", name="Verify all entries now").click()
    page.locator("#verdict.ok").wait_for()
