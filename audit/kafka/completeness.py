"""Completeness at the source: what a ledger has of a topic, beside what the broker keeps of it.

`lag` asks only for offsets; `compare` reads all messages that the broker keeps and compares them
with the log, offset by offset. Both read by plain assignment: no group sees them, and nothing is
committed. Memory is flat; a partition is read once.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

from audit.errors import AuditError, FormatError, InvalidInput, LimitExceeded, Unavailable
from audit.kafka.accepted import newest_accepted
from audit.kafka.address import KafkaAddress
from audit.kafka.clients import describe_topic, open_consumer
from audit.kafka.transport import Consumer, Offsets
from audit.log.source import newest_position
from audit.store.contract import LOG_OF_THE_LEDGER, LogInfo, Reader
from audit.verify.source_compare import (
    Message,
    SourceCompare,
    Unframe,
    next_offset_of,
    without_log,
)
from audit.verify.source_report import PartitionReport

POLL_S = 1.0
POLL_MESSAGES = 10_000
"""Messages asked for at once."""
SILENCE_S = 30.0
"""A broker that has messages and hands none out for so long is not reachable."""

Progress = Callable[[int, int], None]
"""Called now and then with the offsets done and the offsets in all."""


class Lag(NamedTuple):
    """One partition. `log` is None where the ledger has no log of it yet.

    `first`, `end`: what the broker keeps. `next_offset`: where the log is read on. `waiting`: how
    many offsets it has still to read.
    """

    topic: str
    partition: int
    log: int | None
    first: int
    end: int
    next_offset: int

    @property
    def waiting(self) -> int:
        """Offsets that the log has still to read."""
        return max(0, self.end - max(self.next_offset, self.first))

    @property
    def words(self) -> str:
        """The same for people."""
        if self.next_offset > self.end:
            return (
                f"the log has read up to {self.next_offset:,}, the broker has it only up to "
                f"{self.end:,}: the topic was made anew, or lost data"
            )
        count = self.waiting
        words = f"{count:,} offset{'' if count == 1 else 's'} behind" if count else "caught up"
        if self.log is None:
            return f"no log of it yet, {words}"
        if self.first > self.next_offset:
            words += f"; {self.first - self.next_offset:,} expired before they were read"
        return words

    def to_json(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {**self._asdict(), "waiting": self.waiting, "words": self.words}


def lag(address: KafkaAddress, reader: Reader) -> list[Lag]:
    """How far the ledger is behind each partition of the topic.

    Raises Unavailable, NotFound for a topic that is not there, InvalidInput for one that the ledger
    was not made from.
    """
    with closing(open_consumer(address, None)) as consumer:
        return _lag(consumer, address, reader)


def _lag(consumer: Consumer, address: KafkaAddress, reader: Reader) -> list[Lag]:
    topic = address.topic
    logs = _logs_of(reader, topic)
    there = list(range(consumer.partitions(topic)))
    consumer.assign(topic, there)
    # The log's position first: it only grows, so what the broker says afterwards covers it.
    read = {
        partition: next_offset_of(reader, logs[partition], topic, partition) for partition in logs
    }
    kept = consumer.offsets(there)
    found = []
    for partition in sorted({*there, *logs}):
        info = logs.get(partition)
        offsets = kept.get(partition, Offsets(0, 0))
        log = None if info is None else info.log
        found.append(Lag(topic, partition, log, *offsets, read.get(partition, 0)))
    return found


def compare(
    address: KafkaAddress, reader: Reader, progress: Progress | None = None
) -> list[PartitionReport]:
    """Compare each log with its partition: see `audit.verify.source_compare`.

    Raises as `lag`, and StoreCorrupt for a log that cannot be read.
    """
    unframe = _unframe(address)
    with closing(open_consumer(address, None)) as consumer:
        lags = _lag(consumer, address, reader)
        counted = _Progress(progress, sum(_comparable(lag) for lag in lags))
        infos = {info.log: info for info in reader.logs()}
        another = _another_topic(address, reader)
        reports = []
        for lag in lags:
            info = None if lag.log is None else infos[lag.log]
            report = PartitionReport(
                lag.topic,
                lag.partition,
                lag.log,
                None if info is None else info.origin,
                lag.first,
                lag.end,
                lag.next_offset,
            )
            if info is None:
                reports.append(without_log(report))
                continue
            compared = SourceCompare(reader, info, report, unframe, counted.tick)
            if another is not None:
                compared.recreated(another)
            partition = _Partition(consumer, lag.topic, lag.partition)
            reports.append(compared.run(partition.messages))
        return reports


def _another_topic(address: KafkaAddress, reader: Reader) -> str | None:
    """In words, when the topic is not the one that log 0 says is read; None when it is, or may be.

    A topic that was made anew has another id, whatever it holds.
    """
    accepted = newest_accepted(reader)
    if accepted is None or accepted.topic != address.topic:
        return None
    known = accepted.topic_id
    found = describe_topic(address, address.topic).topic_id
    if known is None or found is None or known == found:
        return None
    return f"it has the id {found}, and log 0 says that the topic {known} is read"


def _comparable(lag: Lag) -> int:
    return max(0, min(lag.end, lag.next_offset) - lag.first)


def _logs_of(reader: Reader, topic: str) -> dict[int, LogInfo]:
    """Partition -> its log. Raises InvalidInput for a ledger of another topic."""
    infos = reader.logs()
    ledger = next((info.origin for info in infos if info.log == LOG_OF_THE_LEDGER), "")
    found: dict[int, LogInfo] = {}
    others: set[str] = set()
    for info in infos:
        place = _place_of(reader, info, ledger)
        if place is None:
            continue
        if place[0] == topic:
            found.setdefault(place[1], info)
        else:
            others.add(place[0])
    if others and not found:
        raise InvalidInput(
            f"the ledger {ledger} was not read from {topic}, but from {', '.join(sorted(others))}"
        )
    return found


def _place_of(reader: Reader, info: LogInfo, ledger: str) -> tuple[str, int] | None:
    """Topic and partition of a log: as its entries say, else as it is named."""
    size = reader.size(info.log)
    try:
        position = newest_position(
            lambda start, stop: [leaf for _, leaf in reader.leaves(info.log, start, stop)], size
        )
    except FormatError:
        position = None  # said when the log is read
    if position is not None:
        return position.topic, position.partition
    topic, _, partition = info.origin.removeprefix(f"{ledger}/").rpartition("/")
    if info.origin.startswith(f"{ledger}/") and topic and partition.isdecimal():
        return topic, int(partition)
    return None


def _unframe(address: KafkaAddress) -> Unframe | None:
    """Takes a registry's framing off, when there is a registry."""
    if address.registry is None:
        return None
    from audit.kafka.registry import Registry, RegistryFraming

    framing = RegistryFraming(Registry(address.registry), address.topic)

    def unframe(value: bytes) -> bytes | None:
        try:
            return framing.decode(value)
        except (FormatError, LimitExceeded):
            return None  # quarantined as it came

    return unframe


