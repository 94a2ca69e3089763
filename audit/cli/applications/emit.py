"""`audit emit`: record one event."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from audit.cli.options import json_option, session_argument, store_option
from audit.cli.output import write, write_json
from audit.cli.session import Session, bus_of
from audit.cli.stdin import read_text
from audit.errors import InvalidInput

if TYPE_CHECKING:
    from audit.capture.emitter import Emitter

OPERATIONS = ("create", "update", "delete")


@click.command()
@click.argument("operation", metavar="create|update|delete", type=click.Choice(OPERATIONS))
@click.argument("entity")
@click.argument("key")
@click.argument("row", metavar="[JSON|-]", required=False)
@click.option("--actor", metavar="WHO", help="Who did it.")
@click.option("--reason", metavar="WHY", help="Why it was done.")
@click.option("--valid-time", metavar="T", help="When it was true in the world. Default: now.")
@click.option("--transaction", metavar="ID", help="Groups events that belong together.")
@click.option("--supersedes", metavar="EVENT_ID", help="The event that this one corrects.")
@click.option("--full", is_flag=True, help="update: the JSON is the whole row, not a change.")
@click.option("--before", metavar="JSON", help="update: the values before, to be checked.")
@click.option("--source", default="cli", show_default=True, help="The application that says it.")
@click.option(
    "--event-id",
    metavar="ID",
    help="An id of your own: the same event twice (give --valid-time too) is recorded once.",
)
@click.option("--key", "key_file", metavar="FILE", help="The producer's key, to sign the event.")
@store_option
@json_option
@session_argument
def emit(
    session: Session,
    operation: str,
    entity: str,
    key: str,
    row: str | None,
    valid_time: str | None,
    full: bool,
    before: str | None,
    source: str,
    key_file: str | None,
    store: str,
    as_json: bool,
    actor: str | None,
    reason: str | None,
    transaction: str | None,
    supersedes: str | None,
    event_id: str | None,
) -> None:
    """Record that a row was created, updated or deleted. Prints the event's id.

    JSON is the row (create), the changed fields (update) or the last values (delete); - reads it
    from stdin. What is missing - the ledger, its key - is made. With AUDIT_BUS=kafka://... it is
    sent there; while no broker answers it waits in the spool, for the next emitter to send.

    \b
    audit emit create user 5 '{"name": "Christian", "dpt": "SCS"}' --actor alice
    audit emit update user 5 '{"dpt": "ISR"}' --reason "ticket 4711"
    """
    from audit.capture.delivery.bus import is_kafka
    from audit.capture.emitter import Emitter
    from audit.event.times import format_time
    from audit.replay.points import parse_time

    fields = None if row is None else _fields(read_text() if row == "-" else row)
    known = None if before is None else _fields(before)
    _check(operation, fields, full, known)
    options = {
        "actor": actor,
        "reason": reason,
        "transaction": transaction,
        "supersedes": supersedes,
        "event_id": event_id,
    }
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if valid_time is not None:
        given["valid_time"] = format_time(parse_time(valid_time, session.now_us))
    bus = bus_of(store)
    with Emitter(bus, source=source, key=key_file) as emitter:
        if operation == "update":
            given.update(full=full, before=known)
        event_id = _emit(emitter, operation, (entity, key), fields, given)
    if is_kafka(bus):
        return _show_sent(event_id, not emitter.waiting, as_json)
    if emitter.conflicts:
        raise InvalidInput(
            f"the id {event_id} belongs to another event of {source}: this one is not recorded "
            "under it\nwhat was sent is kept: see `audit quarantine list`"
        )
    if not as_json:
        write(event_id + "\n")
        return
    ledger = session.ledger(bus)
    log, index = ledger.reader.find_event(event_id, source)[0]
    event = ledger.entry(f"{log}/{index}").event
    # The first copy of a repeated event was sent by another emitter than this one.
    duplicate = event is None or event.producer_id != emitter.producer_id
    write_json({"event_id": event_id, "log": log, "index": index, "duplicate": duplicate})


def _show_sent(event_id: str, acknowledged: bool, as_json: bool) -> None:
    """Where it will stand in the log only the consumer finds out."""
    if not as_json:
        write(event_id + "\n")
        return
    nowhere = {"log": None, "index": None, "duplicate": None}
    write_json({"event_id": event_id, **nowhere, "acknowledged": acknowledged})


def _emit(
    emitter: "Emitter",
    operation: str,
    row: tuple[str, str],
    fields: dict[str, Any] | None,
    given: dict[str, Any],
) -> str:
    """Emit what was typed; returns the event's id."""
    if operation == "create":
        return emitter.create(*row, fields or {}, **given)
    if operation == "update":
        return emitter.update(*row, fields or {}, **given)
    return emitter.delete(*row, before=fields, **given)


def _check(
    operation: str, fields: Mapping[str, Any] | None, full: bool, before: Mapping[str, Any] | None
) -> None:
    if fields is None and operation != "delete":
        raise click.UsageError(f"{operation} needs the row as JSON, or - to read it from stdin")
    if operation != "update" and full:
        raise click.UsageError("--full is for update: a created row is whole anyway")
    if operation != "update" and before is not None:
        raise click.UsageError("--before is for update; delete takes the last values as its JSON")


def _fields(text: str) -> dict[str, Any]:
    from audit.event.valuejson import fields_from_json, parse_json

    parsed = parse_json(text)
    if not isinstance(parsed, dict):
        raise InvalidInput('a row is a JSON object, such as {"name": "Christian"}')
    return fields_from_json(parsed)
