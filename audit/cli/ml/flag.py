"""`audit flag` and `audit unflag`: mark what is wrong, and take it back."""

from typing import TYPE_CHECKING

import click

from audit.cli.options import json_option, session_argument, store_option
from audit.cli.output import write, write_json
from audit.cli.session import Session, note

if TYPE_CHECKING:
    from audit.ledger.flags import Said

actor_option = click.option("--actor", metavar="WHO", help="Who says so.")


@click.command()
@click.argument("ref")
@click.option("-m", "--message", metavar="WHY", required=True, help="What is wrong with it.")
@actor_option
@store_option
@json_option
@session_argument
def flag(
    session: Session, ref: str, message: str, actor: str | None, store: str, as_json: bool
) -> None:
    """Mark REF as wrong: prediction/ID, run/ID, model/NAME@VERSION, user/5. Prints the event's id.

    It is recorded as a review event; nothing else changes. The same flag by the same person is
    recorded once. `audit review` ranks what flagged things have in common.

    \b
    audit flag prediction/018f... -m "the customer never was late" --actor alice
    """
    from audit.ledger.flags import flag as flag_it

    said = flag_it(session.ledger(store), ref, message, actor)
    if not said.new:
        note(f"{said.ref} was flagged so before, by entry {said.log}/{said.index}")
    _show(said, as_json)


@click.command()
@click.argument("ref")
@click.option("-m", "--message", metavar="WHY", help="Why it is right after all.")
@actor_option
@store_option
@json_option
@session_argument
def unflag(
    session: Session, ref: str, message: str | None, actor: str | None, store: str, as_json: bool
) -> None:
    """Take all flags of REF back. They stay in the log, and so does this. Prints the event's id."""
    from audit.ledger.flags import unflag as unflag_it

    said = unflag_it(session.ledger(store), ref, message, actor)
    if not said.new:
        note(f"the flags of {said.ref} were taken back before, by entry {said.log}/{said.index}")
    _show(said, as_json)


def _show(said: "Said", as_json: bool) -> None:
    if said.remark is not None:
        note(said.remark)
    if not as_json:
        write(said.event_id + "\n")
        return
    where = {"log": said.log, "index": said.index}
    write_json({"event_id": said.event_id, "ref": said.ref, **where, "duplicate": not said.new})
