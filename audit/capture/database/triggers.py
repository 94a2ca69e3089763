"""Installing the triggers that capture every write, whoever makes it; checking and removing them.

Everything `install` does is one transaction: nobody writes a table between the triggers' making and
the snapshot of the rows that were there before. A crash leaves all of it or nothing.
"""

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, func, inspect, select

from audit.capture.database import (
    database_context,
    outbox,
    tables,
    trigger_state,
    triggers_postgresql,
    triggers_sqlite,
)
from audit.capture.database.captured import Captured, captured_tables, table_names
from audit.capture.database.connect import POSTGRESQL, dialect_of, reaching
from audit.capture.database.events import GAP
from audit.capture.database.trigger_state import Known, Options
from audit.errors import InvalidInput

MAX_FINDINGS_IN_GAP = 50
"""A gap's event says at most so many of its reasons."""


class Finding(NamedTuple):
    """What of a table is not captured as it was set up."""

    table: str
    what: str


class Installed(NamedTuple):
    """What `install` did. Tables by name; `taken_in`: rows of the snapshots, by table."""

    made: tuple[str, ...]
    mended: tuple[str, ...]
    kept: tuple[str, ...]
    released: tuple[str, ...]
    taken_in: dict[str, int]
    gaps: tuple[Finding, ...]
    notes: tuple[str, ...]


