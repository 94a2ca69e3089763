"""Many predictions run again: what a query finds, in few processes; counted, the worst ones listed.

Predictions of the same code and model share a process, where they are answered one after the other.
What does not come out IDENTICAL there is run once more in a fresh process of its own before it is
judged, as code may keep something from call to call: the first MAX_ALONE of them. After those the
shared process counts, which the answer's message says.

With `against` another model version answers instead: a differential test. Then a difference is what
is asked about, and nothing is run twice. The features are those that were served.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from audit.event.values import Value, to_json
from audit.lineage.again.compare import (
    DIVERGED,
    IDENTICAL,
    SAME_DECISION,
    WITHIN_TOLERANCE,
    decides,
)
from audit.lineage.again.integrity import VERIFIED
from audit.lineage.again.judging import with_environment
from audit.lineage.again.prediction_replay import judged, judged_at_once, run_alone
from audit.lineage.again.replayer import Prepared, Replayer
from audit.lineage.again.rerun import TIME_LIMIT_S, rerun_many
from audit.lineage.again.verdict import NOT_REPRODUCIBLE, PredictionReplay, WhatIf
from audit.lineage.recorded.predictions import Prediction, find_predictions, narrowed
from audit.replay.points import Cut
from audit.replay.query import Query
from audit.store.blobs import BlobStore
from audit.store.contract import Reader
from audit.verify.policy import Policy

WINDOW = 2_000
"""How many predictions are held in memory at a time."""
MAX_ALONE = 50
"""How many predictions are run once more in a process of their own."""
MAX_WORST = 10
"""How many predictions are listed."""

_BADNESS = {IDENTICAL: 0, WITHIN_TOLERANCE: 1, SAME_DECISION: 2, DIVERGED: 3, NOT_REPRODUCIBLE: 4}


@dataclass(frozen=True)
class Differential:
    """How another model answers the same requests.

    `compared`: predictions that both answered. `changed_decisions`: those on the other side of the
    threshold, or with another part that is no float; `undecided`: those whose numbers differ by
    more than the tolerance where nothing says what is decided by them. `fraction_changed`: of the
    compared ones, those that are neither identical nor within the tolerance.
    """

    compared: int
    identical: int
    within_tolerance: int
    same_decision: int
    changed_decisions: int
    undecided: int
    max_difference: float | None

    @property
    def fraction_changed(self) -> float:
        """0 to 1; 0 when nothing was compared."""
        changed = self.compared - self.identical - self.within_tolerance
        return changed / self.compared if self.compared else 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "compared": self.compared,
            "identical": self.identical,
            "within_tolerance": self.within_tolerance,
            "same_decision": self.same_decision,
            "changed_decisions": self.changed_decisions,
            "undecided": self.undecided,
            "max_difference": to_json(self.max_difference),
            "fraction_changed": self.fraction_changed,
        }


@dataclass(frozen=True)
class ReplayedTraffic:
    """The answers of many replays together.

    `verdicts`: output -> how many; `integrity`, `reasons`: likewise. `worst`: the predictions
    furthest from what was recorded, worst first. `differential`: with `against` only.
    """

    count: int
    verdicts: Mapping[str, int]
    integrity: Mapping[str, int]
    reasons: Mapping[str, int]
    environments: Mapping[str, int]
    worst: tuple[PredictionReplay, ...]
    against: str | None
    differential: Differential | None
    sizes: Mapping[int, int]
    ok: bool

    @property
    def exit_code(self) -> int:
        """0 when `ok`: all verified and the same; with `against`: all verified and answered."""
        return 0 if self.ok else 1

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "count": self.count,
            "verdicts": dict(self.verdicts),
            "integrity": dict(self.integrity),
            "reasons": dict(self.reasons),
            "environment": dict(self.environments),
            "against": self.against,
            "differential": None if self.differential is None else self.differential.to_json(),
            "worst": [shortly(answer) for answer in self.worst],
            "sizes": {str(log): size for log, size in self.sizes.items()},
        }


def shortly(answer: PredictionReplay) -> dict[str, Any]:
    """The part of an answer that a list has room for."""
    recorded = None if answer.prediction is None else answer.prediction.output
    replayed: Value = None if answer.replayed is None else answer.replayed.value
    return {
        "prediction": answer.prediction_id,
        "integrity": answer.integrity,
        "output": answer.output,
        "reasons": list(answer.reasons),
        "messages": list(answer.messages),
        "recorded_output": to_json(recorded),
        "replayed_output": to_json(replayed),
        "max_difference": to_json(answer.max_difference),
        "max_ulps": answer.max_ulps,
    }


def replay_traffic(
    reader: Reader,
    blobs: BlobStore,
    query: Query,
    policy: Policy | None,
    *,
    cut: Cut,
    tolerance: float | None = None,
    against: str | None = None,
    run_unverified: bool = False,
    progress: Callable[[int, int], None] | None = None,
    observe: Callable[[PredictionReplay], None] | None = None,
    role: str | None = None,
    status: str | None = None,
    time_limit_s: float = TIME_LIMIT_S,
) -> ReplayedTraffic:
    """Run what a query finds again, and count; see the module docstring.

    `role`, `status`: only predictions of these. `observe` is given each answer, in the order of the
    log; `progress` how many are done (and 0, as how many there are is not known).
    Raises InvalidInput, NotFound for the model of `against`, Unavailable, and StoreCorrupt where
    the store cannot be read.
    """
    replayer = Replayer(reader, blobs, policy, cut, WhatIf({}, against), tolerance, run_unverified)
    tally = _Tally(against is not None)
    alone = _Alone(0 if against is not None else MAX_ALONE, time_limit_s)
    for window in _windows(narrowed(find_predictions(reader, query, cut), role, status)):
        for answer in _answers(replayer, window, alone, time_limit_s):
            tally.add(answer)
            if observe is not None:
                observe(answer)
            if progress is not None:
                progress(tally.count, 0)
    return tally.sum(against, cut)


def _windows(found: Iterable[Prediction]) -> Iterator[list[Prediction]]:
    iterator = iter(found)
    while window := list(islice(iterator, WINDOW)):
        yield window


@dataclass
class _Alone:
    """How many further processes may be spent on single predictions."""

    left: int
    time_limit_s: float


def _answers(
    replayer: Replayer, window: list[Prediction], alone: _Alone, time_limit_s: float
) -> list[PredictionReplay]:
    """The answers of some predictions, in their order."""
    answers: list[PredictionReplay | None] = []
    groups: dict[tuple[object, ...], list[tuple[int, Prepared]]] = {}
    for place, prediction in enumerate(window):
        at = prediction.record
        integrity = replayer.checker.check(at.log, at.index, at.leaf)
        answer = judged_at_once(prediction, integrity)
        if answer is None:
            prepared = replayer.prepare(prediction, integrity)
            answer = prepared.answer
            if prepared.request is not None:
                groups.setdefault(_group(prepared), []).append((place, prepared))
        answers.append(answer)
    for members in groups.values():
        requests = [one.request for _, one in members if one.request is not None]
        replies = rerun_many(requests, time_limit_s)
        for (place, prepared), reply in zip(members, replies, strict=True):
            answer = with_environment(judged(prepared, reply), reply)
            answers[place] = _once_more(answer, prepared, alone)
    return [answer for answer in answers if answer is not None]


def _group(prepared: Prepared) -> tuple[object, ...]:
    """What predictions must have in common to share a process."""
    request, prediction = prepared.request, prepared.answer.prediction
    assert request is not None and prediction is not None
    return (
        prediction.code_digest,
        request.model_digest,
        request.model_name,
        request.model_version,
        request.model_format,
        request.batch,  # a process is given the blobs of one batch
    )


def _once_more(answer: PredictionReplay, prepared: Prepared, alone: _Alone) -> PredictionReplay:
    if answer.output == IDENTICAL or answer.what_if is not None:
        return answer
    if alone.left == 0:
        shared = "it was judged in a process that it shared with others"
        return replace(answer, messages=(*answer.messages, shared))
    alone.left -= 1
    return run_alone(prepared, alone.time_limit_s)


@dataclass
class _Tally:
    """Counts answers as they come."""

    differential: bool
    count: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    integrity: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    environments: Counter[str] = field(default_factory=Counter)
    undecided: int = 0
    max_difference: float | None = None
    bad: int = 0
    worst: list[tuple[tuple[int, float, int], PredictionReplay]] = field(default_factory=list)

    def add(self, answer: PredictionReplay) -> None:
        self.count += 1
        self.verdicts[answer.output] += 1
        self.integrity[answer.integrity] += 1
        self.reasons.update(set(answer.reasons))
        self.environments[answer.environment] += 1
        self.bad += not answer.ok
        if answer.output == DIVERGED and not _decided(answer):
            self.undecided += 1
        difference = answer.max_difference
        if difference is not None:
            self.max_difference = max(difference, self.max_difference or 0.0)
        badness = _BADNESS.get(answer.output, 4) + (10 if answer.integrity != VERIFIED else 0)
        if badness == 0:
            return
        size = float("inf") if difference is None else difference
        item = ((badness, size, -self.count), answer)
        if len(self.worst) < MAX_WORST:
            heapq.heappush(self.worst, item)
        else:
            heapq.heappushpop(self.worst, item)

    def sum(self, against: str | None, cut: Cut) -> ReplayedTraffic:
        compared = self.count - self.verdicts[NOT_REPRODUCIBLE]
        differential = Differential(
            compared,
            self.verdicts[IDENTICAL],
            self.verdicts[WITHIN_TOLERANCE],
            self.verdicts[SAME_DECISION],
            self.verdicts[DIVERGED] - self.undecided,
            self.undecided,
            self.max_difference,
        )
        return ReplayedTraffic(
            self.count,
            dict(self.verdicts),
            dict(self.integrity),
            dict(self.reasons),
            dict(self.environments),
            tuple(answer for _, answer in sorted(self.worst, reverse=True, key=lambda w: w[0])),
            against,
            differential if self.differential else None,
            dict(cut.sizes),
            self.bad == 0,
        )


def _decided(answer: PredictionReplay) -> bool:
    """Whether the recorded answer decides something: by a threshold, or by what is no float."""
    prediction = answer.prediction
    if prediction is None or answer.replayed is None:
        return True
    return decides(prediction.output, prediction.threshold)
