"""The largest that a ledger can hold, on a page: bounded, harmless, and whole behind a link."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from audit.event.build import data_event, schema_event
from audit.event.envelope import encode_event
from audit.event.envelope_form import MAX_TEXT_BYTES
from audit.event.row import MAX_ROW_BYTES
from audit.log.entry import MAX_EVENT_IN_LEAF_BYTES
from audit.log.intake import Message
from audit.store import open_store
from audit.tlog.keys import Ed25519Signer
from tests.web.browser import Watched
from tests.web.conftest import HOSTILE_KEY, MakeWeb, Web

MAX_PAGE_BYTES = 800_000
END = "</script><b onclick=alert(1)>END\u202e"
CELL = "=1+1 <i>\u202e" * ((MAX_ROW_BYTES - 6_000) // 11) + END
REASON = "r" * (MAX_TEXT_BYTES - 60) + END
REFUSED = b"\xff<script>" * (MAX_EVENT_IN_LEAF_BYTES // 9)
ROWS = 30
FIELDS = 4_000
WIDE_ROWS = 3

BrowserPage = Callable[..., Watched]


@pytest.fixture
def large(make_web: MakeWeb, tmp_path: Path) -> Web:
    """Rows as large as a row can be; rows of a great many fields; a
    message that was refused.
    """
    signer = Ed25519Signer.from_seed("t.example/0", bytes(32))
    wide = {f"field{number:04}": number for number in range(FIELDS)}
    changes: list[tuple[str, str, dict[str, Any]]] = [
        ("note", f"{number:03}", {"text": CELL, "n": number}) for number in range(ROWS)
    ]
    changes += [("wide", str(number), wide) for number in range(WIDE_ROWS)]
    with open_store(f"sqlite:///{tmp_path / 'audit.db'}", create=True) as store:
        store.create("t.example/0", signer)
        messages = []
        for number, (entity, key, row) in enumerate(changes):
            event, schemas = data_event(
                *("create", entity, key),
                event_id=str(number),
                source="t",
                after=row,
                reason=REASON,
                transaction_id="all" if number else None,
            )
            messages += [Message(encode_event(schema_event(text))) for text in schemas]
            messages.append(Message(encode_event(event)))
        store.append(0, [*messages, Message(REFUSED)], signer)
    return make_web(tmp_path, access="none")


def test_the_largest_values_are_shown_in_part_and_reached_whole(
    large: Web, browser_page: BrowserPage
) -> None:
    """Every page with them: its size, nothing of them run, and the link to all of it."""
    watched = browser_page()
    refused = large.json("/quarantine")["entries"][0]
    at = f"{refused['log']}/{refused['index']}"
    of_note = large.json("/events", q="entity:note", limit=1)["events"][0]["index"]
    for path, parameters, whole in (
        ("/events", {}, CELL),
        ("/event", {"at": f"0/{of_note}"}, CELL),
        ("/entity", {"ref": "note/007"}, CELL),
        ("/entity", {"ref": "wide/1"}, REASON),
        ("/dataset", {"name": "note"}, CELL),
        ("/dataset", {"name": "wide"}, None),
        ("/diff", {"what": "note", "a": "0/0"}, CELL),
        ("/diff", {"what": "wide", "a": "0/0"}, None),
        ("/quarantine", {}, None),
        ("/quarantined", {"at": at}, REFUSED.hex()),
    ):
        where = f"{path}?{urlencode(parameters)}"
        size = len(large.get(where).body)
        assert size < MAX_PAGE_BYTES, f"{where}: {size:,} bytes"
        page = watched.open(f"{large.url}{where}")
        assert page.locator("main b, main i, main script").count() == 0, where
        assert "\u202e" not in page.locator("main").inner_text(), where
        twin = page.get_by_role("link", name="JSON", exact=True).get_attribute("href")
        assert twin is not None
        if whole is not None:
            assert whole in values(large.get(twin).json), where
    assert large.json("/dataset", name="wide")["rows"][0][f"field{FIELDS - 1}"] == FIELDS - 1


def values(data: Any) -> set[str]:
    """Every text in an answer."""
    if isinstance(data, str):
        return {data}
    inner = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return {text for one in inner for text in values(one)}


@pytest.mark.parametrize("javascript", [True, False])
def test_a_form_brings_back_a_key_with_line_ends(
    hostile: Web, browser_page: BrowserPage, javascript: bool
) -> None:
    """The row of a key that no form can carry as it is, asked for at another point."""
    ref = f"user/{HOSTILE_KEY}"
    watched = browser_page(javascript=javascript)
    page = watched.open(f"{hostile.url}/entity?{urlencode({'ref': ref})}")
    heading = page.locator("h1").inner_text()
    page.get_by_label("As of").first.fill("HEAD")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**as_of=HEAD**")
    assert page.locator("h1").inner_text() == heading
    twin = page.get_by_role("link", name="JSON", exact=True).get_attribute("href")
    assert twin is not None and hostile.get(twin).json["ref"] == ref
