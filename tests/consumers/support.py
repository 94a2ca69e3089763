"""Helpers: events onto a real topic, consumers in this process or one of their own, and the log."""

from collections.abc import Iterable
from contextlib import closing

from kafka import KafkaProducer

from audit.event.build import data_event, schema_event
from audit.event.envelope import decode_event, encode_event
from audit.event.payload import decode_payload
from audit.event.schema import SchemaBook, builtin
from audit.event.signing import sign_event
from audit.kafka.address import parse_address
from audit.kafka.transport import SIGNATURE_HEADER
from audit.log.entry import Entry, Kind, decode_entry
from audit.store import open_reader
from audit.tlog.keys import Signer
from consumers.service import run
from consumers.settings import Settings


def an_event(number: int, *, event_id: str | None = None, source: str = "crm") -> bytes:
    """A change of user/NUMBER."""
    built = data_event(
        "update", "user", number, event_id=event_id or f"e{number}", source=source,
        after={"n": number},
    )  # fmt: skip
    return encode_event(built.event)


def the_schema(name: str = "row.v1") -> bytes:
    """The event that brings a built-in schema."""
    return encode_event(schema_event(builtin(name)))


def send(
    bus: str, values: Iterable[bytes | None], *, partition: int = 0, signer: Signer | None = None
) -> None:
    """Put values onto one partition, signed by a producer if one is given."""
    address = parse_address(bus)
    with closing(KafkaProducer(bootstrap_servers=address.bootstrap)) as producer:
        for value in values:
            headers = []
            if signer is not None and value is not None:
                headers = [(SIGNATURE_HEADER, sign_event(value, signer))]
            producer.send(address.topic, value, b"user/1", headers, partition=partition)
        producer.flush(30)


def consume(bus: str, store: str, **settings: object) -> int:
    """Consume what is there, in this process; the exit code."""
    return run(Settings(bus=bus, store=store, once=True, **settings))


def entries(store: str, log: int) -> list[Entry]:
    """All entries of a log."""
    with open_reader(store) as reader:
        return [decode_entry(leaf) for _, leaf in reader.leaves(log)]


def sealed(store: str, log: int) -> list[Entry]:
    """The entries of a log that came from the topic."""
    return [entry for entry in entries(store, log) if entry.source is not None]


def control(store: str, log: int, type_: str) -> list[dict[str, object]]:
    """What the CONTROL entries of a type say."""
    found = []
    for entry in entries(store, log):
        if entry.kind is Kind.CONTROL:
            event = decode_event(entry.event)
            if event.type == type_:
                found.append(decode_payload(event, SchemaBook.with_builtins()))
    return found


def sizes(store: str) -> dict[int, int]:
    """The size of each log."""
    with open_reader(store) as reader:
        return {info.log: reader.size(info.log) for info in reader.logs()}
