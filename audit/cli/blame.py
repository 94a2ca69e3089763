"""`audit blame`: who set each field of a row."""

import click

from audit.cli.event_lines import when
from audit.cli.options import (
    as_of_option,
    json_option,
    session_argument,
    store_option,
    valid_at_option,
)
from audit.cli.output import write_json, write_table
from audit.cli.session import Session, note
from audit.replay.rows_out import plain_text

COLUMNS = ("FIELD", "VALUE", "ENTRY", "RECORDED", "ACTOR", "WHY", "EVENT")


@click.command()
@click.argument("ref")
@as_of_option
@valid_at_option
@store_option
@json_option
@session_argument
def blame(
    session: Session,
    ref: str,
    as_of: str | None,
    valid_at: str | None,
    store: str,
    as_json: bool,
) -> None:
    """Who set each field of the row REF, such as user/5, when, and why."""
    ledger = session.ledger(store)
    found = ledger.blame(ref, as_of, valid_at)
    if as_json:
        write_json({"ref": ref, **found.to_dict()})
        return
    if found.gone is not None:
        said = found.gone
        note(
            f"{ref} is gone: {said.op} at entry {said.log}/{said.index}, "
            f"{when(said.recorded_time_us)}, by {said.actor or 'nobody named'}"
        )
    elif not found.fields:
        note(f"{ref} was not there then")
    else:
        rows = (
            (
                field.field,
                plain_text(field.value),
                str(field.said.index) if ledger.single else f"{field.said.log}/{field.said.index}",
                when(field.said.recorded_time_us),
                field.said.actor or "",
                field.said.reason or "",
                field.said.event_id,
            )
            for field in found.fields
        )
        write_table(COLUMNS, rows, right=(2,))
