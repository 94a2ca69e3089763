"""Batches of imported events: sealed in one transaction each, with what became of them counted."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from audit.capture.embedded import EmbeddedLedger
from audit.errors import InvalidInput
from audit.event.build import Built, schema_event
from audit.event.envelope import encode_event
from audit.log.intake import Message
from audit.store.contract import Status

BATCH_EVENTS = 2_000
"""Events in one transaction."""

OTHER = "other"
_COUNTED = {"data.create": "created", "data.update": "updated", "data.delete": "deleted"}


class ImportResult(NamedTuple):
    """What an import did: counts of rows, or of events when events were imported.

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
    size: int = 0

    @property
    def sealed(self) -> int:
        """How many events this import added to the log, schema events aside."""
        return self.created + self.updated + self.deleted + self.other


class Batches:
    """Collects events and seals them. What is in `counts` is in the ledger."""

    def __init__(self, ledger: EmbeddedLedger) -> None:
        """Nothing is collected yet."""
        self._ledger = ledger
        self._messages: list[Message] = []
        self._names: list[str | None] = []
        self._schemas: set[bytes] = set()
        self.counts: dict[str, int] = {}

    @property
    def sealed(self) -> int:
        """How many events are in the ledger by now."""
        return sum(self.counts.get(name, 0) for name in (*_COUNTED.values(), OTHER))

    def add(self, built: Built) -> None:
        """Take one event; its schemas go before it. Raises InvalidInput, and as `seal`."""
        event, schemas = built
        data = encode_event(event)
        self._add_schemas(schemas)
        self._messages.append(Message(data))
        self._names.append(_COUNTED.get(event.type, OTHER))
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
        """Seal what is collected. Raises Unavailable, StoreCorrupt; then none of it is sealed."""
        if not self._messages:
            return
        appended = self._ledger.append(self._messages)
        for name, outcome in zip(self._names, appended.outcomes, strict=True):
            if name is None:
                continue
            if outcome.status is Status.SEALED:
                self.count(name)
            elif outcome.status is Status.DUPLICATE:
                self.count("skipped")
            else:
                self.count("conflicts")
        self._messages = []
        self._names = []

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Errors in the input that are raised inside say what is sealed already."""
        try:
            yield
        except InvalidInput as error:
            if not self.sealed:
                raise
            rest = "mend the file and import it again"
            raise type(error)(
                f"{error}\n{self.sealed} events before it are sealed; {rest}"
            ) from None

    def result(self, transaction_id: str | None = None) -> ImportResult:
        """What was done."""
        size = self._ledger.store.size(0)
        return ImportResult(**self.counts, transaction_id=transaction_id, size=size)
