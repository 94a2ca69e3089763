"""How much waits in an outbox, and for how long."""

from typing import Any, NamedTuple

from sqlalchemy import Engine, func, select

from audit.capture.database.connect import reaching
from audit.capture.database.tables import require_installed
from audit.store import clock_us


class Backlog(NamedTuple):
    """What an outbox holds. `oldest_s`: age of the oldest row that waits; None where none does.

    `sent`: acknowledged by a broker, and not yet found in a ledger. `failed`: set aside with a
    reason; `behind`: of their keys, waiting for them.
    """

    waiting: int
    oldest_s: float | None
    sent: int
    failed: int
    behind: int

    def to_json(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return self._asdict()


def backlog(engine: Engine, schema: str | None = None) -> Backlog:
    """Count what waits. Raises InvalidInput (there is no outbox), Unavailable."""
    tables = require_installed(engine, schema)
    outbox, failed = tables.outbox, tables.failed
    with reaching(engine), engine.connect() as connection:
        waiting = connection.execute(select(func.count()).select_from(outbox)).scalar_one()
        oldest = connection.execute(
            select(outbox.c.written_us).order_by(outbox.c.id).limit(1)
        ).scalar()
        sent = connection.execute(select(func.count()).select_from(tables.sent)).scalar_one()
        aside, with_reason = connection.execute(
            select(func.count(), func.count(failed.c.failure))
        ).one()
    age = max(0.0, (clock_us() - oldest) / 1e6) if type(oldest) is int else None
    return Backlog(waiting, age, sent, with_reason, aside - with_reason)
