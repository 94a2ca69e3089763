"""What the fold asks of the read model: parts, key books, and a place for snapshots."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import pyarrow as pa

from audit.replay.columnar.parts import DatasetPart, EventsPart, KeyBook
from audit.replay.points import Cut


class PartSource(Protocol):
    """The read model as the fold sees it. All sizes count entries of one log."""

    @property
    def epoch(self) -> int:
        """Another number once something that was given before holds no longer."""
        ...

    def covered(self, log: int) -> int:
        """The size below which `parts` can give everything; 0 for a log that it does not know."""
        ...

    def sealed(self, log: int) -> int:
        """The size below which parts are on disk: snapshots at or below it may be kept."""
        ...

    def parts(self, log: int, entity_type: str, start: int, stop: int) -> Sequence[DatasetPart]:
        """The parts that hold entries in [start, stop), in order, without a gap.

        The first may begin before `start` and the last end after `stop`.
        """
        ...

    def key_book(self, log: int, entity_type: str) -> KeyBook:
        """The keys of the dataset in the log, at least those of all parts given so far.

        The same object while nothing was added (what is derived from it is cached by identity).
        """
        ...

    def events_parts(self, log: int, size: int, start: int = 0) -> Sequence[EventsPart]:
        """The parts for searching that hold entries in [start, size), in order.

        The first may begin before `start` and the last end after `size`.
        """
        ...

    def must_be_plain(self, entity_type: str, cut: Cut) -> bool:
        """True where the dataset is folded plainly at a cut, whatever its parts say."""
        ...

    def snapshot_sizes(self, log: int, entity_type: str) -> Sequence[int]:
        """The sizes at which snapshots are kept, ascending."""
        ...

    def read_snapshot(
        self, log: int, entity_type: str, size: int
    ) -> Mapping[str, "pa.Array"] | None:
        """The arrays of a snapshot by name, checked against their digests; None without one."""
        ...

    def write_snapshot(
        self, log: int, entity_type: str, size: int, arrays: Mapping[str, "pa.Array"]
    ) -> None:
        """Keep the arrays of a snapshot. May do nothing; raises nothing but Unavailable."""
        ...
