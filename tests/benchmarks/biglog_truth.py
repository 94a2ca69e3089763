"""What the rows of a big ledger are at a cut, found without any of the product's code.

`Fold` keeps the last value of every field by key in arrays: numpy lets the last of repeated indexes
win. `fold_slowly` says the same with dicts, event by event, for the tests to compare.
Answers are compared as Arrow tables of one schema, rows in the order of their keys.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tests.benchmarks.biglog_plan import (
    COUNTRIES,
    CREATE,
    DELETE,
    FIELDS,
    PATCH,
    SEGMENTS,
    STATUSES,
    WORDS,
    Block,
    Ints,
    key_texts,
)

MOMENT = pa.timestamp("us", tz="UTC")
TYPES = {
    "active": pa.bool_(),
    "amount": pa.int64(),
    "balance": pa.float64(),
    "country": pa.string(),
    "note": pa.string(),
    "opened": MOMENT,
    "score": pa.float64(),
    "segment": pa.string(),
    "status": pa.string(),
    "visits": pa.int64(),
}
SCHEMA = pa.schema([("entity_key", pa.string()), *TYPES.items()])
_TEXTS = {"country": COUNTRIES, "segment": SEGMENTS, "status": STATUSES}


class Wrong(Exception):
    """An answer is not the right one."""


def column(field: str, values: npt.NDArray[Any], missing: npt.NDArray[np.bool_] | None) -> pa.Array:
    """The values of a field as Arrow; null where missing, or where the code is -1."""
    if field in _TEXTS:
        codes = pa.array(values, pa.int32(), mask=_or(values < 0, missing))
        return pa.DictionaryArray.from_arrays(codes, pa.array(_TEXTS[field])).cast(pa.string())
    if field == "note":
        return _notes(values, missing)
    if field == "opened":
        return pa.array(values, pa.int64(), mask=missing).cast(MOMENT)
    return pa.array(values, TYPES[field], mask=missing)


def _or(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_]:
    return one if other is None else one | other


def _notes(codes: Ints, missing: npt.NDArray[np.bool_] | None) -> pa.Array:
    words = pa.array(WORDS)
    parts = [words.take(pa.array(codes >> shift & 1_023)) for shift in (30, 20, 10, 0)]
    texts = pc.binary_join_element_wise(*parts, " ")
    return texts if missing is None else pc.if_else(pa.array(missing), None, texts)


def note_text(code: int) -> str:
    """The words of a note."""
    return " ".join(WORDS[code >> shift & 1_023] for shift in (30, 20, 10, 0))


class Fold:
    """The rows after the events taken so far; arrays by creation number, as long as needed."""

    def __init__(self) -> None:
        self._alive = np.zeros(0, bool)
        self._last: dict[str, npt.NDArray[Any]] = {}

    def take(self, block: Block, start: int = 0, stop: int | None = None) -> None:
        """Fold a block, or its events from `start` to before `stop`."""
        part = slice(start, stop)
        key, op = block.key[part], block.op[part]
        if not len(key):
            return
        self._grow(int(key.max()) + 1)
        for field in FIELDS:
            given = block.given(field)[part]
            self._last[field][key[given]] = block.values[field][part][given]
        turns = op != PATCH
        self._alive[key[turns]] = op[turns] == CREATE

    def _grow(self, size: int) -> None:
        if size <= len(self._alive):
            return
        size = max(size, 2 * len(self._alive))
        self._alive = np.concatenate((self._alive, np.zeros(size - len(self._alive), bool)))
        for field in FIELDS:
            kind = {"active": bool, "balance": np.float64, "score": np.float64}
            old = self._last.get(field, np.empty(0, kind.get(field, np.int64)))
            more = np.zeros(size - len(old), old.dtype)
            self._last[field] = np.concatenate((old, more))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The live rows: creation numbers as `key`, and the raw values, in order of the key."""
        numbers = np.flatnonzero(self._alive)
        numbers = numbers[np.argsort(key_texts(numbers))]
        return {"key": numbers, **{name: values[numbers] for name, values in self._last.items()}}


def table_of(state: dict[str, npt.NDArray[Any]]) -> pa.Table:
    """A state as the table that every answer is compared with."""
    keys = pa.array(key_texts(state["key"]).astype(object)).cast(pa.string())
    columns = [column(field, state[field], None) for field in FIELDS]
    return pa.table([keys, *columns], schema=SCHEMA)


def fold_slowly(blocks: Iterable[Block], size: int) -> dict[int, dict[str, Any]]:
    """Creation number -> raw row after the first `size` events, in the plainest way there is."""
    rows: dict[int, dict[str, Any]] = {}
    for block in blocks:
        for at in range(min(len(block), max(size - block.start, 0))):
            key, op = int(block.key[at]), block.op[at]
            if op == DELETE:
                del rows[key]
                continue
            if op == CREATE:
                assert key not in rows
                rows[key] = {}
            row = rows[key]
            for number, field in enumerate(FIELDS):
                if block.sets[at] >> number & 1:
                    row[field] = block.values[field][at].item()
    return rows


def as_answer(found: Any) -> pa.Table:
    """What somebody answers, as a table of SCHEMA in order of its keys: a frame or a table."""
    if hasattr(found, "to_arrow"):  # Polars
        found = found.to_arrow()
    elif not isinstance(found, pa.Table):  # pandas
        if found.index.name == "entity_key":
            found = found.reset_index()
        found = pa.Table.from_pandas(found, preserve_index=False)
    table = found.select(SCHEMA.names)
    columns = [
        (table[name].cast(field.type) if table[name].type != field.type else table[name])
        for name, field in zip(SCHEMA.names, SCHEMA, strict=True)
    ]
    table = pa.table(columns, schema=SCHEMA)
    keys = table["entity_key"]
    if len(keys) > 1 and not pc.all(pc.less(keys[:-1], keys[1:])).as_py():
        table = table.sort_by("entity_key")
    return table.combine_chunks()


def check(name: str, found: Any, expected: pa.Table) -> None:
    """Raise Wrong unless an answer says exactly what is true."""
    answer = as_answer(found)
    if len(answer) != len(expected):
        raise Wrong(f"{name}: {len(answer):,} rows, there are {len(expected):,}")
    for field in SCHEMA.names:
        mine, right = answer[field].combine_chunks(), expected[field].combine_chunks()
        if not mine.equals(right):
            at = next(i for i in range(len(mine)) if mine[i] != right[i])
            key = expected["entity_key"][at]
            raise Wrong(f"{name}: {field} of {key} is {mine[at]}, should be {right[at]}")
