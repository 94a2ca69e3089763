"""Things that are read or made, known by their content: the DataRef of the schemas.

What a thing is decides how it is known: a pandas DataFrame or Series (frame-v2, with a digest for
each column), a NumPy array (array-v2), bytes and files (SHA-256), a model version (its artifact),
plain values (SHA-256 of their canonical JSON), any other object (SHA-256 of its pickle). No file
name is an identity.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from audit.errors import InvalidInput, LimitExceeded, NotFound, Unavailable
from audit.event.values import dumps, normalize, parse_rfc3339
from audit.lineage.content.kept_data import kept_bytes
from audit.lineage.recorded.artifact import serialise
from audit.lineage.recorded.models import ModelVersion
from audit.store.blobs import BlobStore, digest_of

CITATION_KEY = "audit"
"""Where `Ledger.replay` leaves the citation in a frame's attrs."""
DATASET_KEY = "audit_dataset"
"""Where `audit.dataset_version` leaves [NAME@VERSION, digest] in a frame's attrs."""
FRAME, ARRAY, BYTES, FILE, MODEL, VALUE = "frame", "array", "bytes", "file", "model", "value"
MAX_LISTED_COLUMNS = 150
"""A frame with more columns is known by its digest alone: an event has a limit too."""
MAX_PARTS = 64
"""How many things a tuple, list or dict may hold to be described one by one."""
MODEL_METHODS = ("predict", "transform", "fit", "state_dict")
"""An object with one of these methods is a model."""


def describe_data(
    thing: Any,
    name: str | None = None,
    *,
    profile: bool = False,
    keep: bool | None = None,
    blobs: BlobStore | None = None,
) -> list[dict[str, Any]]:
    """The DataRef dicts of a thing: one; or one for each part of a tuple, list or dict of things.

    The parts of a list are called NAME[0], NAME[1], those of a dict NAME.KEY. `profile`: the
    profile of a frame goes into the blob store. `keep`: a copy does, from which
    `audit.lineage.content.kept_data` makes the same thing again (a frame as Parquet, an array as
    .npy, bytes and files as they are, the rest as pickle or JSON). Both need `blobs`. A text is a
    value; a file is given as pathlib.Path.

    A frame that `Ledger.replay` made says the point of the ledger too. It may have been changed
    since: the citation says where it came from, the digest what it was.
    Raises InvalidInput for an object that has no content to know it by, NotFound, Unavailable.
    """
    if (profile or keep) and blobs is None:
        raise InvalidInput("profiles and copies go into a blob store: give blobs")
    found = []
    for part, label in _parts(thing, name):
        reference, original = _described(part, label)
        if keep and blobs is not None and reference["blob_digest"] is None:
            reference["blob_digest"] = blobs.put(kept_bytes(reference["kind"], original))
        if profile and blobs is not None and reference["kind"] == FRAME:
            reference["profile_digest"] = blobs.put(_profile(original))
        found.append(reference)
    return found


def kind_of(thing: Any) -> str | None:
    """What something is known as: frame, array, bytes, file or model; None: a value, or objects.

    pandas and NumPy objects are known without importing either.
    """
    kind = type(thing)
    package = kind.__module__.partition(".")[0]
    if package == "pandas" and kind.__name__ in ("DataFrame", "Series"):
        return FRAME
    if package == "numpy" and kind.__name__ == "ndarray":
        return ARRAY
    if isinstance(thing, (bytes, bytearray, memoryview)):
        return BYTES
    if isinstance(thing, os.PathLike):
        return FILE
    if isinstance(thing, ModelVersion):
        return MODEL
    if not isinstance(thing, type) and any(
        callable(getattr(kind, method, None)) for method in MODEL_METHODS
    ):
        return MODEL
    return None


def is_plain(thing: Any) -> bool:
    """True for a single plain value: null, boolean, number, text, date, time."""
    if thing is None or isinstance(thing, (bool, int, float, str)):
        return True
    if kind_of(thing) is not None or isinstance(thing, (Mapping, list, tuple, set, frozenset)):
        return False
    return canonical(thing) is not None


def canonical(thing: Any) -> str | None:
    """The canonical JSON of plain values; None for what is none."""
    try:
        return dumps(normalize(thing))
    except InvalidInput:
        return None


def spelled(text: str | bytes) -> str:
    """A text as UTF-8 can spell it: the names of files may be any bytes."""
    if isinstance(text, bytes):
        return text.decode("utf-8", "backslashreplace")
    return text.encode("utf-8", "backslashreplace").decode()


def file_digest(path: "str | os.PathLike[str]") -> str:
    """SHA-256 of a file. Raises NotFound, Unavailable."""
    import hashlib

    try:
        with open(path, "rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}") from error


