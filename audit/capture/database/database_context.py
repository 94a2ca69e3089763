"""Handing `audit.context` to the database, where triggers read it: who acts, why, in which request.

PostgreSQL: the setting `attestory.context`, local to the transaction. SQLite has no setting that a
trigger could read, and a trigger must not call a function that only some connections have: every
other connection's write would fail. So the context is the one row of `attestory_context`, written
in the transaction of the change and taken out again before its commit. One transaction writes at a
time there, so nobody else ever sees it; after a crash here it is rolled back with the change.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Engine, event

from audit.capture.context import current
from audit.capture.database.connect import POSTGRESQL, dialect_of
from audit.errors import InvalidInput

CONTEXT = "attestory_context"
SETTING = "attestory.context"
TRANSACTION = "attestory.transaction"
"""Where triggers keep the id that they chose for a transaction."""
ABSENT_RETRY_S = 10.0
"""How long after SQLite had no table for it the context is not even tried there."""

FIELDS = ("actor", "reason", "request_id", "trace_id", "transaction_id", "valid_time_us")
"""Members of the setting's JSON object, and columns of SQLite's table."""

_STATE = "attestory_context"
_READS = re.compile(r"\s*(?:SELECT\b[^(]*\Z|SHOW\b|ROLLBACK\b|BEGIN\b|START\b|COMMIT\b)", re.I)
_WRITES = re.compile(r"\s*(?:INSERT|UPDATE|DELETE|REPLACE)\b", re.I)
_WITH_WRITES = re.compile(r"\s*WITH\b.*\b(?:INSERT|UPDATE|DELETE|REPLACE)\b", re.I | re.S)
_ENDS = re.compile(r"\s*(?:COMMIT|END)\b", re.I)
_BACK = re.compile(r"\s*ROLLBACK\b", re.I)
_SET_SQLITE = (
    f"INSERT OR REPLACE INTO {CONTEXT} (one, {', '.join(FIELDS)}) VALUES (1, ?, ?, ?, ?, ?, ?)"
)
_CLEAR_SQLITE = f"DELETE FROM {CONTEXT}"


class _State:
    """What a connection's transaction was told. `session`: PostgreSQL in autocommit."""

    __slots__ = ("local", "session", "transaction_id")

    def __init__(self) -> None:
        self.local: tuple[Any, ...] | None = None
        self.session: tuple[Any, ...] | None = None
        self.transaction_id: str | None = None

    def forget(self) -> None:
        """The transaction has ended: what was local to it is gone."""
        self.local = self.transaction_id = None


def install(engine: Engine | Any) -> None:
    """Put the context into every writing transaction of an engine, async ones too. Repeatable.

    On PostgreSQL it costs one round trip in a transaction that writes, and none without a context.
    Raises InvalidInput for another database.
    """
    engine = getattr(engine, "sync_engine", engine)
    if not isinstance(engine, Engine):
        raise InvalidInput("the context is installed on an Engine of SQLAlchemy")
    before = _postgresql if dialect_of(engine) == POSTGRESQL else _Sqlite().before
    if getattr(engine, "_attestory_context", False):
        return
    engine._attestory_context = True  # type: ignore[attr-defined]
    event.listen(engine, "before_cursor_execute", before)
    if dialect_of(engine) == POSTGRESQL:
        for name in ("begin", "commit", "rollback"):
            event.listen(engine, name, _forget)
        for name in ("commit_twophase", "rollback_twophase"):
            event.listen(engine, name, lambda connection, *_: _forget(connection))
    else:
        event.listen(engine, "commit", _clear_sqlite)
        event.listen(engine, "rollback", _forget)
    event.listen(engine, "rollback_savepoint", lambda connection, *_: _undone(connection))


def transaction_of(connection: Connection, is_shared: bool = False) -> str:
    """One id for the connection's transaction; triggers write the same once the context is set.

    `is_shared`: triggers may have written in it already, and chosen one themselves (PostgreSQL).
    """
    own = current().transaction
    if own is not None:
        return own
    state = _state(connection)
    if state.transaction_id is None:
        ask = is_shared and connection.dialect.name == POSTGRESQL
        state.transaction_id = (_chosen_by_triggers(connection) if ask else "") or str(uuid4())
    return state.transaction_id


