"""Watches that topic and group stay this ledger's: at the start, and now and then after it."""

import random
from collections.abc import Callable, Iterable

from audit.capture.delivery.embedded import EmbeddedLedger
from audit.errors import InvalidInput, NotFound, Unavailable
from audit.kafka.address import KafkaAddress
from audit.kafka.clients import NewTopic, TopicInfo, describe_topic, make_topics
from audit.kafka.topics import CHECKPOINTS_PARTITIONS, CHECKPOINTS_TOPIC
from audit.kafka.transport import Consumer
from audit.store.contract import LOG_OF_THE_LEDGER, Appended
from consumers.logs import info, warn
from consumers.source import accept_topic, check_group

MAX_ASKED = 64
"""Of how many partitions the group is asked at once, after the start."""
BROKERS_CHOICE = -1
"""As replication factor: the cluster's own default."""

_COMPACTED = {
    "cleanup.policy": "compact",
    "segment.bytes": "1048576",
    "segment.ms": "3600000",
    "min.cleanable.dirty.ratio": "0.01",
}


class SourceWatch:
    """Asks the cluster what the topic is, and the group whose it is."""

    def __init__(
        self,
        address: KafkaAddress,
        ledger: EmbeddedLedger,
        consumer: Consumer,
        group: str,
        sealed: Callable[[Appended], None],
    ) -> None:
        """`sealed` is told what was sealed into log 0."""
        self._address = address
        self._ledger = ledger
        self._consumer = consumer
        self._group = group
        self._sealed = sealed
        self._known: TopicInfo | None = None
        self._fresh = True

    def look(self, wanted: int | None = None) -> int:
        """How many partitions the ledger accepts, after everything was found to be right.

        `wanted`: how many the operator accepts from now on. Raises InvalidInput where something is
        not right (see `source`), NotFound without the topic, Unavailable.
        """
        topic = self._address.topic
        found = describe_topic(self._address, topic)
        if found != self._known or wanted is not None:
            appended = accept_topic(self._ledger, topic, found, wanted)
            if appended is not None:
                self._sealed(appended)
                info("source accepted", topic=topic, partitions=found.partitions)
            self._known = found
        self._check_group(found.partitions)
        return found.partitions

    def _check_group(self, partitions: int) -> None:
        """All partitions at the start, some of many later: each is a question to the broker."""
        some: Iterable[int] = range(partitions)
        if not self._fresh and partitions > MAX_ASKED:
            some = random.sample(range(partitions), MAX_ASKED)
        check_group(self._consumer, self._group, some, self._ledger.origin)
        self._fresh = False

    def look_again(self) -> int | None:
        """The same later on; None when the cluster or the store does not answer now."""
        try:
            return self.look()
        except Unavailable as error:
            warn("the topic could not be looked at", why=error)
            return None

    def require_checkpoints_topic(self) -> None:
        """Make the topic for checkpoints, for a ledger that has not read anything yet.

        Raises InvalidInput when it is missing later: what was published went with it.
        """
        try:
            describe_topic(self._address, CHECKPOINTS_TOPIC)
            return
        except NotFound:
            pass
        if any(known.log != LOG_OF_THE_LEDGER for known in self._ledger.store.logs()):
            raise InvalidInput(
                f"the topic {CHECKPOINTS_TOPIC} is gone, and with it what the rollback guard needs"
                "\nif that is meant to be, create it anew (cleanup.policy=compact, 1 partition)"
            )
        topic = NewTopic(CHECKPOINTS_TOPIC, CHECKPOINTS_PARTITIONS, BROKERS_CHOICE, _COMPACTED)
        if make_topics(self._address, [topic]):
            info("topic made", topic=CHECKPOINTS_TOPIC)
