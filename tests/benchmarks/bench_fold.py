"""The fold of columns alone, on parts made up in memory: against pyarrow and DuckDB on the same.

    python -m tests.benchmarks.bench_fold [EVENTS] [KEYS]

No store and no decoding: it shows whether own vector code earns its place. All give a pandas frame
of the same rows with the same types (DuckDB and pyarrow with less: no difference between null and
absent). Answers are compared before times count. Two thirds of the events are patches that set two
of five fields, and one in a hundred is a delete.
"""

import gc
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from audit.replay.columnar.fold.frames import frame_of
from audit.replay.columnar.fold.rowkeys import keys_of
from audit.replay.columnar.fold.snapshots import Snapshots
from audit.replay.columnar.fold.tail import Tail
from audit.replay.columnar.parts import Cells, Codes, DatasetPart, KeyBook, Op

START_US = 1_700_000_000_000_000
PART_EVENTS = 1 << 20
SPARE = 100_000
"""Events that come after the last snapshot, for one measurement."""
REPEATS = 5
TOWNS = tuple(f"town {number}" for number in range(1_000))
MIX = (0.02, 0.97, 0.01)
"""Creates after the first, updates, deletes."""


class MadeUp:
    """A `PartSource` of one log and dataset, from random numbers."""

    epoch = 0

    def __init__(self, events: int, keys: int, seed: int = 1) -> None:
        self.size = events
        random = np.random.default_rng(seed)
        key = np.concatenate([np.arange(keys), random.integers(0, keys, events - keys)])
        op = random.choice(3, events, p=MIX).astype(np.uint8)
        op[:keys] = Op.CREATE
        whole = op == Op.CREATE
        sets = {
            name: (op != Op.DELETE) & (whole | (random.random(events) < 0.4))
            for name in ("amount", "day", "flag", "score", "town")
        }
        self._parts = [
            self._part(random, start, min(start + PART_EVENTS, events), key, op, whole, sets)
            for start in range(0, events, PART_EVENTS)
        ]
        names = [f"key-{number:010d}".encode() for number in random.permutation(keys)]
        order = np.argsort(np.array(names)).astype(np.int32)
        self._book = KeyBook(pa.array(names, pa.large_binary()), order)
        self.kept: dict[int, Mapping[str, pa.Array]] = {}

    def _part(
        self,
        random: np.random.Generator,
        start: int,
        stop: int,
        key: Any,
        op: Any,
        whole: Any,
        sets: Mapping[str, Any],
    ) -> DatasetPart:
        count = stop - start
        times = START_US + np.arange(start, stop, dtype=np.int64)
        fields = {}
        for name, mask in sets.items():
            at = np.flatnonzero(mask[start:stop]).astype(np.uint32)
            fields[name] = Cells(at, _values(random, name, len(at)))
        empty = np.empty(0, np.int32)
        return DatasetPart(
            0,
            start,
            stop,
            np.arange(count, dtype=np.uint32),
            times,
            times,
            op[start:stop],
            whole[start:stop] | False,
            key[start:stop].astype(np.int32),
            np.zeros(count, np.bool_),
            fields,
            dict.fromkeys(fields, 0),
            empty,
            empty.astype(np.uint32),
            None,
        )

    def covered(self, log: int) -> int:
        return self.size

    def sealed(self, log: int) -> int:
        return 0

    def parts(self, log: int, entity_type: str, start: int, stop: int) -> Sequence[DatasetPart]:
        return [part for part in self._parts if part.start < stop and part.stop > start]

    def key_book(self, log: int, entity_type: str) -> KeyBook:
        return self._book

    def snapshot_sizes(self, log: int, entity_type: str) -> Sequence[int]:
        return ()

    def read_snapshot(self, log: int, entity_type: str, size: int) -> None:
        return None

    def write_snapshot(
        self, log: int, entity_type: str, size: int, arrays: Mapping[str, pa.Array]
    ) -> None:
        pass


def _values(random: np.random.Generator, name: str, count: int) -> pa.Array:
    if name == "amount":
        return pa.array(random.integers(0, 1 << 40, count), mask=random.random(count) < 0.02)
    if name == "day":
        moments = pa.array(random.integers(0, START_US, count))
        return moments.cast(pa.timestamp("us", "UTC"))
    if name == "flag":
        return pa.array(random.random(count) < 0.5)
    if name == "score":
        return pa.array(random.random(count))
    codes = pa.array(random.integers(0, len(TOWNS), count).astype(np.int32))
    return pa.DictionaryArray.from_arrays(codes, pa.array(TOWNS))


def best_ms(ask: Callable[[], object], repeats: int = REPEATS) -> float:
    """The shortest of some runs, in milliseconds."""
    times = []
    for _ in range(repeats):
        gc.collect()
        start = time.perf_counter()
        ask()
        times.append((time.perf_counter() - start) * 1000)
    return min(times)


class Ours:
    """The fold, with or without snapshots, to a frame."""

    def __init__(self, source: MadeUp, min_events: int) -> None:
        self.source = source
        book = source.key_book(0, "x")
        self.rank: Codes = np.empty(len(book.order), np.int32)
        self.rank[book.order] = np.arange(len(book.order), dtype=np.int32)
        self.snapshots = Snapshots(source, min_events)

    def frame(self, size: int) -> pd.DataFrame:
        """The frame at a size."""
        kept, spans = self.snapshots.before(0, "x", size, self.rank)
        tail = Tail(kept.state, kept.finder, spans, self.rank)
        keys = keys_of(kept, tail, self.source.key_book(0, "x"))
        return frame_of(keys, [(name, tail.column(name)) for name in tail.fields], {})


