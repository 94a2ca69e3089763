"""The overview, and what every page has."""

from tests.web.conftest import Web


def test_the_overview_says_how_each_log_is(web: Web) -> None:
    """Sizes and checkpoint as `audit status` has them."""
    said = web.json("/index")
    assert [log["size"] for log in said["logs"]] == [log["checkpoint_size"] for log in said["logs"]]
    page = web.get("/").text
    assert "<h1>Overview</h1>" in page
    assert f"{said['logs'][0]['size']:,}" in page


def test_a_permalink_gives_the_same_page_for_ever(web: Web) -> None:
    """The pin is the sizes of the logs; the past has no later entries."""
    size = web.json("/index")["logs"][0]["size"]
    assert web.json("/index")["pin"] == f"/?pin=0%3A{size}"
    assert web.json("/index", pin="0:3")["logs"][0]["size"] == 3
    assert web.json("/index", as_of="0/2")["logs"][0]["size"] == 3


def test_what_cannot_be_asked_is_said_in_a_line(web: Web) -> None:
    """Unknown parameters, pins beyond the log, pages that are not there."""
    assert "did you mean as_of?" in web.get("/?asof=1", 400).text
    assert "pin" in web.json("/index", 400, pin="0:99999999")["detail"]
    assert web.json("/nothing", 404)["kind"] == "NotFound"
    web.get("/", 405, method="DELETE")
