"""What the hooks know of the application's tables: keys, unique columns, and who refers to whom."""

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, MetaData, Table, UniqueConstraint, inspect, text
from sqlalchemy.sql.elements import ColumnElement

from audit.capture.database.captured import OWN_PREFIX, Captured, captured_tables
from audit.capture.database.connect import POSTGRESQL, reaching
from audit.errors import InvalidInput

_MAIN = "main"
"""What SQLite calls the schema without a name."""
_PARTITIONS = """
SELECT c.relname, p.relname FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = COALESCE(
    to_regnamespace(quote_ident(:schema)), current_schema()::regnamespace)
"""
_CONFLICT = re.compile(r"\bon\s+conflict\s+(replace|ignore|fail|rollback)\b", re.IGNORECASE)

Name = tuple[str | None, str]
"""A table's schema (None: the one without a name) and its own name."""


class Reference(NamedTuple):
    """A foreign key that the database itself follows: `child`'s columns refer to `referred`."""

    child: Name
    columns: tuple[str, ...]
    referred: tuple[str, ...]
    on_delete: str
    on_update: str


class Entry:
    """One table: as it is in the database, and what of it is captured."""

    def __init__(self, table: Table, captured: Captured, is_recorded: bool) -> None:
        """`is_recorded`: else it is only looked at for what follows from its changes."""
        self.table = table
        self.captured = captured
        self.is_recorded = is_recorded
        self.matters = is_recorded
        """True also where a change may lead, by foreign keys, to one of a recorded table."""
        self.references: list[Reference] = []
        """Those that point at this table."""
        self.readers: dict[Table, Any] = {}
        """Made by `images`: how its rows are read through a Table of the application."""
        primary = tuple(column.name for column in table.primary_key.columns)
        self.unique: dict[str, tuple[str, ...]] = {}
        """Columns that are unique together, by the name of their constraint or index."""
        if primary:
            self.unique[str(table.primary_key.name or "")] = primary
        for constraint in table.constraints:
            if isinstance(constraint, UniqueConstraint):
                names = tuple(column.name for column in constraint.columns)
                self.unique[str(constraint.name or names)] = names
        self.has_unique_expressions = False
        for index in table.indexes:
            if index.unique:
                plain = [each for each in index.expressions if each in list(table.columns)]
                self.has_unique_expressions |= len(plain) != len(index.expressions)
                self.unique[str(index.name)] = tuple(column.name for column in index.columns)

    @property
    def raw_names(self) -> tuple[str, ...]:
        """Columns whose value is needed as the driver has it: of the key, and referred to."""
        names = dict.fromkeys(self.captured.key)
        for reference in self.references:
            names.update(dict.fromkeys(reference.referred))
        return tuple(names)


class Catalogue:
    """All tables that matter, by name."""

    def __init__(self, default_schema: str | None) -> None:
        """`default_schema`: where a table is that names none."""
        self._default = default_schema
        self.entries: dict[Name, Entry] = {}
        self.unseen: dict[Name, str] = {}
        """What leads to a captured table and cannot be followed, and what it is."""
        self.ignored: set[Name] = set()

    def name_of(self, table: Table, translate: Mapping[Any, Any] | None = None) -> Name:
        """The name under which a Table of the application is here."""
        schema = table.schema
        if translate:
            schema = translate.get(schema, schema)
        return self.named(schema, table.name)

    def named(self, schema: str | None, name: str) -> Name:
        """The same of a schema and a name."""
        return (None if schema in (None, self._default, _MAIN) else schema, name)

    def knows(self, name: Name) -> bool:
        """False for a table that was not there when the catalogue was made."""
        return name in self.entries or name in self.unseen or name in self.ignored


class Choice(NamedTuple):
    """What of a database is captured, as `install` was told."""

    tables: tuple[str, ...] | dict[str, str] | None
    exclude: tuple[str, ...]
    leave_out: dict[str, tuple[str, ...]]
    schema: str | None


