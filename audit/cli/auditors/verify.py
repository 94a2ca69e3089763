"""`audit verify`: check the ledger, one entry, a bundle or a receipt."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from audit.cli.options import (
    json_option,
    policy_option,
    session_argument,
    source_option,
    store_option,
)
from audit.cli.output import write, write_json
from audit.cli.progress import Progress
from audit.cli.session import Session

if TYPE_CHECKING:
    from audit.verify.findings import Report
    from audit.verify.policy import Policy


@click.command()
@click.argument("file", required=False)
@click.option("--key", "keys", metavar="VKEY", multiple=True, help="Trust this log key alone.")
@policy_option
@click.option(
    "--checkpoint",
    "checkpoints",
    metavar="FILE",
    multiple=True,
    help="A checkpoint, or a receipt, that was kept elsewhere: catches a rewritten history.",
)
@click.option("--entry", "position", metavar="POSITION", help="Check this entry alone.")
@click.option(
    "--from",
    "from_index",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Begin at entry N: what is before it is not hashed again.",
)
@click.option("--log", type=click.IntRange(min=0), help="One log of several.")
@source_option
@store_option
@json_option
@session_argument
def verify(
    session: Session,
    file: str | None,
    keys: tuple[str, ...],
    policy: str | None,
    checkpoints: tuple[str, ...],
    position: str | None,
    from_index: int,
    log: int | None,
    source: str | None,
    store: str,
    as_json: bool,
) -> None:
    """Check the ledger, believing nothing of it; or FILE, a bundle or a receipt, offline.

    \b
    audit verify                                   # trusting audit.policy beside the store
    audit verify --key VKEY --checkpoint kept.txt  # trusting what you were handed
    audit verify case.zip --policy audit.policy
    audit verify --entry 1042
    audit verify --source kafka://host:9092/audit.events   # also: has it all that the topic holds?

    Exit 0: ok. Exit 1: tampered, or there is not enough to tell. Says what is not proven.
    """
    if file is not None and (position is not None or from_index or log is not None):
        raise click.UsageError("--entry, --from and --log are for a ledger, not for a file")
    if position is not None and (from_index or log is not None):
        raise click.UsageError("--entry checks one entry; it goes without --from and --log")
    if source is not None and (file or position is not None or from_index or log is not None):
        raise click.UsageError("--source is for the whole ledger: no FILE, --entry, --from, --log")
    from audit.ledger.evidence import read_checkpoint, verify_any_file, verify_ledger

    trusted = _policy(keys, policy, store)
    notes = [read_checkpoint(Path(name)) for name in checkpoints]
    if file is not None:
        report = verify_any_file(Path(file), trusted, notes)
    elif position is not None:
        report = session.ledger(store).verify_entry(position, trusted, notes)
    else:
        with Progress("checking", "entries") as progress:
            report = verify_ledger(store, trusted, notes, from_index, log, progress, source)
    _show(session, report, as_json)


def _policy(keys: tuple[str, ...], policy: str | None, store: str) -> "Policy | None":
    """Whom to trust: the keys, the file, or what lies beside the store."""
    from audit.ledger.open import policy_for
    from audit.verify.policy import Policy

    if keys and policy is not None:
        raise click.UsageError("give --key or --policy, not both")
    if keys:
        return Policy.from_vkeys(keys)
    return policy_for(store) if policy is None else Policy.from_file(policy)


def _show(session: Session, report: "Report", as_json: bool) -> None:
    session.exit_code = report.exit_code
    if as_json:
        write_json(report.to_json())
        return
    from audit.ledger.harmless import harmless
    from audit.verify.report import report_text

    for line in report_text(report).rstrip("\n").split("\n"):
        write(harmless(line) + "\n")
