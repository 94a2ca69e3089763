"""A row of very many versions, of which only some are to be shown: the others are not decoded.

The read model tells where its versions are, who gave each field its value, and what the row was
before those that are shown. What it cannot tell is read plainly: see `one_thing`.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, overload

from audit.replay.blame import Blame, FieldBlame, Said, said_of
from audit.replay.columns import Naming
from audit.replay.fastpath import fast_blamed, fast_versions
from audit.replay.fold import NOTHING, Position, Row, State
from audit.replay.history import Version, moves_of, version_of
from audit.replay.points import Cut
from audit.replay.refs import Ref
from audit.replay.steps import Steps
from audit.store.contract import Reader

if TYPE_CHECKING:
    from audit.replay.columnar.fold.blamed import Blamed
    from audit.replay.columnar.fold.versions import RowVersions

MANY_VERSIONS = 1_500
"""From so many on: to decode fewer costs less than to ask the read model of a million events."""


class Mark(NamedTuple):
    """When a version was recorded, where, and what it did: enough to find it."""

    position: Position
    recorded_time_us: int
    op: str


class Marks(Sequence[Mark]):
    """The marks of all versions, each made when it is asked for."""

    def __init__(self, found: "RowVersions") -> None:
        """Of the versions that the read model found."""
        self._found = found

    def __len__(self) -> int:
        """How many versions there are."""
        return len(self._found.index)

    @overload
    def __getitem__(self, at: int) -> Mark: ...
    @overload
    def __getitem__(self, at: slice) -> list[Mark]: ...
    def __getitem__(self, at: int | slice) -> Mark | list[Mark]:
        """One, or some of them."""
        if isinstance(at, slice):
            return [self[one] for one in range(len(self))[at]]
        found, at = self._found, range(len(self))[at]
        place = found.log, int(found.index[at])
        return Mark(place, int(found.recorded_us[at]), found.word(at))


class LongRow:
    """A row at a cut. `marks`: all its versions; the first `shown` of them are by the cut."""

    def __init__(
        self, steps: Steps, key: str, found: "RowVersions", row: Row | None, blame: Blame
    ) -> None:
        """Use `long_row`."""
        self.marks = Marks(found)
        self.shown = _by(found, steps.cut)
        self.row = row
        self.blame = blame
        self._steps, self._key, self._found = steps, key, found

    def place_of(self, position: Position) -> int | None:
        """Which of the versions by the cut an entry is; None for none."""
        log, index = position
        at = int(self._found.index.searchsorted(min(index, 2**63 - 1)))
        is_one = log == self._found.log and at < self.shown and self._found.index[at] == index
        return at if is_one else None

    def versions(self, first: int, stop: int) -> list[Version]:
        """Some of the versions by the cut, oldest first."""
        if first >= stop:
            return []
        found, begin = self._found, NOTHING
        if first:
            begin = State(found.row_after(first - 1), False, frozenset((found.log,)))
        indexes = int(found.index[first]), int(found.index[stop - 1]) + 1
        steps = self._steps.of_key_between(self._key, found.log, *indexes)
        return [version_of(move, {}) for move in moves_of(steps, begin)]


def long_row(reader: Reader, ref: Ref, cut: Cut, valid_at_us: int | None) -> LongRow | None:
    """A row of very many versions; None where it has few, or where it is to be read plainly."""
    head = cut._replace(sizes=reader.sizes(), position=None)
    if not any(_is_long(reader, ref, log, size) for log, size in head.sizes.items()):
        return None
    found = fast_versions(_steps(reader, ref, head), ref.entity_key)
    steps = _steps(reader, ref, cut)
    if found is None or steps.naming.moved:
        return None
    shown = _by(found, cut)
    if not shown:
        return LongRow(steps, ref.entity_key, found, None, Blame((), None))
    blamed = fast_blamed(steps, valid_at_us, (ref.entity_key,))
    if blamed is None or blamed.careful:
        return None
    fields = tuple(sorted(_fields(blamed), key=lambda one: one.field))
    if fields:
        row: Row | None = {one.field: one.value for one in fields}
        return LongRow(steps, ref.entity_key, found, row, Blame(fields, None))
    if valid_at_us is not None:
        return None
    row = found.row_after(shown - 1)
    gone = None if row is not None else _taken_away(steps, found, shown)
    return LongRow(steps, ref.entity_key, found, row, Blame((), gone))


def _steps(reader: Reader, ref: Ref, cut: Cut) -> Steps:
    return Steps(reader, ref.entity_type, cut, Naming(reader, ref.entity_type, cut))


def _is_long(reader: Reader, ref: Ref, log: int, size: int) -> bool:
    own = reader.entity(log, *ref, size)
    return next(islice(own, MANY_VERSIONS, None), None) is not None


def _by(found: "RowVersions", cut: Cut) -> int:
    return int(found.index.searchsorted(cut.size(found.log)))


def _fields(blamed: "Blamed") -> Iterator[FieldBlame]:
    said = [_said(blamed, at) for at in range(len(blamed.said.index))]
    cells = zip(blamed.field.tolist(), blamed.value, blamed.entry.tolist(), strict=True)
    for field, value, entry in cells:
        yield FieldBlame(blamed.names[field], value, said[entry])


def _said(blamed: "Blamed", at: int) -> Said:
    columns = blamed.said
    return Said(
        int(columns.log[at]),
        int(columns.index[at]),
        int(columns.recorded_us[at]),
        int(columns.valid_us[at]),
        **{name: column[at] for name, column in columns.texts.items()},
    )


def _taken_away(steps: Steps, found: "RowVersions", shown: int) -> Said | None:
    """The delete that took the row away; those after it met none."""
    gone = found.ordered.gone
    at = shown - 1
    while at and gone[at - 1]:
        at -= 1
    if not at:
        return None
    index = int(found.index[at])
    return said_of(steps.step(steps.record_at(found.log, index)))
