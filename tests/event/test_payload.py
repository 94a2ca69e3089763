"""Payloads: what an event says, read with a book; typed records written and read; hostile bytes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import (
    AuditError,
    FormatError,
    InvalidInput,
    LimitExceeded,
    NotFound,
    UnknownSchema,
)
from audit.event.build import data_event, record_event, schema_event
from audit.event.envelope import Encryption, Event
from audit.event.payload import decode_payload, encode_record
from audit.event.row import Change
from audit.event.schema import SchemaBook, builtin, declare, schema_hash
from audit.event.types import LENIENT_TYPES, RECORD_TYPES
from audit.event.values import fields_from_json
from tests.event.avro import SCHEMAS, parsed, record_to_avro, write
from tests.event.exact import same
from tests.event.strategies import fields, values

BOOK = SchemaBook.with_builtins()


def example(name: str) -> dict[str, Any]:
    return fields_from_json(json.loads((SCHEMAS / "examples" / f"{name}.json").read_text()), 5)


TYPED = {
    "component.run": "run.v1",
    "dataset.version": "dataset_version.v1",
    "feature.definition": "feature_definition.v1",
    "ground_truth": "ground_truth.v1",
    "model.run": "run.v1",
    "model.transition": "model_transition.v1",
    "model.version": "model_version.v2",
    "prediction": "prediction.v2",
    "review": "review.v1",
}
DIGEST = "sha256:" + "0" * 64
MINIMAL: dict[str, dict[str, Any]] = {
    "component.run": {"run_id": "r", "name": "n", "status": "START"},
    "dataset.version": {"name": "n", "version": "1", "digest": DIGEST},
    "feature.definition": {"name": "n", "version": "1", "digest": DIGEST},
    "ground_truth": {},
    "model.run": {"run_id": "r", "name": "n", "status": "START"},
    "model.transition": {"name": "n", "stage": "production"},
    "model.version": {"name": "n", "version": "1", "digest": DIGEST},
    "review": {"ref": "user/5", "kind": "FLAG"},
    "prediction": {"model_name": "m", "status": "OK"},
}


@pytest.mark.parametrize("type_", TYPED)
def test_typed_records_round_trip(type_: str) -> None:
    data = example(TYPED[type_])
    event, schemas = record_event(type_, data, event_id="e", source="s")
    assert same(decode_payload(event, BOOK), data)
    assert schemas == (builtin(TYPED[type_]),)
    assert event.payload_schema == schema_hash(schemas[0])


@pytest.mark.parametrize("type_", TYPED)
def test_what_may_be_left_out_may_be_left_out(type_: str) -> None:
    payload, canonical = encode_record(TYPED[type_], MINIMAL[type_])
    event = Event("e", type_, "s", payload_schema=schema_hash(canonical), payload=payload)
    said = decode_payload(event, BOOK)
    assert isinstance(said, dict)
    assert list(said) == [field["name"] for field in json.loads(canonical)["fields"]]
    assert {key: said[key] for key in MINIMAL[type_]} == MINIMAL[type_]
    rest = [value for key, value in said.items() if key not in MINIMAL[type_]]
    assert all(value in (None, {}, []) for value in rest)
    for name in MINIMAL[type_]:
        less = {key: value for key, value in MINIMAL[type_].items() if key != name}
        with pytest.raises(InvalidInput, match=f"'{name}' is missing"):
            encode_record(TYPED[type_], less)


@given(fields, fields | values)
def test_predictions_keep_every_value(features: dict[str, Any], output: Any) -> None:
    data = {**MINIMAL["prediction"], "features": features, "output": output}
    event, _ = record_event("prediction", data, event_id="e", source="s")
    said = decode_payload(event, BOOK)
    assert isinstance(said, dict)
    assert same(said["features"], features)
    assert same(said["output"], output)
    schema = json.loads(builtin("prediction.v2"))
    assert event.payload == write(parsed("prediction.v2"), record_to_avro(schema, said))


@given(fields, fields)
def test_runs_keep_every_value(params: dict[str, Any], metrics: dict[str, Any]) -> None:
    data = {**example("run.v1"), "params": params, "metrics": metrics}
    event, _ = record_event("model.run", data, event_id="e", source="s")
    assert same(decode_payload(event, BOOK), data)


@given(fields)
def test_records_of_other_types_keep_every_value(data: dict[str, Any]) -> None:
    event, schemas = record_event("log.opened", data, event_id="e", source="s")
    assert same(decode_payload(event, BOOK), data)
    assert schemas == (builtin("record.v1"),)
    avro = record_to_avro(json.loads(builtin("record.v1")), {"fields": data})
    assert event.payload == write(parsed("record.v1"), avro)


def test_records_of_lenient_types_may_have_other_fields() -> None:
    for type_ in sorted(LENIENT_TYPES):
        event, schemas = record_event(type_, {"own": 1}, event_id="e", source="s")
        assert decode_payload(event, BOOK) == {"own": 1}
        assert schemas == (builtin("record.v1"),)
    for type_ in sorted(RECORD_TYPES - LENIENT_TYPES):
        with pytest.raises(InvalidInput, match="'own' is unknown here"):
            record_event(type_, {**MINIMAL[type_], "own": 1}, event_id="e", source="s")


def test_records_of_earlier_versions_are_still_read() -> None:
    for name, type_ in (("model_run.v1", "model.run"), ("prediction.v1", "prediction")):
        data = example(name)
        payload, canonical = encode_record(name, data)
        event = Event("e", type_, "s", payload_schema=schema_hash(canonical), payload=payload)
        assert same(decode_payload(event, BOOK), data)


@pytest.mark.parametrize(
    ("schema", "data", "said"),
    [
        (
            "prediction.v2",
            {"status": "DONE"},
            "status is one of OK, ERROR, REJECTED_INPUT, not 'DONE'",
        ),
        ("prediction.v2", {"status": None}, "status is one of"),
        (
            "prediction.v2",
            {"probability": 1},
            "'probability' is unknown here; there are request_id",
        ),
        ("prediction.v2", {"latency_us": 1.5}, "field 'latency_us': float 1.5 is not an integer"),
        ("prediction.v2", {"features": [1]}, "field 'features': list"),
        ("prediction.v2", {"features": {"f": 1j}}, "field 'features': field 'f'"),
        ("prediction.v2", {"output": 1j}, "field 'output'"),
        ("prediction.v2", {"model_name": None}, "field 'model_name': null is not a string"),
        ("run.v1", {"status": "complete"}, "status is one of START"),
        ("run.v1", {"inputs": [{"bytes": 1}, {"rows": "x"}]}, "'inputs': field 'rows'"),
        ("run.v1", {"inputs": [{"hash": "x"}]}, "'inputs': field 'hash' is unknown"),
        ("run.v1", {"inputs": {"name": "x"}}, "field 'inputs': dict"),
        ("run.v1", {"inputs": [5]}, "field 'inputs': an object, not int 5"),
        (
            "run.v1",
            {"inputs": [{"logs": [{"origin": "o", "size": 1, "root_hash": b"x"}]}]},
            "1 bytes where 32 are declared",
        ),
        ("run.v1", {"model": {"name": "x"}}, "field 'model': field 'version' is missing"),
        ("run.v1", {"seed": 2**64}, "field 'seed'"),
        ("model_version.v2", {"digest": 5}, "field 'digest': int 5 is not a string"),
    ],
)
def test_records_that_do_not_fit(schema: str, data: dict[str, Any], said: str) -> None:
    minimal = next(MINIMAL[type_] for type_, name in TYPED.items() if name == schema)
    with pytest.raises(InvalidInput, match=said):
        encode_record(schema, {**minimal, **data})


def test_records_are_dicts_of_known_schemas() -> None:
    with pytest.raises(NotFound):
        encode_record("prediction.v9", {})
    with pytest.raises(InvalidInput, match="a record is a dict"):
        encode_record("record.v1", [])  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="not the schema of a record"):
        encode_record("row.v1", {})
    with pytest.raises(LimitExceeded):
        encode_record("record.v1", {"a": "x" * 64_001})


ROW, ROW_SCHEMAS = data_event("update", "user", 5, event_id="e", source="s", after={"a": 1})
RECORD, _ = record_event("review", {"a": 1}, event_id="e", source="s")


def test_a_missing_schema_is_said_so() -> None:
    with pytest.raises(UnknownSchema, match="is not in the log here"):
        decode_payload(ROW, SchemaBook())
    book = SchemaBook()
    book.add(ROW_SCHEMAS[0])
    assert decode_payload(ROW, book) == Change("patch", None, {"a": 1})


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (ROW._replace(type="review"), "the payload of review is a row change"),
        (ROW._replace(payload_schema=RECORD.payload_schema, payload=RECORD.payload), "is no row"),
        (ROW._replace(payload_schema=None), "payload without a schema"),
        (ROW._replace(payload_schema=None, payload=b""), "data.update without a row"),
        (ROW._replace(payload=b""), "does not begin with an image"),
        (ROW._replace(payload=ROW.payload + b"\0"), "after its end"),
        (ROW._replace(encryption=Encryption("k1", b"n")), "encrypted with key 'k1'"),
        (RECORD._replace(payload=RECORD.payload + b"\0"), "after the end"),
        (RECORD._replace(payload=b""), "end inside"),
        (schema_event(builtin("row.v1"))._replace(payload=b"{"), "not JSON"),
        (schema_event(builtin("row.v1"))._replace(payload=b'{"b":1, "a":2}'), "not in canonical"),
    ],
)
def test_payloads_that_do_not_decode(event: Event, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        decode_payload(event, BOOK)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            ROW._replace(type="data.delete", payload_schema=None, payload=b""),
            Change("patch", None, None),
        ),
        (RECORD._replace(payload_schema=None, payload=b""), {}),
        (schema_event(b'{"a":1}'), {"schema": {"a": 1}}),
    ],
)
def test_events_without_a_schema(event: Event, said: Any) -> None:
    assert decode_payload(event, SchemaBook()) == said


PAYLOADS = [
    ROW,
    RECORD,
    record_event("prediction", example("prediction.v1"), event_id="e", source="s")[0],
    record_event("model.run", example("run.v1"), event_id="e", source="s")[0],
    record_event("model.version", example("model_version.v1"), event_id="e", source="s")[0],
]


@given(st.sampled_from(PAYLOADS), st.data())
def test_mutated_payloads_are_read_or_refused(event: Event, data: st.DataObject) -> None:
    broken = bytearray(event.payload)
    for _ in range(data.draw(st.integers(1, 4))):
        how = data.draw(st.sampled_from(["set", "cut", "insert", "long"]))
        at = data.draw(st.integers(0, max(0, len(broken) - 1)))
        if how == "set" and broken:
            broken[at] = data.draw(st.integers(0, 255))
        elif how == "cut":
            del broken[at : at + data.draw(st.integers(1, 8))]
        elif how == "insert":
            broken[at:at] = data.draw(st.binary(min_size=1, max_size=8))
        else:
            broken[at:at] = b"\xff" * data.draw(st.integers(1, 12)) + b"\x01"
    try:
        said = decode_payload(event._replace(payload=bytes(broken)), BOOK)
    except (FormatError, LimitExceeded):
        return
    assert isinstance(said, Change | dict)


@given(st.sampled_from(PAYLOADS), st.binary(max_size=200))
def test_junk_payloads_are_read_or_refused(event: Event, junk: bytes) -> None:
    try:
        decode_payload(event._replace(payload=junk), BOOK)
    except AuditError as error:
        assert isinstance(error, FormatError | LimitExceeded)


def test_a_declared_dataset_is_read_with_its_own_schema() -> None:
    declared = declare(
        {
            "type": "record",
            "name": "user",
            "fields": [{"name": "n", "type": "int", "aliases": ["m"]}],
        }
    )
    event, schemas = data_event(
        "create", "user", 5, event_id="e", source="s", after={"n": 1}, declared=declared
    )
    book = SchemaBook.with_builtins()
    with pytest.raises(UnknownSchema):
        decode_payload(event, book)
    for canonical in schemas:
        assert book.add(canonical) == event.payload_schema
    assert decode_payload(event, book) == Change("full", None, {"n": 1})
    assert book.aliases(event.payload_schema or b"") == {"m": "n"}
