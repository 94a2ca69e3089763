"""A snapshot as named Arrow arrays, and back."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from audit.replay.columnar.column import ABSENT, DTYPES, VALUE, Column
from audit.replay.columnar.fold.state import LogState, Told
from audit.replay.columnar.kept.checked import are_times, are_values, is_count, is_text, within
from audit.replay.columnar.parts import KeyBook
from audit.replay.columnar.pool import POOLED, Kind, Pool

FORMAT = 1


def to_arrays(state: LogState) -> dict[str, "pa.Array"]:
    """A snapshot as named Arrow arrays."""
    told = state.told
    names = sorted(state.columns)
    about = {
        "format": FORMAT,
        **told._asdict(),
        "fields": sorted(told.fields),
        "careful": sorted(told.careful),
        "columns": [[name, int(state.columns[name].kind)] for name in names],
    }
    arrays = {"about": pa.array([json.dumps(about)]), "codes": pa.array(state.codes)}
    for number, name in enumerate(names):
        column = state.columns[name]
        data = column.data.view(np.uint8) if column.kind is Kind.BOOL else column.data
        arrays[f"data{number}"] = pa.array(data)
        arrays[f"state{number}"] = pa.array(column.state)
        if column.pool is not None:
            arrays[f"pool{number}"] = column.pool.values
    return arrays


def from_arrays(
    log: int, size: int, arrays: Mapping[str, "pa.Array"], book: KeyBook
) -> LogState | None:
    """The snapshot in named arrays; None where they are not what `to_arrays` makes.

    `book`: the keys that its codes stand for.
    """
    try:
        _require(arrays["about"].type == pa.string())
        about = json.loads(arrays["about"][0].as_py())
        told = _told(about, size)
        codes = arrays["codes"].to_numpy()
        rank = np.empty(len(book.order), np.int32)
        rank[book.order] = np.arange(len(rank), dtype=np.int32)
        _require(codes.dtype == np.int32 and told.keys <= len(rank))
        _require(within(codes, 0, told.keys) and bool((np.diff(rank[codes]) > 0).all()))
        columns = {}
        for number, (name, kind) in enumerate(about["columns"]):
            _require(name in told.fields)
            columns[name] = _column(arrays, number, Kind(kind), len(codes))
    except (LookupError, ValueError, TypeError, RecursionError, pa.ArrowException):
        return None
    return LogState(log, size, told, codes, columns)


def _told(about: dict[str, Any], size: int) -> Told:
    """What a snapshot tells beside its rows. Raises ValueError, KeyError, TypeError."""
    events, keys, valid_to_us = about["events"], about["keys"], about["valid_to_us"]
    fields, careful, unread = about["fields"], about["careful"], about["unread"]
    plain, in_order = about["plain"], about["in_order"]
    _require(about["format"] == FORMAT and type(plain) is bool and type(in_order) is bool)
    _require(is_count(events) and is_count(keys) and type(valid_to_us) is int)
    _require(all(map(is_text, fields)))
    _require(all(is_count(code) and code < keys for code in careful))
    _require(all(is_count(index) and index < size for index in unread))
    told = frozenset(fields), frozenset(careful), tuple(unread)
    return Told(events, keys, *told, plain, valid_to_us, in_order)


def _column(arrays: Mapping[str, "pa.Array"], number: int, kind: Kind, count: int) -> Column:
    data = arrays[f"data{number}"].to_numpy()
    state = arrays[f"state{number}"].to_numpy()
    _require(len(data) == count and len(state) == count)
    _require(state.dtype == np.uint8 and within(state, ABSENT, VALUE + 1))
    there = state == VALUE
    if kind is Kind.BOOL:
        _require(data.dtype == np.uint8 and within(data, 0, 2))
        data = data.view(np.bool_)
    _require(data.dtype == DTYPES[kind])
    if kind is Kind.TIME:
        _require(are_times(data[there]))
    pool = None
    if kind in POOLED:
        values = arrays[f"pool{number}"]
        _require(values.type == POOLED[kind] and not values.null_count and are_values(values))
        _require(within(data[there], 0, len(values)))
        pool = Pool(kind, [values])
    return Column(kind, data, state, pool)


def _require(right: bool) -> None:
    """The digest fits: nobody but a forger can have written what is refused here."""
    if not right:
        raise ValueError
