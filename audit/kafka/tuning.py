"""What both clients are set to, and what both remember: one place, so that they behave alike."""

import time
from collections.abc import Callable

from audit.errors import InvalidInput, LimitExceeded

RECONNECT_MAX_MS = 2_000
"""Longest pause between attempts to connect, so that a restarted broker is found soon."""
LINGER_MS = 5
BATCH_BYTES = 131_072
"""Largest batch: enough to be cheap, and below every sensible max.message.bytes."""
MAX_MESSAGE_BYTES = 1_000_000
"""Largest key and value together; brokers allow 1,048,588 bytes with all around it."""
PARTITIONS_KNOWN_S = 60.0
"""So long the number of partitions is remembered."""
HEARTBEATS_PER_SESSION = 3
MAX_HEARTBEAT_INTERVAL_S = 3.0
SILENCE_S = 30.0
"""After so long without a broker `poll` raises Unavailable; until then brokers restart."""
CLOSE_TIMEOUT_S = 3.0
"""How long leaving the group may take; a member that is gone anyway is missed soon."""


def member_settings(session_timeout_s: float, max_poll_interval_s: float) -> dict[str, int]:
    """The times of a member of a group, under the names that both clients know."""
    heartbeat_s = min(MAX_HEARTBEAT_INTERVAL_S, session_timeout_s / HEARTBEATS_PER_SESSION)
    return {
        "session_timeout_ms": int(session_timeout_s * 1000),
        "heartbeat_interval_ms": max(1, int(heartbeat_s * 1000)),
        "max_poll_interval_ms": int(max_poll_interval_s * 1000),
    }


def check_message(key: bytes | None, value: bytes) -> None:
    """Raise LimitExceeded for a message that a broker would not take."""
    if len(value) + len(key or b"") > MAX_MESSAGE_BYTES:
        raise LimitExceeded(f"a message for Kafka is over {MAX_MESSAGE_BYTES} bytes")


class PartitionCounts:
    """How many partitions topics have, each asked for once in a while."""

    def __init__(self, ask: Callable[[str], int]) -> None:
        """`ask` asks the cluster. Raises NotFound."""
        self._ask = ask
        self._known: dict[str, tuple[int, float]] = {}

    def of(self, topic: str) -> int:
        """The number; may be a minute old. Raises NotFound."""
        count, until = self._known.get(topic, (0, 0.0))
        if time.monotonic() >= until:
            count = self._ask(topic)
            self._known[topic] = (count, time.monotonic() + PARTITIONS_KNOWN_S)
        return count

    def check(self, topic: str, partition: int) -> None:
        """Raise InvalidInput for a partition that is not there. Asks only where nothing is known:

        partitions never go away, and whoever sends asked for the number a minute ago.
        """
        known = self._known.get(topic)
        count = self.of(topic) if known is None else known[0]
        if not 0 <= partition < count:
            raise InvalidInput(f"topic {topic} has {count} partitions: there is no {partition}")
