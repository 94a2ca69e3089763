"""Right answers to the other questions about a big ledger, found from its list of events alone."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tests.benchmarks.biglog import BigLog
from tests.benchmarks.biglog_plan import FIELDS
from tests.benchmarks.biglog_truth import MOMENT, TYPES, Wrong
from tests.benchmarks.peers import JOINED, Spine


def a_key(made: BigLog, cut: int) -> str:
    """A key that has several events and is there at a cut."""
    keys = made.truth(cut)["entity_key"]
    return keys[len(keys) // 3].as_py()  # type: ignore[no-any-return]


def row_truth(made: BigLog, key: str, cut: int) -> pa.Table:
    """The table that holds one row."""
    truth = made.truth(cut)
    return truth.filter(pc.equal(truth["entity_key"], key))


def blame_truth(made: BigLog, key: str, cut: int) -> dict[str, tuple[int, str]]:
    """Field -> number of the event that gave it the value that it has, and its actor."""
    events = made.events
    own = events.filter(pc.and_(pc.equal(events["key"], key), pc.less(events["number"], cut)))
    found: dict[str, tuple[int, str]] = {}
    values: dict[str, Any] = {}
    for event in own.to_pylist():
        if event["op"] == "create":
            found, values = {}, {}
        for field in FIELDS:
            is_given = event["segment_given"] if field == "segment" else event[field] is not None
            if is_given and (field not in values or values[field] != event[field]):
                found[field] = event["number"], event["actor"]
                values[field] = event[field]
    return found


def diff_truth(made: BigLog, a: int, b: int) -> dict[str, tuple[Any, Any, Any, Any]]:
    """Key -> balance before and after, status before and after, of all rows that differ."""
    old, new = made.state(a), made.state(b)
    size = int(max(old["key"].max(), new["key"].max())) + 1
    at_old, at_new = np.full(size, -1), np.full(size, -1)
    at_old[old["key"]] = np.arange(len(old["key"]))
    at_new[new["key"]] = np.arange(len(new["key"]))
    both = np.flatnonzero((at_old >= 0) & (at_new >= 0))
    differs = (at_old >= 0) != (at_new >= 0)
    for field in FIELDS:
        differs[both] |= old[field][at_old[both]] != new[field][at_new[both]]
    numbers = np.flatnonzero(differs)
    tables = made.truth(a), made.truth(b)
    sides = []
    for table, at in zip(tables, (at_old[numbers], at_new[numbers]), strict=True):
        places = pa.array(at, mask=at < 0)
        part = table.select(["entity_key", "balance", "status"]).take(places)
        sides.append([part[name].to_pylist() for name in part.column_names])
    (old_keys, *old_values), (new_keys, *new_values) = sides
    keys = [one or other for one, other in zip(old_keys, new_keys, strict=True)]
    columns = old_values[0], new_values[0], old_values[1], new_values[1]
    return dict(zip(keys, zip(*columns, strict=True), strict=True))


class Spined(NamedTuple):
    """A spine, and what is right for it: `row` and the fields of JOINED."""

    spine: Spine
    truth: pa.Table


def spine_of(made: BigLog, rows: int, seed: int = 11) -> Spined:
    """Rows with keys of the ledger and times all over it; sorted by nothing."""
    events, random = made.events, np.random.default_rng(seed)
    count = len(events)
    key = events["key_number"].to_numpy()
    chosen = random.integers(0, count, rows)
    times = random.integers(made.time_us(1) - 1_000_000, made.time_us(count) + 1, rows)
    recorded = events["recorded"].cast(pa.int64()).to_numpy()
    stops = np.searchsorted(recorded, times, "right")
    order = np.argsort(key, kind="stable")
    places = key * (count + 1) + np.arange(count)
    asked = key[chosen] * (count + 1) + stops
    op = np.asarray(events["op"].to_numpy())

    def newest(given: Any) -> Any:
        """Number of the newest event of its key below the stop that is given; -1 for none."""
        listed = order[given[order]]
        at = np.searchsorted(places[listed], asked) - 1
        found = listed[np.maximum(at, 0)]
        return np.where((at >= 0) & (key[found] == key[chosen]), found, -1)

    turn = newest(op != "update")
    gone = (turn < 0) | (op[turn] == "delete")
    columns: list[Any] = [np.arange(rows)]
    for field in JOINED:
        given = events["segment_given"] if field == "segment" else pc.is_valid(events[field])
        at = newest(given.to_numpy())
        columns.append(events[field].take(pa.array(at, mask=gone | (at < 0))).combine_chunks())
    spine = pa.table(
        {
            "row": np.arange(rows),
            "key": events["key"].take(pa.array(chosen)),
            "at": pa.array(times).cast(MOMENT),
        }
    )
    schema = pa.schema([("row", pa.int64()), *((field, TYPES[field]) for field in JOINED)])
    return Spined(Spine(spine), pa.table(columns, schema=schema))


def check_join(name: str, found: pa.Table, truth: pa.Table) -> None:
    """Raise Wrong unless the joined values are right."""
    for field in JOINED:
        mine = found[field].combine_chunks()
        mine = mine if mine.type == TYPES[field] else mine.cast(TYPES[field])
        right = truth[field].combine_chunks()
        if not mine.equals(right):
            at = next((i for i in range(len(right)) if mine[i] != right[i]), -1)
            raise Wrong(f"{name}: {field} of row {at} is {mine[at]}, should be {right[at]}")


def check_same(name: str, found: Any, expected: Any) -> None:
    """Raise Wrong unless both are equal."""
    if found != expected:
        raise Wrong(f"{name}: {str(found)[:200]}, should be {str(expected)[:200]}")


def search_truth(made: BigLog, actor: str, cut: int, limit: int) -> list[int]:
    """The numbers of the newest deletes by an actor, newest first."""
    events = made.events.slice(0, cut)
    fits = pc.and_(pc.equal(events["actor"], actor), pc.equal(events["op"], "delete"))
    return np.flatnonzero(fits.to_numpy())[::-1][:limit].tolist()  # type: ignore[no-any-return]
