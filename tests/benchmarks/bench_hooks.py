"""SQLAlchemy hooks: what a captured row costs, beside the bare work and SQLAlchemy-Continuum's."""

import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Session, configure_mappers

from audit.capture.database import tables
from audit.capture.sqlalchemy import install
from tests.benchmarks.bench_capture import _databases
from tests.benchmarks.common import Result, at_most

ROUNDS = 3
SINGLE_ROWS = 1_000
"""Rows that are changed one by one."""
PEER_ROWS = 1_000
"""Rows that Continuum is given: on PostgreSQL its time grows with their square, since it searches
a table of versions that is filled within the transaction, of which the planner knows nothing yet.
"""
Works = dict[str, tuple[Callable[[Session], None], int]]
"""What is done, and with how many rows."""


def run(count: int = 20_000) -> list[Result]:
    """Inserts and updates of so many rows, per row; the best of 3 (Continuum: once, fewer rows)."""
    found = []
    with _databases() as engines:
        peer_kind = _Continuum()
        for name, engine in engines:
            model = _model("hooked", False)
            bare = _best(engine, model, count)
            tables.install(engine)
            installed = install(engine, ["hooked"])
            ours = _best(engine, model, count)
            installed.remove()
            few = min(count, PEER_ROWS)
            bare_few = _best(engine, model, few, None, 1)
            theirs, versions = peer_kind.measure(engine, few)
            for what, took in ours.items():
                peer = theirs[what] - bare_few[what]
                found.append(
                    Result(
                        f"hooks on {name}, {count:,} rows: {what}",
                        f"+{took - bare[what]:.1f} us a captured row (x{took / bare[what]:.1f})",
                        f"{bare[what]:.1f} us a row",
                        f"Continuum +{peer:.1f} us (x{theirs[what] / bare_few[what]:.1f})"
                        if versions[what]
                        else "Continuum captures none of them",
                    )
                )
        peer_kind.close()
    return found


def _model(table: str, versioned: bool) -> Any:
    class Base(DeclarativeBase):
        pass

    columns: dict[str, Any] = {
        "__tablename__": table,
        "id": sa.Column(sa.Integer, primary_key=True),
        "name": sa.Column(sa.String(50)),
        "amount": sa.Column(sa.Numeric(10, 2)),
        "n": sa.Column(sa.Integer),
    }
    if versioned:
        columns["__versioned__"] = {}
    return type("Row", (Base,), columns)


def _works(model: Any, count: int) -> Works:
    """In this order: each finds what the one before has left."""
    rows = [{"id": n, "name": f"name {n}", "amount": 12, "n": 0} for n in range(1, count + 1)]

    def insert(session: Session) -> None:
        session.connection().execute(sa.insert(model.__table__), rows)

    def flush(session: Session) -> None:
        for row in session.scalars(sa.select(model)):
            row.n += 1

    def update(session: Session) -> None:
        session.execute(sa.update(model).values(n=model.n + 1))

    def update_each(session: Session) -> None:
        for number in range(1, singles + 1):
            session.execute(sa.update(model).where(model.id == number).values(n=number))

    singles = min(count, SINGLE_ROWS)
    return {
        "Core insert": (insert, count),
        "flush of changes": (flush, count),
        "bulk update": (update, count),
        "single updates": (update_each, singles),
    }


def _best(
    engine: sa.Engine,
    model: Any,
    count: int,
    after: Callable[[str], None] | None = None,
    rounds: int = ROUNDS,
) -> dict[str, float]:
    """Microseconds a row."""
    best: dict[str, float] = {}
    aside = sa.create_engine(engine.url)
    """Without hooks, which refuse to have a table dropped."""
    for _ in range(at_most(rounds)):
        model.metadata.drop_all(aside)
        model.metadata.create_all(aside)
        for what, (work, rows) in _works(model, count).items():
            start = time.perf_counter()
            with Session(engine) as session, session.begin():
                work(session)
            took = (time.perf_counter() - start) / rows * 1e6
            best[what] = min(took, best.get(what, took))
            if after is not None:
                after(what)
    aside.dispose()
    return best


class _Counter:
    """How many versions a work has added."""

    def __init__(self, engine: sa.Engine, table: sa.Table) -> None:
        self.engine, self.table = engine, table
        self.found: dict[str, int] = {}

    def __call__(self, what: str) -> None:
        with self.engine.begin() as connection:
            query = sa.select(sa.func.count()).select_from(self.table)
            self.found[what] = int(connection.execute(query).scalar_one())
            connection.execute(self.table.delete())


class _Continuum:
    """The same model with versions, in SQLAlchemy-Continuum's registry: one for all databases."""

    def __init__(self) -> None:
        from sqlalchemy_continuum import VersioningManager, make_versioned, version_class

        self._manager = VersioningManager()
        """Its own: the module's one is good for a single set of models."""
        make_versioned(manager=self._manager, user_cls=None)
        self._model = _model("versioned", True)
        configure_mappers()
        self._versions = version_class(self._model).__table__

    def measure(self, engine: sa.Engine, count: int) -> tuple[dict[str, float], dict[str, int]]:
        """How long each work took, once, in us a row; how many versions it made."""
        counter = _Counter(engine, self._versions)
        return _best(engine, self._model, count, counter, 1), counter.found

    def close(self) -> None:
        """Take its listeners off SQLAlchemy again."""
        from sqlalchemy_continuum import remove_versioning

        remove_versioning(manager=self._manager)
