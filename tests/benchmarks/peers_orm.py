"""The same questions put to SQLAlchemy-Continuum and to eventsourcing, as their users have them.

Both are filled with the events of a big ledger, one transaction an event, in SQLite without syncs;
that is slow (see `filled_s`), so only small ones. Each is asked in the fastest way that it offers:
Continuum its version table by transaction (validity strategy), without making objects;
eventsourcing the events of one aggregate, or for a whole dataset its list of notifications.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from uuid import NAMESPACE_URL, uuid5

import pyarrow as pa

from tests.benchmarks.biglog import BigLog
from tests.benchmarks.biglog_plan import FIELDS
from tests.benchmarks.biglog_truth import SCHEMA
from tests.benchmarks.peers import Forms

PAGE = 5_000
"""Notifications read together."""

Events = Iterator[tuple[dict[str, Any], dict[str, Any]]]


def events_of(made: BigLog) -> Events:
    """(event, the fields that it gives) in order."""
    for batch in made.events.to_batches(10_000):
        for event in batch.to_pylist():
            given = {
                field: event[field]
                for field in FIELDS
                if event[field] is not None or (field == "segment" and event["segment_given"])
            }
            yield event, given


class Continuum:
    """SQLAlchemy-Continuum: a version table kept by the ORM's session."""

    name = "SQLAlchemy-Continuum"

    def __init__(self, made: BigLog, folder: Path) -> None:
        import sqlalchemy as sa
        from sqlalchemy import orm
        from sqlalchemy_continuum import VersioningManager, make_versioned, version_class

        self._sa = sa
        self._manager = VersioningManager(options={"strategy": "validity"})
        """Its own: the module's one is good for a single set of models."""
        make_versioned(manager=self._manager, user_cls=None)
        base = orm.declarative_base()
        kinds = {
            "active": sa.Boolean,
            "amount": sa.BigInteger,
            "balance": sa.Float,
            "opened": sa.DateTime,
            "score": sa.Float,
            "visits": sa.BigInteger,
        }
        columns = {field: sa.Column(kinds.get(field, sa.String)) for field in FIELDS}
        key = sa.Column(sa.String, primary_key=True)
        about = {"__tablename__": "account", "__versioned__": {}, "entity_key": key}
        self._row = type("Account", (base,), {**about, **columns})
        orm.configure_mappers()
        self._table = version_class(self._row).__table__
        self.path = folder / "continuum.db"
        self._engine = sa.create_engine(f"sqlite:///{self.path}")
        sa.event.listen(self._engine, "connect", _unsynced)
        base.metadata.create_all(self._engine)
        self._transactions: dict[int, int] = {}
        began = time.perf_counter()
        self._fill(made, orm.Session(self._engine, expire_on_commit=False))
        self.filled_s = time.perf_counter() - began

    def _fill(self, made: BigLog, session: Any) -> None:
        from sqlalchemy_continuum import transaction_class

        newest = self._sa.select(self._sa.func.max(transaction_class(self._row).id))
        for event, given in events_of(made):
            if event["number"] in made.cuts:
                # An update that changes nothing makes no transaction.
                self._transactions[event["number"]] = session.scalar(newest)
            if given.get("opened") is not None:
                given["opened"] = given["opened"].replace(tzinfo=None)
            if event["op"] == "create":
                session.add(self._row(entity_key=event["key"], **given))
            elif event["op"] == "delete":
                session.delete(session.get(self._row, event["key"]))
            else:
                row = session.get(self._row, event["key"])
                for name, value in given.items():
                    setattr(row, name, value)
            session.commit()
        self._transactions[made.plan.events] = session.scalar(newest)
        session.close()

    def _at(self, cut: int, key: str | None = None) -> pa.Table:
        """The rows after the newest transaction below the cut."""
        table, newest = self._table.c, self._transactions[cut]
        where = [
            table.transaction_id <= newest,
            table.end_transaction_id.is_(None) | (table.end_transaction_id > newest),
            table.operation_type != 2,
        ]
        if key is not None:
            where.append(table.entity_key == key)
        query = self._sa.select(*(table[name] for name in SCHEMA.names)).where(*where)
        with self._engine.connect() as connection:
            found = connection.execute(query).all()
        columns = list(zip(*found, strict=True)) or [[] for _ in SCHEMA.names]
        opened = SCHEMA.names.index("opened")
        columns[opened] = tuple(moment.replace(tzinfo=UTC) for moment in columns[opened])
        return pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], SCHEMA)

    def dataset(self, cut: int) -> Forms:
        """All rows after the first `cut` events."""
        return {"version table": lambda: self._at(cut)}

    def row(self, key: str, cut: int) -> Forms:
        """One row."""
        return {"version table": lambda: self._at(cut, key)}

    def close(self) -> None:
        """Take its listeners off SQLAlchemy again."""
        from sqlalchemy_continuum import remove_versioning

        remove_versioning(manager=self._manager)
        self._engine.dispose()


