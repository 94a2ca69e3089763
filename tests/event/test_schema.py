"""Schemas: canonical JSON and its hash, the built-in ones, a log's book, and hostile schemas."""

import hashlib
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest

from audit.errors import FormatError, InvalidInput, LimitExceeded, NotFound
from audit.event.schema import (
    BUILTINS,
    MAX_SCHEMA_BYTES,
    PAYLOAD_BUILTINS,
    SchemaBook,
    builtin,
    canonical_schema,
    declare,
    schema_hash,
)
from tests.event.avro import SCHEMAS, parsed, read, record_to_avro, row_to_avro, write
from tests.event.exact import same
from tests.event.schema_docs import README, readme

USER: dict[str, Any] = {
    "type": "record",
    "name": "user",
    "fields": [
        {"name": "name", "type": "string"},
        {"name": "dpt", "type": ["null", "string"], "default": None, "aliases": ["dept", "d"]},
    ],
}


def test_every_schema_file_is_built_in_and_the_other_way_round() -> None:
    assert sorted(path.stem for path in SCHEMAS.glob("*.avsc")) == sorted(BUILTINS)
    for name in BUILTINS:
        assert json.loads(builtin(name)) == json.loads((SCHEMAS / f"{name}.avsc").read_text())


def docs_missing(schema: Any, path: str) -> list[str]:
    missing = []
    if isinstance(schema, list):
        for branch in schema:
            missing += docs_missing(branch, path)
    elif isinstance(schema, dict):
        if "name" in schema and not schema.get("doc"):
            missing.append(f"{path}.{schema['name']}")
        for field in schema.get("fields", []):
            missing += docs_missing(field, f"{path}.{schema['name']}")
        for inner in ("type", "items"):
            if isinstance(schema.get(inner), list | dict):
                missing += docs_missing(schema[inner], path)
    return missing


@pytest.mark.parametrize("name", BUILTINS)
def test_every_record_and_field_has_a_doc(name: str) -> None:
    assert docs_missing(json.loads(builtin(name)), "") == []


def test_the_field_dictionary_is_in_step() -> None:
    assert README.read_text() == readme(), "run python -m tests.event.schema_docs"


@pytest.mark.parametrize("name", BUILTINS)
def test_the_example_is_valid_for_fastavro_and_for_us(name: str) -> None:
    from audit.event.row import Change, decode_row, encode_row
    from audit.event.values import fields_from_json, fields_to_json

    text = (SCHEMAS / "examples" / f"{name}.json").read_text()
    example = json.loads(text)
    record = fields_from_json(example, 2)
    schema = json.loads(builtin(name))
    if name == "row.v1":
        change = Change(**record)  # type: ignore[arg-type]
        data = encode_row(change)
        assert data == write(parsed(name), row_to_avro(change))
        assert same(decode_row(data), change)
    else:
        from audit.event.book import PayloadSchema

        payload_schema = PayloadSchema(builtin(name))
        given = record["fields"] if name == "record.v1" else record
        data = payload_schema.encode(given)  # type: ignore[arg-type]
        assert data == write(parsed(name), record_to_avro(schema, record))
        back = payload_schema.decode(data)
        assert same(back, given)
        assert fields_to_json(back) == (example["fields"] if name == "record.v1" else example)  # type: ignore[arg-type]
    assert read(parsed(name), data)


def test_examples_of_envelopes_are_those_of_the_hand_written_code() -> None:
    from audit.event.envelope import EVENT_PREFIX, decode_event, encode_event
    from audit.event.payload import decode_payload
    from audit.event.row import Change
    from audit.event.values import fields_from_json

    raw = json.loads((SCHEMAS / "examples" / "event.v1.json").read_text())
    record = fields_from_json(raw)
    data = write(parsed("event.v1"), record)
    event = decode_event(EVENT_PREFIX + data)
    assert encode_event(event) == EVENT_PREFIX + data
    row = json.loads((SCHEMAS / "examples" / "row.v1.json").read_text())
    said = decode_payload(event, SchemaBook.with_builtins())
    assert same(said, Change(**fields_from_json(row)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "row", "row.v1.avsc", "../secret", "row.v2", None])
