"""The listeners on an engine: before a statement it is planned, after it what changed is written.

All of SQLAlchemy's writes end as statements on a connection, flushes too; so there is one place to
listen at. `before_execute` plans what is understood; `before_cursor_execute` looks at all the rest:
text, DDL, writes inside a WITH.

After a crash here nothing is half done: the rows of the outbox are of the same transaction.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.sql.dml import Insert, UpdateBase

from audit.capture.database import database_context, outbox
from audit.capture.database.connect import POSTGRESQL, SQLITE, dialect_of
from audit.capture.database.tables import require_installed
from audit.capture.database.triggers import triggered
from audit.capture.sqlalchemy.catalogue import (
    Catalogue,
    Choice,
    Entry,
    choice,
    load,
    spelled_otherwise,
)
from audit.capture.sqlalchemy.changes import Maker
from audit.capture.sqlalchemy.inserts import Inserting, keys_after
from audit.capture.sqlalchemy.texts import Names, changes_schema, may_write, shown_tables
from audit.capture.sqlalchemy.transactions import Transactions
from audit.capture.sqlalchemy.understood import NotUnderstood, tables_in, target_of
from audit.capture.sqlalchemy.unseen import Unseen, text_in
from audit.capture.sqlalchemy.updates import Changing, Planned
from audit.errors import InvalidInput, StoreBusy, UnseenWrite

RAISE, GAP = "raise", "gap"

_LISTENERS = ("before_execute", "before_cursor_execute", "after_cursor_execute", "after_execute")
Options = Mapping[str, Any]


class _Running(NamedTuple):
    """A statement between its beginning and its end on a connection."""

    statement: Any
    planned: Planned | None
    gap: Unseen | None
    origin: str
    savepoint: bool


class Installed:
    """What `install` returns. `remove()` takes the hooks off the engine again."""

    def __init__(self, engine: Engine, chosen: Choice, on_unseen: str, schema: str | None) -> None:
        """Nothing listens yet."""
        self._engine = engine
        self._chosen = chosen
        self._on_unseen = on_unseen
        self._outbox_schema = schema
        self._catalogue: Catalogue | None = None
        self._is_shared = False
        """Triggers write the same outbox, for other tables."""
        self._names = Names(())
        self._running: WeakKeyDictionary[Connection, list[_Running]] = WeakKeyDictionary()
        """Innermost last: a default made by Python may execute statements of its own."""
        self._transactions = Transactions(schema)
        self._reading: WeakSet[Connection] = WeakSet()
        """Connections that read the catalogue now: those statements are ours."""

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables whose changes are written down, as far as they were read by now."""
        entries = self._catalogue.entries.values() if self._catalogue is not None else ()
        return tuple(sorted(each.captured.table for each in entries if each.is_recorded))

    def remove(self) -> None:
        """Capture nothing more through this engine. Safe to repeat."""
        for name in _LISTENERS:
            listener = getattr(self, f"_{name}")
            if event.contains(self._engine, name, listener):
                event.remove(self._engine, name, listener)
        if event.contains(self._engine, "handle_error", self._failed):
            event.remove(self._engine, "handle_error", self._failed)
        self._engine.__dict__.pop("_attestory_hooks", None)

    def _listen(self) -> None:
        for name in _LISTENERS:
            retval = name.startswith("before_execute")
            event.listen(self._engine, name, getattr(self, f"_{name}"), retval=retval)
        event.listen(self._engine, "handle_error", self._failed)
        self._engine._attestory_hooks = self  # type: ignore[attr-defined]

    # The catalogue

    def read(self, connection: Connection) -> Catalogue:
        """Read the database's tables anew. Raises InvalidInput, NotFound, Unavailable."""
        self._reading.add(connection)
        try:
            require_installed(connection, self._outbox_schema)
            others = triggered(connection, self._chosen.schema)
            found = load(connection, self._chosen, others)
        finally:
            self._reading.discard(connection)
        self._catalogue, self._is_shared = found, bool(others)
        watched = [name for (_, name), each in found.entries.items() if each.matters]
        self._names = Names([*watched, *(name for _, name in found.unseen)])
        return found

    def _known(self, connection: Connection) -> Catalogue:
        found = self._catalogue
        return self.read(connection) if found is None else found

    # Before

    def _before_execute(
        self, connection: Connection, statement: Any, many: Any, one: Any, options: Options
    ) -> tuple[Any, Any, Any]:
        if isinstance(statement, UpdateBase):
            values = list(many) if many else [one] if one else []
            statement = self._begin(connection, statement, values, options)
        return statement, many, one

    def _begin(
        self, connection: Connection, statement: Any, values: list[Any], options: Options
    ) -> Any:
        targets = tables_in(target_of(statement))
        if all(table.name.startswith("attestory_") for table in targets):
            return statement
        catalogue = self._known(connection)
        translate = options.get("schema_translate_map")
        names = [catalogue.name_of(table, translate) for table in targets]
        if not all(catalogue.knows(name) for name in names):
            # Made since, by somebody else; asked once.
            catalogue = self.read(connection)
            catalogue.ignored.update(names)
        entries = [catalogue.entries[name] for name in names if name in catalogue.entries]
        hidden = [name for name in names if name in catalogue.unseen]
        if not hidden and not any(entry.matters for entry in entries):
            return statement
        verb = statement.__visit_name__.upper()
        self._transactions.begin(connection)
        given: dict[str, Any] = {"schema_translate_map": translate} if translate else {}
        try:
            if hidden:
                raise NotUnderstood(f"it goes through a {catalogue.unseen[hidden[0]]}")
            self._require_same_names(connection, entries[0], targets[0])
            kind: Any = Inserting if isinstance(statement, Insert) else Changing
            with self._read_anew():
                planned = kind(connection, statement, values, entries[0], catalogue, given).plan()
        except NotUnderstood as error:
            tables = [each.captured.table for each in entries if each.matters]
            unseen = self._named(catalogue, verb, (*tables, *(n for _, n in hidden)), str(error))
            self._refuse(unseen)
            self._push(connection, _Running(statement, None, unseen, "core", False))
            return statement
        savepoint = len(values) > 1 and self._transactions.protect(connection)
        origin = _origin(statement, options)
        self._push(connection, _Running(planned.statement, planned, None, origin, savepoint))
        return planned.statement

    def _require_same_names(self, connection: Connection, entry: Entry, table: Any) -> None:
        """Raises NotUnderstood. A Table that was read through before was looked at then."""
        if connection.dialect.name == SQLITE and table not in entry.readers:
            name = spelled_otherwise(entry, table)
            if name is not None:
                raise NotUnderstood(f"column {name[:64]!r} has another case in the database")

    def _push(self, connection: Connection, running: _Running) -> None:
        self._running.setdefault(connection, []).append(running)

    def _pop(self, connection: Connection | None, statement: Any) -> _Running | None:
        """The statement's own entry; those above it never came to their end."""
        stack = [] if connection is None else self._running.get(connection, [])
        for at in range(len(stack) - 1, -1, -1):
            if stack[at].statement is statement:
                found = stack[at]
                del stack[at:]
                return found
        return None

    def _refuse(self, unseen: Unseen) -> None:
        if self._on_unseen == RAISE:
            raise UnseenWrite(
                f"{unseen.verb} on {shown_tables(unseen.tables)} cannot be captured: {unseen.why}\n"
                "write it in another form, use triggers, or install with on_unseen='gap'"
            )

    def _before_cursor_execute(
        self, connection: Connection, _: Any, sql: str, __: Any, context: Any, ___: bool
    ) -> None:
        if sql == outbox.INSERT_SQLITE or connection in self._reading:
            return
        found = text_in(context)
        if found is None:
            return
        if found.is_text:
            if may_write(sql):
                catalogue = self._known(connection)
                written = self._names.written(sql)
                if written is not None and self._concerns(catalogue, *written):
                    unseen = self._named(catalogue, *written, "it is text")
                    self._unseen(connection, unseen, context)
            if changes_schema(sql):
                # The tables may be others after it: read them again before the next write.
                self._catalogue = None
            return
        catalogue = self._known(connection)
        planned = any(
            each.statement is context.invoked_statement
            for each in self._running.get(connection, ())
        )
        for statement in found.statements:
            if planned and statement is context.compiled.statement:
                continue
            translate = context.execution_options.get("schema_translate_map")
            names = [catalogue.name_of(t, translate) for t in tables_in(target_of(statement))]
            tables = tuple(
                name[1] for name in names
                if name in catalogue.unseen
                or (name in catalogue.entries and catalogue.entries[name].is_recorded)
            )  # fmt: skip
            if tables:
                verb = statement.__visit_name__.upper()
                unseen = self._named(catalogue, verb, tables, "it stands inside WITH")
                self._unseen(connection, unseen, context)

    def _concerns(self, catalogue: Catalogue, verb: str, tables: tuple[str, ...]) -> bool:
        """False for an INSERT into tables that only lead to others."""
        aside = {each.captured.table for each in catalogue.entries.values() if not each.is_recorded}
        return verb != "INSERT" or not aside.issuperset(tables)

    def _named(self, catalogue: Catalogue, verb: str, tables: tuple[str, ...], why: str) -> Unseen:
        by_name = {entry.captured.table: entry.captured for entry in catalogue.entries.values()}
        types = [by_name[n].entity_type if n in by_name else n for n in tables]
        return Unseen(verb, types, tables, why)

    def _unseen(self, connection: Connection, unseen: Unseen, context: Any) -> None:
        self._refuse(unseen)
        self._transactions.begin(connection)
        context.attestory_gaps = [*getattr(context, "attestory_gaps", ()), unseen]

    # After

    def _after_cursor_execute(
        self, connection: Connection, _: Any, __: str, ___: Any, context: Any, ____: bool
    ) -> None:
        gaps = context.__dict__.pop("attestory_gaps", ())
        if gaps:
            with self._or_nothing(connection):
                for unseen in gaps:
                    self._write_gap(connection, unseen)

    def _after_execute(
        self, connection: Connection, statement: Any, _: Any, __: Any, ___: Any, result: Any
    ) -> None:
        running = self._pop(connection, statement)
        if running is None:
            return
        with self._or_nothing(connection):
            if running.planned is not None:
                self._write(connection, running, running.planned, result)
            elif running.gap is not None:
                self._write_gap(connection, running.gap)
            if running.savepoint:
                self._transactions.release(connection)

    @contextmanager
    def _or_nothing(self, connection: Connection) -> Iterator[None]:
        """A change whose row cannot be written is taken back, whoever catches the error."""
        try:
            with self._read_anew():
                yield
        except BaseException:
            self._transactions.undo(connection)
            raise

    @contextmanager
    def _read_anew(self) -> Iterator[None]:
        """When a column or table is gone that was there, that is known at the next write."""
        try:
            yield
        except (ProgrammingError, OperationalError) as error:
            if isinstance(error, ProgrammingError) or "no such" in str(error.orig):
                self._catalogue = None
            raise

    def _write(
        self, connection: Connection, running: _Running, planned: Planned, result: Any
    ) -> None:
        if planned.most is not None and result.rowcount > planned.most:
            raise StoreBusy(
                "rows that a statement changes were written by others meanwhile, so what they held "
                "is not known: run the transaction again"
            )
        if planned.keys is not None:
            keys_after(result, planned)
        maker = Maker(running.origin, self._transaction_of(connection))
        rows: list[tuple[Any, ...]] = []
        for watch in planned.watches:
            watch.look_after()
            if watch.entry.is_recorded:
                rows += maker.changes(watch)
        if planned.keys is not None and planned.keys.size is not None:
            made = len(planned.watches[0].after)
            if made != planned.keys.size:
                captured = planned.watches[0].entry.captured
                why = f"of its {planned.keys.size} rows {made} are found by their keys"
                unseen = Unseen("INSERT", (captured.entity_type,), (captured.table,), why)
                self._refuse(unseen)
                self._write_gap(connection, unseen)
        if rows:
            outbox.write(connection, rows, self._outbox_schema)

    def _transaction_of(self, connection: Connection) -> str:
        return database_context.transaction_of(connection, self._is_shared)

    def _write_gap(self, connection: Connection, unseen: Unseen) -> None:
        maker = Maker("core", self._transaction_of(connection))
        rows = [
            maker.gap(entity, unseen.details(table))
            for entity, table in zip(unseen.entity_types, unseen.tables, strict=False)
        ]
        outbox.write(connection, rows, self._outbox_schema)

    def _failed(self, failure: Any) -> None:
        """The application's own statement failed: what it did before that is undone as well."""
        connection = failure.connection
        context = failure.execution_context
        statement = None if context is None else context.invoked_statement
        running = self._pop(connection, statement)
        if running is not None and running.savepoint:
            self._transactions.roll_back(connection)


