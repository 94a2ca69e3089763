"""Heads in log 0, and what log 0 says of the source."""

import pytest

from audit.capture.delivery.embedded import EmbeddedLedger
from audit.errors import InvalidInput
from audit.event.build import record_event
from audit.event.envelope import encode_event
from audit.kafka.accepted import Accepted, newest_accepted
from audit.kafka.clients import TopicInfo
from audit.tlog.checkpoint import open_checkpoint
from consumers import heads
from consumers.heads import Heads
from consumers.source import accept_topic
from tests.consumers.support import control

MINUTE_US = 60_000_000


def open_logs(ledger: EmbeddedLedger, count: int) -> None:
    for log in range(1, count + 1):
        ledger.open_log(log, f"example.com/l/t/{log - 1}")


def grow(ledger: EmbeddedLedger, log: int, number: int = 0) -> None:
    """Append something to a log."""
    built = record_event("review", {"n": number}, event_id=f"r{number}", source="x")
    ledger.store.append_control(log, [encode_event(built.event)], ledger.signer(log))


def newest_us(ledger: EmbeddedLedger) -> int:
    from audit.log.entry import decode_entry

    size = ledger.store.size(0)
    return decode_entry(ledger.store.leaf(0, size - 1)).recorded_time_us


def test_heads_name_every_other_log_in_order_of_origin(ledger: EmbeddedLedger) -> None:
    open_logs(ledger, 12)
    assert Heads(ledger, MINUTE_US).write(0) is not None
    (said,) = control(ledger.url, 0, "ledger.heads")
    assert said.keys() == {"heads"}
    listed = said["heads"]
    assert isinstance(listed, list)
    assert [origin for origin, _, _ in listed] == sorted(f"example.com/l/t/{p}" for p in range(12))
    stored = ledger.store.newest_checkpoint(1)
    assert stored is not None
    expected = open_checkpoint(stored.note, [ledger.signer(1).verifier])
    assert listed[0] == [expected.origin, expected.size, expected.root.hex()]


def test_nothing_is_said_twice_or_too_often(ledger: EmbeddedLedger) -> None:
    mine, other = Heads(ledger, MINUTE_US), Heads(ledger, MINUTE_US)
    assert mine.write(0) is None, "there is no other log"
    open_logs(ledger, 2)
    assert mine.write(newest_us(ledger)) is not None
    now_us = newest_us(ledger)
    assert mine.write(now_us + 2 * MINUTE_US) is None, "nothing moved"
    assert other.write(now_us + 2 * MINUTE_US) is None, "the same was said by another process"
    grow(ledger, 1)
    assert mine.write(now_us + MINUTE_US - 1) is None, "the newest are young"
    assert mine.write(now_us + MINUTE_US) is not None
    grow(ledger, 1, 1)
    assert mine.write(newest_us(ledger), final=True) is not None
    assert len(control(ledger.url, 0, "ledger.heads")) == 3


def test_many_logs_take_several_entries(
    ledger: EmbeddedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "MAX_HEADS", 2)
    open_logs(ledger, 5)
    assert Heads(ledger, MINUTE_US).write(0) is not None
    said = control(ledger.url, 0, "ledger.heads")
    assert [entry["part"] for entry in said] == [[1, 3], [2, 3], [3, 3]]
    assert [len(entry["heads"]) for entry in said] == [2, 2, 1]  # type: ignore[arg-type]


def test_heads_of_the_longest_names_fit_an_entry(ledger: EmbeddedLedger) -> None:
    from audit.tlog.checkpoint import MAX_ORIGIN_BYTES, Checkpoint

    longest = [Checkpoint("o" * MAX_ORIGIN_BYTES, 2**63 - 1, bytes(32))] * heads.MAX_HEADS
    assert len(heads._events(longest)) == 1


# The source


def test_a_topic_is_accepted_once(ledger: EmbeddedLedger) -> None:
    assert newest_accepted(ledger.store) is None
    assert accept_topic(ledger, "t", TopicInfo(4, "id"), None) is not None
    assert accept_topic(ledger, "t", TopicInfo(4, "id"), None) is None
    assert accept_topic(ledger, "t", TopicInfo(4, "id"), 4) is None
    assert newest_accepted(ledger.store) == Accepted("t", 4, "id")
    assert control(ledger.url, 0, "source.accepted") == [
        {"topic": "t", "partitions": 4, "topic_id": "id"}
    ]


def test_a_topic_that_grew_is_read_on_only_when_accepted(ledger: EmbeddedLedger) -> None:
    accept_topic(ledger, "t", TopicInfo(4, "id"), None)
    with pytest.raises(InvalidInput, match="audit consume --accept-partitions 6"):
        accept_topic(ledger, "t", TopicInfo(6, "id"), None)
    with pytest.raises(InvalidInput, match="the topic t has 6 partitions"):
        accept_topic(ledger, "t", TopicInfo(6, "id"), 5)
    assert accept_topic(ledger, "t", TopicInfo(6, "id"), 6) is not None
    assert accept_topic(ledger, "t", TopicInfo(6, "id"), None) is None
    assert newest_accepted(ledger.store) == Accepted("t", 6, "id")


@pytest.mark.parametrize(
    ("topic", "found", "wanted", "message"),
    [
        ("u", TopicInfo(4, "id"), None, "one ledger has one topic"),
        ("u", TopicInfo(4, "id"), 4, "one ledger has one topic"),
        ("t", TopicInfo(4, "other"), None, "it was made anew"),
        ("t", TopicInfo(6, "other"), 6, "it was made anew"),
        ("t", TopicInfo(3, "id"), 3, "it was made anew"),
    ],
)
def test_another_topic_is_refused(
    ledger: EmbeddedLedger, topic: str, found: TopicInfo, wanted: int | None, message: str
) -> None:
    accept_topic(ledger, "t", TopicInfo(4, "id"), None)
    with pytest.raises(InvalidInput, match=message):
        accept_topic(ledger, topic, found, wanted)
    assert newest_accepted(ledger.store) == Accepted("t", 4, "id")


def test_a_broker_without_topic_ids_is_believed(ledger: EmbeddedLedger) -> None:
    accept_topic(ledger, "t", TopicInfo(4, None), None)
    assert accept_topic(ledger, "t", TopicInfo(4, "id"), None) is None


@pytest.mark.parametrize("topic_id", [None, "id"])
def test_a_topic_that_was_put_back_is_refused(ledger: EmbeddedLedger, topic_id: str | None) -> None:
    """What was accepted once, and is no longer the newest, is not what the logs have read."""
    accept_topic(ledger, "t", TopicInfo(4, topic_id), None)
    accept_topic(ledger, "t", TopicInfo(8, topic_id), 8)
    for wanted in (None, 4):
        with pytest.raises(InvalidInput, match="it was made anew"):
            accept_topic(ledger, "t", TopicInfo(4, topic_id), wanted)
    assert accept_topic(ledger, "t", TopicInfo(8, topic_id), None) is None


def test_the_id_of_a_topic_is_remembered_behind_one_that_does_not_know_it(
    ledger: EmbeddedLedger,
) -> None:
    accept_topic(ledger, "t", TopicInfo(4, "id"), None)
    assert accept_topic(ledger, "t", TopicInfo(6, None), 6) is not None
    assert newest_accepted(ledger.store) == Accepted("t", 6, "id")
    with pytest.raises(InvalidInput, match="it was made anew"):
        accept_topic(ledger, "t", TopicInfo(6, "other"), None)
