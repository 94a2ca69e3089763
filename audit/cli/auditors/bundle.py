"""`audit bundle`: the offline file for an auditor."""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from audit.cli.files import STDOUT, new_file
from audit.cli.options import (
    QueryCommand,
    as_of_option,
    json_option,
    query_argument,
    query_text,
    session_argument,
    store_option,
)
from audit.cli.output import counted, write_json
from audit.cli.session import Session, note

if TYPE_CHECKING:
    from audit.ledger import Ledger
    from audit.verify.bundle import Written


@click.command(cls=QueryCommand)
@query_argument
@click.option("-o", "output", metavar="F.zip", required=True, help="The file to write; -: stdout.")
@as_of_option
@store_option
@json_option
@session_argument
def bundle(
    session: Session,
    query: tuple[str, ...],
    output: str,
    as_of: str | None,
    store: str,
    as_json: bool,
) -> None:
    """Write what QUERY finds into one file that can be checked offline.

    It holds the entries, all others of the rows they are about, schemas, proofs and checkpoints,
    and a text on how to check it without this software. Without a QUERY: everything.

    \b
    audit bundle entity:inquiry key:1003 -o case.zip
    audit verify case.zip --policy audit.policy
    audit history inquiry/1003 --store bundle:///case.zip
    """
    ledger = session.ledger(store)
    if output == STDOUT:
        if as_json:
            raise click.UsageError("--json and -o - both write to stdout: name a file with -o")
        written = _to_stdout(ledger, query_text(query), as_of)
    else:
        written = ledger.bundle(query_text(query), output, as_of)
    if as_json:
        write_json({"file": output, **written._asdict()})
        return
    note(
        f"{'bundle' if output == STDOUT else output}: {counted(written.entries, 'entry')} of "
        f"{counted(written.logs, 'log')}, "
        f"{written.chosen:,} asked for; the others are needed to read and check them"
    )


def _to_stdout(ledger: "Ledger", query: str, as_of: str | None) -> "Written":
    """By way of a file: what a bundle's zip says of itself cannot be written to a pipe."""
    if sys.stdout.isatty():
        raise click.UsageError("a bundle is not for a terminal: name a file with -o")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bundle.zip")
        written = ledger.bundle(query, str(path), as_of)
        with path.open("rb") as made, new_file(STDOUT) as out:
            shutil.copyfileobj(made, out)
    return written
