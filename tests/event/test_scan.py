"""Scanning an event and decoding it say the same, or the scan says nothing."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import FormatError, LimitExceeded
from audit.event.envelope import EVENT_PREFIX, Event, decode_event, encode_event
from audit.event.envelope_scan import Names, names_bytes, names_of, scan_event
from tests.event.make_golden import EVENTS
from tests.event.strategies import events
from tests.event.test_fuzz import SEEDS, mutated

PLAIN = Event(
    *("id-1", "data.update", "crm", "user", "5", 1_700_000_000_000_000, "alice", "ticket"),
    *("tx", None, "request", "trace", b"\7" * 32, b"p" * 300, None, None, "producer", 12),
)


def known_of(*known: Event) -> dict[bytes, Names]:
    """The names of events, by their bytes."""
    found = {}
    for event in known:
        names = (event.type, event.source.encode(), event.entity_type)
        raw = names_bytes(*names)
        if raw is not None:
            found[raw] = names_of(*names)
    return found


def expected(event: Event) -> tuple[str, bytes, str | None, bytes, bytes | None]:
    key = None if event.entity_key is None else event.entity_key.encode()
    return event.type, event.source.encode(), event.entity_type, event.event_id.encode(), key


def check(data: bytes, known: dict[bytes, Names]) -> bool:
    """Whether the scan judged it; what it says is what decoding says."""
    found = scan_event(data, known)
    if found is None:
        return False
    names, event_id, key = found
    assert (*names[:3], event_id, key) == expected(decode_event(data))
    return True


plain = st.text(st.characters(codec="ascii"), max_size=63)


@given(events(), st.data())
def test_any_event(event: Event, data: st.DataObject) -> None:
    check(encode_event(event), known_of(event))
    short = data.draw(st.none() | plain)
    same = event._replace(event_id="x", source="s", entity_key="k", actor=short, reason=None)
    same = same._replace(transaction_id=None, supersedes=None, request_id=None, trace_id=short)
    same = same._replace(valid_time_us=PLAIN.valid_time_us, subject=None, encryption=None)
    same = same._replace(producer_id="p", producer_sequence=event.producer_sequence)
    is_plain = (same.producer_sequence or 0) < 2**62
    assert check(encode_event(same), known_of(same)) is is_plain


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"valid_time_us": None},
        {"actor": None, "reason": None, "transaction_id": None, "request_id": None, "trace_id": ""},
        {"payload_schema": None, "payload": b""},
        {"payload": b"\xff" * 8_000},
        {"producer_id": None},
        {"producer_sequence": None},
        {"producer_id": None, "producer_sequence": None},
        {"producer_sequence": 2**62 - 1},
        {"event_id": "x" * 63, "entity_key": "k" * 63},
    ],
)
def test_plain_events_are_judged(changes: dict[str, object]) -> None:
    event = PLAIN._replace(**changes)
    assert check(encode_event(event), known_of(event))


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": "x" * 64},
        {"event_id": "é"},
        {"entity_key": "é"},
        {"actor": "é"},
        {"producer_id": "é"},
        {"subject": "somebody"},
        {"valid_time_us": 0},
        {"valid_time_us": -62_135_596_800_000_000},
        {"payload": b"x" * 8_192},
        {"producer_sequence": 2**63 - 1},
    ],
)
def test_all_else_is_left_to_decoding(changes: dict[str, object]) -> None:
    event = PLAIN._replace(**changes)
    assert not check(encode_event(event), known_of(event))


def test_names_are_judged_only_when_known() -> None:
    data = encode_event(PLAIN)
    assert scan_event(data, {}) is None
    assert names_bytes("t" * 64, b"s", None) is None
    assert not names_of("review", b"s", None).needs_key
    assert names_of("data.create", b"s", "user").needs_key


@pytest.mark.parametrize("seed", range(4))
def test_mutated_events(seed: int) -> None:
    random_ = random.Random(seed)
    known = known_of(PLAIN, *EVENTS.values())
    seeds = [*SEEDS, *[encode_event(PLAIN)] * len(SEEDS)]
    judged = 0
    for _ in range(6_000):
        data = EVENT_PREFIX + mutated(random_.choice(seeds)[10:], random_)
        judged += check(data, known)
    for cut in range(len(encode_event(PLAIN))):
        assert scan_event(encode_event(PLAIN)[:cut], known) is None
    assert judged > 50


def test_every_single_byte_changed() -> None:
    data, known = encode_event(PLAIN), known_of(PLAIN)
    refused = 0
    for at in range(len(data)):
        for byte in (0, 1, 2, 3, 0x7E, 0x7F, 0x80, 0x81, 0xFF, data[at] ^ 2, data[at] + 2 & 0xFF):
            changed = data[:at] + bytes((byte,)) + data[at + 1 :]
            try:
                decode_event(changed)
            except (FormatError, LimitExceeded):
                refused += 1
                assert scan_event(changed, known) is None
            else:
                check(changed, known)
    assert refused > 100
