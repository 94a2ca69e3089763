"""Who gave each cell its value, as a data frame."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from audit.replay.blame import Cell
from audit.replay.frame import ATTRS_KEY
from audit.replay.names import KEY_COLUMN

_TEXTS = ("op", "actor", "reason", "event_id", "source", "transaction_id")


def blame_frame(cells: Iterable[Cell], citation: Mapping[str, Any]) -> pd.DataFrame:
    """A line for each cell: entity_key, field, value, log, index, recorded_time, valid_time, op,
    actor, reason, event_id, source, transaction_id.

    Value and texts are of dtype object (None where there is none), times datetime64[us, UTC], log
    and index int64. `attrs["audit"]` is the citation.
    """
    held = list(cells)
    said = [cell.blamed.said for cell in held]
    frame = pd.DataFrame(
        {
            KEY_COLUMN: _objects([cell.entity_key for cell in held]),
            "field": _objects([cell.blamed.field for cell in held]),
            "value": _objects([cell.blamed.value for cell in held]),
            "log": np.array([one.log for one in said], dtype="int64"),
            "index": np.array([one.index for one in said], dtype="int64"),
            "recorded_time": _times([one.recorded_time_us for one in said]),
            "valid_time": _times([one.valid_time_us for one in said]),
            **{name: _objects([getattr(one, name) for one in said]) for name in _TEXTS},
        }
    )
    frame.attrs[ATTRS_KEY] = dict(citation)
    return frame


def _objects(values: list[Any]) -> "pd.Series[Any]":
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return pd.Series(array, dtype=object)


def _times(times_us: list[int]) -> pd.DatetimeIndex:
    moments = np.array(times_us, dtype="int64").view("datetime64[us]")
    return pd.DatetimeIndex(moments).tz_localize("UTC")
