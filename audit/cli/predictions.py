"""`audit predictions`: find predictions."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from audit.cli.event_lines import when
from audit.cli.options import (
    QueryCommand,
    as_of_option,
    json_option,
    query_argument,
    query_text,
    session_argument,
    store_option,
)
from audit.cli.output import write, write_json_array, write_json_line, write_table
from audit.cli.session import Session

if TYPE_CHECKING:
    from audit.lineage.predictions import Prediction

FORMATS = ("table", "csv", "jsonl")
COLUMNS = ("ENTRY", "DATE", "PREDICTION", "ABOUT", "MODEL", "OUTPUT")


@click.command(cls=QueryCommand)
@query_argument
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@as_of_option
@store_option
@json_option
@session_argument
def predictions(
    session: Session,
    query: tuple[str, ...],
    form: str,
    as_of: str | None,
    store: str,
    as_json: bool,
) -> None:
    """Find predictions, oldest first. csv prints date, model, version, feature inputs, output.

    \b
    audit predictions key:003 recorded:2026-01-05 --format csv
    audit replay prediction/ID                  # run one of them again
    """
    ledger = session.ledger(store)
    found = ledger.predictions(query_text(query), as_of)
    if as_json:
        write_json_array(prediction.to_json() for prediction in found)
    elif form == "jsonl":
        for prediction in found:
            write_json_line(prediction.to_json())
    elif form == "csv":
        from audit.lineage.predictions import csv_lines

        for line in csv_lines(found):
            write(line)
    else:
        write_table(COLUMNS, _rows(found, ledger.single), right=(0,))


def _rows(found: "Iterator[Prediction]", single: bool) -> Iterator[tuple[str, ...]]:
    from audit.event.values import dumps

    for prediction in found:
        ok = prediction.problem is None and prediction.error is None
        version, index = prediction.model_version, prediction.record.index
        yield (
            str(index) if single else f"{prediction.record.log}/{index}",
            when(prediction.time_us),
            prediction.prediction_id,
            prediction.key,
            prediction.model_name + (f"@{version}" if version else ""),
            dumps(prediction.output) if ok else f"ERROR: {prediction.problem or prediction.error}",
        )
