"""Reaching a cluster with confluent-kafka: opening its clients, its log and its errors as ours."""

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException

from audit.errors import AuditError, InvalidInput, Unavailable
from audit.kafka import tuning
from audit.kafka.address import KafkaAddress
from audit.kafka.tls import check_files
from audit.kafka.translate import broker_error, no_answer, no_topic, one_line

ASKING_TURN_S = 0.5
"""How long one question at the opening takes; between them errors that came in are looked at."""
PROBE_S = 5.0
"""Pause between two looks whether a broker is back."""
PROBE_TIMEOUT_S = 1.0

Client = TypeVar("Client")
Answer = TypeVar("Answer")

_log = logging.getLogger("audit.kafka.librdkafka")
# A library does not write to standard error where the application set up no logging. librdkafka
# warns of the one experimental setting that is used on purpose, each time.
_log.addHandler(logging.NullHandler())
_log.addFilter(lambda record: "enable.gapless.guarantee" not in record.getMessage())


class Link:
    """One client's way to its cluster: how it is set up, and what it last complained about."""

    def __init__(self, address: KafkaAddress) -> None:
        self.address = address
        self.last_error = ""
        self.refused: AuditError | None = None
        self._is_down = False
        self._down_since: float | None = None
        self._next_probe = 0.0

    def settings(self) -> dict[str, Any]:
        """librdkafka's settings for the address, with the security settings under its names."""
        renamed = {
            "ssl_cafile": "ssl.ca.location",
            "ssl_certfile": "ssl.certificate.location",
            "ssl_keyfile": "ssl.key.location",
        }
        security = {
            renamed.get(name, name.replace("_", ".")): str(value)
            for name, value in self.address.security.items()
        }
        return {
            "bootstrap.servers": self.address.bootstrap,
            "client.id": "attestory",
            "reconnect.backoff.max.ms": tuning.RECONNECT_MAX_MS,
            "error_cb": self._complaint,
            "logger": _log,
            **security,
        }

    def open(
        self, make: Callable[[dict[str, Any]], Client], timeout_s: float, **settings: Any
    ) -> Client:
        """A client that a broker answered. Settings are written with `_` for `.`; not callbacks."""
        check_files(self.address)
        own = {
            name if name.startswith("on_") else name.replace("_", "."): value
            for name, value in settings.items()
        }
        client: Any = self.call(self.address.topic, lambda: make({**self.settings(), **own}))
        deadline = time.monotonic() + timeout_s
        while True:
            left = max(0.0, deadline - time.monotonic())
            try:
                client.list_topics(timeout=min(left, ASKING_TURN_S))
                return client  # type: ignore[no-any-return]
            except KafkaException:
                client.poll(0)  # hands over the complaints
            if self.refused is not None:
                raise self.refused
            if left <= ASKING_TURN_S:
                why = f" ({self.last_error})" if self.last_error else ""
                raise Unavailable(f"{no_answer(self.address.bootstrap, timeout_s)}{why}")

    def call(self, topic: str, what: Callable[[], Answer]) -> Answer:
        """Do it; librdkafka's errors come as ours."""
        try:
            return what()
        except (KafkaException, ValueError, TypeError, RuntimeError, OverflowError) as error:
            raise self.translated(error, topic) from None

    def answered(self) -> None:
        """A broker is there."""
        self._is_down, self._down_since = False, None

    def mind_silence(self, client: Any, topic: str) -> None:
        """Raise Unavailable when no broker has answered for too long."""
        if not self._is_down:
            self._down_since = None
            return
        now = time.monotonic()
        since = self._down_since = self._down_since or now
        if now >= self._next_probe:
            self._next_probe = now + PROBE_S
            try:
                client.list_topics(topic, PROBE_TIMEOUT_S)
            except KafkaException:
                pass
            else:
                self.answered()
                return
        if now - since >= tuning.SILENCE_S:
            raise no_answer(self.address.bootstrap, tuning.SILENCE_S)

    def translated(self, error: object, topic: str) -> AuditError:
        """An error of confluent-kafka, bare or in its exception, as one of ours."""
        servers = self.address.bootstrap
        if isinstance(error, KafkaException):
            error = error.args[0] if error.args else error
        if not isinstance(error, KafkaError):
            kind = InvalidInput if isinstance(error, ValueError | TypeError) else Unavailable
            return kind(f"Kafka at {servers}, topic {topic}: {one_line(error)}")
        code, name = error.code(), error.name()
        if code > 0:
            return broker_error(code, name, topic, servers)
        if code == KafkaError._UNKNOWN_TOPIC:
            return no_topic(topic, servers)
        refused = {
            KafkaError._AUTHENTICATION: "the user or the password is wrong",
            KafkaError._INVALID_ARG: one_line(error.str()),
            KafkaError._UNKNOWN_PARTITION: "there is no such partition",
        }
        if code in refused:
            return InvalidInput(f"Kafka at {servers}, topic {topic}: {refused[code]}")
        return Unavailable(f"Kafka at {servers}, topic {topic}: {one_line(error.str())}")

    def _complaint(self, error: KafkaError) -> None:
        """librdkafka mends most by itself; what it cannot mend shows where it was asked."""
        _log.warning("%s", one_line(error.str()))
        if error.code() == KafkaError._AUTHENTICATION:
            self.refused = self.translated(error, self.address.topic)
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._is_down = True
        else:
            self.last_error = one_line(error.str())


def known_end(client: Any, place: Any, sure_s: float | None) -> int | None:
    """The offset after a partition's last message, as the client remembers it; None: not at all.

    With `sure_s` the broker is asked, for so long, when the client does not remember.
    """
    known = client.get_watermark_offsets(place, cached=True)
    if sure_s is not None and (known is None or known[1] < 0):
        known = client.get_watermark_offsets(place, sure_s, cached=False)
    return int(known[1]) if known is not None and known[1] >= 0 else None
