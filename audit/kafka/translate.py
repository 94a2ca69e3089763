"""What both clients share: their errors as ours, by Kafka's own numbers, and the one header."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from audit.errors import AuditError, InvalidInput, LimitExceeded, NotFound, Unavailable
from audit.kafka.transport import SIGNATURE_HEADER, Offsets

OFFSET_OUT_OF_RANGE = 1
UNKNOWN_TOPIC = 3
UNKNOWN_TOPIC_ID = 100
TOPIC_ALREADY_EXISTS = 36

_TOO_LARGE = {10: "a message is larger", 18: "a batch is larger"}
_REFUSED = {
    17: "the topic's name is not allowed",
    22: "the group's member is of another generation",
    23: "the group's other members assign partitions in another way",
    24: "the group's name is not allowed",
    26: "the broker does not allow this session timeout",
    29: "this user may not use the topic",
    30: "this user may not use the group",
    31: "this user may not do that in the cluster",
    33: "the broker does not know this sasl_mechanism",
    34: "the broker expected no SASL handshake here",
    35: "the broker is too old for this client",
    37: "the number of partitions is not allowed",
    38: "the replication factor is not possible: more than there are brokers?",
    40: "a topic's setting is not allowed",
    42: "the broker cannot make sense of the request",
    44: "the broker's policy forbids it",
    58: "the user or the password is wrong",
    76: "the broker does not know this compression",
    87: "the broker refuses the message (a compacted topic needs keys)",
}
"""What asking again does not mend."""


def not_installed(package: str, extra: str) -> Unavailable:
    """The error for a client library that is not there."""
    return Unavailable(f"{package} is not installed: pip install 'attestory[{extra}]'")


def no_answer(servers: str, seconds: float) -> Unavailable:
    """The error for a cluster that none of the servers answers for."""
    return Unavailable(
        f"no Kafka broker answers at {servers} within {seconds:g} s\n"
        "check the address, security_protocol and that the broker runs"
    )


def no_topic(topic: str, servers: str) -> NotFound:
    """The error for a topic that the cluster does not have, or hides from this user."""
    return NotFound(f"Kafka at {servers} has no topic {topic}: create it, or mend the address")


def broker_error(number: int, name: str, topic: str, servers: str) -> AuditError:
    """What an error number of Kafka's protocol means to the caller."""
    if number in (UNKNOWN_TOPIC, UNKNOWN_TOPIC_ID):
        return no_topic(topic, servers)
    if number in _TOO_LARGE:
        return LimitExceeded(
            f"Kafka at {servers}: {_TOO_LARGE[number]} than max.message.bytes of {topic} allows"
        )
    if number in _REFUSED:
        return InvalidInput(f"Kafka at {servers}, topic {topic}: {_REFUSED[number]} ({name})")
    return Unavailable(f"Kafka at {servers}, topic {topic}: {name}; try again")


def out_of_range(
    topic: str, wanted: Mapping[int, int], offsets: Callable[[list[int]], Mapping[int, Offsets]]
) -> Unavailable:
    """The error for reading where the broker has nothing: never jumped over in silence.

    It comes when retention deleted messages before they were read, and when the topic was made
    anew or lost data: what to do about it is the operator's decision.
    """
    parts = []
    for partition, offset in sorted(wanted.items()):
        try:
            kept = offsets([partition])[partition]
            has = f", the broker keeps {kept.first} to {kept.end}"
        except AuditError:
            has = ""
        parts.append(f"partition {partition}: offset {offset} is out of range{has}")
    return Unavailable(f"{topic}, {'; '.join(parts)}")


def signature_of(headers: Iterable[tuple[str, Any]]) -> bytes | None:
    """The value of the last header that is called so: later ones replace earlier ones in Kafka."""
    signature = None
    for name, value in headers:
        if name == SIGNATURE_HEADER:
            signature = value
    return signature


def one_line(error: object, limit: int = 200) -> str:
    """A client's own words, fit for one line of a message."""
    return " ".join(str(error).split())[:limit]
