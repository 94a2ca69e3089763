"""The services that tests stand on are real, and keep what they said they had."""

import psycopg
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource

from tests.services.kafka import KafkaServer
from tests.services.postgres import PostgresServer


def produce(server: KafkaServer, topic: str, *values: bytes) -> None:
    producer = KafkaProducer(bootstrap_servers=server.bootstrap)
    sent = [producer.send(topic, value) for value in values]
    assert [future.get(60).offset for future in sent]
    producer.close()


def consume(server: KafkaServer, topic: str) -> list[bytes]:
    consumer = KafkaConsumer(bootstrap_servers=server.bootstrap, auto_offset_reset="earliest")
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    end = consumer.end_offsets([partition])[partition]
    values: list[bytes] = []
    while consumer.position(partition) < end:
        values += [record.value for batch in consumer.poll(1_000).values() for record in batch]
    consumer.close()
    return values


def test_a_topic_gives_back_what_was_sent(kafka_server: KafkaServer) -> None:
    topic = kafka_server.new_topic()
    produce(kafka_server, topic, b"one", b"two")
    assert consume(kafka_server, topic) == [b"one", b"two"]
    assert kafka_server.url(topic) == f"kafka://{kafka_server.bootstrap}/{topic}"


def test_every_topic_is_new_and_has_its_settings(kafka_server: KafkaServer) -> None:
    topic = kafka_server.new_topic(partitions=3, cleanup_policy="compact")
    assert kafka_server.new_topic() != topic
    admin = KafkaAdminClient(bootstrap_servers=kafka_server.bootstrap)
    [described] = admin.describe_topics([topic])
    [settings] = admin.describe_configs([ConfigResource("TOPIC", topic)])["topic"].values()
    assert len(described["partitions"]) == 3
    assert settings["cleanup.policy"]["value"] == "compact"
    admin.close()


@pytest.mark.slow
def test_a_broker_keeps_its_data_and_port_when_stopped_or_killed(
    private_kafka: KafkaServer,
) -> None:
    address, topic = private_kafka.bootstrap, private_kafka.new_topic()
    produce(private_kafka, topic, b"before")
    private_kafka.restart()
    produce(private_kafka, topic, b"between")
    private_kafka.kill()
    private_kafka.start()
    assert consume(private_kafka, topic) == [b"before", b"between"]
    assert private_kafka.bootstrap == address


def test_databases_do_not_see_each_other(postgres_server: PostgresServer) -> None:
    one, other = postgres_server.new_database(), postgres_server.new_database()
    with psycopg.connect(one) as connection:
        connection.execute("CREATE TABLE here (n int)")
    with psycopg.connect(other) as connection:
        assert connection.execute("SELECT to_regclass('here')").fetchone() == (None,)
    postgres_server.drop(one)
    with psycopg.connect(one) as connection:
        assert connection.execute("SELECT to_regclass('here')").fetchone() == (None,)


def test_a_separate_database_is_one(postgres_server: PostgresServer) -> None:
    url = postgres_server.new_database(separate=True)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (
            url.rpartition("/")[2],
        )
    postgres_server.drop(url)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


@pytest.mark.parametrize("way", ["fast", "immediate", "kill"])
def test_a_database_keeps_what_was_committed(private_postgres: PostgresServer, way: str) -> None:
    url = private_postgres.new_database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE here (n int)")
        connection.execute("INSERT INTO here VALUES (1)")
    open_one = psycopg.connect(url)
    open_one.execute("INSERT INTO here VALUES (2)")
    if way == "kill":
        private_postgres.kill()
        private_postgres.start()
    else:
        private_postgres.restart(way)
    with pytest.raises(psycopg.OperationalError):
        open_one.commit()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM here").fetchall() == [(1,)]


def test_the_superuser_sees_what_a_role_sees(postgres_server: PostgresServer) -> None:
    url = postgres_server.new_database()
    as_somebody = url.replace("postgres@", "somebody@")
    assert postgres_server.superuser_url(as_somebody) == url