class Checked(NamedTuple):
    """What `check` found: nothing is wrong when there are no findings."""

    tables: tuple[str, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


class Removed(NamedTuple):
    """What `remove` did; the outbox stays, with `waiting` rows to relay."""

    tables: tuple[str, ...]
    triggers: int
    waiting: int


def install(
    bind: Engine | Connection,
    names: Iterable[str] | Mapping[str, str] | None = None,
    *,
    exclude: Iterable[str] = (),
    leave_out: Mapping[str, Iterable[str]] | None = None,
    schema: str | None = None,
    snapshot: bool = True,
) -> Installed:
    """Capture tables by triggers: all, or those named (with their entity types, if a mapping).

    Given nothing, what was given last time holds. Tables that were captured and have changed are
    mended: a gap is recorded, and with `snapshot` every row as it is now. Rows of new tables are
    taken in as creates, by whom `audit.context` says. In a connection it is part of its
    transaction: that of a migration, for writes fail on a table that lost a captured column, until
    it is mended. Raises InvalidInput (before anything is changed), LimitExceeded, Unavailable.
    """
    if isinstance(bind, Engine):
        with reaching(bind), bind.begin() as connection:
            return install(
                connection, names, exclude=exclude, leave_out=leave_out, schema=schema,
                snapshot=snapshot,
            )  # fmt: skip
    with reaching(bind):
        kind = _kind(bind)
        kind.begin(bind)
        tables.install(bind, schema)
        trigger_state.make(bind, schema)
        kept, known = trigger_state.load(bind, schema)
        options = trigger_state.options_of(names, exclude, leave_out)
        if options == Options() and kept is not None:
            options = kept
        chosen = _chosen(bind, options, schema)
        _prepare(bind, kind, schema)
        with database_context.telling(bind):
            return _Installing(bind, kind, schema, known, snapshot).run(chosen, options)


class _Installing:
    """One run of `install`, inside its transaction."""

    def __init__(
        self,
        connection: Connection,
        kind: Any,
        schema: str | None,
        known: dict[str, Known],
        snapshot: bool,
    ) -> None:
        self._connection = connection
        self._kind = kind
        self._schema = schema
        self._known = known
        self._snapshot = snapshot
        self._taken_in: dict[str, int] = {}
        self._gaps: list[Finding] = []

    def run(self, chosen: tuple[Captured, ...], options: Options) -> Installed:
        plans = [self._kind.plan(self._connection, each) for each in chosen]
        notes = [note for plan in plans for note in plan.notes]
        made: list[str] = []
        mended: list[str] = []
        kept: list[str] = []
        for plan in plans:
            name = plan.known.captured.table
            found = _drift(self._connection, self._kind, self._known.get(name), plan)
            if not found:
                kept.append(name)
                continue
            (mended if name in self._known else made).append(name)
            self._make(plan.known.captured, found)
        released = sorted(self._known.keys() - {each.table for each in chosen})
        for name in released:
            self._release(name)
        trigger_state.save_options(self._connection, self._schema, options)
        return Installed(
            tuple(made), tuple(mended), tuple(kept), tuple(released),
            self._taken_in, tuple(self._gaps), tuple(notes),
        )  # fmt: skip

    def _make(self, captured: Captured, found: list[str]) -> None:
        connection, name = self._connection, captured.table
        self._kind.lock(connection, captured)
        # Looked at again: until the lock was ours the table might still change.
        plan = self._kind.plan(connection, captured)
        self._kind.drop(connection, self._known.get(name, plan.known))
        self._kind.create(connection, plan)
        trigger_state.save(connection, self._schema, plan.known)
        is_known = name in self._known
        if is_known:
            self._gap(captured.entity_type, name, found)
        if self._snapshot:
            op = "update" if is_known else "create"
            self._taken_in[name] = self._kind.take_in(connection, plan, op)

    def _release(self, name: str) -> None:
        known = self._known[name]
        self._kind.drop(self._connection, known)
        trigger_state.forget(self._connection, self._schema, name)
        self._gap(known.captured.entity_type, name, ["it is captured no longer"])

    def _gap(self, entity_type: str, name: str, found: list[str]) -> None:
        told = {"table": name, "found": found[:MAX_FINDINGS_IN_GAP], "by": "triggers"}
        row = outbox.row(GAP, entity_type, after=told, origin="trigger")
        outbox.write(self._connection, [row], self._schema)
        self._gaps += [Finding(name, what) for what in found]


def check(bind: Engine | Connection, schema: str | None = None) -> Checked:
    """How the database differs from what the triggers were made for. Changes nothing.

    Found are columns and keys that changed, triggers that are missing, changed or disabled, and
    tables that came since. Raises InvalidInput where triggers were never installed, Unavailable.
    """
    if isinstance(bind, Engine):
        with reaching(bind), bind.connect() as connection:
            return check(connection, schema)
    with reaching(bind):
        kind: Any = _kind(bind)
        options, known = trigger_state.load(bind, schema)
        if options is None:
            raise InvalidInput(
                "no triggers were installed in this database: audit capture install --database URL"
            )
        findings: list[Finding] = []
        notes: list[str] = kind.notes(bind)
        for name, was in known.items():
            try:
                (now,) = captured_tables(
                    bind, {name: was.captured.entity_type}, schema=schema,
                    leave_out=_present(bind, options, name, schema),
                )  # fmt: skip
                plan = kind.plan(bind, now)
            except InvalidInput as error:
                findings.append(Finding(name, str(error)))
                continue
            notes += plan.notes
            findings += [Finding(name, what) for what in _drift(bind, kind, was, plan)]
        for name in _uncaptured(bind, options, known, schema):
            findings.append(Finding(name, "the table is new, and not captured"))
        if not tables.installed(bind, schema):
            findings.append(Finding(tables.OUTBOX, "the outbox is not there"))
        return Checked(tuple(known), tuple(findings), tuple(notes))


def remove(
    bind: Engine | Connection, names: Iterable[str] | None = None, schema: str | None = None
) -> Removed:
    """Take the triggers away, of all tables or those named; the outbox and its rows stay.

    That capture ended is recorded as a gap of each table. Raises InvalidInput for a table that is
    not captured (nothing is changed then), Unavailable.
    """
    if isinstance(bind, Engine):
        with reaching(bind), bind.begin() as connection:
            return remove(connection, names, schema)
    with reaching(bind):
        kind: Any = _kind(bind)
        kind.begin(bind)
        _, known = trigger_state.load(bind, schema)
        given = [names] if isinstance(names, str) else known if names is None else names
        chosen = sorted(set(given))
        for name in chosen:
            if name not in known:
                raise InvalidInput(f"{str(name)[:64]!r} has no triggers of ours")
        count = 0
        for name in chosen:
            count += kind.drop(bind, known[name])
            trigger_state.forget(bind, schema, name)
            told = {"table": name, "found": ["its triggers were removed"], "by": "triggers"}
            entity_type = known[name].captured.entity_type
            outbox.write(bind, [outbox.row(GAP, entity_type, after=told, origin="trigger")], schema)
        if trigger_state.exists(bind, schema) and len(chosen) == len(known):
            trigger_state.forget(bind, schema)
        return Removed(tuple(chosen), count, _waiting(bind, schema))


def triggered(connection: Engine | Connection, schema: str | None = None) -> frozenset[str]:
    """The names of the tables that have our triggers: who else captures leaves them alone.

    PostgreSQL: of that schema, or of those on the search path. Raises InvalidInput for a database
    that is neither SQLite nor PostgreSQL, Unavailable.
    """
    if isinstance(connection, Engine):
        with reaching(connection), connection.connect() as opened:
            return triggered(opened, schema)
    with reaching(connection):
        kind: Any = _kind(connection)
        found: frozenset[str] = kind.triggered(connection, schema)
        return found


def _kind(bind: Connection) -> ModuleType:
    return triggers_postgresql if dialect_of(bind) == POSTGRESQL else triggers_sqlite


def _prepare(bind: Connection, kind: Any, schema: str | None) -> None:
    if kind is triggers_postgresql:
        kind.prepare(bind, schema)
    else:
        kind.prepare(bind)


def _chosen(bind: Connection, options: Options, schema: str | None) -> tuple[Captured, ...]:
    return captured_tables(
        bind, options.tables, exclude=options.exclude, leave_out=options.leave_out, schema=schema
    )


def _present(
    bind: Connection, options: Options, name: str, schema: str | None
) -> dict[str, tuple[str, ...]]:
    """The columns to leave out of a table that it still has."""
    seen = inspect(bind)
    if not seen.has_table(name, schema):
        return {}
    there = {column["name"] for column in seen.get_columns(name, schema)}
    return {name: tuple(c for c in options.leave_out.get(name, ()) if c in there)}


def _drift(connection: Connection, kind: Any, was: Known | None, plan: Any) -> list[str]:
    """What changed since, in words: first of the table, then of its triggers."""
    found: list[str] = []
    now: Known = plan.known
    if was is not None:
        for name, told in now.types.items():
            if name not in was.types:
                found.append(f"column {name} was added")
            elif was.types[name] != told:
                found.append(f"column {name} was {was.types[name]} and is {told}")
        found += [f"column {name} was dropped" for name in was.types if name not in now.types]
        if was.captured.key != now.captured.key:
            found.append(f"the key was {was.captured.key} and is {now.captured.key}")
        if was.captured.entity_type != now.captured.entity_type:
            found.append(f"the entity type was {was.captured.entity_type}")
        found += [f"partition {part} came" for part in now.parts if part not in was.parts]
        found += [f"partition {part} went" for part in was.parts if part not in now.parts]
        if not found and set(was.captured.columns) != set(now.captured.columns):
            found.append("other columns are left out")
    return found + list(kind.findings(connection, plan))


def _uncaptured(
    bind: Connection, options: Options, known: dict[str, Known], schema: str | None
) -> list[str]:
    """Tables that `install` without names would take, and that came since."""
    if options.tables is not None:
        return [name for name in options.tables if name not in known]
    found = []
    for name in table_names(bind, schema):
        if name not in known and name not in options.exclude:
            found.append(name)
    return found


def _waiting(bind: Connection, schema: str | None) -> int:
    if not tables.installed(bind, schema):
        return 0
    table = tables.tables_of(bind, schema).outbox
    return int(bind.execute(select(func.count()).select_from(table)).scalar_one())
