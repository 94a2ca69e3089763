"""Where imported events go, and where it is read what is there already."""

import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from audit.capture.delivery.embedded import EmbeddedLedger
from audit.capture.delivery.kafka_sender import KafkaSender
from audit.errors import StoreMissing, Unavailable
from audit.event.envelope import Event
from audit.event.types import SCHEMA
from audit.kafka.address import parse_address
from audit.log.intake import Message
from audit.store import open_reader, without_password
from audit.store.contract import LOG_OF_THE_LEDGER, Reader, Status

if TYPE_CHECKING:
    from audit.store.sql_reader import SqlReader

CONFLICT = "conflicts"
_BECAME = {Status.SEALED: None, Status.DUPLICATE: "skipped"}


class Target(Protocol):
    """Takes imported events. `done` is the word for what is done with them."""

    done: str

    @property
    def known(self) -> Reader | None:
        """The ledger as far as it can be read."""
        ...

    def state(self) -> Reader:
        """The ledger with the rows that are there now. Raises Unavailable, InvalidInput."""
        ...

    def put(self, messages: Sequence[Message]) -> list[str | None]:
        """Put them there; for each why it is not counted as what it is, if so. Raises AuditError:
        then they may be put again."""
        ...

    def counts(self, event: Event) -> bool:
        """Whether this event is put there by being given to `put`."""
        ...

    def size(self) -> int | None:
        """How many entries the log has now, if it is known."""
        ...


class LedgerTarget:
    """The ledger itself."""

    done = "sealed"

    def __init__(self, ledger: EmbeddedLedger) -> None:
        """The caller closes the ledger."""
        self._ledger = ledger
        self.known: Reader | None = ledger.store

    def state(self) -> Reader:
        """Its store."""
        return self._ledger.store

    def put(self, messages: Sequence[Message]) -> list[str | None]:
        """Seal them in one transaction. Raises Unavailable, StoreCorrupt: then none is sealed."""
        outcomes = self._ledger.append(messages).outcomes
        return [_BECAME.get(outcome.status, CONFLICT) for outcome in outcomes]

    def counts(self, event: Event) -> bool:
        """Every one."""
        return True

    def size(self) -> int | None:
        """Of log 0."""
        return self._ledger.store.size(LOG_OF_THE_LEDGER)


class KafkaTarget:
    """A topic. `store` is the ledger that its consumer writes, read to know which rows are there.

    What a repeat or a conflict is the consumer finds out: here everything counts as sent.
    """

    done = "sent"

    def __init__(self, bus: str, store: str) -> None:
        """Connect. Raises InvalidInput, Unavailable."""
        self._store = store
        self._reader: SqlReader | None = None
        self._sent = 0
        self._sender = KafkaSender(parse_address(bus))
        self._sender.connect()
        try:
            with contextlib.suppress(StoreMissing):
                self._reader = open_reader(store)
        except BaseException:
            self._sender.close()
            raise

    @property
    def known(self) -> Reader | None:
        """The ledger, where there is one."""
        return self._reader

    def state(self) -> Reader:
        """The ledger. Raises StoreMissing."""
        if self._reader is None:
            raise StoreMissing(
                f"there is no ledger at {without_password(self._store)} to see which rows are there"
                "\nsay with AUDIT_STORE where the consumer seals, or make it with `audit init`"
            )
        return self._reader

    def put(self, messages: Sequence[Message]) -> list[str | None]:
        """Send them. Raises AuditError: then some of them may be there."""
        try:
            self._sender.deliver(list(messages))
        except Unavailable as error:
            reason = str(error).partition("\n")[0]
            raise type(error)(
                f"{reason}\n{self._sent:,} events are sent; import it again: repeats are dropped"
            ) from None
        self._sent += len(messages)
        return [None] * len(messages)

    def counts(self, event: Event) -> bool:
        """A schema is sent only where an event needs it."""
        return event.type != SCHEMA

    def size(self) -> int | None:
        """Only the consumer knows."""
        return None

    def close(self) -> None:
        """Close connection and ledger."""
        self._sender.close()
        if self._reader is not None:
            self._reader.close()

    def __enter__(self) -> Self:
        """The target itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def target_of(ledger: EmbeddedLedger | KafkaTarget) -> Target:
    """A ledger, or a topic, as a target."""
    return ledger if isinstance(ledger, KafkaTarget) else LedgerTarget(ledger)
