"""The rollback guard for commands that append to a ledger which consumers append to as well.

A store that was put back to an older copy must not go on from there: its logs would sign two
histories under one name. Consumers compare with what was published before they append; so does a
command, where it can reach the bus. Where it cannot it goes on: the consumers' guard still finds
it, because what they published is larger than, or differs from, what the command made.
"""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from audit.errors import NotFound, Unavailable
from audit.ledger.sources import BUS_VARIABLE
from audit.store.contract import LOG_OF_THE_LEDGER

if TYPE_CHECKING:
    from audit.capture.delivery.embedded import EmbeddedLedger

CONNECT_WITHIN_S = 3.0
"""A command does not wait longer than that for a broker it can do without."""


def check_not_rolled_back(
    ledger: "EmbeddedLedger",
    logs: Iterable[int] = (LOG_OF_THE_LEDGER,),
    *,
    bus: str | None = None,
) -> str | None:
    """Compare logs with the checkpoints published of them, before anything is appended to them.

    `bus`: instead of AUDIT_BUS. Returns None when all is well, or the ledger never read a topic;
    else, in one line for the user, why they could not be compared. Raises StoreCorrupt for a store
    that was rolled back, InvalidInput when what was published is not this ledger's.
    """
    from audit.kafka.accepted import newest_accepted
    from audit.kafka.address import KAFKA_SCHEME, parse_address
    from audit.kafka.checkpoints import newest_checkpoints
    from audit.kafka.published import check_holds, open_published

    accepted = newest_accepted(ledger.store)
    if accepted is None:
        return None
    named = bus or os.environ.get(BUS_VARIABLE) or ""
    if not named.startswith(KAFKA_SCHEME):
        return _not_compared(f"{BUS_VARIABLE} does not name the topic {accepted.topic}")
    address = parse_address(named)
    if address.topic != accepted.topic:
        return _not_compared(f"this ledger reads {accepted.topic}, not {address.topic}")
    verifiers = {log: ledger.signer(log).verifier for log in sorted(set(logs))}
    names = [verifier.name for verifier in verifiers.values()]
    try:
        notes = newest_checkpoints(address, names, connect_timeout_s=CONNECT_WITHIN_S)
    except (Unavailable, NotFound) as error:
        return _not_compared(str(error).partition("\n")[0])
    for log, verifier in verifiers.items():
        if verifier.name in notes:
            check_holds(ledger.store, log, open_published(notes[verifier.name], verifier))
    return None


def _not_compared(why: str) -> str:
    return f"not compared with the published checkpoints: {why}"
