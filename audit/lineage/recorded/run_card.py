"""The card of one run: all that its records say, and the traceback of a failure in full."""

import re
from typing import Any, NamedTuple

from audit.lineage.content.kept_text import Kept, kept_text
from audit.lineage.recorded.reviews import Review, find_reviews
from audit.lineage.recorded.runs import STARTED, Run, find_run
from audit.replay.points import Cut
from audit.store.blobs import BlobStore
from audit.store.contract import Reader

_TRACEBACK_IN_ERROR = re.compile(r"\(traceback (sha256:[0-9a-f]{64})\)\s*\Z")
"""Records of model_run.v1 name the traceback at the end of the error."""


class RunCard(NamedTuple):
    """A run, the traceback of its failure, and what was said about it since."""

    run: Run
    traceback: Kept | None
    reviews: list[Review]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        traceback = self.traceback
        return {
            **self.run.to_json(),
            "duration_us": duration_us(self.run),
            "ended_known": self.run.status != STARTED,
            "traceback": None if traceback is None else traceback.text,
            "traceback_problem": None if traceback is None else traceback.problem,
            "reviews": [one.to_json() for one in self.reviews],
        }


def run_card(reader: Reader, blobs: BlobStore, run_id: str, cut: Cut) -> RunCard:
    """The card of a run, with or without `run/` before its id. Raises NotFound."""
    run = find_run(reader, run_id, cut)
    digest = traceback_digest(run)
    traceback = None if digest is None else kept_text(blobs, digest)
    return RunCard(run, traceback, find_reviews(reader, cut, run.ref))


def traceback_digest(run: Run) -> str | None:
    """The digest of a failed run's traceback, wherever its record names it."""
    if run.traceback_digest is not None or run.error is None:
        return run.traceback_digest
    found = _TRACEBACK_IN_ERROR.search(run.error)
    return None if found is None else found[1]


def duration_us(run: Run) -> int | None:
    """How long it took, as it says itself."""
    if run.started_us is None or run.ended_us is None:
        return None
    return max(0, run.ended_us - run.started_us)
