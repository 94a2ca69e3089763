"""The Confluent framing: what any serializer writes becomes the very event again, or is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import FormatError, InvalidInput
from audit.event.envelope import EVENT_PREFIX, Event, encode_event
from audit.kafka.wire import MAX_SCHEMA_ID, from_confluent, single_object, to_confluent
from tests.event.avro import parsed, write
from tests.event.strategies import events

ids = st.integers(0, MAX_SCHEMA_ID)
SOME_EVENT = encode_event(Event("e", "review", "s"))
EVENT = parsed("event.v1")


def by_a_serializer(schema: Any, schema_id: int, event: Event) -> bytes:
    """As KafkaAvroSerializer: a zero byte, the id as a Java int, then the datum in Avro binary."""
    record = event._asdict()
    if event.encryption is not None:
        record["encryption"] = event.encryption._asdict()
    return b"\0" + schema_id.to_bytes(4, "big") + write(schema, record)


@given(events(), ids)
def test_what_a_confluent_serializer_writes_is_the_event(event: Event, schema_id: int) -> None:
    value = by_a_serializer(EVENT, schema_id, event)
    found, body = from_confluent(value)
    assert (found, single_object(body)) == (schema_id, encode_event(event))
    assert to_confluent(encode_event(event), schema_id) == value


@given(st.binary(max_size=64))
def test_any_bytes_are_framed_or_refused(value: bytes) -> None:
    try:
        schema_id, body = from_confluent(value)
    except FormatError:
        return
    assert to_confluent(single_object(body), schema_id) == value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "begins with nothing"),
        (b"\0", "1 bytes .* without a body"),
        (b"\0\0\0\0\7", "5 bytes .* without a body"),
        (b"\1\0\0\0\7body", "begins with 0100000007$"),
        (b'{"event_id": 1}', "begins with 7b22657665$"),
        (b"\0\xff\xff\xff\xffbody", "beyond what registries count to"),
        (SOME_EVENT, "begins with c301"),
    ],
)
def test_what_is_not_framed(value: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        from_confluent(value)


@pytest.mark.parametrize(
    "event", [b"", EVENT_PREFIX, EVENT_PREFIX[:-1] + b"\0body", SOME_EVENT[10:], b"\0" + SOME_EVENT]
)
def test_only_events_are_framed(event: bytes) -> None:
    with pytest.raises(FormatError, match=r"no event\.v1"):
        to_confluent(event, 1)


@pytest.mark.parametrize("schema_id", [-1, MAX_SCHEMA_ID + 1, 2**32])
def test_what_is_no_id(schema_id: int) -> None:
    with pytest.raises(InvalidInput, match="schema id is 0 to 2147483647"):
        to_confluent(SOME_EVENT, schema_id)
