"""What a change event says: every operation, type and placeholder, in JSON and in Avro."""

import json
import struct
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.capture.debezium.avro_read import read_avro
from audit.capture.debezium.avro_shape import avro_shape
from audit.capture.debezium.decode import Decoder
from audit.capture.debezium.entities import Entities
from audit.capture.debezium.envelope import Change, change_of, event_of, forms, kind_of
from audit.capture.debezium.identity import Place
from audit.capture.debezium.json_read import Said, Schemas, read_json
from audit.capture.debezium.judge import Judge
from audit.capture.debezium.logical import finished
from audit.capture.debezium.placeholder import Placeholder
from audit.capture.debezium.shape import Shape, shape_of
from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.event.envelope import encode_event
from audit.event.normal import normalize
from audit.kafka.transport import Fetched
from audit.replay.rows import UNAVAILABLE
from tests.capture.debezium.samples import (
    CONNECT,
    DATA,
    KEY_SCHEMA,
    ORDERS,
    PLACEHOLDER,
    ROW,
    TIME,
    avro_schema,
    envelope,
    framed,
    mysql_source,
    source,
    text,
    typed,
    typed_key,
)

ONE = {"id": 1}
PLACE = Place("shop.public.orders", 0, 7)
TYPED_ROW = {
    **ROW,
    "placed": "2026-01-31T10:00:00.000001",
    "due": date(2026, 1, 31),
    "seen": datetime(2026, 1, 31, 9, 0, 0, 500_000, UTC),
    "attrs": {"vip": True, "n": 1.5, "$x": [1, None]},
}


def change(
    message: dict[str, Any],
    key: Any = ONE,
    *,
    place: Place = PLACE,
    rules: Any = (),
) -> Change:
    """Of a message without a schema."""
    decoder = Decoder(None)
    said = decoder.decode(text(message))
    assert kind_of(said) == "change"
    of_key = None if key is None else decoder.decode(text(key))
    return change_of(said, of_key, place, Entities(rules), None)


def test_a_row_has_the_same_types_in_json_and_in_avro() -> None:
    message = envelope("c", None, ROW, source())
    said = read_json(typed(message), Placeholder())
    assert said.typed and said.schema == "shop.public.orders.Envelope"
    assert said.value["after"] == TYPED_ROW
    assert str(said.value["after"]["amount"]) == "12.50"
    schema = avro_schema(message["source"])
    raw = framed(schema, 1, message)[5:]
    assert read_avro(avro_shape(json.dumps(schema)), raw, Placeholder()) == said.value
    of_key = read_json(typed_key(ONE), Placeholder())
    made = change_of(said, of_key, PLACE, Entities(), None)
    built = event_of(made, next(forms(made)))
    event = built.event
    assert (event.type, event.source, event.entity_type) == ("data.create", "shop", "orders")
    assert (event.entity_key, event.valid_time_us) == ("1", message["source"]["ts_us"])
    assert event.transaction_id == "shop:33"


def test_without_a_schema_values_are_json_s_own() -> None:
    after = change(envelope("c", None, ROW, source())).after
    assert after is not None
    assert (after["due"], after["placed"], after["photo"]) == (20_484, ROW["placed"], "AP8=")
    big = change(envelope("c", None, {"id": 1, "n": 2**70, "f": 1e300}, source())).after
    assert big == {"id": 1, "n": Decimal(2**70), "f": 1e300}


NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
FINE = "2026-01-01T00:00:00.123456789Z"
MEANINGS: list[tuple[str, str, Any, Any]] = [
    ("int32", TIME + "Date", -719_162, date(1, 1, 1)),
    ("int32", TIME + "Date", 2**31 - 1, 2**31 - 1),
    ("int32", CONNECT + "Date", 0, date(1970, 1, 1)),
    ("int32", TIME + "Time", 36_000_500, "10:00:00.5"),
    ("int64", TIME + "MicroTime", 36_000_000_000, "10:00:00"),
    ("int64", TIME + "MicroTime", -1_000_000, "-00:00:01"),
    ("int64", TIME + "MicroTime", 3_020_399_000_000, "838:59:59"),
    ("int64", TIME + "NanoTime", 1_000_000_001, "00:00:01.000000001"),
    ("int64", TIME + "Timestamp", 1_000, "1970-01-01T00:00:01"),
    ("int64", CONNECT + "Timestamp", -1, "1969-12-31T23:59:59.999000"),
    ("int64", TIME + "MicroTimestamp", 9_223_372_036_825_200_000, 9_223_372_036_825_200_000),
    ("int64", TIME + "NanoTimestamp", 1_500, "1970-01-01T00:00:00.000001500"),
    ("string", TIME + "ZonedTimestamp", "2026-01-01T01:00:00+01:00", NEW_YEAR),
    ("string", TIME + "ZonedTimestamp", FINE, FINE),
    ("int64", TIME + "MicroDuration", 90_000_000, "00:01:30"),
    ("string", TIME + "Interval", "P1Y2M", "P1Y2M"),
    ("int32", TIME + "Year", 2026, 2026),
    ("string", DATA + "Json", '{"a":1,"a":2}', '{"a":1,"a":2}'),
    ("string", DATA + "Json", "null", None),
    ("string", DATA + "Enum", "paid", "paid"),
    ("double", "", "NaN", "nan"),
    ("float", "", 0.10000000149011612, 0.1),
    ("float64", "", 5, 5.0),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "meaning", "raw", "value"), MEANINGS)
def test_a_meaning(kind: str, meaning: str, raw: Any, value: Any) -> None:
    found = finished(shape_of({"type": kind, "name": meaning}), raw)
    assert (str(found) if value == "nan" else found) == value
    assert type(found) is type(value) or value == "nan"


def test_decimals_and_bits() -> None:
    decimal = Shape("bytes", CONNECT + "Decimal", {"scale": "3"})
    assert str(finished(decimal, b"\xff")) == "-0.001"
    assert str(finished(decimal, Decimal("1.5"))) == "1.500"  # decimal.format=NUMERIC
    assert str(finished(decimal, 7)) == "7.000"
    variable = Shape("struct", DATA + "VariableScaleDecimal")
    assert str(finished(variable, {"scale": 0, "value": b"\x01\x00"})) == "256"
    assert finished(Shape("bytes", DATA + "Bits", {"length": "10"}), b"\x05\x02") == "1000000101"
    assert finished(Shape("bytes", DATA + "Bits", {"length": "2147483647"}), b"\x05") == b"\x05"
    for bad in ({"scale": "2000"}, {"scale": "x"}):
        with pytest.raises(FormatError):
            finished(Shape("bytes", CONNECT + "Decimal", bad), b"\1")
    for raw in (b"", b"\1" * 513, "x", True, Decimal("1.23456")):
        with pytest.raises(FormatError):
            finished(Shape("bytes", CONNECT + "Decimal", {"scale": "3"}), raw)


def test_every_spelling_of_the_placeholder_is_unchanged() -> None:
    raw = PLACEHOLDER.encode()
    spelled = Placeholder()
    for value in (
        *(PLACEHOLDER, raw, [PLACEHOLDER], [raw], list(raw), [float(byte) for byte in raw]),
        *({PLACEHOLDER: PLACEHOLDER}, "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==", raw.hex()),
        ["b68a35a7-17ad-35b3-af2a-ae46edb4545a"],
    ):  # fmt: skip
        assert spelled.replaced(value) == UNAVAILABLE, value
    for value in ([PLACEHOLDER, "x"], list(raw)[1:], {PLACEHOLDER: "x"}, [True] * len(raw), []):
        assert spelled.replaced(value) == value
    own = Placeholder("n/ä")
    assert own.replaced("n/ä") == own.replaced(["n/ä"]) == UNAVAILABLE
    assert own.replaced([110, 47, -61, -92]) == UNAVAILABLE
    for bad in ("", "x" * 2_000):
        with pytest.raises(InvalidInput):
            Placeholder(bad)
    toasted = {**ROW, "photo": PLACEHOLDER.encode(), "attrs": PLACEHOLDER, "tags": [PLACEHOLDER]}
    said = read_json(typed(envelope("u", None, toasted, source())), Placeholder())
    assert {said.value["after"][name] for name in ("photo", "attrs", "tags")} == {UNAVAILABLE}


