"""Training sets of logged predictions: the features as served, the answer, and what was true.

Which truth belongs to which prediction, of the records known at the cut:

1. one that names the prediction's id; of several the newest recorded, and one about the model (or
   about no name) before one about another name;
2. else one that names no prediction, but the prediction's key, and the model or no name: the first
   that was observed at or after the prediction was made. What was known of a key before may be
   about another occasion, and would tell the model what nobody knew.

A record that `supersedes` another replaces it from the moment it is recorded, not before. When it
was observed: as it says, else its valid time, else when it was recorded.

Row N of a batch is a prediction like any other; its id is that of the batch, #, and N, from 0.
"""

import bisect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.errors import FormatError, InvalidInput, NotFound, StoreCorrupt
from audit.event.types import GROUND_TRUTH
from audit.lineage.recorded.batch import rows_of
from audit.lineage.recorded.predictions import (
    OK_STATUS,
    PREDICTION_ENTITY,
    Prediction,
    find_predictions,
)
from audit.lineage.recorded.records import Found, number, text, walk
from audit.replay.books import Books
from audit.replay.fold import Position
from audit.replay.points import Cut
from audit.replay.query import Query
from audit.store.blobs import BlobStore
from audit.store.contract import Reader

if TYPE_CHECKING:
    import pandas

SERVED_ROLES = frozenset(("PRIMARY", "CANARY", "FALLBACK"))
"""The answers that somebody acted on, and whose truth was seen."""
OUTPUT_COLUMN, TRUTH_COLUMN = "output", "truth"
INDEX_NAME = "prediction"
PREDICTIONS_OF_KEY = "audit_predictions_of"
"""Where a frame's attrs say of which models there are predictions in it."""
LEFT_OUT_KEY = "audit_left_out"
"""Where a training set's attrs count the predictions that are not in it, by why."""
NO_VERSION = "(none)"

_Row = Mapping[str, Any]


class _Truth(NamedTuple):
    observed_us: int
    place: tuple[int, int, int]
    name: str | None
    value: Any


def training_set(
    reader: Reader, model: str, cut: Cut, query: Query, blobs: BlobStore | None = None
) -> "pandas.DataFrame":
    """Predictions of a model (NAME or NAME@VERSION) whose truth is known at the cut, as a frame.

    A row per prediction in recorded order, its id as index; the features as columns, sorted, then
    `output` and `truth` (a feature of such a name gets a `_` behind it). Types are those that were
    recorded, as in `Ledger.replay`. `df.attrs` cites the point, names the models, and counts what
    was left out: failed and unreadable predictions, batches, and those without truth by then.
    Raises NotFound when the model has no prediction by then.
    """
    from audit.replay.citation import cite
    from audit.replay.frame import ATTRS_KEY, build_frame

    model = model.removeprefix("model/")
    if not model:
        raise InvalidInput("say which model: NAME or NAME@VERSION")
    truths = _Truths(reader, cut)
    left_out = dict.fromkeys(("failed", "unreadable", "batches", "without_truth"), 0)
    rows: list[tuple[str, dict[str, Any]]] = []
    used: dict[tuple[str, str, str | None], None] = {}
    seen = 0
    for found in find_predictions(reader, query, cut):
        if (found.record.log, found.record.index) in truths.superseded:
            continue
        if found.problem is not None:
            left_out["unreadable"] += 1
            continue
        if not _is_of(found, model) or found.role not in SERVED_ROLES:
            continue
        seen += 1
        for prediction in _answers(found, blobs, left_out):
            truth = truths.of(prediction)
            if truth is None:
                left_out["without_truth"] += 1
                continue
            rows.append((prediction.prediction_id, _row(prediction, truth.value)))
            version = prediction.model_version or NO_VERSION
            used[prediction.model_name, version, prediction.model_digest] = None
    if not seen:
        raise NotFound(f"no prediction of {model:.140} by {cut.asked} in {reader.address}")
    names = {name for _, row in rows for name in row} | {OUTPUT_COLUMN, TRUTH_COLUMN}
    citation = {"entity": PREDICTION_ENTITY, **cite(reader, cut).to_dict()}
    frame = build_frame(rows, sorted(names), citation)
    features = [name for name in frame.columns if name not in (OUTPUT_COLUMN, TRUTH_COLUMN)]
    frame = frame[[*features, OUTPUT_COLUMN, TRUTH_COLUMN]].rename_axis(INDEX_NAME)
    frame.attrs[ATTRS_KEY] = citation
    frame.attrs[PREDICTIONS_OF_KEY] = [list(one) for one in used]
    frame.attrs[LEFT_OUT_KEY] = left_out
    return frame


