"""What a run read: each input by its content, and by the point of the ledger it was replayed at."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audit.errors import InvalidInput, NotFound, Unavailable
from audit.event.values import parse_rfc3339
from audit.store.blobs import digest_of

CITATION_KEY = "audit"
"""Where `Ledger.replay` leaves the citation in a frame's attrs."""


def describe_input(thing: object, name: str | None) -> list[dict[str, Any]]:
    """The entries of `inputs` in model_run.v1 for one input: one, or one for each log cited.

    A pandas DataFrame (frame-v1), a NumPy array (array-v1), bytes or a path (SHA-256).
    A cited frame may have been changed after it was replayed: the citation says where it came from,
    the digest what it was when it was used. Raises InvalidInput, NotFound, Unavailable.
    """
    digest, rows = _content(thing)
    base: dict[str, Any] = {"name": name, "digest": digest, "rows": rows}
    attrs = getattr(thing, "attrs", None)
    citation = attrs.get(CITATION_KEY) if isinstance(attrs, Mapping) else None
    if citation is None:
        return [base]
    try:
        return [{**base, **cited} for cited in _cited(citation)] or [base]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(
            f"attrs[{CITATION_KEY!r}] is not a citation that Ledger.replay made: {error!r:.200}"
        ) from error


def _content(thing: Any) -> tuple[str, int | None]:
    """(digest, rows) of an input. pandas and NumPy objects are known without importing either."""
    kind = type(thing)
    package = kind.__module__.partition(".")[0]
    if package == "pandas" and kind.__name__ == "DataFrame":
        from audit.lineage.frame_digest import FRAME_ALGORITHM, frame_digest

        return f"{FRAME_ALGORITHM}:{frame_digest(thing)}", len(thing)
    if package == "numpy" and kind.__name__ == "ndarray":
        from audit.lineage.frame_digest import ARRAY_ALGORITHM, array_digest

        return f"{ARRAY_ALGORITHM}:{array_digest(thing)}", len(thing) if thing.ndim else None
    if isinstance(thing, bytes):
        return digest_of(thing), None
    if isinstance(thing, (str, os.PathLike)):
        return _file_digest(Path(thing)), None
    raise InvalidInput(
        f"an input of type {kind.__module__}.{kind.__qualname__}; "
        "give a DataFrame, an array, bytes or the path of a file"
    )


def _file_digest(path: Path) -> str:
    import hashlib

    try:
        with open(path, "rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}") from error


def _cited(citation: Mapping[str, Any]) -> list[dict[str, Any]]:
    as_of, valid_at = citation.get("as_of"), citation.get("valid_at")
    point = {
        "entity_type": citation.get("entity"),
        "as_of_us": None if as_of is None else parse_rfc3339(as_of),
        "valid_at_us": None if valid_at is None else parse_rfc3339(valid_at),
    }
    return [
        {
            **point,
            "origin": log["origin"],
            "size": log["size"],
            "root_hash": None if log["root_hash"] is None else bytes.fromhex(log["root_hash"]),
        }
        for log in citation["logs"]
    ]
