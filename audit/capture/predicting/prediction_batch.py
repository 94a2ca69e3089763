"""Logged functions that answer for many rows at once: one event, and a tree over the rows.

``@audit.predictor(model=version, batch=True)``: the function takes a data frame, an array or a list
of rows, and returns as many outputs (a list, an array, a series, or a frame of named outputs). The
rows go to the blob store (audit.lineage.recorded.batch has the format), the event names them by
digest and by root hash, and each row can be proven by itself. `key` is looked up in each row and
stands there; the event is known by its own id alone.

Where one row is not as the model expects it, the whole batch is rejected and the function not run.
A batch that fails or is rejected is recorded with its rows, all without an output.
"""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from audit.capture.pipeline.target import Target
from audit.capture.predicting import prediction_payload as wire
from audit.capture.predicting.logged import Predictor
from audit.capture.predicting.prediction_call import Call, Given, Settings
from audit.capture.predicting.running import running
from audit.errors import AuditError, InvalidInput, LimitExceeded
from audit.event.values import Value
from audit.lineage.content.expects import MAX_VIOLATIONS, capped
from audit.lineage.content.served import describe
from audit.lineage.recorded.batch import MAX_ROWS, Chunk, Row, row_bytes, rows_root, write_rows
from audit.lineage.recorded.batch_cells import row_fields, row_values
from audit.lineage.recorded.models import ModelVersion
from audit.lineage.recorded.predictions import OK_STATUS

CHUNK_CELLS = 50_000
"""Cells that are described at once: what a value may hold has its limit."""

P = ParamSpec("P")
R = TypeVar("R")


class BatchPredictor(Predictor[P, R]):
    """A logged function of many rows."""

    def __init__(
        self,
        function: Callable[P, R],
        model: ModelVersion,
        target: Target,
        settings: Settings,
    ) -> None:
        """Use `predictor`."""
        super().__init__(function, model, target, settings)
        if not self._takes_one:
            raise InvalidInput(f"{function.__name__} must take the rows of a batch, and no more")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Answer for all rows, and record the answers."""
        _, thing = self._features(args, kwargs)
        rows = _Rows(thing)
        keys = [self.row_key(fields) for fields in rows.features]
        call = self.begin(args, kwargs)
        violations = self._violations(rows)
        if violations:
            self.reject(call, violations, self._keep(rows, keys, None))
        token = running.set(call.running)
        begin_ns = time.perf_counter_ns()
        try:
            output = self._function(*args, **kwargs)
        except BaseException as error:
            latency_ns = time.perf_counter_ns() - begin_ns
            self._failed(call, error, latency_ns, rows, keys)
            raise
        finally:
            running.reset(token)
        latency_ns = time.perf_counter_ns() - begin_ns
        try:
            outputs = _cells(output)
            batch = self._keep(rows, keys, outputs)
            text = self.call_text(call, None)
            outcome = wire.Outcome(OK_STATUS, None, latency_ns // 1_000, text)
            self.emit(call, outcome, batch)
        except AuditError as error:
            self._failed(call, error, latency_ns, rows, keys)
            raise
        return output

    def describe(self, arguments: str, features: Any) -> Given:
        """The event itself has no features: they are in the rows."""
        return Given("one", {}, None, wire.features({}))

    def key_of(self, features: Any) -> str | None:
        """The event is about all rows: each has a key of its own."""
        return None

    def row_key(self, fields: dict[str, Value]) -> str | None:
        """What a row is about."""
        key = self.settings.key
        if key is None:
            return None
        return self.key_text(key(fields) if callable(key) else fields.get(key))

    def check(self, call: Call) -> None:
        """The rows are looked at one by one, see `__call__`."""

    def _violations(self, rows: "_Rows") -> list[str]:
        expects = self.settings.expects
        found: list[str] = []
        if expects is not None:
            for index, fields in enumerate(rows.features):
                found += expects.violations(fields, f"row {index}: ")
                if len(found) > MAX_VIOLATIONS:
                    break
        return capped(found)

    def _failed(
        self, call: Call, error: BaseException, latency_ns: int, rows: "_Rows", keys: list[Any]
    ) -> None:
        try:
            batch = self._keep(rows, keys, None)
        except AuditError as problem:
            error.add_note(f"and the rows could not be kept: {problem}")
            batch = None
        self.failed(call, error, latency_ns, batch=batch)

    def _keep(
        self, rows: "_Rows", keys: list[str | None], outputs: "_Cells | None"
    ) -> dict[str, Any]:
        """Put the rows into the blob store; the event's field `batch`."""
        count = len(rows.features)
        values: list[Value] = [None] * count if outputs is None else outputs.values
        if len(values) != count:
            raise InvalidInput(f"{len(values)} outputs for {count} rows: one for each is needed")
        lines = [
            row_bytes(Row(fields, value, key))
            for fields, value, key in zip(rows.features, values, keys, strict=True)
        ]
        blob = write_rows(lines, rows.chunks, [] if outputs is None else outputs.chunks)
        # First the rows, then the event: an event never names rows that nobody has.
        digest = self.target.blobs.put(blob)
        failed = sum(value is None for value in values)
        return {
            "rows": count,
            "root_hash": rows_root(lines),
            "digest": digest,
            "failed": failed,
        }


class _Cells:
    """What many rows are, one plain value each, and how they were served."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.chunks: list[Chunk] = []


class _Rows:
    """The features of many rows."""

    def __init__(self, thing: Any) -> None:
        cells = _cells(thing)
        self.chunks = cells.chunks
        self.features = [row_fields(value) for value in cells.values]


def _cells(thing: Any) -> _Cells:
    """The rows of a frame, series, array, list or tuple. Raises InvalidInput, LimitExceeded."""
    found = _Cells()
    for part in _parts(thing):
        value, form = describe(part)
        size = len(part)
        found.chunks.append(Chunk(size, form))
        found.values += row_values(value, form, size)
    return found


def _parts(thing: Any) -> Iterator[Any]:
    """Some rows after the other."""
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    width = 1
    if pandas is not None and isinstance(thing, pandas.DataFrame | pandas.Series):
        width, sliced = getattr(thing, "shape", (0, 1))[-1] if thing.ndim > 1 else 1, thing.iloc
    elif numpy is not None and isinstance(thing, numpy.ndarray) and thing.ndim:
        width, sliced = thing.size // max(1, len(thing)), thing
    elif type(thing) in (list, tuple):
        sliced = thing
    else:
        raise InvalidInput(
            f"the rows of a batch are a frame, array or list, not a {type(thing).__qualname__}"
        )
    if len(thing) > MAX_ROWS:
        raise LimitExceeded(f"a batch of {len(thing)} rows: at most {MAX_ROWS}; make several")
    step = max(1, CHUNK_CELLS // max(1, width))
    for start in range(0, len(thing), step):
        yield sliced[start : start + step]
