"""`audit trace-diff`: how the lineage of two things differs."""

import click

from audit.cli.options import as_of_option, json_option, session_argument, store_option
from audit.cli.output import write, write_json
from audit.cli.session import Session
from audit.ledger.harmless import harmless


@click.command("trace-diff")
@click.argument("a")
@click.argument("b")
@as_of_option
@store_option
@json_option
@session_argument
def trace_diff(
    session: Session, a: str, b: str, as_of: str | None, store: str, as_json: bool
) -> None:
    """How the lineage of A and B differs: model, code, parameters, packages, data, features, rows.

    \b
    audit trace-diff model/credit-risk@1 model/credit-risk@2
    audit trace-diff prediction/ID prediction/ID
    """
    found = session.ledger(store).trace_diff(a, b, as_of)
    if as_json:
        write_json(found.to_json())
        return
    for line in found.lines():
        write(harmless(line) + "\n")
