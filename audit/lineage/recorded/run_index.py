"""Runs by what their records say of them, without the records: for finding one among very many.

What a record tells is kept as a line of `Told` and under every content, model and parent that it
names; the record itself is read again when its run is asked for. What was superseded, or recorded
after a cut, is left out by whoever asks (`There`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

from audit.lineage.recorded.records import Named, all_named, data_use, items, moment, named, text
from audit.lineage.recorded.runs import STARTED, Run
from audit.log.record import Record

Order = tuple[int, int, int]
"""Recorded time, log and index: records follow each other so."""


class Told(NamedTuple):
    """What one record tells of a run. `since`: the index from which on its payload can be read.

    `is_start`: its event is called as that of a START is. `time_us`: see `Run.time_us`.
    """

    order: Order
    since: int
    run_id: str
    name: str
    status: str
    time_us: int
    is_start: bool

    @property
    def position(self) -> tuple[int, int]:
        """(log, index)."""
        return self.order[1], self.order[2]


There = Callable[[Told], bool]
"""Whether a record is below the cut, and was not superseded."""


class RunTables:
    """All that is known of runs. Lists are only ever added to, so that they may be read meanwhile.

    `reading`, `making`: content -> records; `reading_named`: dataset version -> records;
    `of_model`, `of_features`: version -> records;
    `parts`: id of a run -> records of its parts; `points`: entity type -> those that read it.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.runs: dict[str, list[Told]] = {}
        self.reading: dict[str, list[Told]] = {}
        self.reading_named: dict[str, list[Told]] = {}
        self.making: dict[str, list[Told]] = {}
        self.of_model: dict[Named, list[Told]] = {}
        self.of_features: dict[tuple[str, str], list[Told]] = {}
        self.parts: dict[str, list[Told]] = {}
        self.points: dict[str, list[Told]] = {}

    def add(self, record: Record, data: Mapping[str, Any], since: int) -> bool:
        """Take a record; False when it is of no run.

        A run is known by the key it is recorded under: who may write one writes only that.
        """
        event, run_id, name = record.event, text(data, "run_id"), text(data, "name")
        if event is None or run_id is None or name is None or event.entity_key != run_id:
            return False
        started_us = moment(data, "started_us")
        recorded_us = record.recorded_time_us
        told = Told(
            (recorded_us, record.log, record.index),
            since,
            run_id,
            name,
            text(data, "status") or "",
            recorded_us if started_us is None else started_us,
            event.event_id == f"{run_id}:{STARTED}",
        )
        self.runs.setdefault(run_id, []).append(told)
        for side, by_digest in (("inputs", self.reading), ("outputs", self.making)):
            for use in map(data_use, items(data, side)):
                if use is not None and use.identity is not None:
                    _put(by_digest, use.identity, told)
                if use is None or side != "inputs":
                    continue
                if use.entity_type is not None:
                    _put(self.points, use.entity_type, told)
                if use.dataset is not None:
                    _put(self.reading_named, use.dataset, told)
        for made in map(named, items(data, "models") or [data.get("model")]):
            if made is not None:
                _put(self.of_model, made, told)
        for features in all_named(data, "features"):
            _put(self.of_features, (features.name, features.version), told)
        parent = text(data, "parent_run_id")
        if parent is not None:
            _put(self.parts, parent, told)
        return True

    def lines(self, there: There | None) -> list[Told]:
        """The record that counts of every run, in the order in which they were first recorded.

        `there`: None where all records are.
        """
        found = []
        for tellings in list(self.runs.values()):
            told = sorted(tellings if there is None else filter(there, tellings))
            counts = _counting(told)
            if counts is not None:
                found.append((told[0].order, counts))
        found.sort()
        return [counts for _, counts in found]

    def naming(self, told: Iterable[Told], there: There) -> list[Told]:
        """Of the records that name something those that count, as `lines` has them."""
        found = {}
        for one in told:
            if one.run_id not in found:
                records = sorted(filter(there, self.runs[one.run_id]))
                if _counting(records) == one:
                    found[one.run_id] = (records[0].order, one)
        return [counts for _, counts in sorted(found.values())]

    def traced(self, run_id: str, there: There) -> tuple[tuple[bool, Order], Told] | None:
        """The same for lineage, and where it stands among others.

        A run without a name is none there, and a START counts only while no end is recorded.
        """
        told = sorted(one for one in self.runs.get(run_id, ()) if one.name and there(one))
        ended = [one for one in told if not one.is_start]
        counts = _counting(ended or told)
        if counts is None:
            return None
        return (not ended, (ended or told)[0].order), counts

    def saying(self, told: Iterable[Told], there: There) -> list[Told]:
        """Of the records that name something those that count, in the order of their runs."""
        found = {}
        for one in told:
            if one.run_id not in found and there(one):
                counts = self.traced(one.run_id, there)
                if counts is not None and counts[1] == one:
                    found[one.run_id] = counts
        return [counts for _, counts in sorted(found.values())]


def _counting(told: Sequence[Told]) -> Told | None:
    """Of the records of one run, in order, the one that counts."""
    ends = [one for one in told if one.status != STARTED]
    return ends[-1] if ends else next(iter(told), None)


def _put(found: dict[Any, list[Told]], key: Any, told: Told) -> None:
    before = found.setdefault(key, [])
    if not before or before[-1] is not told:
        before.append(told)


class Runs(Sequence[Run]):
    """Runs that are read when they are looked at."""

    def __init__(self, told: Sequence[Told], read: Callable[[Told], Run]) -> None:
        """`read`: reads the record that counts."""
        self.told = told
        self._read = read

    def only(self, told: Sequence[Told]) -> "Runs":
        """Some of them."""
        return Runs(told, self._read)

    def __len__(self) -> int:
        return len(self.told)

    @overload
    def __getitem__(self, at: int) -> Run: ...

    @overload
    def __getitem__(self, at: slice) -> "Runs": ...

    def __getitem__(self, at: int | slice) -> "Run | Runs":
        if isinstance(at, slice):
            return Runs(self.told[at], self._read)
        return self._read(self.told[at])

    def __iter__(self) -> Iterator[Run]:
        return map(self._read, self.told)
