"""Reaching a cluster with kafka-python 3: opening its clients, its errors as ours, its topics."""

import logging
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

from audit.errors import AuditError, InvalidInput, Unavailable
from audit.kafka.address import KafkaAddress
from audit.kafka.clients import NewTopic, TopicInfo
from audit.kafka.tls import check_files
from audit.kafka.translate import TOPIC_ALREADY_EXISTS, broker_error, no_answer, one_line
from audit.kafka.tuning import RECONNECT_MAX_MS

Client = TypeVar("Client")


class _NoCredentials(logging.Filter):
    """Keeps what is sent to log in out of kafka-python's debug log."""

    def filter(self, record: logging.LogRecord) -> bool:
        args = record.args if isinstance(record.args, tuple) else ()
        # The bytes on the wire are among the arguments, too: dumps of no use to anybody.
        dumped = (bytes, bytearray, memoryview)
        return not any(
            isinstance(arg, dumped) or type(arg).__name__.startswith("Sasl") for arg in args
        )


class _LastWords(logging.Handler):
    """Remembers why connecting failed: kafka-python only logs it and then times out."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and record.args:
            timeout = kafka_errors.KafkaTimeoutError
            errors = [arg for arg in record.args if isinstance(arg, Exception)]
            reasons = [error for error in errors if not isinstance(error, timeout)]
            self.text = one_line(reasons[0]) if reasons else self.text


# A library does not write to standard error where the application set up no logging.
logging.getLogger("kafka").addHandler(logging.NullHandler())
for _name in ("kafka.net.connection", "kafka.protocol.parser"):
    logging.getLogger(_name).addFilter(_NoCredentials())


def describe_topic(address: KafkaAddress, topic: str, timeout_s: float) -> TopicInfo:
    """Ask the cluster. Raises NotFound."""
    with closing(_admin(address, timeout_s)) as admin:
        try:
            found = admin.describe_topics([topic])[0]
        except Exception as error:
            raise translated(error, topic, address) from None
    if found["error_code"]:
        raise broker_error(found["error_code"], "no metadata", topic, address.bootstrap)
    topic_id = found.get("topic_id")
    return TopicInfo(len(found["partitions"]), None if topic_id is None else str(topic_id))


def make_topics(address: KafkaAddress, topics: list[NewTopic], timeout_s: float) -> list[str]:
    """Make those that are missing; return the names of those made now."""
    made = []
    with closing(_admin(address, timeout_s)) as admin:
        try:
            names = [topic.name for topic in topics]
            there = {t["name"] for t in admin.describe_topics(names) if not t["error_code"]}
            wanted = {
                topic.name: {
                    "num_partitions": topic.partitions,
                    "replication_factor": topic.replication,
                    "configs": dict(topic.settings),
                }
                for topic in topics
                if topic.name not in there
            }
            if not wanted:
                return []
            answer = admin.create_topics(wanted, int(timeout_s * 1000), raise_errors=False)
            for topic in answer["topics"]:
                if topic["error_code"] == TOPIC_ALREADY_EXISTS:
                    continue  # somebody made it meanwhile
                if topic["error_code"]:
                    words = one_line(topic.get("error_message") or topic["error_code"])
                    number, servers = topic["error_code"], address.bootstrap
                    raise broker_error(number, words, topic["name"], servers)
                made.append(topic["name"])
            admin.wait_for_topics(list(wanted), int(timeout_s * 1000))
        except Exception as error:
            raise translated(error, address.topic, address) from None
    return made


def security_settings(address: KafkaAddress) -> dict[str, str]:
    """The address's security settings under kafka-python's names."""
    renamed = {
        "sasl_username": "sasl_plain_username",
        "sasl_password": "sasl_plain_password",
        "ssl_key_password": "ssl_password",
    }
    return {renamed.get(name, name): value for name, value in address.security.items()}


def translated(error: Exception, topic: str, address: KafkaAddress) -> AuditError:
    """An error of kafka-python as one of ours."""
    servers = address.bootstrap
    if isinstance(error, AuditError):
        return error
    if isinstance(error, kafka_errors.BrokerResponseError):
        return broker_error(error.errno or 0, type(error).__name__, topic, servers)
    settings = (kafka_errors.KafkaConfigurationError, kafka_errors.UnsupportedCodecError)
    if isinstance(error, (*settings, ValueError, TypeError, AssertionError)):
        return InvalidInput(f"Kafka at {servers}, topic {topic}: {one_line(error)}")
    return Unavailable(f"Kafka at {servers}, topic {topic}: {one_line(error)}")


def _admin(address: KafkaAddress, timeout_s: float) -> Any:
    return open_client(
        KafkaAdminClient, address, timeout_s, request_timeout_ms=int(timeout_s * 1000)
    )


def open_client(
    make: Callable[..., Client], address: KafkaAddress, timeout_s: float, **settings: Any
) -> Client:
    """A client that a broker answered; when none does, nothing of it stays behind."""
    check_files(address)
    networks: list[Any] = []
    standard = KafkaAdminClient.DEFAULT_CONFIG["kafka_client"]

    def network(**configs: Any) -> Any:
        networks.append(standard(**configs))
        return networks[-1]

    words = _LastWords()
    log = logging.getLogger("kafka.net.manager")
    log.addHandler(words)
    try:
        return make(
            bootstrap_servers=list(address.servers),
            bootstrap_timeout_ms=max(1, int(timeout_s * 1000)),
            reconnect_backoff_max_ms=RECONNECT_MAX_MS,
            client_id="attestory",
            kafka_client=network,
            **security_settings(address),
            **settings,
        )
    except Exception as error:
        for client in networks:
            client.close()  # its thread would go on asking for the rest of the process
        if isinstance(error, kafka_errors.KafkaTimeoutError):
            why = words.text
            if "disconnected" in why and "sasl_username" in address.security:
                # kafka-python misses the broker's answer when the connection ends with it.
                why += "; a wrong user or password ends like this, too"
            failure = no_answer(address.bootstrap, timeout_s)
            raise Unavailable(f"{failure}" + (f" ({why})" if why else "")) from None
        raise translated(error, address.topic, address) from None
    finally:
        log.removeHandler(words)
