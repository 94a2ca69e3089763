"""The frame that values are joined to: its keys and times, in pandas, Arrow or Polars.

Keys are spelled as `emit` spells them (5 is "5"). Times are aware datetimes, dates (00:00 UTC) or
texts of either; a column of naive datetimes is refused, since nobody knows which instants it means.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from audit.errors import InvalidInput
from audit.event.normal import key_text
from audit.replay.fold import Row
from audit.replay.names import KEY_COLUMN, output_name
from audit.replay.points import time_of

if TYPE_CHECKING:
    import pandas
    import pyarrow

_US_OF_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NS_OF_US = 1_000
_KINDS = (
    ("pandas", "pandas", "DataFrame"),
    ("arrow", "pyarrow", "Table"),
    ("polars", "polars", "DataFrame"),
)


class Spine(NamedTuple):
    """The keys and times (microseconds) of the rows of a frame; None where there is none."""

    keys: list[str | None]
    times_us: list[int | None]


def kind_of(frame: Any) -> str:
    """pandas, arrow or polars. Raises InvalidInput for anything else."""
    for kind, package, name in _KINDS:
        # Who has such a frame has loaded its library.
        library = sys.modules.get(package)
        if library is not None and isinstance(frame, getattr(library, name, ())):
            return kind
    raise InvalidInput(
        f"a spine is a pandas or Polars DataFrame or an Arrow table, not {type(frame).__name__}"
    )


def spine_of(frame: Any, time: str, key: str | None, now_us: int) -> Spine:
    """The keys and times in a frame. `key` None: its column `entity_key`, else its index.

    Raises InvalidInput for columns that are not there, or hold no keys or times.
    """
    keys, times = _pandas_columns(frame, time, key)
    return Spine(_keys(keys), _times_us(times, time, now_us))


def _pandas_columns(
    frame: Any, time: str, key: str | None
) -> "tuple[Iterable[Any], pandas.Series]":
    """The columns of keys and of times, as pandas has them."""
    kind = kind_of(frame)
    if kind == "polars":
        names = [name for name in (time, key or KEY_COLUMN) if name in frame.columns]
        frame, kind = frame.select(list(dict.fromkeys(names))).to_arrow(), "arrow"
    if kind == "arrow":
        key = KEY_COLUMN if key is None else key
        for name in (time, key):
            if name not in frame.column_names:
                raise _no_column(name, frame.column_names)
        return frame.column(key).to_pylist(), _series_of_arrow(frame.column(time))
    times = _column(frame, time)
    if key is None and KEY_COLUMN in frame.columns:
        key = KEY_COLUMN
    if key is not None:
        return _column(frame, key).tolist(), times
    if type(frame.index).__name__ == "RangeIndex" and frame.index.name is None:
        raise InvalidInput("say with key= which column holds the keys: the index only counts rows")
    return frame.index, times


def _column(frame: Any, name: str) -> "pandas.Series":
    """A column, or a level of the index, by its name."""
    if name in frame.columns:
        found = frame[name]
        if found.ndim != 1:
            raise InvalidInput(f"the spine has two columns {name!r:.80}")
        return found  # type: ignore[no-any-return]
    if name in frame.index.names:
        return frame.index.get_level_values(name).to_series()  # type: ignore[no-any-return]
    raise _no_column(name, [str(column) for column in frame.columns])


def _series_of_arrow(column: "pyarrow.ChunkedArray") -> "pandas.Series":
    import pandas as pd
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        return column.to_pandas()  # type: ignore[no-any-return]
    return pd.Series(column.to_pylist(), dtype=object)


def _no_column(name: str, names: Iterable[str]) -> InvalidInput:
    return InvalidInput(f"the spine has no column {name!r:.80}; it has {', '.join(names):.200}")


def _keys(values: Iterable[Any]) -> list[str | None]:
    known: dict[Any, str | None] = {}
    keys: list[str | None] = []
    for value in values:
        # 1 and True are one key of a dict, and 1 is a key where True is none.
        name = (type(value), value) if value.__hash__ is not None else None
        if name is None or name not in known:
            text = None if _is_missing(value) else key_text(value)
            if name is None:
                keys.append(text)
                continue
            known[name] = text
        keys.append(known[name])
    return keys


def _is_missing(value: Any) -> bool:
    """None, NaN, NaT and pandas.NA; not a list."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def _times_us(column: "pandas.Series", name: str, now_us: int) -> list[int | None]:
    import numpy as np
    import pandas as pd

    if isinstance(column.dtype, pd.DatetimeTZDtype):
        values = column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
        missing = np.isnat(values)
        unit = np.datetime_data(values.dtype)[0]
        numbers = values.astype(np.int64)
        # Entries are recorded in whole microseconds: what is before the next one counts.
        us = numbers // _NS_OF_US if unit == "ns" else numbers * _US_OF_UNIT[unit]
        pairs = zip(us.tolist(), missing.tolist(), strict=True)
        return [None if gone else one for one, gone in pairs]
    if column.dtype.kind == "M":
        raise InvalidInput(
            f"{name!r:.80} holds naive datetimes; say which instants they are, "
            'for example with .dt.tz_localize("UTC")'
        )
    known: dict[Any, int] = {}
    times: list[int | None] = []
    for value in column:
        if _is_missing(value):
            times.append(None)
            continue
        try:
            if value not in known:
                known[value] = time_of(_plain(value), now_us)
        except (InvalidInput, TypeError) as error:
            raise InvalidInput(f"{name!r:.80} holds something that is no time: {error}") from None
        times.append(known[value])
    return times


