"""event.v1: one encoding, the one fastavro makes; every limit and pattern; nothing half-read."""

import hashlib
import json
from typing import Any

import fastavro
import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form
from hypothesis import given

from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.event.envelope import (
    EVENT_PREFIX,
    EVENT_SCHEMA,
    EVENT_SCHEMA_HASH,
    MAX_EVENT_BYTES,
    Encryption,
    Event,
    decode_event,
    encode_event,
    same_event,
)
from audit.event.fingerprint import crc64_avro, parsing_canonical_form, single_object_prefix
from tests.event.avro import parsed, read, write
from tests.event.strategies import events

EVENT = parsed("event.v1")
PLAIN = Event("e-1", "data.update", "crm", "user", "5", payload=b"x")


def avro_record(event: Event) -> dict[str, Any]:
    record = event._asdict()
    if event.encryption is not None:
        record["encryption"] = event.encryption._asdict()
    return record


@given(events())
def test_bytes_are_fastavros_and_read_back(event: Event) -> None:
    data = encode_event(event)
    assert data == EVENT_PREFIX + write(EVENT, avro_record(event))
    assert decode_event(data) == event
    assert type(decode_event(data)) is Event


@given(events())
def test_fastavro_reads_what_we_write(event: Event) -> None:
    record = read(EVENT, encode_event(event)[len(EVENT_PREFIX) :])
    record.pop("valid_time_us")
    if record["encryption"] is not None:
        _, record["encryption"] = record["encryption"]
    expected = avro_record(event)
    expected.pop("valid_time_us")
    assert record == expected


@pytest.mark.parametrize("name", ["event.v1", "entry.v1", "row.v1", "prediction.v1"])
def test_fingerprint_is_fastavros(name: str) -> None:
    from audit.event.schema import builtin

    schema = json.loads(builtin(name))
    form = parsing_canonical_form(schema)
    assert form == to_parsing_canonical_form(schema)
    expected = fingerprint(form, "CRC-64-AVRO")
    # fastavro writes the fingerprint as the hex of its little-endian bytes.
    assert crc64_avro(form.encode()).to_bytes(8, "little").hex() == expected
    assert single_object_prefix(builtin(name)).hex() == "c301" + expected


def test_crc_of_known_schemas() -> None:
    # From Avro's own test data, share/test/data/schema-tests.txt.
    assert crc64_avro(b'"null"').to_bytes(8, "big").hex() == "63dd24e7cc258f8a"
    assert crc64_avro(b'"int"').to_bytes(8, "big").hex() == "7275d51a3f395c8f"


def test_prefix_and_hash_name_the_schema() -> None:
    assert hashlib.sha256(EVENT_SCHEMA).digest() == EVENT_SCHEMA_HASH
    assert EVENT_PREFIX[:2] == b"\xc3\x01"
    with pytest.raises(UnicodeDecodeError):
        EVENT_PREFIX.decode()
    assert json.loads(EVENT_SCHEMA)["name"] == "Event"
    assert [field["name"] for field in json.loads(EVENT_SCHEMA)["fields"]] == list(Event._fields)
    assert isinstance(fastavro.parse_schema(json.loads(EVENT_SCHEMA)), dict)


KEYS = [
    "",
    "5",
    "05",
    "5.0",
    "e\u0301",
    "\u00e9",
    "a\0b",
    "\x01\x1f\x7f",
    "new\nline",
    "quo\"te's",
    "'; DROP TABLE entries; --",
    "\u2028",
    '["a",5]',
    "\ufeff",
    "k" * 1024,
    "\u00e9" * 512,
]


@pytest.mark.parametrize("key", KEYS)
def test_keys_survive_byte_by_byte(key: str) -> None:
    event = PLAIN._replace(entity_key=key)
    assert decode_event(encode_event(event)).entity_key == key


