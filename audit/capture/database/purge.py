"""Deleting rows that a broker acknowledged, once their events are found sealed in a ledger."""

from typing import NamedTuple

from sqlalchemy import Engine, delete, literal, select

from audit.capture.database.connect import reaching
from audit.capture.database.events import Waiting, built
from audit.capture.database.leases import lock_all
from audit.capture.database.moves import copy
from audit.capture.database.tables import Tables, require_installed
from audit.errors import AuditError, InvalidInput
from audit.event.envelope import Event, encode_event, same_event
from audit.log.entry import Kind
from audit.log.record import read_record
from audit.store import clock_us
from audit.store.contract import Reader

ROWS_AT_ONCE = 1_000
CONFLICT = "another event has its id: this one is only in quarantine"


class Purged(NamedTuple):
    """`deleted`: found sealed, or old enough. `missing`: not found yet. `conflicts`: set aside."""

    deleted: int
    missing: int
    conflicts: int


def purge(
    engine: Engine,
    ledger: Reader | None = None,
    *,
    keep_s: float | None = None,
    schema: str | None = None,
) -> Purged:
    """Delete acknowledged rows whose events are found in the ledger.

    Without a ledger to look into, those that were acknowledged `keep_s` seconds ago: that says only
    that a broker had them. With neither, none. Raises InvalidInput, Unavailable.
    """
    tables = require_installed(engine, schema)
    if ledger is None:
        return Purged(0 if keep_s is None else _purge_old(engine, tables, keep_s), 0, 0)
    total = Purged(0, 0, 0)
    after = 0
    while True:
        rows = _sent(engine, tables, after)
        if not rows:
            return total
        after = rows[-1][0].id
        sealed: list[int] = []
        conflicts: list[int] = []
        for row, source in rows:
            found = is_sealed(ledger, row, source)
            if found is not None:
                (sealed if found else conflicts).append(row.id)
        _settle(engine, tables, sealed, conflicts)
        missing = len(rows) - len(sealed) - len(conflicts)
        total = Purged(
            total.deleted + len(sealed), total.missing + missing, total.conflicts + len(conflicts)
        )


def _sent(engine: Engine, tables: Tables, after: int) -> list[tuple[Waiting, str]]:
    table = tables.sent
    columns = [table.c[name] for name in Waiting._fields[:-1]]
    query = select(*columns, literal(False), table.c.source).where(table.c.id > after)
    with reaching(engine), engine.connect() as connection:
        rows = connection.execute(query.order_by(table.c.id).limit(ROWS_AT_ONCE)).all()
    return [(Waiting._make(row[:-1]), row[-1]) for row in rows]


def is_sealed(ledger: Reader, row: Waiting, source: str) -> bool | None:
    """True: the row's event is in the log. False: another one of its id is. None: not yet there."""
    try:
        expected = built(row, source).event
    except InvalidInput:
        return None  # it was an event when it was sent: some later release reads it otherwise
    for log, index in ledger.find_event(expected.event_id, source):
        try:
            record = read_record(log, ledger.leaf(log, index))
        except AuditError:
            return None
        if record.entry.kind is not Kind.QUARANTINED and record.event is not None:
            return _same(record.entry.event, expected)
    return None


def _same(sealed: bytes, expected: Event) -> bool:
    return same_event(sealed, encode_event(expected))


def _settle(engine: Engine, tables: Tables, sealed: list[int], conflicts: list[int]) -> None:
    table = tables.sent
    with reaching(engine), engine.begin() as connection:
        if conflicts:
            lock_all(connection, tables)
            extra = {"failure": literal(CONFLICT), "failed_us": literal(clock_us())}
            copy(connection, table, tables.failed, extra, table.c.id.in_(conflicts))
        connection.execute(delete(table).where(table.c.id.in_(sealed + conflicts)))


def _purge_old(engine: Engine, tables: Tables, keep_s: float) -> int:
    table = tables.sent
    limit_us = clock_us() - int(keep_s * 1_000_000)
    with reaching(engine), engine.begin() as connection:
        return int(connection.execute(delete(table).where(table.c.sent_us <= limit_us)).rowcount)
