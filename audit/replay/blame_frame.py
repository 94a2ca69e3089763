"""Who gave each cell its value, as a data frame."""

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from audit.replay.blame import Cell, blame_cells
from audit.replay.columns import Naming
from audit.replay.fastpath import fast_blamed
from audit.replay.frame import ATTRS_KEY
from audit.replay.known import require_dataset
from audit.replay.names import KEY_COLUMN
from audit.replay.points import Cut
from audit.replay.steps import Steps
from audit.store.contract import Reader

if TYPE_CHECKING:
    from audit.replay.columnar.fold.blamed import Blamed

MAX_SINGLE_KEYS = 200
"""Up to so many keys are read each on its own."""

_TEXTS = ("op", "actor", "reason", "event_id", "source", "transaction_id")


def blame_dataset(
    reader: Reader,
    entity_type: str,
    cut: Cut,
    valid_at_us: int | None,
    keys: Collection[str] | None,
    citation: Mapping[str, Any],
) -> pd.DataFrame:
    """The cells of a dataset, or of some of its keys: see `blame_frame` and `blame_cells`.

    Raises NotFound for an unknown entity type.
    """
    require_dataset(reader, entity_type)
    found = None
    if keys is None or len(keys) > MAX_SINGLE_KEYS:
        steps = Steps(reader, entity_type, cut, Naming(reader, entity_type, cut))
        found = fast_blamed(steps, valid_at_us, keys)
    if found is None:
        cells = blame_cells(reader, entity_type, cut, valid_at_us, keys)
        return blame_frame(cells, citation)
    cells = iter(())
    if found.careful:
        cells = blame_cells(reader, entity_type, cut, valid_at_us, found.careful)
    return _frame_of_columns(found, list(cells), citation)


def blame_frame(cells: Iterable[Cell], citation: Mapping[str, Any]) -> pd.DataFrame:
    """A line for each cell: entity_key, field, value, log, index, recorded_time, valid_time, op,
    actor, reason, event_id, source, transaction_id.

    Value and texts are of dtype object (None where there is none), times datetime64[us, UTC], log
    and index int64. `attrs["audit"]` is the citation.
    """
    held = list(cells)
    said = [cell.blamed.said for cell in held]
    return _frame(
        {
            KEY_COLUMN: _objects([cell.entity_key for cell in held]),
            "field": _objects([cell.blamed.field for cell in held]),
            "value": _objects([cell.blamed.value for cell in held]),
            "log": np.array([one.log for one in said], dtype="int64"),
            "index": np.array([one.index for one in said], dtype="int64"),
            "recorded_time": np.array([one.recorded_time_us for one in said], dtype="int64"),
            "valid_time": np.array([one.valid_time_us for one in said], dtype="int64"),
            **{name: _objects([getattr(one, name) for one in said]) for name in _TEXTS},
        },
        citation,
    )


def _frame_of_columns(
    found: "Blamed", cells: list[Cell], citation: Mapping[str, Any]
) -> pd.DataFrame:
    """The same from the read model, with the cells of keys that were folded plainly."""
    from audit.replay.columnar.fold.said import joined, said_rows

    said = joined([found.said, said_rows([cell.blamed.said for cell in cells])])
    number = {name: at for at, name in enumerate(found.names)}
    for cell in cells:
        number.setdefault(cell.blamed.field, len(number))
    names = sorted(number)
    # Fields that only a schema recorded later made known stand between the others.
    place = np.empty(len(number), np.intp)
    for at, name in enumerate(names):
        place[number[name]] = at
    plain = np.array([number[cell.blamed.field] for cell in cells], np.intp)
    field = place[np.concatenate([found.field, plain])]
    ranks = np.array([found.careful[cell.entity_key] for cell in cells], np.int32)
    order = np.lexsort((field, np.concatenate([found.rank, ranks])))
    later = np.arange(len(found.said.index), len(said.index))
    entry = np.concatenate([found.entry, later])[order]
    keys = np.concatenate([found.key, _array([cell.entity_key for cell in cells])])
    values = np.concatenate([found.value, _array([cell.blamed.value for cell in cells])])
    return _frame(
        {
            KEY_COLUMN: keys[order],
            "field": _array(names)[field[order]],
            "value": values[order],
            "log": said.log[entry],
            "index": said.index[entry],
            "recorded_time": said.recorded_us[entry],
            "valid_time": said.valid_us[entry],
            **{name: said.texts[name][entry] for name in _TEXTS},
        },
        citation,
    )


def _frame(columns: Mapping[str, Any], citation: Mapping[str, Any]) -> pd.DataFrame:
    """The frame; times are microseconds."""
    made = {
        name: _times(values)
        if name.endswith("_time")
        else values
        if values.dtype != object
        else pd.Series(values, dtype=object)
        for name, values in columns.items()
    }
    frame = pd.DataFrame(made)
    frame.attrs[ATTRS_KEY] = dict(citation)
    return frame


def _objects(values: list[Any]) -> "pd.Series[Any]":
    return pd.Series(_array(values), dtype=object)


def _array(values: list[Any]) -> "np.ndarray[Any, Any]":
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _times(times_us: "np.ndarray[Any, Any]") -> pd.DatetimeIndex:
    return pd.DatetimeIndex(times_us.view("datetime64[us]")).tz_localize("UTC")
