"""Events of the ledger's own commands, appended to its log 0 without a broker."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from audit.errors import InvalidInput
from audit.event.build import Built, schema_event
from audit.event.envelope import encode_event
from audit.ledger.guarded import check_not_rolled_back
from audit.ledger.open import policy_path
from audit.log.intake import Message

if TYPE_CHECKING:
    from audit.store.contract import Outcome


class Appending(NamedTuple):
    """What became of the events, in order. `remark`: a line for the user, or None."""

    outcomes: "Sequence[Outcome]"
    remark: str | None


def append_built(url: str, built: Iterable[Built]) -> Appending:
    """Seal events in log 0 of a ledger that is there, in one transaction, with their schemas first.

    Nothing is made that is missing: without its key or its policy the ledger is not written to.
    A store that was rolled back is refused, where that can be told: then `remark` is None.
    Raises InvalidInput, Unavailable, StoreBusy, StoreCorrupt.
    """
    from audit.capture.delivery.embedded import open_for_writing
    from audit.store import open_reader

    policy = policy_path(url)
    if not policy.exists():
        raise InvalidInput(f"the ledger has no policy at {policy}")
    open_reader(url).close()  # StoreMissing, before a new ledger could be made
    schemas: dict[bytes, None] = {}
    events = []
    for event, needed in built:
        schemas.update(dict.fromkeys(needed))
        events.append(event)
    first = [Message(encode_event(schema_event(canonical))) for canonical in schemas]
    with open_for_writing(url) as ledger:
        remark = check_not_rolled_back(ledger)
        appended = ledger.append([*first, *(Message(encode_event(event)) for event in events)])
    return Appending(appended.outcomes[len(first) :], remark)
