"""Reading through confluent-kafka (librdkafka): a member of a consumer group, or a mere reader.

librdkafka calls rebalance callbacks within `consume`, on the thread that polls, so they call back
at once. It is told of a partition only when that is sought: were it assigned at some other position
first, the answer to the question where that is could arrive after the `seek` and undo it. It tells
the end of a partition by an event with the offset after the last marker (`enable.partition.eof`):
without it nobody would know that nothing but markers lies between the last message and the end.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Thread
from typing import Any

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place

from audit.errors import AuditError, InvalidInput, Unavailable
from audit.kafka import tuning
from audit.kafka.address import KafkaAddress
from audit.kafka.clients import describe_topic
from audit.kafka.confluent_link import Link, known_end
from audit.kafka.growing import Growing, astray
from audit.kafka.translate import no_answer, one_line, out_of_range, signature_of
from audit.kafka.transport import Callback, Committed, Fetched, Offsets

QUEUED_KBYTES = 65_536
"""Most kilobytes fetched ahead, of all partitions together."""
QUEUE_FULL_WAIT_MS = 50
"""Pause after fetching ahead came to its limit; the usual second is a standstill."""
FETCH_WAIT_MS = 100
"""How long the broker may hold back an answer with nothing in it."""
READER_GROUP = "attestory.reader"
"""The group's name that librdkafka wants of a mere reader; it is never joined."""

_log = logging.getLogger(__name__)


