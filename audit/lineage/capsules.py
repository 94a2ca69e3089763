"""Recorded functions from the blob store: checked by digest, read, with all they refer to."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.errors import FormatError, InvalidInput, NotFound, StoreCorrupt
from audit.event.valuejson import parse_json
from audit.lineage.capsule import FORMAT
from audit.lineage.judging import bindings
from audit.store.blobs import BlobStore


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
        for name in sorted({one["digest"] for one in bound if one["is"] == "pickle"}):
            data[name] = blobs.get(name)
        if capsule["missing"]:
            raise NotFound("; ".join(map(str, capsule["missing"])))
        if not isinstance(capsule["entry"], str):
            raise TypeError("no entry")
    except (NotFound, StoreCorrupt, InvalidInput) as error:
        return Kept({}, {}, False, str(error))
    except (KeyError, TypeError, AttributeError):
        return Kept({}, {}, False, "the recorded code is not a capsule")
    return Kept(capsule, data, any(one["is"] in ("model", "version") for one in bound))
