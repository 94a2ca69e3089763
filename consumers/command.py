"""The options of a consumer, the same for `audit consume` and `python -m consumers`."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from audit.errors import InvalidInput
from consumers.settings import (
    DEFAULT_BATCH,
    DEFAULT_HEADS_EVERY_S,
    DEFAULT_LINGER_MS,
    DEFAULT_SESSION_S,
    Settings,
    Signatures,
    parse_health,
)

DEFAULT_STORE = "sqlite:///audit.db"

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS = [
    click.option(
        "--bus",
        envvar="AUDIT_BUS",
        metavar="URL",
        help="The topic: kafka://host:9092/audit.events (or AUDIT_BUS).",
    ),
    click.option(
        "--store",
        envvar="AUDIT_STORE",
        default=DEFAULT_STORE,
        metavar="URL",
        show_default=True,
        help="The ledger: sqlite:///path or postgresql://user@host/db (or AUDIT_STORE).",
    ),
    click.option(
        "--group",
        envvar="AUDIT_GROUP",
        metavar="G",
        help="The consumer group. Default: attestory. and the ledger's origin.",
    ),
    click.option("--once", is_flag=True, envvar="AUDIT_ONCE", help="End when caught up."),
    click.option(
        "--accept-partitions",
        envvar="AUDIT_ACCEPT_PARTITIONS",
        type=int,
        metavar="N",
        help="Read on a topic that grew to N partitions.",
    ),
    click.option(
        "--signatures",
        envvar="AUDIT_SIGNATURES",
        type=click.Choice([policy.value for policy in Signatures]),
        default=Signatures.RECORD.value,
        show_default=True,
        help="Producers' signatures: check them and quarantine what fails, keep, or leave out.",
    ),
    click.option(
        "--health",
        envvar="AUDIT_HEALTH",
        metavar="HOST:PORT",
        help="Serve /metrics, /healthz and /readyz there.",
    ),
    click.option(
        "--batch",
        envvar="AUDIT_BATCH",
        type=int,
        default=DEFAULT_BATCH,
        show_default=True,
        metavar="N",
        help="Most messages in one transaction.",
    ),
    click.option(
        "--linger",
        "linger_ms",
        envvar="AUDIT_LINGER",
        type=int,
        default=DEFAULT_LINGER_MS,
        show_default=True,
        metavar="MS",
        help="How long the first message of a transaction waits for more.",
    ),
    click.option(
        "--heads-every",
        "heads_every_s",
        envvar="AUDIT_HEADS_EVERY",
        type=int,
        default=DEFAULT_HEADS_EVERY_S,
        show_default=True,
        metavar="S",
        help="How often log 0 says how far all logs are.",
    ),
    click.option(
        "--session-timeout",
        "session_timeout_s",
        envvar="AUDIT_SESSION_TIMEOUT",
        type=int,
        default=DEFAULT_SESSION_S,
        show_default=True,
        metavar="S",
        help="Silent for so long, a consumer loses its partitions to others.",
    ),
    click.option(
        "--json-logs", is_flag=True, envvar="AUDIT_JSON_LOGS", help="Log one JSON object a line."
    ),
]


def consume_options(command: F) -> F:
    """Give a command these options; it takes them as keywords and passes them to `start`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def start(
    bus: str | None, health: str | None, signatures: str, json_logs: bool, **rest: Any
) -> int:
    """Run a consumer with what the options say; the exit code. Raises as `service.run`."""
    if not bus:
        raise InvalidInput(
            "there is no topic to consume\nsay --bus kafka://host:9092/audit.events, or AUDIT_BUS"
        )
    settings = Settings(
        bus=bus,
        health=None if health is None else parse_health(health),
        signatures=Signatures(signatures),
        **rest,
    )
    from consumers.logs import set_up
    from consumers.service import run

    set_up(json_logs)
    return run(settings)
