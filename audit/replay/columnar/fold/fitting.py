"""Conditions on the columns of a dataset: the answers of `audit.replay.conditions.fits`.

What is kept once in a pool is compared once, however many rows have it.
"""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from audit.replay.columnar.column import VALUE, Data
from audit.replay.columnar.pool import Kind, Pool
from audit.replay.conditions import IS_NOT_NULL, IS_NULL, Condition, Filters, field_of
from audit.replay.masks import Mask, mask_of
from audit.replay.names import KEY_COLUMN

if TYPE_CHECKING:
    from audit.replay.columnar.fold.fast import FastDataset


def fitting(dataset: "FastDataset", filters: Filters) -> Mask:
    """bool[n], the rows that one of the filters fits."""
    found = np.zeros(len(dataset), np.bool_)
    for all_of in filters:
        own = np.ones(len(dataset), np.bool_)
        for condition in all_of:
            own &= _held(dataset, condition)
        found |= own
    return found


def _held(dataset: "FastDataset", condition: Condition) -> Mask:
    if condition.field == KEY_COLUMN:
        return _of_values(pa.array(dataset.keys(), pa.large_string()), condition)
    column = dataset.kept_column(field_of(condition.field))
    there: Mask = column.state == VALUE
    if condition.op in (IS_NULL, IS_NOT_NULL):
        return there if condition.op == IS_NOT_NULL else ~there
    found: Mask = np.zeros(len(there), np.bool_)
    data = column.data[there]
    if column.pool is not None:
        found[there] = _in_pool(column.pool, condition, data)
    elif column.kind is Kind.BOOL:
        found[there] = _of_values(pa.array([False, True]), condition)[data.astype(np.intp)]
    elif column.kind is not Kind.NONE:
        values = pa.array(data)
        if column.kind is Kind.TIME:
            values = values.cast(pa.timestamp("us", "UTC"))
        found[there] = _of_values(values, condition)
    return found


def _in_pool(pool: Pool, condition: Condition, numbers: Data) -> Mask:
    """For each of these numbers whether its value fits; each value is compared once."""
    used = np.zeros(len(pool), np.bool_)
    used[numbers] = True
    kept = np.flatnonzero(used)
    if not len(kept):
        return np.zeros(len(numbers), np.bool_)
    fits = np.zeros(len(pool), np.bool_)
    if pool.kind is Kind.MIXED:
        fits[kept] = [condition.fits(value) for value in pool.gather(kept).tolist()]
    else:
        fits[kept] = _of_values(pool.values.take(pa.array(kept)), condition)
    return fits[numbers]


def _of_values(values: pa.Array, condition: Condition) -> Mask:
    held = mask_of(pa.table({condition.field: values}), ((condition,),))
    if held is None:
        return np.array([condition.fits(value) for value in values.to_pylist()], np.bool_)
    return held
