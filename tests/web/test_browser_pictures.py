"""The three pictures of README, made from the demo's data: UPDATE_README=1 writes them anew."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.web.browser import Watched
from tests.web.conftest import Web

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs"
WIDTH = 1100


def _pages(web: Web) -> dict[str, str]:
    prediction = web.json("/predictions")["predictions"][0]["prediction"]
    return {
        "trace": f"/trace?ref=prediction/{prediction}",
        "entity": "/entity?ref=inquiry/1003",
        "proof": "/event?at=0/28",
    }


def test_readme_shows_what_the_view_shows(
    web: Web, browser_page: Callable[..., Watched], artefacts: Path
) -> None:
    """Each picture is in README, is a picture, and is made here."""
    readme = (ROOT / "README.md").read_text()
    shown = re.findall(r"!\[[^\]]+\]\(docs/([a-z]+)\.png\)", readme)
    pages = _pages(web)
    assert shown == list(pages)
    for name, address in pages.items():
        watched = browser_page(width=WIDTH)
        page = watched.open(web.url + address)
        if name == "proof":
            page.locator("#checked.ok").wait_for()
        made = artefacts / f"readme-{name}.png"
        page.screenshot(path=str(made))
        if os.environ.get("UPDATE_README") == "1":
            shutil.copyfile(made, PICTURES / f"{name}.png")
        kept = (PICTURES / f"{name}.png").read_bytes()
        assert kept[:8] == made.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        # Width and height stand after the header: what is kept has the size of what is made.
        assert kept[16:24] == made.read_bytes()[16:24]
