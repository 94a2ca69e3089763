"""The manifest of an export: what it is of, every file of it, and a signature over all that.

`manifest.json` is the last file that an export writes: without it there is no export. Its form is
JSON, without floats:

    format      "attestory.export.v1"
    asked       the point that was asked for
    selection   {"query": text, "entities": [..] or null, "leaves": bool}
    logs        [{"log", "origin", "size", "root_hash", "checkpoint": {"size", "note"} or null,
                  "consistency_proof": [hex, ..] or null}], by number
    datasets    entity type -> {"fields": name -> [column, kind], "remarks": [text, ..]}
    files       path -> [rows or null, bytes, SHA-256]
    unread      entries whose payload could not be read
    note        the signed note, or null; not a part of what it signs

The note (C2SP signed-note) is by the key of log 0. Its text, which no checkpoint can be::

    attestory export v1
    manifest sha256:<hex over the JSON of all members but `note`, sorted, without white space>
    log <size> <root hash> <origin>       a line for each log
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.errors import FormatError
from audit.event.valuejson import parse_json
from audit.ledger.export.changes import Columns
from audit.ledger.export.place import Digest
from audit.ledger.export.typed import known_kind
from audit.replay.refs import parse_entity
from audit.store.contract import StoredCheckpoint

FORMAT = "attestory.export.v1"
MANIFEST = "manifest.json"
RUNNING = "_unfinished"
"""A file that is there while an export runs, and after one that was interrupted."""
MAX_MANIFEST_BYTES = 15_000_000
MAX_FILES = 100_000
MAX_LOGS = 10_000
MAX_DATASETS = 10_000
MAX_PROOF_HASHES = 64
_HEX = re.compile(r"[0-9a-f]{64}")
_PATH = re.compile(r"(events|changes|tree|sql)(/[A-Za-z0-9=._-]{1,200}){1,3}")
_NOTE_HEAD = "attestory export v1"


class Selection(NamedTuple):
    """What of the ledger is exported.

    `query`: only entries that fit it; `entities`: only entries about these datasets; in both cases
    schemas are there besides. `leaves`: the exact bytes of each entry are a column.
    """

    query: str = ""
    entities: tuple[str, ...] | None = None
    leaves: bool = True

    @property
    def whole(self) -> bool:
        """Every entry is there."""
        return not self.query and self.entities is None


class ExportedLog(NamedTuple):
    """One log: its head at the cut, the checkpoint that covers it, and how that follows."""

    log: int
    origin: str
    size: int
    root_hash: bytes
    checkpoint: StoredCheckpoint | None
    consistency_proof: tuple[bytes, ...] | None


class Exported(NamedTuple):
    """One file: rows (None for a file without), bytes and SHA-256."""

    rows: int | None
    digest: Digest


class DatasetColumns(NamedTuple):
    """A dataset's fields, and what plain SQL over its changes does not find as replay does."""

    columns: Columns
    remarks: tuple[str, ...]


class Manifest(NamedTuple):
    """All of it; `note` is None when nobody signed."""

    asked: str
    selection: Selection
    logs: tuple[ExportedLog, ...]
    datasets: Mapping[str, DatasetColumns]
    files: Mapping[str, Exported]
    unread: int
    note: bytes | None = None

    def text(self) -> str:
        """The text that the note signs."""
        import hashlib

        digest = hashlib.sha256(_canonical(_body(self))).hexdigest()
        lines = [_NOTE_HEAD, f"manifest sha256:{digest}"]
        lines += [f"log {log.size} {log.root_hash.hex()} {log.origin}" for log in self.logs]
        return "\n".join(lines) + "\n"

    def to_json(self) -> bytes:
        """The file's bytes."""
        note = None if self.note is None else self.note.decode()
        return json.dumps({**_body(self), "note": note}, ensure_ascii=False, indent=1).encode()


def _canonical(body: dict[str, Any]) -> bytes:
    text = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


def _body(manifest: Manifest) -> dict[str, Any]:
    selection = manifest.selection
    entities = selection.entities
    return {
        "format": FORMAT,
        "asked": manifest.asked,
        "selection": {
            "query": selection.query,
            "entities": None if entities is None else list(entities),
            "leaves": selection.leaves,
        },
        "logs": [_log_json(log) for log in manifest.logs],
        "datasets": {
            entity: {
                "fields": {
                    name: [found.columns.names[name], found.columns.kinds[name]]
                    for name in found.columns.in_order()
                },
                "remarks": list(found.remarks),
            }
            for entity, found in sorted(manifest.datasets.items())
        },
        "files": {
            path: [file.rows, file.digest.size_bytes, file.digest.sha256.hex()]
            for path, file in sorted(manifest.files.items())
        },
        "unread": manifest.unread,
    }


def _log_json(log: ExportedLog) -> dict[str, Any]:
    checkpoint, proof = log.checkpoint, log.consistency_proof
    return {
        "log": log.log,
        "origin": log.origin,
        "size": log.size,
        "root_hash": log.root_hash.hex(),
        "checkpoint": None
        if checkpoint is None
        else {"size": checkpoint.size, "note": checkpoint.note.decode(errors="replace")},
        "consistency_proof": None if proof is None else [node.hex() for node in proof],
    }


