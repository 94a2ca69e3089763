"""Addresses of Kafka: what is read, what is refused, and that no password ever shows."""

import logging

import pytest
from kafka.protocol.sasl import SaslAuthenticateRequest

from audit.errors import InvalidInput, LimitExceeded
from audit.kafka.address import MAX_SERVERS, MAX_URL_CHARS, KafkaAddress, parse_address
from audit.kafka.confluent_link import Link
from audit.kafka.kafka_python_link import security_settings
from audit.kafka.tls import check_files

PASSWORD = "hunter2-hunter2"
LOGIN = {
    "AUDIT_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "AUDIT_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "AUDIT_KAFKA_SASL_USERNAME": "ledger",
    "AUDIT_KAFKA_SASL_PASSWORD": PASSWORD,
    "AUDIT_KAFKA_SSL_CAFILE": "/etc/ca.pem",
    "AUDIT_KAFKA_SSL_CERTFILE": "/etc/me.pem",
    "AUDIT_KAFKA_SSL_KEYFILE": "/etc/me.key",
    "AUDIT_KAFKA_SSL_KEY_PASSWORD": "key-" + PASSWORD,
}


def test_the_shortest_address() -> None:
    address = parse_address("kafka://broker", {})
    assert address == KafkaAddress(("broker:9092",), "audit.events", "kafka-python", {}, None)
    assert address.url == "kafka://broker:9092/audit.events"


def test_servers_topic_client_and_registry() -> None:
    url = "kafka://a:1,b,[::1]:3/my.topic?client=confluent&registry=http://reg:8081/apis/"
    address = parse_address(url, {})
    assert address.servers == ("a:1", "b:9092", "[::1]:3")
    assert (address.topic, address.client) == ("my.topic", "confluent")
    assert address.registry == "http://reg:8081/apis"
    assert address.bootstrap == "a:1,b:9092,[::1]:3"
    assert parse_address(address.url, {}) == address


def test_the_environment_sets_and_the_url_wins() -> None:
    environ = {"AUDIT_KAFKA_CLIENT": "confluent", "AUDIT_REGISTRY": "https://one", "AUDIT_X": "y"}
    assert parse_address("kafka://b", environ).client == "confluent"
    assert parse_address("kafka://b", environ).registry == "https://one"
    url = "kafka://b/?client=kafka-python&registry=https%3A%2F%2Ftwo"
    assert parse_address(url, environ)[2:5:2] == ("kafka-python", "https://two")
    assert parse_address("kafka://b", {"AUDIT_KAFKA_CLIENT": ""}).client == "kafka-python"


def test_security_reaches_both_clients_under_their_names() -> None:
    address = parse_address("kafka://b:9093/t", LOGIN)
    assert security_settings(address) == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "ledger",
        "sasl_plain_password": PASSWORD,
        "ssl_cafile": "/etc/ca.pem",
        "ssl_certfile": "/etc/me.pem",
        "ssl_keyfile": "/etc/me.key",
        "ssl_password": "key-" + PASSWORD,
    }
    settings = Link(address).settings()
    assert {name: settings[name] for name in settings if name[:3] in ("sec", "sas", "ssl")} == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "ledger",
        "sasl.password": PASSWORD,
        "ssl.ca.location": "/etc/ca.pem",
        "ssl.certificate.location": "/etc/me.pem",
        "ssl.key.location": "/etc/me.key",
        "ssl.key.password": "key-" + PASSWORD,
    }
    assert parse_address(address.url, LOGIN) == address


def test_no_password_shows() -> None:
    address = parse_address("kafka://b:9093/t", LOGIN)
    mapping = security_settings(address)
    shown = f"{address} {address!r} {address.url} {address.security} {mapping} {Link(address)}"
    assert PASSWORD not in shown
    assert "ledger" in shown


