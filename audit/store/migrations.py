"""The store's schema version, and the steps from one version to the next.

A store is made by running all steps; an older one is brought up by running those it lacks, in one
transaction, when a writer opens it. Steps only add: what was sealed is never touched. A store from
a newer release is refused rather than guessed at.
"""

from collections.abc import Callable

from sqlalchemy import Connection, func, insert, select

from audit.errors import InvalidInput
from audit.store import tables
from audit.store.database import Database

Step = Callable[[Connection, Database], None]

_VERSION = select(func.max(tables.schema_versions.c.version))


def _version_1(connection: Connection, database: Database) -> None:
    """The append-only tables, their view and their guards."""
    tables.metadata.create_all(connection, tables=tables.APPEND_ONLY, checkfirst=False)
    database.create_view(connection)
    database.create_guards(connection)


def _version_2(connection: Connection, database: Database) -> None:
    """Leases: which writer may append to a log."""
    tables.metadata.create_all(connection, tables=[tables.leases], checkfirst=False)
    database.grant_leases(connection)
    for (log,) in connection.execute(select(tables.logs.c.log)).all():
        connection.execute(insert(tables.leases).values(log=log, epoch=0))


STEPS: tuple[Step, ...] = (_version_1, _version_2)
"""Step n brings a store from version n to version n + 1."""


def version_of(connection: Connection, database: Database) -> int:
    """The store's schema version; 0 when there are no tables yet."""
    if not database.has_ledger(connection):
        return 0
    newest = connection.execute(_VERSION).scalar()
    return int(newest or 0)


def check_version(connection: Connection, database: Database) -> int:
    """The schema version. Raises InvalidInput when a newer release made this store."""
    version = version_of(connection, database)
    if version > len(STEPS):
        raise InvalidInput(
            f"this ledger has schema version {version}, this release knows up to {len(STEPS)}; "
            "use the release that made it, or a newer one"
        )
    return version


def migrate(connection: Connection, database: Database, now_us: int) -> None:
    """Run the steps that the store lacks, inside the caller's transaction.

    A crash in between leaves the store as it was: the transaction holds all of it.
    """
    if check_version(connection, database) == len(STEPS):
        return
    database.lock_schema(connection)
    # Another process may have made them while this one waited.
    for version in range(check_version(connection, database), len(STEPS)):
        STEPS[version](connection, database)
        connection.execute(
            insert(tables.schema_versions).values(version=version + 1, applied_us=now_us)
        )
