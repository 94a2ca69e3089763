"""`audit capture debezium`: take Debezium's change events from Kafka into the ledger."""

from typing import TYPE_CHECKING, Any

import click

from audit.cli.options import json_option, session_argument, store_option
from audit.cli.output import write, write_json
from audit.cli.session import Session, bus_of
from audit.cli.until_told import run_until_told

if TYPE_CHECKING:
    from audit.capture.debezium.capture import DebeziumCapture

_CHANGES = ("create", "update", "delete", "truncate")
_SKIPPED = ("tombstone", "schema change", "transaction", "heartbeat", "message")
_LOST = ("set aside", "expired")


@click.command()
@click.argument("topics", metavar="kafka://HOST:PORT/TOPIC[,TOPIC...]")
@click.option("--to", metavar="URL", help="Where events go: a ledger, or kafka://host:9092/topic.")
@click.option(
    "--registry", metavar="URL", help="Schema registry of Avro messages (AUDIT_REGISTRY)."
)
@click.option("--source", metavar="NAME", help="Of all events. Default: each connector's own name.")
@click.option(
    "--entity",
    "entities",
    multiple=True,
    metavar="TABLE=E|TEMPLATE",
    help="A table's dataset, or for all: {server} {db} {schema} {table}. Repeat for more.",
)
@click.option("--group", metavar="NAME", help="Consumer group. Default: one for each ledger.")
@click.option(
    "--placeholder", metavar="TEXT", help="The connectors' unavailable.value.placeholder."
)
@click.option("--once", is_flag=True, help="End when what the topics hold now is taken in.")
@click.option("--batch", type=int, metavar="N", help="Most messages in one go.")
@click.option("--key", "key_file", metavar="FILE", help="The producer's key, to sign each event.")
@store_option
@json_option
@session_argument
def debezium(
    session: Session,
    /,
    topics: str,
    to: str | None,
    once: bool,
    entities: tuple[str, ...],
    key_file: str | None,
    store: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Take Debezium's change events from Kafka into the ledger, or onto its topic (AUDIT_BUS).

    JSON with or without its schema, and Avro from a schema registry. Each key's order is kept;
    offsets are committed when the events are sealed, and a repeat of a message adds nothing. What
    cannot be taken in becomes an event capture.gap with its reason and bytes. Tombstones, schema
    changes, transaction boundaries and heartbeats are skipped and counted. SIGTERM ends it cleanly.

    \b
    audit capture debezium kafka://localhost:9092/shop.public.orders,shop.public.users --once
    audit capture debezium kafka://... --entity public.orders=order --entity '{schema}.{table}'

    Exit code 1: messages were set aside, or had expired.
    """
    from audit.capture.debezium.capture import DebeziumCapture, Settings

    told = {name: value for name, value in given.items() if value is not None}
    settings = Settings(to or bus_of(store), entities=entities, emitter={"key": key_file}, **told)
    running = DebeziumCapture(topics, settings)
    run_until_told(running, once)
    session.exit_code = _show(running, as_json)


def _show(running: "DebeziumCapture", as_json: bool) -> int:
    """Exit code 1 when something is missing in the dataset."""
    counts = running.counts
    trouble = {"conflicts": running.conflicts, "quarantined": running.quarantined}
    if as_json:
        names = (*_CHANGES, *_SKIPPED, *_LOST)
        counted = {name.replace(" ", "_"): counts[name] for name in names}
        write_json({**counted, **trouble, "outages": running.outages})
    else:
        taken = ", ".join(f"{counts[name]:,} {name}" for name in _CHANGES if counts[name])
        skipped = ", ".join(f"{counts[name]:,} {name}" for name in _SKIPPED if counts[name])
        found = {**{name: counts[name] for name in _LOST}, **trouble}
        bad = ", ".join(f"{count:,} {name}" for name, count in found.items() if count)
        write(taken or "nothing new")
        write(f"; skipped: {skipped}" if skipped else "")
        write(f"; {bad}: see `audit log type:capture.gap`\n" if bad else "\n")
    return int(any(counts[name] for name in _LOST) or any(trouble.values()))