def _unsynced(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = WAL")


class Eventsourcing:
    """eventsourcing: an aggregate for each row, its events in SQLite."""

    name = "eventsourcing"

    def __init__(self, made: BigLog, folder: Path) -> None:
        from eventsourcing.application import Application
        from eventsourcing.domain import Aggregate, event

        class Account(Aggregate):
            """A row: its fields, and whether it is there."""

            @event("Opened")
            def __init__(self, entity_key: str) -> None:
                self.entity_key = entity_key
                self.fields: dict[str, Any] = {}
                self.is_there = True

            @event("Changed")
            def change(self, fields: dict[str, Any], is_there: bool) -> None:
                self.fields.update(fields)
                self.is_there = is_there

        class Accounts(Application):
            """All of them."""

            env: ClassVar[dict[str, str]] = {
                "PERSISTENCE_MODULE": "eventsourcing.sqlite",
                "SQLITE_DBNAME": str(folder / "eventsourcing.db"),
            }

        self._kind, self._made = Account, made
        self.path = folder / "eventsourcing.db"
        self._app = Accounts()
        began = time.perf_counter()
        self._fill()
        self.filled_s = time.perf_counter() - began

    def _fill(self) -> None:
        live: dict[str, Any] = {}
        for event, given in events_of(self._made):
            key = event["key"]
            row = live.get(key)
            if row is None:
                row = live[key] = self._kind(entity_key=key)
                row._id = uuid5(NAMESPACE_URL, key)
                row.pending_events[0].__dict__["originator_id"] = row._id
            is_there = event["op"] != "delete"
            row.trigger_event(
                self._kind.Changed, fields=given, is_there=is_there, timestamp=event["recorded"]
            )
            self._app.save(row)

    def _fold(self, cut: int) -> pa.Table:
        """Every event below the cut, in order, into its aggregate."""
        until = self._time(cut)
        live: dict[Any, Any] = {}
        start: int | None = 1
        while start is not None:
            page = self._app.recorder.select_notifications(start, PAGE)
            for notification in page:
                event = self._app.mapper.to_domain_event(notification)
                own = event.originator_id
                if own not in live:
                    live[own] = event.mutate(None)  # by itself it is no row yet
                elif event.timestamp <= until:
                    live[own] = event.mutate(live[own])
                else:
                    page = []
                    break
            start = page[-1].id + 1 if len(page) == PAGE else None
        return _table([row for row in live.values() if row.is_there and row.fields])

    def _time(self, cut: int) -> datetime:
        return datetime.fromtimestamp(0, UTC).fromtimestamp(self._made.time_us(cut) / 1e6, UTC)

    def _one(self, key: str, cut: int) -> pa.Table:
        until = self._time(cut)
        row: Any = None
        for event in self._app.events.get(uuid5(NAMESPACE_URL, key)):
            if row is None:
                row = event.mutate(None)
            elif event.timestamp <= until:
                row = event.mutate(row)
        return _table([row] if row.is_there and row.fields else [])

    def dataset(self, cut: int) -> Forms:
        """All rows after the first `cut` events."""
        return {"all notifications": lambda: self._fold(cut)}

    def row(self, key: str, cut: int) -> Forms:
        """One row."""
        return {"its events": lambda: self._one(key, cut)}

    def close(self) -> None:
        """Close its database."""
        self._app.close()


def _table(rows: list[Any]) -> pa.Table:
    columns = [[row.entity_key for row in rows]]
    columns += [[row.fields[name] for row in rows] for name in FIELDS]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], SCHEMA)
