"""What each kind of database does its own way; everything else is the same SQL for all of them.

Every method works on the caller's connection, inside the caller's transaction.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection


class Database(Protocol):
    """One kind of database: its guards, its soundness, its fast statements."""

    @property
    def asks_driver(self) -> bool:
        """Whether one question needs no transaction around it, so that its driver can be asked.

        What SQLAlchemy does for a question takes ten times as long as SQLite takes to answer it.
        """
        ...

    def __hash__(self) -> int:
        """What was found out about a kind of database is remembered for it."""
        ...

    def has_ledger(self, connection: Connection) -> bool:
        """Whether there is a table `schema_versions`, or something of that name."""
        ...

    def lock_schema(self, connection: Connection) -> None:
        """Let one process at a time make or migrate a ledger, until the transaction ends."""
        ...

    def create_view(self, connection: Connection) -> None:
        """Create the view `signed_records`."""
        ...

    def create_guards(self, connection: Connection) -> None:
        """Create what keeps the tables append-only."""
        ...

    def grant_leases(self, connection: Connection) -> None:
        """Let whoever may insert leases change them too, which no other table allows."""
        ...

    def check_guards(self, connection: Connection) -> list[tuple[str, str]]:
        """(code, message) for each guard that is missing or not the one that was created."""
        ...

    def schema_faults(self, connection: Connection) -> list[str]:
        """In what the schema is not the one that the migrations make; cheap. See `soundness`."""
        ...

    def index_faults(self, connection: Connection) -> list[str]:
        """Where an index, or the storage under it, has other rows than its table. Reads it all."""
        ...

    def insert_entries(self, connection: Connection, rows: list[tuple[object, ...]]) -> None:
        """Insert rows of the entries table, their columns in the table's order."""
        ...

    def find_ids(
        self, connection: Connection, log: int, ids: Sequence[bytes]
    ) -> Iterator[tuple[bytes | None, bytes, int]]:
        """(source, event_id, index) of the log's entries with these values of event_id."""
        ...

    def hold_still(self, connection: Connection) -> None:
        """Begin a transaction to read in, all of whose questions see one state of the database."""
        ...

    def let_go(self, connection: Connection) -> None:
        """End that transaction."""
        ...

    def newest_at(self, connection: Connection, log: int, recorded_time_us: int) -> int | None:
        """The index of the log's newest entry recorded at or before a time; None: there is none."""
        ...

    def leaves_at(
        self, connection: Connection, log: int, indexes: Sequence[int]
    ) -> Sequence[tuple[int, bytes]]:
        """(index, leaf) of the log's entries at these increasing indexes; missing are skipped."""
        ...

    def beside_key(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """A column of the primary key in a condition that another index is to answer."""
        ...
