"""What was observed of a model's logged predictions: features and outputs, by window and subgroup.

One walk over the predictions, newest first, so that what was superseded is known before it comes;
entries outside of all windows are not decoded. In bounded memory: see
`audit.lineage.content.distributions` and the limits here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from audit.errors import InvalidInput, Unproven
from audit.event.times import format_time
from audit.event.types import PREDICTION
from audit.lineage.content.distributions import (
    NUMBER,
    OTHERS,
    Column,
    Distribution,
    category_text,
)
from audit.lineage.drifting.sampling import LOOKED_AT, Places, Sampling, drawn, places_in
from audit.lineage.recorded.batch import rows_of
from audit.lineage.recorded.in_force import target_of
from audit.lineage.recorded.predictions import (
    ANSWER_ROLES,
    OK_STATUS,
    PREDICTION_ENTITY,
    Prediction,
    read_prediction,
)
from audit.lineage.recorded.records import Named
from audit.log.record import Record
from audit.replay.books import Books
from audit.replay.events import events
from audit.replay.fold import Position
from audit.replay.points import Cut
from audit.replay.query import Query
from audit.store.blobs import BlobStore
from audit.store.contract import Reader

INPUTS, OUTPUTS = "inputs", "outputs"
OUTPUT = "output"
"""The column of an output that is one value."""
MAX_COLUMNS = 500
"""Columns of a window that are looked at; further ones are counted, and said."""
MAX_LIST_ITEMS = 16
"""An output that is a list of up to so many numbers, as class probabilities are, is columns."""
ALL = "(all)"
"""The subgroup that is everything."""
MAX_GROUPS = 50
"""Subgroups that are told apart, those that come first; the others are one."""
MAX_GROUP_VALUES = 1_000
MAX_DEFINITIONS = 100
PERIODS = 4
"""Equal parts of the window now, over which subgroups are followed."""


class Span(NamedTuple):
    """Times with since_us <= time < until_us."""

    since_us: int
    until_us: int

    def holds(self, time_us: int) -> bool:
        """Whether a time is inside."""
        return self.since_us <= time_us < self.until_us

    def to_json(self) -> dict[str, str]:
        """Both as RFC 3339."""
        return {"since": format_time(self.since_us), "until": format_time(self.until_us)}


class Answers(NamedTuple):
    """Answers of a subgroup: how many, how many of them failed, and their outputs.

    `decided`: those with a threshold and one number; `over`: at or above it.
    """

    size: int
    failed: int
    decided: int
    over: int
    outputs: Mapping[str, Distribution]

    @property
    def decision_rate(self) -> float | None:
        """The share of answers at or above their threshold; None without one."""
        return self.over / self.decided if self.decided else None

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        outputs = {name: found.to_json() for name, found in self.outputs.items()}
        return {**self._asdict(), "decision_rate": self.decision_rate, "outputs": outputs}


class Sampled(NamedTuple):
    """Of `of` predictions in a window, of whatever model, `read` were drawn at random and read."""

    read: int
    of: int


class Observed(NamedTuple):
    """One window, run or dataset. `rows`: predictions, or rows of profiled frames.

    `columns`: (side, name) -> values. `groups`: subgroup -> answers; `periods`: the same for equal
    parts of the window. `definitions`: feature definition -> how many predictions name it.
    `left_out`: why -> how many were not counted. `sampled`: None where all were read.
    """

    rows: int = 0
    columns: Mapping[tuple[str, str], Distribution] = {}  # never written to
    groups: Mapping[str, Answers] = {}
    periods: Sequence[Mapping[str, Answers]] = ()
    definitions: Mapping[Named, int] = {}
    left_out: Mapping[str, int] = {}
    sampled: "Sampled | None" = None


class _Group:
    def __init__(self) -> None:
        self.count = self.failed = self.decided = self.over = 0
        self.outputs: dict[str, Column] = {}

    def add(self, answer: "_Answer") -> None:
        self.count += 1
        self.failed += not answer.ok
        if answer.decision is not None:
            self.decided += 1
            self.over += answer.decision
        for name, value in answer.outputs.items():
            column = self.outputs.get(name)
            if column is None:
                if len(self.outputs) >= MAX_LIST_ITEMS:
                    continue
                column = self.outputs[name] = Column(name, MAX_GROUP_VALUES)
            column.add(value)

    def answers(self) -> Answers:
        ok = self.count - self.failed
        outputs = {name: one.distribution(ok) for name, one in self.outputs.items()}
        return Answers(self.count, self.failed, self.decided, self.over, outputs)


class _Answer(NamedTuple):
    """One answer: of a prediction, or a row of a batch. `decision`: at or above the threshold."""

    features: Mapping[str, Any]
    outputs: Mapping[str, Any]
    ok: bool
    decision: bool | None


class _Window:
    """Counts what falls into one span."""

    def __init__(self, span: Span, side: str, by: str | None) -> None:
        self.span, self.side, self.by = span, side, by
        self.rows = self.answered = 0
        self.columns: dict[tuple[str, str], Column] = {}
        self.groups: dict[str, _Group] = {}
        self.periods: list[dict[str, _Group]] = [{} for _ in range(PERIODS)]
        self.definitions: dict[Named, int] = {}
        self.left_out: dict[str, int] = {}

    def leave_out(self, why: str, count: int = 1) -> None:
        self.left_out[why] = self.left_out.get(why, 0) + count

    def add(self, answer: _Answer, time_us: int) -> None:
        self.rows += 1
        self.answered += answer.ok
        if self.side != OUTPUTS:
            self._count(INPUTS, answer.features)
        if self.side != INPUTS and answer.ok:
            self._count(OUTPUTS, answer.outputs)
        if self.by is not None:
            self._group(answer, time_us)

    def _count(self, side: str, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            column = self.columns.get((side, name))
            if column is None:
                if len(self.columns) >= MAX_COLUMNS:
                    self.leave_out(f"values of columns beyond {MAX_COLUMNS}")
                    continue
                column = self.columns[side, name] = Column(name)
            column.add(value)

    def _group(self, answer: _Answer, time_us: int) -> None:
        label = category_text(answer.features.get(self.by or ""))
        if label in (ALL, OTHERS):
            label = repr(label)
        if label not in self.groups and len(self.groups) > MAX_GROUPS:
            label = OTHERS
        span = self.span
        at = (time_us - span.since_us) * PERIODS // (span.until_us - span.since_us)
        for name in (ALL, label):
            self.groups.setdefault(name, _Group()).add(answer)
            self.periods[at].setdefault(name, _Group()).add(answer)

    def count_definitions(self, prediction: Prediction) -> None:
        for one in prediction.feature_sets:
            named = Named(one.name, one.version, one.digest)
            if named in self.definitions or len(self.definitions) < MAX_DEFINITIONS:
                self.definitions[named] = self.definitions.get(named, 0) + 1

    def observed(self) -> Observed:
        rows = {INPUTS: self.rows, OUTPUTS: self.answered}
        return Observed(
            self.rows,
            {key: one.distribution(rows[key[0]]) for key, one in sorted(self.columns.items())},
            {label: one.answers() for label, one in sorted(self.groups.items())},
            [{label: one.answers() for label, one in sorted(part.items())} for part in self.periods]
            if self.by is not None
            else (),
            dict(self.definitions),
            dict(self.left_out),
        )


def observe_predictions(
    reader: Reader,
    blobs: BlobStore,
    cut: Cut,
    model: str,
    version: str | None,
    spans: Sequence[Span],
    side: str = "both",
    by: str | None = None,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> list[Observed]:
    """The logged predictions of a model in each span, by the predictions' own time.

    Replays, shadows and challengers are no answers: they are left out, and counted as such. With
    `sampling` of a span with more predictions than are wanted some are drawn, by the seed.
    """
    windows = [_Window(span, side, by) for span in spans]
    books = Books(reader, cut)

    def take(window: _Window, record: Record, time_us: int) -> None:
        prediction = read_prediction(books, record)
        if prediction.problem is not None:
            window.leave_out("unreadable predictions, of whatever model")
        elif prediction.model_name == model and version in (None, prediction.model_version):
            _observe(window, blobs, prediction, time_us)

    if sampling is not None:
        places = [places_in(sampling.columns, cut, *window.span) for window in windows]
        known = [one for one in places if one is not None]
        if len(known) == len(windows):
            return [
                _drawn(reader, window, some, sampling.most, seed, take)
                for window, some in zip(windows, known, strict=True)
            ]
    for record, time_us in _in_force(reader, cut):
        for window in windows:
            if window.span.holds(time_us):
                take(window, record, time_us)
    return [window.observed() for window in windows]


def _drawn(
    reader: Reader,
    window: _Window,
    places: Places,
    most: int,
    seed: int,
    take: Callable[[_Window, Record, int], None],
) -> Observed:
    """What predictions drawn at random give; all of them, newest first, where they are few."""
    if len(places) <= most:
        for record in places.newest_first(reader):
            take(window, record, _time_us(record))
        return window.observed()
    read = 0
    for block in drawn(reader, places, LOOKED_AT * most, seed):
        block = block[: most - window.rows]
        for record in block:
            take(window, record, _time_us(record))
        read += len(block)
        if window.rows >= most:
            break
    return window.observed()._replace(sampled=Sampled(read, len(places)))


def _time_us(record: Record) -> int:
    """When a prediction was made, as it says; else when it was recorded."""
    event = record.event
    valid_us = None if event is None else event.valid_time_us
    return record.recorded_time_us if valid_us is None else valid_us


def _observe(window: _Window, blobs: BlobStore, prediction: Prediction, time_us: int) -> None:
    if prediction.role not in ANSWER_ROLES:
        window.leave_out(f"predictions of role {prediction.role:.40}")
        return
    window.count_definitions(prediction)
    if prediction.batch is not None:
        try:
            for row in list(rows_of(blobs, prediction)):  # all of them, or none
                outputs = output_columns(row.output) if row.output is not None else {}
                decision = _decision(outputs, prediction.threshold)
                answer = _Answer(_single(row.features), outputs, row.output is not None, decision)
                window.add(answer, time_us)
        except (InvalidInput, Unproven):
            window.leave_out("batches whose rows are missing or broken")
        return
    ok = prediction.status == OK_STATUS
    outputs = output_columns(prediction.output) if ok else {}
    decision = _decision(outputs, prediction.threshold)
    window.add(_Answer(_single(prediction.features), outputs, ok, decision), time_us)


def _in_force(reader: Reader, cut: Cut) -> Iterator[tuple[Record, int]]:
    """Predictions that nothing superseded, newest first, each with its own time."""
    only = {"entity": frozenset((PREDICTION_ENTITY,))}
    gone: set[Position] = set()
    for record in events(reader, Query(only, {}, (), ()), cut, newest_first=True):
        event = record.event
        if event is None:
            continue
        if event.supersedes is not None:
            target = target_of(reader, record)
            if target is not None:
                gone.add(target)
        if event.type != PREDICTION or (record.log, record.index) in gone:
            continue
        yield record, _time_us(record)


def _single(features: Mapping[str, Any]) -> Mapping[str, Any]:
    """The features by name; a frame of one row has its cells in lists of one."""
    return {
        name: value[0] if isinstance(value, list) and len(value) == 1 else value
        for name, value in features.items()
    }


def output_columns(output: Any) -> dict[str, Any]:
    """An output as columns: the fields of an object, the items of a short list, or one value."""
    if isinstance(output, dict):
        return output
    while isinstance(output, list) and len(output) == 1:
        output = output[0]
    if isinstance(output, list) and len(output) <= MAX_LIST_ITEMS:
        return {f"{OUTPUT}[{at}]": value for at, value in enumerate(output)}
    return {OUTPUT: output}


def _decision(outputs: Mapping[str, Any], threshold: float | None) -> bool | None:
    """Whether the one number of an output is at or above the threshold, as a replay decides."""
    if threshold is None:
        return None
    numbers = [value for value in outputs.values() if type(value) in (int, float)]
    return numbers[0] >= threshold if len(numbers) == 1 and numbers[0] == numbers[0] else None


def first_number(answers: Answers) -> Distribution | None:
    """The distribution of the first output that is a number; None where none is."""
    found = (one for one in answers.outputs.values() if one.kind == NUMBER and one.numbers)
    return next(found, None)
