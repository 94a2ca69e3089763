"""Verdicts of replays as events: what came out, and the point of the ledger that it stands on.

A verdict is a review (review.v1) of the thing that was replayed: of kind REPLAY for a prediction or
a run, COMPARISON for a model version that answered the logged requests of others. What the entry of
the thing itself says is not said again, so that nothing personal gets into a second entry.
"""

import json
from contextlib import suppress
from typing import Any

from audit.errors import InvalidInput, NotFound
from audit.event.build import Built, new_event_id, record_event
from audit.event.types import REVIEW
from audit.lineage.again.run_replay import RunReplay
from audit.lineage.again.traffic import ReplayedTraffic
from audit.lineage.again.verdict import PredictionReplay
from audit.lineage.recorded.reviews import REVIEW_ENTITY
from audit.replay.points import Cut
from audit.store.contract import Reader
from audit.tlog.hashing import EMPTY_ROOT
from audit.tlog.merkle import tree_root

SOURCE = "audit.replay"
REPLAY = "REPLAY"
COMPARISON = "COMPARISON"
MAX_EVIDENCE_CHARS = 100_000
MAX_MESSAGE_CHARS = 1_000
_SAID_ELSEWHERE = ("recorded", "replayed_output", "feature_differences")
"""Members of an answer that hold what somebody's features or answers are."""


def prediction_verdict(answer: PredictionReplay, points: list[dict[str, Any]]) -> Built:
    """The event for a replayed prediction. Raises InvalidInput for a what-if: it is no verdict."""
    if answer.what_if is not None:
        raise InvalidInput("a replay with something changed is not recorded")
    said = {k: v for k, v in answer.to_json().items() if k not in _SAID_ELSEWHERE}
    ref = f"prediction/{answer.prediction_id}"
    return _event(ref, REPLAY, answer.output, answer.reasons, points, said)


def run_verdict(answer: RunReplay, points: list[dict[str, Any]]) -> Built:
    """The event for a replayed run."""
    return _event(
        f"run/{answer.run_id}", REPLAY, answer.output, answer.reasons, points, answer.to_json()
    )


def comparison(found: ReplayedTraffic, points: list[dict[str, Any]], query: str) -> Built:
    """The event for logged requests that another model version answered."""
    if found.against is None:
        raise InvalidInput("only a replay against another model version is a comparison")
    said = {k: v for k, v in found.to_json().items() if k != "worst"}
    differential = found.differential
    changed = 0.0 if differential is None else differential.fraction_changed
    examples = [{"prediction": a.prediction_id, "output": a.output} for a in found.worst]
    ref = found.against if found.against.startswith("model/") else f"model/{found.against}"
    message = f"{found.count} logged requests, {changed:.2%} answered otherwise"
    return _event(
        ref, COMPARISON, "ANSWERED" if found.ok else "NOT_ALL_ANSWERED", (message,), points,
        {**said, "query": query, "examples": examples},
    )  # fmt: skip


def log_points(reader: Reader, cut: Cut) -> list[dict[str, Any]]:
    """The point of each log that answers at a cut stand on, as review.v1 has them."""
    points = []
    for info in reader.logs():
        if info.log not in cut.sizes:
            continue
        size = cut.size(info.log)
        root_hash: bytes | None = None
        with suppress(NotFound, InvalidInput):  # a bundle may not have enough of the tree
            root_hash = tree_root(reader.hashes(info.log, size), size) if size else EMPTY_ROOT
        points.append({"origin": info.origin, "size": size, "root_hash": root_hash})
    return points


def _event(
    ref: str,
    kind: str,
    verdict: str,
    messages: tuple[str, ...],
    points: list[dict[str, Any]],
    said: dict[str, Any],
) -> Built:
    evidence = json.dumps(said, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return record_event(
        REVIEW,
        {
            "ref": ref,
            "kind": kind,
            "verdict": verdict,
            "message": ", ".join(messages)[:MAX_MESSAGE_CHARS] or None,
            "logs": points,
            "evidence": evidence if len(evidence) <= MAX_EVIDENCE_CHARS else None,
        },
        event_id=new_event_id(),
        source=SOURCE,
        entity_type=REVIEW_ENTITY,
        entity_key=ref,
    )
