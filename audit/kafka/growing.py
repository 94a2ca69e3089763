"""A partition's offsets grow: held against clients that take a producer's word for them.

Brokers number batches, and do not check the numbers that a producer gives the messages inside. Who
trusts those takes later messages for repetitions, and offsets for empty that are not.
"""

from collections.abc import Sequence
from itertools import islice
from operator import lt

from audit.kafka.transport import Fetched, OffsetsAstray


class Growing:
    """The partitions of one consumer, each from its position sought."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        self._astray: dict[int, OffsetsAstray] = {}
        self._untold: dict[int, OffsetsAstray] = {}

    def sought(self, partition: int, offset: int) -> None:
        """It is read from here on; what was wrong before is forgotten."""
        self.forget([partition])
        self._next[partition] = offset

    def forget(self, partitions: Sequence[int]) -> None:
        """They are gone, or begin anew."""
        for partition in partitions:
            for kept in (self._next, self._astray, self._untold):
                kept.pop(partition, None)

    def clear(self) -> None:
        """Forget all of them."""
        self.forget([*self._next, *self._astray])

    def is_good(
        self, topic: str, partition: int, messages: Sequence[Fetched], end: int | None
    ) -> bool:
        """Whether these may be handed out; once one may not, none of the partition may."""
        if partition in self._astray:
            return False
        try:
            check_offsets(topic, partition, messages, self._next[partition], end)
        except OffsetsAstray as error:
            self.blame(error)
            return False
        if messages:
            self._next[partition] = messages[-1].offset + 1
        return bool(messages)

    def blame(self, error: OffsetsAstray) -> None:
        """Hand out no more of the partition."""
        if error.partition in self._next and error.partition not in self._astray:
            self._astray[error.partition] = self._untold[error.partition] = error

    def tell(self) -> None:
        """Raise what was found and not told yet: each once."""
        for partition in self._untold:
            raise self._untold.pop(partition)

    def mind(self, partition: int) -> None:
        """Raise for one that is astray: nobody knows where it is."""
        if partition in self._astray:
            raise self._astray[partition]


def check_offsets(
    topic: str, partition: int, messages: Sequence[Fetched], begin: int, end: int | None
) -> None:
    """Raise OffsetsAstray unless offsets grow from `begin` on, and stay below the known `end`.

    Brokers do not check the numbers that a producer gives the messages inside a batch.
    """
    offsets = [message.offset for message in messages]
    if not offsets:
        return
    if offsets[0] < begin or not all(map(lt, offsets, islice(offsets, 1, None))):
        before = [begin - 1, *offsets]
        at = next(i for i, offset in enumerate(offsets) if offset <= before[i])
        raise astray(topic, partition, f"offset {offsets[at]} comes after {before[at]}")
    if end is not None and offsets[-1] >= end:
        raise astray(topic, partition, f"offset {offsets[-1]} is not below the end, {end}")


def astray(topic: str, partition: int, what: str) -> OffsetsAstray:
    """The error for a partition whose messages are numbered as no broker numbers them."""
    return OffsetsAstray(
        partition,
        f"{topic}/{partition}: {what}: a producer wrote a batch with wrong numbers inside\n"
        "read it with kafka-python 3.0 (client=kafka-python), which goes by the batch's header",
    )