def test_each_operation() -> None:
    old, new = {"id": 1, "a": "x"}, {"id": 1, "a": "y"}
    read = change(envelope("r", None, old, source(snapshot="first")))
    assert (read.op, read.reason, read.transaction_id) == ("create", "snapshot", None)
    assert change(envelope("r", None, old, source(snapshot="incremental"))).op == "update"
    update = change(envelope("u", old, new, source()))
    assert (update.op, update.before, update.after) == ("update", old, new)
    assert [event_of(update, form).event.type for form in forms(update)] == ["data.update"] * 3
    assert change(envelope("u", None, new, source())).before is None
    delete = change(envelope("d", old, None, source()))
    assert (delete.op, delete.before, delete.after) == ("delete", old, None)
    truncate = change(envelope("t", None, None, source()), None)
    assert (truncate.op, truncate.key) == ("truncate", None)
    block = {"id": "571:53195829", "total_order": 1, "data_collection_order": 1}
    assert change(envelope("c", None, new, source(), block)).transaction_id == "571:53195829"
    gtid = mysql_source(gtid="3e11fa47-71ca-11e1-9e33-c80aa9429562:23")
    assert change(envelope("c", None, new, gtid)).transaction_id == gtid["gtid"]


def test_what_replica_identity_default_leaves_out_of_a_deleted_row_is_not_known() -> None:
    filled = {"id": 1, "a": None, "n": 0, "s": "", "b": False, "day": 0}
    assert change(envelope("d", filled, None, source())).before == {"id": 1}
    known = {**filled, "s": "x"}
    assert change(envelope("d", known, None, source())).before == known
    only_key = {"id": 1}
    assert change(envelope("d", only_key, None, source())).before == only_key


def test_keys() -> None:
    message = envelope("c", None, {"id": 1}, source())
    assert change(message, {"id": "x"}).key == "x"
    assert change(message, {"b": 2, "a": "é"}).key == '[2,"é"]'
    assert change(message, {"on": True}).key == "true"
    assert change(message, 5).key == "5"
    for bad in (None, {}, {"id": None}):
        with pytest.raises(FormatError, match=r"key"):
            change(message, bad)


def test_the_same_change_is_the_same_event_and_another_is_another() -> None:
    def named(**more: Any) -> str:
        place = more.pop("place", PLACE)
        return change(
            envelope("u", None, more.pop("row", {"id": 1}), source(**more)), place=place
        ).event_id

    assert named() == named(version="9", place=Place("other", 5, 99), sequence=None)
    others = [named(lsn=101), named(row={"id": 2}), named(table="o2"), named(name="s2"),
              named(db="d2"), named(txId=8)]  # fmt: skip
    assert len({named(), *others}) == 7
    again = change(envelope("r", None, {"id": 1}, source(ts_us=1))).event_id
    assert again != change(envelope("r", None, {"id": 1}, source(ts_us=2))).event_id
    rows = [
        change(envelope("c", None, {"id": 1}, mysql_source(row=row))).event_id for row in (0, 1)
    ]
    assert len(set(rows)) == 2
    # A source block without a place: topic, partition and offset stand for it.
    nowhere = source(lsn=7, connector="custom")
    one, two = (change(envelope("c", None, {"id": 1}, nowhere), place=p).event_id
                for p in (PLACE, PLACE._replace(offset=8)))  # fmt: skip
    assert one != two


