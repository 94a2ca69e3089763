"""`audit import --snapshots`: dated snapshots into the past of a dataset."""

from contextlib import suppress
from typing import TYPE_CHECKING

from audit.cli.output import counted, write_json, write_table
from audit.cli.progress import Progress
from audit.cli.session import Session, bus_of, note
from audit.errors import InvalidInput, NotFound, StoreMissing

if TYPE_CHECKING:
    from audit.capture.importer import SeriesResult, Snapshot

COLUMNS = ("DATE", "STATE", "ROWS", "CREATED", "UPDATED", "DELETED", "UNCHANGED", "FROM")
COUNTS = ("rows", "created", "updated", "deleted", "unchanged")
MAX_LISTED = 3


def import_snapshots(
    session: Session,
    files: tuple[str, ...],
    store: str,
    as_json: bool,
    dry_run: bool,
    entity: str,
    key: str,
    date_column: str | None,
    gaps: bool,
    source: str,
    actor: str | None,
    reason: str | None,
    form: str | None,
) -> None:
    """Import them, or with `dry_run` say what that would do; and show it."""
    from pathlib import Path

    from audit.capture.delivery.bus import is_kafka
    from audit.capture.delivery.embedded import open_for_writing
    from audit.capture.importer import import_series, plan_series

    bus = bus_of(store)
    if is_kafka(bus):
        raise InvalidInput(
            "each snapshot is compared with the one before it, which a topic has not sealed yet\n"
            "import into the ledger itself: --store sqlite:///audit.db"
        )
    for file in files:
        # A file that is not there must not leave an empty ledger behind.
        if not Path(file).exists():
            raise NotFound(f"there is no file or folder {file}")
    with Progress("importing", "bytes") as progress:
        if dry_run:
            reader = None
            with suppress(StoreMissing):
                reader = session.ledger(store).reader
            result = plan_series(
                reader,
                files,
                entity=entity,
                key=key,
                date_column=date_column,
                gaps=gaps,
                source=source,
                format=form,
                progress=progress,
            )
        else:
            with open_for_writing(bus) as ledger:
                result = import_series(
                    ledger,
                    files,
                    entity=entity,
                    key=key,
                    date_column=date_column,
                    gaps=gaps,
                    source=source,
                    actor=actor,
                    reason=reason,
                    format=form,
                    progress=progress,
                )
    _show(result, entity, as_json)


def _show(result: "SeriesResult", entity: str, as_json: bool) -> None:
    from audit.capture.importer.dated import shown

    dates = [shown(one.time_us) for one in result.snapshots]
    if as_json:
        snapshots = [
            {"date": date, "files": list(one.places), "digest": one.digest, "state": one.state}
            | {name: getattr(one, name) for name in COUNTS}
            for date, one in zip(dates, result.snapshots, strict=True)
        ]
        write_json(
            {
                "entity": entity,
                "snapshots": snapshots,
                "left_out": list(result.left_out),
                "size": result.size,
            }
        )
    else:
        rows = (_row(date, one) for date, one in zip(dates, result.snapshots, strict=True))
        write_table(COLUMNS, rows, right=(2, 3, 4, 5, 6))
    if result.left_out:
        listed = ", ".join(result.left_out[:MAX_LISTED])
        more = ", ..." if len(result.left_out) > MAX_LISTED else ""
        note(
            f"left alone for their ending: {counted(len(result.left_out), 'file')}: {listed}{more}"
        )
    if result.size is None:
        note("dry run: nothing is recorded")
    elif dates:
        note(
            f"valid from their dates, recorded now: audit replay {entity} --valid-at {dates[-1]}\n"
            "(--as-of an earlier time finds nothing of it: nobody had told the ledger yet)"
        )


def _row(date: str, one: "Snapshot") -> tuple[str, ...]:
    counts = ("" if (value := getattr(one, name)) is None else f"{value:,}" for name in COUNTS)
    more = f" and {len(one.places) - 1:,} more" if len(one.places) > 1 else ""
    return date, one.state, *counts, one.places[0] + more
