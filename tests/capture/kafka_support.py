"""What lies on a topic, and what a log makes of it: first copies only, in order."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from audit.errors import InvalidInput
from audit.event.canonical import schema_hash
from audit.event.envelope import Event, decode_event
from audit.kafka.address import CONFLUENT, parse_address
from audit.kafka.clients import open_consumer
from audit.kafka.topics import entity_partition_key, partition_of
from audit.kafka.transport import Fetched

READ_LIMIT_S = 240.0


class Said(NamedTuple):
    """One partition's log: first copies in order, schema events aside, and how many repeats."""

    events: list[Event]
    repeats: int


def fetched(url: str) -> list[list[Fetched]]:
    """All messages of a topic, by partition."""
    # The faster client: here it matters what lies there, not how it is read.
    address = parse_address(url)._replace(client=CONFLUENT)
    consumer = open_consumer(address, None)
    try:
        numbers = range(consumer.partitions(address.topic))
        consumer.assign(address.topic, numbers)
        ends = {number: found.end for number, found in consumer.offsets(numbers).items()}
        for number in numbers:
            consumer.seek(number, 0)
        found: list[list[Fetched]] = [[] for _ in numbers]
        deadline = time.monotonic() + READ_LIMIT_S
        while any(consumer.position(number) < end for number, end in ends.items()):
            assert time.monotonic() < deadline, f"only {[len(each) for each in found]} of {ends}"
            for number, messages in consumer.poll(0.2, 10_000).items():
                found[number] += messages
        return found
    finally:
        consumer.close()


def logs(url: str) -> list[Said]:
    """What a consumer would seal, by partition; asserts what must hold of every message."""
    found = fetched(url)
    return [_log(number, len(found), messages) for number, messages in enumerate(found)]


def _log(partition: int, count: int, messages: Iterable[Fetched]) -> Said:
    schemas: set[bytes | None] = {None}
    seen: set[tuple[str, str]] = set()
    events: list[Event] = []
    repeats = 0
    for message in messages:
        assert message.value is not None
        event = decode_event(message.value)
        key = entity_partition_key(event)
        assert message.key == key
        assert key is None or partition_of(key, count) == partition
        if event.type == "schema":
            schemas.add(schema_hash(event.payload))
            continue
        assert event.payload_schema in schemas, f"partition {partition}: schema after its event"
        if (event.source, event.event_id) in seen:
            repeats += 1
            continue
        seen.add((event.source, event.event_id))
        events.append(event)
    require_order(events)
    return Said(events, repeats)


def all_events(url: str) -> list[Event]:
    """The events of all logs, after everything that must hold of them was asserted."""
    return [event for said in logs(url) for event in said.events]


def require_order(events: Iterable[Event]) -> None:
    """Of each producer the numbers only grow: no later event stands before an earlier one."""
    last: dict[str | None, int] = {}
    for event in events:
        if event.producer_sequence is not None:  # imported events have no producer
            assert event.producer_sequence > last.get(event.producer_id, -1)
            last[event.producer_id] = event.producer_sequence


def require_whole(events: Iterable[Event]) -> None:
    """Of each producer every number from 0 on is there, once (truncates are in each log)."""
    numbers: dict[str | None, set[int]] = {}
    for event in events:
        assert event.producer_sequence is not None
        numbers.setdefault(event.producer_id, set()).add(event.producer_sequence)
    for found in numbers.values():
        assert found == set(range(len(found)))


def undecodable(url: str) -> list[tuple[int, bytes | None]]:
    """(partition, value) of what is no event."""
    found = []
    for partition, messages in enumerate(fetched(url)):
        for message in messages:
            try:
                decode_event(message.value or b"")
            except InvalidInput:
                found.append((partition, message.value))
    return found


def names(folder: Path) -> list[str]:
    """What lies in a spool."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []
