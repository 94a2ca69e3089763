"""What is captured of the application's tables: which, under which names, by which keys.

Hooks, triggers, reconcile and change events ask here, so that one row has one key and one set of
fields whichever way its change was seen.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Index, Table, UniqueConstraint, inspect, text
from sqlalchemy.engine import Inspector

from audit.capture.database.connect import POSTGRESQL, dialect_of, reaching
from audit.errors import InvalidInput, LimitExceeded, NotFound
from audit.event.envelope_form import MAX_TYPE_BYTES, NAME
from audit.event.normal import check_name

OWN_PREFIX = "attestory_"
"""How the names of our own tables begin; they are never captured."""
MAX_TABLES = 5_000
MAX_COLUMNS = 1_600
"""PostgreSQL's own limit of a table."""
MAX_NAME_BYTES = 1_024

_PARTITIONS = """
SELECT c.relname FROM pg_class c
WHERE c.relispartition AND c.relnamespace = COALESCE(to_regnamespace(quote_ident(:schema)),
                                                     current_schema()::regnamespace)
"""
_NO_TABLES = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type <> 'table'"


class Captured(NamedTuple):
    """One table. `columns`: all that are kept, key columns included, in the table's order."""

    schema: str | None
    table: str
    entity_type: str
    key: tuple[str, ...]
    columns: tuple[str, ...]


def captured_tables(
    bind: Engine | Connection,
    tables: Iterable[str] | Mapping[str, str] | None = None,
    *,
    exclude: Iterable[str] = (),
    leave_out: Mapping[str, Iterable[str]] | None = None,
    schema: str | None = None,
) -> tuple[Captured, ...]:
    """What is captured of a database, as its catalog says; ordered by name.

    `tables`: their names, or names and the entity types they are recorded as (else the table's
    name); None: all but views, partitions, virtual tables and our own. `leave_out`: for a table the
    columns that are not kept. Raises InvalidInput for a table without a key and for what is not
    there, LimitExceeded, Unavailable.
    """
    dialect_of(bind)
    given, left_out = _names(tables), {k: tuple(v) for k, v in (leave_out or {}).items()}
    skipped = frozenset([exclude] if isinstance(exclude, str) else exclude)
    with reaching(bind):
        seen = inspect(bind)
        present = set(seen.get_table_names(schema))
        for name in (*(given or ()), *skipped):
            if name not in present:
                raise NotFound(f"there is no table {_shown(name)} in this database")
        if given is None:
            given = {name: name for name in _all(bind, present, schema)}
        chosen = {name: given[name] for name in sorted(given) if name not in skipped}
        if len(chosen) > MAX_TABLES:
            raise LimitExceeded(f"{len(chosen)} tables: at most {MAX_TABLES} are captured at once")
        for name in left_out:
            if name not in chosen:
                raise InvalidInput(f"columns of {_shown(name)} are left out: it is not captured")
        return tuple(
            _captured(
                *(schema, name, entity_type, _key(seen, name, schema)),
                *([c["name"] for c in seen.get_columns(name, schema)], left_out.get(name, ())),
            )
            for name, entity_type in chosen.items()
        )


def captured_of(
    table: Table, entity_type: str | None = None, leave_out: Iterable[str] = ()
) -> Captured:
    """The same of a table of a MetaData. Raises InvalidInput, LimitExceeded."""
    key = [column.name for column in table.primary_key.columns]
    if not key:
        foreign = [column.name for column in table.columns if column.foreign_keys]
        unique = [
            {column.name for column in each.columns}
            for each in (*table.constraints, *table.indexes)
            if isinstance(each, UniqueConstraint) or (isinstance(each, Index) and each.unique)
        ]
        if foreign and set(foreign) in unique and not any(table.c[n].nullable for n in foreign):
            key = foreign
    names = [column.name for column in table.columns]
    kept = [leave_out] if isinstance(leave_out, str) else leave_out
    return _captured(
        table.schema, table.name, table.name if entity_type is None else entity_type,
        key, names, kept,
    )  # fmt: skip


