"""`audit trace`: what things were made from, and what was made from them."""

import click

from audit.cli.options import as_of_option, json_option, session_argument, store_option
from audit.cli.output import write, write_json
from audit.cli.session import Session
from audit.ledger.harmless import harmless

FORMATS = ("tree", "json", "dot")


@click.command()
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@click.option("--downstream", is_flag=True, help="What was made from it, to every prediction.")
@click.option("--depth", type=click.IntRange(0), help="Follow so many steps. Default: all.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="tree", show_default=True)
@as_of_option
@store_option
@json_option
@session_argument
def trace(
    session: Session,
    refs: tuple[str, ...],
    downstream: bool,
    depth: int | None,
    form: str,
    as_of: str | None,
    store: str,
    as_json: bool,
) -> None:
    """What REF was made from: model, training run, code, parameters, data, rows and who wrote them.

    \b
    audit trace prediction/ID                    # back to the rows it read
    audit trace model/credit-risk@2              # its run, code, data; feedback loops
    audit trace user/5 --downstream              # every model and prediction that the row touched
    audit trace inquiry --downstream             # all that reads a dataset
    """
    found = session.ledger(store).trace(*refs, as_of=as_of, downstream=downstream, depth=depth)
    if as_json or form == "json":
        write_json(found.to_json())
        return
    from audit.lineage.tracing.trace_out import to_dot, to_tree

    for line in to_dot(found) if form == "dot" else to_tree(found):
        write(harmless(line) + "\n")