def test_datasets() -> None:
    def of(rules: list[str], **more: Any) -> str:
        return change(envelope("c", None, {"id": 1}, source(**more)), rules=rules).entity_type

    assert of([]) == "orders"
    assert of(["{server}.{schema}.{table}"], table="Orders") == "shop.public.orders"
    assert of(["public.orders=order", "{schema}.{table}"]) == "order"
    assert of(["orders=order"], table="users") == "users"
    with pytest.raises(FormatError, match="say --entity"):
        of([], table="no name")
    for bad in (["plain"], ["{table}", "{db}"], ["{tabel}"], ["a=Not A Name"], ["=x"], ["a=run"]):
        with pytest.raises(InvalidInput):
            Entities(bad)
    entities = Entities()
    said = Said(envelope("c", None, {"id": 1}, source()))
    change_of(said, Said({"id": 1}), PLACE, entities, None)
    other = Said(envelope("c", None, {"id": 1}, source(schema="archive")))
    with pytest.raises(FormatError, match=r"are both dataset 'orders'"):
        change_of(other, Said({"id": 1}), PLACE, entities, None)


def test_what_debezium_says_besides() -> None:
    begin = {"status": "BEGIN", "id": "571:1", "ts_ms": 1, "event_count": None}
    ddl = {"source": mysql_source(), "databaseName": "store", "ddl": "CREATE TABLE t", "ts_ms": 1}
    pairs = [(begin, "transaction"), (ddl, "schema change"), ({"ts_ms": 1}, "heartbeat")]
    for message, kind in pairs:
        assert kind_of(Said(message)) == kind
    assert kind_of(Said({"op": "m", "source": {}, "message": {}})) == "message"
    name = "io.debezium.connector.mysql.SchemaChangeValue"
    assert kind_of(Said({"source": {}}, name)) == "schema change"
    for flat in ({"id": 1, "name": "x"}, [], "x", None, {"op": "c"}):
        with pytest.raises(FormatError, match="ExtractNewRecordState"):
            kind_of(Said(flat))


def test_what_is_no_change() -> None:
    row = {"id": 1}
    for bad in (
        *(envelope("x", None, row, source()), envelope("c", None, None, source())),
        *(envelope("c", None, row, source(table=None)), envelope("c", None, row, source(name=5))),
        *(envelope("c", None, row, source(name="audit")),),
        *(envelope("c", None, row, source(connector="mongodb")),),
        *(envelope("c", None, [1], source()), envelope("d", "x", None, source())),  # type: ignore[arg-type]
        envelope("c", None, row, source(ts_us="x")),
    ):
        with pytest.raises(FormatError):
            change(bad)


def test_a_schema_that_was_seen_before_is_not_read_again() -> None:
    seen = Schemas()
    spelled = Placeholder()
    messages = [typed(envelope("c", None, {**ROW, "id": n}, source(lsn=n))) for n in (1, 2)]
    keys = [typed_key({"id": n}) for n in (1, 2)]
    for data in [*messages, *keys, *messages]:
        assert read_json(data, spelled, seen) == read_json(data, spelled)
    assert len(seen._known) == 2
    begin = seen._known[0][0]
    for tail in (
        b"",
        b"}",
        b"1",
        b"1,",
        b"1}}",
        b'1,"payload":2}',
        b'1,"schema":2}',
        b"{}",
        b"{} }x",
    ):
        with pytest.raises(FormatError):
            read_json(begin + tail, spelled, seen)
    assert read_json(begin + b" null }\n", spelled, seen).value is None


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
PARTS = st.sampled_from(
    ["schema", "payload", "op", "source", "before", "after", "type", "fields", "field", "name",
     "items", "values", "parameters", "scale", "struct", "array", "map", "bytes", "c", "u", "d",
     "transaction", "id", "ts_us", "connector", "postgresql", "lsn", "table", "db"]
)  # fmt: skip
HOSTILE = st.recursive(
    ANY | PARTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PARTS, inner, max_size=6),
    max_leaves=20,
)


