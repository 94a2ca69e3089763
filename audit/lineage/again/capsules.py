"""Recorded functions from the blob store: checked by digest, read, with all they refer to."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.errors import FormatError, InvalidInput, LimitExceeded, NotFound, StoreCorrupt
from audit.event.valuejson import parse_json
from audit.lineage.again.judging import bindings
from audit.lineage.source.capsule import FORMAT
from audit.store.blobs import BlobStore

MAX_OBJECTS = 1_000
"""How many pickled objects a capsule may refer to."""
MAX_OBJECTS_BYTES = 1 << 30
"""How large they may be together."""


class Kept(NamedTuple):
    """A capsule with the objects that it refers to, or why it cannot be had."""

    capsule: Mapping[str, Any]
    blobs: Mapping[str, bytes]
    uses_model: bool
    problem: str | None = None


def kept_capsule(blobs: BlobStore, digest: str | None) -> Kept:
    """The capsule with a digest. Nothing in it is run. Raises Unavailable."""
    data: dict[str, bytes] = {}
    try:
        if digest is None:
            raise NotFound("the prediction was recorded without its code")
        capsule = parse_json(blobs.get(digest))
        if not isinstance(capsule, dict) or capsule.get("format") != FORMAT:
            raise FormatError("the recorded code is in another format; a newer version wrote it")
        bound = list(bindings(capsule))
        _check(capsule, bound)
        names = sorted({one["digest"] for one in bound if one["is"] == "pickle"})
        if len(names) > MAX_OBJECTS:
            raise LimitExceeded(f"the recorded code refers to more than {MAX_OBJECTS} objects")
        size_bytes = 0
        for name in names:
            data[name] = blobs.get(name)
            size_bytes += len(data[name])
            if size_bytes > MAX_OBJECTS_BYTES:
                raise LimitExceeded(f"the recorded code refers to over {MAX_OBJECTS_BYTES} bytes")
        if capsule["missing"]:
            raise NotFound("; ".join(capsule["missing"]))
    except (NotFound, StoreCorrupt, InvalidInput) as error:
        return Kept({}, {}, False, str(error))
    except (KeyError, TypeError, AttributeError):
        return Kept({}, {}, False, "the recorded code is not a capsule")
    return Kept(capsule, data, any(one["is"] in ("model", "version") for one in bound))


def _check(capsule: Mapping[str, Any], bound: list[dict[str, Any]]) -> None:
    """Raise TypeError where it is not as what is said about code (by `judging`) takes it to be."""
    missing, entry = capsule["missing"], capsule["entry"]
    if not isinstance(missing, list) or not all(isinstance(one, str) for one in missing):
        raise TypeError("what is missing is a list of texts")
    if not isinstance(entry, str) or entry not in capsule["functions"]:
        raise TypeError("no entry")
    for one in bound:
        parts = one.get("parts", []) if one["is"] == "module" else []
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise TypeError("the parts of a module are a list of texts")
