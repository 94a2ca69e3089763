"""`audit prove`: a receipt for one entry."""

import click

from audit.cli.files import file_or_stdout, write_file
from audit.cli.options import json_option, session_argument, store_option
from audit.cli.output import write, write_json
from audit.cli.session import Session, note


@click.command()
@click.argument("position")
@click.option("-o", "output", metavar="F.tlog-proof", help="Default, and -: stdout.")
@store_option
@json_option
@session_argument
def prove(session: Session, position: str, output: str | None, store: str, as_json: bool) -> None:
    """Write a receipt for the entry at POSITION: a C2SP tlog-proof that verifies alone.

    Check it anywhere with `audit verify F.tlog-proof --key VKEY`; the ledger is not needed.
    """
    output = file_or_stdout(output)
    ledger = session.ledger(store)
    record = ledger.entry(position)
    receipt = ledger.prove(f"{record.log}/{record.index}")
    if output is not None:
        write_file(output, receipt)
        note(f"receipt for entry {record.log}/{record.index} in {output}: {len(receipt):,} bytes")
    if as_json:
        write_json(
            {
                "log": record.log,
                "index": record.index,
                "leaf_hash": record.leaf_hash.hex(),
                "receipt": receipt.decode(),
            }
        )
    elif output is None:
        write(receipt.decode())
