"""What a consumer is told to do: checked once, then frozen."""

import re
from dataclasses import dataclass
from enum import Enum

from audit.errors import InvalidInput, LimitExceeded

DEFAULT_BATCH = 5_000
DEFAULT_LINGER_MS = 50
DEFAULT_HEADS_EVERY_S = 60
DEFAULT_SESSION_S = 45

MAX_BATCH = 50_000
"""Most messages in one batch: each is held in memory until its batch is sealed."""
MAX_LINGER_MS = 60_000
MAX_HEADS_EVERY_S = 86_400
MAX_SESSION_S = 300
MAX_PARTITIONS = 100_000
"""Most partitions that can be accepted."""
MAX_GROUP_CHARS = 255
GROUP_PREFIX = "attestory."

_HEALTH = re.compile(
    r"(?:(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:]{2,45}\]):)?(?P<port>[0-9]{1,5})"
)


class Signatures(Enum):
    """What becomes of producers' signatures.

    REQUIRE: checked against the producers that the policy file pins; what does not hold is
    quarantined. RECORD: sealed as it came, for whoever verifies. IGNORE: not kept.
    """

    REQUIRE = "require"
    RECORD = "record"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Settings:
    """One consumer's settings. Raises InvalidInput for what it cannot work with.

    `bus` and `store` are URLs; `group` None: `attestory.` and the ledger's origin. `once`: end when
    caught up. `accept_partitions`: how many partitions the topic may have from now on. `health`:
    (host, port) of the metrics and probes, None for none; port 0 takes a free one.
    """

    bus: str
    store: str
    group: str | None = None
    once: bool = False
    accept_partitions: int | None = None
    health: tuple[str, int] | None = None
    signatures: Signatures = Signatures.RECORD
    linger_ms: int = DEFAULT_LINGER_MS
    batch: int = DEFAULT_BATCH
    heads_every_s: int = DEFAULT_HEADS_EVERY_S
    session_timeout_s: int = DEFAULT_SESSION_S

    def __post_init__(self) -> None:
        """Check every number against its limit."""
        _within("--batch", self.batch, 1, MAX_BATCH)
        _within("--linger", self.linger_ms, 0, MAX_LINGER_MS)
        _within("--heads-every", self.heads_every_s, 1, MAX_HEADS_EVERY_S)
        _within("--session-timeout", self.session_timeout_s, 1, MAX_SESSION_S)
        if self.accept_partitions is not None:
            _within("--accept-partitions", self.accept_partitions, 1, MAX_PARTITIONS)
        group = self.group
        if group is not None and not (0 < len(group) <= MAX_GROUP_CHARS and group.isprintable()):
            raise InvalidInput(f"a group's name has 1 to {MAX_GROUP_CHARS} printable characters")

    @property
    def linger_s(self) -> float:
        """How long a batch waits for more after its first message."""
        return self.linger_ms / 1_000

    def group_of(self, origin: str) -> str:
        """The consumer group for the ledger of this origin."""
        return self.group if self.group is not None else f"{GROUP_PREFIX}{origin}"


def parse_health(text: str) -> tuple[str, int]:
    """(host, port) of `HOST:PORT`, or of `PORT` alone on localhost. Raises InvalidInput."""
    match = _HEALTH.fullmatch(text)
    if match is None or int(match["port"]) > 65_535:
        raise InvalidInput(f"not an address to listen on: {text[:80]!r}; write 127.0.0.1:9464")
    return (match["host"] or "127.0.0.1").strip("[]"), int(match["port"])


def _within(name: str, value: int, least: int, most: int) -> None:
    if value < least:
        raise InvalidInput(f"{name} is at least {least}, not {value}")
    if value > most:
        raise LimitExceeded(f"{name} is at most {most:,}, not {value:,}")
