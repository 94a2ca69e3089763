"""Where the bus is: `kafka://host:9092[,host2:9092]/topic`, with the settings from outside.

Names in the URL's query and in the environment are the same, and the URL wins::

    client              AUDIT_KAFKA_CLIENT               kafka-python (default) or confluent
    registry            AUDIT_REGISTRY                   http(s) URL of a schema registry
    security_protocol   AUDIT_KAFKA_SECURITY_PROTOCOL    PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL
    sasl_mechanism      AUDIT_KAFKA_SASL_MECHANISM       PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
    sasl_username       AUDIT_KAFKA_SASL_USERNAME
    ssl_cafile          AUDIT_KAFKA_SSL_CAFILE           also ssl_certfile and ssl_keyfile

Passwords come from the environment only (AUDIT_KAFKA_SASL_PASSWORD, AUDIT_KAFKA_SSL_KEY_PASSWORD,
AUDIT_REGISTRY_PASSWORD): URLs end up in logs, in process lists and in bug reports.
"""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from audit.errors import InvalidInput, LimitExceeded

KAFKA_SCHEME = "kafka://"
DEFAULT_TOPIC = "audit.events"
DEFAULT_PORT = 9092
KAFKA_PYTHON = "kafka-python"
CONFLUENT = "confluent"
CLIENTS = (KAFKA_PYTHON, CONFLUENT)
"""The clients there are; the first is the default."""

MAX_URL_CHARS = 4_096
"""Longest address that is looked at."""
MAX_SERVERS = 32
"""Most servers in one address; clients find the others by themselves."""
MAX_SETTING_CHARS = 4_096
"""Longest value of one setting."""

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
PASSWORDS = ("sasl_password", "ssl_key_password")
_SECURITY = (
    *("security_protocol", "sasl_mechanism", "sasl_username", "sasl_password"),
    *("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_key_password"),
)
_IN_URL = ("client", "registry", *(name for name in _SECURITY if name not in PASSWORDS))

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_SERVER = re.compile(
    r"(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
)


