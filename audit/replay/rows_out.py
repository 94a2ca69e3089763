"""Rows -> JSONL, CSV and Parquet, as `audit replay --format` writes them.

JSONL: one object a line, `entity_key` first, then the fields by name; an absent field is absent,
null is null; values in the spelling of `audit.event.values`. CSV: `entity_key` first; an unquoted
empty cell is null or absent, a quoted one the empty string, which is how `audit import` reads them.
Parquet: each column in the type of its values; null and absent are both null; what Parquet has no
exact type for - several types in one column, nested values, decimals of different scale - is
spelled as JSON text, and the column's metadata says so (`audit.encoding` = `json`).
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from audit.event.times import format_time, us_of_time
from audit.event.values import Value, dumps, fields_to_json
from audit.replay.fold import Row
from audit.replay.names import KEY_COLUMN, output_name

if TYPE_CHECKING:
    import pyarrow

Rows = Iterable[tuple[str, Row]]
ROWS_PER_GROUP = 20_000
"""Rows of one Parquet row group: what is held in memory while writing."""
MAX_DECIMAL_DIGITS = 76
"""Widest decimal that Parquet and Arrow have (decimal256)."""

_LINE_ENDS = {"\u0085": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_QUOTE_IF = frozenset(',"\r\n')


def row_to_json(key: str, row: Row) -> dict[str, Any]:
    """The object of a JSONL line."""
    shown: dict[str, Any] = {KEY_COLUMN: key}
    spelled = fields_to_json({output_name(name): value for name, value in row.items()})
    shown.update((name, spelled[name]) for name in sorted(spelled))
    return shown


def json_row(key: str, row: Row) -> str:
    """One JSONL line without its line end.

    No character in it is a line end to anybody: U+0085, U+2028 and U+2029 are escaped.
    """
    text = json.dumps(row_to_json(key, row), ensure_ascii=False, allow_nan=False)
    for character, escape in _LINE_ENDS.items():
        if character in text:
            text = text.replace(character, escape)
    return text


def write_jsonl(rows: Rows, out: TextIO) -> int:
    """Write rows as JSONL, one at a time; returns how many."""
    count = 0
    for key, row in rows:
        out.write(json_row(key, row) + "\n")
        count += 1
    return count


def write_csv(rows: Rows, columns: Sequence[str], out: TextIO) -> int:
    """Write a header line and the rows with these fields, one at a time; returns how many rows."""
    named = sorted((output_name(name), name) for name in columns)
    out.write(",".join([KEY_COLUMN, *(_quoted(shown) for shown, _ in named)]) + "\n")
    count = 0
    for key, row in rows:
        cells = [_quoted(key)]
        cells.extend(_cell(row.get(name)) for _, name in named)
        out.write(",".join(cells) + "\n")
        count += 1
    return count


def _cell(value: Value) -> str:
    return "" if value is None else _quoted(plain_text(value))


def _quoted(text: str) -> str:
    plain = text and _QUOTE_IF.isdisjoint(text) and text == text.strip()
    return text if plain else '"' + text.replace('"', '""') + '"'


def plain_text(value: Value) -> str:
    """A value as text for people and CSV: strings as they are, the rest in one obvious spelling."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _double(value)
    if isinstance(value, datetime):
        return format_time(us_of_time(value))
    if isinstance(value, int | Decimal | date):
        return str(value)
    return dumps(value)


