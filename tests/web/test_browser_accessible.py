"""Who cannot see, point or tell colours apart uses the view, too; and it can be printed."""

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest

from tests.web.browser import Watched
from tests.web.conftest import Web
from tests.web.screens import ERRORS, addresses

pytestmark = pytest.mark.slow

Open = Callable[..., Watched]

TEXT_CONTRAST = 4.5
"""WCAG 2.2, 1.4.3 (AA), of text and what it stands on."""
PART_CONTRAST = 3.0
"""1.4.11 (AA), of what tells where a control is."""
TEXTS = ("ink", "soft", "accent", "good", "warn", "bad")
PAIRS = [
    *((text, ground) for text in TEXTS for ground in ("ground", "raised")),
    *((state, f"{state}-ground") for state in ("good", "warn", "bad")),
    *((text, f"{state}-ground") for text in ("ink", "accent") for state in ("good", "warn", "bad")),
    *((text, ground) for text in ("ink", "soft") for ground in ("added", "removed")),
    ("on-accent", "accent"),
    ("ground", "ink"),
]

LOOK = """() => {
  const wrong = [];
  const say = (words, one) => wrong.push(`${words}: ${one ? one.outerHTML.slice(0, 120) : ""}`);
  const all = (what) => [...document.querySelectorAll(what)].filter((one) => one.checkVisibility());
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  if (new Set(ids).size !== ids.length) say("an id is there twice");
  if (document.documentElement.lang !== "en") say("no language");
  for (const one of ["h1", "main", "header", "footer"]) {
    if (all(one).length !== 1) say(`not exactly one ${one}`);
  }
  let level = 0;
  for (const one of all("h1, h2, h3, h4, h5, h6")) {
    if (Number(one.tagName[1]) > level + 1) say("a heading jumps", one);
    level = Number(one.tagName[1]);
  }
  const regions = all("nav, section, [role=region], [role=search]").map(
    (one) => `${one.getAttribute("role") || one.tagName} `
      + (one.getAttribute("aria-label") || one.getAttribute("aria-labelledby") || ""));
  for (const one of regions) if (one.endsWith(" ")) say(`a landmark without a name: ${one}`);
  if (new Set(regions).size !== regions.length) say(`landmarks of one name: ${regions}`);
  for (const one of document.body.children) {
    const landmark = "header, main, footer, dialog, .skip, .toast, section[aria-label]";
    if (!one.matches(landmark)) say("outside of all landmarks", one);
  }
  for (const one of all("input:not([type=hidden]), select, textarea")) {
    if (!one.labels[0]?.textContent.trim()) say("a field without a label", one);
  }
  for (const one of all("a[href], button, summary")) {
    if (!(one.getAttribute("aria-label") || one.textContent).trim()) say("nothing to call it", one);
  }
  for (const one of document.querySelectorAll("table")) {
    if (!one.caption || !one.caption.textContent.trim()) say("a table without a caption", one);
    for (const head of [...one.rows].flatMap((row) => [...row.cells])) {
      if (head.tagName !== "TH") continue;
      if (!["col", "row"].includes(head.scope)) say("a head without a scope", head);
      if (!head.textContent.trim()) say("an empty head", head);
    }
    for (const row of [...one.tBodies].flatMap((body) => [...body.rows])) {
      if (!row.querySelector("th[scope=row]")) say("a row without a head", row);
    }
  }
  for (const one of all("time")) {
    if (!/^\\d{4}-.*Z$/.test(one.dateTime) || one.title !== one.dateTime) say("a vague time", one);
  }
  for (const one of all("svg:not([aria-hidden])")) {
    if (!one.getAttribute("aria-label")) say("a drawing without words", one);
    if (one.matches("[role=img]") && one.querySelector("a")) say("links in a picture", one);
  }
  for (const one of all("main *")) {
    const scrolls = ["auto", "scroll"].includes(getComputedStyle(one).overflowX)
      && one.scrollWidth > one.clientWidth + 1;
    const reached = one.tabIndex >= 0 || one.querySelector("a, button, input, summary");
    if (scrolls && !reached) say("keys do not scroll", one);
  }
  if (document.querySelector("[style], [onclick], style")) say("inline style or handler");
  return wrong;
}"""


