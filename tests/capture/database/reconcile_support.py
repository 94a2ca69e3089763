"""A little application whose table and outbox change together, and its ledger."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, MetaData, Table, and_

from audit.capture.database import outbox
from audit.capture.database.captured import Captured, captured_of
from audit.capture.database.cells import key_of, row_cells
from audit.capture.reconciled import Reconciled
from audit.ledger import Ledger
from tests.capture.database.outbox_support import relay
from tests.capture.support import url

COUNTS = ("missing", "extra", "different", "pending")


class App:
    """Writes rows of one table and says so in the outbox, unless told to be silent."""

    def __init__(self, engine: Engine, ddl: str, name: str = "user", entity: str = "user") -> None:
        """Makes the table."""
        self.engine = engine
        self.entity = entity
        with engine.begin() as connection:
            cursor = connection.connection.cursor()  # no bind parameter is looked for
            cursor.execute(ddl)
        self.table = Table(name, MetaData(), autoload_with=engine)
        self.captured: Captured = captured_of(self.table, entity)

    def insert(self, *rows: Mapping[str, Any], silent: bool = False) -> None:
        """Rows in one transaction."""
        with self.engine.begin() as connection:
            connection.execute(self.table.insert(), [dict(row) for row in rows])
            if not silent:
                outbox.write(connection, [self._row("create", row, after=row) for row in rows])

    def update(self, key: Mapping[str, Any], silent: bool = False, **values: Any) -> None:
        """The row of a key."""
        with self.engine.begin() as connection:
            connection.execute(self.table.update().where(self._is(key)).values(values))
            if not silent:
                outbox.write(connection, [self._row("update", key, after=values)])

    def delete(self, key: Mapping[str, Any], silent: bool = False) -> None:
        """The row of a key."""
        with self.engine.begin() as connection:
            connection.execute(self.table.delete().where(self._is(key)))
            if not silent:
                outbox.write(connection, [self._row("delete", key, before=key)])

    def _is(self, key: Mapping[str, Any]) -> Any:
        return and_(*(self.table.c[name] == key[name] for name in self.captured.key))

    def _row(self, op: str, row: Mapping[str, Any], **images: Mapping[str, Any]) -> outbox.Row:
        cells = {n: row_cells(image, self.captured, self.table) for n, image in images.items()}
        key = key_of(row, self.captured, self.table)
        return outbox.row(op, self.entity, key, **cells)


def relayed(engine: Engine, folder: Path) -> None:
    """What waits is sealed."""
    relay(engine, folder).run(once=True)


def reconciled(app: App, folder: Path, **options: Any) -> Reconciled:
    """The dataset compared with its table."""
    options = {"record": False, "table": app.table.name, **options}
    with Ledger(url(folder)) as ledger:
        return ledger.reconcile(app.entity, app.engine, **options)


def counts(found: Reconciled) -> Sequence[int]:
    """missing, extra, different, pending."""
    return tuple(found.counts[name] for name in COUNTS)
