"""Topics: which partition a key belongs to, and making the two topics that a ledger needs."""

import struct

from audit.errors import InvalidInput
from audit.event.envelope import Event
from audit.kafka.address import KafkaAddress
from audit.kafka.clients import NewTopic, describe_topic, make_topics

CHECKPOINTS_TOPIC = "audit.checkpoints"
"""Where checkpoints are published; compacted, so the newest of each log stays."""
CHECKPOINTS_PARTITIONS = 1
"""Few and small messages; in one partition all newest are found in one pass."""
MAX_PARTITIONS = 10_000
"""Most partitions that are asked for: each is a log of its own."""
SAFE_REPLICATION = 3
"""With so many copies a write waits for two of them; one broker may be down all the same."""

_CHECKPOINTS_SETTINGS = {
    "cleanup.policy": "compact",
    # What is compacted are closed segments: small ones, closed soon. Kafka 4 allows no smaller.
    "segment.bytes": "1048576",
    "segment.ms": "3600000",
    "min.cleanable.dirty.ratio": "0.01",
}

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def entity_partition_key(event: Event) -> bytes | None:
    """The key of an event's message: its entity. None when it is about no single entity."""
    if event.entity_type is None or event.entity_key is None:
        return None
    return f"{event.entity_type}/{event.entity_key}".encode()


def partition_of(key: bytes | None, count: int) -> int:
    """The partition of `count` that Kafka's default partitioner gives a key; 0 without a key.

    Every producer of every language must agree on it: an entity's history lies in one partition.
    """
    if count < 1:
        raise InvalidInput(f"a topic has at least one partition, not {count}")
    return 0 if key is None else (murmur2(key) & 0x7FFFFFFF) % count


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit MurmurHash2, as a number without sign."""
    size = len(data)
    whole = size & ~3
    value = _SEED ^ size
    for word in struct.unpack_from(f"<{whole >> 2}I", data):
        word = word * _M & _MASK
        value = value * _M & _MASK ^ (word ^ word >> 24) * _M & _MASK
    if whole < size:
        value = (value ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    value = (value ^ value >> 13) * _M & _MASK
    return value ^ value >> 15


def create_topics(address: KafkaAddress, partitions: int, replication: int) -> list[str]:
    """Make the address's topic and the one for checkpoints, each only where it is missing.

    Returns the names of those made now. An existing topic is not changed, whatever its settings.
    Raises InvalidInput for numbers that the cluster refuses, Unavailable.
    """
    if not 0 < partitions <= MAX_PARTITIONS:
        raise InvalidInput(f"the number of partitions must be 1 to {MAX_PARTITIONS}")
    if replication < 1:
        raise InvalidInput("the replication factor must be at least 1")
    if address.topic == CHECKPOINTS_TOPIC:
        raise InvalidInput(f"{CHECKPOINTS_TOPIC} is for checkpoints: events need another topic")
    safe = {"min.insync.replicas": "2"} if replication >= SAFE_REPLICATION else {}
    events = NewTopic(address.topic, partitions, replication, {"cleanup.policy": "delete", **safe})
    settings = {**_CHECKPOINTS_SETTINGS, **safe}
    checkpoints = NewTopic(CHECKPOINTS_TOPIC, CHECKPOINTS_PARTITIONS, replication, settings)
    return make_topics(address, [events, checkpoints])


def topic_id(address: KafkaAddress) -> str | None:
    """The id of the address's topic: another one means it was deleted and made anew.

    None from a broker that is too old to have ids. Raises NotFound, Unavailable.
    """
    return describe_topic(address, address.topic).topic_id
