"""`audit blame`: who set each field of a row, or each cell of a dataset."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from audit.cli.options import (
    as_of_option,
    json_option,
    key_option,
    session_argument,
    store_option,
    valid_at_option,
)
from audit.cli.output import write_json, write_json_array, write_table
from audit.cli.session import Session, note
from audit.errors import InvalidInput
from audit.ledger.said import when
from audit.replay.refs import is_ref, parse_ref
from audit.replay.rows_out import plain_text

if TYPE_CHECKING:
    from audit.ledger import Ledger
    from audit.replay.blame import Cell, FieldBlame

COLUMNS = ("FIELD", "VALUE", "ENTRY", "RECORDED", "ACTOR", "WHY", "EVENT")


@click.command()
@click.argument("what", metavar="REF|ENTITY")
@as_of_option
@valid_at_option
@key_option
@store_option
@json_option
@session_argument
def blame(
    session: Session,
    what: str,
    as_of: str | None,
    valid_at: str | None,
    keys: tuple[str, ...],
    store: str,
    as_json: bool,
) -> None:
    """Who set each field of the row REF, such as user/5, when, and why.

    \b
    audit blame user/5
    audit blame user --key 5 --key 6
    audit blame user                          # every cell of the dataset
    """
    ledger = session.ledger(store)
    if is_ref(what):
        if keys:
            raise InvalidInput(f"{what} is one row; --key goes with a dataset")
        _show_row(ledger, what, as_of, valid_at, as_json)
    else:
        _show_cells(ledger.blame_cells(what, as_of, valid_at, keys=keys or None), ledger, as_json)


def _show_cells(cells: "Iterator[Cell]", ledger: "Ledger", as_json: bool) -> None:
    if as_json:
        write_json_array(cell.to_dict() for cell in cells)
        return
    rows = ((cell.entity_key, *_shown(cell.blamed, ledger.single)) for cell in cells)
    write_table(("KEY", *COLUMNS), rows, right=(3,))


def _show_row(
    ledger: "Ledger", ref: str, as_of: str | None, valid_at: str | None, as_json: bool
) -> None:
    found = ledger.blame(parse_ref(ref), as_of, valid_at)
    if as_json:
        write_json({"ref": ref, **found.to_dict()})
    elif found.gone is not None:
        said = found.gone
        note(
            f"{ref} is gone: {said.op} at entry {said.log}/{said.index}, "
            f"{when(said.recorded_time_us)}, by {said.actor or 'nobody named'}"
        )
    elif not found.fields:
        note(f"{ref} was not there then")
    else:
        rows = (_shown(field, ledger.single) for field in found.fields)
        write_table(COLUMNS, rows, right=(2,))


def _shown(field: "FieldBlame", single: bool) -> tuple[str, ...]:
    said = field.said
    return (
        field.field,
        plain_text(field.value),
        str(said.index) if single else f"{said.log}/{said.index}",
        when(said.recorded_time_us),
        said.actor or "",
        said.reason or "",
        said.event_id,
    )
