"""One topic: where reading it begins, and what the group is told when its changes are safe.

Each commit of an offset names the ledger (or topic) that the changes went to, and the last event
before it. So a group that reads for another ledger is refused, and a ledger that does not have that
event any more (it was made anew, or put back from a backup) gets the topic from its beginning:
what it has it drops.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from audit.errors import InvalidInput
from audit.kafka.address import KafkaAddress
from audit.kafka.clients import open_consumer
from audit.kafka.transport import Committed, Consumer, Fetched

COMMIT_WAIT_S = 3.0
"""How long the end waits for the group to have taken the last offsets."""
FORM = "attestory-debezium-1"

_log = logging.getLogger("audit.capture")

EventName = tuple[str, str]
"""Source and id of an event."""


class Expired(NamedTuple):
    """Messages of a partition that were deleted before they were read."""

    partition: int
    first: int
    stop: int


class Topic:
    """Reads one topic as a member of a group; with `once`, all of it, without a group's members.

    `is_new`: nothing of it was ever committed. `expired`: to be said by whoever reads.
    """

    def __init__(
        self,
        address: KafkaAddress,
        group: str,
        destination: str,
        is_there: Callable[[EventName], bool],
        once: bool,
    ) -> None:
        """Connect. `is_there`: whether the destination has an event. Raises Unavailable,
        NotFound, InvalidInput."""
        self.name = address.topic
        self.is_new = True
        self.expired: list[Expired] = []
        self._group = group
        self._destination = destination
        self._is_there = is_there
        self._assigned: list[int] = []
        self._held: set[int] = set()
        self._last: dict[int, EventName | None] = {}
        self._committed: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._consumer: Consumer = open_consumer(address, group)
        try:
            if once:
                numbers = range(self._consumer.partitions(self.name))
                self._consumer.assign(self.name, numbers)
                self._ends = {p: o.end for p, o in self._consumer.offsets(numbers).items()}
                self._begin(numbers)
            else:
                self._consumer.subscribe(self.name, self._assigned.extend, self._gone, self._gone)
        except BaseException:
            self._consumer.close()
            raise

    def poll(self, timeout_s: float, most: int) -> Mapping[int, Sequence[Fetched]]:
        """Messages by partition, in order; of partitions that are ours."""
        found = self._consumer.poll(timeout_s, most)
        if self._assigned:
            fresh, self._assigned[:] = list(self._assigned), []
            self._begin(fresh)
        return {p: messages for p, messages in found.items() if p in self._held}

    def commit(self, last: Mapping[int, EventName | None]) -> None:
        """What was polled of these partitions is safe; with the last event of each, if any."""
        for partition, name in last.items():
            if partition not in self._held:
                continue
            if name is not None:
                self._last[partition] = name
            offset = self._consumer.position(partition)
            metadata = json.dumps([FORM, self._destination, self._last.get(partition)])
            self._consumer.commit({partition: offset}, metadata)
            self._committed[partition] = offset
        self.is_new = self.is_new and not last

    def caught_up(self) -> bool:
        """With `once`: all that was there at the beginning was handed out."""
        return all(self._consumer.position(p) >= end for p, end in self._ends.items())

    def close(self) -> None:
        """Leave; wait a little for the group to have taken what was committed. Safe to repeat."""
        until_s = time.monotonic() + COMMIT_WAIT_S
        try:
            self._consumer.pause(sorted(self._held))
            while self._committed and time.monotonic() < until_s:
                self._consumer.poll(0.02, 1)  # what is under way goes on in here
                for partition, offset in list(self._committed.items()):
                    found = self._consumer.committed(partition)
                    if partition not in self._held or (found and found.offset >= offset):
                        del self._committed[partition]
        finally:
            self._consumer.close()

    def give_up(self) -> None:
        """Leave at once."""
        self._consumer.close()

    def _gone(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            self._held.discard(partition)
            self._committed.pop(partition, None)
            if partition in self._assigned:
                self._assigned.remove(partition)

    def _begin(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            offset = self._start(partition)
            self._consumer.seek(partition, offset)
            self._held.add(partition)

    def _start(self, partition: int) -> int:
        """Where reading a partition begins."""
        there = self._consumer.offsets([partition])[partition]
        committed = self._consumer.committed(partition)
        self._last[partition] = None
        if committed is None:
            return there.first
        self.is_new = False
        last = self._read(committed)
        if last is not None and not self._is_there(last):
            _log.warning(
                "the ledger does not have event %s any more: %s/%d is read from its beginning",
                last[1], self.name, partition,
            )  # fmt: skip
            return there.first
        self._last[partition] = last
        if committed.offset > there.end:
            _log.warning("%s was made anew, and is read from its beginning", self.name)
            return there.first
        if committed.offset < there.first:
            self.expired.append(Expired(partition, committed.offset, there.first))
            return there.first
        return committed.offset

    def _read(self, committed: Committed) -> EventName | None:
        """The last event before a committed offset. Raises InvalidInput for another's group."""
        try:
            form, destination, last = json.loads(committed.metadata)
            source, event_id = last or ("", "")
            known = form == FORM and type(source) is type(event_id) is str
        except (ValueError, TypeError, RecursionError):
            known, destination = False, "another program"
        if not known or destination != self._destination:
            raise InvalidInput(
                f"the group {self._group} reads {self.name} for {str(destination)[:200]}\n"
                "give this one a group of its own with --group"
            )
        return (source, event_id) if event_id else None
