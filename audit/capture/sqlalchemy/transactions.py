"""The transactions that changes are made in: SQLite's lock, and taking a change back."""

from typing import Any
from weakref import WeakSet

from sqlalchemy import Connection

from audit.capture.database.connect import SQLITE
from audit.capture.database.tables import tables_of
from audit.errors import InvalidInput

_SAVEPOINT = "attestory_many"


class Transactions:
    """What is remembered of each transaction as long as it lasts."""

    def __init__(self, schema: str | None) -> None:
        """`schema`: where the outbox is."""
        self._schema = schema
        self._begun: WeakSet[Any] = WeakSet()

    def begin(self, connection: Connection) -> None:
        """Be in a transaction that may write. Raises InvalidInput where there is none.

        On SQLite it takes the lock of the one writer, so that nobody changes the rows between
        reading them and changing them.
        """
        transaction = connection.get_transaction()
        if transaction is not None and transaction in self._begun:
            return
        if connection.dialect.name == SQLITE:
            table = tables_of(connection, self._schema).outbox
            connection.execute(table.delete().where(table.c.id < 0))
            driver: Any = connection.connection.driver_connection
            is_open = bool(driver.in_transaction)
        else:
            own: Any = connection.connection.dbapi_connection
            is_open = not bool(getattr(own, "autocommit", False))
        if not is_open:
            raise InvalidInput(
                "a write without a transaction (autocommit) cannot be captured: the change and its "
                "row would not be one\nuse a connection whose isolation level is not AUTOCOMMIT"
            )
        if transaction is not None:
            self._begun.add(transaction)

    def protect(self, connection: Connection) -> bool:
        """On SQLite: a savepoint, for many executions that fail halfway leave what they did."""
        if connection.dialect.name != SQLITE:
            return False
        connection.exec_driver_sql(f"SAVEPOINT {_SAVEPOINT}")
        return True

    def release(self, connection: Connection) -> None:
        """What was protected is complete."""
        connection.exec_driver_sql(f"RELEASE {_SAVEPOINT}")

    def roll_back(self, connection: Connection) -> None:
        """What was protected has failed. Past SQLAlchemy: it is handling that failure now."""
        cursor = connection.connection.cursor()
        try:
            cursor.execute(f"ROLLBACK TO {_SAVEPOINT}")
            cursor.execute(f"RELEASE {_SAVEPOINT}")
        finally:
            cursor.close()

    def undo(self, connection: Connection) -> None:
        """Roll the innermost transaction back, so that nobody can commit what was not recorded."""
        transaction = connection.get_nested_transaction() or connection.get_transaction()
        if transaction is not None and transaction.is_active:
            transaction.rollback()
