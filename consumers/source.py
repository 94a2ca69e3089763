"""Which topic a ledger reads, with how many partitions, and whose group reads it.

Log 0 says it in CONTROL entries `source.accepted` {topic, partitions, topic_id}, the first one when
the topic is first consumed. One ledger has one topic. A topic that grew moves entities to other
partitions, so it is read on only when an operator accepts that; one that was made anew counts its
offsets from 0 again, so what the log says it has sealed would never be read: it is refused.
"""

import hashlib
from collections.abc import Iterable

from audit.capture.delivery.embedded import EmbeddedLedger
from audit.errors import InvalidInput
from audit.event.build import record_event
from audit.event.envelope import encode_event
from audit.kafka.accepted import ACCEPTED_TYPE, Accepted, newest_accepted
from audit.kafka.clients import TopicInfo
from audit.kafka.transport import Consumer
from audit.log.intake import LEDGER_SOURCE
from audit.store.contract import Appended


def accept_topic(
    ledger: EmbeddedLedger, topic: str, found: TopicInfo, wanted: int | None
) -> Appended | None:
    """Check the topic against what log 0 says; seal what is new there, and give that back.

    `wanted`: the number of partitions that the operator accepts, if he said one. Raises
    InvalidInput for another topic than the ledger's, for one that grew and was not accepted, and
    for one that was made anew.
    """
    partitions = found.partitions
    if wanted is not None and wanted != partitions:
        raise InvalidInput(
            f"--accept-partitions {wanted}, but the topic {topic} has {partitions} partitions"
        )
    asked = Accepted(topic, partitions, found.topic_id)
    # Not "was this ever accepted": a topic that was put back to what it was is not the newest.
    known = newest_accepted(ledger.store)
    if known is None:
        return _seal(ledger, asked)
    _refuse(known, asked, ledger.origin)
    if partitions == known.partitions:
        return None
    if wanted is None:
        raise InvalidInput(
            f"the topic {topic} has {partitions} partitions, the ledger accepted "
            f"{known.partitions}: entities moved to other partitions, and logs, with that\n"
            f"to accept it: audit consume --accept-partitions {partitions}"
        )
    return _seal(ledger, asked)


def _refuse(known: Accepted, asked: Accepted, origin: str) -> None:
    if known.topic != asked.topic:
        raise InvalidInput(
            f"the ledger {origin} reads the topic {known.topic}, not {asked.topic}: one ledger has "
            "one topic\ngive that one with --bus, or make another ledger with --store"
        )
    is_another = None not in (known.topic_id, asked.topic_id) and known.topic_id != asked.topic_id
    if is_another or asked.partitions < known.partitions:
        raise InvalidInput(
            f"the topic {asked.topic} is not the one that was read before: it was made anew, and "
            "its offsets begin again\n"
            "bring the old topic back, or make another ledger, with another --store, for this one"
        )


def _event_id(accepted: Accepted) -> str:
    text = f"{accepted.topic}\n{accepted.partitions}\n{accepted.topic_id}"
    return f"{ACCEPTED_TYPE}:{hashlib.sha256(text.encode()).hexdigest()}"


def _seal(ledger: EmbeddedLedger, accepted: Accepted) -> Appended:
    # The id follows from what is said: two consumers that begin at once make one entry.
    built = record_event(
        ACCEPTED_TYPE, accepted._asdict(), event_id=_event_id(accepted), source=LEDGER_SOURCE
    )
    return ledger.append_control([encode_event(built.event)])


def check_group(consumer: Consumer, group: str, partitions: Iterable[int], origin: str) -> None:
    """Refuse a group that reads for another ledger: each would seal a part of the topic only.

    Every commit of an offset names the ledger's origin. Raises InvalidInput, Unavailable.
    """
    for partition in partitions:
        committed = consumer.committed(partition)
        if committed is not None and committed.metadata not in ("", origin):
            raise InvalidInput(
                f"the group {group} reads for the ledger {committed.metadata[:200]}, not {origin}\n"
                "give this ledger a group of its own with --group"
            )