def test_keys_that_look_alike_differ() -> None:
    assert len({encode_event(PLAIN._replace(entity_key=key)) for key in KEYS}) == len(KEYS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"entity_key": "k" * 1025}, "entity_key of 1025 bytes: at most 1024"),
        ({"entity_key": "\u00e9" * 513}, "entity_key of 1026 bytes: at most 1024"),
        ({"event_id": "e" * 129}, "event_id of 129 bytes: at most 128"),
        ({"source": "s" * 129}, "source of 129 bytes: at most 128"),
        ({"actor": "a" * 4097}, "actor of 4097 bytes: at most 4096"),
        ({"reason": "a" * 4097}, "reason of 4097 bytes: at most 4096"),
        ({"transaction_id": "a" * 4097}, "transaction_id of 4097 bytes: at most 4096"),
        ({"supersedes": "a" * 129}, "supersedes of 129 bytes: at most 128"),
        ({"request_id": "a" * 4097}, "request_id of 4097 bytes: at most 4096"),
        ({"trace_id": "a" * 4097}, "trace_id of 4097 bytes: at most 4096"),
        ({"subject": "a" * 1025}, "subject of 1025 bytes: at most 1024"),
        ({"producer_id": "a" * 129}, "producer_id of 129 bytes: at most 128"),
        ({"payload": bytes(64_000)}, "at most 64000"),
    ],
)
def test_limits_hold_in_both_directions(changes: dict[str, Any], said: str) -> None:
    event = PLAIN._replace(**changes)
    with pytest.raises(LimitExceeded, match=said):
        encode_event(event)
    with pytest.raises(LimitExceeded, match=said):
        decode_event(EVENT_PREFIX + write(EVENT, avro_record(event)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"event_id": ""}, "event_id is empty"),
        ({"source": ""}, "source is empty"),
        ({"type": "Data.update"}, "type 'Data.update' is not made of"),
        ({"type": ""}, "type '' is not made of"),
        ({"type": "1.x"}, "type '1.x' is not made of"),
        ({"type": "pr\u00e9diction"}, "is not made of"),
        ({"type": "data.update\n"}, "is not made of"),
        ({"entity_type": "User"}, "entity_type 'User' is not made of"),
        ({"entity_type": "a b"}, "entity_type 'a b' is not made of"),
        ({"entity_type": ""}, "entity_type '' is not made of"),
        ({"entity_type": "model"}, "'model' is a reserved word"),
        ({"entity_type": "prediction"}, "'prediction' is a reserved word"),
        ({"entity_type": None, "entity_key": None}, "names no entity_type"),
        ({"entity_type": None}, "names no entity_type"),
        ({"type": "review", "entity_type": None}, "entity_key without an entity_type"),
        ({"entity_key": None}, "names no entity_key"),
        ({"valid_time_us": -62_135_596_800_000_001}, "outside the years"),
        ({"valid_time_us": 253_402_300_800_000_000}, "outside the years"),
        ({"producer_sequence": -1}, "producer_sequence"),
        ({"encryption": Encryption("", b"")}, "encryption.key_id is empty"),
    ],
)
def test_what_no_event_may_say(changes: dict[str, Any], said: str) -> None:
    event = PLAIN._replace(**changes)
    with pytest.raises(InvalidInput, match=said):
        encode_event(event)
    with pytest.raises(FormatError, match=said):
        decode_event(EVENT_PREFIX + write(EVENT, avro_record(event)))


@pytest.mark.parametrize("entity_type", ["prediction", "run", "model", "dataset", "schema", "key"])
def test_reserved_words_are_for_other_types_of_events(entity_type: str) -> None:
    event = Event("e", "prediction", "s", entity_type, "k")
    assert decode_event(encode_event(event)) == event


@pytest.mark.parametrize("size", [1, 62, 63, 64, 65, 126, 127, 128])
@pytest.mark.parametrize("last", ["a", "z", "_"])
def test_names_of_any_length(size: int, last: str) -> None:
    name = "t" * (size - 1) + (last if size > 1 else "t")
    for event in (
        Event("e", name, "s"),
        Event("e", "t", "s" * size),
        Event("e", "t", "s", name),
        Event("e", name, "\u00ff" * (size // 2 or 1), name, ""),
    ):
        data = encode_event(event)
        assert decode_event(data) == event
        assert decode_event(data) == event, "as remembered from the first time"
        for cut in range(len(data)):
            with pytest.raises(FormatError):
                decode_event(data[:cut])


def test_truncate_has_no_key() -> None:
    event = Event("e", "data.truncate", "s", "user")
    assert decode_event(encode_event(event)) == event


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": 5},
        {"event_id": None},
        {"event_id": "\ud800"},
        {"type": None},
        {"type": []},
        {"source": b"crm"},
        {"source": {}},
        {"entity_type": 5},
        {"entity_key": 5},
        {"entity_key": "\udfff"},
        {"valid_time_us": 1.5},
        {"valid_time_us": "2020"},
        {"valid_time_us": True},
        {"actor": 5},
        {"trace_id": object()},
        {"payload_schema": b"short"},
        {"payload_schema": "x" * 32},
        {"payload": "text"},
        {"payload": None},
        {"payload": bytearray(b"x")},
        {"subject": 1},
        {"encryption": ("k", b"n")},
        {"encryption": Encryption(1, b"n")},  # type: ignore[arg-type]
        {"encryption": Encryption("k", "n")},  # type: ignore[arg-type]
        {"encryption": Encryption("k", bytes(65))},
        {"producer_id": 1},
        {"producer_sequence": 1.0},
        {"producer_sequence": True},
        {"producer_sequence": 2**63},
        {"producer_sequence": 10**5000},
    ],
)
def test_wrong_types_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        encode_event(PLAIN._replace(**changes))


