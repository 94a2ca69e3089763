"""The databases that the contract suite runs on; a new one adds a class with these few methods."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from audit.event.build import data_event, schema_event
from audit.event.envelope import Event, encode_event
from audit.log.intake import Message
from audit.store import clock_us, open_reader, open_store
from audit.store.sql_reader import SqlReader
from audit.store.sql_store import SqlStore
from audit.tlog.keys import Ed25519Signer

ORIGIN = "example.com/contract"
SEED = bytes(range(32))


def signer_of(origin: str = ORIGIN, seed: bytes = SEED) -> Ed25519Signer:
    """A signing key with a fixed seed."""
    return Ed25519Signer.from_seed(origin, seed)


class SqliteBackend:
    """One SQLite file in a temporary folder."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        """Nothing is created yet."""
        self.path = folder / "audit.db"
        self.url = f"sqlite:///{self.path}"

    def store(self, clock: Callable[[], int] = clock_us) -> SqlStore:
        """A store that may append; the file is made when it is not there."""
        return open_store(self.url, create=True, clock=clock)

    def reader(self) -> SqlReader:
        """A reader."""
        return open_reader(self.url)

    def sql(self, statement: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Run a statement past the library, as anybody with the file could."""
        connection = sqlite3.connect(self.path)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def drop_guards(self) -> None:
        """What an attacker does first."""
        for (name,) in self.sql("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
            self.sql(f"DROP TRIGGER {name}")


BACKENDS = {SqliteBackend.name: SqliteBackend}


def event_of(
    number: int, *, key: object = None, source: str = "test", row: dict[str, object] | None = None
) -> Event:
    """A create event of the dataset `thing` with a fixed id."""
    event, _ = data_event(
        "create",
        "thing",
        number if key is None else key,
        event_id=f"event-{number}",
        source=source,
        after={"n": number} if row is None else row,
        image="full",
    )
    return event


def message_of(number: int, **options: object) -> Message:
    """`event_of` as a message."""
    return Message(encode_event(event_of(number, **options)))  # type: ignore[arg-type]


def messages(start: int, stop: int) -> list[Message]:
    """Messages with the given numbers."""
    return [message_of(number) for number in range(start, stop)]


def schema_messages() -> list[Message]:
    """The schema events that `event_of` needs."""
    _, schemas = data_event(
        "create", "thing", 1, event_id="x", source="test", after={}, image="full"
    )
    return [Message(encode_event(schema_event(text))) for text in schemas]