@pytest.mark.parametrize("name", ["kafka.net.connection", "kafka.protocol.parser"])
def test_kafka_python_does_not_log_what_logs_in(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    log = logging.getLogger(name)
    with caplog.at_level(logging.DEBUG):
        log.debug("%s Request %d: %s", "b", 1, SaslAuthenticateRequest(auth_bytes=b"secret"))
        log.debug("%s Send: %r", "b", bytearray(b"secret"))
        log.debug("%s Request %d: %s", "b", 2, "Metadata")
    assert [record.args for record in caplog.records if record.name == name] == [
        ("b", 2, "Metadata")
    ]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://b/t", "kafka://host:9092/topic"),
        ("kafka:b/t", "kafka://host:9092/topic"),
        ("kafka://", "not a Kafka server"),
        ("kafka://b:0/t", "not a Kafka server: 'b:0'"),
        ("kafka://b:99999/t", "not a Kafka server"),
        ("kafka://b:x/t", "not a Kafka server"),
        ("kafka://a,,b/t", "not a Kafka server: ''"),
        ("kafka://[::1/t", "not an address"),
        ("kafka://b/t/u", "not a topic"),
        ("kafka://b/..", "not a topic"),
        ("kafka://b/" + "t" * 250, "not a topic"),
        ("kafka://b/t#x", "'#'"),
        ("kafka://b/t t", "kafka://host:9092/topic"),
        ("kafka://b/t\n", "kafka://host:9092/topic"),
        ("kafka://b/t?client", "name=value"),
        ("kafka://b/t?client=java", "there is no Kafka client 'java'"),
        ("kafka://b/t?cleint=confluent", "did you mean client?"),
        ("kafka://b/t?client=confluent&client=confluent", "client twice"),
        ("kafka://b/t?security_protocol=TLS", "one of PLAINTEXT, SSL"),
        ("kafka://b/t?security_protocol=SASL_SSL", "AUDIT_KAFKA_SASL_MECHANISM"),
        ("kafka://b/t?sasl_mechanism=GSSAPI", "one of PLAIN"),
        ("kafka://b/t?sasl_username=me", "say SASL_SSL"),
        ("kafka://b/t?ssl_cafile=ca.pem", "say SSL"),
        ("kafka://b/t?security_protocol=SSL&ssl_keyfile=k", "ssl_certfile"),
        ("kafka://b/t?registry=ftp://x", "https://host:8081"),
        ("kafka://b/t?registry=https://[x", "https://host:8081"),
    ],
)
def test_what_is_refused(url: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says.replace("?", r"\?")):
        parse_address(url, {})


@pytest.mark.parametrize(
    ("url", "variable"),
    [
        (f"kafka://me:{PASSWORD}@b/t", "AUDIT_KAFKA_SASL_PASSWORD"),
        (f"kafka://b/t?sasl_password={PASSWORD}", "AUDIT_KAFKA_SASL_PASSWORD"),
        (f"kafka://b/t?password={PASSWORD}", "AUDIT_KAFKA_SASL_PASSWORD"),
        (f"kafka://b/t?ssl_key_password={PASSWORD}", "AUDIT_KAFKA_SSL_KEY_PASSWORD"),
        (f"kafka://b/t?registry=http://me:{PASSWORD}@reg", "AUDIT_REGISTRY_PASSWORD"),
    ],
)
def test_a_password_in_the_url_is_refused_and_not_repeated(url: str, variable: str) -> None:
    with pytest.raises(InvalidInput, match=variable) as caught:
        parse_address(url, {})
    assert PASSWORD not in str(caught.value)


def test_limits() -> None:
    with pytest.raises(LimitExceeded, match="characters"):
        parse_address("kafka://b/" + "t" * MAX_URL_CHARS, {})
    with pytest.raises(LimitExceeded, match="servers"):
        parse_address("kafka://" + ",".join(["b"] * (MAX_SERVERS + 1)), {})
    with pytest.raises(LimitExceeded, match="sasl_password"):
        parse_address("kafka://b", LOGIN | {"AUDIT_KAFKA_SASL_PASSWORD": "x" * 5_000})


def test_files_of_tls_are_looked_at_before_a_client_times_out_on_them(tmp_path) -> None:  # type: ignore[no-untyped-def]
    url = f"kafka://b/t?security_protocol=SSL&ssl_cafile={tmp_path}/ca.pem"
    with pytest.raises(InvalidInput, match="cannot read ssl_cafile"):
        check_files(parse_address(url, {}))
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(InvalidInput, match="no certificates"):
        check_files(parse_address(url, {}))
    url = f"kafka://b/t?security_protocol=SSL&ssl_certfile={tmp_path}/ca.pem"
    with pytest.raises(InvalidInput, match="do not fit together"):
        check_files(parse_address(url, {}))
