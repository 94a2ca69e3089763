"""Predictions in the ledger: find them, read them, print them as lines.

A prediction's record is ``prediction.v1``; its field ``call`` is JSON with what running it again
needs besides::

    {"arguments": "one" | "many",     the function was given its one argument, or several by name
     "features": form, "output": form,     see audit.lineage.served
     "format": "pickle", "threshold": number or null, "environment": {name: version}}
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from audit.errors import Ambiguous, FormatError, InvalidInput, NotFound, StoreCorrupt
from audit.event.types import PREDICTION
from audit.event.values import Value, dumps, fields_to_json, format_time, parse_json, to_json
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
CSV_HEADER = ("date", "model", "model version", "feature inputs", "output")
MAX_CALL_CHARS = 64_000

_EMPTY: Mapping[str, Any] = {}


class Prediction(NamedTuple):
    """One recorded prediction. `problem` says why it could not be read; then the rest is empty.

    `key`: what it is about, or its own id. `call`: see the module docstring; None where the
    producer gave none.
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
        fields = _checked(data)
    except InvalidInput as error:
        return Prediction(record, event.event_id, key, str(error))
    return Prediction(record, event.event_id, key, None, **fields)


_TYPES: dict[str, tuple[type, ...]] = {
    "model_name": (str,),
    "model_version": (str, type(None)),
    "model_digest": (str, type(None)),
    "code_digest": (str, type(None)),
    "features": (dict,),
    "status": (str,),
    "error": (str, type(None)),
    "latency_us": (int, type(None)),
    "request_id": (str, type(None)),
    "seed": (int, type(None)),
}


def _checked(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of prediction.v1; another schema may have been used for the payload."""
    fields: dict[str, Any] = {}
    for name, kinds in _TYPES.items():
        fields[name] = data.get(name)
        if type(fields[name]) not in kinds:
            raise FormatError(f"its field {name} is not as prediction.v1 has it")
    fields["output"] = data.get("output")
    fields["call"] = parse_call(data.get("call"))
    return fields


def parse_call(text: object) -> dict[str, Any] | None:
    """The JSON of the field `call`. Raises FormatError."""
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > MAX_CALL_CHARS:
        raise FormatError("its field call is not as prediction.v1 has it")
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
    output as compact JSON; for a failed prediction ``ERROR: type and words`` in place of an output.
    """
    yield _line(CSV_HEADER)
    for prediction in predictions:
        yield _line(_cells(prediction))


def _cells(prediction: Prediction) -> tuple[str, ...]:
    date = format_time(prediction.time_us)
    if prediction.problem is not None:
        return date, "", "", "", f"ERROR: unreadable: {prediction.problem}"
    if prediction.status == OK_STATUS:
        output = dumps(prediction.output)
    else:
        output = f"ERROR: {prediction.error or 'unknown'}"
    features = compact_json(fields_to_json(prediction.features))
    version = prediction.model_version or ""
    return date, prediction.model_name, version, features, output


def compact_json(thing: Any) -> str:
    """JSON without spaces, in the order it has, in UTF-8 where it is no ASCII."""
    return json.dumps(thing, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _line(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