def choice(
    tables: Iterable[str] | Mapping[str, str] | None,
    exclude: Iterable[str],
    leave_out: Mapping[str, Iterable[str]] | None,
    schema: str | None,
) -> Choice:
    """What was given, kept from later changes."""
    if tables is None or isinstance(tables, Mapping):
        given: Any = None if tables is None else dict(tables)
    else:
        given = (tables,) if isinstance(tables, str) else tuple(tables)
    aside = (exclude,) if isinstance(exclude, str) else tuple(exclude)
    left = {k: (v,) if isinstance(v, str) else tuple(v) for k, v in (leave_out or {}).items()}
    return Choice(given, aside, left, schema)


def load(connection: Connection, chosen: Choice, triggered: frozenset[str]) -> Catalogue:
    """The catalogue of a database. Raises InvalidInput, NotFound, Unavailable.

    `triggered`: tables whose changes triggers write down.
    """
    with reaching(connection):
        seen = inspect(connection)
        views = set(seen.get_view_names(chosen.schema))
    exclude = tuple(name for name in chosen.exclude if name not in views)
    captured = captured_tables(
        connection, chosen.tables, exclude=exclude, leave_out=chosen.leave_out, schema=chosen.schema
    )
    metadata = MetaData()
    with reaching(connection), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Did not recognize type|Skipped unsupported reflection")
        metadata.reflect(
            connection, chosen.schema, only=lambda name, _: not name.startswith(OWN_PREFIX)
        )
    found = Catalogue(connection.dialect.default_schema_name)
    by_name = {each.table: each for each in captured}
    for table in metadata.tables.values():
        name = found.name_of(table)
        each = by_name.get(table.name) if table.schema == chosen.schema else None
        if each is not None:
            found.entries[name] = Entry(table, each, table.name not in triggered)
        else:
            key = tuple(column.name for column in table.primary_key.columns)
            key = key or tuple(column.name for column in table.columns)
            columns = tuple(column.name for column in table.columns)
            aside = Captured(table.schema, table.name, table.name, key, columns)
            found.entries[name] = Entry(table, aside, False)
    _refer(found)
    for view in views - set(chosen.exclude):
        found.unseen[found.named(chosen.schema, view)] = "view"
    _look_closer(connection, found, chosen)
    return found


def _refer(found: Catalogue) -> None:
    for name, entry in found.entries.items():
        for constraint in entry.table.foreign_key_constraints:
            on_delete, on_update = _action(constraint.ondelete), _action(constraint.onupdate)
            if not on_delete and not on_update:
                continue
            parent = found.entries.get(found.name_of(constraint.referred_table))
            if parent is not None:
                referred = tuple(element.column.name for element in constraint.elements)
                columns = tuple(column.name for column in constraint.columns)
                parent.references.append(Reference(name, columns, referred, on_delete, on_update))

    hesitant = True
    while hesitant:
        hesitant = False
        for entry in found.entries.values():
            led = any(found.entries[each.child].matters for each in entry.references)
            if led and not entry.matters:
                entry.matters = hesitant = True


def _action(given: str | None) -> str:
    """CASCADE, SET NULL or SET DEFAULT; the empty string where the database changes nothing."""
    action = " ".join((given or "").upper().split())
    return "" if action in ("NO ACTION", "RESTRICT") else action.partition(" (")[0]


def _look_closer(connection: Connection, found: Catalogue, chosen: Choice) -> None:
    """What reflection does not tell: partitions, and what SQLite keeps in a table's own text."""
    if connection.dialect.name == POSTGRESQL:
        parents = dict(map(tuple, connection.execute(text(_PARTITIONS), {"schema": chosen.schema})))
        for child in parents:
            top = child
            while top in parents:
                top = parents[top]
            entry = found.entries.get(found.named(chosen.schema, top))
            if entry is not None and entry.is_recorded:
                name = found.named(chosen.schema, child)
                found.unseen[name] = f"partition of {top[:64]!r}"
                found.entries.pop(name, None)
        return
    for name, sql in connection.execute(text("SELECT name, sql FROM sqlite_master")):
        known = found.entries.get((None, name))
        if known is not None and known.is_recorded and _CONFLICT.search(sql or ""):
            raise InvalidInput(
                f"table {name[:64]!r} says ON CONFLICT in its definition, which hooks cannot "
                "follow: capture it by triggers, and exclude it here"
            )


def columns_by_name(table: Table) -> dict[str, ColumnElement[Any]]:
    """A Table's columns by their names in the database, which are not always their keys."""
    return {column.name: column for column in table.columns}
