"""Blocks that follow each other become one piece of the read model: its parts, and its new keys."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.replay.columnar.decode.block import Block, Careful, DatasetBlock
from audit.replay.columnar.decode.cellvalues import coded_where_repeated, joined
from audit.replay.columnar.decode.envelopes import Texts
from audit.replay.columnar.kept.keybook import KEY_TYPE, codes_of, no_keys
from audit.replay.columnar.parts import (
    NO_CODE,
    Cells,
    Coded,
    Codes,
    DatasetPart,
    EventsPart,
    Ordinals,
)

TEXT_COLUMNS = ("type", "entity_type", "source", "actor", "transaction_id", "reason")
"""The texts of an `EventsPart`, in its order."""

BookOf = Callable[[str], "pa.Array"]
"""The keys that a dataset had before a piece."""


class Piece(NamedTuple):
    """The entries [start, stop) of a log. `new_keys`: the keys that no entry before had.

    `plain_from`: see `Block`.
    """

    start: int
    stop: int
    events: EventsPart
    datasets: Mapping[str, DatasetPart]
    new_keys: Mapping[str, "pa.Array"]
    plain_from: Mapping[str, int]


class Gathering:
    """Takes the blocks of a piece, one after the other."""

    def __init__(self, log: int, start: int) -> None:
        """Nothing taken yet."""
        self._log = log
        self._start = start
        self._stop = start
        self._blocks: list[Block] = []

    @property
    def entries(self) -> int:
        """How many entries were taken."""
        return self._stop - self._start

    def take(self, block: Block) -> None:
        """The next block."""
        self._blocks.append(block)
        self._stop += len(block.recorded_us)

    def finish(self, book_of: BookOf) -> Piece:
        """The piece of all that was taken."""
        plain_from: dict[str, int] = {}
        by_dataset: dict[str, list[DatasetBlock]] = {}
        for block in self._blocks:
            for name, index in block.plain_from.items():
                plain_from.setdefault(name, index)
            for name, found in block.datasets.items():
                by_dataset.setdefault(name, []).append(found)
        datasets, new_keys = {}, {}
        for name, blocks in by_dataset.items():
            datasets[name], new_keys[name] = self._dataset(blocks, book_of(name))
        return Piece(self._start, self._stop, self._events(), datasets, new_keys, plain_from)

    def _events(self) -> EventsPart:
        blocks = self._blocks
        return EventsPart(
            self._log,
            self._start,
            self._stop,
            _joined([block.recorded_us for block in blocks], np.int64),
            _joined([block.valid_us for block in blocks], np.int64),
            _joined([block.sort for block in blocks], np.uint8),
            *(_coded([block.texts[name] for block in blocks]) for name in TEXT_COLUMNS),
        )

    def _dataset(
        self, blocks: Sequence[DatasetBlock], book: "pa.Array"
    ) -> tuple[DatasetPart, "pa.Array"]:
        index = _joined([block.position for block in blocks], np.int64)
        keys, distinct = _distinct([block.keys for block in blocks])
        codes = codes_of(distinct, book)
        new = codes == NO_CODE
        codes[new] = len(book) + np.arange(int(new.sum()))
        careful = [careful for block in blocks for careful in block.careful]
        keyed = [one for one in careful if one.key is not None]
        keyless = [one for one in careful if one.key is None]
        fields, first = _fields(blocks)
        part = DatasetPart(
            self._log,
            self._start,
            self._stop,
            (index - self._start).astype(np.uint32),
            _joined([block.recorded_us for block in blocks], np.int64),
            _joined([block.valid_us for block in blocks], np.int64),
            _joined([block.op for block in blocks], np.uint8),
            _joined([block.whole for block in blocks], np.bool_),
            np.where(keys == NO_CODE, NO_CODE, codes[keys]).astype(np.int32)
            if len(codes)
            else np.full(len(index), NO_CODE, dtype=np.int32),
            _joined([block.unread for block in blocks], np.bool_),
            fields,
            first,
            codes[_places(keyed, distinct)],
            np.searchsorted(index, [one.index for one in keyed]).astype(np.uint32),
            int(np.searchsorted(index, keyless[0].index)) if keyless else None,
        )
        return part, distinct.filter(pa.array(new))


def _joined(columns: Sequence["npt.NDArray[Any]"], type_: type) -> "npt.NDArray[Any]":
    if not columns:
        return np.zeros(0, dtype=type_)
    return np.concatenate(columns).astype(type_, copy=False)


def _distinct(keys: Sequence["pa.Array"]) -> tuple[Codes, "pa.Array"]:
    """(number of each key in the distinct ones, these in the order in which they come first)."""
    encoded = pa.concat_arrays([array.cast(KEY_TYPE) for array in keys]).dictionary_encode()
    codes = encoded.indices.fill_null(NO_CODE).to_numpy(zero_copy_only=False).astype(np.int32)
    return codes, encoded.dictionary if len(encoded.dictionary) else no_keys()


def _places(careful: Sequence[Careful], distinct: "pa.Array") -> Codes:
    wanted = pa.array([one.key for one in careful], KEY_TYPE)
    encoded = wanted.dictionary_encode()
    numbers = encoded.indices.to_numpy(zero_copy_only=False)
    places: Codes = codes_of(encoded.dictionary, distinct)[numbers]
    return places


def _coded(pieces: Sequence[Texts]) -> Coded:
    """The texts of all blocks, by one numbering."""
    numbers: dict[bytes, int] = {}
    codes = []
    for texts in pieces:
        own = [numbers.setdefault(text, len(numbers)) for text in texts.found.to_pylist()]
        codes.append(np.array([*own, NO_CODE], dtype=np.int32)[texts.codes])
    return Coded(_joined(codes, np.int32), tuple(numbers))


def _fields(blocks: Sequence[DatasetBlock]) -> tuple[dict[str, Cells], dict[str, int]]:
    first: dict[str, int] = {}
    gathered: dict[str, list[tuple[Ordinals, pa.Array]]] = {}
    base = 0
    for block in blocks:
        for name, at in block.first.items():
            first.setdefault(name, base + at)
        for name, pieces in block.fields.items():
            found = gathered.setdefault(name, [])
            found.extend(((at + base).astype(np.uint32), values) for at, values in pieces)
        base += len(block.position)
    fields = {}
    for name in first:
        if name in gathered:
            fields[name] = _cells(gathered.pop(name))
    return fields, first


def _cells(pieces: Sequence[tuple[Ordinals, "pa.Array"]]) -> Cells:
    at = _joined([ordinals for ordinals, _ in pieces], np.uint32)
    values = joined([values for _, values in pieces])
    if (at[1:] < at[:-1]).any():
        order = np.argsort(at, kind="stable")
        at, values = at[order], values.take(pa.array(order))
    return Cells(at, coded_where_repeated(values))
