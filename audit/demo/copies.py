"""Copies of the demo's ledger, and the raw SQL that its owner, and an attacker, can run on them."""

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from audit.demo.place import Place
from audit.store import sqlite_path

if TYPE_CHECKING:
    from audit.store.postgresql import PostgresqlAddress

KEPT_BESIDE = ("audit.key", "audit.policy")

Rows = list[tuple[Any, ...]]


class Sql(Protocol):
    """Raw SQL on a copy whose guards are off, in one transaction."""

    def __call__(self, statement: str, values: Sequence[object] = ()) -> Rows:
        """Run one statement, `?` for each value; returns its rows."""
        ...


class Copy(Protocol):
    """One copy. `url`: for --store; `shown`: the same without a password."""

    url: str
    shown: str

    def typed(self, change: str) -> str:
        """The line with which an attacker takes the guards away and makes a change."""
        ...

    def tampering(self, guards_back: bool = False) -> AbstractContextManager[Sql]:
        """Without the guards; with `guards_back` they return at the end."""
        ...


class SqliteCopy:
    """A copy of the file, with key and policy beside it."""

    def __init__(self, folder: Path, store: str, name: str) -> None:
        """Copy the ledger `store` in `folder` to the folder `name` below it."""
        file = sqlite_path(store).name
        copy = folder / name
        copy.mkdir(parents=True)
        for beside in KEPT_BESIDE:
            shutil.copy2(folder / beside, copy / beside)
        self._database = copy / file
        with (
            closing(sqlite3.connect(folder / file)) as source,
            closing(sqlite3.connect(self._database)) as target,
        ):
            source.backup(target)
        self._name = f"{name}/{file}"
        self.url = self.shown = f"sqlite:///{self._name}"

    def typed(self, change: str) -> str:
        """See `Copy`."""
        change = change.replace('"', '\\"')
        return f'sqlite3 {self._name} "DROP TRIGGER ...; {change}"'

    @contextmanager
    def tampering(self, guards_back: bool = False) -> Iterator[Sql]:
        """See `Copy`."""
        with closing(sqlite3.connect(self._database)) as connection, connection:

            def sql(statement: str, values: Sequence[object] = ()) -> Rows:
                return connection.execute(statement, tuple(values)).fetchall()

            guards = sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            for name, _ in guards:
                sql(f"DROP TRIGGER {name}")
            yield sql
            for _, statement in guards if guards_back else ():
                sql(statement)


class PostgresqlCopy:
    """A copy in a schema of the same database; who made it owns its tables, as an attacker may."""

    def __init__(self, address: "PostgresqlAddress", name: str) -> None:
        """Copy the ledger at `address` to a schema beside it."""
        from audit.demo.schemas import copy_schema

        self._address = copy_schema(address, name)
        self.url, self.shown = self._address.url, self._address.shown

    def typed(self, change: str) -> str:
        """See `Copy`."""
        change = change.replace(" entries ", f" {self._address.schema}.entries ").replace(
            '"', '\\"'
        )
        return f'psql -c "ALTER TABLE ... DISABLE TRIGGER USER; {change}"'

    @contextmanager
    def tampering(self, guards_back: bool = False) -> Iterator[Sql]:
        """See `Copy`."""
        from audit.demo.schemas import connected
        from audit.store.postgresql import quoted

        with connected(self._address) as connection, connection.transaction():

            def sql(statement: str, values: Sequence[object] = ()) -> Rows:
                cursor = connection.execute(statement.replace("?", "%s").encode(), values)
                return cursor.fetchall() if cursor.description else []

            guards = sql(
                "SELECT c.relname::text, t.tgname::text FROM pg_trigger t "
                "JOIN pg_class c ON c.oid = t.tgrelid "
                "WHERE c.relnamespace = ?::regnamespace AND NOT t.tgisinternal",
                [quoted(self._address.schema)],
            )
            for table, _ in guards:
                sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            yield sql
            for table, guard in guards if guards_back else ():
                sql(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {guard}")


def copy_ledger(folder: Path, place: Place, name: str) -> Copy:
    """A copy of the ledger of a demo that runs in `folder`. Raises Unavailable."""
    if not place.is_postgresql:
        return SqliteCopy(folder, place.store, name)
    from audit.store.postgresql import parse_address

    return PostgresqlCopy(parse_address(place.store), name)