def judged(key: bytes | None, value: bytes) -> None:
    """No message gives anything but a change, a word, or an event that says what it was."""
    judge = Judge(Decoder(None), Entities(), None)
    message = Fetched(1, key, value, None)
    found = judge.outcome("t", 0, message)
    if found.aside is not None:
        encode_event(found.aside.event)
    if found.change is not None:
        try:
            for form in forms(found.change):
                encode_event(event_of(found.change, form).event)
        except InvalidInput as error:
            encode_event(judge.aside(Place("t", 0, 1), message, error, found.change).event)


@settings(max_examples=40)
@given(HOSTILE, HOSTILE, st.sampled_from(["c", "r", "u", "d", "t"]))
def test_hostile_json(one: Any, other: Any, op: str) -> None:
    judged(None, json.dumps(one).encode())
    block = {**source(), "table": "t", **(other if isinstance(other, dict) else {})}
    whole = {"op": op, "source": block, "before": one, "after": {"a": one}}
    judged(json.dumps({"id": other}).encode(), json.dumps(whole).encode())
    judged(b'{"id":1}', json.dumps({"schema": one, "payload": other}).encode())


@given(st.binary(max_size=200))
def test_hostile_bytes(data: bytes) -> None:
    judged(data, data)
    judged(None, b"\0" + data)
    shape = avro_shape(json.dumps(avro_schema(source())))
    with suppress(InvalidInput):
        normalize(read_avro(shape, data, Placeholder()))


@settings(max_examples=50)
@given(HOSTILE, st.binary(max_size=40))
def test_hostile_avro_schemas(schema: Any, data: bytes) -> None:
    for tried in (
        schema,
        {"type": "record", "name": "r", "fields": [{"name": "a", "type": schema}]},
    ):
        with suppress(InvalidInput):
            read_avro(avro_shape(json.dumps(tried)), data, Placeholder())


@pytest.mark.parametrize(
    "value",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"op":"c","source":{"table":"t","name":"s"},"after":{"a":'
        + b"[" * 90
        + b"]" * 90
        + b"}}",
        b'{"a":1,"a":2}',
        b"9" * 5_000,
        b"1." + b"9" * 5_000,
        b"1e999999999999999999",
        b"NaN",
        b"\xff\xfe",
        b"",
        b'{"op":"c","source":{"table":"t","name":"s"},"after":{"a":"\\ud800"}}',
        b'{"op":"c","source":{"table":"t","name":"audit"},"after":{"a":1}}',
    ],
)
def test_poison(value: bytes) -> None:
    judged(b'{"id":1}', value)


def test_an_array_of_nothing_costs_no_more_than_its_message() -> None:
    shape = avro_shape('{"type":"array","items":"null"}')
    many = b"\xfe\xff\xff\xff\x0f\x00"
    with pytest.raises(InvalidInput, match="values"):
        read_avro(shape, many, Placeholder())
    with pytest.raises(FormatError, match="does not define"):
        avro_shape('{"type":"record","name":"r","fields":[{"name":"a","type":["null","r"]}]}')
    fixed = avro_shape('{"type":"fixed","name":"f","size":1000000}')
    with pytest.raises(FormatError, match="ends inside"):
        read_avro(fixed, struct.pack(">I", 1), Placeholder())


def test_a_row_too_large_loses_its_before_first() -> None:
    half = "x" * 40_000
    old, new = {"id": 1, "doc": half, "a": 1}, {"id": 1, "doc": half, "a": 2}
    made = change(envelope("u", old, new, source()))
    both, after, patch = forms(made)
    with pytest.raises(LimitExceeded):
        event_of(made, both)
    assert after == (None, new, "full")
    assert encode_event(event_of(made, after).event)
    assert patch == (None, {"a": 2}, "patch")


def test_avro_keys_are_read_by_their_schema() -> None:
    raw = framed(KEY_SCHEMA, 3, {"id": 77})
    shape = avro_shape(json.dumps(KEY_SCHEMA))
    assert read_avro(shape, raw[5:], Placeholder()) == {"id": 77}
    assert len(ORDERS) == len(ROW)
