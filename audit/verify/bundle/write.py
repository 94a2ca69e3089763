"""Writing a bundle: chosen entries, with all that is needed to decode, replay and check them.

Added to what was chosen: the first entry of each log (it opens the log and names its key), what the
log says of keys, the schema entries that the chosen events need, and every entry of the entities
that the bundle is about. The same ledger and choice give the same bytes.
"""

import io
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from audit.errors import AuditError, FormatError, InvalidInput, LimitExceeded, NotFound, Unproven
from audit.event.canonical import builtin, schema_hash
from audit.event.envelope import Event
from audit.event.types import SCHEMA
from audit.log.entry import Kind
from audit.log.record import Record, read_record
from audit.store.contract import LogInfo, Reader
from audit.tlog.checkpoint import Checkpoint, parse_checkpoint_text
from audit.tlog.merkle import inclusion_proof
from audit.tlog.note import parse_note
from audit.verify.bundle.format import (
    ENTRIES,
    HOW_TO_CHECK,
    MANIFEST,
    MAX_ENTRIES,
    MAX_QUERY_BYTES,
    POLICY,
    BundleLog,
    Manifest,
    checkpoint_name,
    schema_name,
)
from audit.verify.bundle.hashes import tree_edge
from audit.verify.bundle.how_to_check import HOW_TO_CHECK_TEXT
from audit.verify.bundle.ocf import BundleEntry, write_entries
from audit.verify.bundle.read import limited
from audit.verify.bundle.zip import add_member, new_bundle_file

_KEY_TYPES = ("key.registered", "key.revoked", "key.rotated")
_ALWAYS = ("entry.v1", "event.v1")
_POLICY_WARNING = (
    b"# As found beside the ledger. It proves nothing: whoever made the bundle wrote it.\n"
    b"# Check with keys that reached you another way.\n"
)


class Selection(NamedTuple):
    """What a bundle is to hold.

    `positions`: (log, index) of the chosen entries. `entities`: (entity type, key), or (entity
    type, None) for a whole dataset, of which every entry is taken. `query`: what was asked for, in
    words, for whoever reads the bundle.
    """

    query: str
    positions: Iterable[tuple[int, int]] = ()
    entities: tuple[tuple[str, str | None], ...] = ()


class Written(NamedTuple):
    """What a bundle holds now."""

    entries: int
    chosen: int
    logs: int


def write_bundle(
    reader: Reader,
    selection: Selection,
    path: Path | str,
    policy_text: str | None = None,
    codec: str = "null",
) -> Written:
    """Write a bundle file; an existing one is replaced when the new one is whole.

    Raises InvalidInput (nothing chosen), NotFound, Unproven (an entry that no checkpoint covers),
    LimitExceeded, Unavailable.
    """
    if len(selection.query.encode(errors="replace")) > MAX_QUERY_BYTES:
        raise LimitExceeded(f"the query of a bundle has at most {MAX_QUERY_BYTES:,} bytes")
    choice = _Choice(reader, selection)
    with tempfile.TemporaryFile() as entries, new_bundle_file(Path(path)) as bundle:
        write_entries(cast(BinaryIO, entries), limited(choice.entries()), codec)
        parts: dict[str, BinaryIO] = {
            ENTRIES: cast(BinaryIO, entries),
            HOW_TO_CHECK: io.BytesIO(HOW_TO_CHECK_TEXT.encode()),
        }
        for log in choice.logs:
            parts[checkpoint_name(log.info.log)] = io.BytesIO(log.note)
        for digest, schema in choice.schemas.items():
            parts[schema_name(digest)] = io.BytesIO(schema)
        if policy_text is not None:
            found = policy_text.encode(errors="surrogateescape")
            parts[POLICY] = io.BytesIO(_POLICY_WARNING + found)
        # The manifest lies between others by name, but must know the digests of all of them.
        members = {name: _measure(part) for name, part in parts.items()}
        described = tuple(log.described() for log in choice.logs)
        manifest = Manifest(selection.query, described, members)
        parts[MANIFEST] = io.BytesIO(manifest.to_json())
        for name in sorted(parts):
            add_member(bundle, name, parts[name])
    return Written(manifest.entries, choice.chosen, len(choice.logs))


