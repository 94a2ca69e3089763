"""A random sample of the predictions in a window: drawn by columns, the same for the same log.

All predictions of the window are known by their place alone, from the read model's columns, and
counted. Which of them are read is drawn with a generator whose seed is the root hash of every log
at the cut: whoever has the log draws the same ones, and nobody knew before the last entry was
recorded which that would be.
"""

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, Protocol

from audit.errors import AuditError
from audit.event.types import PREDICTION
from audit.lineage.recorded.predictions import PREDICTION_ENTITY
from audit.log.record import Record
from audit.replay.citation import Citation
from audit.replay.points import Cut
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from audit.replay.columnar.parts import Coded, EventsPart

READ_AT_ONCE = 200
LOOKED_AT = 4
"""So many times as many predictions as are wanted are looked at: they may be of other models."""


class PredictionColumns(Protocol):
    """The read model, as far as it is asked here."""

    def events_parts(self, log: int, size: int, start: int = 0) -> "Sequence[EventsPart]":
        """See `audit.replay.columnar.kept.model.ReadModel`."""
        ...

    def must_be_plain(self, entity_type: str, cut: Cut) -> bool:
        """See `audit.replay.columnar.kept.model.ReadModel`."""
        ...


class Sampling(NamedTuple):
    """How to draw: so many predictions of a window, where it has more."""

    columns: PredictionColumns
    most: int


class Places:
    """Where predictions are, in the order of log and index, told apart by number from 0."""

    def __init__(self) -> None:
        """There is none yet."""
        self._count = 0
        self._pieces: list[tuple[int, int, npt.NDArray[np.int64]]] = []

    def __len__(self) -> int:
        return self._count

    def add(self, log: int, indexes: "npt.NDArray[np.int64]") -> None:
        """Add some of a log, after those that are there."""
        if len(indexes):
            self._pieces.append((self._count, log, indexes))
            self._count += len(indexes)

    def at(self, numbers: Iterable[int]) -> list[tuple[int, int]]:
        """(log, index) of some of them."""
        starts = [start for start, _, _ in self._pieces]
        found = []
        for number in numbers:
            start, log, indexes = self._pieces[bisect_right(starts, number) - 1]
            found.append((log, int(indexes[number - start])))
        return found

    def newest_first(self, reader: Reader) -> Iterator[Record]:
        """All of them, by recorded time, then log."""
        logs = sorted({log for _, log, _ in self._pieces})
        streams = [self._backwards(reader, log) for log in logs]
        return heapq.merge(*streams, key=lambda one: (one.recorded_time_us, one.log), reverse=True)

    def _backwards(self, reader: Reader, log: int) -> Iterator[Record]:
        for _, of, indexes in reversed(self._pieces):
            stop = len(indexes) if of == log else 0
            for end in range(stop, 0, -READ_AT_ONCE):
                some = indexes[max(0, end - READ_AT_ONCE) : end].tolist()
                for index, leaf in reversed(list(reader.leaves_at(log, some))):
                    yield trusted_record(log, index, leaf)


def places_in(columns: PredictionColumns, cut: Cut, since_us: int, until_us: int) -> Places | None:
    """Where the predictions are whose own time is in a window; None where columns cannot tell.

    They cannot where a prediction may have been superseded, nor where they do not cover the log.
    """
    found = Places()
    try:
        if columns.must_be_plain(PREDICTION_ENTITY, cut):
            return None
        for log, size in sorted(cut.sizes.items()):
            covered = 0
            for part in columns.events_parts(log, size) if size else ():
                if part.start != covered:
                    return None
                covered = part.stop
                indexes = _in_part(part, since_us, until_us)
                found.add(log, indexes[indexes < size] if part.stop > size else indexes)
            if covered < size:
                return None
    except AuditError:
        return None
    return found


def _in_part(part: "EventsPart", since_us: int, until_us: int) -> "npt.NDArray[np.int64]":
    import numpy as np

    from audit.replay.columnar.parts import Sort

    inside = (part.valid_us >= since_us) & (part.valid_us < until_us) & (part.sort == Sort.EVENT)
    inside &= _is(part.type, PREDICTION) & _is(part.entity_type, PREDICTION_ENTITY)
    return np.flatnonzero(inside) + part.start


def _is(column: "Coded", text: str) -> "npt.NDArray[np.bool_]":
    import numpy as np

    codes = [at for at, found in enumerate(column.texts) if found == text.encode()]
    if len(codes) == 1:
        only: npt.NDArray[np.bool_] = column.codes == codes[0]
        return only
    return np.isin(column.codes, codes)


def drawn(reader: Reader, places: Places, most: int, seed: int) -> Iterator[list[Record]]:
    """At most so many of the predictions at these places, in random order, in blocks."""
    import numpy as np

    random = np.random.Generator(np.random.PCG64(seed))
    numbers = random.choice(len(places), min(most, len(places)), replace=False).tolist()
    for at in range(0, len(numbers), READ_AT_ONCE):
        some = places.at(numbers[at : at + READ_AT_ONCE])
        found: dict[tuple[int, int], Record] = {}
        for log in sorted({log for log, _ in some}):
            indexes = sorted(index for one, index in some if one == log)
            for index, leaf in reader.leaves_at(log, indexes):
                found[log, index] = trusted_record(log, index, leaf)
        # Not in the order of the log: whoever takes the first of them takes any.
        yield [found[place] for place in some if place in found]


def seed_of(citation: Citation) -> int:
    """The seed that the root hashes of a cut give."""
    said = sha256(b"predictions")
    for log in citation.logs:
        said.update(f"{log.origin}\n{log.size}\n".encode() + (log.root_hash or b""))
    return int.from_bytes(said.digest()[:16], "big")
