"""What the triggers were made for, kept beside them: to find drift, and to install again alike."""

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Column as SqlColumn
from sqlalchemy import Connection, MetaData, Table, Text, delete, insert, inspect, select

from audit.capture.database.captured import Captured
from audit.errors import InvalidInput

STATE = "attestory_triggers"
MAX_STATE_CHARS = 2_000_000
_OPTIONS = ""
"""Stands where a table's name stands, for what `install` was told."""


class Options(NamedTuple):
    """What to capture: `tables` are names or names with entity types, None: all."""

    tables: dict[str, str] | None = None
    exclude: tuple[str, ...] = ()
    leave_out: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class Known(NamedTuple):
    """A table as it was when its triggers were made; `types`: of all columns, as the database says.

    `parts`: the names of its partitions.
    """

    captured: Captured
    types: dict[str, str]
    parts: tuple[str, ...] = ()


def options_of(
    tables: Iterable[str] | Mapping[str, str] | None,
    exclude: Iterable[str],
    leave_out: Mapping[str, Iterable[str]] | None,
) -> Options:
    """The options as they are kept."""
    if isinstance(tables, str):
        tables = (tables,)
    named = tables if tables is None or isinstance(tables, Mapping) else {n: n for n in tables}
    return Options(
        None if named is None else dict(named),
        tuple(sorted({exclude} if isinstance(exclude, str) else set(exclude))),
        {table: tuple(names) for table, names in (leave_out or {}).items()},
    )


def _table(schema: str | None) -> Table:
    return Table(
        STATE,
        MetaData(schema=schema),
        SqlColumn("table_name", Text, primary_key=True),
        SqlColumn("captured", Text, nullable=False),
    )


def make(connection: Connection, schema: str | None) -> None:
    """Make the table where it is missing."""
    _table(schema).create(connection, checkfirst=True)


def exists(connection: Connection, schema: str | None) -> bool:
    """True when triggers were ever installed here."""
    return inspect(connection).has_table(STATE, schema)


def load(connection: Connection, schema: str | None) -> tuple[Options | None, dict[str, Known]]:
    """What was kept. Raises InvalidInput when it is not what this module writes."""
    if not exists(connection, schema):
        return None, {}
    options, known = None, {}
    for name, text in connection.execute(select(_table(schema))):
        try:
            if len(text) > MAX_STATE_CHARS:
                raise ValueError
            found = json.loads(text)
            if name == _OPTIONS:
                options = options_of(found["tables"], found["exclude"], found["leave_out"])
            else:
                key, columns = tuple(map(str, found["key"])), tuple(map(str, found["columns"]))
                captured = Captured(schema, name, str(found["entity_type"]), key, columns)
                types = {str(k): str(v) for k, v in found["types"].items()}
                known[name] = Known(captured, types, tuple(map(str, found["parts"])))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise InvalidInput(
                f"{STATE} holds for {str(name)[:64]!r} what is not ours: delete that row and "
                "install again"
            ) from None
    return options, known


def save(connection: Connection, schema: str | None, known: Known) -> None:
    """Keep a table's state."""
    kept = known.captured._asdict() | {"types": known.types, "parts": known.parts}
    _put(connection, schema, known.captured.table, kept)


def save_options(connection: Connection, schema: str | None, options: Options) -> None:
    """Keep what was told."""
    kept = options._asdict() | {"leave_out": dict(options.leave_out)}
    _put(connection, schema, _OPTIONS, kept)


def _put(connection: Connection, schema: str | None, name: str, kept: dict[str, Any]) -> None:
    forget(connection, schema, name)
    row = {"table_name": name, "captured": json.dumps(kept)}
    connection.execute(insert(_table(schema)), row)


def forget(connection: Connection, schema: str | None, name: str = _OPTIONS) -> None:
    """Keep nothing of a table any more; without a name: nothing of what was told."""
    table = _table(schema)
    connection.execute(delete(table).where(table.c.table_name == name))
