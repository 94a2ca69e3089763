"""The leaf: one spelling per entry, identical to Avro's own encoding, strict when read."""

import io
import json
from pathlib import Path

import fastavro
import fastavro.schema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import AuditError, FormatError, LimitExceeded
from audit.event.schema import builtin
from audit.event.wire import MAX_INT64
from audit.log.entry import (
    ENTRY_FINGERPRINT,
    LEAF_PREFIX,
    MAX_EVENT_IN_LEAF_BYTES,
    MAX_LEAF_BYTES,
    MAX_REASON_BYTES,
    MAX_TOPIC_BYTES,
    Entry,
    Kind,
    SourceSpan,
    decode_entry,
    encode_entry,
)

SCHEMA = fastavro.parse_schema(json.loads(builtin("entry.v1")))
hashes = st.binary(min_size=32, max_size=32)
counts = st.integers(0, MAX_INT64)
sources = st.builds(
    lambda topic, partition, offset, more: SourceSpan(topic, partition, offset, offset + 1 + more),
    st.text(max_size=20),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**62),
    st.integers(0, 100),
)
entries = st.builds(
    Entry,
    index=counts,
    recorded_time_us=counts,
    prev_hash=hashes,
    kind=st.sampled_from(Kind),
    schema_hash=st.none() | hashes,
    source=st.none() | sources,
    reason=st.none() | st.text(max_size=40),
    signature=st.none() | st.binary(min_size=68, max_size=68),
    event=st.binary(max_size=300),
)
EXAMPLE = Entry(
    5, 1_700_000_000_000_000, bytes(range(32)), Kind.EVENT, bytes(32), None, None, None, b"event"
)


def by_fastavro(entry: Entry) -> bytes:
    out = io.BytesIO()
    fields = entry._asdict()
    fields["kind"] = entry.kind.name
    fields["source"] = None if entry.source is None else entry.source._asdict()
    fastavro.schemaless_writer(out, SCHEMA, fields)
    return LEAF_PREFIX + out.getvalue()


@given(entries)
def test_a_leaf_is_avro_and_reads_back(entry: Entry) -> None:
    leaf = encode_entry(entry)
    assert leaf == by_fastavro(entry)
    assert decode_entry(leaf) == entry


def test_the_mark_is_the_fingerprint_of_the_schema() -> None:
    canonical = fastavro.schema.to_parsing_canonical_form(json.loads(builtin("entry.v1")))
    fingerprint = fastavro.schema.fingerprint(canonical, "CRC-64-AVRO")
    assert bytes.fromhex(fingerprint) == ENTRY_FINGERPRINT


def test_the_largest_entry_is_a_leaf() -> None:
    entry = Entry(
        MAX_INT64,
        MAX_INT64,
        bytes(32),
        Kind.QUARANTINED,
        bytes(32),
        SourceSpan("t" * MAX_TOPIC_BYTES, 2**31 - 1, MAX_INT64 - 1, MAX_INT64),
        "r" * MAX_REASON_BYTES,
        bytes(68),
        bytes(MAX_EVENT_IN_LEAF_BYTES),
    )
    leaf = encode_entry(entry)
    assert len(leaf) <= MAX_LEAF_BYTES
    assert decode_entry(leaf) == entry
    with pytest.raises(LimitExceeded):
        encode_entry(entry._replace(event=bytes(MAX_EVENT_IN_LEAF_BYTES + 1)))
    with pytest.raises(LimitExceeded):
        encode_entry(entry._replace(reason="r" * (MAX_REASON_BYTES + 1)))


@pytest.mark.parametrize("cut", range(len(encode_entry(EXAMPLE))))
def test_no_part_of_a_leaf_is_a_leaf(cut: int) -> None:
    with pytest.raises(FormatError):
        decode_entry(encode_entry(EXAMPLE)[:cut])


LEAF = encode_entry(EXAMPLE)
MUTATIONS = {
    "junk after the end": LEAF + b"\x00",
    "another magic": b"\xc3\x02" + LEAF[2:],
    "another schema": LEAF[:2] + bytes(8) + LEAF[10:],
    "index not in its shortest form": LEAF[:10] + b"\x8a\x00" + LEAF[11:],
    "negative index": LEAF[:10] + b"\x01" + LEAF[11:],
    "index beyond 64 bits": LEAF[:10] + b"\xff" * 10 + b"\x01" + LEAF[11:],
    "unknown kind": LEAF.replace(bytes(range(32)) + b"\x00", bytes(range(32)) + b"\x06"),
    "unknown branch": LEAF.replace(bytes(range(32)) + b"\x00\x02", bytes(range(32)) + b"\x00\x04"),
    "too long": LEAF[:10] + bytes(MAX_LEAF_BYTES),
    "text": LEAF.decode("latin-1"),
    "nothing": None,
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_leaf_is_refused(name: str) -> None:
    with pytest.raises(FormatError):
        decode_entry(MUTATIONS[name])  # type: ignore[arg-type]


@given(st.binary(max_size=120), st.integers(0, 200), st.binary(max_size=8))
def test_hostile_bytes_only_raise_ours(tail: bytes, at: int, patch: bytes) -> None:
    for data in (LEAF_PREFIX + tail, LEAF[:at] + patch + LEAF[at + len(patch) :]):
        try:
            entry = decode_entry(data)
        except AuditError:
            continue
        assert encode_entry(entry) == data


GOLDEN = Path(__file__).parent / "golden"


def test_the_leaf_of_a_released_version_never_changes() -> None:
    golden = json.loads((GOLDEN / "entry.v1.json").read_text())
    for case in golden["entries"]:
        entry = decode_entry(bytes.fromhex(case["leaf"]))
        assert encode_entry(entry).hex() == case["leaf"]
        assert entry.index == case["index"]
        assert entry.kind.name == case["kind"]
        assert entry.event.hex() == case["event"]
