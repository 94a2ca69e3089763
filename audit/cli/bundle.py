"""`audit bundle`: the offline file for an auditor."""

import click

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


@click.command(cls=QueryCommand)
@query_argument
@click.option("-o", "output", metavar="F.zip", required=True, help="The file to write.")
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
    written = session.ledger(store).bundle(query_text(query), output, as_of)
    if as_json:
        write_json({"file": output, **written._asdict()})
        return
    note(
        f"{output}: {counted(written.entries, 'entry')} of {counted(written.logs, 'log')}, "
        f"{written.chosen:,} asked for; the others are needed to read and check them"
    )
