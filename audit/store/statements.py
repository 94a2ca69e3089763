"""The questions that are asked most, as SQL that is made once for each reader.

To build a statement and to look up its cached form takes ten times as long as SQLite takes to
answer it; reading one row asks several of them. Their SQL is the same; only the values differ.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import local
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    union_all,
)

from audit.store import tables
from audit.store.database import Database
from audit.store.seam import asked, fetched, translate

_entries = tables.entries.c
_checkpoints = tables.checkpoints.c
POSITION = _entries.index + 0
"""The index as an expression: so that a bound on it, or its order, does not tempt the planner to
scan the log along its primary key where an index on what is asked for is there."""
_LOG = _entries.log == bindparam("log")


def _seen() -> Any:
    """Every log that entries are of: one seek for each."""
    seen = select(func.min(_entries.log).label("log")).cte("seen", recursive=True)
    later = select(func.min(_entries.log)).where(_entries.log > seen.c.log).scalar_subquery()
    return seen.union_all(select(later).where(seen.c.log.is_not(None)))


def _logs(_: Database) -> Any:
    """The rows of logs, and every log that entries are of."""
    seen = _seen()
    none = cast(literal_column("NULL"), Text)
    logs = tables.logs.c
    named = select(logs.log, logs.origin, logs.vkey)
    return named.union_all(select(seen.c.log, none, none).where(seen.c.log.is_not(None)))


def _sizes(_: Database) -> Any:
    """Every log that `_logs` finds, with its newest index."""
    seen = _seen()
    known = select(tables.logs.c.log).union(select(seen.c.log).where(seen.c.log.is_not(None)))
    log = known.subquery("known").c.log
    newest = select(func.max(_entries.index)).where(_entries.log == log).scalar_subquery()
    return select(log, newest)


def _types(_: Database) -> Any:
    """Every entity type of a log, in order: one seek for each."""
    first = select(func.min(_entries.entity_type).label("name"))
    types = first.where(_LOG, _entries.entity_type > "").cte("types", recursive=True)
    onward = select(func.min(_entries.entity_type)).where(_LOG, _entries.entity_type > types.c.name)
    more = select(onward.scalar_subquery()).where(types.c.name.is_not(None))
    every = types.union_all(more)
    return select(every.c.name).where(every.c.name.is_not(None))


def _found(*where: Any) -> Select[Any]:
    """Indexes alone, below a stop, in order: from a covering index."""
    query = select(_entries.index).where(*where, bindparam("stop") > POSITION)
    return query.order_by(POSITION)


_OF_TYPE = (_LOG, _entries.entity_type == bindparam("entity_type"))
_OF_KEY = (*_OF_TYPE, _entries.entity_key == bindparam("entity_key"))
_FROM = bindparam("start") <= POSITION


def _special(database: Database, *where: Any) -> Select[Any]:
    return _found(database.beside_key(_entries.log) == bindparam("log"), tables.SPECIAL, *where)


def _with_leaves(*found: tuple[Select[Any], int]) -> Select[Any]:
    """(index, mark, leaf) of the first entries of some `_found`, each with its mark, unordered.

    First the indexes alone, as `_found` has them from a covering index: only these are sorted.
    """
    marked = [
        one.order_by(None).with_only_columns(
            POSITION.label("place"), literal_column(str(mark)).label("mark")
        )
        for one, mark in found
    ]
    whole: Any = marked[0] if len(marked) == 1 else union_all(*marked)
    all_of = whole.subquery("found")
    place, mark = all_of.c[0], all_of.c[1]
    first = select(place, mark).order_by(place).limit(bindparam("most")).subquery("first_ones")
    entry = tables.entries.alias("entry").c
    leaf = select(entry.leaf).where(entry.log == bindparam("log"), entry.index == first.c[0])
    return select(first.c[0], first.c[1], leaf.scalar_subquery())


def _of_row(_: Database) -> Select[Any]:
    keyless = _entries.entity_key.is_(None)
    return _with_leaves((_found(*_OF_KEY), OWN), (_found(*_OF_TYPE, keyless), KEYLESS))


OWN, KEYLESS = 0, 1
"""Marks of what `of_row` finds: of the key, and of its type without a key."""

Make = Callable[[Database], Any]

QUESTIONS: Mapping[str, Make] = {
    "logs": _logs,
    "sizes": _sizes,
    "newest": lambda _: select(func.max(_entries.index)).where(_LOG),
    "leaf": lambda _: select(_entries.leaf).where(_LOG, _entries.index == bindparam("index")),
    "leaves": lambda _: (
        select(_entries.index, _entries.leaf)
        .where(_LOG, _entries.index >= bindparam("start"), _entries.index < bindparam("stop"))
        .order_by(_entries.index)
        .limit(bindparam("most"))
    ),
    "of_type": lambda _: _found(*_OF_TYPE),
    "of_type_from": lambda _: _found(*_OF_TYPE, _FROM),
    # Along the log, not along the type: not an expression that the type's index can answer.
    "of_type_between": lambda _: (
        select(_entries.index, _entries.leaf)
        .where(_LOG, _entries.index >= bindparam("start"), _entries.index < bindparam("stop"))
        .where(func.coalesce(_entries.entity_type, "") == bindparam("entity_type"))
        .order_by(_entries.index)
    ),
    "of_key": lambda _: _found(*_OF_KEY),
    "of_key_from": lambda _: _found(*_OF_KEY, _FROM),
    "keyless": lambda _: _found(*_OF_TYPE, _entries.entity_key.is_(None)),
    "of_row": _of_row,
    "special": _special,
    "special_from": lambda database: _special(database, _FROM),
    "special_of_kind": lambda database: _special(database, _entries.kind == bindparam("kind")),
    "special_of_kind_from": lambda database: _special(
        database, _entries.kind == bindparam("kind"), _FROM
    ),
    "first_special_of_kind": lambda database: _with_leaves(
        (_special(database, _entries.kind == bindparam("kind")), OWN)
    ),
    "types": _types,
    "first_of_type": lambda _: (
        select(_entries.index).where(*_OF_TYPE, bindparam("stop") > POSITION).limit(1)
    ),
    "of_id": lambda _: (
        select(_entries.log, _entries.index)
        .where(_entries.event_id == bindparam("event_id"), _entries.kind != 2)
        .order_by(_entries.log, _entries.index)
    ),
    "of_id_and_source": lambda _: (
        select(_entries.log, _entries.index)
        .where(_entries.event_id == bindparam("event_id"), _entries.kind != 2)
        .where(_entries.source == bindparam("source"))
        .order_by(_entries.log, _entries.index)
    ),
    "newest_checkpoint": lambda _: (
        select(_checkpoints.size, _checkpoints.note)
        .where(_checkpoints.log == bindparam("log"), _checkpoints.size >= 0)
        .order_by(_checkpoints.size.desc())
        .limit(1)
    ),
    "covering": lambda _: (
        select(_checkpoints.size, _checkpoints.note)
        .where(_checkpoints.log == bindparam("log"), _checkpoints.size >= bindparam("size"))
        .order_by(_checkpoints.size)
        .limit(1)
    ),
    "tile": lambda _: select(tables.tiles.c.data).where(
        tables.tiles.c.log == bindparam("log"),
        tables.tiles.c.level == bindparam("level"),
        tables.tiles.c.index == bindparam("index"),
    ),
}
"""Name -> how the statement is made; the values that it takes are named in it."""


class _Made(NamedTuple):
    """SQL for a driver: the text, the order of its values (None: by name), those that are fixed."""

    text: str
    order: tuple[str, ...] | None
    fixed: Mapping[str, Any]


_MADE: dict[tuple[str, str], _Made] = {}
"""What readers of this process made, for the next one: to make a statement takes a millisecond."""

_SOME_SCHEMA = "the schema of a ledger"
"""What stands for a schema in these; no name that a statement of ours holds."""


class _Held:
    """The connection of `steady`, and how many are inside."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.users = 0