def test_other_names_are_not_built_in(name: Any) -> None:
    with pytest.raises(NotFound):
        builtin(name)


def test_canonical_json_keeps_what_counts() -> None:
    text = '{ "type":"record",\n "name":"user" , "fields":[ {"type":"long","name":"\u00e9"} ] }'
    assert canonical_schema(text) == (
        '{"fields":[{"name":"\u00e9","type":"long"}],"name":"user","type":"record"}'.encode()
    )
    assert canonical_schema(text.encode()) == canonical_schema(text)
    assert canonical_schema(json.loads(text)) == canonical_schema(text)
    assert canonical_schema(canonical_schema(text)) == canonical_schema(text)
    assert schema_hash(canonical_schema(text)) == hashlib.sha256(canonical_schema(text)).digest()


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["fields"][0].update(type={"type": "bytes", "logicalType": "decimal"}),
        lambda s: s["fields"][0].update(default=""),
        lambda s: s["fields"][0].update(default="0"),
        lambda s: s["fields"][0].update(doc="x"),
        lambda s: s["fields"][1].update(aliases=["dept"]),
        lambda s: s["fields"][1].update(aliases=["d", "dept"]),
        lambda s: s["fields"][1].pop("aliases"),
        lambda s: s["fields"][1].update(type=["string", "null"]),
        lambda s: s["fields"].reverse(),
        lambda s: s.update(namespace="x"),
        lambda s: s.update(aliases=["old"]),
        lambda s: s["fields"][0].update(order="ignore"),
    ],
)
def test_any_change_of_meaning_is_another_hash(change: Any) -> None:
    other = json.loads(json.dumps(USER))
    change(other)
    assert schema_hash(canonical_schema(other)) != schema_hash(canonical_schema(USER))


