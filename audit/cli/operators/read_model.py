"""`audit readmodel`: the columns that fast answers come from, kept beside the store."""

from typing import TYPE_CHECKING, Any

import click

from audit.cli.lazy import LazyGroup
from audit.cli.options import json_option, session_argument, store_option
from audit.cli.output import write_block, write_json, write_table
from audit.cli.session import Session
from audit.errors import InvalidInput

if TYPE_CHECKING:
    from audit.replay.columnar.kept.model import ReadModel

COLUMNS = ("LOG", "ORIGIN", "ENTRIES", "KEPT", "PIECES", "BYTES")
_NUMBERS = (0, 2, 3, 4, 5)


@click.group("readmodel", cls=LazyGroup)
def read_model() -> None:
    """What makes replay and search fast: the log once more, in columns, on disk.

    It is built when it is first needed, checked when it is used, and never evidence: it can be
    deleted at any time.
    """


@read_model.command()
@store_option
@json_option
@session_argument
def build(session: Session, store: str, as_json: bool) -> None:
    """Build it, or build on, so that no question has to wait for that."""
    from audit.cli.progress import Progress
    from audit.replay.columnar.fold.prepare import prepare

    found = _opened(session, store)
    with Progress("building", "entries") as progress:
        found.seal(progress)
    prepare(found)
    _show(found, as_json)


@read_model.command()
@store_option
@json_option
@session_argument
def status(session: Session, store: str, as_json: bool) -> None:
    """Where it is, how far it goes and how large it is."""
    _show(_opened(session, store), as_json)


@read_model.command()
@store_option
@json_option
@session_argument
def drop(session: Session, store: str, as_json: bool) -> None:
    """Delete it. The next question that needs it builds it again."""
    found = _opened(session, store)
    found.drop()
    _show(found, as_json)


def _opened(session: Session, store: str) -> "ReadModel":
    found = session.ledger(store).read_model
    if found is None:
        raise InvalidInput("there is no read model: a bundle has none, and AUDIT_READ_MODEL=off")
    return found


def _show(found: "ReadModel", as_json: bool) -> None:
    states = found.state()
    folder = None if found.folder is None else str(found.folder)
    if as_json:
        said: dict[str, Any] = {"folder": folder, "logs": [one._asdict() for one in states]}
        write_json(said)
        return
    write_block([("kept in", folder or "memory")])
    rows = (
        (str(s.log), s.origin, *(f"{n:,}" for n in (s.size, s.sealed, s.pieces, s.kept_bytes)))
        for s in states
    )
    write_table(COLUMNS, rows, right=_NUMBERS)
