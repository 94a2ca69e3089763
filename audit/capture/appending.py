"""Events of the ledger's own commands, appended to its log 0 without a broker."""

from collections.abc import Iterable
from pathlib import Path

from audit.capture.embedded import open_for_writing
from audit.errors import InvalidInput
from audit.event.build import Built, schema_event
from audit.event.envelope import encode_event
from audit.log.intake import Message


def append_built(url: str, built: Iterable[Built], policy_path: Path) -> None:
    """Seal events in log 0 of a ledger that is there, in one transaction, with their schemas first.

    Nothing is made that is missing: without its key or its policy the ledger is not written to.
    Raises InvalidInput, Unavailable, StoreBusy, StoreCorrupt.
    """
    from audit.store import open_reader

    if not policy_path.exists():
        raise InvalidInput(f"the ledger has no policy at {policy_path}")
    open_reader(url).close()  # StoreMissing, before a new ledger could be made
    schemas: dict[bytes, None] = {}
    events = []
    for event, needed in built:
        schemas.update(dict.fromkeys(needed))
        events.append(event)
    first = [Message(encode_event(schema_event(canonical))) for canonical in schemas]
    with open_for_writing(url) as ledger:
        ledger.append([*first, *(Message(encode_event(event)) for event in events)])
