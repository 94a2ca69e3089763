"""Flagged outputs, and what they have in common."""

from audit.lineage.tracing.suspects import suspects
from audit.web.answer import Answer, Asked, Parameter, Screen

DEFAULT_SUSPECTS = 20
MAX_SUSPECTS = 10_000


def _answer(asked: Asked) -> Answer:
    limit = asked.number("limit", DEFAULT_SUSPECTS, MAX_SUSPECTS)
    flagged = asked.ledger.flagged(asked.cut)
    found = suspects(asked.ledger.reader, asked.cut, [one.ref for one in flagged])
    data = {
        "flagged": [one.to_json() for one in flagged],
        "suspects": [one.to_json() for one in found.ranking[:limit]],
        "suspects_total": len(found.ranking),
        "compared": found.compared,
        "models": list(found.models),
        "untraced": list(found.untraced),
    }
    more = None
    if len(found.ranking) > limit:
        more = asked.here(limit=str(min(MAX_SUSPECTS, len(found.ranking))))
    return Answer("Flagged outputs", data, {"more": more}, ("audit", "review"))


REVIEW = Screen(
    path="/review",
    template="review.html",
    about="What is flagged, by whom and why; and which runs, models and data flagged things share.",
    answer=_answer,
    parameters=(Parameter("limit", "At most so many suspects; 20 unless told."),),
    menu="Flagged",
)
