"""Building events: what each operation needs, which schemas go before it, and new ids."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from audit.errors import InvalidInput
from audit.event.build import data_event, new_event_id, record_event, schema_event
from audit.event.envelope import decode_event, encode_event
from audit.event.payload import decode_payload
from audit.event.row import Change
from audit.event.schema import SchemaBook, builtin, declare, schema_hash

BOOK = SchemaBook.with_builtins()
USER = declare(
    {
        "type": "record",
        "name": "user",
        "fields": [{"name": "name", "type": "string"}, {"name": "age", "type": ["null", "int"]}],
    }
)
WHO: dict[str, Any] = {"event_id": "e-1", "source": "crm"}
ROW = {"name": "Christian", "age": None}


def test_every_field_of_the_envelope_arrives() -> None:
    event, _ = data_event(
        "update", "user", 5, **WHO, before={"a": 1}, after={"a": 2}, image="full", valid_time_us=7,
        actor="alice", reason="r", transaction_id="t", supersedes="s", request_id="q",
        trace_id="c", subject="u", producer_id="p", producer_sequence=3,
    )  # fmt: skip
    assert decode_event(encode_event(event)) == event
    assert event._replace(payload=b"", payload_schema=None) == (
        "e-1", "data.update", "crm", "user", "5", 7, "alice", "r", "t", "s", "q", "c", None, b"",
        "u", None, "p", 3,
    )  # fmt: skip
    assert decode_payload(event, BOOK) == Change("full", {"a": 1}, {"a": 2})


@pytest.mark.parametrize(
    ("op", "key", "images", "change"),
    [
        ("create", 5, {"after": ROW}, Change("patch", None, ROW)),
        ("create", 5, {"after": {}}, Change("patch", None, {})),
        ("update", "5", {"after": {"age": 1}}, Change("patch", None, {"age": 1})),
        ("update", ["a", 1], {"after": ROW, "image": "full"}, Change("full", None, ROW)),
        ("delete", 5, {}, Change("patch", None, None)),
        ("delete", 5, {"before": ROW, "image": "full"}, Change("full", ROW, None)),
        ("truncate", None, {}, Change("patch", None, None)),
    ],
)
def test_operations(op: str, key: Any, images: dict[str, Any], change: Change) -> None:
    event, schemas = data_event(op, "user", key, **WHO, **images)
    assert event.type == f"data.{op}"
    assert decode_payload(event, BOOK) == change
    assert schemas == (builtin("row.v1"),)
    assert decode_event(encode_event(event)) == event


@pytest.mark.parametrize(
    ("op", "key", "images", "said"),
    [
        ("upsert", 5, {"after": ROW}, "op is one of create, update, delete, truncate"),
        ("create", 5, {}, "create needs the row's values"),
        ("update", 5, {}, "update needs the row's values"),
        ("create", 5, {"after": ROW, "before": ROW}, "no row before it"),
        ("delete", 5, {"after": ROW}, "leaves no row"),
        ("truncate", None, {"after": ROW}, "leaves no row"),
        ("truncate", None, {"before": ROW}, "whole dataset"),
        ("truncate", 5, {}, "whole dataset"),
        ("update", None, {"after": ROW}, "a key is"),
        ("update", 1.5, {"after": ROW}, "a key is"),
        ("update", 5, {"after": [1]}, "after is a dict"),
        ("update", 5, {"after": ROW, "before": 5}, "before is a dict"),
        ("update", 5, {"after": ROW, "image": "half"}, "image is 'patch' or 'full'"),
        ("update", 5, {"after": {"a": 1j}}, "field 'a'"),
    ],
)
def test_calls_that_are_wrong(op: str, key: Any, images: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        data_event(op, "user", key, **WHO, **images)


def test_full_images_are_written_in_the_declared_schema() -> None:
    book = SchemaBook.with_builtins()
    book.add(USER.change_canonical)
    for op, images, change in [
        ("create", {"after": ROW}, Change("full", None, ROW)),
        ("update", {"after": ROW, "image": "full"}, Change("full", None, ROW)),
        ("delete", {"before": ROW, "image": "full"}, Change("full", ROW, None)),
    ]:
        event, schemas = data_event(op, "user", 5, **WHO, **images, declared=USER)  # type: ignore[arg-type]
        assert schemas == (USER.change_canonical,)
        assert event.payload_schema == USER.change_hash
        assert decode_payload(event, book) == change


def test_patches_are_written_in_row_v1_and_still_checked() -> None:
    event, schemas = data_event("update", "user", 5, **WHO, after={"age": 7}, declared=USER)
    assert schemas == (builtin("row.v1"),)
    assert decode_payload(event, BOOK) == Change("patch", None, {"age": 7})
    for after, said in [
        ({"age": "7"}, "field 'age': str '7' is not an integer"),
        ({"height": 1}, "field 'height' is not declared in user"),
    ]:
        with pytest.raises(InvalidInput, match=said):
            data_event("update", "user", 5, **WHO, after=after, declared=USER)
        with pytest.raises(InvalidInput, match="field"):
            data_event("delete", "user", 5, **WHO, before=after, declared=USER)
    with pytest.raises(InvalidInput, match="'age' is missing"):
        data_event("create", "user", 5, **WHO, after={"name": "x"}, declared=USER)


def test_records() -> None:
    event, schemas = record_event(
        "review", {"ok": True}, **WHO, entity_type="prediction", entity_key=["a", 1], actor="alice"
    )
    assert event.entity_key == '["a",1]'
    assert event.actor == "alice"
    assert decode_payload(event, BOOK) == {"ok": True}
    assert schemas == (builtin("record.v1"),)
    for type_ in ("data.create", "schema"):
        with pytest.raises(InvalidInput, match="is not a record"):
            record_event(type_, {}, **WHO)


def test_a_schema_event_depends_on_the_schema_alone() -> None:
    canonical = builtin("row.v1")
    event = schema_event(canonical)
    assert event.event_id == schema_hash(canonical).hex()
    assert event.source == "audit.schema"
    assert event.payload == canonical
    filled = {name for name, value in event._asdict().items() if value is not None}
    assert filled == {"event_id", "type", "source", "payload"}
    assert encode_event(event) == encode_event(schema_event(canonical))
    assert decode_event(encode_event(event)) == event
    for other in (b'{ "a":1}', b"{", b"", '{"a":1}'):
        with pytest.raises(InvalidInput):
            schema_event(other)  # type: ignore[arg-type]


def test_the_largest_schema_fits_an_event() -> None:
    from audit.event.schema import MAX_SCHEMA_BYTES

    canonical = b'{"doc":"' + b"x" * (MAX_SCHEMA_BYTES - 10) + b'"}'
    assert len(encode_event(schema_event(canonical))) < 64_000


UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_new_ids_are_version_7_in_order_and_distinct() -> None:
    ids = [new_event_id() for _ in range(20_000)]
    assert all(UUID7.fullmatch(text) for text in ids)
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_new_ids_from_threads_are_distinct() -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: [new_event_id() for _ in range(2_000)], range(8)))
    assert all(ids == sorted(ids) for ids in made)
    assert len({text for ids in made for text in ids}) == 16_000


def test_a_clock_that_goes_back_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    before = new_event_id()
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 10**12)
    assert new_event_id() > before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_makes_other_ids() -> None:
    new_event_id()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, "".join(new_event_id() for _ in range(100)).encode())
        os._exit(0)
    ours = {new_event_id() for _ in range(100)}
    os.waitpid(child, 0)
    text = os.read(reader, 100_000).decode()
    theirs = {text[at : at + 36] for at in range(0, len(text), 36)}
    assert len(theirs) == 100
    assert not ours & theirs