def arrow_tables(source: MadeUp) -> tuple[pa.Table, dict[str, pa.Table]]:
    """The events, and each field's cells, as Arrow tables of whole columns."""
    parts = source.parts(0, "x", 0, source.size)
    events = pa.table(
        {
            "pos": np.arange(source.size),
            "key": np.concatenate([part.key for part in parts]),
            "gone": np.concatenate([part.op == Op.DELETE for part in parts]),
            "reset": np.concatenate([part.whole | (part.op == Op.DELETE) for part in parts]),
        }
    )
    cells = {}
    for name in parts[0].fields:
        at = np.concatenate([p.fields[name].at.astype(np.int64) + p.start for p in parts])
        values = [p.fields[name].values for p in parts]
        if pa.types.is_dictionary(values[0].type):
            values = [v.dictionary_decode() for v in values]
        cells[name] = pa.table(
            {"pos": at, "key": events["key"].take(pa.array(at)), "v": pa.chunked_array(values)}
        )
    return events, cells


def by_duckdb(events: pa.Table, cells: Mapping[str, pa.Table], keys: pa.Array) -> pd.DataFrame:
    """The same question in SQL over the Arrow tables."""
    connection = duckdb.connect()
    connection.register("events", events)
    connection.register("names", pa.table({"key": np.arange(len(keys)), "name": keys}))
    joins, picked = [], []
    for name, table in cells.items():
        connection.register(f"cells_{name}", table)
        picked.append(f"c_{name}.v AS {name}")
        joins.append(
            f"LEFT JOIN (SELECT key, max(pos) AS pos, arg_max_null(v, pos) AS v FROM cells_{name} "
            f"GROUP BY key) c_{name} ON c_{name}.key = s.key AND c_{name}.pos >= s.floor"
        )
    return connection.execute(
        "SELECT names.name, " + ", ".join(picked) + " FROM (SELECT key, max(pos) FILTER (NOT gone) "
        "AS written, max(pos) FILTER (gone) AS ended, "
        "coalesce(max(pos) FILTER (reset), -1) AS floor "
        "FROM events GROUP BY key) s JOIN names ON names.key = s.key "
        + " ".join(joins)
        + " WHERE written > coalesce(ended, -1) ORDER BY names.name"
    ).df()


def by_pyarrow(events: pa.Table, cells: Mapping[str, pa.Table], keys: pa.Array) -> pd.DataFrame:
    """The same question with pyarrow's group_by and joins by key."""
    written = events.filter(pc.invert(events["gone"])).group_by("key").aggregate([("pos", "max")])
    ended = events.filter(events["gone"]).group_by("key").aggregate([("pos", "max")])
    floor = events.filter(events["reset"]).group_by("key").aggregate([("pos", "max")])
    state = written.rename_columns(["key", "written"])
    state = state.join(ended.rename_columns(["key", "ended"]), "key")
    state = state.join(floor.rename_columns(["key", "floor"]), "key")
    state = state.filter(pc.greater(state["written"], pc.fill_null(state["ended"], -1)))
    table = state.append_column("name", keys.take(state["key"].combine_chunks()))
    for name, cell in cells.items():
        last = cell.group_by("key").aggregate([("pos", "max")]).rename_columns(["key", "last"])
        place = pc.index_in(last["last"], value_set=cell["pos"].combine_chunks())
        last = last.append_column(name, cell["v"].take(place))
        table = table.join(last, "key")
        counts = pc.greater_equal(table["last"], pc.fill_null(table["floor"], -1))
        value = pc.if_else(pc.fill_null(counts, False), table[name], None)
        table = table.drop_columns(["last", name]).append_column(name, value)
    table = table.sort_by("name").select(["name", *cells])
    return table.to_pandas()


def same(ours: pd.DataFrame, theirs: pd.DataFrame) -> bool:
    """The same keys and values, whatever the types are."""
    names = [str(name).encode() for name in ours.index]
    if names != [bytes(name) for name in theirs["name"]]:
        return False
    for name in ("amount", "day", "flag", "score", "town"):
        left, right = ours[name], theirs[name]
        gone = np.asarray(left.isna())
        if (gone != np.asarray(right.isna())).any():
            return False
        if not (left[~gone].to_numpy() == right[~gone].to_numpy()).all():
            return False
    return True


def main(events: int, keys: int) -> None:
    """Compare the answers, then measure."""
    source = MadeUp(events, keys)
    whole = Ours(source, events + 1)
    chained = Ours(source, 65_536)
    frame = whole.frame(events)
    print(f"{events:,} events, {len(frame):,} rows; best of {REPEATS} (peers: of 2), ms")
    start = time.perf_counter()
    first = chained.frame(events)
    first_ms = (time.perf_counter() - start) * 1000
    assert first.equals(frame)
    print(f"fold of everything -> frame     {best_ms(lambda: whole.frame(events)):9.1f}")
    print(f"with snapshots: first answer    {first_ms:9.1f}")
    print(f"with snapshots: warm            {best_ms(lambda: chained.frame(events)):9.1f}")
    newest = chained.snapshots.newest(0, "x", events).state.size
    after = min(events, newest + SPARE)
    label = f"newest snapshot + {after - newest:,} events"
    print(f"{label:<32}{best_ms(lambda: chained.frame(after)):9.1f}")
    tables = arrow_tables(source)
    book = source.key_book(0, "x").keys
    for peer in (by_duckdb, by_pyarrow):
        right = same(frame, peer(*tables, book))
        took = best_ms(lambda peer=peer: peer(*tables, book), 2)
        print(f"{peer.__name__[3:]:<32}{took:9.1f}  {'same answer' if right else 'OTHER ANSWER'}")


if __name__ == "__main__":
    numbers = [int(given) for given in sys.argv[1:]]
    main(*(numbers + [10_000_000, 1_000_000][len(numbers) :]))
