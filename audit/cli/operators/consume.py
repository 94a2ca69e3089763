"""`audit consume`: seal what a Kafka topic holds into the ledger."""

from typing import Any

import click

from audit.cli.options import session_argument
from audit.cli.session import Session
from consumers.command import consume_options, start


@click.command()
@consume_options
@session_argument
def consume(session: Session, /, **given: Any) -> None:
    """Seal what a Kafka topic holds into the ledger, exactly once.

    Run as many as the topic has partitions: the group shares them out. SIGTERM ends one cleanly.
    Every option can be given in the environment: --linger as AUDIT_LINGER, and so on.
    """
    session.exit_code = start(**given)
