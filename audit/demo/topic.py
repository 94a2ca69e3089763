"""The demo's topic: empty, so that its story is the only one in it."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from audit.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from audit.kafka.address import KafkaAddress

PARTITIONS = 4
"""Of a topic that the demo makes: enough to show that a ledger has several logs."""


def find_topic(url: str, own: str) -> "KafkaAddress":
    """The topic that the URL names, without one `own`. Nothing is made.

    Raises InvalidInput when the URL is wrong or the topic holds something, Unavailable.
    """
    from audit.kafka.address import parse_address
    from audit.kafka.clients import open_consumer

    address = parse_address(url)
    if not urlsplit(url).path.strip("/"):
        address = address._replace(topic=own)
    consumer = open_consumer(address, None)
    try:
        partitions = range(consumer.partitions(address.topic))
        consumer.assign(address.topic, partitions)
        holds = any(held.end > held.first for held in consumer.offsets(partitions).values())
    except NotFound:
        holds = False
    finally:
        consumer.close()
    if holds:
        raise InvalidInput(
            f"the topic {address.topic} is not empty; name another one\n"
            "or none: the demo makes one of its own"
        )
    return address


def make_topic(address: "KafkaAddress") -> None:
    """Make the topic, and the one for checkpoints, unless they are there.

    With as many copies as are safe, for the second one stays when the demo is forgotten; with one
    where the cluster has too few brokers. Raises InvalidInput, Unavailable.
    """
    from audit.kafka.topics import SAFE_REPLICATION, create_topics

    try:
        create_topics(address, PARTITIONS, SAFE_REPLICATION)
    except InvalidInput:
        create_topics(address, PARTITIONS, 1)
