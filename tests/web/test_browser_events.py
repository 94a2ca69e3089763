"""Events and the check of a receipt in a real browser."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.web.browser import Watched
from tests.web.conftest import HOSTILE, Web

pytestmark = pytest.mark.slow

Open = Callable[..., Watched]


def _verdict(page: Any) -> str:
    """What the check in the browser came to."""
    checked = page.locator("#checked.ok, #checked.bad")
    checked.wait_for()
    return str(checked.inner_text())


def _leaf(receipt: str) -> bytes:
    return base64.b64decode(receipt.split("\n")[1].removeprefix("extra "))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_receipt_is_checked_in_the_browser(
    web: Web, browser_page: Open, artefacts: Path, theme: str
) -> None:
    """Every entry of the demo, read from its leaf by the browser itself."""
    watched = browser_page(theme=theme)
    newest = web.json("/events", q="kind:event kind:schema kind:control")["events"]
    for event in newest if theme == "light" else newest[:1]:
        page = watched.open(f"{web.url}/event?at={event['log']}%2F{event['index']}")
        assert _verdict(page) == "checked in this browser", page.locator("#steps").inner_text()
        assert page.locator("#steps li.ok").count() == 4
        assert event["event_id"] in page.locator("#read").inner_text()
    watched.picture(artefacts, "event")


@pytest.mark.parametrize("forgery", ["leaf", "index", "proof", "note", "key", "nothing"])
def test_a_forged_receipt_goes_red(web: Web, browser_page: Open, forgery: str) -> None:
    """One bit of any part, or a receipt that is none."""
    page = browser_page().open(f"{web.url}/event?at=0%2F5")
    assert _verdict(page) == "checked in this browser"
    page.locator("#own summary").click()
    receipt = page.locator("#receipt").input_value()
    lines = receipt.split("\n")
    if forgery == "leaf":
        leaf = bytearray(_leaf(receipt))
        leaf[-1] ^= 1
        lines[1] = "extra " + base64.b64encode(leaf).decode()
    elif forgery == "index":
        lines[2] = "index 6"
    elif forgery == "proof":
        node = bytearray(base64.b64decode(lines[3]))
        node[0] ^= 1
        lines[3] = base64.b64encode(node).decode()
    elif forgery == "note":
        at = lines.index("") + 2
        lines[at] = str(int(lines[at]) + 1)
    elif forgery == "nothing":
        lines = ["no receipt"]
    else:
        key = page.locator("#vkey").input_value()
        name, _, data = key.split("+", 2)
        page.locator("#vkey").fill(f"{name}+00000000+{data}")
    page.locator("#receipt").fill("\n".join(lines))
    page.get_by_role("button", name="Check it here").click()
    assert _verdict(page) == "does not hold"
    assert page.locator("#steps li.bad").count() == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_events_are_found_and_walked(
    web: Web, browser_page: Open, artefacts: Path, theme: str
) -> None:
    """The query bar, rows by keys, Enter opens one."""
    watched = browser_page(theme=theme)
    page = watched.open(web.url)
    page.keyboard.press("/")
    page.keyboard.type("entity:inquiry")
    page.keyboard.press("Enter")
    page.wait_for_url("**/events?q=entity%3Ainquiry**")
    watched.picture(artefacts, "events")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/event?at=**")


def test_hostile_content_runs_nothing(hostile: Web, browser_page: Open, artefacts: Path) -> None:
    """No dialog, no image, no error; the receipt of it is checked like any other."""
    watched = browser_page()
    dialogs: list[str] = []
    watched.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page = watched.open(f"{hostile.url}/events")
    assert page.locator("main img, main script").count() == 0
    event = hostile.json("/events", q="op:create entity:user")["events"][0]
    page = watched.open(f"{hostile.url}/event?at=0%2F{event['index']}")
    assert _verdict(page) == "checked in this browser", page.locator("#steps").inner_text()
    assert HOSTILE["markup"] in page.locator("#read").inner_text()
    assert "\u202e" not in page.locator("body").inner_text()
    watched.picture(artefacts, "hostile")
    assert not dialogs
