"""`audit history`: all versions of one thing."""

from typing import TYPE_CHECKING

import click

from audit.cli.changes import changes_text
from audit.cli.options import as_of_option, json_option, session_argument, store_option
from audit.cli.output import write_json, write_table
from audit.cli.session import Session, note
from audit.ledger.said import when

if TYPE_CHECKING:
    from audit.replay.history import Version

COLUMNS = ("ENTRY", "RECORDED", "VALID", "OP", "ACTOR", "CHANGE", "WHY")


@click.command()
@click.argument("ref")
@as_of_option
@store_option
@json_option
@session_argument
def history(session: Session, ref: str, as_of: str | None, store: str, as_json: bool) -> None:
    """All versions of REF, such as user/5: what each event did, who said so, when and why."""
    ledger = session.ledger(store)
    versions = ledger.history(ref, as_of)
    if as_json:
        write_json({"ref": ref, "versions": [version.to_dict() for version in versions]})
        return
    if not versions:
        note(f"nothing of {ref} was recorded by then")
        return
    write_table(COLUMNS, (_row(version, ledger.single) for version in versions), right=(0,))
    for version in versions:
        for flag in version.flags:
            note(f"{version.log}/{version.index}: {flag}{_why(version)}")


def _row(version: "Version", single: bool) -> tuple[str, ...]:
    gone = version.superseded_by is not None
    return (
        str(version.index) if single else f"{version.log}/{version.index}",
        when(version.recorded_time_us),
        when(version.valid_time_us),
        version.op + (" (superseded)" if gone else ""),
        version.actor or "",
        changes_text(version.changed),
        version.reason or "",
    )


def _why(version: "Version") -> str:
    return f" ({version.problem})" if version.problem else ""
