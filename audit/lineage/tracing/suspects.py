"""Which runs, models, datasets and feature definitions do the flagged things have in common?

Spectrum-based fault localisation, with lineage in place of coverage: a thing counts as "executed"
by a prediction when the prediction was made from it. Its score is Ochiai's coefficient,
``with / sqrt(flagged * (with + without))``: `with` flagged things were made from it, `flagged`
things are flagged in all, and `without` of the compared unflagged ones were made from it too. 1.0
means: all flagged things and nothing else. What a single flagged thing alone was made from comes
last. (Abreu, Zoeteweij, van Gemund: "On the Accuracy of
Spectrum-based Fault Localization", TAIC PART 2007.)

A score is a hint where to look first, no proof. What is unflagged need not be right: nobody may
have looked. Compared are the newest unflagged predictions of the models that the flagged ones come
from, up to a limit, and the answer says how many.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from audit.errors import AuditError, Unavailable
from audit.lineage.recorded.predictions import REPLAY, Prediction, find_predictions
from audit.lineage.recorded.reviews import flagged, refs_of
from audit.lineage.tracing.trace import trace
from audit.lineage.tracing.trace_index import View, view_of
from audit.replay.points import Cut
from audit.replay.query import parse_query
from audit.store.contract import Reader

MAX_COMPARED = 1_000
"""So many unflagged predictions are compared with the flagged things."""
MAX_LOOKED_AT = 20_000
"""So many predictions, newest first, are looked at to find them."""
MAX_TRACED = 250
"""So many traces are made for that; predictions that were made alike need one together."""
MAX_FLAGGED = 10_000
"""So many flagged things are ranked by; the oldest flags first."""


class Limits(NamedTuple):
    """How many unflagged predictions are compared, looked at to find them, and traced for it."""

    compared: int = MAX_COMPARED
    looked_at: int = MAX_LOOKED_AT
    traced: int = MAX_TRACED


DEFAULT_LIMITS = Limits()
BLAMED = frozenset(("run", "model", "dataset", "features", "row"))
"""The kinds of things in a trace that can be to blame."""


class Suspect(NamedTuple):
    """Something that flagged things were made from.

    `flagged`: how many of them, of `flagged_total`; `unflagged`: how many of the unflagged
    predictions that were compared, of `unflagged_total`. `score`: 0 to 1, see the module.
    """

    ref: str
    score: float
    flagged: int
    flagged_total: int
    unflagged: int
    unflagged_total: int

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return self._asdict()


class Suspects(NamedTuple):
    """The ranking, and what it stands on. `untraced`: flagged things of which nothing leads on."""

    ranking: list[Suspect]
    traced: int
    untraced: tuple[str, ...]
    compared: int
    models: tuple[str, ...]


def rank(reader: Reader, cut: Cut) -> list[Suspect]:
    """What flagged things were made from, most suspect first."""
    return suspects(reader, cut, [one.ref for one in flagged(reader, cut)]).ranking


def suspects(
    reader: Reader, cut: Cut, refs: Iterable[str], limits: Limits = DEFAULT_LIMITS
) -> Suspects:
    """Rank what the flagged things `refs` were made from, most suspect first."""
    upstream = Upstream(reader, cut)
    marked = list(islice(refs, MAX_FLAGGED))
    spectra = {ref: _safely(upstream, ref) for ref in marked}
    traced = {ref: found for ref, found in spectra.items() if found}
    models = frozenset(
        ref.removeprefix("model/").rpartition("@")[0]
        for found in traced.values()
        for ref in found
        if ref.startswith("model/")
    )
    others = list(_unflagged(reader, cut, upstream, frozenset(marked), models, limits))
    bad = Counter(ref for found in traced.values() for ref in found)
    good = Counter(ref for found in others for ref in found)
    ranking = [
        Suspect(ref, _ochiai(count, len(traced), good[ref]), count, len(traced), good[ref],
                len(others))
        for ref, count in bad.items()
    ]  # fmt: skip
    # What a single one of several flagged things was made from is nothing that they share.
    ranking.sort(
        key=lambda one: (one.flagged < min(2, len(traced)), -one.score, -one.flagged, one.ref)
    )
    untraced = tuple(ref for ref in marked if not spectra[ref])
    return Suspects(ranking, len(traced), untraced, len(others), tuple(sorted(models)))


class Upstream:
    """What things were made from, by REF; predictions that were made alike are traced once."""

    def __init__(self, reader: Reader, cut: Cut) -> None:
        """Nothing is traced yet."""
        self._reader = reader
        self._cut = cut
        self._known: dict[object, frozenset[str]] = {}
        self._view: View | None = None
        self.traced = 0

    def of(self, ref: str) -> frozenset[str]:
        """The REFs of what a thing was made from, without itself. Raises NotFound and the like."""
        self.traced += 1
        if self._view is None:
            self._view = view_of(self._reader, self._cut)
        found = trace(self._reader, (ref,), self._cut, view=self._view)
        return frozenset(
            node.ref
            for node in found.nodes.values()
            if node.kind in BLAMED and node.ref is not None and node.ref != ref
        )

    def of_prediction(self, prediction: Prediction) -> frozenset[str]:
        """The same of a prediction; nothing for what cannot be traced."""
        if prediction.problem is not None:
            return frozenset()
        one = prediction
        alike = (one.model_name, one.model_version, one.model_digest, one.code_digest)
        inputs = (one.feature_sets, one.inputs, one.parents, one.members)
        uses = [*one.inputs, *(use for made in one.feature_sets for use in made.reads)]
        # Where datasets were read, the key says which rows.
        about = one.key if any(use.entity_type and use.logs for use in uses) else ""
        # What was read is told by dicts too, which have no hash: its text is as good a key.
        key = alike, repr(inputs) if any(inputs) else "", about
        if key not in self._known:
            self._known[key] = _safely(self, refs_of(prediction)[1])
        return self._known[key]


def _ochiai(bad: int, all_bad: int, good: int) -> float:
    return bad / math.sqrt(all_bad * (bad + good))


def _safely(upstream: Upstream, ref: str) -> frozenset[str]:
    """What a thing was made from; nothing for what is not there or cannot be read."""
    try:
        return upstream.of(ref)
    except Unavailable:
        raise
    except AuditError:
        return frozenset()


def _unflagged(
    reader: Reader,
    cut: Cut,
    upstream: Upstream,
    flagged: frozenset[str],
    models: frozenset[str],
    limits: Limits,
) -> Iterator[frozenset[str]]:
    """What the newest unflagged predictions of these models were made from."""
    if not models:
        return
    found = find_predictions(reader, parse_query("", 0), cut, newest_first=True)
    fitting = (
        one
        for one in islice(found, limits.looked_at)
        if one.model_name in models
        and one.role != REPLAY
        and not flagged.intersection(refs_of(one))
    )
    before = upstream.traced
    for one in islice(fitting, limits.compared):
        if upstream.traced - before >= limits.traced:
            return
        yield upstream.of_prediction(one)
