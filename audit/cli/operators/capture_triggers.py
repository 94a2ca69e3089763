"""`audit capture install`, `check` and `remove`: triggers in the application's database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from audit.cli.options import json_option, session_argument
from audit.cli.output import counted, write, write_json, write_table
from audit.cli.session import Session, note

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from audit.capture.database.triggers import Installed

F = TypeVar("F", bound=Callable[..., Any])


def _database_options(function: F) -> F:
    database = click.option(
        "--database",
        required=True,
        envvar="AUDIT_DATABASE",
        metavar="URL",
        help="The application's database: sqlite:///app.db, postgresql://...",
    )
    schema = click.option(
        "--schema", metavar="NAME", help="PostgreSQL: the schema of the tables and the outbox."
    )
    return database(schema(function))


def _names(text: str | None) -> dict[str, str] | None:
    """`a,b=entity` as names and the entity types they are recorded as."""
    if text is None:
        return None
    found = {}
    for part in text.split(","):
        name, _, entity_type = part.strip().partition("=")
        if not name:
            raise click.UsageError("--tables is a list like orders,customer=person")
        found[name] = entity_type or name
    return found


def _columns(given: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in given:
        table, dot, column = text.partition(".")
        if not (table and dot and column):
            raise click.UsageError("--leave-out is TABLE.COLUMN")
        found.setdefault(table, []).append(column)
    return found


@contextmanager
def _opened(url: str) -> "Iterator[Engine]":
    from audit.capture.database.connect import open_database

    engine = open_database(url)
    try:
        yield engine
    finally:
        engine.dispose()


@click.command()
@_database_options
@click.option("--tables", metavar="A,B=TYPE", help="Only these; with =, under another name.")
@click.option("--exclude", multiple=True, metavar="TABLE", help="All but this table. Repeatable.")
@click.option(
    "--leave-out", multiple=True, metavar="TABLE.COLUMN", help="Never keep this. Repeatable."
)
@click.option(
    "--snapshot/--no-snapshot",
    default=True,
    show_default=True,
    help="Take in the rows that are there already.",
)
@json_option
@session_argument
def install(
    session: Session,
    database: str,
    schema: str | None,
    tables: str | None,
    exclude: tuple[str, ...],
    leave_out: tuple[str, ...],
    snapshot: bool,
    as_json: bool,
) -> None:
    """Make triggers that record every change in the application's database, whoever makes it.

    The outbox and the triggers are made in one transaction, with the rows that are there already as
    a snapshot. Again after a change of the schema it mends what differs, and records that changes
    may have been missed. Without names and options, those of the last time hold. Bring the outbox
    into the ledger with `audit relay`.
    """
    from audit.capture.database import triggers

    names, aside = _names(tables), _columns(leave_out)
    with _opened(database) as engine:
        done = triggers.install(
            engine, names, exclude=exclude, leave_out=aside, schema=schema, snapshot=snapshot
        )
    if as_json:
        write_json(done._asdict() | {"gaps": [each._asdict() for each in done.gaps]})
    else:
        _show_installed(done)


def _show_installed(done: "Installed") -> None:
    did = {
        **dict.fromkeys(done.made, "captured"),
        **dict.fromkeys(done.mended, "mended"),
        **dict.fromkeys(done.kept, "unchanged"),
        **dict.fromkeys(done.released, "released"),
    }
    rows = ((name, did[name], f"{done.taken_in.get(name, 0):,}") for name in sorted(did))
    if did:
        write_table(("TABLE", "NOW", "ROWS TAKEN IN"), rows, right=(2,))
    else:
        write("no tables to capture\n")
    for gap in done.gaps:
        note(f"{gap.table}: {gap.what}; changes until now may be missing")
    for told in done.notes:
        note(told)


@click.command()
@_database_options
@json_option
@session_argument
def check(session: Session, database: str, schema: str | None, as_json: bool) -> None:
    """How tables and triggers differ from what was installed: exit code 1 if they do.

    Columns and keys that changed, triggers that are missing, disabled or changed, and new tables.
    `audit capture install` mends it.
    """
    from audit.capture.database import triggers

    with _opened(database) as engine:
        found = triggers.check(engine, schema)
    session.exit_code = int(bool(found.findings))
    if as_json:
        write_json(found._asdict() | {"findings": [each._asdict() for each in found.findings]})
        return
    if found.findings:
        write_table(("TABLE", "FINDING"), found.findings)
    else:
        write(f"{counted(len(found.tables), 'table')} captured, nothing differs\n")
    for told in found.notes:
        note(told)


@click.command()
@_database_options
@click.option("--tables", metavar="A,B", help="Only from these.")
@json_option
@session_argument
def remove(
    session: Session, database: str, schema: str | None, tables: str | None, as_json: bool
) -> None:
    """Take the triggers away. The outbox stays, and with it what was not relayed yet."""
    from audit.capture.database import triggers

    with _opened(database) as engine:
        done = triggers.remove(engine, _names(tables), schema)
    if as_json:
        write_json(done._asdict())
    else:
        write(
            f"{counted(done.triggers, 'trigger')} taken off {counted(len(done.tables), 'table')}; "
            f"{counted(done.waiting, 'row')} in the outbox to relay\n"
        )