class Statements:
    """Asks one database the questions of QUESTIONS."""

    def __init__(self, engine: Engine, address: str, database: Database) -> None:
        """Nothing is made before it is asked for."""
        self._engine = engine
        self._address = address
        self._database = database
        self._made: dict[str, _Made] = {}
        self._thread = local()

    @contextmanager
    def steady(self) -> Iterator[None]:
        """See `contract.Reader.steady`.

        Who begins while another is inside shares what that one sees, whichever of them leaves
        first: coroutines, perhaps, or a generator that was left behind.
        """
        held = self._held()
        if held is None:
            held = self._thread.held = self._hold()
        held.users += 1
        try:
            yield
            if held.users == 1 and not held.connection.closed:
                with translate(self._address):
                    self._database.let_go(held.connection)
        finally:
            held.users -= 1
            if not held.users:
                with translate(self._address):
                    held.connection.close()

    def _hold(self) -> "_Held":
        with translate(self._address):
            connection = self._engine.connect()
            try:
                self._database.hold_still(connection)
            except BaseException:
                connection.close()
                raise
        return _Held(connection)

    def _held(self) -> "_Held | None":
        held: _Held | None = getattr(self._thread, "held", None)
        # Closed by the last one that left, in whatever thread.
        return None if held is None or held.connection.closed else held

    @contextmanager
    def within(self, connection: Connection) -> Iterator[None]:
        """Have this thread's questions asked in a transaction that it is in, of a writer."""
        before = getattr(self._thread, "held", None)
        self._thread.held = held = _Held(connection)
        held.users += 1
        try:
            yield
        finally:
            self._thread.held = before

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """A connection for one question: that of `steady`, where this thread is inside."""
        held = self._held()
        if held is None:
            with self._engine.connect() as connection:
                yield connection
            return
        try:
            yield held.connection
        except BaseException:
            # A transaction in which something failed may answer nothing more; whoever goes on
            # after the error asks in transactions of their own, as outside.
            held.connection.close()
            raise

    def ask(self, name: str, **values: Any) -> list[tuple[Any, ...]]:
        """The rows of a question, as the driver gives them.

        In a transaction of its own, or in that of `steady`. See `Database.asks_driver`.

        Raises what `seam.translate` makes of the driver's errors.
        """
        made = self._made.get(name) or self._make(name)
        given: Any = {**made.fixed, **values}
        if made.order is not None:
            given = tuple([given[one] for one in made.order])
        with translate(self._address):
            return self._run(made.text, given)

    def _run(self, text: str, given: Any) -> list[tuple[Any, ...]]:
        if not self._database.asks_driver:
            with self.connected() as connection:
                return fetched(connection.exec_driver_sql(text, given))
        if self._held() is None:
            return asked(self._engine.raw_connection, text, given)
        with self.connected() as connection:
            return asked(lambda: connection.connection, text, given, give_back=False)

    def _make(self, name: str) -> _Made:
        dialect = self._engine.dialect
        places = self._engine.get_execution_options().get("schema_translate_map")
        kind = (name, dialect.name)
        if kind not in _MADE:
            _MADE[kind] = self._compiled(name, bool(places))
        made = _MADE[kind]
        if places is not None:
            schema = dialect.identifier_preparer.quote_identifier(places[None])
            made = made._replace(text=made.text.replace(f'"{_SOME_SCHEMA}"', schema))
        self._made[name] = made
        return made

    def _compiled(self, name: str, in_schema: bool) -> _Made:
        compiled = QUESTIONS[name](self._database).compile(
            dialect=self._engine.dialect,
            schema_translate_map={None: _SOME_SCHEMA} if in_schema else None,
            render_schema_translate=in_schema,
        )
        order = compiled.positiontup if compiled.positional else None
        fixed = {key: value for key, value in compiled.params.items() if value is not None}
        return _Made(compiled.string, None if order is None else tuple(order), fixed)