def _chosen_by_triggers(connection: Connection) -> str:
    own: Any = connection.connection.cursor()
    try:
        own.execute(f"SELECT current_setting('{TRANSACTION}', true)")
        return str(own.fetchone()[0] or "")
    finally:
        own.close()


@contextmanager
def telling(connection: Connection) -> Iterator[None]:
    """The context as it is now, for what a block writes through an engine without `install`."""
    if getattr(connection.engine, "_attestory_context", False):
        yield
        return
    if connection.dialect.name == POSTGRESQL:
        _postgresql(connection, None, "INSERT")
    else:
        _Sqlite().before(connection, None, "INSERT")
    try:
        yield
        if connection.dialect.name != POSTGRESQL:
            _clear_sqlite(connection)
    finally:
        # Nobody listens to the end of this transaction.
        _forget(connection)


def _state(connection: Connection) -> _State:
    found: Any = connection.info.get(_STATE)
    if found is None:
        found = connection.info[_STATE] = _State()
    return found  # type: ignore[no-any-return]


def _forget(connection: Connection) -> None:
    if connection.invalidated:
        # It was lost, and what was kept with it. Rolling back must not fail for that.
        return
    found: Any = connection.info.get(_STATE)
    if found is not None:
        found.forget()


def _undone(connection: Connection) -> None:
    # What was set after the savepoint is undone with it; setting it once more does no harm.
    if not connection.invalidated:
        _state(connection).local = None


def _wanted(state: _State) -> tuple[Any, ...]:
    found = current()
    transaction = state.transaction_id if found.transaction is None else found.transaction
    return (
        *(found.actor, found.reason, found.request_id, found.trace_id),
        *(transaction, found.valid_time_us),
    )


_NOTHING: tuple[Any, ...] = (None,) * len(FIELDS)


def _postgresql(connection: Connection, cursor: Any, statement: str, *_: Any, **__: Any) -> None:
    if _BACK.match(statement):
        _undone(connection)
    if _READS.match(statement):
        return
    state = _state(connection)
    wanted = _wanted(state)
    told = state.local or state.session or _NOTHING
    if wanted == told:
        return
    autocommit = bool(getattr(connection.connection.dbapi_connection, "autocommit", False))
    members = {
        name: value.replace("\x00", "\ufffd") if isinstance(value, str) else value
        for name, value in zip(FIELDS, wanted, strict=True)
        if value is not None
    }
    mark = "$1" if connection.dialect.paramstyle == "numeric_dollar" else "%s"
    own: Any = connection.connection.cursor()
    try:
        own.execute(
            f"SELECT set_config('{SETTING}', {mark}, {'false' if autocommit else 'true'})",
            (json.dumps(members, ensure_ascii=False) if members else "",),
        )
    finally:
        own.close()
    if autocommit:
        state.session, state.local = wanted, None
    else:
        state.local = wanted


class _Sqlite:
    """The hook of an SQLite engine."""

    def __init__(self) -> None:
        self._absent_until = 0.0

    def before(
        self, connection: Connection, cursor: Any, statement: str, *_: Any, **__: Any
    ) -> None:
        """Before each statement."""
        if _ENDS.match(statement):
            _clear_sqlite(connection)
        elif _BACK.match(statement):
            _undone(connection)
        elif _WRITES.match(statement) or _WITH_WRITES.match(statement):
            self._set(connection)

    def _set(self, connection: Connection) -> None:
        raw: Any = connection.connection.dbapi_connection
        autocommit = getattr(raw, "isolation_level", "") is None and not raw.in_transaction
        if autocommit or time.monotonic() < self._absent_until:
            # In autocommit each statement is a transaction: others would see this one's context.
            return
        transaction_of(connection)
        state = _state(connection)
        wanted = _wanted(state)
        if wanted == state.local:
            return
        own = connection.connection.cursor()
        try:
            own.execute(_SET_SQLITE, wanted)
            state.local = wanted
        except Exception as error:
            if f"no such table: {CONTEXT}" not in str(error):
                raise
            self._absent_until = time.monotonic() + ABSENT_RETRY_S
        finally:
            own.close()


def _clear_sqlite(connection: Connection) -> None:
    found: Any = connection.info.get(_STATE)
    if found is None or found.local is None:
        _forget(connection)
        return
    own = connection.connection.cursor()
    try:
        own.execute(_CLEAR_SQLITE)
    finally:
        own.close()
    found.forget()
