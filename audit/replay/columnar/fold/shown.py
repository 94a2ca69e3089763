"""Columns without keys, as they join a frame or a table: see `audit.replay.spine.Values`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from audit.replay.columnar.column import Column
from audit.replay.columnar.fold.frames import frame_of, table_of
from audit.replay.names import KEY_COLUMN

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class ColumnValues:
    """`count` rows, whose fields are made when they are asked for."""

    def __init__(self, count: int, column: Callable[[str], Column]) -> None:
        """`column` makes the cells of a field, `count` of them, anew at each call."""
        self._keys = np.full(count, "", np.object_)
        self._column = column

    def frame(self, columns: Sequence[str]) -> "pd.DataFrame":
        """A frame of these fields."""
        return frame_of(self._keys, [(name, self._column(name)) for name in columns], {})

    def table(self, columns: Sequence[str]) -> "pa.Table":
        """An Arrow table of these fields."""
        made = table_of(self._keys, [(name, self._column(name)) for name in columns])
        return made.drop_columns([KEY_COLUMN])
