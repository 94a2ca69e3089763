"""`audit relay`: bring what waits in an application's outbox into the ledger, or to Kafka."""

from typing import TYPE_CHECKING, Any

import click

from audit.cli.options import json_option, session_argument, store_option
from audit.cli.output import counted, write, write_json, write_table
from audit.cli.session import Session, bus_of, note
from audit.cli.until_told import run_until_told

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from audit.capture.database.relay import Relay

MAX_LISTED = 1_000


@click.command()
@click.option(
    "--database",
    required=True,
    envvar="AUDIT_DATABASE",
    metavar="URL",
    help="The application's database, with the outbox: sqlite:///app.db, postgresql://...",
)
@click.option("--once", is_flag=True, help="End when what waits now is relayed.")
@click.option("--source", default="app", show_default=True, help="The application's name.")
@click.option("--schema", metavar="NAME", help="PostgreSQL: the schema of the outbox.")
@click.option("--shards", type=int, metavar="N", help="Share the work in N parts, by dataset.")
@click.option("--batch", type=int, metavar="N", help="Most rows in one go.")
@click.option("--lease", "lease_s", type=float, metavar="S", help="Seconds until taken over.")
@click.option("--look-up", metavar="URL", help="Kafka: purge what is found in this ledger.")
@click.option(
    "--keep", "keep_s", type=float, metavar="S", help="Kafka: else purge after S seconds."
)
@click.option("--key", "key_file", metavar="FILE", help="The producer's key, to sign each event.")
@click.option("--metrics-port", type=int, metavar="PORT", help="Serve Prometheus metrics there.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, metavar="HOST")
@click.option("--failed", is_flag=True, help="Only list the rows that were set aside.")
@click.option(
    "--redrive",
    is_flag=False,
    flag_value="",
    metavar="[ENTITY[/KEY]]",
    help="Only put rows back that were set aside: all, or those of an entity.",
)
@store_option
@json_option
@session_argument
def relay(
    session: Session,
    /,
    database: str,
    once: bool,
    failed: bool,
    redrive: str | None,
    metrics_port: int | None,
    metrics_host: str,
    schema: str | None,
    store: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Bring what waits in an application's outbox into the ledger, or to Kafka (AUDIT_BUS).

    Each key's order is kept; every row is sealed once. Run several: they take over from each other,
    and with --shards share the work. While the bus is away rows wait. A row that is no event is set
    aside with its reason, and only later rows of its key wait; --redrive puts it back. SIGTERM ends
    a relay cleanly. Rows are deleted once their events are sealed: with Kafka once they are found
    in the ledger of --look-up, or --keep seconds after the broker acknowledged them.
    """
    from audit.capture.database.connect import open_database

    if failed and redrive is not None:
        raise click.UsageError("--failed lists, --redrive puts back: say one of them")
    engine = open_database(database)
    try:
        if failed:
            session.exit_code = _show_failed(engine, schema, as_json)
        elif redrive is not None:
            _redrive(engine, redrive, schema, as_json)
        else:
            running = _relay(engine, bus_of(store), schema, given)
            if metrics_port is not None:
                from audit.capture.database.metrics import serve

                port = serve(running, metrics_port, metrics_host)
                note(f"metrics at http://{metrics_host}:{port}/metrics")
            run_until_told(running, once)
            session.exit_code = _show_done(running, as_json)
    finally:
        engine.dispose()


def _relay(engine: "Engine", bus: str, schema: str | None, given: dict[str, Any]) -> "Relay":
    from audit.capture.database.relay import Relay, Settings

    emitter = {"key": given.pop("key_file")}
    look_up = given.pop("look_up")
    told = {name: value for name, value in given.items() if value is not None}
    return Relay(engine, Settings(bus, schema=schema, store=look_up, emitter=emitter, **told))


def _show_done(running: "Relay", as_json: bool) -> int:
    """Exit code 1 when rows were set aside."""
    if as_json:
        names = ("emitted", "failed", "behind", "purged", "outages", "fenced")
        write_json({name: getattr(running, name) for name in names})
    else:
        write(f"{counted(running.emitted, 'row')} relayed, {running.failed:,} set aside\n")
    return int(running.failed > 0)


def _show_failed(engine: "Engine", schema: str | None, as_json: bool) -> int:
    from audit.capture.database.failed import failed_rows
    from audit.ledger.said import when

    found = failed_rows(engine, schema, MAX_LISTED)
    if as_json:
        write_json([row._asdict() for row in found])
    elif not found:
        write("nothing is set aside\n")
    else:
        rows = (
            (str(row.id), row.op, f"{row.entity_type or ''}/{row.entity_key or ''}",
             when(row.failed_us), f"{row.behind:,}", row.failure)
            for row in found
        )  # fmt: skip
        write_table(("ROW", "OP", "ENTITY", "SINCE", "BEHIND", "REASON"), rows, right=(0, 4))
    return int(bool(found))


def _redrive(engine: "Engine", what: str, schema: str | None, as_json: bool) -> None:
    from audit.capture.database.failed import redrive as put_back

    entity, slash, key = what.partition("/")
    count = put_back(engine, entity or None, key if slash else None, schema)
    if as_json:
        write_json({"redriven": count})
    else:
        write(f"{counted(count, 'row')} put back\n")
