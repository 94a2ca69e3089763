"""Reading through kafka-python 3: a member of a consumer group, or a mere reader.

Partitions are assigned by the cooperative-sticky protocol: a member that comes or goes moves only
the partitions that change hands, and the others are read on. With the eager protocol every change
would make every member claim every log again, which costs a transaction and a look at the newest
checkpoint each.

kafka-python calls rebalance listeners on its own input/output thread, where a slow database would
stop the heartbeats. So the listener only notes what happened, always while `poll` or `close` waits
for that thread, and they call back afterwards, on their own thread.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import OffsetAndMetadata

from audit.errors import AuditError, InvalidInput, Unavailable
from audit.kafka import tuning
from audit.kafka.address import KafkaAddress
from audit.kafka.growing import Growing
from audit.kafka.kafka_python_link import describe_topic, open_client, translated
from audit.kafka.kafka_python_mends import free_resumed, keep_joined
from audit.kafka.kafka_python_records import ending_records, fast_records
from audit.kafka.translate import no_answer, one_line, out_of_range, signature_of
from audit.kafka.transport import Callback, Committed, Fetched, Offsets

FETCH_BYTES = 33_554_432
"""Most bytes of one answer of the broker, so also of what waits here to be handed out."""
PARTITION_FETCH_BYTES = 4_194_304
"""Most bytes of one partition in it; a larger batch comes all the same, alone."""
FETCH_WAIT_MS = 50
"""How long the broker may hold an answer back. One request is under way at a time, so a partition
with nothing new keeps the others waiting for that long: with the usual 500 ms a consumer that
catches up would stand still most of the time."""
TURN_S = 0.2
"""Longest single wait inside `poll`."""

_log = logging.getLogger(__name__)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes what the group decided; runs on kafka-python's own thread."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.events: list[tuple[str, list[int]]] = []

    def on_partitions_assigned(self, assigned: Any) -> None:
        """Hold them still: any position does, because without one kafka-python looks for one."""
        for place in assigned:
            self._client.pause(place)
            self._client.seek(place, 0)
        self._note("assigned", assigned)

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Given back in peace."""
        self._note("revoked", revoked)

    def on_partitions_lost(self, lost: Any) -> None:
        """Taken away: somebody else may have them already."""
        self._note("lost", lost)

    def _note(self, event: str, places: Any) -> None:
        if places:
            self.events.append((event, sorted(place.partition for place in places)))


