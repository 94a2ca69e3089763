"""The manifest of one log's read model: which pieces there are, what they stand on, their digests.

JSON, read as outside input: whatever is not as it must be is `Broken`, and then nothing of the
folder is used.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from audit.replay.columnar.kept.files import Broken, Digest, open_regular, write_bytes

FORMAT = 1
"""Raised when a file says something else than before: older ones are dropped and built anew."""
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 64_000_000
MAX_PIECES = 100_000

_NAME = re.compile(r"[edkos]\.[a-z0-9_.-]{1,220}\.arrow", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}")
_DATASET = re.compile(r"[a-z][a-z0-9_.-]{0,127}", re.ASCII)


class PieceEntry(NamedTuple):
    """A piece on disk: the entries [start, stop), and the root hash of the log at `stop`.

    `datasets`: name -> its file, `keys` likewise with the number of keys in it. `plain_from` as in
    `block.Block`.
    """

    start: int
    stop: int
    full: bool
    root: str
    events: Digest
    datasets: Mapping[str, Digest]
    keys: Mapping[str, tuple[Digest, int]]
    plain_from: Mapping[str, int]


class SnapshotEntry(NamedTuple):
    """A snapshot of a dataset at a size of the log."""

    dataset: str
    size: int
    file: Digest


class Manifest(NamedTuple):
    """What the folder of one log holds.

    `orders`: dataset -> (file, number of keys): the byte order of its first keys.
    """

    log: int
    origin: str
    pieces: tuple[PieceEntry, ...] = ()
    orders: Mapping[str, tuple[Digest, int]] = {}
    snapshots: tuple[SnapshotEntry, ...] = ()

    @property
    def stop(self) -> int:
        """The size up to which the pieces go."""
        return self.pieces[-1].stop if self.pieces else 0

    def files(self) -> set[str]:
        """The names of all files that belong to it."""
        names = {MANIFEST}
        for piece in self.pieces:
            names.add(piece.events.name)
            names.update(digest.name for digest in piece.datasets.values())
            names.update(digest.name for digest, _ in piece.keys.values())
        names.update(digest.name for digest, _ in self.orders.values())
        names.update(snapshot.file.name for snapshot in self.snapshots)
        return names

    def size_bytes(self) -> int:
        """The size of all files but the manifest itself."""
        digests = [piece.events for piece in self.pieces]
        for piece in self.pieces:
            digests.extend(piece.datasets.values())
            digests.extend(digest for digest, _ in piece.keys.values())
        digests.extend(digest for digest, _ in self.orders.values())
        digests.extend(snapshot.file for snapshot in self.snapshots)
        return sum(digest.size_bytes for digest in digests)

    def up_to(self, count: int) -> "Manifest":
        """With the first pieces alone, and what depends on no other."""
        pieces = self.pieces[:count]
        if len(pieces) == len(self.pieces):
            return self
        stop = pieces[-1].stop if pieces else 0
        held: dict[str, int] = {}
        for piece in pieces:
            for name, (_, keys) in piece.keys.items():
                held[name] = held.get(name, 0) + keys
        orders = {n: (d, k) for n, (d, k) in self.orders.items() if k <= held.get(n, 0)}
        snapshots = tuple(one for one in self.snapshots if one.size <= stop)
        return self._replace(pieces=pieces, orders=orders, snapshots=snapshots)


def is_ours(name: str) -> bool:
    """Whether a file in the folder is one that this module would make."""
    return _NAME.fullmatch(name) is not None or name == MANIFEST


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it, durably, in place of the one that is there. Raises CannotKeep."""
    said = {"format": FORMAT, **_plain(manifest)}
    write_bytes(folder, MANIFEST, json.dumps(said, indent=1).encode())


def _plain(value: Any) -> Any:
    """Named tuples as objects, all the way down."""
    if hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in a folder; None without one. Raises Broken."""
    try:
        with open(open_regular(folder / MANIFEST), "rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Broken(f"its manifest cannot be read ({error.strerror})") from None
    if len(data) > MAX_MANIFEST_BYTES:
        raise Broken(f"its manifest is over {MAX_MANIFEST_BYTES} bytes")
    try:
        said = json.loads(data)
        if type(said) is dict and said.get("format") != FORMAT:
            raise Broken(f"it has format {said.get('format')!r:.20}, not {FORMAT}")
        return _manifest(said)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Broken("its manifest is damaged") from None


def _manifest(said: Any) -> Manifest:
    found = Manifest(
        _count(said["log"]),
        _text(said["origin"]),
        tuple(_piece(one) for one in said["pieces"]),
        {_dataset(n): (_digest(one[0]), _count(one[1])) for n, one in said["orders"].items()},
        tuple(
            SnapshotEntry(_dataset(one["dataset"]), _count(one["size"]), _digest(one["file"]))
            for one in said["snapshots"]
        ),
    )
    at = 0
    for piece in found.pieces:
        if piece.start != at or piece.stop <= at or len(found.pieces) > MAX_PIECES:
            raise ValueError
        at = piece.stop
    if any(snapshot.size > at for snapshot in found.snapshots):
        raise ValueError
    return found


def _piece(said: Any) -> PieceEntry:
    if not _HEX.fullmatch(said["root"]) or type(said["full"]) is not bool:
        raise ValueError
    return PieceEntry(
        _count(said["start"]),
        _count(said["stop"]),
        said["full"],
        said["root"],
        _digest(said["events"]),
        {_dataset(name): _digest(one) for name, one in said["datasets"].items()},
        {_dataset(n): (_digest(one[0]), _count(one[1])) for n, one in said["keys"].items()},
        {_dataset(name): _count(index) for name, index in said["plain_from"].items()},
    )


def _digest(said: Any) -> Digest:
    name, size_bytes, digest = said["name"], _count(said["size_bytes"]), said["sha256"]
    # A name that is none of ours could lead out of the folder.
    if not _NAME.fullmatch(name) or not _HEX.fullmatch(digest):
        raise ValueError
    return Digest(name, size_bytes, digest)


def _dataset(name: Any) -> str:
    if not _DATASET.fullmatch(name):
        raise ValueError
    return _text(name)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError
    return value
