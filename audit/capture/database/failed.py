"""Rows that were set aside: listing them, and putting them back."""

from typing import Any, NamedTuple

from sqlalchemy import Engine, and_, delete, func, or_, select, true

from audit.capture.database.connect import reaching
from audit.capture.database.leases import lock_all
from audit.capture.database.moves import copy
from audit.capture.database.tables import require_installed

MAX_LISTED = 1_000


class FailedRow(NamedTuple):
    """A row that was set aside, why, and when; `behind`: rows of its key that wait for it."""

    id: int
    event_id: str
    op: str
    entity_type: str | None
    entity_key: str | None
    failure: str
    failed_us: int
    behind: int


def failed_rows(engine: Engine, schema: str | None = None, limit: int = 100) -> list[FailedRow]:
    """The oldest rows that were set aside. Raises InvalidInput, Unavailable."""
    table = require_installed(engine, schema).failed
    other = table.alias()
    behind = (
        select(func.count())
        .where(
            other.c.failure.is_(None),
            other.c.entity_type == table.c.entity_type,
            other.c.id > table.c.id,
            (other.c.entity_key == table.c.entity_key)
            | other.c.entity_key.is_(None)
            | table.c.entity_key.is_(None),
        )
        .scalar_subquery()
    )
    names = ("id", "event_id", "op", "entity_type", "entity_key", "failure", "failed_us")
    query = (
        select(*(table.c[name] for name in names), behind)
        .where(table.c.failure.is_not(None))
        .order_by(table.c.id)
        .limit(min(limit, MAX_LISTED))
    )
    with reaching(engine), engine.connect() as connection:
        return [FailedRow._make(row) for row in connection.execute(query)]


def redrive(
    engine: Engine,
    entity_type: str | None = None,
    entity_key: str | None = None,
    schema: str | None = None,
) -> int:
    """Put rows back that were set aside, with those that wait behind them; how many.

    All of them, or those of a dataset, or of one key (and what waits in its dataset: the relay sets
    aside again what has to wait for other rows). They keep their ids, so they stand before all
    later rows of their keys. A row that fails again is set aside again.
    Raises InvalidInput, Unavailable.
    """
    found = require_installed(engine, schema)
    table = found.failed
    chosen: Any = true() if entity_type is None else table.c.entity_type == entity_type
    if entity_key is not None:
        chosen = and_(chosen, or_(table.c.entity_key == entity_key, table.c.failure.is_(None)))
    with reaching(engine), engine.begin() as connection:
        lock_all(connection, found)
        copy(connection, table, found.outbox, {}, chosen)
        return int(connection.execute(delete(table).where(chosen)).rowcount)
