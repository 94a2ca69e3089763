"""What the keys of rows are called: the texts of a snapshot's rows are made once and moved."""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from audit.replay.columnar.parts import Codes, KeyBook
from audit.replay.columnar.pool import Objects

if TYPE_CHECKING:
    from audit.replay.columnar.fold.snapshots import Kept
    from audit.replay.columnar.fold.tail import Tail


def texts(book: "pa.Array", codes: Codes) -> Objects:
    """The keys with these codes as Python texts; `book`: the keys by code."""
    made: Objects = key_texts(book, codes).to_numpy(zero_copy_only=False)
    return made


def key_texts(book: "pa.Array", codes: Codes) -> "pa.Array":
    """The same as an Arrow array of large strings."""
    return book.take(pa.array(codes)).cast(pa.large_string())


def keys_of(kept: "Kept", tail: "Tail", book: KeyBook) -> Objects:
    """The keys of the rows of a tail that was folded onto a snapshot. Not to be changed."""
    if not len(kept.state.codes):
        return texts(book.keys, tail.codes)
    moved = tail.moves
    if moved is None:
        return kept.keys(book.keys)
    keys: Objects = kept.keys(book.keys).take(moved.source)
    keys[moved.new_at] = texts(book.keys, tail.codes[moved.new_at])
    return keys


def key_texts_of(kept: "Kept", tail: "Tail", book: KeyBook) -> "pa.Array":
    """The same as an Arrow array of large strings."""
    if not len(kept.state.codes):
        return key_texts(book.keys, tail.codes)
    moved = tail.moves
    if moved is None:
        return kept.key_texts(book.keys)
    known = kept.key_texts(book.keys)
    source = moved.source.copy()
    source[moved.new_at] = np.arange(len(known), len(known) + len(moved.new_at))
    new = key_texts(book.keys, tail.codes[moved.new_at])
    return pa.concat_arrays([known, new]).take(pa.array(source))
