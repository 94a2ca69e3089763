"""The triggers of SQLite: what writes the outbox after each row that a statement changes.

`INSERT OR REPLACE` and `UPDATE OR REPLACE` delete rows without firing delete triggers, unless
`PRAGMA recursive_triggers` is on. So before a row is written those it may replace are noted in
`attestory_replaced`, and afterwards the ones that are gone are recorded as deleted. A delete
trigger that does fire takes its row off the notes: the result is the same in either setting.

SQLite refuses to drop a column that a trigger names, and looks through all triggers of the database
before it drops or renames one anywhere (see `cells_sqlite.patches`): take the triggers away first
(`remove`), and install them again afterwards.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import Connection, inspect

from audit.capture.database.captured import Captured
from audit.capture.database.cells_sqlite import (
    changed,
    image,
    joined,
    key,
    literal,
    patches,
    quoted,
    short_image,
)
from audit.capture.database.database_context import CONTEXT, FIELDS
from audit.capture.database.tables import OUTBOX
from audit.capture.database.trigger_state import Known
from audit.errors import InvalidInput

REPLACED = "attestory_replaced"
PREFIX = "attestory_"
VERSION = "v1"

_COLUMNS = (
    "event_id, origin, op, entity_type, entity_key, before, after, image, "
    "actor, reason, request_id, trace_id, transaction_id, occurred_us"
)
_NOW_US = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
_INNOCUOUS = 0x200000
"""SQLITE_INNOCUOUS: the function may be used in triggers by whoever distrusts the schema."""
_ROWIDS = ("rowid", "_rowid_", "oid")


class Plan(NamedTuple):
    """The triggers of one table: name -> their CREATE. `snapshot`: with OP in it."""

    known: Known
    triggers: dict[str, str]
    snapshot: str
    notes: tuple[str, ...]


def prepare(connection: Connection) -> None:
    """Make the tables that the triggers use."""
    fields = ", ".join(f"{name} {'INTEGER' if name[-3:] == '_us' else 'TEXT'}" for name in FIELDS)
    _run(
        connection,
        f"CREATE TABLE IF NOT EXISTS {CONTEXT} (one INTEGER PRIMARY KEY CHECK (one = 1), {fields})",
        f"CREATE TABLE IF NOT EXISTS {REPLACED} "
        "(table_name TEXT NOT NULL, row INTEGER, entity_key TEXT, before TEXT)",
    )


def plan(connection: Connection, captured: Captured) -> Plan:
    """What captures a table as it is now. Raises InvalidInput for one that cannot have triggers."""
    table = captured.table
    row = _first(
        connection, "SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?",
        (table,),
    )  # fmt: skip
    if row is None or row[0] != "table":
        raise InvalidInput(f"{table[:64]!r} is no plain table, and can have no triggers")
    seen = inspect(connection)
    types = {column["name"]: column["type"] for column in seen.get_columns(table)}
    taken = {name.lower() for name in types}
    rowid = None if row[1] else next((name for name in _ROWIDS if name not in taken), None)
    uniques, on_expression = _uniques(connection, table)
    bodies = _Bodies(captured, types, rowid, uniques).all()
    digest = sha256("\0".join((table, *bodies.values())).encode(errors="replace")).hexdigest()[:12]
    triggers = {}
    for told, body in bodies.items():
        when = " ".join(told.split()[:2])
        name = f"{PREFIX}{told.lower().replace(' ', '_')}_{VERSION}_{digest}"
        triggers[name] = f"CREATE TRIGGER {quoted(name)} {when} ON {quoted(table)} {body}"
    shown = {name: str(kind) for name, kind in types.items()}
    rows = _row(captured, "OP", key(quoted(table), captured, types), "NULL", image(
        quoted(table), captured, types), "full", origin="snapshot")  # fmt: skip
    snapshot = (
        f"INSERT INTO {OUTBOX} ({_COLUMNS}) SELECT {rows} FROM {quoted(table)} "
        f"LEFT JOIN {CONTEXT} AS attestory_c ON attestory_c.one = 1"
    )
    note = f"{table}: a unique index on an expression, whose REPLACE only recursive_triggers shows"
    return Plan(Known(captured, shown), triggers, snapshot, (note,) if on_expression else ())


def _uniques(connection: Connection, table: str) -> tuple[list[list[tuple[str, str]]], bool]:
    """(column, collation) of each unique index; whether one is on an expression."""
    found, on_expression = [], False
    indexes = _all(connection, "SELECT name, origin FROM pragma_index_list(?) WHERE \"unique\"",
                   (table,))  # fmt: skip
    for name, _ in indexes:
        columns = _all(
            connection, "SELECT name, coll FROM pragma_index_xinfo(?) WHERE key ORDER BY seqno",
            (name,),
        )  # fmt: skip
        if any(column is None for column, _ in columns):
            on_expression = True
        else:
            found.append([(column, collation) for column, collation in columns])
    primary = _all(
        connection, "SELECT name FROM pragma_table_xinfo(?) WHERE pk ORDER BY pk", (table,)
    )
    if len(primary) == 1 and not any(origin == "pk" for _, origin in indexes):
        found.append([(primary[0][0], "BINARY")])
    return found, on_expression


def _row(
    captured: Captured,
    op: str,
    entity_key: str,
    before: str,
    after: str,
    image_kind: str,
    origin: str = "trigger",
) -> str:
    """The SQL of a row of the outbox."""
    context = ", ".join(f"attestory_c.{name}" for name in FIELDS[:-1])
    return (
        f"lower(hex(randomblob(16))), '{origin}', '{op}', {literal(captured.entity_type)}, "
        f"{entity_key}, {before}, {after}, '{image_kind}', {context}, "
        f"COALESCE(attestory_c.valid_time_us, {_NOW_US})"
    )


class _Bodies:
    """The texts of one table's triggers, by when they fire (of an update: and what it touches)."""

    def __init__(
        self,
        captured: Captured,
        types: dict[str, Any],
        rowid: str | None,
        uniques: list[list[tuple[str, str]]],
    ) -> None:
        self._captured = captured
        self._types = types
        self._rowid = rowid
        self._uniques = uniques
        self._name = literal(captured.table)

    def all(self) -> dict[str, str]:
        old_key = key("OLD", self._captured, self._types)
        new_key = key("NEW", self._captured, self._types)
        created = ("create", new_key, "NULL", image("NEW", self._captured, self._types), "full")
        deleted = ("delete", old_key, image("OLD", self._captured, self._types), "NULL", "full")
        updated = ("update", new_key, "attestory_d.before", "attestory_d.after", "patch")
        patched = f"({patches(self._captured, self._types)}) AS attestory_d"
        went, came = (short_image(side, self._captured, self._types) for side in ("OLD", "NEW"))
        moved = self._any_changed(self._captured.key)
        differs = self._any_changed(self._captured.columns)
        unique = {name for index in self._uniques for name, _ in index} | set(self._captured.key)
        touched = self._any_changed(sorted(unique), self._rowid)
        return {
            # Most rows replace nothing: asking is cheaper than running the statements in vain.
            "BEFORE INSERT": f"WHEN EXISTS (SELECT 1 FROM {REPLACED}) OR EXISTS "
            f"(SELECT 1 {self._conflicting('1')}) " + _block(self._forget(), self._note("1")),
            "AFTER INSERT": _block(self._gone("1"), self._write(*created)),
            "BEFORE UPDATE": f"WHEN {touched} " + _block(self._forget(), self._note(self._other())),
            # Of the two only one fires. Most updates touch nothing unique, and have little to do.
            "AFTER UPDATE": f"WHEN NOT ({touched}) AND ({differs}) "
            + _block(self._write(*updated, source=patched)),
            "AFTER UPDATE touched": f"WHEN {touched} "
            + _block(
                self._gone("1"),
                self._write("delete", old_key, went, "NULL", "full", where=moved),
                self._write("create", new_key, "NULL", came, "full", where=moved),
                self._write(
                    *updated,
                    source=patched,
                    where=f"NOT ({moved}) AND attestory_d.before IS NOT NULL",
                ),
            ),
            "AFTER DELETE": _block(self._write(*deleted)),
            "BEFORE DELETE": f"WHEN EXISTS (SELECT 1 FROM {REPLACED}) "
            + _block(self._forget(of_row=True)),
        }

    def _any_changed(self, names: Iterable[str], rowid: str | None = None) -> str:
        found = [changed(name, self._types[name]) for name in names if name in self._types]
        if rowid is not None:
            found.append(f"OLD.{rowid} IS NOT NEW.{rowid}")
        return joined(found, "OR")

    def _write(self, *parts: str, source: str = "(SELECT 1)", where: str = "1") -> str:
        op, entity_key, before, after, kind = parts
        row = _row(self._captured, op, entity_key, before, after, kind)
        return (
            f"INSERT INTO {OUTBOX} ({_COLUMNS}) SELECT {row} FROM {source} "
            f"LEFT JOIN {CONTEXT} AS attestory_c ON attestory_c.one = 1 WHERE {where}"
        )

    def _forget(self, of_row: bool = False) -> str:
        same = ""
        if of_row:
            same = f" AND row = OLD.{self._rowid}" if self._rowid else (
                f" AND entity_key = {key('OLD', self._captured, self._types)}"
            )  # fmt: skip
        return f"DELETE FROM {REPLACED} WHERE table_name = {self._name}{same}"

    def _other(self) -> str:
        """The condition that a row is not the one which is being updated."""
        if self._rowid:
            return f"attestory_t.{self._rowid} IS NOT OLD.{self._rowid}"
        keys = (key(side, self._captured, self._types) for side in ("attestory_t", "OLD"))
        return " IS NOT ".join(keys)

    def _note(self, where: str) -> str:
        """Note the rows that the new one may replace."""
        row = f"attestory_t.{self._rowid}" if self._rowid else "NULL"
        alias = ("attestory_t", self._captured, self._types)
        return (
            f"INSERT INTO {REPLACED} (table_name, row, entity_key, before) "
            f"SELECT {self._name}, {row}, {key(*alias)}, {short_image(*alias)} "
            + self._conflicting(where)
        )

    def _conflicting(self, where: str) -> str:
        """FROM all rows that share something unique with the new one."""
        conflicts = []
        for index in self._uniques:
            same = (
                f"attestory_t.{quoted(name)} = NEW.{quoted(name)} COLLATE {quoted(collation)}"
                for name, collation in index
            )
            conflicts.append("(" + " AND ".join(same) + ")")
        if self._rowid:
            conflicts.append(f"attestory_t.{self._rowid} = NEW.{self._rowid}")
        return (
            f"FROM {quoted(self._captured.table)} AS attestory_t "
            f"WHERE ({joined(conflicts, 'OR')}) AND {where}"
        )

    def _gone(self, where: str) -> str:
        """Record noted rows that are there no more, or whose place the new row has taken."""
        if self._rowid:
            same, still = f"attestory_r.row = NEW.{self._rowid}", (
                f"attestory_t.{self._rowid} = attestory_r.row"
            )  # fmt: skip
        else:
            same = f"attestory_r.entity_key = {key('NEW', self._captured, self._types)}"
            still = f"{key('attestory_t', self._captured, self._types)} = attestory_r.entity_key"
        row = _row(
            self._captured, "delete", "attestory_r.entity_key", "attestory_r.before", "NULL", "full"
        )
        return (
            f"INSERT INTO {OUTBOX} ({_COLUMNS}) SELECT {row} FROM {REPLACED} AS attestory_r "
            f"LEFT JOIN {CONTEXT} AS attestory_c ON attestory_c.one = 1 "
            f"WHERE attestory_r.table_name = {self._name} AND ({same} OR NOT EXISTS "
            f"(SELECT 1 FROM {quoted(self._captured.table)} AS attestory_t WHERE {still})) "
            f"AND ({where})"
        )