def test_every_cut_is_refused() -> None:
    full = Event(
        "e" * 70, "data.update", "s" * 70, "user", "k" * 200, 5, "a", "r" * 100, "t", "u", "v", "w",
        bytes(32), b"p" * 100, "s", Encryption("k", b"nonce"), "p", 300,
    )  # fmt: skip
    data = encode_event(full)
    assert decode_event(data) == full
    for size in range(len(data)):
        with pytest.raises(FormatError):
            decode_event(data[:size])


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(FormatError, match="1 bytes after its end"):
        decode_event(encode_event(PLAIN) + b"\0")


BODY = encode_event(PLAIN)[10:]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc3\x01",
        b"\xc3\x01" + bytes(8) + BODY,
        b"\xc3\x02" + EVENT_PREFIX[2:] + BODY,
        EVENT_PREFIX,
        # event_id: negative size, overlong size, size of eleven groups, 2^62 bytes
        EVENT_PREFIX + b"\x01" + BODY[1:],
        EVENT_PREFIX + b"\x86\x00" + BODY[1:],
        EVENT_PREFIX + b"\x80" * 11 + BODY,
        EVENT_PREFIX + b"\xff" * 9 + b"\x02" + BODY[1:],
        EVENT_PREFIX + b"\xfe" * 9 + b"\x01" + BODY[1:],
        # text that is not UTF-8: overlong, surrogate, lone continuation
        EVENT_PREFIX + b"\x06\xc0\x80a" + BODY[4:],
        EVENT_PREFIX + b"\x06\xed\xa0\x80" + BODY[4:],
        EVENT_PREFIX + b"\x06\x80ab" + BODY[4:],
        # union branches 2 and -1
        EVENT_PREFIX + BODY.replace(b"\x02\x08user", b"\x04\x08user"),
        EVENT_PREFIX + BODY.replace(b"\x02\x08user", b"\x01\x08user"),
    ],
)
def test_what_is_no_event(data: bytes) -> None:
    with pytest.raises((FormatError, LimitExceeded)):
        decode_event(data)


def test_a_union_branch_that_is_not_there_is_refused_everywhere() -> None:
    data = encode_event(PLAIN._replace(payload=b""))
    nulls = [at for at in range(len(data) - 12, len(data)) if data[at] == 0]
    assert len(nulls) >= 11
    for at in nulls:
        broken = bytearray(data)
        broken[at] = 4
        with pytest.raises(FormatError):
            decode_event(bytes(broken))


def test_the_longest_event() -> None:
    room = MAX_EVENT_BYTES - len(encode_event(PLAIN._replace(payload=bytes(60_000)))) + 60_000
    event = PLAIN._replace(payload=bytes(room))
    assert len(encode_event(event)) == MAX_EVENT_BYTES
    assert decode_event(encode_event(event)) == event
    with pytest.raises(LimitExceeded):
        encode_event(PLAIN._replace(payload=bytes(room + 1)))
    with pytest.raises(LimitExceeded):
        decode_event(encode_event(event) + b"\0")


def test_other_buffers_are_read_too() -> None:
    data = encode_event(PLAIN)
    assert decode_event(bytearray(data)) == PLAIN
    assert decode_event(memoryview(data)) == PLAIN  # type: ignore[arg-type]


def test_same_event_looks_away_from_the_sender_only() -> None:
    first = encode_event(PLAIN._replace(producer_id="a", producer_sequence=1))
    assert same_event(first, first)
    assert same_event(first, encode_event(PLAIN._replace(producer_id="b", producer_sequence=2)))
    assert same_event(first, encode_event(PLAIN))
    assert not same_event(first, encode_event(PLAIN._replace(actor="a")))
    assert not same_event(first, encode_event(PLAIN._replace(payload=b"y")))
    assert same_event(b"junk", b"junk")
    assert not same_event(b"junk", b"jun")
    assert not same_event(first, b"junk")


def test_many_types_and_sources_do_not_fill_the_memory() -> None:
    from audit.event import envelope_read, envelope_write

    for number in range(5_000):
        event = Event("e", f"t{number}", f"s{number}", f"d{number}", "k")
        assert decode_event(encode_event(event)) == event
    for cache in (envelope_read._names, envelope_write._types, envelope_write._sources):
        assert len(cache) <= 4_096
