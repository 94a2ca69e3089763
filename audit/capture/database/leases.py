"""Leases: which relay empties which part of the outbox, for how long, and fenced by an epoch.

A lease has a time limit on the database's clock (SQLite: this machine's, where the file is).
Whoever takes one over raises its epoch, and every transaction of a relay first renews its lease at
the epoch it knows: a relay that was stopped meanwhile finds no such row, and changes nothing. What
it emitted before it noticed is dropped in the log as repeats.

A part holds whole datasets, not single keys, for a truncate concerns every key of its dataset.
"""

from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Engine, delete, func, insert, or_, select, text, update
from sqlalchemy.sql import ColumnElement

from audit.capture.database.connect import POSTGRESQL, reaching
from audit.capture.database.tables import Tables
from audit.errors import Fenced, InvalidInput
from audit.store import clock_us

LEASE_S = 15.0
MAX_SHARDS = 64
IDLE_MS = 10_000
"""PostgreSQL ends a relay's transaction in which nothing happens for so long."""
LOCK_MS = 30_000
"""How long a relay waits for another one's transaction."""

_SHARD = "shard:"
_MEMBER = "relay:"


def now_us(connection: Connection) -> int:
    """Microseconds since the epoch by the clock that all relays of this database share."""
    if connection.dialect.name != POSTGRESQL:
        return clock_us()
    found = connection.execute(
        text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    )
    return int(found.scalar_one())


def guard(connection: Connection) -> None:
    """A relay that is stopped in the middle of a transaction must not stop the others for ever."""
    if connection.dialect.name == POSTGRESQL:
        connection.execute(
            text(
                f"SELECT set_config('idle_in_transaction_session_timeout', '{IDLE_MS}', true), "
                f"set_config('lock_timeout', '{LOCK_MS}', true)"
            )
        )