def _block(*statements: str) -> str:
    return "BEGIN " + "; ".join(statements) + "; END"


def present(connection: Connection, table: str) -> dict[str, str]:
    """Our triggers on a table: name -> CREATE."""
    found = _all(
        connection,
        "SELECT name, sql FROM sqlite_master "
        "WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE",
        (table,),
    )
    return {name: text for name, text in found if name.startswith(PREFIX)}


def findings(connection: Connection, wanted: Plan) -> list[str]:
    """How a table's triggers differ from what they should be, in words."""
    there = present(connection, wanted.known.captured.table)
    found = [
        f"trigger {name} is missing" if name not in there else f"trigger {name} was changed"
        for name, text in wanted.triggers.items()
        if there.get(name) != text
    ]
    found += [f"trigger {name} is of another state" for name in there.keys() - wanted.triggers]
    for name in (CONTEXT, REPLACED):
        if _first(connection, "SELECT 1 FROM sqlite_master WHERE name = ?", (name,)) is None:
            found.append(f"table {name} is missing")
    return found


def drop(connection: Connection, known: Known) -> int:
    """Take our triggers off a table; how many."""
    names = present(connection, known.captured.table)
    _run(connection, *(f"DROP TRIGGER {quoted(name)}" for name in names))
    return len(names)