class ConfluentConsumer:
    """Reads through confluent-kafka."""

    def __init__(
        self,
        address: KafkaAddress,
        group: str | None,
        session_timeout_s: float,
        max_poll_interval_s: float,
        connect_timeout_s: float,
    ) -> None:
        self._link = Link(address)
        self._group = group
        self._timeout_s = connect_timeout_s
        self._topic = address.topic
        self._callbacks: dict[str, Callback] = {}
        self._held: set[int] = set()
        self._started: set[int] = set()
        self._positions: dict[int, int] = {}
        self._broken: dict[int, int] = {}
        self._before: set[int] = set()
        self._moved: set[int] = set()
        self._taken: list[Any] = []
        self._growing = Growing()
        self._paused: set[int] = set()
        self._is_assigning = False
        self._failure: AuditError | None = None
        self._callback_error: BaseException | None = None
        self._closed = False
        self._client = self._link.open(
            Consumer,
            connect_timeout_s,
            group_id=group or READER_GROUP,
            enable_auto_commit=False,
            enable_auto_offset_store=False,
            auto_offset_reset="error",
            isolation_level="read_committed",
            enable_partition_eof=True,
            check_crcs=True,
            partition_assignment_strategy="cooperative-sticky",
            queued_max_messages_kbytes=QUEUED_KBYTES,
            **tuning.member_settings(session_timeout_s, max_poll_interval_s),
            fetch_queue_backoff_ms=QUEUE_FULL_WAIT_MS,
            fetch_wait_max_ms=FETCH_WAIT_MS,
            on_commit=_on_commit,
        )

    def subscribe(
        self, topic: str, on_assigned: Callback, on_revoked: Callback, on_lost: Callback
    ) -> None:
        """Join the group. The callbacks run within `poll` and `close`."""
        if self._group is None:
            raise InvalidInput("a consumer without a group reads by `assign`")
        self._topic = topic
        self._callbacks = {"assigned": on_assigned, "revoked": on_revoked, "lost": on_lost}
        self._call(
            lambda: self._client.subscribe(
                [topic],
                on_assign=self._on_assign,
                on_revoke=lambda _, places: self._on_gone("revoked", places),
                on_lost=lambda _, places: self._on_gone("lost", places),
            )
        )

    def assign(self, topic: str, partitions: Sequence[int]) -> None:
        """Read these partitions without a group (instead of `subscribe`)."""
        self._topic = topic
        self._call(self._client.unassign)
        self._held = set(partitions)
        self._started.clear()
        self._positions.clear()
        self._broken.clear()
        self._growing.clear()
        self._taken.clear()

    def seek(self, partition: int, offset: int) -> None:
        """Read this partition from here on; starts a paused one."""
        self._place(partition)
        self._forget([partition])
        self._positions[partition] = offset
        self._growing.sought(partition, offset)
        if self._is_assigning and partition in self._before:
            self._moved.add(partition)
        if partition in self._started:
            self._seek_now(partition, offset)
        elif not self._is_assigning:
            self._start([partition])

    def poll(self, timeout_s: float, max_messages: int) -> Mapping[int, Sequence[Fetched]]:
        """Partition -> messages in order of offset. Empty when nothing came in time."""
        self._growing.tell()
        # librdkafka hands out nothing twice: it stays here until sorted, whatever is raised before.
        taken = self._taken
        if not taken:
            self._before, self._moved = set(self._started), set()
            # A full `consume` would wait out the time for the last few messages.
            taken += self._call(lambda: self._client.consume(1, timeout_s))
            if taken and max_messages > 1:
                taken += self._call(lambda: self._client.consume(max_messages - 1, 0))
        self._raise_callback_error()
        found = self._sorted(taken)
        self._taken = []
        if found:
            self._link.answered()
            return found
        self._growing.tell()
        if self._broken:
            raise out_of_range(self._topic, self._broken, self.offsets)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        self._link.mind_silence(self._client, self._topic)
        return found

    def position(self, partition: int) -> int:
        """The offset read next: after the last message handed out and the markers behind it."""
        if partition not in self._positions:
            raise InvalidInput(f"partition {partition} has no position: seek first")
        self._growing.mind(partition)
        return self._positions[partition]

    def offsets(self, partitions: Sequence[int]) -> dict[int, Offsets]:
        """What the broker holds of each partition now."""
        found = {}
        for partition in partitions:
            place = Place(self._topic, partition)
            kept = self._call(
                partial(self._client.get_watermark_offsets, place, self._timeout_s, cached=False)
            )
            if kept is None:
                raise no_answer(self._link.address.bootstrap, self._timeout_s)
            found[partition] = Offsets(*kept)
        return found

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has now. Raises NotFound."""
        return describe_topic(self._link.address, topic, timeout_s=self._timeout_s).partitions

    def pause(self, partitions: Sequence[int]) -> None:
        """`poll` gives nothing of these until `resume`; the membership goes on."""
        places = [self._place(partition) for partition in partitions if partition in self._started]
        self._paused.update(partition for partition in partitions if partition in self._positions)
        self._call(lambda: self._client.pause(places))

    def resume(self, partitions: Sequence[int]) -> None:
        """Undo `pause`; a partition that nobody sought stays still."""
        places = [self._place(partition) for partition in partitions if partition in self._started]
        self._paused.difference_update(partitions)
        self._call(lambda: self._client.resume(places))

    def commit(self, offsets: Mapping[int, int], metadata: str) -> None:
        """Tell the group how far it is; not waited for, and failures are only logged: a hint."""
        places = [
            Place(self._topic, partition, offset, metadata=metadata)
            for partition, offset in offsets.items()
        ]
        try:
            self._client.commit(offsets=places, asynchronous=True)
        except (KafkaException, RuntimeError) as error:
            _log.warning("could not commit offsets of %s: %s", self._topic, one_line(error))

    def committed(self, partition: int) -> Committed | None:
        """What the group committed last."""
        places = [Place(self._topic, partition)]
        found = self._call(lambda: self._client.committed(places, self._timeout_s))[0]
        if found.error is not None:
            raise self._link.translated(found.error, self._topic)
        if found.offset < 0:
            return None
        return Committed(found.offset, found.metadata or "")

    def close(self) -> None:
        """Leave the group. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        held = sorted(self._held) if self._callbacks else []  # else they were assigned
        self._held.clear()
        self._forget(held)
        self._tell("revoked", held)
        # librdkafka waits for every answer still due, which with a mute broker takes minutes.
        leaving = Thread(target=self._leave, name="leaving the group", daemon=True)
        leaving.start()
        leaving.join(tuning.CLOSE_TIMEOUT_S)
        self._raise_callback_error()

    def _leave(self) -> None:
        try:
            self._client.close()
        except (KafkaException, RuntimeError) as error:
            _log.warning("leaving the group of %s: %s", self._topic, one_line(error))

    def _raise_callback_error(self) -> None:
        if self._callback_error is not None:
            error, self._callback_error = self._callback_error, None
            raise error

    def _call(self, what: Callable[[], Any]) -> Any:
        if self._closed:
            raise Unavailable(f"this consumer of Kafka at {self._link.address.bootstrap} is closed")
        return self._link.call(self._topic, what)

    def _place(self, partition: int) -> Place:
        if partition not in self._held:
            raise InvalidInput(f"partition {partition} of {self._topic} is not assigned here")
        return Place(self._topic, partition)

    def _start(self, partitions: Sequence[int]) -> None:
        """Have them read from their positions on; in a callback this answers the group."""
        places = [Place(self._topic, p, self._positions[p]) for p in partitions]
        self._call(lambda: self._client.incremental_assign(places))
        self._started.update(partitions)
        still = [self._place(partition) for partition in partitions if partition in self._paused]
        if still:
            self._call(lambda: self._client.pause(still))

    def _forget(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            self._positions.pop(partition, None)
            self._broken.pop(partition, None)
            self._paused.discard(partition)
        self._growing.forget(partitions)
        # In place: `poll` may be adding to it.
        self._taken[:] = [one for one in self._taken if one.partition() not in partitions]

    def _seek_now(self, partition: int, offset: int) -> None:
        """Seek; one that just began to be fetched, or stopped for an error, begins anew instead."""
        try:
            self._client.seek(Place(self._topic, partition, offset))
        except KafkaException as error:
            if error.args[0].code() != KafkaError._STATE:
                raise self._link.translated(error, self._topic) from None
            place = Place(self._topic, partition)
            self._call(lambda: self._client.incremental_unassign([place]))
            self._start([partition])
        self._call(lambda: self._client.resume([Place(self._topic, partition)]))

    def _on_assign(self, _client: Consumer, places: list[Place]) -> None:
        """Start those that the caller seeks within its callback; the others wait for their seek."""
        partitions = sorted(place.partition for place in places)
        self._held.update(partitions)
        self._forget(partitions)
        self._is_assigning = True
        self._tell("assigned", partitions)
        self._is_assigning = False
        self._start([partition for partition in partitions if partition in self._positions])

    def _on_gone(self, event: str, places: list[Place]) -> None:
        partitions = sorted(place.partition for place in places)
        started = [partition for partition in partitions if partition in self._started]
        self._held.difference_update(partitions)
        self._started.difference_update(partitions)
        self._forget(partitions)
        if not self._closed:
            self._tell(event, partitions)
        self._client.incremental_unassign([Place(self._topic, p) for p in started])

    def _tell(self, event: str, partitions: list[int]) -> None:
        """Call back; an error waits until librdkafka, which cannot carry it, has returned."""
        try:
            if partitions:
                self._callbacks[event](partitions)
        except BaseException as error:
            self._callback_error = self._callback_error or error

    def _sorted(self, messages: Sequence[Any]) -> dict[int, list[Fetched]]:
        """Messages by partition; those of partitions that are gone are dropped."""
        for partition in sorted(self._moved & self._positions.keys()):
            # It went and came back meanwhile: nobody can say what was fetched when.
            self._seek_now(partition, self._positions[partition])
        found: dict[int, list[Fetched]] = {}
        make = Fetched._make
        for message in messages:
            if message.error() is not None:
                self._on_event(message, message.error())
                continue
            partition = message.partition()
            try:
                headers = message.headers()
            except (ValueError, SystemError):
                words = f"the headers at {message.offset()} are not readable"
                self._growing.blame(astray(self._topic, partition, words))
                continue
            signature = signature_of(headers) if headers else None
            one = make((message.offset(), message.key(), message.value(), signature))
            found.setdefault(partition, []).append(one)
        return self._checked(found)

    def _checked(self, found: dict[int, list[Fetched]]) -> dict[int, list[Fetched]]:
        """Without partitions that are not ours; librdkafka's offsets are what the producer says."""
        ours = self._positions.keys() - self._moved
        # All are asked for first: when one does not come, all that was taken is sorted once more.
        ends = {p: self._end_of(p, messages) for p, messages in found.items() if p in ours}
        good = {}
        for partition, end in ends.items():
            messages = found[partition]
            if self._growing.is_good(self._topic, partition, messages, end):
                at = self._positions[partition]
                self._positions[partition] = max(messages[-1].offset + 1, at)
                good[partition] = messages
        return good

    def _end_of(self, partition: int, messages: Sequence[Fetched]) -> int | None:
        """The offset after the partition's last message, to hold the messages' offsets against.

        What the client remembers of it can be older than messages that it hands out, so nobody is
        accused before the broker was asked. Raises Unavailable: the messages are kept until then.
        """
        last = messages[-1].offset
        gap = last - self._positions[partition] >= len(messages)
        place = Place(self._topic, partition)
        end: int | None = self._call(
            lambda: known_end(self._client, place, self._timeout_s if gap else None)
        )
        if end is not None and last >= end:
            end = self.offsets([partition])[partition].end
        return end

    def _on_event(self, message: Any, error: Any) -> None:
        """What librdkafka says in the place of a message."""
        partition, code = message.partition(), error.code()
        if code == KafkaError._PARTITION_EOF:
            if partition in self._positions and partition not in self._moved:
                self._positions[partition] = max(message.offset(), self._positions[partition])
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            if partition in self._positions:
                offset = message.offset()
                at = self._positions[partition] if offset in (None, OFFSET_INVALID) else offset
                self._broken[partition] = at
        elif code == KafkaError._MAX_POLL_EXCEEDED:
            _log.warning("%s: polled too late, so the group took its partitions", self._topic)
        elif error.retriable() or code in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            _log.warning("%s: %s", self._topic, one_line(error.str()))
        else:
            self._failure = self._link.translated(error, self._topic)


def _on_commit(error: Any, places: Any) -> None:
    errors = [error, *(place.error for place in places or ())]
    for one in errors:
        if one is not None:
            _log.warning("the group did not take its offsets: %s", one_line(one))
            return