def _names(tables: Iterable[str] | Mapping[str, str] | None) -> dict[str, str] | None:
    if tables is None or isinstance(tables, Mapping):
        return None if tables is None else dict(tables)
    return {name: name for name in ([tables] if isinstance(tables, str) else tables)}


def table_names(bind: Engine | Connection, schema: str | None = None) -> list[str]:
    """All tables but views, partitions, virtual tables and our own, by name. Raises Unavailable."""
    with reaching(bind):
        return sorted(_all(bind, set(inspect(bind).get_table_names(schema)), schema))


def _all(bind: Engine | Connection, present: set[str], schema: str | None) -> set[str]:
    """All tables but those that others stand for, and our own."""
    postgresql = dialect_of(bind) == POSTGRESQL
    found = _rows(bind, _PARTITIONS, {"schema": schema}) if postgresql else _rows(bind, _NO_TABLES)
    aside = {row[0] for row in found}
    return {name for name in present - aside if not name.startswith((OWN_PREFIX, "sqlite_"))}


def _rows(bind: Engine | Connection, query: str, values: dict[str, Any] | None = None) -> list[Any]:
    if isinstance(bind, Engine):
        with bind.connect() as connection:
            return _rows(connection, query, values)
    return list(bind.execute(text(query), values or {}))


def _key(seen: Inspector, table: str, schema: str | None) -> list[str]:
    """The primary key; of an association table without one, its foreign keys if they are a key."""
    key = list(seen.get_pk_constraint(table, schema)["constrained_columns"])
    if key:
        return key
    columns = seen.get_columns(table, schema)
    of_foreign = {n for f in seen.get_foreign_keys(table, schema) for n in f["constrained_columns"]}
    foreign = [column["name"] for column in columns if column["name"] in of_foreign]
    unique: list[set[Any]] = [
        set(each["column_names"]) for each in seen.get_unique_constraints(table, schema)
    ]
    unique += [
        set(each["column_names"])
        for each in seen.get_indexes(table, schema)
        if each["unique"] and not _is_partial(each)
    ]
    nullable = {column["name"] for column in columns if column["nullable"]}
    return foreign if foreign and set(foreign) in unique and not nullable & set(foreign) else []


def _is_partial(index: Any) -> bool:
    options = index.get("dialect_options", {})
    return any(name.endswith("_where") and options[name] is not None for name in options)


def _captured(
    schema: str | None,
    table: str,
    entity_type: str,
    key: Iterable[str],
    columns: Iterable[str],
    leave_out: Iterable[str],
) -> Captured:
    key, columns, aside = tuple(key), tuple(columns), frozenset(leave_out)
    if not key:
        raise InvalidInput(
            f"table {_shown(table)} has no primary key, so its rows have no name: "
            "give it one, or exclude the table"
        )
    for name in aside:
        if name not in columns:
            raise InvalidInput(f"{_shown(table)} has no column {_shown(name)} to leave out")
        if name in key:
            raise InvalidInput(f"{_shown(table)}.{_shown(name)} is of the key: it must be kept")
    kept = tuple(name for name in columns if name not in aside)
    if len(kept) > MAX_COLUMNS:
        raise LimitExceeded(f"{_shown(table)} has {len(kept)} columns: at most {MAX_COLUMNS}")
    for name in (*kept, entity_type, table):
        size = len(check_name(name).encode())
        if size > MAX_NAME_BYTES:
            raise LimitExceeded(f"name {_shown(name)} of {size} bytes: at most {MAX_NAME_BYTES}")
    if NAME.fullmatch(entity_type) is None or len(entity_type) > MAX_TYPE_BYTES:
        # Said here, or the relay would set aside every row that tells of it.
        raise InvalidInput(
            f"{_shown(entity_type)} is no entity type, which is a letter and then a-z, 0-9, _ . -\n"
            f"say as what table {_shown(table)} is recorded: {{table: entity type}}, or TABLE=TYPE"
        )
    return Captured(schema, table, entity_type, key, kept)


def _shown(name: object) -> str:
    return repr(str(name)[:64])