class Leases:
    """The leases of one relay. `held`: shard -> epoch. One thread uses it."""

    def __init__(
        self, engine: Engine, tables: Tables, shards: int | None, lease_s: float = LEASE_S
    ) -> None:
        """`shards`: into how many parts; None: as it is, at first one. Raises InvalidInput."""
        if shards is not None and not 1 <= shards <= MAX_SHARDS:
            raise InvalidInput(f"an outbox has 1 to {MAX_SHARDS} shards")
        self.owner = str(uuid4())
        self.held: dict[int, int] = {}
        self.shards = 1
        self.lease_us = int(lease_s * 1_000_000)
        self._wanted = shards
        self._engine = engine
        self._table = tables.relay

    def begin(self) -> None:
        """Make the leases, or as many as are wanted. Raises InvalidInput, Unavailable.

        Another number can be had only while no relay holds one.
        """
        table = self._table
        with reaching(self._engine), self._engine.begin() as connection:
            self._lock_table(connection)
            rows = connection.execute(
                select(table.c.name, table.c.epoch, table.c.until_us, table.c.owner).where(
                    table.c.name.startswith(_SHARD)
                )
            ).all()
            self.shards = self._wanted or len(rows) or 1
            if len(rows) == self.shards:
                return
            now = now_us(connection)
            if any(row.until_us > now and row.owner != self.owner for row in rows):
                raise InvalidInput(
                    f"relays with {len(rows)} shards are running\n"
                    f"stop them first, or say --shards {len(rows)}"
                )
            # Never an epoch again that a relay of before may still believe to hold.
            epoch = max((row.epoch for row in rows), default=0) + 1
            connection.execute(delete(table).where(table.c.name.startswith(_SHARD)))
            connection.execute(
                insert(table),
                [
                    {"name": f"{_SHARD}{number}", "owner": None, "epoch": epoch, "until_us": 0,
                     "shards": self.shards}
                    for number in range(self.shards)
                ],
            )  # fmt: skip

    def _lock_table(self, connection: Connection) -> None:
        guard(connection)
        if connection.dialect.name == POSTGRESQL:
            name = connection.dialect.identifier_preparer.format_table(self._table)
            connection.execute(text(f"LOCK TABLE {name} IN EXCLUSIVE MODE"))
            return
        # A write that changes nothing takes SQLite's lock before anything is read.
        connection.execute(update(self._table).where(self._table.c.name == "").values(epoch=0))

    def take(self) -> None:
        """Renew what is held, take what is free, up to a fair share. Raises Unavailable."""
        table = self._table
        with reaching(self._engine), self._engine.begin() as connection:
            self._lock_table(connection)
            now = now_us(connection)
            self._show_up(connection, now)
            alive = connection.execute(
                select(func.count()).where(table.c.name.startswith(_MEMBER), table.c.until_us > now)
            ).scalar_one()
            rows = connection.execute(
                select(table.c.name, table.c.owner, table.c.epoch, table.c.until_us, table.c.shards)
                .where(table.c.name.startswith(_SHARD))
                .order_by(table.c.name)
            ).all()
            if rows and rows[0].shards != self.shards:
                self.held.clear()
                raise Fenced(f"the outbox has {rows[0].shards} shards now: start the relay anew")
            fair = -(-self.shards // max(alive, 1))
            held: dict[int, int] = {}
            for row in rows:
                number = int(row.name.removeprefix(_SHARD))
                mine = row.owner == self.owner and self.held.get(number) == row.epoch
                if len(held) >= fair:
                    if mine:
                        self._set(connection, row.name, None, row.epoch, 0)
                elif mine:
                    held[number] = row.epoch
                    self._set(connection, row.name, self.owner, row.epoch, now + self.lease_us)
                elif row.until_us <= now:
                    held[number] = row.epoch + 1
                    self._set(connection, row.name, self.owner, row.epoch + 1, now + self.lease_us)
        self.held = held

    def _set(
        self, connection: Connection, name: str, owner: str | None, epoch: int, until_us: int
    ) -> None:
        table = self._table
        connection.execute(
            update(table)
            .where(table.c.name == name)
            .values(owner=owner, epoch=epoch, until_us=until_us)
        )

    def _show_up(self, connection: Connection, now: int) -> None:
        """Say that this relay is there, so that shares are fair; forget those that are gone."""
        table = self._table
        connection.execute(
            delete(table).where(
                table.c.name.startswith(_MEMBER),
                or_(table.c.until_us <= now, table.c.owner == self.owner),
            )
        )
        connection.execute(
            insert(table).values(
                name=f"{_MEMBER}{self.owner}",
                owner=self.owner,
                epoch=0,
                until_us=now + self.lease_us,
                shards=self.shards,
            )
        )

    def renew(self, connection: Connection, shard: int) -> None:
        """First in a transaction: the shard is locked, and this relay's for another while.

        Raises Fenced when somebody else took it over: then the transaction must change nothing.
        """
        guard(connection)
        table = self._table
        done = connection.execute(
            update(table)
            .where(
                table.c.name == f"{_SHARD}{shard}",
                table.c.owner == self.owner,
                table.c.epoch == self.held.get(shard, -1),
            )
            .values(until_us=now_us(connection) + self.lease_us)
        )
        if done.rowcount != 1:
            self.held.pop(shard, None)
            raise Fenced(f"another relay took over shard {shard} of the outbox")

    def release(self) -> None:
        """Give all back, so that others need not wait for the time limit. Raises Unavailable."""
        table = self._table
        with reaching(self._engine), self._engine.begin() as connection:
            connection.execute(
                update(table)
                .where(table.c.name.startswith(_SHARD), table.c.owner == self.owner)
                .values(owner=None, until_us=0)
            )
            connection.execute(delete(table).where(table.c.name == f"{_MEMBER}{self.owner}"))
        self.held.clear()


def lock_all(connection: Connection, tables: Tables) -> None:
    """Hold every relay's next transaction back until this one ends."""
    guard(connection)
    table = tables.relay
    connection.execute(
        update(table).where(table.c.name.startswith(_SHARD)).values(epoch=table.c.epoch)
    )


def in_shard(dialect: str, entity_type: ColumnElement[Any], shard: int, shards: int) -> Any:
    """The condition that a row is of a shard: by the SHA-256 of its dataset, the same for ever."""
    if dialect == POSTGRESQL:
        raw = func.convert_to(func.coalesce(entity_type, ""), "UTF8")
        return func.get_byte(func.sha256(raw), 0) % shards == shard
    return func.attestory_shard(entity_type, shards) == shard
