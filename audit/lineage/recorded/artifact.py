"""A model as bytes: how it is serialised, and which packages those bytes need to be read again."""

import io
import os
import pickle
from pathlib import Path
from typing import Any, NamedTuple

from audit.errors import InvalidInput, LimitExceeded, NotFound, Unavailable
from audit.lineage.recorded.models import BYTES_FORMAT, PICKLE_FORMAT
from audit.store.blobs import MAX_BLOB_BYTES

PICKLE_PROTOCOL = 5


class Artifact(NamedTuple):
    """The bytes, their format, the top-level modules that they name, and the object they are of."""

    data: bytes
    format: str
    modules: frozenset[str]
    object: object


def serialise(model: object) -> Artifact:
    """A model as its artifact: bytes, or the content of a path, as they are; else its pickle.

    Raises InvalidInput when it cannot be pickled, NotFound and Unavailable for a path.
    """
    if isinstance(model, bytes):
        return Artifact(model, BYTES_FORMAT, frozenset(), model)
    if isinstance(model, (str, os.PathLike)):
        # The file is the artifact; what its owner loads from it is not known here.
        return Artifact(_content(Path(model)), BYTES_FORMAT, frozenset(), None)
    file = io.BytesIO()
    pickler = _Pickler(file)
    try:
        pickler.dump(model)
    except Exception as error:  # whatever the model's own pickling code raises
        why = f"{type(error).__name__}: {error}"
        raise InvalidInput(
            f"a {type(model).__qualname__} cannot be pickled ({why:.300})\n"
            "save it with its own library and give the path or the bytes"
        ) from error
    return Artifact(file.getvalue(), PICKLE_FORMAT, frozenset(pickler.modules), model)


class _Pickler(pickle.Pickler):
    """Notes from which modules the pickled objects come."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=PICKLE_PROTOCOL)
        self.modules: set[str] = set()

    def reducer_override(self, thing: Any) -> Any:
        module = thing.__module__ if isinstance(thing, type) else type(thing).__module__
        if isinstance(module, str):
            self.modules.add(module.partition(".")[0])
        return NotImplemented


def _content(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BLOB_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}; give a model, its bytes or a path") from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_BLOB_BYTES:
        raise LimitExceeded(f"{path} is over the limit of {MAX_BLOB_BYTES} bytes")
    return data