def _double(value: float) -> str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def write_parquet(
    rows: Callable[[], Rows],
    columns: Sequence[str],
    out: BinaryIO,
    metadata: Mapping[str, Any] | None = None,
) -> int:
    """Write rows as Parquet in groups of ROWS_PER_GROUP; returns how many rows.

    `rows` is called twice, and must give the same: first to find the types, then to write.
    `metadata` (plain values, the citation) is kept as JSON in the file's metadata under `audit`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    named = sorted((output_name(name), name) for name in columns)
    kinds = _kinds(rows(), columns)
    fields = [pa.field(KEY_COLUMN, pa.string(), nullable=False)]
    fields.extend(_field(shown, kinds[name]) for shown, name in named)
    schema = pa.schema(fields)
    if metadata is not None:
        schema = schema.with_metadata({"audit": json.dumps(metadata)})
    count = 0
    with pq.ParquetWriter(out, schema) as writer:
        for group in _groups(rows()):
            count += len(group)
            arrays = [pa.array([key for key, _ in group], pa.string())]
            for (_, name), field in zip(named, fields[1:], strict=True):
                cells = [row.get(name) for _, row in group]
                arrays.append(_arrow(cells, field))
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return count


def build_table(
    rows: Rows, columns: Sequence[str], keys_called: str | None = KEY_COLUMN
) -> "pyarrow.Table":
    """The rows as one Arrow table: the columns of `write_parquet`, `entity_key` first.

    `keys_called`: the name of the column of keys; None leaves it out.
    """
    import pyarrow as pa

    held = list(rows)
    named = sorted((output_name(name), name) for name in columns)
    kinds = _kinds(held, columns)
    fields = [_field(shown, kinds[name]) for shown, name in named]
    arrays = [
        _arrow([row.get(name) for _, row in held], field)
        for (_, name), field in zip(named, fields, strict=True)
    ]
    if keys_called is not None:
        fields.insert(0, pa.field(keys_called, pa.string(), nullable=False))
        arrays.insert(0, pa.array([key for key, _ in held], pa.string()))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


class _Kinds:
    """What a column holds: its types, and for decimals the scales and the digits before them."""

    def __init__(self) -> None:
        self.types: set[type] = set()
        self.scales: set[int] = set()
        self.whole_digits = 0

    def add(self, value: Value) -> None:
        """Take one value into account."""
        self.types.add(type(value))
        if isinstance(value, Decimal):
            _, digits, exponent = value.as_tuple()
            scale = -exponent if isinstance(exponent, int) else -1
            self.scales.add(scale)
            self.whole_digits = max(self.whole_digits, len(digits) - scale)


def _kinds(rows: Rows, columns: Sequence[str]) -> dict[str, _Kinds]:
    kinds = {name: _Kinds() for name in columns}
    for _, row in rows:
        for name, value in row.items():
            if value is not None and name in kinds:
                kinds[name].add(value)
    return kinds


def _field(name: str, kinds: _Kinds) -> "pyarrow.Field":
    import pyarrow as pa

    exact: dict[type, pyarrow.DataType] = {
        bool: pa.bool_(),
        int: pa.int64(),
        float: pa.float64(),
        str: pa.string(),
        bytes: pa.binary(),
        date: pa.date32(),
        datetime: pa.timestamp("us", "UTC"),
    }
    if not kinds.types:
        return pa.field(name, pa.string())
    if len(kinds.types) == 1:
        kind = next(iter(kinds.types))
        if kind in exact:
            return pa.field(name, exact[kind])
        if kind is Decimal and len(kinds.scales) == 1:
            scale = next(iter(kinds.scales))
            digits = max(1, scale, scale + max(0, kinds.whole_digits))
            if scale >= 0 and digits <= MAX_DECIMAL_DIGITS:
                wide = pa.decimal128 if digits <= 38 else pa.decimal256
                return pa.field(name, wide(digits, scale))
    return pa.field(name, pa.string(), metadata={"audit.encoding": "json"})


def _arrow(cells: list[Value], field: "pyarrow.Field") -> "pyarrow.Array":
    import pyarrow as pa

    if field.metadata and field.metadata.get(b"audit.encoding") == b"json":
        cells = [None if cell is None else dumps(cell) for cell in cells]
    return pa.array(cells, field.type)


def _groups(rows: Rows) -> Iterator[list[tuple[str, Row]]]:
    group: list[tuple[str, Row]] = []
    for pair in rows:
        group.append(pair)
        if len(group) == ROWS_PER_GROUP:
            yield group
            group = []
    if group:
        yield group