def _parts(thing: Any, name: str | None) -> Iterator[tuple[Any, str | None]]:
    """The thing, or what it holds when that is more than plain values."""
    if isinstance(thing, Mapping):
        items = [(item, f"{name or ''}.{key}".lstrip(".")) for key, item in thing.items()]
    elif isinstance(thing, (list, tuple)):
        items = [(item, f"{name or ''}[{index}]") for index, item in enumerate(thing)]
    else:
        items = []
    if not items or len(items) > MAX_PARTS or not any(_is_thing(item) for item, _ in items):
        yield thing, name
        return
    for item, label in items:
        yield from _parts(item, label)


def _is_thing(thing: Any) -> bool:
    if isinstance(thing, Mapping):
        return any(_is_thing(item) for item in thing.values())
    if isinstance(thing, (list, tuple)):
        return any(_is_thing(item) for item in thing)
    return kind_of(thing) is not None


def _described(thing: Any, name: str | None) -> tuple[dict[str, Any], Any]:
    """The DataRef of one thing, and what a copy is made of."""
    reference: dict[str, Any] = {
        "name": name,
        "kind": kind_of(thing),
        "digest": None,
        "rows": None,
        "bytes": None,
        "blob_digest": None,
    }
    kind = reference["kind"]
    if kind == FRAME:
        return _frame(thing, reference)
    if kind == ARRAY:
        from audit.lineage.content.frame_v2 import array_v2

        reference |= {"digest": array_v2(thing), "bytes": int(thing.nbytes)}
        reference["rows"] = len(thing) if thing.ndim else None
    elif kind == BYTES:
        thing = bytes(thing)
        reference |= {"digest": digest_of(thing), "bytes": len(thing)}
    elif kind == FILE:
        path = Path(thing)
        reference |= {"digest": file_digest(path), "path": spelled(str(path))}
        reference["bytes"] = path.stat().st_size
    elif isinstance(thing, ModelVersion):
        reference |= {"digest": thing.digest, "blob_digest": thing.digest}
        reference |= {"bytes": thing.artifact_bytes, "name": name or thing.ref}
    else:
        return _object(thing, reference)
    return reference, thing


def _frame(frame: Any, reference: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    from audit.lineage.content.frame_v2 import frame_v2

    digest, columns = frame_v2(frame)
    used = frame.memory_usage(index=True)
    reference |= {"digest": digest, "rows": len(frame)}
    reference["bytes"] = int(used if isinstance(used, int) else used.sum())
    if len(columns) <= MAX_LISTED_COLUMNS:
        reference["columns"] = columns
    attrs = getattr(frame, "attrs", None)
    if isinstance(attrs, Mapping):
        reference |= cited(attrs)
        known = attrs.get(DATASET_KEY)
        # What was changed since it was declared is that version no more.
        if isinstance(known, (list, tuple)) and len(known) == 2 and known[1] == digest:
            reference["dataset"] = str(known[0])
    return reference, frame


def _object(thing: Any, reference: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """A plain value, a model, or whatever can be pickled."""
    text = None if reference["kind"] == MODEL else canonical(thing)
    if text is None and callable(thing) and reference["kind"] != MODEL:
        raise InvalidInput(f"{_type(thing)} is code, not data: it has no content to be known by")
    data = serialise(thing).data if text is None else text.encode()
    reference["kind"] = reference["kind"] or VALUE
    return reference | {"digest": digest_of(data), "bytes": len(data)}, data


def _type(thing: Any) -> str:
    kind = type(thing)
    return f"a {kind.__module__}.{kind.__qualname__}"


def _profile(frame: Any) -> bytes:
    import json

    from audit.lineage.content.profile import profile_of

    if type(frame).__name__ == "Series":
        frame = frame.to_frame()
    return json.dumps(profile_of(frame), sort_keys=True, separators=(",", ":")).encode()


def cited(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """The point of the ledger that a frame's attrs cite, as fields of a DataRef; {} for none.

    Raises InvalidInput for a citation that `Ledger.replay` did not make.
    """
    citation = attrs.get(CITATION_KEY)
    if citation is None:
        return {}
    try:
        as_of, valid_at = citation.get("as_of"), citation.get("valid_at")
        return {
            "entity_type": citation.get("entity"),
            "as_of_us": None if as_of is None else parse_rfc3339(as_of),
            "valid_at_us": None if valid_at is None else parse_rfc3339(valid_at),
            "logs": [_log_point(log) for log in citation["logs"]],
        }
    except (KeyError, TypeError, ValueError, AttributeError, LimitExceeded) as error:
        raise InvalidInput(
            f"attrs[{CITATION_KEY!r}] is not a citation that Ledger.replay made: {error!r:.200}"
        ) from error


def _log_point(log: Mapping[str, Any]) -> dict[str, Any]:
    root_hash = log["root_hash"]
    origin, size = log["origin"], log["size"]
    if not isinstance(origin, str) or type(size) is not int:
        raise ValueError("a log has an origin and a size")
    return {
        "origin": origin,
        "size": size,
        "root_hash": None if root_hash is None else bytes.fromhex(root_hash),
    }
