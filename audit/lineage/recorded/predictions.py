"""Predictions in the ledger: find them, read them, print them as lines.

A prediction's record is ``prediction.v2``, or ``prediction.v1`` in older ledgers; its field
``call`` is JSON with what running it again needs besides::

    {"arguments": "one" | "many",     the function was given its one argument, or several by name
     "features": form, "output": form,     see audit.lineage.content.served
     "format": "pickle", "environment": {name: version}}     v1 has "threshold" in it too

In the record of a batch the forms are null; ``batch`` leads to the rows
(audit.lineage.recorded.batch).
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from audit.errors import Ambiguous, FormatError, InvalidInput, NotFound, StoreCorrupt
from audit.event.types import PREDICTION
from audit.event.values import Value, dumps, fields_to_json, format_time, parse_json, to_json
from audit.lineage.recorded.records import (
    DataUse,
    data_uses,
    fields,
    items,
    number,
    text,
    texts,
)
from audit.lineage.recorded.runs import use_to_json
from audit.log.entry import Kind
from audit.log.record import Record
from audit.replay.books import Books
from audit.replay.events import events
from audit.replay.points import Cut, event_positions
from audit.replay.query import Query
from audit.replay.steps import trusted_record
from audit.store.contract import Reader

PREDICTION_ENTITY = "prediction"
OK_STATUS = "OK"
ERROR_STATUS = "ERROR"
REJECTED_STATUS = "REJECTED_INPUT"
PRIMARY, SHADOW, CHALLENGER, MEMBER = "PRIMARY", "SHADOW", "CHALLENGER", "MEMBER"
REPLAY = "REPLAY"
ROLES = (PRIMARY, SHADOW, "CANARY", CHALLENGER, "FALLBACK", MEMBER, REPLAY, "BACKFILL")
ANSWER_ROLES = frozenset(ROLES) - {REPLAY, SHADOW, CHALLENGER}
"""Those that count as answers, unless shadows and challengers are asked for."""
FEATURE_STATUSES = ("MISSING", "DEFAULTED", "IMPUTED", "STALE", "REDACTED", "OUT_OF_RANGE")
CSV_HEADER = ("date", "model", "model version", "feature inputs", "output")
MAX_CALL_CHARS = 64_000

_EMPTY: Mapping[str, Any] = {}


class FeatureSet(NamedTuple):
    """Features that a recorded definition made. `request`: the argument it had, as JSON text."""

    name: str
    version: str
    digest: str
    request: str
    names: tuple[str, ...]
    reads: tuple[DataUse, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        said: dict[str, Any] = {**self._asdict(), "names": list(self.names)}
        return {**said, "reads": [use_to_json(use) for use in self.reads]}


class Batch(NamedTuple):
    """Many answers under one entry. `root_hash`: of the rows' tree; `digest`: of their blob."""

    rows: int
    root_hash: bytes
    digest: str
    failed: int

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {**self._asdict(), "root_hash": self.root_hash.hex()}


