"""Replayed rows in the forms that analysts work with: pandas, Arrow, Polars, DuckDB.

The Arrow table is the one that the others get, without a copy where they can do so. It carries the
citation as JSON in its schema's metadata under `audit`; a pandas frame in `attrs["audit"]`, a
DuckDB view as its comment. A Polars frame has no place for it.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

from audit.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    import duckdb
    import pandas
    import polars
    import pyarrow

METADATA_KEY = "audit"
"""Where the citation is in the metadata of an Arrow schema."""
MAX_SHARED_DECIMAL_DIGITS = 38
"""Widest decimal of Polars and DuckDB; a wider column is given to them as text."""

Format = Literal["pandas", "arrow", "polars", "duckdb"]
FORMATS: tuple[Format, ...] = ("pandas", "arrow", "polars", "duckdb")


class Rows(Protocol):
    """What can be given out: see `audit.replay.select.Selected`."""

    entity_type: str

    def frame(self, citation: dict[str, Any]) -> "pandas.DataFrame":
        """A pandas data frame."""
        ...

    def arrow(self) -> "pyarrow.Table":
        """An Arrow table."""
        ...


def to_pandas(found: Rows, citation: Mapping[str, Any]) -> "pandas.DataFrame":
    """A pandas data frame with the key as index; `attrs["audit"]` is the citation."""
    return found.frame(dict(citation))


def to_arrow(found: Rows, citation: Mapping[str, Any]) -> "pyarrow.Table":
    """An Arrow table with the key as first column; its schema's metadata hold the citation."""
    table = found.arrow()
    held = table.schema.metadata or {}
    return table.replace_schema_metadata({**held, METADATA_KEY: json.dumps(citation)})


def to_polars(found: Rows, citation: Mapping[str, Any]) -> "polars.DataFrame":
    """A Polars frame over the memory of the Arrow table. Raises Unavailable without Polars."""
    try:
        import polars
    except ImportError:
        raise _missing("Polars", "polars") from None
    frame = polars.from_arrow(_shared(to_arrow(found, citation)))
    assert isinstance(frame, polars.DataFrame)  # of a table it makes no series
    return frame


def to_duckdb(
    found: Rows,
    citation: Mapping[str, Any],
    connection: "duckdb.DuckDBPyConnection | None" = None,
    name: str | None = None,
) -> "duckdb.DuckDBPyRelation":
    """A DuckDB relation that reads the Arrow table where it is. Raises Unavailable without DuckDB.

    It is a view as well, called `name` (default the dataset's), in the connection that is given or
    else in a new one in memory; the view's comment is the citation.
    """
    try:
        import duckdb
    except ImportError:
        raise _missing("DuckDB", "sql") from None
    name = found.entity_type if name is None else name
    connection = duckdb.connect() if connection is None else connection
    quoted = '"' + name.replace('"', '""') + '"'
    comment = json.dumps(citation).replace("'", "''")
    try:
        connection.register(name, _shared(to_arrow(found, citation)))
        connection.execute(f"COMMENT ON VIEW {quoted} IS '{comment}'")
        return connection.sql(f"SELECT * FROM {quoted}")
    except duckdb.Error as error:
        raise InvalidInput(f"DuckDB does not take a view {name!r:.80}: {error!s:.200}") from None


def output(found: Rows, citation: Mapping[str, Any], format: Format) -> Any:
    """The rows in a form of FORMATS. Raises InvalidInput for another."""
    forms = {
        "pandas": to_pandas,
        "arrow": to_arrow,
        "polars": to_polars,
        "duckdb": to_duckdb,
    }
    if format not in forms:
        raise InvalidInput(f"formats are {', '.join(FORMATS)}, not {format!r:.40}")
    return forms[format](found, citation)


def _shared(table: "pyarrow.Table") -> "pyarrow.Table":
    """The table in types that every library has: decimals of more than 38 digits as text."""
    import pyarrow as pa

    for at, field in enumerate(table.schema):
        wide = pa.types.is_decimal(field.type) and field.type.precision > MAX_SHARED_DECIMAL_DIGITS
        if wide:
            texts = pa.array([None if v is None else str(v) for v in table.column(at).to_pylist()])
            said = pa.field(field.name, pa.string(), metadata={"audit.encoding": "decimal"})
            table = table.set_column(at, said, texts.cast(pa.string()))
    return table


def _missing(library: str, extra: str) -> Unavailable:
    return Unavailable(f"{library} is not installed: pip install 'attestory[{extra}]'")
