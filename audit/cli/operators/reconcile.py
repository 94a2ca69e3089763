"""`audit reconcile`: a dataset compared with the live table it tells of."""

from typing import TYPE_CHECKING

import click

from audit.cli.options import as_of_option, json_option, session_argument, store_option
from audit.cli.output import counted, write_block, write_json
from audit.cli.session import Session, note

if TYPE_CHECKING:
    from audit.capture.reconciled import Different, Reconciled

WHY = {
    "waiting": "a change of it waits in the outbox",
    "sent": "a change of it is with the broker, and not sealed yet",
    "failed": "a change of it was set aside",
    "since": "it was recorded while the table was read",
}


@click.command()
@click.argument("entity", metavar="ENTITY")
@click.option(
    "--against",
    required=True,
    envvar="AUDIT_DATABASE",
    metavar="URL",
    help="The application's database: sqlite:///app.db, postgresql://... (or AUDIT_DATABASE).",
)
@click.option("--table", metavar="T", help="The table. Default: the one captured so.")
@click.option("--db-schema", metavar="S", help="PostgreSQL: the schema of the table.")
@click.option("--schema", metavar="S", help="PostgreSQL: the schema of the outbox.")
@click.option("--leave-out", metavar="A,B", help="More columns that capture leaves out.")
@click.option("--columns", metavar="A,B", help="Compare only these columns.")
@as_of_option
@click.option("--values", is_flag=True, help="Show in which values keys differ.")
@click.option("--limit", type=int, default=100, show_default=True, help="Most keys of each kind.")
@click.option("--no-record", is_flag=True, help="Do not log what was found.")
@store_option
@json_option
@session_argument
def reconcile(
    session: Session,
    entity: str,
    against: str,
    table: str | None,
    db_schema: str | None,
    schema: str | None,
    leave_out: str | None,
    columns: str | None,
    as_of: str | None,
    values: bool,
    limit: int,
    no_record: bool,
    store: str,
    as_json: bool,
) -> None:
    """Compare the dataset ENTITY with its live table, key by key and by content.

    \b
    missing     in the table, and not in the log: capture missed it
    extra       in the log, and not in the table: capture missed its deletion
    different   in both, but not with the same content
    pending     does not fit, and a change of it is under way: no difference

    \b
    audit reconcile user --against postgresql://app@host/crm
    audit reconcile user --against sqlite:///app.db --table users --leave-out password

    The table is read as it is at one moment, while the application goes on. What was found is
    recorded as an event with the counts, never a key or a value. Exit code 0: complete, 1: not.
    """
    from audit.cli.progress import Progress

    with Progress("comparing", "rows") as progress:
        found = session.ledger(store).reconcile(
            entity,
            against,
            table=table,
            schema=db_schema,
            outbox_schema=schema,
            leave_out=_names(leave_out) or (),
            columns=_names(columns),
            as_of=as_of,
            values=values,
            limit=limit,
            record=not no_record,
            progress=progress,
        )
    if as_json:
        write_json(found.to_json())
    else:
        _show(found)
    session.exit_code = int(not found.ok)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name for name in text.split(",") if name]


def _show(found: "Reconciled") -> None:
    from audit.ledger.said import when

    counts = found.counts
    name = found.table if found.schema is None else f"{found.schema}.{found.table}"
    verdict = "complete" if found.ok else "NOT COMPLETE"
    pairs = [
        ("capture", f"{verdict}: {found.entity_type} against table {name} of {found.database}"),
        ("at", when(found.snapshot_us)),
        ("rows", f"{counts['log']:,} in the log, {counts['table']:,} in the table"),
        ("same", f"{counts['same']:,}, in {counted(len(found.columns), 'column')}"),
        ("missing", f"{counts['missing']:,} in the table, and not in the log"),
        ("extra", f"{counts['extra']:,} in the log, and not in the table"),
        ("different", f"{counts['different']:,} in both, with other contents"),
        ("pending", f"{counts['pending']:,} with changes under way"),
    ]
    if found.uncaptured:
        pairs.append(("uncaptured", "columns never recorded: " + ", ".join(found.uncaptured)))
    if found.gone:
        pairs.append(("gone", "columns that the table has no more: " + ", ".join(found.gone)))
    if found.left_out:
        pairs.append(("left out", ", ".join(found.left_out)))
    write_block(pairs)
    _list(found)
    for remark in found.remarks:
        note(remark)


def _list(found: "Reconciled") -> None:
    entity, counts = found.entity_type, found.counts
    write_block(("missing", f"{entity}/{key}") for key in found.missing)
    write_block(("extra", f"{entity}/{key}") for key in found.extra)
    for one in found.different:
        _show_different(entity, one)
    write_block(("pending", f"{entity}/{one.key}: {WHY[one.why]}") for one in found.pending)
    for name, listed in (
        ("missing", found.missing), ("extra", found.extra),
        ("different", found.different), ("pending", found.pending),
    ):  # fmt: skip
        if counts[name] > len(listed):
            note(f"{counts[name] - len(listed):,} more {name}: --limit shows more")


def _show_different(entity: str, one: "Different") -> None:
    import json

    fields = ", ".join(one.fields) or "several rows have this key"
    write_block([("different", f"{entity}/{one.key}: {fields}")])
    said = one.to_json()
    for name in one.fields if "log" in said else ():
        log, table = (json.dumps(said[side][name], ensure_ascii=False) for side in ("log", "table"))
        write_block([("", f"{name}: {log} in the log, {table} in the table")])
