"""Opens the client that an address names; nothing of it is imported before."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from audit.errors import InvalidInput
from audit.kafka.address import CONFLUENT, KAFKA_PYTHON, KafkaAddress
from audit.kafka.translate import not_installed

if TYPE_CHECKING:
    from audit.kafka.transport import Consumer, Producer

CONNECT_TIMEOUT_S = 10.0
"""How long a broker may take to answer at first; then the opening fails instead of hanging."""
SESSION_TIMEOUT_S = 45.0
"""A member that is not heard of for so long loses its partitions (the broker has bounds)."""
MAX_POLL_INTERVAL_S = 300.0
"""A member that does not poll for so long loses its partitions."""

COMPRESSIONS = ("gzip", "snappy", "lz4", "zstd")


class TopicInfo(NamedTuple):
    """What a cluster says of a topic; a topic that was made anew has another id."""

    partitions: int
    topic_id: str | None


class NewTopic(NamedTuple):
    """A topic to be made."""

    name: str
    partitions: int
    replication: int
    settings: Mapping[str, str]


class ClientModule(Protocol):
    """What a module of a client offers."""

    def producer(
        self, address: KafkaAddress, compression: str | None, connect_timeout_s: float
    ) -> "Producer":
        """Open a producer."""
        ...

    def consumer(
        self,
        address: KafkaAddress,
        group: str | None,
        session_timeout_s: float,
        max_poll_interval_s: float,
        connect_timeout_s: float,
    ) -> "Consumer":
        """Open a consumer."""
        ...

    def describe_topic(self, address: KafkaAddress, topic: str, timeout_s: float) -> TopicInfo:
        """Ask the cluster. Raises NotFound."""
        ...

    def make_topics(
        self, address: KafkaAddress, topics: list[NewTopic], timeout_s: float
    ) -> list[str]:
        """Make those that are missing; return the names of those made now."""
        ...


def client_module(address: KafkaAddress) -> ClientModule:
    """The module of the address's client. Raises Unavailable where its library is missing."""
    name, library, package, extra = {
        KAFKA_PYTHON: ("audit.kafka.kafka_python", "kafka", "kafka-python", "kafka"),
        CONFLUENT: ("audit.kafka.confluent", "confluent_kafka", "confluent-kafka", "confluent"),
    }[address.client]
    try:
        return cast(ClientModule, import_module(name))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != library:
            raise
        raise not_installed(package, extra) from None


def open_producer(
    address: KafkaAddress,
    *,
    compression: str | None = None,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
) -> "Producer":
    """A producer that a broker has answered.

    Raises Unavailable when none does in time, or the client is not installed; InvalidInput for
    settings that the client or the broker refuses.
    """
    if compression is not None and compression not in COMPRESSIONS:
        raise InvalidInput(f"compression must be one of {', '.join(COMPRESSIONS)}")
    return client_module(address).producer(address, compression, connect_timeout_s)


def open_consumer(
    address: KafkaAddress,
    group: str | None,
    *,
    session_timeout_s: float = SESSION_TIMEOUT_S,
    max_poll_interval_s: float = MAX_POLL_INTERVAL_S,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
) -> "Consumer":
    """A consumer that a broker has answered: a member of `group`, or without one a mere reader.

    Raises Unavailable when none does in time, or the client is not installed; InvalidInput for
    settings that the client or the broker refuses.
    """
    if not 0 < session_timeout_s <= max_poll_interval_s:
        raise InvalidInput("the session timeout must be above 0 and at most max_poll_interval")
    return client_module(address).consumer(
        address, group, session_timeout_s, max_poll_interval_s, connect_timeout_s
    )


def describe_topic(
    address: KafkaAddress, topic: str, *, timeout_s: float = CONNECT_TIMEOUT_S
) -> TopicInfo:
    """What the cluster says of a topic now. Raises NotFound, Unavailable."""
    return client_module(address).describe_topic(address, topic, timeout_s)


def make_topics(
    address: KafkaAddress, topics: list[NewTopic], *, timeout_s: float = CONNECT_TIMEOUT_S
) -> list[str]:
    """Make the topics that are missing, leave others as they are; return the names of the new."""
    return client_module(address).make_topics(address, topics, timeout_s)