class _ChosenLog:
    """The chosen indexes of one log, and the checkpoint that all its proofs lead to."""

    def __init__(self, reader: Reader, info: LogInfo, indexes: set[int]) -> None:
        self.info = info
        stored = reader.newest_checkpoint(info.log)
        if stored is None:
            raise Unproven(f"the log {info.origin} has no checkpoint, so nothing in it is provable")
        self.note = stored.note
        try:
            self.checkpoint: Checkpoint = parse_checkpoint_text(parse_note(stored.note).text)
        except FormatError as error:
            raise Unproven(f"the newest checkpoint of {info.origin} is broken: {error}") from None
        self.indexes = sorted(indexes)
        if self.indexes[-1] >= self.checkpoint.size:
            raise Unproven(f"no checkpoint covers entry {info.log}/{self.indexes[-1]} yet")
        self.hashes = reader.hashes(info.log, self.checkpoint.size)

    def described(self) -> BundleLog:
        size = self.checkpoint.size
        return BundleLog(
            self.info.log,
            self.info.origin,
            self.info.vkey,
            size,
            self.checkpoint.root,
            tree_edge(self.hashes, size),
            len(self.indexes),
        )


class _Choice:
    """What goes in, after everything that the chosen entries need was added."""

    def __init__(self, reader: Reader, selection: Selection) -> None:
        self._reader = reader
        self._infos = {info.log: info for info in reader.logs()}
        self._indexes: dict[int, set[int]] = {}
        for log, index in selection.positions:
            self._add(log, index)
        for entity_type, key in selection.entities:
            self._add_entity(entity_type, key)
        self.chosen = sum(len(indexes) for indexes in self._indexes.values())
        if not self.chosen:
            raise InvalidInput("nothing was chosen for the bundle; ask for something that is there")
        self.schemas = {}
        for name in _ALWAYS:
            self.schemas[schema_hash(builtin(name))] = builtin(name)
        for log in sorted(self._indexes):
            self._add_what_is_needed(log)
        self.logs = [
            _ChosenLog(reader, self._infos[log], self._indexes[log])
            for log in sorted(self._indexes)
        ]

    def entries(self) -> Iterator[BundleEntry]:
        """The chosen entries in order of log and index, each with its proof."""
        for log in self.logs:
            for index in log.indexes:
                leaf = self._reader.leaf(log.info.log, index)
                proof = inclusion_proof(log.hashes, index, log.checkpoint.size)
                yield BundleEntry(log.info.log, index, leaf, tuple(proof))

    def _add(self, log: int, index: int) -> None:
        if log not in self._infos:
            raise NotFound(f"there is no log {log}")
        indexes = self._indexes.setdefault(log, set())
        indexes.add(index)
        if len(indexes) > MAX_ENTRIES:
            raise LimitExceeded(f"a bundle has at most {MAX_ENTRIES:,} entries; ask for less")

    def _add_entity(self, entity_type: str, key: str | None) -> None:
        for log in self._infos:
            for found in self._reader.entity(log, entity_type, key):
                self._add(log, found.index)
            if key is not None:
                # What concerns every key, a truncate, concerns this one.
                for found in self._reader.keyless(log, entity_type):
                    self._add(log, found.index)

    def _add_what_is_needed(self, log: int) -> None:
        needed = {event.payload_schema for event in self._events(log)}
        self._add(log, 0)
        for found in self._reader.special(log):
            record = _read(log, found.leaf)
            if record is None or record.event is None:
                continue
            if record.entry.kind is Kind.CONTROL and record.event.type in _KEY_TYPES:
                self._add(log, found.index)
            if record.event.type != SCHEMA:
                continue
            digest = schema_hash(record.event.payload)
            if digest in needed or digest in self.schemas:
                self._add(log, found.index)
                self.schemas[digest] = record.event.payload

    def _events(self, log: int) -> Iterator[Event]:
        for index in sorted(self._indexes[log]):
            record = _read(log, self._reader.leaf(log, index))
            if record is not None and record.event is not None:
                yield record.event


def _read(log: int, leaf: bytes) -> Record | None:
    """The record of a leaf; None for one that cannot be decoded, which is bundled all the same."""
    try:
        return read_record(log, leaf)
    except AuditError:
        return None


def _measure(part: BinaryIO) -> tuple[int, bytes]:
    """Length and SHA-256 of a part."""
    import hashlib

    digest = hashlib.sha256()
    part.seek(0)
    size = 0
    while chunk := part.read(1 << 20):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.digest()