class _Partition:
    """Reads one partition from an offset up to another."""

    def __init__(self, consumer: Consumer, topic: str, partition: int) -> None:
        self._consumer = consumer
        self._topic = topic
        self._partition = partition

    def messages(self, start: int, stop: int) -> Iterator[Message]:
        """The messages that the broker keeps in [start, stop), in order."""
        consumer, partition = self._consumer, self._partition
        consumer.assign(self._topic, [partition])
        consumer.seek(partition, start)
        heard = time.monotonic()
        while start < stop:
            try:
                found = consumer.poll(POLL_S, POLL_MESSAGES).get(partition, ())
            except Unavailable as error:
                start = self._beyond(start, error)
                consumer.seek(partition, start)
                continue
            for message in found:
                if message.offset >= stop:
                    return
                yield message
            reached = consumer.position(partition)
            if found or reached > start:
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENCE_S:
                raise Unavailable(
                    f"the broker has {self._topic}/{partition} up to {stop:,}, and handed out "
                    f"nothing from offset {reached:,} on for {SILENCE_S:.0f} s"
                )
            start = reached

    def _beyond(self, start: int, error: AuditError) -> int:
        """Where to read on when what was asked for expired meanwhile; else the error stands."""
        first = self._consumer.offsets([self._partition])[self._partition].first
        if first <= start:
            raise error
        return first


class _Progress:
    """Offsets done of all partitions together."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def tick(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        if self._progress is not None:
            self._progress(self._done, max(self._done, self._total))