def _origin(statement: Any, options: Options) -> str:
    """`orm` for flushes, which have a cache of their own, and for ORM-enabled statements."""
    is_orm = statement._propagate_attrs.get("compile_state_plugin") == "orm"
    return "orm" if is_orm or "compiled_cache" in options else "core"


def install(
    engine: Engine | Any,
    tables: Iterable[str] | Mapping[str, str] | None = None,
    *,
    exclude: Iterable[str] = (),
    leave_out: Mapping[str, Iterable[str]] | None = None,
    on_unseen: str = RAISE,
    schema: str | None = None,
    outbox_schema: str | None = None,
) -> Installed:
    """Write down every change that goes through an engine, in the transaction that makes it.

    `engine`: an Engine or AsyncEngine of SQLite or PostgreSQL, with the outbox made
    (`audit.capture.database.tables.install`). `tables`: their names, or names and the entity types
    they are recorded as; None: all, in `schema`, but those in `exclude` (views too) and those with
    triggers of `audit capture install`, which are left to them. `leave_out`: columns of a table
    that are not kept. Actor, reason and the like are those of `audit.context`.

    A write that cannot be followed - text, TRUNCATE, DROP, a write inside WITH - raises UnseenWrite
    before it runs, or with `on_unseen="gap"` is run and leaves an event `capture.gap`. Without a
    transaction (autocommit) a write on a captured table always raises InvalidInput.

    Not seen: the driver's own cursors, COPY, other connections, what functions and triggers of the
    database write, and what other programs do: triggers see them, `audit reconcile` finds them.
    `last_insert_rowid()` and `lastval()` asked in SQL afterwards tell of the outbox's row.

    Raises InvalidInput, NotFound, Unavailable; of an async engine, whose database cannot be asked
    here, with its first write.
    """
    if on_unseen not in (RAISE, GAP):
        raise InvalidInput(f"on_unseen is 'raise' or 'gap', not {str(on_unseen)[:40]!r}")
    own = getattr(engine, "sync_engine", engine)
    if not isinstance(own, Engine):
        raise InvalidInput("hooks are installed on an Engine or AsyncEngine of SQLAlchemy")
    dialect_of(own)
    if own.dialect.name != POSTGRESQL and schema is not None:
        raise InvalidInput("a schema is for PostgreSQL; SQLite has one place for tables")
    if getattr(own, "_attestory_hooks", None) is not None:
        raise InvalidInput("this engine has the hooks already: remove() them first")
    found = Installed(own, choice(tables, exclude, leave_out, schema), on_unseen, outbox_schema)
    if own is engine:
        with own.connect() as connection:
            found.read(connection)
    database_context.install(own)
    found._listen()
    return found
