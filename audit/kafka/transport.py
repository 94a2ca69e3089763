"""The seam to a Kafka client: what a producer and a member of a consumer group must be able to do.

Two clients stand behind it, `kafka_python` (the default) and `confluent` (optional, faster). All
that the product promises is made on this side: order, exactly once, accounting for every offset. A
client only moves bytes. Everything here raises `Unavailable` when the broker does not answer, and
`InvalidInput` for settings the client or the broker refuses; no message holds a password.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from audit.errors import InvalidInput

SIGNATURE_HEADER = "audit-signature"
"""The one header of a message: the producer's signature, 68 bytes. Headers are dear."""


class Fetched(NamedTuple):
    """One message as it was read; `signature` is the header's value, of any length, or None."""

    offset: int
    key: bytes | None
    value: bytes | None
    signature: bytes | None


class OffsetsAstray(InvalidInput):
    """A partition's messages do not have growing offsets below its end: it must not be read on."""

    def __init__(self, partition: int, words: str) -> None:
        super().__init__(words)
        self.partition = partition


class Offsets(NamedTuple):
    """What a partition holds: the first offset still kept, and the one after the last committed."""

    first: int
    end: int


class Committed(NamedTuple):
    """What a group committed for a partition: no more than a hint, and who said it."""

    offset: int
    metadata: str


Callback = Callable[[Sequence[int]], None]
"""Called with partition numbers, on the thread that polls."""


class Producer(Protocol):
    """Sends messages: idempotent, acks=all, in order within a partition. One thread uses it."""

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has. Raises NotFound for a topic that is not there."""
        ...

    def send(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes,
        signature: bytes | None = None,
    ) -> None:
        """Queue one message. A failure is raised here or by the next `flush`."""
        ...

    def flush(self, timeout_s: float) -> None:
        """Return when the broker acknowledged all that was sent.

        Raises Unavailable otherwise: then anything from none to all of it was written, and this
        producer is of no more use; `close` it and send everything again through a new one.
        """
        ...

    def close(self) -> None:
        """Give up what was not acknowledged, at once. Safe to repeat."""
        ...


class Consumer(Protocol):
    """A member of a consumer group on one topic, reading committed messages. One thread uses it.

    It never moves by itself: a partition just assigned is paused until `seek` says where to begin,
    and where a position is out of range `poll` raises Unavailable instead of jumping.
    """

    def subscribe(
        self, topic: str, on_assigned: Callback, on_revoked: Callback, on_lost: Callback
    ) -> None:
        """Join the group. The callbacks run within `poll` and `close`."""
        ...

    def assign(self, topic: str, partitions: Sequence[int]) -> None:
        """Read these partitions without a group (instead of `subscribe`)."""
        ...

    def seek(self, partition: int, offset: int) -> None:
        """Read this partition from here on; starts a paused one."""
        ...

    def poll(self, timeout_s: float, max_messages: int) -> Mapping[int, Sequence[Fetched]]:
        """Partition -> messages in order of offset. Empty when nothing came in time.

        May hand out messages of a partition that was just revoked: the caller drops them.
        Raises OffsetsAstray once for a partition with offsets that cannot be; others are read on.
        """
        ...

    def position(self, partition: int) -> int:
        """The offset read next: after the last message handed out and the markers behind it."""
        ...

    def offsets(self, partitions: Sequence[int]) -> dict[int, Offsets]:
        """What the broker holds of each partition now."""
        ...

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has. Raises NotFound for a topic that is not there."""
        ...

    def pause(self, partitions: Sequence[int]) -> None:
        """`poll` gives nothing of these until `resume`; the membership goes on."""
        ...

    def resume(self, partitions: Sequence[int]) -> None:
        """Undo `pause`."""
        ...

    def commit(self, offsets: Mapping[int, int], metadata: str) -> None:
        """Tell the group how far it is; not waited for, and failures are only logged: a hint."""
        ...

    def committed(self, partition: int) -> Committed | None:
        """What the group committed last."""
        ...

    def close(self) -> None:
        """Leave the group. Safe to repeat."""
        ...
