"""`accept_event` gives what `accept` gives, message by message."""

import random

import pytest

from audit.errors import LimitExceeded
from audit.event.build import schema_event
from audit.event.envelope import EVENT_PREFIX, Event, encode_event
from audit.event.schema import builtin
from audit.log import plain
from audit.log.entry import MAX_EVENT_IN_LEAF_BYTES, SourceSpan
from audit.log.intake import Message, accept
from audit.log.plain import accept_event
from tests.event.make_golden import EVENTS
from tests.event.test_fuzz import mutated

SPAN = SourceSpan("t", 0, 5, 6)
SAID = [encode_event(event) for event in EVENTS.values()] + [
    encode_event(event)
    for event in (
        Event("e", "data.update", "crm", "user", "1"),
        Event("e", "data.truncate", "crm", "user"),
        Event("e", "review", "crm"),
        Event("e", "review", "audit"),
        Event("e", "ledger.heads", "crm"),
        Event("e", "schema", "crm"),
        Event("e", "review", "audit.schema"),
        schema_event(builtin("row.v1")),
        schema_event(builtin("row.v1"))._replace(actor="mallory"),
    )
]


@pytest.mark.parametrize("signature", [None, bytes(68), b"short"])
def test_it_accepts_the_same(signature: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "_known", {})
    for _ in range(2):  # with names that are not known yet, and with known ones
        for event in [*SAID, b"", b"junk", EVENT_PREFIX]:
            assert accept_event(event, signature, SPAN) == accept(Message(event, signature, SPAN))


def test_it_accepts_the_same_of_what_was_mutated() -> None:
    random_ = random.Random(7)
    for _ in range(3_000):
        event = EVENT_PREFIX + mutated(random_.choice(SAID)[10:], random_)
        assert accept_event(event, None, SPAN) == accept(Message(event, None, SPAN))


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "_known", {})
    monkeypatch.setattr(plain, "MAX_KNOWN", 3)
    for number in range(9):
        event = encode_event(Event("e", "review", f"source-{number}"))
        for _ in range(2):
            assert accept_event(event, None, SPAN) == accept(Message(event, None, SPAN))
    assert len(plain._known) == 3


def test_what_does_not_fit_a_leaf_is_refused() -> None:
    with pytest.raises(LimitExceeded):
        accept_event(bytes(MAX_EVENT_IN_LEAF_BYTES + 1), None, SPAN)
