"""The keys of one dataset in one log: their codes, and their order by bytes.

Codes count from 0 in the order in which keys were first seen in the log; so a book only grows at
its end, and the order of a longer one is the order of a shorter one with some put in between.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audit.replay.columnar.parts import NO_CODE, Codes, KeyBook

KEY_TYPE = pa.large_binary()
PROBE_SHARE = 20
"""A book is looked through for some keys, instead of hashed, while it has so many times as many."""
WORD_BYTES = 8

Words = npt.NDArray[np.uint64]
Sizes = npt.NDArray[np.int64]


def no_keys() -> "pa.Array":
    """The keys of an empty book."""
    return pa.array([], KEY_TYPE)


def codes_of(keys: "pa.Array", book: "pa.Array") -> Codes:
    """int32, the code that a book gives to each of these distinct keys; NO_CODE without one."""
    if not len(book) or not len(keys):
        return np.full(len(keys), NO_CODE, dtype=np.int32)
    if len(keys) * PROBE_SHARE > len(book):
        found = pc.index_in(keys, value_set=book)
        codes: Codes = found.fill_null(NO_CODE).to_numpy(zero_copy_only=False).astype(np.int32)
        return codes
    found = pc.index_in(book, value_set=keys).fill_null(NO_CODE).to_numpy(zero_copy_only=False)
    codes = np.full(len(keys), NO_CODE, dtype=np.int32)
    at = np.flatnonzero(found != NO_CODE)
    codes[found[at]] = at
    return codes


def book_of(new_keys: Sequence["pa.Array"], order: Codes | None = None) -> KeyBook:
    """The book of keys that were first seen piece by piece; `order`: that of its first keys."""
    keys = pa.concat_arrays([no_keys(), *new_keys])
    return KeyBook(keys, _order(keys, order))


def _order(keys: "pa.Array", known: Codes | None) -> Codes:
    """int32, the codes in byte order of their keys."""
    if known is not None and len(known) == len(keys):
        return known
    words, exact = _words(keys)
    if exact and known is not None and 0 < len(known) < len(keys):
        count = len(known)
        new = count + np.argsort(words[count:], kind="stable")
        places = np.searchsorted(words[known], words[new])
        return np.insert(known, places, new).astype(np.int32)
    if exact:
        return np.argsort(words, kind="stable").astype(np.int32)
    order: Codes = pc.sort_indices(keys).to_numpy().astype(np.int32)
    return order


def _words(keys: "pa.Array") -> tuple[Words, bool]:
    """Numbers that sort as the keys do, and whether there are such: eight bytes must tell all.

    What all keys begin with is left out. Shorter keys are filled up with zeros; where that makes
    two of them one, there are no such numbers.
    """
    if not len(keys):
        return np.zeros(0, dtype=np.uint64), True
    _, offsets_, data_ = keys.buffers()
    offsets = np.frombuffer(offsets_, dtype=np.int64)[keys.offset : keys.offset + len(keys) + 1]
    start, size = offsets[:-1], np.diff(offsets)
    shared = _shared_bytes(keys[0].as_py(), keys[len(keys) - 1].as_py())
    longest = int(size.max())
    if data_ is None or longest > shared + WORD_BYTES:
        shared = min(shared, int(size.min()))
        if data_ is None or longest > shared + WORD_BYTES:
            return np.zeros(0, dtype=np.uint64), False
    data = np.frombuffer(data_, dtype=np.uint8)
    head = data[start[0] : start[0] + shared]
    if shared > int(size.min()) or any(
        (data[start + at] != head[at]).any() for at in range(shared)
    ):
        return np.zeros(0, dtype=np.uint64), False
    words = np.zeros(len(keys), dtype=np.uint64)
    rest = size - shared
    for at in range(int(rest.max())):
        has = rest > at
        byte = np.zeros(len(keys), dtype=np.uint64)
        byte[has] = data[start[has] + shared + at]
        words |= byte << np.uint64(8 * (WORD_BYTES - 1 - at))
    if len(np.unique(rest)) > 1:
        ordered = np.sort(words)
        if (ordered[1:] == ordered[:-1]).any():
            return words, False
    return words, True


def _shared_bytes(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
