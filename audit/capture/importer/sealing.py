"""Batches of imported events: put together where they go, with what became of them counted."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from audit.capture.importer.target import Target
from audit.errors import InvalidInput
from audit.event.build import Built, schema_event
from audit.event.envelope import encode_event
from audit.log.intake import Message

BATCH_EVENTS = 2_000
"""Events that are put together: in a ledger, one transaction."""

OTHER = "other"
_COUNTED = {"data.create": "created", "data.update": "updated", "data.delete": "deleted"}


class ImportResult(NamedTuple):
    """What an import did: counts of rows, or of events when events were imported.

    They are sealed, or with Kafka sent: then `skipped` is what the ledger had when the import
    began, `conflicts` stays 0 and `size` None.
    `unchanged`: rows of a snapshot that are as they were. `skipped`: was in the ledger already.
    `conflicts`: has the id of another event; sealed as QUARANTINED. `other`: events that create,
    update or delete no row. `transaction_id`: of a snapshot's differences. `size`: of the log now.
    """

    created: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    skipped: int = 0
    conflicts: int = 0
    other: int = 0
    transaction_id: str | None = None
    size: int | None = 0

    @property
    def sealed(self) -> int:
        """How many events this import added to the log, or sent to it, schema events aside."""
        return self.created + self.updated + self.deleted + self.other


class Batches:
    """Collects events and puts them where they go. What is in `counts` is there."""

    def __init__(self, target: Target) -> None:
        """Nothing is collected yet."""
        self._target = target
        self._messages: list[Message] = []
        self._names: list[str | None] = []
        self._schemas: set[bytes] = set()
        self.counts: dict[str, int] = {}

    @property
    def sealed(self) -> int:
        """How many events are there by now."""
        return sum(self.counts.get(name, 0) for name in (*_COUNTED.values(), OTHER))

    def add(self, built: Built) -> None:
        """Take one event; its schemas go before it. Raises InvalidInput, and as `seal`."""
        event, schemas = built
        data = encode_event(event)
        self._add_schemas(schemas)
        self._messages.append(Message(data))
        counts = self._target.counts(event)
        self._names.append(_COUNTED.get(event.type, OTHER) if counts else None)
        if len(self._messages) >= BATCH_EVENTS:
            self.seal()

    def _add_schemas(self, schemas: Iterable[bytes]) -> None:
        for canonical in schemas:
            if canonical not in self._schemas:
                self._schemas.add(canonical)
                self._messages.append(Message(encode_event(schema_event(canonical))))
                self._names.append(None)

    def count(self, name: str) -> None:
        """Count what needs no event."""
        self.counts[name] = self.counts.get(name, 0) + 1

    def seal(self) -> None:
        """Put what is collected. Raises Unavailable, StoreCorrupt; then it may be put again."""
        if not self._messages:
            return
        became = self._target.put(self._messages)
        for name, other in zip(self._names, became, strict=True):
            if name is not None:
                self.count(other or name)
        self._messages = []
        self._names = []

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Errors in the input that are raised inside say what was done already."""
        try:
            yield
        except InvalidInput as error:
            if not self.sealed:
                raise
            rest = "mend the file and import it again"
            raise type(error)(
                f"{error}\n{self.sealed} events before it are {self._target.done}; {rest}"
            ) from None

    def result(self, transaction_id: str | None = None) -> ImportResult:
        """What was done."""
        size = self._target.size()
        return ImportResult(**self.counts, transaction_id=transaction_id, size=size)