class Secret(str):
    """Text that does not show itself in the repr of whatever holds it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class KafkaAddress(NamedTuple):
    """Which cluster and topic, through which client, with which security settings and registry.

    The keys of `security` are the names above; one that is not set is missing. Its passwords are
    `Secret`: they never show in a repr.
    """

    servers: tuple[str, ...]
    topic: str
    client: str
    security: Mapping[str, str]
    registry: str | None

    @property
    def url(self) -> str:
        """The same address as a URL, without passwords: `parse_address` reads it back."""
        shown = {
            "client": self.client if self.client != CLIENTS[0] else None,
            "registry": self.registry,
            **{name: self.security.get(name) for name in _SECURITY if name not in PASSWORDS},
        }
        given = {name: value for name, value in shown.items() if value is not None}
        query = "?" + urlencode(given, safe=":/", quote_via=quote) if given else ""
        return f"{KAFKA_SCHEME}{self.bootstrap}/{self.topic}{query}"

    @property
    def bootstrap(self) -> str:
        """The servers as one text, as both clients want them and messages name them."""
        return ",".join(self.servers)


def parse_address(url: str, environ: Mapping[str, str] = os.environ) -> KafkaAddress:
    """The address that a URL and the environment give together; the URL wins.

    Raises InvalidInput for what is wrong or contradicts itself, and for any password in the URL;
    no message holds a value that may be one.
    """
    split = _split(url)
    given = _query(split.query)
    settings: dict[str, str] = {}
    for name in ("client", *_SECURITY):
        value = given.get(name) or environ.get(f"AUDIT_KAFKA_{name.upper()}")
        if value:
            _check_text(name, value)
            settings[name] = Secret(value) if name in PASSWORDS else value
    client = settings.pop("client", CLIENTS[0])
    if client not in CLIENTS:
        raise InvalidInput(f"there is no Kafka client {client[:40]!r}: say {' or '.join(CLIENTS)}")
    _check_security(settings)
    return KafkaAddress(
        servers=_servers(split.netloc),
        topic=_topic(split.path),
        client=client,
        security=settings,
        registry=_registry(given.get("registry") or environ.get("AUDIT_REGISTRY") or None),
    )


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL_CHARS:
        raise LimitExceeded(f"the address of the bus is over {MAX_URL_CHARS} characters")
    if not url.startswith(KAFKA_SCHEME) or not url.isprintable() or " " in url:
        raise InvalidInput(f"an address of Kafka looks like {KAFKA_SCHEME}host:9092/topic")
    try:
        split = urlsplit(url)
    except ValueError:
        raise InvalidInput(f"not an address: write {KAFKA_SCHEME}host:9092/topic") from None
    if split.fragment or "#" in url:
        raise InvalidInput("an address of Kafka has no part after '#'")
    if "@" in split.netloc:
        raise InvalidInput(
            "the address of Kafka holds a user or password\n"
            "put them into AUDIT_KAFKA_SASL_USERNAME and AUDIT_KAFKA_SASL_PASSWORD"
        )
    return split


def _servers(netloc: str) -> tuple[str, ...]:
    names = netloc.split(",")
    if len(names) > MAX_SERVERS:
        raise LimitExceeded(f"the address names over {MAX_SERVERS} Kafka servers")
    servers = []
    for name in names:
        match = _SERVER.fullmatch(name)
        port = int(match["port"] or DEFAULT_PORT) if match else 0
        if match is None or not 0 < port < 65_536:
            raise InvalidInput(f"not a Kafka server: {name[:80]!r}; write host or host:9092")
        servers.append(f"{match['host']}:{port}")
    return tuple(servers)


def _topic(path: str) -> str:
    topic = path.removeprefix("/") or DEFAULT_TOPIC
    if not _TOPIC.fullmatch(topic) or topic in (".", ".."):
        raise InvalidInput(
            f"not a topic: {topic[:80]!r}; Kafka allows letters, digits, '.', '_' and '-' (249)"
        )
    return topic


def _query(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise InvalidInput("the address of Kafka: after '?' comes name=value&name=value") from None
    given: dict[str, str] = {}
    for name, value in pairs:
        if name in PASSWORDS or "password" in name.lower():
            variable = name.upper() if name in PASSWORDS else "SASL_PASSWORD"
            raise InvalidInput(
                f"the address of Kafka holds a password: put it into AUDIT_KAFKA_{variable}"
            )
        if name not in _IN_URL:
            close = get_close_matches(name, _IN_URL, 1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(_IN_URL)}"
            raise InvalidInput(f"the address of Kafka: there is no {name[:40]!r}; {hint}")
        if name in given:
            raise InvalidInput(f"the address of Kafka says {name} twice")
        given[name] = value
    return given


def _check_text(name: str, value: str) -> None:
    if len(value) > MAX_SETTING_CHARS:
        raise LimitExceeded(f"{name} is over {MAX_SETTING_CHARS} characters")
    if not value.isprintable() and name not in PASSWORDS:
        raise InvalidInput(f"{name} of Kafka holds characters that cannot be printed")


def _check_security(settings: Mapping[str, str]) -> None:
    """Refuse what would be ignored in silence: credentials that travel nowhere, or in clear."""
    protocol = settings.get("security_protocol", "PLAINTEXT")
    mechanism = settings.get("sasl_mechanism")
    if protocol not in PROTOCOLS:
        raise InvalidInput(f"security_protocol of Kafka must be one of {', '.join(PROTOCOLS)}")
    if mechanism is not None and mechanism not in MECHANISMS:
        raise InvalidInput(f"sasl_mechanism of Kafka must be one of {', '.join(MECHANISMS)}")
    sasl = [name for name in settings if name.startswith("sasl_")]
    tls = [name for name in settings if name.startswith("ssl_")]
    if protocol.startswith("SASL_"):
        for name in ("sasl_mechanism", "sasl_username", "sasl_password"):
            if name not in settings:
                raise InvalidInput(f"{protocol} needs AUDIT_KAFKA_{name.upper()} as well")
    elif sasl:
        raise InvalidInput(f"{sasl[0]} is given, but security_protocol is {protocol}: say SASL_SSL")
    if tls and not protocol.endswith("SSL"):
        raise InvalidInput(f"{tls[0]} is given, but security_protocol is {protocol}: say SSL")
    if "ssl_keyfile" in settings and "ssl_certfile" not in settings:
        raise InvalidInput("ssl_keyfile of Kafka needs ssl_certfile as well")


def _registry(url: str | None) -> str | None:
    if url is None:
        return None
    _check_text("registry", url)
    try:
        split = urlsplit(url)
        host = split.hostname
    except ValueError:
        host = None
        split = SplitResult("", "", "", "", "")
    if "@" in split.netloc:
        raise InvalidInput(
            "the registry's address holds a user or password\n"
            "put them into AUDIT_REGISTRY_USER and AUDIT_REGISTRY_PASSWORD"
        )
    if split.scheme not in ("http", "https") or not host or split.query or split.fragment:
        raise InvalidInput("the registry's address looks like https://host:8081")
    return url.rstrip("/")
