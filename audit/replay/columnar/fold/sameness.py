"""Which cells of two columns differ: `audit.replay.rows.same_value`, for whole columns."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audit.replay.columnar.column import VALUE, Column
from audit.replay.columnar.pool import Kind, Objects, Pool
from audit.replay.columnar.scatter import Ints
from audit.replay.rows import same_value

Bools = npt.NDArray[np.bool_]


def different(old: Column, new: Column) -> Bools:
    """bool[n]: whether the cells of a row, n in each column, are another value or state."""
    out: Bools = old.state != new.state
    both = (old.state == VALUE) & (new.state == VALUE)
    if both.all():
        return _other_values(old, new) if len(both) else out
    rows = np.flatnonzero(both)
    if len(rows):
        out[rows] = _other_values(old.take(rows), new.take(rows))
    return out


def _other_values(old: Column, new: Column) -> Bools:
    """The same for columns that have a value in every row."""
    if old.kind is not new.kind:
        if Kind.MIXED not in (old.kind, new.kind):
            return np.ones(len(old.data), np.bool_)
        old, new = old.spelled(), new.spelled()
    if old.pool is not None and new.pool is not None:
        return _other_in_pools(old.data, old.pool, new.data, new.pool)
    out: Bools = old.data != new.data
    if old.kind is Kind.DOUBLE:
        # 0.0 and -0.0 differ, and no number equals NaN but NaN.
        out |= np.signbit(old.data) != np.signbit(new.data)
        out &= ~(np.isnan(old.data) & np.isnan(new.data))
    return out


def _other_in_pools(old: Ints, old_pool: Pool, new: Ints, new_pool: Pool) -> Bools:
    out = np.ones(len(old), np.bool_)
    if old_pool is new_pool:
        out = old != new
    rows = np.flatnonzero(out)
    left = old_pool.values.take(pa.array(old[rows]))
    right = new_pool.values.take(pa.array(new[rows]))
    other = pc.not_equal(left, right).to_numpy(zero_copy_only=False)
    out[rows] = other
    if old_pool.kind is Kind.MIXED and other.any():
        # What is spelled otherwise may still be the same: NaN, the order of a dict's names.
        unlike = np.flatnonzero(other)
        pairs = zip(_values(left, unlike), _values(right, unlike), strict=True)
        out[rows[unlike]] = [not same_value(one, two) for one, two in pairs]
    return out


def _values(spelled: "pa.Array", at: Ints) -> Objects:
    return Pool(Kind.MIXED, [spelled.take(pa.array(at))]).objects()
