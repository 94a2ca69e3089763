"""Checkpoints in Kafka: published for the rollback guard, and read back, newest first.

The topic is compacted, but nothing waits for that: the newest note of a log may lie behind a
million older ones. So it is read from its end backwards, in windows that grow.

Whoever may write to the topic can put anything there. What is found is handed out unverified; the
guard checks the signature, and garbage in the place of a note is a finding, not "no checkpoint".
"""

import logging
import time
from collections.abc import Iterable
from contextlib import closing

from audit.errors import LimitExceeded, Unavailable
from audit.kafka.address import KafkaAddress
from audit.kafka.clients import CONNECT_TIMEOUT_S, open_consumer
from audit.kafka.topics import CHECKPOINTS_TOPIC, partition_of
from audit.kafka.transport import Consumer, Producer

MAX_CHECKPOINT_BYTES = 65_536
"""Largest note that is published or handed out; a larger value cannot be ours and is skipped."""
MAX_SIZE_DIGITS = 19
MAX_ORIGINS = 20_000
"""Most logs looked for in one pass: with the largest notes a bound on memory, in practice 10 MB."""
FIRST_WINDOW = 1_000
"""Messages looked at first, from the end; each further window has `WINDOW_GROWTH` times as many."""
WINDOW_GROWTH = 4
POLL_MESSAGES = 5_000
POLL_TURN_S = 0.5
STALL_S = 30.0
"""Reading that gets no further for so long is given up."""

_log = logging.getLogger(__name__)


def publish_checkpoint(producer: Producer, origin: str, note: bytes) -> None:
    """Send a log's signed note; it is published when the producer's `flush` has returned.

    Raises NotFound when the topic is not there, LimitExceeded, Unavailable.
    """
    if len(note) > MAX_CHECKPOINT_BYTES:
        raise LimitExceeded(f"a checkpoint to publish is over {MAX_CHECKPOINT_BYTES} bytes")
    key = origin.encode()
    partition = partition_of(key, producer.partitions(CHECKPOINTS_TOPIC))
    producer.send(CHECKPOINTS_TOPIC, partition, key, note)


def newest_checkpoint(address: KafkaAddress, origin: str) -> bytes | None:
    """What was published last for a log, unverified; None when nothing was.

    Raises NotFound when the topic is not there, Unavailable.
    """
    return newest_checkpoints(address, [origin]).get(origin)


def newest_checkpoints(
    address: KafkaAddress,
    origins: Iterable[str],
    *,
    stall_s: float = STALL_S,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
) -> dict[str, bytes]:
    """What was published last for each of these logs, unverified; without those with nothing.

    Raises NotFound when the topic is not there, Unavailable when Kafka stops answering.
    """
    wanted: dict[int, dict[bytes, str]] = {}
    names = sorted(set(origins))
    if len(names) > MAX_ORIGINS:
        raise LimitExceeded(f"checkpoints of over {MAX_ORIGINS} logs at once")
    if not names:
        return {}
    found: dict[str, bytes] = {}
    own = address._replace(topic=CHECKPOINTS_TOPIC)
    with closing(open_consumer(own, None, connect_timeout_s=connect_timeout_s)) as consumer:
        count = consumer.partitions(CHECKPOINTS_TOPIC)
        for name in names:
            key = name.encode()
            wanted.setdefault(partition_of(key, count), {})[key] = name
        consumer.assign(CHECKPOINTS_TOPIC, sorted(wanted))
        for partition, keys in wanted.items():
            found |= _newest_in(consumer, partition, keys, stall_s)
    return found


def _newest_in(
    consumer: Consumer, partition: int, keys: dict[bytes, str], stall_s: float
) -> dict[str, bytes]:
    """The newest note of each key of one partition, from its end backwards."""
    first, end = consumer.offsets([partition])[partition]
    found: dict[bytes, bytes] = {}
    window = FIRST_WINDOW
    while end > first and len(found) < len(keys):
        start = max(first, end - window)
        # What a window nearer to the end had is newer.
        found = _last_in(consumer, partition, keys.keys(), (start, end), stall_s) | found
        end, window = start, window * WINDOW_GROWTH
    consumer.pause([partition])
    return {keys[key]: note for key, note in found.items()}


def _last_in(
    consumer: Consumer,
    partition: int,
    keys: Iterable[bytes],
    window: tuple[int, int],
    stall_s: float,
) -> dict[bytes, bytes]:
    """The value of each key in [start, end): the largest checkpoint, or the last if that is none.

    The largest and not the last: a consumer that was held up may publish, late, one that is older
    than what the log's next owner published meanwhile.

    It ends by position, not by message: the last offsets may be markers of transactions, or have
    been compacted away.
    """
    found: dict[bytes, bytes] = {}
    wanted = frozenset(keys)
    position, end = window
    consumer.seek(partition, position)
    since = time.monotonic()
    while position < end:
        for message in consumer.poll(POLL_TURN_S, POLL_MESSAGES).get(partition, ()):
            if message.offset >= end:
                break
            if message.key in wanted and message.value is not None:
                if len(message.value) <= MAX_CHECKPOINT_BYTES:
                    size = _size_in(message.value)
                    if size is None or size >= (_size_in(found.get(message.key, b"")) or 0):
                        found[message.key] = message.value
                else:
                    _log.warning("offset %d of checkpoints is no checkpoint", message.offset)
        now = time.monotonic()
        reached = consumer.position(partition)
        if reached > position:
            position, since = reached, now
        elif now - since > stall_s:
            raise Unavailable(
                f"{CHECKPOINTS_TOPIC}, partition {partition}: nothing comes after offset {reached}"
            )
    return found


def _size_in(note: bytes) -> int | None:
    """The size that a note claims, in its second line; None when it is no checkpoint."""
    line = note.split(b"\n", 2)[1:2]
    digits = line[0] if line else b""
    return int(digits) if digits.isdigit() and len(digits) <= MAX_SIZE_DIGITS else None
