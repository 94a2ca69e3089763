"""Kinds of values, and pools: values by number, with their Python objects made once."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

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


FEW_VALUES = 4_096
"""Pools of so many values have their objects in one array, whatever they were put together from."""


MAX_SMALL_BYTES = 2**31 - 1
"""What the offsets of a string or binary array can count."""


class Leaf:
    """Values in one Arrow array, with their objects; what pools are put together from."""

    def __init__(self, kind: Kind, values: "pa.Array") -> None:
        """Values of the type `POOLED[kind]`, no null among them."""
        self.kind = kind
        self.values = values
        self._objects: Objects | None = None

    def objects(self) -> Objects:
        """The values as Python objects, made once; see `Pool.objects` for those that can change."""
        if self._objects is None:
            self._objects = _objects(self.kind, self.values)
        return self._objects

    def bytes_held(self) -> int:
        """What it takes in memory, more or less; an object is larger than what it says."""
        objects = 0 if self._objects is None else len(self.values) * OBJECT_BYTES
        return int(self.values.nbytes) * (1 if not objects else 2) + objects


OBJECT_BYTES = 57
"""What a text takes beside its letters: its head, and where it is."""


class Pool:
    """Values by number. Their Python objects are made once, where they cannot be changed."""

    def __init__(self, kind: Kind, chunks: Sequence["pa.Array | Pool"]) -> None:
        """Values of the type `POOLED[kind]`, one chunk after the other, and no null among them."""
        self.kind = kind
        leaves: list[Leaf] = []
        for chunk in chunks:
            leaves.extend(chunk.leaves if isinstance(chunk, Pool) else [Leaf(kind, chunk)])
        self.leaves: tuple[Leaf, ...] = tuple(leaves)
        self._count = sum(len(leaf.values) for leaf in leaves)
        self._values: pa.Array | None = None
        self._objects: Objects | None = None
        self._nested: Ints | None = None

    def __len__(self) -> int:
        """How many values there are."""
        return self._count

    @property
    def values(self) -> "pa.Array":
        """All of them as one Arrow array."""
        if self._values is None:
            arrays = [leaf.values for leaf in self.leaves]
            if len(arrays) == 1:
                self._values = arrays[0]
            else:
                self._values = pa.concat_arrays(arrays or [pa.array([], POOLED[self.kind])])
        return self._values

    def objects(self) -> Objects:
        """All of them as Python objects. Lists and dicts are made anew at each call."""
        objects = self._objects
        if objects is None:
            made = [leaf.objects() for leaf in self.leaves]
            objects = made[0] if len(made) == 1 else np.concatenate([*made, _no_objects()])
            if self.kind is Kind.MIXED:
                self._nested = np.array(
                    [i for i, v in enumerate(objects) if type(v) in (list, dict)], np.intp
                )
            # Last: another thread that finds these gives out copies of what can be changed.
            self._objects = objects
        if self._nested is None or not len(self._nested):
            return objects
        fresh = objects.copy()
        for index in self._nested.tolist():
            fresh[index] = _decoded(self.values[index].as_py())
        return fresh

    def gather(self, numbers: npt.NDArray[Any]) -> Objects:
        """The objects with these numbers; there is a value at least.

        Of a long pool with a few more at its ends no array of all objects is made.
        """
        # Of this type in the end, and numpy turns the numbers to it more slowly.
        numbers = numbers.astype(np.intp, copy=False)
        sizes = [len(leaf.values) for leaf in self.leaves]
        longest = int(np.argmax(sizes))
        is_long = len(sizes) > 1 and 2 * sizes[longest] > self._count > FEW_VALUES
        if self.kind is Kind.MIXED or self._objects is not None or not is_long:
            return self.objects().take(numbers)
        start = sum(sizes[:longest])
        stop = start + sizes[longest]
        out: Objects = (
            self.leaves[longest].objects().take(numbers - start if start else numbers, mode="clip")
        )
        others = [leaf.objects() for leaf in (*self.leaves[:longest], *self.leaves[longest + 1 :])]
        at = np.flatnonzero((numbers < start) | (numbers >= stop) if start else numbers >= stop)
        named = numbers[at]
        out[at] = np.concatenate(others).take(
            np.where(named < start, named, named - sizes[longest])
        )
        return out

    def bytes_put_together(self) -> int:
        """What it takes in memory beside its leaves."""
        if len(self.leaves) < 2:
            return 0
        values = 0 if self._values is None else int(self._values.nbytes)
        return values + (0 if self._objects is None else self._objects.nbytes)

    def merged(self) -> "Pool":
        """The same, put together from three arrays at most."""
        sizes = [len(leaf.values) for leaf in self.leaves]
        longest = int(np.argmax(sizes))
        groups = (
            self.leaves[:longest],
            self.leaves[longest : longest + 1],
            self.leaves[longest + 1 :],
        )
        made = Pool(self.kind, [])
        made.leaves = tuple(_merged(self.kind, group) for group in groups if group)
        made._count = self._count
        return made


def _merged(kind: Kind, leaves: Sequence[Leaf]) -> Leaf:
    if len(leaves) == 1:
        return leaves[0]
    return Leaf(kind, pa.concat_arrays([leaf.values for leaf in leaves]))


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
