"""`audit capture`: the ways in which a business database's changes come into the ledger."""

import click

from audit.cli.lazy import Lazy, LazyGroup

COMMANDS = {
    "debezium": Lazy(
        "audit.cli.operators.capture_debezium",
        "debezium",
        "Commands",
        "Take Debezium's change events from Kafka.",
    ),
    **{
        name: Lazy("audit.cli.operators.capture_triggers", name, "Commands", help_line)
        for name, help_line in (
            ("install", "Make triggers that record every change, whoever makes it."),
            ("check", "How tables and triggers differ: what is not captured any more."),
            ("remove", "Take the triggers away; what waits in the outbox stays."),
        )
    },
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def capture() -> None:
    """What changes in a business database, into the ledger."""
