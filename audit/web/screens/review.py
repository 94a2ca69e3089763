"""Flagged outputs, newest first, and what those of a page have in common."""

from typing import Any

from audit.ledger.flags import flagged_page
from audit.lineage.tracing.suspects import Limits, suspects
from audit.web.answer import Answer, Asked, Parameter, Screen

DEFAULT_SUSPECTS = 20
MAX_SUSPECTS = 10_000
DEFAULT_FLAGGED = 20
"""Flagged things of a page."""
MAX_FLAGGED = 1_000
SEARCH_SECONDS = 0.1
TRACED = 6
"""Of these the newest ones count for what they share, where nobody asks for more."""
QUICK = Limits(compared=100, looked_at=100, traced=3)
"""Unflagged predictions that they are compared with then."""


def _answer(asked: Asked) -> Answer:
    limit = asked.number("limit", DEFAULT_SUSPECTS, MAX_SUSPECTS)
    things = asked.number("things", DEFAULT_FLAGGED, MAX_FLAGGED)
    is_quick = things <= DEFAULT_FLAGGED
    page = flagged_page(
        asked.ledger,
        asked.cut,
        after=asked.text("after"),
        limit=things,
        within_s=SEARCH_SECONDS if is_quick else SEARCH_SECONDS * MAX_FLAGGED,
    )
    # Oldest first, as the library ranks them.
    refs = [one.ref for one in reversed(page.flagged[: TRACED if is_quick else things])]
    limits = QUICK if is_quick else Limits()
    found = suspects(asked.ledger.reader, asked.cut, refs, limits)
    data = {
        "flagged": [one.to_json() for one in page.flagged],
        "suspects": [one.to_json() for one in found.ranking[:limit]],
        "suspects_total": len(found.ranking),
        "compared": found.compared,
        "models": list(found.models),
        "untraced": list(found.untraced),
        "next": page.next,
        "stopped": page.stopped,
        "thorough": not is_quick,
    }
    more = None
    if len(found.ranking) > limit:
        more = asked.here(limit=str(min(MAX_SUSPECTS, len(found.ranking))))
    view: dict[str, Any] = {
        "more": more,
        "older": None if page.next is None else asked.here(after=page.next),
        "thorough": asked.here(things=str(MAX_FLAGGED)) if is_quick else None,
        "traced": len(refs),
    }
    return Answer("Flagged outputs", data, view, ("audit", "review"), next=view["older"])


REVIEW = Screen(
    path="/review",
    template="review.html",
    about="What is flagged, by whom and why; and which runs, models and data flagged things share.",
    answer=_answer,
    parameters=(
        Parameter("limit", "At most so many suspects; 20 unless told.", least=1, most=MAX_SUSPECTS),
        Parameter(
            "things",
            f"So many flagged things on a page; {DEFAULT_FLAGGED} unless told.",
            least=1,
            most=MAX_FLAGGED,
        ),
        Parameter("after", "The token of the page before."),
    ),
    menu="Flagged",
)