class KafkaPythonConsumer:
    """Reads through kafka-python."""

    def __init__(
        self,
        address: KafkaAddress,
        group: str | None,
        session_timeout_s: float,
        max_poll_interval_s: float,
        connect_timeout_s: float,
    ) -> None:
        self._address = address
        self._group = group
        self._timeout_s = connect_timeout_s
        self._topic = address.topic
        self._listener: _Listener | None = None
        self._callbacks: dict[str, Callback] = {}
        self._held: set[int] = set()
        self._reading: set[int] = set()
        self._growing = Growing()
        self._silent_since: float | None = None
        self._closed = False
        self._client = open_client(
            KafkaConsumer,
            address,
            connect_timeout_s,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            partition_assignment_strategy=[CooperativeStickyAssignor],
            fetch_max_wait_ms=FETCH_WAIT_MS,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
            allow_auto_create_topics=False,
            metrics_enabled=False,
            **tuning.member_settings(session_timeout_s, max_poll_interval_s),
        )
        keep_joined(self._client)
        fast = fast_records()
        self._is_fast = fast is not None and hasattr(self._client, "_fetcher")
        fetcher: Any = getattr(self._client, "_fetcher", None)
        ending = ending_records(getattr(fetcher, "PartitionRecords", None))
        if self._is_fast:
            fetcher.PartitionRecords = fast
        elif ending is not None:
            fetcher.PartitionRecords = ending

    def subscribe(
        self, topic: str, on_assigned: Callback, on_revoked: Callback, on_lost: Callback
    ) -> None:
        """Join the group. The callbacks run within `poll` and `close`."""
        if self._group is None:
            raise InvalidInput("a consumer without a group reads by `assign`")
        self._topic = topic
        self._callbacks = {"assigned": on_assigned, "revoked": on_revoked, "lost": on_lost}
        self._listener = _Listener(self._client)
        with self._errors():
            self._client.subscribe([topic], listener=self._listener)

    def assign(self, topic: str, partitions: Sequence[int]) -> None:
        """Read these partitions without a group (instead of `subscribe`)."""
        self._topic = topic
        places = [TopicPartition(topic, partition) for partition in partitions]
        with self._errors():
            self._client.assign(places)
            for place in places:
                self._client.pause(place)
                self._client.seek(place, 0)
        self._held = set(partitions)
        self._reading.clear()

    def seek(self, partition: int, offset: int) -> None:
        """Read this partition from here on; starts a paused one."""
        place = self._place(partition)
        with self._errors():
            self._client.seek(place, offset)
            self._client.resume(place)
        self._reading.add(partition)
        self._growing.sought(partition, offset)

    def poll(self, timeout_s: float, max_messages: int) -> Mapping[int, Sequence[Fetched]]:
        """Partition -> messages in order of offset. Empty when nothing came in time."""
        self._growing.tell()
        error: AuditError | None = None
        found: Mapping[Any, Sequence[Any]] = {}
        try:
            with self._errors():
                found = self._poll(timeout_s, max_messages)
        except AuditError as failure:
            error = failure
        self._call_back()
        if error is not None:
            raise error
        self._mind_silence(bool(found))
        # What was fetched of a partition that has just gone is not ours to hand out.
        ours = {
            place.partition: messages
            for place, messages in found.items()
            if place.partition in self._reading
        }
        return ours if self._is_fast else self._checked(ours)

    def _checked(self, found: Mapping[int, Sequence[Any]]) -> Mapping[int, Sequence[Fetched]]:
        """kafka-python's own objects as ours; its offsets are what the producer says."""
        good = {}
        for partition, records in found.items():
            messages = [_fetched(record) for record in records]
            end = self._client.highwater(self._place(partition))
            if self._growing.is_good(self._topic, partition, messages, end):
                good[partition] = messages
        if not good:
            self._growing.tell()
        return good

    def position(self, partition: int) -> int:
        """The offset read next: after the last message handed out and the markers behind it."""
        if partition not in self._reading:
            raise InvalidInput(f"partition {partition} has no position: seek first")
        self._growing.mind(partition)
        with self._errors():
            position = self._client.position(self._place(partition), self._timeout_s * 1000)
        if position is None:
            raise no_answer(self._address.bootstrap, self._timeout_s)
        return int(position)

    def offsets(self, partitions: Sequence[int]) -> dict[int, Offsets]:
        """What the broker holds of each partition now."""
        places = [TopicPartition(self._topic, partition) for partition in partitions]
        with self._errors():
            first = self._client.beginning_offsets(places, self._timeout_s * 1000)
            end = self._client.end_offsets(places, self._timeout_s * 1000)
        return {place.partition: Offsets(first[place], end[place]) for place in places}

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has now. Raises NotFound."""
        return describe_topic(self._address, topic, self._timeout_s).partitions

    def pause(self, partitions: Sequence[int]) -> None:
        """`poll` gives nothing of these until `resume`; the membership goes on."""
        self._client.pause(*(self._place(partition) for partition in partitions))

    def resume(self, partitions: Sequence[int]) -> None:
        """Undo `pause`; a partition that nobody sought stays still."""
        sought = [partition for partition in partitions if partition in self._reading]
        self._client.resume(*(self._place(partition) for partition in sought))

    def commit(self, offsets: Mapping[int, int], metadata: str) -> None:
        """Tell the group how far it is; not waited for, and failures are only logged: a hint."""
        wanted = {
            TopicPartition(self._topic, partition): OffsetAndMetadata(offset, metadata, -1)
            for partition, offset in offsets.items()
        }
        try:
            self._client.commit_async(wanted, _committed)
        except kafka_errors.KafkaError as error:
            _log.warning("could not commit offsets of %s: %s", self._topic, one_line(error))

    def committed(self, partition: int) -> Committed | None:
        """What the group committed last."""
        place = TopicPartition(self._topic, partition)
        with self._errors():
            found = self._client.committed(place, True, self._timeout_s * 1000)
        # librdkafka commits the NUL that ends its strings, too.
        return (
            None if found is None else Committed(found.offset, (found.metadata or "").rstrip("\0"))
        )

    def close(self) -> None:
        """Leave the group. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        try:
            self._client.close(autocommit=False, timeout_ms=int(tuning.CLOSE_TIMEOUT_S * 1000))
        except (kafka_errors.KafkaError, RuntimeError) as error:
            _log.warning("leaving the group of %s: %s", self._topic, one_line(error))
        self._call_back()

    def _poll(self, timeout_s: float, max_messages: int) -> Mapping[Any, Sequence[Any]]:
        """In short turns: a new partition waits for its `seek`, and must not wait out the time."""
        deadline = time.monotonic() + timeout_s
        while True:
            left = max(0.0, deadline - time.monotonic())
            free_resumed(self._client)
            found = self._client.poll(int(min(left, TURN_S) * 1000), max_messages)
            news = self._listener is not None and self._listener.events
            if found or news or left <= TURN_S:
                return cast(Mapping[Any, Sequence[Any]], found)

    def _place(self, partition: int) -> Any:
        if partition not in self._held:
            raise InvalidInput(f"partition {partition} of {self._topic} is not assigned here")
        return TopicPartition(self._topic, partition)

    def _call_back(self) -> None:
        """Pass on what the listener noted, in order."""
        if self._listener is None:
            return
        events, self._listener.events = self._listener.events, []
        for event, partitions in events:
            if event == "assigned":
                # What was taken away again meanwhile is not announced: it could not be sought.
                now = {place.partition for place in self._client.assignment()}
                some = [partition for partition in partitions if partition in now]
                self._held.update(some)
            else:
                some = [partition for partition in partitions if partition in self._held]
                self._held.difference_update(some)
            self._reading.difference_update(some)
            self._growing.forget(some)
            if some:
                self._callbacks[event](some)

    def _mind_silence(self, has_messages: bool) -> None:
        """Raise Unavailable when there has been no connection for too long.

        kafka-python tries again forever and tells only its log. A reader that waits for nothing
        may well have no connection.
        """
        idle = self._group is None and not self._reading
        if has_messages or idle or self._is_connected():
            self._silent_since = None
            return
        now = time.monotonic()
        self._silent_since = self._silent_since or now
        if now - self._silent_since >= tuning.SILENCE_S:
            raise no_answer(self._address.bootstrap, tuning.SILENCE_S)

    def _is_connected(self) -> bool:
        try:
            links = list(self._client._client._manager._conns.values())
            return any(link.connected for link in links)
        except (AttributeError, RuntimeError):
            return True  # another release, or it is connecting right now

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """kafka-python's errors as ours."""
        if self._closed:
            raise Unavailable(f"this consumer of Kafka at {self._address.bootstrap} is closed")
        try:
            yield
        except kafka_errors.OffsetOutOfRangeError as error:
            raise self._out_of_range(error) from None
        except Exception as error:
            raise translated(error, self._topic, self._address) from None

    def _out_of_range(self, error: Exception) -> AuditError:
        """Name the offsets: kafka-python gives {place: offset}."""
        wanted = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
        offsets = {place.partition: offset for place, offset in wanted.items()}
        return out_of_range(self._topic, offsets, self.offsets)


def _fetched(record: Any) -> Fetched:
    """A message as kafka-python's public object."""
    signature = signature_of(record.headers)
    return Fetched(record.offset, record.key, record.value, signature)


def _committed(offsets: Any, answer: Any) -> None:
    if isinstance(answer, Exception):
        _log.warning("the group did not take its offsets %s: %s", offsets, one_line(answer))
