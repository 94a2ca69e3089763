"""What every benchmark needs: a ledger of a given size, a clock, a row of the result table."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from audit.event.build import data_event, new_event_id, schema_event
from audit.event.envelope import encode_event
from audit.log.intake import Message
from audit.store import open_store
from audit.store.sql_store import SqlStore
from audit.tlog.keys import Ed25519Signer

ORIGIN = "example.com/bench"
SIGNER = Ed25519Signer.from_seed(ORIGIN, bytes(range(32)))
REPEATS = 3
most_repeats: int | None = None
"""Where it is to be seen only that a benchmark runs, nothing has to be timed more often."""
Case = TypeVar("Case")


class Result(NamedTuple):
    """One line of the table: the figure, and its ratio to the bare loop (1.0 = costs nothing)."""

    name: str
    figure: str
    bare: str
    ratio: str


def at_most(repeats: int) -> int:
    """So many repeats, or as few as are wanted."""
    return repeats if most_repeats is None else min(repeats, most_repeats)


def cases(given: Sequence[Case]) -> Sequence[Case]:
    """What is to be measured one after the other, or only the last of it."""
    return given[-at_most(len(given)) :]


def seconds(action: Callable[[], object], repeats: int = REPEATS) -> float:
    """The median time of an action."""
    times = []
    for _ in range(at_most(repeats)):
        if most_repeats is None:
            gc.collect()
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def rate(count: int, duration: float) -> str:
    """Thousands per second and microseconds each."""
    return f"{count / duration / 1e3:,.1f}k/s ({duration / count * 1e6:.2f} us)"


def make_messages(count: int, keys: int = 1_000, source: str = "bench") -> list[Message]:
    """Creates and updates of five fields, about 250 bytes each, and the schema they need."""
    found: list[Message] = []
    for number in range(count):
        event, schemas = data_event(
            "create" if number < keys else "update",
            "inquiry",
            number % keys,
            event_id=new_event_id(),
            source=source,
            after={
                "customer": f"{number % 977:05d}",
                "amount": number * 10,
                "rate": number / 7,
                "status": "Open",
                "note": "the quick brown fox jumps over the lazy dog" * 2,
            },
            image="full" if number < keys else "patch",
            valid_time_us=1_700_000_000_000_000 + number,
            actor="alice",
        )
        if number == 0:
            found += [Message(encode_event(schema_event(text))) for text in schemas]
        found.append(Message(encode_event(event)))
    return found


def batches(messages: Sequence[Message], size: int) -> Iterator[Sequence[Message]]:
    """Messages in batches."""
    for at in range(0, len(messages), size):
        yield messages[at : at + size]


def new_store(folder: Path, name: str = "audit.db") -> SqlStore:
    """A new ledger in a folder."""
    store = open_store(f"sqlite:///{folder / name}", create=True)
    store.create(ORIGIN, SIGNER)
    return store


def fill(folder: Path, messages: Sequence[Message], batch: int = 5_000) -> SqlStore:
    """A ledger that holds the messages."""
    store = new_store(folder)
    for part in batches(messages, batch):
        store.append(0, part, SIGNER)
    return store
