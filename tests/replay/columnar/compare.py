"""Fast against plain: everything that an answer about a dataset says."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from audit.replay.asof import Dataset
from audit.replay.columnar.fold import spans, tail
from audit.replay.columnar.fold.fast import FastDataset, FastReplay
from audit.replay.conditions import fits, parse_filters
from audit.replay.frame import build_frame
from audit.replay.names import KEY_COLUMN, output_name
from audit.replay.points import Cut
from audit.replay.rows import same_value
from audit.replay.rows_out import build_table
from audit.replay.steps import Steps
from audit.store.contract import Reader

ROWS = 1_000
GONE = object()


def same_answers(
    reader: Reader, fast: FastReplay, entity: str, cut: Cut, valid_us: int | None
) -> FastDataset | None:
    """Compare the two; gives the fast one, or None where it left the answer to the plain one."""
    plain = Dataset(Steps(reader, entity, cut), valid_us, ROWS)
    found = fast.dataset(Steps(reader, entity, cut), valid_us)
    if found is None:
        return None
    assert found.events == plain.events
    assert found.undecodable == plain.undecodable
    assert found.columns == plain.columns
    same_rows(list(found.rows()), list(plain.rows()))
    rows = list(plain.rows())
    same_pages(found, rows)
    for one in (found, fast.dataset(Steps(reader, entity, cut), valid_us)):
        assert one is not None
        same_conditions(one, rows)
    same_frames(found.frame({"x": 1}), build_frame(plain.rows(), plain.columns, {"x": 1}))
    same_tables(found.arrow(), build_table(plain.rows(), plain.columns))
    return found


def same_pages(found: FastDataset, rows: list[Any]) -> None:
    """Some of the rows, made without the others, whichever way their events are found."""
    for places in (range(0, len(rows), 2), range(len(rows) // 3, len(rows)), range(0)):
        for few in (0, spans.FEW_EVENTS):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(spans, "FEW_EVENTS", few)
                patch.setattr(tail, "FEW", few)
                some = found.folded.some(np.array(places, np.intp))
                columns = [some.column(name) for name in found.columns]
            cells = [column.objects(None, GONE).tolist() for column in columns]
            keys = some.keys().to_pylist()
            made = [
                (key, {n: v for n, v in zip(found.columns, row, strict=True) if v is not GONE})
                for key, *row in zip(keys, *cells, strict=True)
            ]
            same_rows(made, [rows[place] for place in places])


def same_conditions(found: FastDataset, rows: list[Any]) -> None:
    """Conditions on columns fit the rows that they fit one by one."""
    asked: list[Any] = [[(KEY_COLUMN, ">=", key)] for key, _ in rows[1:2]]
    for name in found.columns:
        shown = output_name(name)
        asked += [[(shown, "is null")], [(shown, "is not null")]]
        held = [row[name] for _, row in rows if row.get(name) is not None]
        for value in (one for one in held[:2] if not isinstance(one, list | dict)):
            asked += [[(shown, op, value)] for op in ("==", "!=", "<", ">=")]
            asked.append([[(shown, ">", value)], [(KEY_COLUMN, "!=", rows[0][0])]])
    for given in asked:
        filters = parse_filters(given)
        expected = [fits(filters, key, row) for key, row in rows]
        assert found.fitting(filters).tolist() == expected, given


def same_rows(left: list[Any], right: list[Any]) -> None:
    """The same keys in the same order, with rows that are stored alike."""
    assert [key for key, _ in left] == [key for key, _ in right]
    for (key, one), (_, other) in zip(left, right, strict=True):
        assert same_value(one, other), (key, one, other)
        assert list(one) == list(other), (key, one, other)


def same_tables(left: pa.Table, right: pa.Table) -> None:
    """The same schema with its metadata, and the same values."""
    assert left.schema.equals(right.schema, check_metadata=True), (left.schema, right.schema)
    assert same_value(left.to_pylist(), right.to_pylist())


def same_frames(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """The same types, index, columns, attrs, and in every cell the same object or an equal one."""
    assert left.attrs == right.attrs
    assert list(left.index) == list(right.index)
    assert left.index.dtype == right.index.dtype
    assert left.index.name == right.index.name
    assert list(left.columns) == list(right.columns)
    assert left.columns.dtype == right.columns.dtype
    assert list(left.dtypes) == list(right.dtypes)
    for name in left.columns:
        one, other = left[name].array, right[name].array
        for a, b in zip(one, other, strict=True):
            assert a is b or (type(a) is type(b) and (same_value(a, b) or a == b)), (name, a, b)
        assert (left[name].isna() == right[name].isna()).all()
