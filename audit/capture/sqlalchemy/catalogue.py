"""What the hooks know of the application's tables: keys, unique columns, and who refers to whom."""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, MetaData, Table, UniqueConstraint, inspect, text
from sqlalchemy.sql.elements import ColumnElement

from audit.capture.database.captured import OWN_PREFIX, Captured, captured_tables
from audit.capture.database.cells_json import CellTexts
from audit.capture.database.cells_sqlite import quoted
from audit.capture.database.connect import POSTGRESQL, SQLITE, reaching
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
        self._texts: CellTexts | None = None
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
    def texts(self) -> CellTexts:
        """How its rows are written, made when it is needed first."""
        if self._texts is None:
            self._texts = CellTexts(self.captured, self.table)
        return self._texts

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
        self._spelled: dict[str, str] = {}
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
        own = None if schema in (None, self._default, _MAIN) else schema
        return (own, self._spelled.get(folded(name), name) if own is None else name)

    def spell(self, names: Iterable[str]) -> None:
        """To SQLite a name is the same in any case: it is looked up as it was made."""
        self._spelled = {folded(name): name for name in names}

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
        tables = seen.get_table_names(chosen.schema)
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
    if connection.dialect.name == SQLITE:
        found.spell((*tables, *views))
    by_name = {each.table: each for each in captured}
    for table in metadata.tables.values():
        name = found.name_of(table)
        if name[1] != table.name:
            continue  # a foreign key spells it otherwise
        each = by_name.get(table.name) if table.schema == chosen.schema else None
        if each is not None:
            found.entries[name] = Entry(table, each, table.name not in triggered)
        else:
            key = tuple(column.name for column in table.primary_key.columns)
            key = key or tuple(column.name for column in table.columns)
            columns = tuple(column.name for column in table.columns)
            aside = Captured(table.schema, table.name, table.name, key, columns)
            found.entries[name] = Entry(table, aside, False)
    with reaching(connection):
        _refer(
            found, _of_sqlite if connection.dialect.name == SQLITE else _of_constraints, connection
        )
    for view in views - set(chosen.exclude):
        found.unseen[found.named(chosen.schema, view)] = "view"
    _look_closer(connection, found, chosen)
    return found


Found = tuple[Entry | None, Reference]
"""A foreign key, and the table that it refers to."""


def _refer(
    found: Catalogue,
    references: Callable[[Catalogue, Connection], Iterator[Found]],
    connection: Connection,
) -> None:
    for parent, reference in references(found, connection):
        if parent is not None and (reference.on_delete or reference.on_update):
            parent.references.append(reference)

    hesitant = True
    while hesitant:
        hesitant = False
        for entry in found.entries.values():
            led = any(found.entries[each.child].matters for each in entry.references)
            if led and not entry.matters:
                entry.matters = hesitant = True


def _of_constraints(found: Catalogue, _: Connection) -> Iterator[Found]:
    for name, entry in found.entries.items():
        for constraint in entry.table.foreign_key_constraints:
            actions = _action(constraint.ondelete), _action(constraint.onupdate)
            parent = found.entries.get(found.name_of(constraint.referred_table))
            referred = tuple(element.column.name for element in constraint.elements)
            columns = tuple(column.name for column in constraint.columns)
            yield parent, Reference(name, columns, referred, *actions)


def _of_sqlite(found: Catalogue, connection: Connection) -> Iterator[Found]:
    """Asked of SQLite itself: reflection knows no actions of what a column says of itself.

    Names there are the same in any case.
    """
    by_name = {folded(name[1]): entry for name, entry in found.entries.items() if not name[0]}
    for name, entry in found.entries.items():
        keys: dict[int, list[Any]] = {}
        if name[0] is None:
            told = f"PRAGMA foreign_key_list({quoted(name[1])})"
            for row in connection.exec_driver_sql(told):
                keys.setdefault(row[0], []).append(row)
        for rows in keys.values():
            parent = by_name.get(folded(str(rows[0][2])))
            if parent is None:
                continue
            primary = [column.name for column in parent.table.primary_key.columns]
            given = [row[4] for row in rows]
            referred = _as_named(parent.table, primary if None in given else given)
            columns = _as_named(entry.table, [row[3] for row in rows])
            yield (
                parent,
                Reference(name, columns, referred, _action(rows[0][6]), _action(rows[0][5])),
            )


def _as_named(table: Table, names: Iterable[str]) -> tuple[str, ...]:
    own = {folded(column.name): column.name for column in table.columns}
    return tuple(own.get(folded(name), name) for name in names)


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


def folded(name: str) -> str:
    """A name without case, as SQLite compares names: in ASCII alone."""
    return name.encode(errors="surrogatepass").lower().decode(errors="surrogatepass")


def spelled_otherwise(entry: Entry, table: Table) -> str | None:
    """A column of a Table of the application that has another case in the database."""
    own = {folded(column.name): column.name for column in entry.table.columns}
    names = (column.name for column in table.columns)
    return next((name for name in names if own.get(folded(name), name) != name), None)


def columns_by_name(table: Table) -> dict[str, ColumnElement[Any]]:
    """A Table's columns by their names in the database, which are not always their keys."""
    return {column.name: column for column in table.columns}
