"""The rows of many keys, each at moments of its own: one walk over the dataset for all of them.

On the recorded axis a moment's answer is what was known then: `asof.row` at that time. On the valid
axis it is what was true then, as known at the cut. Keys whose events cannot simply be folded as
they come (superseded, late on the valid axis) are read again, in batches; those that a schema
recorded later explains are replayed moment by moment.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from audit.event.canonical import schema_hash
from audit.event.types import SCHEMA, SCHEMA_SOURCE
from audit.log.record import Record
from audit.replay.fold import (
    NOTHING,
    Row,
    State,
    Step,
    advance,
    as_recorded,
    fold,
    moves,
)
from audit.replay.onepass import KEYS_READ_AGAIN, batches
from audit.replay.points import Cut
from audit.replay.steps import MAX_SINGLE_KEYS, Steps
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

Moments = Mapping[str, list[int]]
"""Key -> the moments asked for it, microseconds, in rising order."""
Answers = dict[str, list[Row | None]]
"""Key -> its row at each of these moments; None where it is not there."""


class AtMoments(NamedTuple):
    """What was found, and every field that was ever set for these keys below the cut, sorted."""

    rows: Answers
    columns: tuple[str, ...]


def rows_at(steps: Steps, moments: Moments, valid: bool) -> AtMoments:
    """The rows of these keys at their moments, on the valid or on the recorded axis."""
    return _Walk(steps, moments, valid).answer()


class _Key:
    """One key on the walk: its state so far, and how many of its moments are answered."""

    __slots__ = ("answers", "careful", "folded_to_us", "moments", "state")

    def __init__(self, moments: list[int]) -> None:
        self.moments = moments
        self.answers: list[Row | None] = []
        self.state: State = NOTHING
        self.careful = False
        self.folded_to_us: int | None = None

    def take(self, step: Step, time_us: int) -> None:
        """Answer the moments before the step, then fold it."""
        self.answer_before(time_us)
        self.state = advance(self.state, step)

    def answer_before(self, time_us: int | None) -> None:
        """Answer the moments before a time; without one, all that are left."""
        done = len(self.answers)
        while done < len(self.moments) and (time_us is None or self.moments[done] < time_us):
            self.answers.append(self.state.row)
            done += 1


class _Walk:
    """One answer in the making."""

    def __init__(self, steps: Steps, moments: Moments, valid: bool) -> None:
        self._steps = steps
        self._valid = valid
        self._keys = {key: _Key(list(own)) for key, own in moments.items()}
        self._explained = Explained(steps.reader, steps.cut)
        self._late_schemas: set[str] = set()
        self._columns: set[str] = set()

    def answer(self) -> AtMoments:
        if len(self._keys) <= MAX_SINGLE_KEYS:
            for key, own in self._steps.of_keys(self._keys).items():
                for step in own:
                    self._note(step)
                self._of_key(key, own)
        else:
            self._walk()
            again = sorted(key for key, own in self._keys.items() if own.careful)
            for some in batches(again, KEYS_READ_AGAIN):
                for key, own in self._steps.of_keys(some).items():
                    self._of_key(key, own)
        for own_key in self._keys.values():
            own_key.answer_before(None)
        rows = {key: own.answers for key, own in self._keys.items()}
        return AtMoments(rows, tuple(sorted(self._columns)))

    def _walk(self) -> None:
        if self._valid and self._truncated():
            # Where it stands among the valid times of each key is known from the key alone.
            for own in self._keys.values():
                own.careful = True
        for step in self._steps.all(self._keys.keys()):
            self._note(step)
            self._mark_superseding(step)
            event = step.record.event
            if event is None or step.op is None:
                continue
            if event.entity_key is None:
                if step.op == "truncate" and not self._valid:
                    for own in self._keys.values():
                        self._take(own, step)
            elif event.entity_key in self._keys:
                self._take(self._keys[event.entity_key], step)

    def _take(self, own: _Key, step: Step) -> None:
        if own.careful:
            return
        if not self._valid:
            own.take(step, step.recorded_time_us)
            return
        if own.folded_to_us is not None and step.valid_time_us < own.folded_to_us:
            own.careful = True
            return
        own.folded_to_us = step.valid_time_us
        own.take(step, step.valid_time_us)

    def _truncated(self) -> bool:
        steps = self._steps
        return any(
            next(iter(steps.reader.keyless(log, steps.entity_type, size)), None) is not None
            for log, size in steps.cut.sizes.items()
        )

    def _mark_superseding(self, step: Step) -> None:
        event = step.record.event
        if event is None or event.supersedes is None:
            return
        keys: Iterable[str] = self._keys if event.entity_key is None else (event.entity_key,)
        for key in keys:
            if key in self._keys:
                self._keys[key].careful = True

    def _note(self, step: Step) -> None:
        """The fields that an event sets, and whether its key must be replayed moment by moment."""
        if step.op is None:
            return
        if step.change is not None and step.change.after:
            self._columns.update(step.change.after)
        event = step.record.event
        if self._valid or event is None or event.entity_key not in self._keys:
            return
        if not self._explained.when_recorded(step.record):
            self._late_schemas.add(event.entity_key)
            self._keys[event.entity_key].careful = True

    def _of_key(self, key: str, own: list[Step]) -> None:
        """Answer all moments of a key from its own events."""
        answered = self._keys[key]
        if key in self._late_schemas:
            answered.answers = [self._replayed(key, time_us) for time_us in answered.moments]
            return
        if self._valid:
            last_us = max((step.valid_time_us for step in own), default=0)
            in_order = moves(own, last_us)
            steps = [(move.step.valid_time_us, move.after.row) for move in in_order]
        else:
            steps = [(one.step.recorded_time_us, one.after.row) for one in as_recorded(own)]
        times = [time_us for time_us, _ in steps]
        answered.answers = []
        for moment_us in answered.moments:
            at = bisect_right(times, moment_us)
            answered.answers.append(steps[at - 1][1] if at else None)

    def _replayed(self, key: str, time_us: int) -> Row | None:
        """The row as known at a time, read with the schemas that were known then."""
        asked = self._steps
        sizes = {
            log: min(size, asked.reader.size_at(log, time_us))
            for log, size in asked.cut.sizes.items()
        }
        then = Steps(asked.reader, asked.entity_type, asked.cut._replace(sizes=sizes), asked.naming)
        return fold(then.of_key(key)).row


class Explained:
    """Tells whether an entry could be read when it was recorded, or only since a later schema."""

    def __init__(self, reader: Reader, cut: Cut) -> None:
        """Nothing is looked up yet."""
        self._reader = reader
        self._cut = cut
        self._first: dict[tuple[int, bytes], int | None] = {}

    def when_recorded(self, record: Record) -> bool:
        """False when its schema came into its log after it, and below the cut."""
        name = None if record.event is None else record.event.payload_schema
        if name is None:
            return True
        place = record.log, name
        if place not in self._first:
            self._first[place] = next(self._schemas(*place), None)
        first = self._first[place]
        return first is None or first < record.index

    def _schemas(self, log: int, name: bytes) -> Iterator[int]:
        for found, index in sorted(self._reader.find_event(name.hex(), SCHEMA_SOURCE)):
            if found != log or index >= self._cut.size(log):
                continue
            event = trusted_record(log, index, self._reader.leaf(log, index)).event
            if event is not None and event.type == SCHEMA and schema_hash(event.payload) == name:
                yield index
