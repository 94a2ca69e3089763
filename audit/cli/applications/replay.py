"""`audit replay`: a dataset or a row as it was; a prediction or a run, run again."""

from pathlib import Path

import click

from audit.cli.files import file_or_stdout
from audit.cli.options import (
    as_of_option,
    json_option,
    key_option,
    policy_option,
    session_argument,
    store_option,
    valid_at_option,
)
from audit.cli.session import Session
from audit.errors import InvalidInput
from audit.replay.refs import RECORD_WORDS, is_ref

FORMATS = ("table", "csv", "jsonl", "parquet")
COLUMN_MODES = frozenset(("then", "latest", "union"))
_FORMAT_OF_SUFFIX = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


@click.command()
@click.argument("what", metavar="ENTITY|REF")
@as_of_option
@valid_at_option
@click.option("-o", "output", metavar="FILE", help="Write to a file; its ending names the format.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: table.")
@click.option(
    "--columns",
    metavar="A,B|MODE",
    help="These columns; or those of then, latest, or their union (the default).",
)
@key_option
@click.option(
    "--where",
    metavar="CONDITION",
    multiple=True,
    help="Rows that fit all of these: amount>=100, 'dpt in ISR,SCS', 'note is null'.",
)
@click.option(
    "--verify", "check", is_flag=True, help="Make it again from all leaves, hashed, and compare."
)
@click.option("--against", metavar="MODEL@V", help="A prediction: run this model instead.")
@click.option(
    "--set", "changes", metavar="F=V", multiple=True, help="A prediction: change a value."
)
@click.option("--tolerance", type=float, help="A prediction: numbers this close count as equal.")
@click.option(
    "--run-unverified",
    is_flag=True,
    help="Run it though its record is UNVERIFIED. Runs code that nobody vouches for!",
)
@click.option("--no-record", is_flag=True, help="A prediction, a run: do not log the verdict.")
@policy_option
@store_option
@json_option
@session_argument
def replay(
    session: Session,
    what: str,
    as_of: str | None,
    valid_at: str | None,
    output: str | None,
    form: str | None,
    columns: str | None,
    keys: tuple[str, ...],
    where: tuple[str, ...],
    check: bool,
    against: str | None,
    changes: tuple[str, ...],
    tolerance: float | None,
    run_unverified: bool,
    no_record: bool,
    policy: str | None,
    store: str,
    as_json: bool,
) -> None:
    """The dataset ENTITY, or the row REF, as it was; or prediction/ID or run/ID, run again.

    \b
    audit replay inquiry --as-of 2026-01-31          # as it was known then
    audit replay inquiry --valid-at 2020-06-01       # as it was in the world then
    audit replay user/5 --as-of HEAD~10
    audit replay inquiry -o inquiry.parquet
    audit replay inquiry --columns amount,status --where 'amount>=100'
    audit replay prediction/ID                       # exit 1 unless the same comes out
    audit replay run/ID                              # train again, compare the model

    Replaying a prediction or a run runs the code that was recorded with it, if its record is
    VERIFIED. The verdict is recorded as an event, unless something was changed on purpose.
    """
    from audit.cli.applications.replay_rows import Wanted, show_dataset, show_row

    output = file_or_stdout(output)

    if is_ref(what):
        _require_no(what, key=keys, where=where)
    if is_ref(what) and what.partition("/")[0] in RECORD_WORDS:
        _require_no(what, output=output, columns=columns, valid_at=valid_at, form=form)
        from audit.cli.ml.replay_prediction import Question, show_prediction
        from audit.cli.ml.replay_run import show_run

        question = Question(
            what, as_of, policy, tolerance, against, changes, as_json, run_unverified, not no_record
        )
        if what.startswith("run/"):
            _require_no(what, against=against, set=changes, tolerance=tolerance)
            show_run(session, store, question)
        else:
            show_prediction(session, store, question)
        return
    insist, silent = run_unverified or None, no_record or None
    _require_no(what, against=against, set=changes, tolerance=tolerance)
    _require_no(what, run_unverified=insist, no_record=silent)
    wanted = Wanted(
        what,
        as_of,
        valid_at,
        _columns(columns),
        keys or None,
        where,
        _form(form, output, as_json),
        output,
        check,
        policy,
    )
    (show_row if is_ref(what) else show_dataset)(session, session.ledger(store), wanted)


def _columns(columns: str | None) -> str | list[str]:
    """A mode, or names between commas."""
    if columns is None or columns in COLUMN_MODES:
        return columns or "union"
    return [name for name in columns.split(",") if name]


def _form(form: str | None, output: str | None, as_json: bool) -> str:
    if as_json:
        if form is not None or output is not None:
            raise click.UsageError("--json prints rows and citation; it goes without --format, -o")
        return "json"
    if form is not None:
        return form
    if output is None:
        return "table"
    found = _FORMAT_OF_SUFFIX.get(Path(output).suffix.lower())
    if found is None:
        raise click.UsageError(f"{output} does not say its format: add --format csv|jsonl|parquet")
    return found


def _require_no(what: str, **options: object) -> None:
    for name, value in options.items():
        if value not in (None, ()):
            option = {"form": "--format", "output": "-o"}.get(name, "--" + name.replace("_", "-"))
            raise InvalidInput(f"{option} does not fit {what}")