def _plain(value: Any) -> Any:
    """A pandas timestamp as a datetime, cut to whole microseconds."""
    return value.to_pydatetime(warn=False) if hasattr(value, "to_pydatetime") else value


class Values(Protocol):
    """What is known for each row of a spine; a row may have no values at all."""

    def frame(self, columns: Sequence[str]) -> "pandas.DataFrame":
        """These fields as columns of a frame, called as `output_name` says."""
        ...

    def table(self, columns: Sequence[str]) -> "pyarrow.Table":
        """These fields as columns of an Arrow table, called the same."""
        ...


class RowValues:
    """Values out of rows."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """One row for each row of the spine; {} where nothing is known."""
        self._rows = rows

    def frame(self, columns: Sequence[str]) -> "pandas.DataFrame":
        """See `Values`."""
        from audit.replay.frame import build_frame

        return build_frame((("", row) for row in self._rows), columns, {})

    def table(self, columns: Sequence[str]) -> "pyarrow.Table":
        """See `Values`."""
        from audit.replay.rows_out import build_table

        return build_table([("", row) for row in self._rows], columns, None)


def with_columns(frame: Any, values: Values, columns: Sequence[str], named: Sequence[str]) -> Any:
    """The frame with these fields as further columns, called as `named` says, in its own kind.

    Raises InvalidInput where the frame has a column of such a name already.
    """
    kind = kind_of(frame)
    taken = set(frame.column_names if kind == "arrow" else frame.columns)
    for name in named:
        if name in taken:
            raise InvalidInput(
                f"the spine has a column {name!r:.80} already; give the joined ones a prefix= or "
                "a suffix="
            )
    shown = [output_name(field) for field in columns]
    if kind == "pandas":
        return _with_pandas(frame, values.frame(columns)[shown], named)
    table = values.table(columns).select(shown)
    if kind == "arrow":
        for name, column in zip(named, table.columns, strict=True):
            frame = frame.append_column(name, column)
        return frame
    import polars

    return frame.hstack(polars.from_arrow(table.rename_columns(list(named)))) if named else frame


def _with_pandas(
    frame: "pandas.DataFrame", joined: "pandas.DataFrame", named: Sequence[str]
) -> "pandas.DataFrame":
    import pandas as pd

    joined.columns = pd.Index(named, dtype=object)
    joined.index = frame.index
    found = pd.concat([frame, joined], axis=1)
    found.attrs = dict(frame.attrs)
    return found
