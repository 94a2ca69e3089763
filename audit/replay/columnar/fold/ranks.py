"""The places of a dataset's keys in byte order, over all of its logs."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from audit.replay.columnar.parts import Codes, KeyBook


class Ranks(NamedTuple):
    """The places of keys in byte order, over all logs of a dataset.

    `of`: log -> int32[k], rank by code. `shared`: log -> the codes of keys that another log has
    too, and `shared_rank` their ranks, parallel.
    """

    books: tuple[KeyBook, ...]
    of: Mapping[int, Codes]
    shared: Mapping[int, Codes]


def places_of(logs: tuple[int, ...], books: tuple[KeyBook, ...]) -> Ranks:
    """The places of the keys in these books; `logs` and `books` are parallel."""
    if len(books) == 1:
        place = np.empty(len(books[0].order), np.int32)
        place[books[0].order] = np.arange(len(place), dtype=np.int32)
        return Ranks(books, {logs[0]: place}, {logs[0]: np.empty(0, np.int32)})
    if not books:
        return Ranks((), {}, {})
    keys = pa.concat_arrays([book.keys for book in books])
    order = pc.sort_indices(keys).to_numpy().astype(np.intp)
    ordered = keys.take(pa.array(order))
    same = np.zeros(len(keys), np.bool_)
    if len(keys) > 1:
        same[1:] = pc.equal(ordered[1:], ordered[:-1]).to_numpy(zero_copy_only=False)
    place = np.empty(len(keys), np.int32)
    place[order] = np.cumsum(~same) - 1
    twice = np.zeros(len(keys), np.bool_)
    twice[order] = same | np.append(same[1:], False)
    of, shared, start = {}, {}, 0
    for log, book in zip(logs, books, strict=True):
        stop = start + len(book.keys)
        of[log] = place[start:stop]
        shared[log] = np.flatnonzero(twice[start:stop]).astype(np.int32)
        start = stop
    return Ranks(books, of, shared)
