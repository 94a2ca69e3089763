"""What changed between two points as one table: a line for each row that differs.

Columns: `entity_key`; `change` (added, removed or changed); `fields`, the names of those that
differ; then for each field that any of these rows has `<field>_before` and `<field>_after`, in the
types of a replay. Null and absent look alike in most of them: `fields` says where they differ.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from audit.replay.citation import cite
from audit.replay.diff import compared, diff
from audit.replay.names import KEY_COLUMN, output_name
from audit.replay.outputs import Format, output
from audit.replay.points import Cut
from audit.replay.row_change import RowChange
from audit.replay.rows import Row
from audit.store.contract import Reader

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from audit.replay.columnar.column import Column
    from audit.replay.columnar.fold.differ import Differing

CHANGE = "change"
FIELDS = "fields"
BEFORE = "_before"
AFTER = "_after"


class ChangedRows:
    """The rows that differ, as `audit.replay.outputs` gives them out."""

    def __init__(self, entity_type: str, found: "Differing | Iterable[RowChange]") -> None:
        """From the read model, or row by row."""
        self.entity_type = entity_type
        self._found = _Rows(found) if isinstance(found, Iterable) else _Columns(found)

    def frame(self, citation: Mapping[str, Any]) -> "pd.DataFrame":
        """A pandas data frame, the key its index; `fields` are tuples of names."""
        import numpy as np

        found = self._found
        frame = found.frame(citation)[_columns_of(found.names)]
        frame.insert(0, CHANGE, np.array(found.kinds(), dtype=object))
        fields = np.empty(len(frame), dtype=object)
        fields[:] = found.unlike()
        frame.insert(1, FIELDS, fields)
        return frame

    def arrow(self) -> "pa.Table":
        """An Arrow table, `entity_key` first; `fields` are lists of names."""
        import pyarrow as pa

        found = self._found
        table = found.table()
        shown = table.select([KEY_COLUMN, *_columns_of(found.names)])
        shown = shown.add_column(1, CHANGE, pa.array(found.kinds(), pa.string()))
        return shown.add_column(2, FIELDS, pa.array(found.unlike(), pa.list_(pa.string())))


def _columns_of(names: Iterable[str]) -> list[str]:
    return [output_name(name) + side for name in names for side in (BEFORE, AFTER)]


class _Rows:
    """Out of the rows one by one."""

    def __init__(self, changes: Iterable[RowChange]) -> None:
        self._changes = list(changes)
        held = {name for c in self._changes for name in (*(c.before or ()), *(c.after or ()))}
        self.names = sorted(held, key=output_name)

    def kinds(self) -> list[str]:
        return [change.kind for change in self._changes]

    def unlike(self) -> list[tuple[str, ...]]:
        """The names of the fields that differ in each row."""
        names = {name: output_name(name) for name in self.names}
        return [tuple(sorted(names[name] for name in c.fields)) for c in self._changes]

    def _rows(self) -> Iterator[tuple[str, Row]]:
        for change in self._changes:
            before = {output_name(n) + BEFORE: v for n, v in (change.before or {}).items()}
            after = {output_name(n) + AFTER: v for n, v in (change.after or {}).items()}
            yield change.entity_key, {**before, **after}

    def frame(self, citation: Mapping[str, Any]) -> "pd.DataFrame":
        from audit.replay.frame import build_frame

        return build_frame(self._rows(), _columns_of(self.names), citation)

    def table(self) -> "pa.Table":
        from audit.replay.rows_out import build_table

        return build_table(self._rows(), _columns_of(self.names))


class _Columns:
    """Out of columns: no Python value is made but for what has no type of its own."""

    def __init__(self, found: "Differing") -> None:
        self._found = found
        self._pairs = sorted(found.fields, key=lambda pair: output_name(pair.name))
        self.names = [pair.name for pair in self._pairs]

    def kinds(self) -> list[str]:
        import numpy as np

        there = self._found.old_there + 2 * self._found.new_there.astype(np.intp)
        words = np.array(["", "removed", "added", "changed"], dtype=object)
        kinds: list[str] = words[there].tolist()
        return kinds

    def unlike(self) -> list[tuple[str, ...]]:
        return self._found.unlike([(p.differs, output_name(p.name)) for p in self._pairs])

    def _columns(self) -> "Sequence[tuple[str, Column]]":
        return [
            (output_name(pair.name) + side, column._replace(data=column.data.copy()))
            for pair in self._pairs
            for side, column in ((BEFORE, pair.old), (AFTER, pair.new))
        ]

    def frame(self, citation: Mapping[str, Any]) -> "pd.DataFrame":
        from audit.replay.columnar.fold.frames import frame_of

        return frame_of(self._found.keys, self._columns(), citation)

    def table(self) -> "pa.Table":
        from audit.replay.columnar.fold.frames import table_of

        return table_of(self._found.keys, self._columns())


def diff_frame(
    reader: Reader,
    entity_type: str,
    a: Cut,
    b: Cut,
    valid_at_us: int | None = None,
    format: Format = "pandas",
) -> Any:
    """The rows of a dataset that differ between two cuts, in a form of `outputs.FORMATS`.

    It cites b, and a under `from`. Raises NotFound for an unknown entity type, InvalidInput.
    """
    held = compared(reader, entity_type, a, b, valid_at_us, valid_at_us).differences
    found = ChangedRows(
        entity_type,
        diff(reader, entity_type, a, b, valid_at_us, valid_at_us) if held is None else held.whole(),
    )
    said = [cite(reader, cut, valid_at_us).to_dict() for cut in (a, b)]
    return output(found, {"entity": entity_type, **said[1], "from": said[0]}, format)