def create(connection: Connection, wanted: Plan) -> None:
    """Make a table's triggers."""
    _run(connection, *wanted.triggers.values())


def take_in(connection: Connection, wanted: Plan, op: str) -> int:
    """Write all rows of a table to the outbox, inside the database; how many."""
    rows = wanted.snapshot.replace("'OP'", f"'{op}'", 1)
    return int(_execute(connection, rows).rowcount)


def notes(connection: Connection) -> list[str]:
    """What whoever checks should know about this database."""
    (on,) = _first(connection, "PRAGMA recursive_triggers")
    told = "on" if on else "off, and REPLACE is captured all the same"
    found = [f"PRAGMA recursive_triggers is {told} (each connection sets its own)"]
    query = "SELECT max(flags & ?) FROM pragma_function_list WHERE name = 'json_quote'"
    if not _first(connection, query, (_INNOCUOUS,))[0]:
        found.append(
            "with PRAGMA trusted_schema = OFF this SQLite refuses writes to captured tables"
        )
    return found


def triggered(connection: Connection, schema: str | None) -> frozenset[str]:
    """The names of the tables that have our triggers."""
    query = "SELECT DISTINCT tbl_name FROM sqlite_master WHERE type = 'trigger' AND name GLOB ?"
    return frozenset(name for (name,) in _all(connection, query, (f"{PREFIX}*_{VERSION}_*",)))


def lock(connection: Connection, captured: Captured) -> None:
    """Nothing: SQLite's one write lock is held (see `begin`)."""


def begin(connection: Connection) -> None:
    """Take the write lock, so that nothing is written between the snapshot and the triggers."""
    raw: Any = connection.connection.dbapi_connection
    if not getattr(raw, "in_transaction", True):
        _run(connection, "BEGIN IMMEDIATE")


def _execute(connection: Connection, statement: str, values: tuple[Any, ...] = ()) -> Any:
    return connection.exec_driver_sql(statement, values or None)


def _run(connection: Connection, *statements: str) -> None:
    for statement in statements:
        _execute(connection, statement)


def _all(connection: Connection, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
    return list(_execute(connection, query, values))


def _first(connection: Connection, query: str, values: tuple[Any, ...] = ()) -> Any:
    return _execute(connection, query, values).first()
