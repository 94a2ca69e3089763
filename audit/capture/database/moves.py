"""Reading the rows that wait, and moving them on: each move is one transaction, fenced by a lease.

The order of reading is the id's. Why that keeps each key's order (PostgreSQL): a row is written
after the statement that changes its key, so its id is drawn while that transaction holds the key's
row lock. The next transaction gets that lock only after the first has ended and become visible, and
draws its id after that. So (1) of one key, ids stand in the order of the changes, and (2) whoever
sees a row of a key as committed sees every earlier one of that key, unless it was moved on already.
The lowest ids that are visible are therefore each key's oldest rows.

The number of the transaction would not do: a transaction gets it with its first write to anything,
and may change this key after one with a higher number has. And nothing is jumped over by one that
commits late, for progress is no position: a row waits as long as it is in the table.

SQLite: one transaction writes at a time, so ids stand in the order of commits.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
)
from sqlalchemy import Table as SqlTable

from audit.capture.database.connect import reaching
from audit.capture.database.events import MAX_IMAGE_CHARS, Waiting
from audit.capture.database.leases import Leases, in_shard, now_us
from audit.capture.database.tables import ROW_COLUMNS, Tables

IDS_AT_ONCE = 1_000
"""Ids in one statement; SQLite takes 32,766 parameters, PostgreSQL 65,535."""

_READ = Waiting._fields[:-1]
_IMAGES = ("before", "after")


def is_blocked(row: SqlTable, failed: SqlTable) -> Any:
    """The condition that an earlier row of the same key has failed.

    A row without a key, as a truncate is, concerns all keys of its dataset. Rows without a dataset
    have no order to keep. Three questions instead of one, so that each has its index.
    """
    other = failed.alias()
    earlier = and_(other.c.entity_type == row.c.entity_type, other.c.id < row.c.id)
    return or_(
        exists().where(earlier, other.c.entity_key == row.c.entity_key),
        exists().where(earlier, other.c.entity_key.is_(None)),
        and_(row.c.entity_key.is_(None), exists().where(earlier)),
    )


class Moves:
    """What one relay does to the tables."""

    def __init__(self, engine: Engine, tables: Tables, leases: Leases, batch: int) -> None:
        """`batch`: most rows read at once."""
        self._engine = engine
        self._tables = tables
        self._leases = leases
        self._batch = batch
        self._selects: dict[tuple[int, int], Any] = {}

    def read(self, shard: int) -> list[Waiting]:
        """The oldest rows of a shard that are committed. Raises Unavailable."""
        with reaching(self._engine), self._engine.connect() as connection:
            rows = connection.execute(self._select(shard)).all()
        return [Waiting._make(row) for row in rows]

    def _select(self, shard: int) -> Any:
        shards = self._leases.shards
        known = self._selects.get((shard, shards))
        if known is None:
            row = self._tables.outbox
            blocked = is_blocked(row, self._tables.failed).label("blocked")
            columns: list[Any] = [
                # One hostile image must not fill the memory; this long it is refused anyway.
                func.substr(row.c[name], 1, MAX_IMAGE_CHARS + 1) if name in _IMAGES else row.c[name]
                for name in _READ
            ]
            known = select(*columns, blocked)
            if shards > 1:
                known = known.where(
                    in_shard(self._engine.dialect.name, row.c.entity_type, shard, shards)
                )
            known = self._selects[shard, shards] = known.order_by(row.c.id).limit(self._batch)
        return known

    def finish(
        self,
        shard: int,
        done: Sequence[int],
        failed: Sequence[tuple[int, str]],
        behind: Sequence[int],
        sent_as: str | None,
    ) -> None:
        """Move a batch on: all of it, or nothing when this raises (Fenced, Unavailable).

        `done` are deleted, for their events are sealed; with a source `sent_as` they are kept until
        they are found in a ledger. `failed`: (id, why). `behind`: of keys that have failed.
        """
        with reaching(self._engine), self._engine.begin() as connection:
            self._leases.renew(connection, shard)
            now = now_us(connection)
            self._set_aside(connection, failed, behind, now)
            outbox, sent = self._tables.outbox, self._tables.sent
            for ids in _parts(done):
                if sent_as is not None:
                    extra = {"source": literal(sent_as), "sent_us": literal(now)}
                    copy(connection, outbox, sent, extra, outbox.c.id.in_(ids))
                connection.execute(delete(outbox).where(outbox.c.id.in_(ids)))

    def _set_aside(
        self,
        connection: Connection,
        failed: Sequence[tuple[int, str]],
        behind: Sequence[int],
        now: int,
    ) -> None:
        outbox, table = self._tables.outbox, self._tables.failed
        for number, why in failed:
            extra = {"failure": bindparam("why", why), "failed_us": literal(now)}
            copy(connection, outbox, table, extra, outbox.c.id == number)
            connection.execute(delete(outbox).where(outbox.c.id == number))
        for ids in _parts(behind):
            # Asked again, now under the lock: the failed row may have been put back meanwhile.
            extra = {"failure": literal(None, table.c.failure.type), "failed_us": literal(now)}
            chosen = and_(outbox.c.id.in_(ids), is_blocked(outbox, table))
            copy(connection, outbox, table, extra, chosen)
            moved = select(table.c.id).where(table.c.id.in_(ids))
            connection.execute(delete(outbox).where(outbox.c.id.in_(moved)))


def copy(
    connection: Connection, source: SqlTable, target: SqlTable, extra: dict[str, Any], chosen: Any
) -> None:
    """Copy rows from table to table inside the database, byte for byte."""
    columns = [source.c[name] for name in ROW_COLUMNS]
    rows = select(*columns, *extra.values()).where(chosen)
    connection.execute(insert(target).from_select([*ROW_COLUMNS, *extra], rows))


def _parts(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[at : at + IDS_AT_ONCE] for at in range(0, len(ids), IDS_AT_ONCE)]
