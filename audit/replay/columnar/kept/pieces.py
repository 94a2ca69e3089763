"""Pieces of the read model, in memory or on disk: asked for alike, read when first asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from audit.replay.columnar.kept import piecefiles
from audit.replay.columnar.kept.files import CannotKeep
from audit.replay.columnar.kept.gathering import Piece
from audit.replay.columnar.kept.keybook import no_keys
from audit.replay.columnar.kept.manifest import PieceEntry
from audit.replay.columnar.parts import DatasetPart, EventsPart


class AnyPiece(Protocol):
    """The entries [start, stop) of a log. `full`: it stays as it is when the log grows.

    `plain_from`: dataset -> index; see `block.Block`. Every method may raise Broken.
    """

    @property
    def start(self) -> int:
        """Its first entry."""
        ...

    @property
    def stop(self) -> int:
        """The entry after its last."""
        ...

    @property
    def full(self) -> bool:
        """True when it is as large as pieces get."""
        ...

    @property
    def plain_from(self) -> Mapping[str, int]:
        """See the class."""
        ...

    def dataset(self, name: str) -> DatasetPart | None:
        """The events of a dataset; None where it has none."""
        ...

    def new_keys(self, name: str) -> "pa.Array":
        """The keys of a dataset that no piece before has."""
        ...

    def new_key_count(self, name: str) -> int:
        """How many these are."""
        ...

    def events(self) -> EventsPart:
        """What searching needs."""
        ...


class InMemory:
    """A piece that was read from the log by this process."""

    def __init__(self, piece: Piece, full: bool) -> None:
        """As `building.build` gave it."""
        self.piece = piece
        self.start, self.stop, self.full = piece.start, piece.stop, full
        self.plain_from = piece.plain_from

    def dataset(self, name: str) -> DatasetPart | None:
        """See `AnyPiece`."""
        return self.piece.datasets.get(name)

    def new_keys(self, name: str) -> "pa.Array":
        """See `AnyPiece`."""
        found = self.piece.new_keys.get(name)
        return no_keys() if found is None else found

    def new_key_count(self, name: str) -> int:
        """See `AnyPiece`."""
        return len(self.new_keys(name))

    def events(self) -> EventsPart:
        """See `AnyPiece`."""
        return self.piece.events


class OnDisk:
    """A piece in files, each mapped and checked when it is first asked for."""

    def __init__(
        self, folder: Path, log: int, entry: PieceEntry, keys_before: Mapping[str, int]
    ) -> None:
        """Nothing is read yet. `keys_before`: how many keys a dataset has in the pieces before."""
        self.entry = entry
        self.start, self.stop, self.full = entry.start, entry.stop, entry.full
        self.plain_from = entry.plain_from
        self.folder = folder
        self._log = log
        self.keys_before = keys_before
        self._events: EventsPart | None = None
        self._datasets: dict[str, DatasetPart] = {}
        self._keys: dict[str, pa.Array] = {}

    def dataset(self, name: str) -> DatasetPart | None:
        """See `AnyPiece`."""
        digest = self.entry.datasets.get(name)
        if digest is None:
            return None
        found = self._datasets.get(name)
        if found is None:
            key_count = self.keys_before.get(name, 0) + self.new_key_count(name)
            found = self._datasets[name] = piecefiles.read_dataset(
                self.folder, digest, self._log, self.start, self.stop, key_count
            )
        return found

    def new_keys(self, name: str) -> "pa.Array":
        """See `AnyPiece`."""
        kept = self.entry.keys.get(name)
        if kept is None:
            return no_keys()
        keys = self._keys.get(name)
        if keys is None:
            keys = self._keys[name] = piecefiles.read_keys(self.folder, *kept)
        return keys

    def new_key_count(self, name: str) -> int:
        """See `AnyPiece`."""
        kept = self.entry.keys.get(name)
        return 0 if kept is None else kept[1]

    def events(self) -> EventsPart:
        """See `AnyPiece`."""
        if self._events is None:
            digest = self.entry.events
            found = piecefiles.read_events(self.folder, digest, self._log, self.start, self.stop)
            self._events = found
        return self._events


def on_disk(folder: Path, log: int, entries: Sequence[PieceEntry]) -> list[OnDisk]:
    """The pieces that a manifest names, in their order."""
    held: dict[str, int] = {}
    found = []
    for entry in entries:
        found.append(OnDisk(folder, log, entry, dict(held)))
        for name, (_, count) in entry.keys.items():
            held[name] = held.get(name, 0) + count
    return found


def write_piece(folder: Path, piece: Piece, full: bool, root: str) -> PieceEntry:
    """Write the files of a piece. Raises CannotKeep."""
    try:
        datasets, keys = {}, {}
        for name, part in piece.datasets.items():
            datasets[name] = piecefiles.write_dataset(folder, name, part)
            new = piece.new_keys[name]
            if len(new):
                digest = piecefiles.write_keys(folder, name, piece.start, piece.stop, new)
                keys[name] = digest, len(new)
        events = piecefiles.write_events(folder, piece.events)
    except pa.ArrowException as error:
        raise CannotKeep(f"the read model cannot be written: {error!s:.200}") from None
    return PieceEntry(
        piece.start, piece.stop, full, root, events, datasets, keys, dict(piece.plain_from)
    )