def nested(levels: int) -> Any:
    schema: Any = "string"
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def record_of(kind: Any, **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": "r", "fields": [{"name": "a", "type": kind, **more}]}


def doubling(levels: int) -> dict[str, Any]:
    """r0 holds two r1, which hold two r2 ...: 2**levels values, if they took no bytes."""
    kind: Any = {"type": "record", "name": f"r{levels}", "fields": [{"name": "a", "type": "null"}]}
    for level in reversed(range(levels)):
        fields = [{"name": "a", "type": kind}, {"name": "b", "type": f"r{level + 1}"}]
        kind = {"type": "record", "name": f"r{level}", "fields": fields}
    return kind  # type: ignore[no-any-return]


def decimal(**sizes: Any) -> dict[str, Any]:
    return record_of({"type": "bytes", "logicalType": "decimal", **sizes})


FIXED = {"type": "fixed", "name": "f", "size": 2}
HOSTILE: dict[str, Any] = {
    "not JSON": "{",
    "not text": b"\xff",
    "a string": '"string"',
    "a number": "1",
    "null": "null",
    "a list": [],
    "an empty object": {},
    "keys twice": '{"type":"record","type":"record"}',
    "an array": {"type": "array", "items": "string"},
    "an enum": {"type": "enum", "name": "e", "symbols": ["a"]},
    "no name": {"type": "record", "fields": [{"name": "a", "type": "int"}]},
    "no fields": {"type": "record", "name": "r"},
    "empty fields": {"type": "record", "name": "r", "fields": []},
    "fields an object": {"type": "record", "name": "r", "fields": {}},
    "field a string": {"type": "record", "name": "r", "fields": ["a"]},
    "field without type": {"type": "record", "name": "r", "fields": [{"name": "a"}]},
    "field without name": {"type": "record", "name": "r", "fields": [{"type": "int"}]},
    "name with a space": {**USER, "name": "a user"},
    "name with a dash": record_of("int") | {"name": "a-b"},
    "name with a digit": record_of("int") | {"name": "1a"},
    "name with an accent": record_of("int") | {"name": "\u00e9"},
    "name with a newline": record_of("int") | {"name": "a\n"},
    "name a number": record_of("int") | {"name": 5},
    "name of a primitive": record_of("int") | {"name": "string"},
    "long name": record_of("int") | {"name": "a" * 256},
    "empty part": record_of("int") | {"name": "a..b"},
    "bad namespace": record_of("int") | {"namespace": "a-b"},
    "namespace a number": record_of("int") | {"namespace": 5},
    "our own name": record_of("int") | {"name": "AttestoryChange"},
    "our own enum": record_of("int") | {"name": "AttestoryImage"},
    "field name": {"type": "record", "name": "r", "fields": [{"name": "a b", "type": "int"}]},
    "field twice": {"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}] * 2},
    "alias is a field": record_of("int", aliases=["a"]),
    "alias twice": record_of("int", aliases=["b", "b"]),
    "alias no name": record_of("int", aliases=["b c"]),
    "aliases a string": record_of("int", aliases="b"),
    "unknown type": record_of("integer"),
    "bare null": record_of("null"),
    "union of two": record_of(["int", "string"]),
    "union of three": record_of(["null", "int", "string"]),
    "union of one": record_of(["null"]),
    "union of nulls": record_of(["null", "null"]),
    "empty union": record_of([]),
    "union in a union": record_of(["null", ["null", "int"]]),
    "recursive": record_of(["null", "r"]),
    "recursive in an array": record_of({"type": "array", "items": "r"}),
    "recursive in a map": record_of({"type": "map", "values": "r"}),
    "doubling": doubling(28),
    "array of nulls": record_of({"type": "array", "items": "null"}),
    "array of empty records": record_of(
        {"type": "array", "items": {"type": "record", "name": "e", "fields": []}}
    ),
    "array of fixed(0)": record_of(
        {"type": "array", "items": {"type": "fixed", "name": "f", "size": 0}}
    ),
    "array without items": record_of({"type": "array"}),
    "map without values": record_of({"type": "map"}),
    "too deep": record_of(nested(40)),
    "far too deep": record_of(nested(5_000)),
    "deep unions": '{"type":' * 3000,
    "deep lists": "[" * 100_000,
    "fixed of 0": record_of({**FIXED, "size": 0}),
    "fixed of -1": record_of({**FIXED, "size": -1}),
    "giant fixed": record_of({**FIXED, "size": 10**9}),
    "fixed of true": record_of({**FIXED, "size": True}),
    "fixed of 1.5": record_of({**FIXED, "size": 1.5}),
    "fixed without size": record_of({"type": "fixed", "name": "f"}),
    "defined twice": {
        "type": "record",
        "name": "r",
        "fields": [{"name": "a", "type": FIXED}, {"name": "b", "type": FIXED}],
    },
    "enum without symbols": record_of({"type": "enum", "name": "e"}),
    "enum of none": record_of({"type": "enum", "name": "e", "symbols": []}),
    "enum twice": record_of({"type": "enum", "name": "e", "symbols": ["a", "a"]}),
    "enum of no names": record_of({"type": "enum", "name": "e", "symbols": ["a b"]}),
    "enum of numbers": record_of({"type": "enum", "name": "e", "symbols": [1]}),
    "decimal without precision": decimal(),
    "decimal of 0": decimal(precision=0),
    "decimal of 10^9": decimal(precision=10**9),
    "decimal of true": decimal(precision=True),
    "negative scale": decimal(precision=5, scale=-1),
    "scale beyond": decimal(precision=5, scale=6),
    "decimal too wide": record_of({**FIXED, "logicalType": "decimal", "precision": 5}),
    "decimal on int": record_of({"type": "int", "logicalType": "decimal", "precision": 5}),
    "time-millis": record_of({"type": "int", "logicalType": "time-millis"}),
    "duration": record_of({**FIXED, "size": 12, "logicalType": "duration"}),
    "logical number": record_of({"type": "int", "logicalType": 5}),
    "date on long": record_of({"type": "long", "logicalType": "date"}),
    "Field of ours": record_of({"type": "array", "items": "attestory.Field"}),
    "our Field, otherwise": {"namespace": "attestory", **record_of("int"), "name": "Field"},
    "name of the outer space": {
        "type": "record",
        "name": "r",
        "fields": [
            {"name": "a", "type": FIXED},
            {"name": "b", "type": {**record_of("f"), "name": "inner", "namespace": "x"}},
        ],
    },
    "number beyond 64 bits": record_of("int", default=10**400),
    "NaN": record_of("double", default=float("nan")),
    "surrogate": record_of("string", default="\ud800"),
    "surrogate key": {**record_of("string"), "\ud800": 1},
    "a key that is no string": {**record_of("string"), 5: 1},
    "bytes inside": record_of("string", default=b"x"),
    "million fields": lambda: {
        "type": "record",
        "name": "r",
        "fields": [{"name": f"a{at}", "type": "int"} for at in range(1_000_000)],
    },
    "many fields": {
        "type": "record",
        "name": "r",
        "fields": [{"name": f"a{at}", "type": "int"} for at in range(1_500)] * 1,
        "doc": "x" * 40_000,
    },
    "long text": " " * 10**7,
    "long doc": record_of("int", doc="x" * MAX_SCHEMA_BYTES),
}


def hostile(name: str) -> Any:
    """What is large is made where it is used: every worker has this module, for good."""
    found = HOSTILE[name]
    return found() if callable(found) else found


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_schemas_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        declare(hostile(name))
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


LEGIBLE = {
    *("our own name", "our own enum"),
    # json.dumps writes these as escapes; defaults and unknown keys are kept and not looked at.
    *("surrogate", "surrogate key", "a key that is no string"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_book_takes_any_schema_and_reads_nothing_with_a_bad_one(name: str) -> None:
    schema = hostile(name)
    try:
        text = schema if isinstance(schema, str | bytes) else json.dumps(schema)
    except (TypeError, ValueError, RecursionError):
        return
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    book = SchemaBook()
    if len(data) > MAX_SCHEMA_BYTES:
        with pytest.raises(LimitExceeded):
            book.add(data)
        return
    known = book.get(book.add(data))
    assert known is not None
    if known.problem is None:
        # What a dataset may not declare, a payload may still be read with.
        assert name in LEGIBLE
        return
    with pytest.raises(FormatError, match="not supported"):
        known.decode(b"\x00")


def test_a_book_knows_what_it_is_told() -> None:
    book = SchemaBook()
    assert len(book) == 0
    declared = declare(USER)
    name = book.add(declared.change_canonical)
    assert name == declared.change_hash == schema_hash(declared.change_canonical)
    assert name in book
    assert list(book) == [name]
    assert book.canonical(name) == declared.change_canonical
    assert book.get(bytes(32)) is None
    assert book.canonical(bytes(32)) is None
    assert book.aliases(bytes(32)) == {}
    assert book.aliases(name) == {"dept": "dpt", "d": "dpt"}
    known = book.get(name)
    assert known is not None
    assert known.columns == ("name", "dpt")
    other = book.copy()
    other.add(builtin("row.v1"))
    assert len(book) == 1
    assert len(other) == 2
    builtins = SchemaBook.with_builtins()
    assert {builtins.canonical(key) for key in builtins} == {builtin(n) for n in PAYLOAD_BUILTINS}
    for key in builtins:
        found = builtins.get(key)
        assert found is not None
        assert found.problem is None
        assert found.columns is None


def test_own_types_must_be_defined_as_they_are() -> None:
    text = builtin("record.v1").decode().replace('"long"', '"int"')
    known = SchemaBook.with_builtins()
    changed = known.get(known.add(text.encode()))
    assert changed is not None
    assert changed.problem is not None
    # Other docs change the hash, and nothing else.
    other = builtin("record.v1").decode().replace("One named value.", "A value.")
    same_fields = known.get(known.add(other.encode()))
    assert same_fields is not None
    assert same_fields.problem is None


def test_the_change_schema_is_valid_avro() -> None:
    for namespace in ({}, {"namespace": "shop"}, {"namespace": "attestory"}):
        declared = declare({**USER, **namespace})
        schema = fastavro.parse_schema(json.loads(declared.change_canonical))
        assert isinstance(schema, dict)
        assert schema["name"] == "AttestoryChange"


def test_schemas_are_found_beside_the_package(repository: Path) -> None:
    assert (repository / "schemas" / "row.v1.avsc").is_file()