def _themes() -> list[dict[str, str]]:
    """The palette: name -> colour, light and dark."""
    css = files("audit.web").joinpath("static", "app.css").read_text()
    light, _, rest = css.partition("prefers-color-scheme: dark")
    dark = rest[: rest.index("}\n}")]
    named = re.compile(r"--([a-z-]+): (#[0-9a-f]{6});")
    return [dict(named.findall(light)), dict(named.findall(light)) | dict(named.findall(dark))]


def _luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_text_stands_out_from_its_ground(theme: int) -> None:
    """The pairs that the stylesheets put together."""
    colours = _themes()[theme]
    for text, ground in PAIRS:
        found = _contrast(colours[text], colours[ground])
        assert found >= TEXT_CONTRAST, (text, ground, round(found, 2))
    for part in ("edge", "accent"):
        for ground in ("ground", "raised"):
            assert _contrast(colours[part], colours[ground]) >= PART_CONTRAST, (part, ground)


SCROLLING = ("event", "diff", "trace", "drift", "verify", "keys")
"""Looked at on a phone, too: what is wider than that."""


@pytest.mark.parametrize("width", [1280, 390])
def test_every_screen_is_told_in_words(web: Web, browser_page: Open, width: int) -> None:
    """Headings, landmarks, labels, tables, times, drawings; and what scrolls, keys scroll."""
    page = browser_page(width=width).page
    pages = addresses(web)
    for name in pages if width == 1280 else SCROLLING:
        page.goto(web.url + pages[name], wait_until="load")
        assert page.evaluate(LOOK) == [], name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


def test_pages_of_errors_are_told_in_words(web: Web, browser: Any) -> None:
    """A browser itself complains of their status: no page that must not complain."""
    context = browser.new_context()
    page = context.new_page()
    for address in ERRORS.values():
        page.goto(web.url + address, wait_until="load")
        assert page.evaluate(LOOK) == [], address
        assert page.locator("main a[href='/']").count()
    context.close()


def test_keys_alone_lead_everywhere(web: Web, browser_page: Open) -> None:
    """The skip link, a focus that is seen, the dialog and back, rows, the permalink."""
    page = browser_page().open(f"{web.url}/events")
    focused = "document.activeElement"
    page.keyboard.press("Tab")
    assert page.evaluate(f"{focused}.className") == "skip"
    assert page.locator(".skip").bounding_box()["width"] > 20
    page.keyboard.press("Enter")
    assert page.evaluate(f"{focused}.id") == "main"
    page.keyboard.press("Tab")
    outlined = (
        f"getComputedStyle({focused}).outlineStyle + getComputedStyle({focused}).outlineWidth"
    )
    assert page.evaluate(outlined) == "solid2px"
    button = page.locator("#show-keys")
    button.press("Enter")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("j")
    assert page.locator(".here").count() == 0
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()
    assert page.evaluate(f"{focused}.id") == "show-keys"
    for key, at in (("j", 0), ("j", 1), ("k", 0)):
        page.keyboard.press(key)
        assert (
            page.evaluate(
                "[...document.querySelectorAll('tbody tr')].findIndex(r => r.matches('.here'))"
            )
            == at
        )
        assert page.evaluate(f"{focused}.closest('tr').matches('.here')")
    page.keyboard.press("Escape")
    assert page.locator(".here").count() == 0
    page.keyboard.press("/")
    assert page.evaluate(f"{focused}.id") == "find"
    page.keyboard.press("Escape")
    assert page.evaluate(f"{focused}.tagName") == "BODY"
    page.keyboard.press("y")
    assert "pin=" in page.url and "permalink" in page.locator("#toast").inner_text()
    page.keyboard.press("?")
    page.get_by_role("button", name="Close").press("Enter")
    page.keyboard.press("j")
    opened = page.locator(".here a").first.get_attribute("href")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{opened}")


def test_the_past_is_told_and_left(web: Web, browser_page: Open) -> None:
    """The point goes along with every link but the one that leads back to now."""
    page = browser_page().open(f"{web.url}/dataset?name=inquiry&as_of=0/14")
    told = page.get_by_label("Point in the past")
    assert "the past" in told.inner_text() and "came later" in told.inner_text()
    for link in page.locator(".menu a, .crumbs a, tbody th a").all():
        to = link.get_attribute("href")
        # These two have points of their own, or none.
        assert "as_of=0%2F14" in to or to in ("/diff", "/verify")
    told.get_by_role("link", name="Back to now").click()
    page.wait_for_url("**/dataset?name=inquiry")
    assert page.get_by_label("Point in the past").count() == 0
    size = web.json("/index")["logs"][0]["size"]
    held = page.goto(f"{web.url}/datasets?pin=0:{size}")
    assert "nothing came later" in held.text()


