"""Which requests wait where: quick pages, dear ones and tables have places of their own."""

QUICK, DEAR, TABLES = "quick", "dear", "tables"

PLACES = {QUICK: 2, DEAR: 3, TABLES: 4}
"""Requests worked on at once in each lane, each on a thread. More of the dear ones would take more
memory, and not less time: two processors do not make them faster. Of tables more than are given out
at once: those that are too many are told so, and do not wait."""

QUICK_PAGES = frozenset(
    (
        "/",
        "/index",
        "/datasets",
        "/event",
        "/event/receipt",
        "/keys",
        "/login",
        "/logout",
        "/models",
        "/predictions",
        "/quarantine",
        "/runs",
        "/verify",
        "/verify/run",
    )
)
"""Pages that take some 10 ms on a ledger of any size, or at most 40."""
LIVE_TAIL, SINCE = "/events.json", b"since="
"""What a page that shows new events asks every few seconds."""

_TABLES = (".csv", ".parquet")
_NEEDS_NO_THREAD = ("/static/", "/schemas/", "/healthz", "/openapi.json")


def lane_of(path: str, query: bytes) -> str | None:
    """The lane of a request; None for what needs neither a ledger nor a thread for long."""
    if path.startswith(_NEEDS_NO_THREAD):
        return None
    if path.endswith(_TABLES):
        return TABLES
    if path.removesuffix(".json") in QUICK_PAGES:
        return QUICK
    is_tail = path == LIVE_TAIL and any(part.startswith(SINCE) for part in query.split(b"&"))
    return QUICK if is_tail else DEAR
