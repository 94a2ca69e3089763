"""What has to be there before the first consumer: the topics and the ledger. Safe to repeat.

Each is made only where it is missing; what is there is left as it is. A crash in between leaves
what the next run goes on from. Settings come from the environment alone:

    AUDIT_BUS, AUDIT_STORE  as for every command
    AUDIT_ORIGIN            the ledger's name, given once and for all
    AUDIT_PARTITIONS        of the events topic, if it is made now (default 4)
    AUDIT_REPLICATION       copies of each topic that is made now (default 1: one broker)
"""

import os
import sys
import time

from audit.errors import AuditError, InvalidInput, Unavailable
from audit.kafka.address import KafkaAddress, parse_address
from audit.kafka.topics import create_topics

DEFAULT_PARTITIONS = 4
DEFAULT_REPLICATION = 1
WAIT_S = 60.0
"""How long a broker may take to answer: it is being started as well."""
PAUSE_S = 2.0


def main() -> int:
    """Make the topics, then become `audit init`; returns an exit code when that is not reached."""
    try:
        origin, address = _required("AUDIT_ORIGIN"), parse_address(_required("AUDIT_BUS"))
        _required("AUDIT_STORE")
        partitions = _number("AUDIT_PARTITIONS", DEFAULT_PARTITIONS)
        made = _make(address, partitions, _number("AUDIT_REPLICATION", DEFAULT_REPLICATION))
    except AuditError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"topics made: {', '.join(made) or 'none, they are there'}", file=sys.stderr, flush=True)
    os.execvp("audit", ["audit", "init", "--origin", origin])


def _make(address: KafkaAddress, partitions: int, replication: int) -> list[str]:
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return create_topics(address, partitions, replication)
        except Unavailable as error:
            if time.monotonic() + PAUSE_S > deadline:
                raise
            print(f"waiting: {error}", file=sys.stderr, flush=True)
            time.sleep(PAUSE_S)


def _required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise InvalidInput(f"{name} is not set; deploy/.env.example says what it is")
    return value


def _number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit()):
        raise InvalidInput(f"{name} must be a number, not {text[:40]!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
