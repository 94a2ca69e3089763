"""`audit import`: a file to events."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import click

from audit.cli.options import json_option, session_argument, store_option
from audit.cli.output import counted, write, write_json
from audit.cli.progress import Progress
from audit.cli.session import Session, bus_of, note
from audit.errors import NotFound

if TYPE_CHECKING:
    from audit.capture.delivery.embedded import EmbeddedLedger
    from audit.capture.importer import ImportResult, KafkaTarget

FORMATS = ("csv", "jsonl", "parquet")
COUNTS = ("created", "updated", "deleted", "unchanged", "skipped", "conflicts", "other")


class _Who(NamedTuple):
    actor: str | None
    reason: str | None
    form: str | None


@click.command("import")
@click.argument("files", metavar="FILE...|FOLDER|-", nargs=-1, required=True)
@click.option("--entity", metavar="E", help="The dataset that the rows belong to.")
@click.option("--key", metavar="COL[,COL]", help="The columns that make a row's key.")
@click.option("--valid-time", metavar="COL", help="The column that says when a row became true.")
@click.option("--snapshot", is_flag=True, help="The file is the full state: emit differences only.")
@click.option("--snapshots", is_flag=True, help="Files, or folders of them: one for each date.")
@click.option("--date-column", metavar="COL", help="With --snapshots: it says the row's date.")
@click.option("--gaps", is_flag=True, help="With --snapshots: days may be missing in between.")
@click.option("--dry-run", is_flag=True, help="With --snapshots: only say what it would do.")
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
    files: tuple[str, ...],
    entity: str | None,
    key: str | None,
    valid_time: str | None,
    snapshot: bool,
    snapshots: bool,
    date_column: str | None,
    gaps: bool,
    dry_run: bool,
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

    With --snapshots each file is the full state on the day that its name says (UTC): the
    differences become events valid from that day, and `audit replay E --valid-at DAY` is that
    file. A repeat skips what is there, and goes on where an import was interrupted.

    \b
    audit import inquiries.csv --entity inquiry --key InquiryID --valid-time InquiryDate
    audit import users.parquet --entity user --key tenant,id --snapshot
    audit import users/ --entity user --key id --snapshots      # users/users-2026-01-31.csv ...
    audit import days.csv --entity user --key id --snapshots --date-column day
    audit import events.jsonl --events        # as `audit log --format jsonl` writes them
    audit import runs.jsonl --openlineage     # runs of other systems
    """
    _refuse(
        events or openlineage,
        both=events and openlineage,
        # What only rows have; --source goes with events, too.
        rows=(entity, key, valid_time, form, actor, reason, snapshot or None, snapshots or None),
        series=None if snapshots else (date_column, gaps or None, dry_run or None),
        alone=snapshots and (snapshot or valid_time is not None or "-" in files),
        count=len(files),
    )
    who = _Who(actor, reason, form)
    if entity is None or key is None:
        result = _import_events(files[0], bus_of(store), store, source, openlineage)
    elif snapshots:
        from audit.cli.applications.import_series import import_snapshots

        said = (source or "import", *who)
        import_snapshots(
            session, files, store, as_json, dry_run, entity, key, date_column, gaps, *said
        )
        return
    else:
        result = _import_rows(
            files[0], bus_of(store), store, entity, key, valid_time, snapshot, source, who
        )
    _show(result, as_json)


def _import_rows(
    file: str,
    bus: str,
    store: str,
    entity: str,
    key: str,
    valid_time: str | None,
    snapshot: bool,
    source: str | None,
    who: "_Who",
) -> "ImportResult":
    from audit.capture.importer import import_file

    found = _input(file)
    with _opened(bus, store) as ledger, Progress("importing", "bytes") as progress:
        return import_file(
            ledger,
            found,
            entity=entity,
            key=key,
            valid_time=valid_time,
            snapshot=snapshot,
            source=source or "import",
            actor=who.actor,
            reason=who.reason,
            format=who.form,
            progress=progress,
        )


def _refuse(
    ready_made: bool,
    *,
    both: bool,
    rows: "tuple[object, ...]",
    series: "tuple[object, ...] | None",
    alone: bool,
    count: int,
) -> None:
    """Refuse options that do not fit each other."""
    if ready_made:
        if both or any(value is not None for value in rows):
            raise click.UsageError(
                "with --events or --openlineage each line says it all; only --source goes with it"
            )
    elif rows[0] is None or rows[1] is None:
        raise click.UsageError("say --entity and --key for rows, or --events for ready-made events")
    if alone:
        raise click.UsageError(
            "--snapshots takes files and folders; --snapshot and --valid-time do not fit it"
        )
    if series is not None:
        if any(value is not None for value in series):
            raise click.UsageError("--date-column, --gaps and --dry-run go with --snapshots")
        if count != 1:
            raise click.UsageError("one FILE at a time; several are a series: --snapshots")


def _opened(bus: str, store: str) -> "KafkaTarget | EmbeddedLedger":
    from audit.capture.delivery.bus import is_kafka
    from audit.capture.delivery.embedded import open_for_writing
    from audit.capture.importer import KafkaTarget

    return KafkaTarget(bus, store) if is_kafka(bus) else open_for_writing(bus)


def _import_events(
    file: str, bus: str, store: str, source: str | None, openlineage: bool
) -> "ImportResult":
    from audit.capture.importer import import_events

    found = _input(file)
    with _opened(bus, store) as ledger, Progress("importing", "bytes") as progress:
        return import_events(
            ledger,
            found,
            source=source or ("openlineage" if openlineage else "cli"),
            progress=progress,
            translate=_translator(openlineage),
        )


def _translator(openlineage: bool) -> "Callable[[Any, str], dict[str, Any] | None] | None":
    if not openlineage:
        return None
    from audit.lineage.recorded.openlineage import imported

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