class Prediction(NamedTuple):
    """One recorded prediction. `problem` says why it could not be read; then the rest is empty.

    `key`: what it is about, or its own id. `request_us`: when it was asked. `served`: None where
    the record does not say. `feature_status`: name -> why a feature was not simply given.
    `parents`, `members`, `primary`: ids of other predictions. `call`: see the module docstring;
    None where the producer gave none.
    """

    record: Record
    prediction_id: str
    key: str
    problem: str | None
    model_name: str = ""
    model_version: str | None = None
    model_digest: str | None = None
    code_digest: str | None = None
    features: Mapping[str, Value] = _EMPTY
    output: Value = None
    status: str = ""
    error: str | None = None
    latency_us: int | None = None
    request_id: str | None = None
    seed: int | None = None
    call: Mapping[str, Any] | None = None
    role: str = PRIMARY
    served: bool | None = None
    request_us: int | None = None
    feature_status: Mapping[str, str] = _EMPTY
    feature_sets: tuple[FeatureSet, ...] = ()
    violations: tuple[str, ...] = ()
    threshold: float | None = None
    parents: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    primary: str | None = None
    inputs: tuple[DataUse, ...] = ()
    batch: Batch | None = None

    @property
    def time_us(self) -> int:
        """When it was made, as its producer says; else when it was recorded. Since the epoch."""
        event = self.record.event
        valid_us = None if event is None else event.valid_time_us
        return self.record.recorded_time_us if valid_us is None else valid_us

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it, for `audit show` and `audit predictions --json`."""
        return {
            "prediction": self.prediction_id,
            "log": self.record.log,
            "index": self.record.index,
            "recorded_time": format_time(self.record.recorded_time_us),
            "date": format_time(self.time_us),
            "key": self.key,
            "model": self.model_name,
            "model_version": self.model_version,
            "model_digest": self.model_digest,
            "code_digest": self.code_digest,
            "features": fields_to_json(self.features),
            "output": to_json(self.output),
            "status": self.status,
            "error": self.error,
            "latency_us": self.latency_us,
            "request_id": self.request_id,
            "seed": self.seed,
            "role": self.role,
            "served": self.served,
            "request_time": None if self.request_us is None else format_time(self.request_us),
            "feature_status": dict(self.feature_status),
            "feature_sets": [one.to_json() for one in self.feature_sets],
            "violations": list(self.violations),
            "threshold": to_json(self.threshold),
            "parents": list(self.parents),
            "members": list(self.members),
            "primary": self.primary,
            "inputs": [use_to_json(use) for use in self.inputs],
            "batch": None if self.batch is None else self.batch.to_json(),
            "environment": dict((self.call or {}).get("environment") or {}),
            **({} if self.problem is None else {"problem": self.problem}),
        }


def find_predictions(
    reader: Reader, query: Query, cut: Cut, newest_first: bool = False, limit: int | None = None
) -> Iterator[Prediction]:
    """The predictions that match a query, ordered by recorded time.

    One that cannot be read is there all the same, with its `problem`.
    """
    wanted = dict(query.wanted)
    for name, only in (("type", PREDICTION), ("entity", PREDICTION_ENTITY)):
        wanted[name] = frozenset((only,)) & wanted.get(name, frozenset((only,)))
        if not wanted[name]:
            return
    books = Books(reader, cut)
    for record in events(reader, query._replace(wanted=wanted), cut, newest_first, limit):
        yield read_prediction(books, record)


def find_prediction(reader: Reader, prediction_id: str, cut: Cut) -> Prediction:
    """The prediction with an id (or SOURCE:ID), with or without `prediction/` before it.

    Raises NotFound, Ambiguous when two sources use the id, StoreCorrupt.
    """
    log, index = locate_prediction(reader, prediction_id, cut)
    record = trusted_record(log, index, reader.leaf(log, index))
    if not is_named(record, prediction_id):
        raise StoreCorrupt(f"the store's index leads to entry {log}/{index}, which has another id")
    return read_prediction(Books(reader, cut), record)


def is_named(record: Record, prediction_id: str) -> bool:
    """Whether the entry itself has this id (or SOURCE:ID). Raises NotFound for no prediction."""
    event = record.event
    if event is None or event.type != PREDICTION:
        raise NotFound(f"entry {record.log}/{record.index} is no prediction")
    wanted = prediction_id.removeprefix(f"{PREDICTION_ENTITY}/")
    return wanted in (event.event_id, f"{event.source}:{event.event_id}")


def locate_prediction(reader: Reader, prediction_id: str, cut: Cut) -> tuple[int, int]:
    """(log, index) of a prediction, as the index columns say. Raises NotFound, Ambiguous."""
    wanted = prediction_id.removeprefix(f"{PREDICTION_ENTITY}/")
    if not wanted:
        raise InvalidInput("give the id of a prediction")
    fits = [place for place in event_positions(reader, wanted) if cut.holds(place)]
    if not fits:
        raise NotFound(f"there is no prediction {wanted!r:.140} in {reader.address}")
    if len(fits) > 1:
        places = ", ".join(f"{log}/{index}" for log, index in fits[:10])
        raise Ambiguous(f"{wanted!r:.140} fits several entries ({places}); write SOURCE:ID")
    return fits[0]


def read_prediction(books: Books, record: Record) -> Prediction:
    """The prediction in an entry. What cannot be read is said in `problem`, never raised."""
    event = record.event
    if event is None or event.type != PREDICTION or record.entry.kind is not Kind.EVENT:
        raise InvalidInput(f"entry {record.log}/{record.index} is no prediction")
    key = event.event_id if event.entity_key is None else event.entity_key
    try:
        data = books.decode(record)
        if not isinstance(data, dict):
            raise FormatError("its payload is not a record")
        said = _checked(data)
    except InvalidInput as error:
        return Prediction(record, event.event_id, key, str(error))
    return Prediction(record, event.event_id, key, None, **said)


_NULL = type(None)
_TYPES: dict[str, tuple[type, ...]] = {
    "model_name": (str,),
    "model_version": (str, _NULL),
    "model_digest": (str, _NULL),
    "code_digest": (str, _NULL),
    "features": (dict,),
    "status": (str,),
    "error": (str, _NULL),
    "latency_us": (int, _NULL),
    "request_id": (str, _NULL),
    "request_us": (int, _NULL),
    "served": (bool, _NULL),
    "primary": (str, _NULL),
    "seed": (int, _NULL),
}


def _checked(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of prediction.v2 or v1; another schema may have been used for the payload."""
    said: dict[str, Any] = {}
    for name, kinds in _TYPES.items():
        said[name] = data.get(name)
        if type(said[name]) not in kinds:
            raise FormatError(f"its field {name} is not as prediction.v2 has it")
    call = said["call"] = parse_call(data.get("call"))
    threshold = data.get("threshold")
    if threshold is None:
        threshold = (call or {}).get("threshold")
    said["threshold"] = float(threshold) if isinstance(threshold, (int, float)) else None
    said["output"] = data.get("output")
    said["role"] = text(data, "role") or PRIMARY
    said["feature_status"] = {
        one["name"]: one["status"]
        for one in items(data, "feature_status")
        if isinstance(one, dict) and text(one, "name") is not None and text(one, "status")
    }
    said["feature_sets"] = tuple(
        found for found in map(_feature_set, items(data, "feature_sets")) if found is not None
    )
    for name in ("violations", "parents", "members"):
        said[name] = texts(data, name)
    said["inputs"] = data_uses(data, "inputs")
    said["batch"] = _batch(fields(data, "batch"))
    return said


