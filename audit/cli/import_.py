"""`audit import`: a file to events."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from audit.cli.options import json_option, session_argument, store_option
from audit.cli.output import counted, write, write_json
from audit.cli.progress import Progress
from audit.cli.session import Session, bus_of, note
from audit.errors import NotFound

if TYPE_CHECKING:
    from audit.capture.importer import ImportResult

FORMATS = ("csv", "jsonl", "parquet")
COUNTS = ("created", "updated", "deleted", "unchanged", "skipped", "conflicts", "other")


@click.command("import")
@click.argument("file", metavar="FILE|-")
@click.option("--entity", metavar="E", help="The dataset that the rows belong to.")
@click.option("--key", metavar="COL[,COL]", help="The columns that make a row's key.")
@click.option("--valid-time", metavar="COL", help="The column that says when a row became true.")
@click.option("--snapshot", is_flag=True, help="The file is the full state: emit differences only.")
@click.option("--events", is_flag=True, help="The lines are ready-made events, in JSON.")
@click.option("--openlineage", is_flag=True, help="The lines are run events of OpenLineage.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: the file's ending.")
@click.option("--source", metavar="NAME", help="The application that says it.")
@click.option("--actor", metavar="WHO", help="Who did it.")
@click.option("--reason", metavar="WHY", help="Why it was done.")
@store_option
@json_option
@session_argument
def import_(
    session: Session,
    file: str,
    entity: str | None,
    key: str | None,
    valid_time: str | None,
    snapshot: bool,
    events: bool,
    openlineage: bool,
    form: str | None,
    source: str | None,
    actor: str | None,
    reason: str | None,
    store: str,
    as_json: bool,
) -> None:
    """Record the rows of a CSV, JSONL or Parquet FILE as events; - is stdin.

    A new key is a create, a known one a full update. Repeating an import adds nothing. With
    AUDIT_BUS=kafka://... events are sent there, and AUDIT_STORE says which rows there are.

    \b
    audit import inquiries.csv --entity inquiry --key InquiryID --valid-time InquiryDate
    audit import users.parquet --entity user --key tenant,id --snapshot
    audit import events.jsonl --events        # as `audit log --format jsonl` writes them
    audit import runs.jsonl --openlineage     # runs of other systems
    """
    if events or openlineage:
        rows = (entity, key, valid_time, form, actor, reason, snapshot or None)
        if any(value is not None for value in rows) or (events and openlineage):
            raise click.UsageError(
                "with --events or --openlineage each line says it all; only --source goes with it"
            )
    elif entity is None or key is None:
        raise click.UsageError("say --entity and --key for rows, or --events for ready-made events")
    found = _input(file)
    from audit.capture.bus import is_kafka
    from audit.capture.embedded import open_for_writing
    from audit.capture.importer import KafkaTarget, import_events, import_file

    bus = bus_of(store)
    opened = KafkaTarget(bus, store) if is_kafka(bus) else open_for_writing(bus)
    with opened as ledger, Progress("importing", "bytes") as progress:
        if entity is None or key is None:
            result = import_events(
                ledger,
                found,
                source=source or ("openlineage" if openlineage else "cli"),
                progress=progress,
                translate=_translator(openlineage),
            )
        else:
            result = import_file(
                ledger,
                found,
                entity=entity,
                key=key,
                valid_time=valid_time,
                snapshot=snapshot,
                source=source or "import",
                actor=actor,
                reason=reason,
                format=form,
                progress=progress,
            )
    _show(result, as_json)


def _translator(openlineage: bool) -> "Callable[[Any, str], dict[str, Any] | None] | None":
    if not openlineage:
        return None
    from audit.lineage.openlineage import imported

    return imported


def _input(file: str) -> str | BinaryIO:
    """The file, or stdin. A file that is not there must not leave an empty ledger behind."""
    if file == "-":
        return sys.stdin.buffer
    if not Path(file).exists():
        raise NotFound(f"there is no file {file}")
    return file


def _show(result: "ImportResult", as_json: bool) -> None:
    fields = result._asdict()
    if as_json:
        write_json(fields)
        return
    counts = [f"{fields[name]:,} {name}" for name in COUNTS if fields[name]]
    where = (
        "sent to Kafka" if result.size is None else f"the log has {counted(result.size, 'entry')}"
    )
    write(f"{', '.join(counts) or 'nothing new'}; {where}\n")
    if result.conflicts:
        note(
            "conflicts are other events under an id that is taken: sealed, but in no answer\n"
            "see `audit quarantine list`"
        )