def _is_of(prediction: Prediction, model: str) -> bool:
    name, version = prediction.model_name, prediction.model_version
    return model in (name, f"{name}@{version}")


def _answers(
    found: Prediction, blobs: BlobStore | None, left_out: dict[str, int]
) -> Iterator[Prediction]:
    """A prediction, or those of a batch, if there is an answer; else it is counted."""
    if found.status != OK_STATUS:
        left_out["failed"] += 1
        return
    if found.batch is None:
        yield found
        return
    try:
        rows = [] if blobs is None else list(rows_of(blobs, found))
    except NotFound:
        rows = []
    except FormatError as error:
        raise StoreCorrupt(f"batch {found.prediction_id:.140}: {error}") from None
    left_out["batches"] += not rows
    for at, row in enumerate(rows):
        if row.output is None:
            left_out["failed"] += 1
            continue
        own = f"{found.prediction_id}#{at}"
        key = own if row.key is None else row.key
        yield found._replace(
            prediction_id=own, key=key, features=row.features, output=row.output, batch=None
        )


def _row(prediction: Prediction, truth: Any) -> dict[str, Any]:
    row = {_feature_column(name): value for name, value in prediction.features.items()}
    return {**row, OUTPUT_COLUMN: prediction.output, TRUTH_COLUMN: truth}


def _feature_column(name: str) -> str:
    """A feature's column: never `output` or `truth`, and no two features have the same."""
    taken = name.rstrip("_") in (OUTPUT_COLUMN, TRUTH_COLUMN)
    return name + "_" if taken else name


class _Truths:
    """What is known to be true at a cut, by prediction and by key."""

    def __init__(self, reader: Reader, cut: Cut) -> None:
        self._by_id: dict[str, list[_Truth]] = {}
        self._by_key: dict[str, list[_Truth]] = {}
        types = frozenset((GROUND_TRUTH,))
        self.superseded: set[Position] = set()
        books = Books(reader, cut)
        # Of all that is about predictions: a prediction may be superseded as well.
        told = list(walk(reader, books, cut, PREDICTION_ENTITY, types, None, self.superseded))
        for found in told:
            if (found.record.log, found.record.index) in self.superseded:
                continue
            truth = _truth(found)
            prediction = text(found.data, "prediction")
            if prediction is not None:
                prediction = prediction.removeprefix(f"{PREDICTION_ENTITY}/")
                self._by_id.setdefault(prediction, []).append(truth)
                continue
            event = found.record.event
            key = text(found.data, "key")
            key = event.entity_key if key is None and event is not None else key
            if key is not None:
                self._by_key.setdefault(key, []).append(truth)
        for truths in self._by_key.values():
            truths.sort()

    def of(self, prediction: Prediction) -> _Truth | None:
        """What was true where this prediction was made; None while that is not known."""
        event = prediction.record.event
        source = "" if event is None else event.source
        own: list[_Truth] = [
            *self._by_id.get(prediction.prediction_id, ()),
            *self._by_id.get(f"{source}:{prediction.prediction_id}", ()),
        ]
        names = (None, prediction.model_name)
        if own:
            return max(own, key=lambda truth: (truth.name in names, truth.place))
        of_key = self._by_key.get(prediction.key, [])
        start = bisect.bisect_left(of_key, prediction.time_us, key=lambda truth: truth.observed_us)
        return next((truth for truth in of_key[start:] if truth.name in names), None)


def _truth(found: Found) -> _Truth:
    record = found.record
    observed_us = number(found.data, "observed_us")
    if observed_us is None:
        valid_us = None if record.event is None else record.event.valid_time_us
        observed_us = record.recorded_time_us if valid_us is None else valid_us
    place = (record.recorded_time_us, record.log, record.index)
    return _Truth(observed_us, place, text(found.data, "name"), found.data.get("value"))
