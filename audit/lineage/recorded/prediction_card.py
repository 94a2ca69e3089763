"""The card of one prediction: its record in full, what ran beside it, and what came of it."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from audit.event.times import format_time
from audit.event.types import GROUND_TRUTH, PREDICTION
from audit.event.valuejson import to_json
from audit.lineage.recorded.predictions import (
    PREDICTION_ENTITY,
    PRIMARY,
    Prediction,
    find_prediction,
)
from audit.lineage.recorded.records import Found, moment, text, walk
from audit.lineage.recorded.reviews import Review, find_reviews
from audit.replay.books import Books
from audit.replay.fold import Position
from audit.replay.points import Cut
from audit.store.contract import Reader

MAX_BESIDE = 1_000
"""So many predictions of the same key are looked through for those of the same request."""
_BESIDE_TYPES = frozenset((PREDICTION, GROUND_TRUTH))
_TRUTH_TYPES = frozenset((GROUND_TRUTH,))


class Beside(NamedTuple):
    """Another prediction of the same request: a shadow, or the one that this shadow runs beside."""

    prediction_id: str
    role: str
    model: str
    output: Any
    status: str

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {**self._asdict(), "output": to_json(self.output)}


class Truth(NamedTuple):
    """What turned out to be true, as one record says."""

    found: Found

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        record, data = self.found
        observed_us = moment(data, "observed_us")
        return {
            "value": to_json(data.get("value")),
            "observed": None if observed_us is None else format_time(observed_us),
            "recorded_time": format_time(record.recorded_time_us),
            "origin": text(data, "origin"),
            "actor": None if record.event is None else record.event.actor,
            "log": record.log,
            "index": record.index,
        }


class PredictionCard(NamedTuple):
    """A prediction, those of the same request, its truths in recorded order, and its reviews."""

    prediction: Prediction
    beside: tuple[Beside, ...]
    truths: tuple[Truth, ...]
    reviews: list[Review]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            **self.prediction.to_json(),
            "beside": [one.to_json() for one in self.beside],
            "ground_truth": [one.to_json() for one in self.truths],
            "reviews": [one.to_json() for one in self.reviews],
        }


def prediction_card(reader: Reader, prediction_id: str, cut: Cut) -> PredictionCard:
    """The card of a prediction, by its id (or SOURCE:ID). Raises NotFound, Ambiguous."""
    prediction = find_prediction(reader, prediction_id, cut)
    about = list(_about(reader, cut, prediction))
    return PredictionCard(
        prediction,
        tuple(one for one in map(_beside(prediction), about) if one is not None),
        tuple(Truth(one) for one in about if _is_truth(one, prediction)),
        _reviews(reader, cut, prediction),
    )


def _about(reader: Reader, cut: Cut, prediction: Prediction) -> Iterator[Found]:
    """Predictions and truths of the same key, and truths recorded under the prediction's id."""
    books, own = Books(reader, cut), prediction.prediction_id
    gone: set[Position] = set()
    same = walk(reader, books, cut, PREDICTION_ENTITY, _BESIDE_TYPES, prediction.key, gone)
    found = list(islice(same, MAX_BESIDE))
    if prediction.key != own:
        named = walk(reader, books, cut, PREDICTION_ENTITY, _TRUTH_TYPES, own, gone)
        found += islice(named, MAX_BESIDE)
    return (one for one in found if (one.record.log, one.record.index) not in gone)


def _beside(prediction: Prediction) -> Callable[[Found], Beside | None]:
    own, request = prediction.prediction_id, prediction.request_id

    def beside(found: Found) -> Beside | None:
        event, data = found.record.event, found.data
        if event is None or event.type != PREDICTION or event.event_id == own:
            return None
        same_request = request is not None and text(data, "request_id") == request
        linked = text(data, "primary") == own or event.event_id == prediction.primary
        if not (same_request or linked):
            return None
        version = text(data, "model_version")
        model = (text(data, "model_name") or "") + (f"@{version}" if version else "")
        role, status = text(data, "role") or PRIMARY, text(data, "status") or ""
        return Beside(event.event_id, role, model, data.get("output"), status)

    return beside


def _is_truth(found: Found, prediction: Prediction) -> bool:
    """Whether a record tells the truth about this prediction: by its id, or by key and name."""
    event, data, own = found.record.event, found.data, prediction.prediction_id
    if event is None or event.type != GROUND_TRUTH:
        return False
    about = text(data, "prediction")
    if about is not None:
        return about.removeprefix(f"{PREDICTION_ENTITY}/") == own
    return event.entity_key == own or text(data, "name") in (None, prediction.model_name)


def _reviews(reader: Reader, cut: Cut, prediction: Prediction) -> list[Review]:
    event = prediction.record.event
    assert event is not None
    ids = (event.event_id, f"{event.source}:{event.event_id}")
    found = [one for id_ in ids for one in find_reviews(reader, cut, f"{PREDICTION_ENTITY}/{id_}")]
    return sorted(found, key=lambda one: one.time_us)
