"""`audit predictions`: find predictions."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from audit.cli.ml.replay_traffic import show_traffic, traffic_of, traffic_options
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
from audit.ledger.said import when

if TYPE_CHECKING:
    from audit.lineage.recorded.predictions import Prediction

FORMATS = ("table", "csv", "jsonl")
ROLES = ("PRIMARY", "SHADOW", "CANARY", "CHALLENGER", "FALLBACK", "MEMBER", "REPLAY", "BACKFILL")
STATUSES = ("OK", "ERROR", "REJECTED_INPUT")
COLUMNS = ("ENTRY", "DATE", "PREDICTION", "ABOUT", "MODEL", "OUTPUT")


@click.command(cls=QueryCommand)
@query_argument
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--role", type=click.Choice(ROLES), help="Only those of a role, for example SHADOW.")
@click.option("--status", type=click.Choice(STATUSES), help="Only those with a status.")
@click.option("--flagged", is_flag=True, help="Only those that are flagged as wrong.")
@traffic_options
@as_of_option
@store_option
@json_option
@session_argument
def predictions(
    session: Session,
    /,
    query: tuple[str, ...],
    form: str,
    role: str | None,
    status: str | None,
    flagged: bool,
    as_of: str | None,
    store: str,
    as_json: bool,
    **replaying: Any,
) -> None:
    """Find predictions, oldest first. csv prints date, model, version, feature inputs, output.

    \b
    audit predictions key:003 recorded:2026-01-05 --format csv
    audit predictions --role SHADOW
    audit replay prediction/ID                  # run one of them again
    audit predictions --replay                  # run them all again; exit 1 unless all are the same
    audit predictions --replay --against credit@2      # how another model would have answered
    """
    from audit.lineage.recorded.predictions import narrowed

    asked = traffic_of(
        replaying, query=query_text(query), as_of=as_of, as_json=as_json, role=role, status=status
    )
    if asked is not None:
        return show_traffic(session, store, asked)
    ledger = session.ledger(store)
    found = narrowed(ledger.predictions(query_text(query), as_of), role, status)
    if flagged:
        from audit.lineage.recorded.reviews import only_flagged

        found = only_flagged(found, ledger.flagged(as_of))
    if as_json:
        write_json_array(prediction.to_json() for prediction in found)
    elif form == "jsonl":
        for prediction in found:
            write_json_line(prediction.to_json())
    elif form == "csv":
        from audit.lineage.recorded.predictions import csv_lines

        for line in csv_lines(found):
            write(line)
    else:
        write_table(COLUMNS, _rows(found, ledger.single), right=(0,))


def _rows(found: "Iterator[Prediction]", single: bool) -> Iterator[tuple[str, ...]]:
    from audit.lineage.recorded.predictions import PRIMARY, output_text

    for prediction in found:
        version, index = prediction.model_version, prediction.record.index
        yield (
            str(index) if single else f"{prediction.record.log}/{index}",
            when(prediction.time_us),
            prediction.prediction_id,
            prediction.key,
            prediction.model_name
            + (f"@{version}" if version else "")
            + ("" if prediction.role == PRIMARY else f" ({prediction.role})"),
            output_text(prediction),
        )