def test_a_printed_event_can_be_checked(web: Web, browser_page: Open) -> None:
    """On paper: the permalink with its server, all of each hash, the receipt, no menu."""
    page = browser_page().open(f"{web.url}/event?at=0/28")
    page.locator("#checked.ok").wait_for()
    said = web.json("/event", at="0/28")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    paper = page.locator("body").inner_text()
    for word in (said["hashes"]["leaf_hash"], *said["receipt"].split()):
        assert word in paper
    assert f"{web.url}/event?at=0%2F28&pin=0%3A" in paper
    assert "Quarantine" not in paper and "What changed" in paper and "Copy" not in paper
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0


def test_a_short_digest_is_copied_whole(web: Web, browser_page: Open) -> None:
    """Its middle is folded away, and there."""
    page = browser_page().open(f"{web.url}/keys")
    found = page.locator(".digest").first
    whole = web.json("/keys")["logs"][0]["checkpoints"][0]["root_hash"]
    assert found.get_attribute("title") == whole
    assert found.bounding_box()["width"] < 250
    found.click()
    assert page.evaluate("getSelection().toString()") == whole


def test_figures_are_a_table_too(web: Web, browser_page: Open) -> None:
    """Of each drawing of the drift; of the graph, every edge."""
    model = web.json("/models")["models"][0]["ref"]
    page = browser_page().open(f"{web.url}{addresses(web)['drift']}&baseline={model}")
    drawings = page.locator("svg.bars").count()
    assert drawings and page.locator("details.figures table").count() == drawings
    assert page.locator("svg.bars").first.locator("text").count() >= 3
    page.goto(web.url + addresses(web)["trace"])
    edges = page.locator("svg.graph[role=group] path:not(.head)").count()
    assert edges and page.locator("#things td:nth-child(4) .soft").count() == edges
    page.locator("svg.graph a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**ref=**")


def test_no_word_of_the_graph_leaves_its_box(web: Web, browser_page: Open) -> None:
    """The widths that were reckoned with hold in a real font; the whole text is in the title."""
    page = browser_page().open(web.url + addresses(web)["trace"])
    rooms = page.evaluate("""() => [...document.querySelectorAll("svg.graph text")].map((one) => {
      const box = one.closest("a, g[transform]").querySelector("rect");
      return box.getBBox().width - one.getBBox().x - one.getComputedTextLength();
    })""")
    assert len(rooms) > 20 and min(rooms) > 0
    titles = page.locator("svg.graph [transform] > title").all_text_contents()
    assert any(title.startswith("prediction prediction/") for title in titles)
    page.locator("#things td:nth-child(4) a").first.click()
    assert page.locator("#things tr:target").count() == 1


def test_on_a_phone_a_row_is_a_card(web: Web, browser_page: Open) -> None:
    """All of it can be seen without scrolling sideways, each value under its name."""
    page = browser_page(width=390).page
    for name in ("events", "entity", "trace", "keys"):
        page.goto(web.url + addresses(web)[name], wait_until="load")
        wide = page.evaluate("""() => [...document.querySelectorAll(".wide:not(.grid) td")]
          .filter((one) => one.checkVisibility() && one.getBoundingClientRect().right > innerWidth)
          .length""")
        assert wide == 0, name
        named = page.evaluate("""() => [...document.querySelectorAll("td[data-label]")]
          .filter((one) => one.checkVisibility())
          .map((one) => [one.dataset.label, getComputedStyle(one, "::before").content])""")
        assert named and all(shown == f'"{label}"' for label, shown in named), name


def test_little_moves_and_high_contrast_has_signs(web: Web, browser: Any) -> None:
    """No transition where the reader wants none; signs where colours are forced."""
    context = browser.new_context(reduced_motion="reduce", forced_colors="active")
    page = context.new_page()
    page.goto(f"{web.url}/event?at=0/28")
    moving = "[...document.all].some(e => getComputedStyle(e).transitionDuration !== '0s')"
    assert not page.evaluate(moving)
    assert page.locator("td.old, td.new").count() == 2
    for side, sign in (("old", "−"), ("new", "+")):
        content = f"getComputedStyle(document.querySelector('td.{side}'), '::before').content"
        assert page.evaluate(content).startswith(f'"{sign}')
    context.close()