def parse_manifest(data: bytes) -> Manifest:
    """The manifest in a file's bytes. Raises FormatError, LimitExceeded."""
    found = _of(parse_json(data), dict, "the manifest")
    if found.get("format") != FORMAT:
        raise FormatError(f"not an export of the form {FORMAT}")
    members = {"format", "asked", "selection", "logs", "datasets", "files", "unread", "note"}
    if found.keys() != members:
        raise FormatError(f"the manifest has other members than {', '.join(sorted(members))}")
    note = found["note"]
    manifest = Manifest(
        _of(found["asked"], str, "asked"),
        _selection(found["selection"]),
        tuple(_log(item) for item in _some(found["logs"], list, "logs", MAX_LOGS)),
        {
            parse_entity(name): _dataset(item)
            for name, item in _some(found["datasets"], dict, "datasets", MAX_DATASETS).items()
        },
        {
            _path(path): _file(path, item)
            for path, item in _some(found["files"], dict, "files", MAX_FILES).items()
        },
        _count(found["unread"], "unread"),
        None if note is None else _of(note, str, "note").encode(),
    )
    numbers = [log.log for log in manifest.logs]
    if numbers != sorted(set(numbers)):
        raise FormatError("the manifest's logs are not in order")
    return manifest


def _of(value: Any, kind: type, what: str) -> Any:
    if type(value) is not kind:
        raise FormatError(f"{what} in the manifest is not of the right type")
    return value


def _some(value: Any, kind: type, what: str, limit: int) -> Any:
    if len(_of(value, kind, what)) > limit:
        raise FormatError(f"the manifest has more than {limit:,} {what}")
    return value


def _members(value: Any, names: str) -> list[Any]:
    found = _of(value, dict, "a part")
    if found.keys() != set(names.split()):
        raise FormatError(f"a part of the manifest has other members than {names}")
    return [found[name] for name in names.split()]


def _count(value: Any, what: str) -> int:
    number: int = _of(value, int, what)
    if not 0 <= number < 2**63:
        raise FormatError(f"{what} in the manifest is out of range")
    return number


def _hash(value: Any) -> bytes:
    if not _HEX.fullmatch(_of(value, str, "a hash")):
        raise FormatError("a hash in the manifest is not 64 hex digits")
    return bytes.fromhex(value)


def _selection(value: Any) -> Selection:
    query, entities, leaves = _members(value, "query entities leaves")
    if entities is not None:
        named = _some(entities, list, "entities", MAX_DATASETS)
        entities = tuple(parse_entity(_of(name, str, "an entity")) for name in named)
    return Selection(_of(query, str, "query"), entities, _of(leaves, bool, "leaves"))


def _log(value: Any) -> ExportedLog:
    names = "log origin size root_hash checkpoint consistency_proof"
    log, origin, size, root, checkpoint, proof = _members(value, names)
    stored = None
    if checkpoint is not None:
        signed, note = _members(checkpoint, "size note")
        stored = StoredCheckpoint(
            _count(signed, "a checkpoint's size"), _of(note, str, "a note").encode()
        )
    nodes = None
    if proof is not None:
        nodes = tuple(map(_hash, _some(proof, list, "proof hashes", MAX_PROOF_HASHES)))
    return ExportedLog(
        _count(log, "a log's number"),
        _of(origin, str, "an origin"),
        _count(size, "a size"),
        _hash(root),
        stored,
        nodes,
    )


def _dataset(value: Any) -> DatasetColumns:
    fields, remarks = _members(value, "fields remarks")
    names: dict[str, str] = {}
    kinds: dict[str, str] = {}
    for name, pair in _of(fields, dict, "fields").items():
        column, kind = _pair(pair, 2)
        if not known_kind(kind):
            raise FormatError("the manifest names a kind of column that is not known")
        names[name], kinds[name] = _of(column, str, "a column"), kind
    said = tuple(_of(text, str, "a remark") for text in _of(remarks, list, "remarks"))
    return DatasetColumns(Columns(names, kinds), said)


def _pair(value: Any, length: int) -> list[Any]:
    if len(_of(value, list, "a list")) != length:
        raise FormatError("a list in the manifest is not of the right length")
    return list(value)


def is_export_path(path: str) -> bool:
    """Whether a file of an export can be called so."""
    # Dots alone would lead out of the folder.
    parts = path.split("/")
    return _PATH.fullmatch(path) is not None and not any(set(part) <= {"."} for part in parts)


def _path(path: str) -> str:
    if not is_export_path(path):
        raise FormatError(f"{path[:80]!r} in the manifest is no path of an export's file")
    return path


def _file(path: str, value: Any) -> Exported:
    rows, size, digest = _pair(value, 3)
    counted = None if rows is None else _count(rows, "rows")
    if (counted is None) is path.endswith(".parquet"):
        raise FormatError(f"{path} in the manifest says nothing of its rows")
    return Exported(counted, Digest(_count(size, "bytes"), _hash(digest)))
