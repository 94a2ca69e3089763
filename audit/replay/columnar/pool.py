"""Kinds of values, and pools: values by number, with their Python objects made once."""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.errors import InvalidInput, StoreCorrupt
from audit.event.fields import decode_value
from audit.event.values import Value
from audit.replay.columnar.scatter import Ints

Objects = npt.NDArray[np.object_]


class Kind(IntEnum):
    """What the values of a column are. From TEXT on they are in a pool."""

    NONE = 0
    INT = 1
    DOUBLE = 2
    BOOL = 3
    TIME = 4
    TEXT = 5
    BYTES = 6
    DATE = 7
    MIXED = 8
    """Each spelled as the union of `audit.event.fields`: decimals, nested, several kinds."""


POOLED = {
    Kind.TEXT: pa.large_string(),
    Kind.BYTES: pa.large_binary(),
    Kind.DATE: pa.date32(),
    Kind.MIXED: pa.large_binary(),
}


class Pool:
    """Values by number. Their Python objects are made once, where they cannot be changed."""

    def __init__(self, kind: Kind, chunks: Sequence["pa.Array | Pool"]) -> None:
        """Values of the type `POOLED[kind]`, one chunk after the other, and no null among them."""
        self.kind = kind
        self._chunks = tuple(chunks)
        self._values: pa.Array | None = None
        self._objects: Objects | None = None
        self._nested: Ints | None = None

    def __len__(self) -> int:
        """How many values there are."""
        return sum(len(chunk) for chunk in self._chunks)

    @property
    def values(self) -> "pa.Array":
        """All of them as one Arrow array."""
        if self._values is None:
            arrays = [c.values if isinstance(c, Pool) else c for c in self._chunks]
            if len(arrays) == 1:
                self._values = arrays[0]
            else:
                self._values = pa.concat_arrays(arrays or [pa.array([], POOLED[self.kind])])
        return self._values

    def objects(self) -> Objects:
        """All of them as Python objects. Lists and dicts are made anew at each call."""
        if self._objects is None:
            made = [
                c.objects() if isinstance(c, Pool) else _objects(self.kind, c) for c in self._chunks
            ]
            self._objects = made[0] if len(made) == 1 else np.concatenate([*made, _no_objects()])
            if self.kind is Kind.MIXED:
                self._nested = np.array(
                    [i for i, v in enumerate(self._objects) if type(v) in (list, dict)], np.intp
                )
        if self._nested is None or not len(self._nested):
            return self._objects
        fresh = self._objects.copy()
        for index in self._nested.tolist():
            fresh[index] = _decoded(self.values[index].as_py())
        return fresh


def _no_objects() -> Objects:
    return np.empty(0, np.object_)


def _objects(kind: Kind, values: "pa.Array") -> Objects:
    if kind is Kind.MIXED:
        out = np.empty(len(values), np.object_)
        for index, spelled in enumerate(values.to_pylist()):
            out[index] = _decoded(spelled)
        return out
    if kind is Kind.DATE:
        out = np.empty(len(values), np.object_)
        out[:] = values.to_pylist()
        return out
    made: Objects = values.to_numpy(zero_copy_only=False)
    return made


def _decoded(spelled: bytes) -> Value:
    try:
        return decode_value(spelled, 0)[0]
    except InvalidInput:
        # Looked at here alone: to decode them all when a file is opened would cost seconds.
        raise StoreCorrupt(
            "the read model holds a value that is none: somebody wrote to it; delete its folder"
        ) from None