def _feature_set(data: Any) -> FeatureSet | None:
    if not isinstance(data, dict):
        return None
    name, version, digest = text(data, "name"), text(data, "version"), text(data, "digest")
    if name is None or version is None or digest is None:
        return None
    request = text(data, "request") or "null"
    return FeatureSet(
        name, version, digest, request, texts(data, "names"), data_uses(data, "reads")
    )


def _batch(data: Mapping[str, Any]) -> Batch | None:
    rows, root_hash, digest = number(data, "rows"), data.get("root_hash"), text(data, "digest")
    if rows is None or not isinstance(root_hash, bytes) or digest is None:
        return None
    return Batch(rows, root_hash, digest, number(data, "failed") or 0)


def narrowed(
    predictions: Iterable[Prediction], role: str | None = None, status: str | None = None
) -> Iterator[Prediction]:
    """Those of a role, and of a status; None: of any. What cannot be read has neither."""
    for prediction in predictions:
        if role is not None and (prediction.role != role or prediction.problem is not None):
            continue
        if status is None or prediction.status == status:
            yield prediction


def parse_call(text: object) -> dict[str, Any] | None:
    """The JSON of the field `call`. Raises FormatError."""
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > MAX_CALL_CHARS:
        raise FormatError("its field call is not as prediction.v2 has it")
    try:
        call = parse_json(text)
    except InvalidInput as error:
        raise FormatError(f"its field call is not JSON: {error}") from None
    if not isinstance(call, dict) or not _is_call(call):
        raise FormatError("its field call has other members than it must have")
    return call


def _is_call(call: Mapping[str, Any]) -> bool:
    environment, threshold = call.get("environment", {}), call.get("threshold")
    return (
        call.get("arguments") in ("one", "many")
        and all(isinstance(call.get(name), (dict, type(None))) for name in ("features", "output"))
        and isinstance(call.get("format"), str)
        and (threshold is None or type(threshold) in (int, float))
        and isinstance(environment, dict)
        and all(isinstance(version, str) for version in environment.values())
    )


def csv_lines(predictions: Iterable[Prediction]) -> Iterator[str]:
    """A header and a line for each prediction, with line ends (RFC 4180, but LF alone).

    ``date,model,model version,feature inputs,output``: RFC 3339; features in the order served and
    output as compact JSON; for a failed prediction ``ERROR: type and words`` in place of an output,
    for a rejected input ``REJECTED_INPUT: why``, for a batch ``BATCH: number of rows, digest``.
    """
    yield _line(CSV_HEADER)
    for prediction in predictions:
        yield _line(_cells(prediction))


def _cells(prediction: Prediction) -> tuple[str, ...]:
    date = format_time(prediction.time_us)
    if prediction.problem is not None:
        return date, "", "", "", f"ERROR: unreadable: {prediction.problem}"
    output = output_text(prediction)
    features = compact_json(fields_to_json(prediction.features))
    version = prediction.model_version or ""
    return date, prediction.model_name, version, features, output


def output_text(prediction: Prediction) -> str:
    """The output as compact JSON, or what there is in its place."""
    if prediction.problem is not None:
        return f"ERROR: {prediction.problem}"
    if prediction.status == REJECTED_STATUS:
        return f"{REJECTED_STATUS}: {'; '.join(prediction.violations) or 'unknown'}"
    if prediction.status != OK_STATUS:
        return f"ERROR: {prediction.error or 'unknown'}"
    if prediction.batch is not None:
        return f"BATCH: {prediction.batch.rows} rows, {prediction.batch.digest}"
    return dumps(prediction.output)


def compact_json(thing: Any) -> str:
    """JSON without spaces, in the order it has, in UTF-8 where it is no ASCII."""
    return json.dumps(thing, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _line(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
