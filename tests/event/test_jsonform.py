"""Events as JSON: out and in again is the same event; unknown and wrong fields are refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import AuditError, InvalidInput
from audit.event.build import data_event, record_event, schema_event
from audit.event.envelope import Encryption, Event, encode_event
from audit.event.jsonform import OUTPUT_ONLY, event_from_json, event_to_json
from audit.event.payload import decode_payload
from audit.event.row import Change
from audit.event.schema import SchemaBook, builtin, declare, schema_hash
from audit.event.values import parse_json
from tests.event.exact import same
from tests.event.strategies import AWKWARD_VALUES, entity_types, fields, texts
from tests.event.test_payload import PAYLOADS

BOOK = SchemaBook.with_builtins()


def through_text(event: Event, book: SchemaBook = BOOK) -> Event:
    """Out as a line of text and in again, with the fields that only output has."""
    line = json.dumps({**event_to_json(event, book), "log": 0, "index": 7, "leaf_hash": "sha256:0"})
    back, _ = event_from_json(parse_json(line), book=book)
    return back


optional = st.none() | texts
envelope = st.fixed_dictionaries(
    {
        "event_id": st.text(min_size=1, max_size=20),
        "source": st.text(min_size=1, max_size=20),
        "valid_time_us": st.none() | st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999),
        **{
            name: optional
            for name in ("actor", "reason", "transaction_id", "request_id", "trace_id", "subject")
        },
        "supersedes": st.none() | st.text(max_size=20),
        "producer_id": st.none() | st.text(max_size=20),
        "producer_sequence": st.none() | st.integers(0, 2**63 - 1),
    }
)


@given(
    envelope, entity_types, texts, fields, st.none() | fields, st.sampled_from(["patch", "full"])
)
def test_data_events_round_trip(
    who: dict[str, Any], kind: str, key: str, after: Any, before: Any, image: str
) -> None:
    event, _ = data_event("update", kind, key, before=before, after=after, image=image, **who)
    assert through_text(event) == event
    assert encode_event(through_text(event)) == encode_event(event)


@given(envelope, texts, fields, st.sampled_from(["review", "ground_truth", "key.registered"]))
def test_records_round_trip(who: dict[str, Any], key: str, data: Any, type_: str) -> None:
    event, _ = record_event(type_, data, entity_type="thing", entity_key=key, **who)
    assert through_text(event) == event


@pytest.mark.parametrize("event", PAYLOADS, ids=lambda event: event.type)
def test_typed_records_round_trip(event: Event) -> None:
    assert through_text(event._replace(entity_type="x", entity_key="k")) == event._replace(
        entity_type="x", entity_key="k"
    )


@pytest.mark.parametrize("value", AWKWARD_VALUES, ids=lambda value: repr(value)[:30])
def test_awkward_values_survive(value: Any) -> None:
    deep: Any = value
    for _ in range(60):
        deep = [deep]
    event, _ = data_event(
        "update", "u", "k", event_id="e", source="s", before={"a": deep}, after={"$a": value}
    )
    said = decode_payload(through_text(event), BOOK)
    assert same(said, Change("patch", {"a": deep}, {"$a": value}))
    data = {"model_name": "m", "status": "OK", "features": {"f": deep}, "output": value}
    event, _ = record_event("prediction", data, event_id="e", source="s")
    assert through_text(event) == event


def test_the_shape() -> None:
    event, _ = data_event(
        "update", "user", "5", event_id="018f", source="crm", after={"dpt": "ISR"}, actor="alice",
        valid_time_us=1_767_323_045_678_901,
    )  # fmt: skip
    assert event_to_json(event, BOOK) == {
        "event_id": "018f",
        "type": "data.update",
        "source": "crm",
        "entity_type": "user",
        "entity_key": "5",
        "valid_time": "2026-01-02T03:04:05.678901Z",
        "actor": "alice",
        "reason": None,
        "transaction_id": None,
        "supersedes": None,
        "image": "patch",
        "before": None,
        "after": {"dpt": "ISR"},
    }


def test_defaults() -> None:
    obj = {"type": "data.update", "entity_type": "user", "entity_key": 5, "after": {"a": 1}}
    event, schemas = event_from_json(obj)
    assert event.source == "cli"
    assert event.valid_time_us is None
    assert event.entity_key == "5"
    assert len(event.event_id) == 36
    assert event_from_json(obj).event.event_id != event.event_id
    assert schemas == (builtin("row.v1"),)
    given_all = event_from_json(obj, source="x", valid_time_us=7, event_id="e").event
    assert (given_all.source, given_all.valid_time_us, given_all.event_id) == ("x", 7, "e")
    null = event_from_json({**obj, "valid_time": None, "event_id": None}, valid_time_us=7).event
    assert null.valid_time_us is None
    day = event_from_json({**obj, "valid_time": "1970-01-02"}).event
    assert day.valid_time_us == 86_400_000_000
    composite = event_from_json({**obj, "entity_key": ["a", 1]}).event
    assert composite.entity_key == '["a",1]'


def test_deletes_and_truncates() -> None:
    delete = {"type": "data.delete", "entity_type": "user", "entity_key": "5"}
    event, _ = event_from_json(delete)
    assert decode_payload(event, BOOK) == Change("patch", None, None)
    assert through_text(event) == event
    bare = event._replace(payload_schema=None, payload=b"")
    assert event_to_json(bare, BOOK)["payload_schema"] is None
    assert through_text(bare) == bare
    event, _ = event_from_json({"type": "data.truncate", "entity_type": "user"})
    assert event.entity_key is None
    assert through_text(event) == event
    empty, _ = record_event("review", {}, event_id="e", source="s")
    bare = empty._replace(payload_schema=None, payload=b"")
    assert through_text(bare) == bare


def test_schema_events_round_trip() -> None:
    for name in ("row.v1", "prediction.v1"):
        event = schema_event(builtin(name))
        assert through_text(event) == event
    obj = event_to_json(event, BOOK)
    for name, value in [("event_id", "x"), ("actor", "a"), ("valid_time", "1970-01-01")]:
        with pytest.raises(InvalidInput, match=name):
            event_from_json({**obj, name: value})
    with pytest.raises(InvalidInput, match="the data of a schema event"):
        event_from_json({**obj, "data": {}})


def test_what_cannot_be_read_here_goes_through_too() -> None:
    event, _ = data_event("update", "u", "k", event_id="e", source="s", after={"a": 1})
    for book, odd in [
        (SchemaBook(), event),
        (BOOK, event._replace(payload=b"junk")),
        (BOOK, event._replace(payload_schema=None)),
        (BOOK, event._replace(encryption=Encryption("k", b"\0n"))),
        (BOOK, event._replace(type="schema", payload_schema=None, payload=b"{")),
        (BOOK, event._replace(type="review")),
    ]:
        obj = event_to_json(odd, book)
        assert isinstance(obj["undecodable"], str)
        assert set(obj["payload"]) == {"$bytes"}
        assert through_text(odd, book) == odd


def test_declared_rows_come_back_in_their_schema_where_it_is_known() -> None:
    declared = declare({"type": "record", "name": "u", "fields": [{"name": "a", "type": "int"}]})
    event, schemas = data_event(
        "create", "u", "k", event_id="e", source="s", after={"a": 1}, declared=declared
    )
    book = BOOK.copy()
    book.add(schemas[0])
    obj = event_to_json(event, book)
    assert obj["payload_schema"] == "sha256:" + schema_hash(schemas[0]).hex()
    back = event_from_json(obj, book=book)
    assert back.event == event
    assert back.schemas == schemas
    other = event_from_json(obj)
    assert other.schemas == (builtin("row.v1"),)
    assert decode_payload(other.event, BOOK) == decode_payload(event, book)
    with pytest.raises(InvalidInput, match="field 'a'"):
        event_from_json({**obj, "after": {"a": "x"}}, book=book)
    record = "sha256:" + schema_hash(builtin("record.v1")).hex()
    with pytest.raises(InvalidInput, match="not one for this type"):
        event_from_json({**obj, "payload_schema": record}, book=book)


GOOD: dict[str, Any] = {
    "type": "data.update",
    "entity_type": "user",
    "entity_key": "5",
    "after": {"a": 1},
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"type": None}, "is not a type of event"),
        ({"type": "data.upsert"}, "is not a type of event; there are component.run"),
        ({"type": "custom.thing"}, "is not a type of event"),
        ({"type": ["data.update"]}, "is not a type of event"),
        ({"extra": 1}, "unknown field 'extra': data.update has after, before, image"),
        ({"data": {}}, "unknown field 'data'"),
        ({"x" * 10_000: 1}, "unknown field"),
        ({"payload": {"$bytes": ""}}, "unknown field 'payload'"),
        ({"event_id": 5}, "event_id is a string, not 5"),
        ({"source": ["x"]}, "source is a string"),
        ({"actor": {"name": "alice"}}, "actor is a string"),
        ({"actor": "\ud800"}, "surrogate"),
        ({"entity_type": 5}, "entity_type is a string"),
        ({"entity_type": None}, "names no entity_type"),
        ({"entity_key": None}, "names no entity_key"),
        ({"entity_key": True}, "a key is"),
        ({"entity_key": 1.5}, "a key is"),
        ({"entity_key": {"a": 1}}, "a key is"),
        ({"entity_key": []}, "at least one part"),
        ({"valid_time": 5}, "valid_time is a string"),
        ({"valid_time": "2020-01-01T00:00:00"}, "not RFC 3339"),
        ({"valid_time": "2020-02-30"}, "does not exist"),
        ({"valid_time": "0001-01-01T00:00:00+01:00"}, "outside the years"),
        ({"image": "half"}, "image is"),
        ({"image": 5}, "image is"),
        ({"after": None}, "needs the row's values"),
        ({"after": [1]}, "after: fields are a JSON object, not a list"),
        ({"after": {"$decimal": "1"}}, "after: key '.decimal' begins with"),
        ({"after": {"a": {"$decimal": "x"}}}, "after: field 'a'"),
        ({"before": {"a": {"$x": 1}}}, "before: field 'a'"),
        ({"producer_sequence": "5"}, "producer_sequence is an integer"),
        ({"producer_sequence": True}, "producer_sequence is an integer"),
        ({"encryption": {"key_id": "k"}}, "encrypted event comes with its payload"),
        ({"payload_schema": "md5:0"}, "payload_schema is null, or sha256:"),
        ({"payload_schema": 5}, "payload_schema is a string"),
        ({"payload_schema": None}, "yet the event says something"),
    ],
)
def test_wrong_fields_are_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        event_from_json({**GOOD, **changes})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"payload": "x"}, "payload of an undecodable event"),
        ({"payload": {"$bytes": "!"}}, "base64"),
        ({"payload": None}, "payload of an undecodable event"),
        ({"payload": {"$bytes": ""}, "after": {}}, "unknown field 'after'"),
        ({"payload": {"$bytes": ""}, "encryption": {"key_id": "k"}}, "key_id and nonce"),
        ({"payload": {"$bytes": ""}, "encryption": {"key_id": "k", "nonce": "x"}}, "nonce"),
        ({"payload": {"$bytes": ""}, "encryption": {"key_id": 5, "nonce": "x"}}, "key_id"),
        ({"payload": {"$bytes": ""}, "payload_schema": "sha256:AB"}, "payload_schema"),
    ],
)
def test_wrong_undecodable_events(changes: dict[str, Any], said: str) -> None:
    base = {"type": "data.update", "entity_type": "u", "entity_key": "k", "undecodable": "why"}
    with pytest.raises(InvalidInput, match=said):
        event_from_json({**base, **changes})


@pytest.mark.parametrize("obj", [None, [], "x", 5, [GOOD], b"{}"])
def test_an_event_is_an_object(obj: Any) -> None:
    with pytest.raises(InvalidInput, match="an event is a JSON object"):
        event_from_json(obj)


def test_output_only_fields_are_ignored_on_input() -> None:
    more = dict.fromkeys(OUTPUT_ONLY, "anything")
    plain = event_from_json(GOOD, event_id="e").event
    assert event_from_json({**GOOD, **more}, event_id="e").event == plain


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
BASES = [event_to_json(event, BOOK) for event in [*PAYLOADS, schema_event(builtin("row.v1"))]]


@given(st.sampled_from(BASES), st.data())
def test_mutated_objects_are_read_or_refused(base: dict[str, Any], data: st.DataObject) -> None:
    obj = json.loads(json.dumps(base))
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from([*sorted(base), "undecodable", "payload", "encryption"]))
        obj[name] = data.draw(json_values)
    try:
        event, _ = event_from_json(obj, book=BOOK)
        encode_event(event)
    except AuditError as error:
        assert isinstance(error, InvalidInput)
