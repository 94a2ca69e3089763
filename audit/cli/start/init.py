"""`audit init`: make a ledger."""

import click

from audit.cli.options import json_option, session_argument, store_option
from audit.cli.output import write, write_json
from audit.cli.session import BUS_VARIABLE, Session, note
from audit.errors import InvalidInput


@click.command()
@click.option("--origin", metavar="NAME", help="The log's name, such as audit.example.com/prod.")
@click.option(
    "--bus",
    envvar=BUS_VARIABLE,
    metavar="URL",
    help="With --partitions: kafka://host:9092/audit.events (or AUDIT_BUS).",
)
@click.option("--partitions", type=int, metavar="N", help="Make the bus's topics where missing.")
@click.option(
    "--replication", type=int, default=1, show_default=True, metavar="N", help="Copies of each."
)
@store_option
@json_option
@session_argument
def init(
    session: Session,
    store: str,
    origin: str | None,
    bus: str | None,
    partitions: int | None,
    replication: int,
    as_json: bool,
) -> None:
    """Create store, append-only guards, signing key and audit.policy.

    Prints the verifier key: hand it to auditors, with audit.policy. Safe to repeat. With
    --partitions also the topics in Kafka, where they are missing.
    """
    from audit.capture.delivery.embedded import open_for_writing

    made = [] if partitions is None else _make_topics(bus, partitions, replication)
    with open_for_writing(store, origin=origin) as ledger:
        if as_json:
            write_json(
                {
                    "topics": made,
                    "created": ledger.created,
                    "origin": ledger.origin,
                    "vkey": ledger.vkey,
                    "store": ledger.store.address,
                    "key": str(ledger.key_path),
                    "policy": str(ledger.policy_path),
                }
            )
            return
        if partitions is not None:
            note(f"topics made: {', '.join(made) or 'none, they are there'}")
        note(
            f"{'created' if ledger.created else 'already there'}: the ledger {ledger.origin}"
            f" in {ledger.store.address}\n"
            f"signing key {ledger.key_path}: keep it secret, keep a copy\n"
            f"policy {ledger.policy_path}: hand it to auditors; it holds this verifier key:"
        )
        write(ledger.vkey + "\n")


def _make_topics(bus: str | None, partitions: int, replication: int) -> list[str]:
    from audit.kafka.address import KAFKA_SCHEME, parse_address
    from audit.kafka.topics import create_topics

    if bus is None or not bus.startswith(KAFKA_SCHEME):
        raise InvalidInput(
            "--partitions is for the topics of a bus in Kafka\n"
            f"name it: --bus {KAFKA_SCHEME}host:9092/audit.events, or {BUS_VARIABLE}"
        )
    return create_topics(parse_address(bus), partitions, replication)
