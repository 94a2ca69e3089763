"""`audit init`: make a ledger."""

import click

from audit.cli.options import json_option, session_argument, store_option
from audit.cli.output import write, write_json
from audit.cli.session import Session, note


@click.command()
@click.option("--origin", metavar="NAME", help="The log's name, such as audit.example.com/prod.")
@store_option
@json_option
@session_argument
def init(session: Session, store: str, origin: str | None, as_json: bool) -> None:
    """Create store, append-only guards, signing key and audit.policy.

    Prints the verifier key: hand it to auditors, with audit.policy. Safe to repeat.
    """
    from audit.capture.embedded import open_for_writing

    with open_for_writing(store, origin=origin) as ledger:
        if as_json:
            write_json(
                {
                    "created": ledger.created,
                    "origin": ledger.origin,
                    "vkey": ledger.vkey,
                    "store": ledger.store.address,
                    "key": str(ledger.key_path),
                    "policy": str(ledger.policy_path),
                }
            )
            return
        note(
            f"{'created' if ledger.created else 'already there'}: the ledger {ledger.origin}"
            f" in {ledger.store.address}\n"
            f"signing key {ledger.key_path}: keep it secret, keep a copy\n"
            f"policy {ledger.policy_path}: hand it to auditors; it holds this verifier key:"
        )
        write(ledger.vkey + "\n")
