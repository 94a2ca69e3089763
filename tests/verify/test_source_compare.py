"""A log beside what its source holds: every offset is accounted for, or is a finding."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.errors import InvalidInput, StoreCorrupt
from audit.event.envelope import EVENT_PREFIX
from audit.event.signing import sign_event
from audit.kafka.transport import Fetched
from audit.log.oversize import MARK, oversize_event
from audit.store import open_reader
from audit.tlog.keys import Ed25519Signer
from audit.verify import source_compare
from audit.verify.source_compare import SourceCompare, next_offset_of
from audit.verify.source_report import PartitionReport
from tests.verify.layout import SCHEMA, TOPIC, Layout, event

CRM = Ed25519Signer.from_seed("crm", bytes([7]) * 32)


class Topic:
    """What a broker would hold of one partition: offset -> message."""

    def __init__(self) -> None:
        self.messages: dict[int, Fetched] = {}
        self.end = 0
        self.first = 0

    def add(self, *values: bytes | None, key: bytes = b"user/1", sign: bool = False) -> None:
        for value in values:
            signature = sign_event(value, CRM) if sign and value else None
            self.messages[self.end] = Fetched(self.end, key, value, signature)
            self.end += 1

    def marker(self) -> None:
        self.end += 1

    def read(self, start: int, stop: int) -> Iterator[Fetched]:
        return (m for offset, m in sorted(self.messages.items()) if start <= offset < stop)

    def since(self, offset: int) -> list[Fetched]:
        return list(self.read(offset, self.end))


class Pair:
    """A topic and the log that was made from it."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder, 1)
        self.topic = Topic()

    def seal(self) -> None:
        """One batch of all that is there."""
        fetched = self.topic.since(self.layout.next_offsets[0])
        self.layout.feed(0, fetched, self.topic.end, self.topic.first)

    def compare(self, unframe=None) -> PartitionReport:
        with open_reader(self.layout.url) as reader:
            info = reader.logs()[1]
            report = PartitionReport(
                *(TOPIC, 0, 1, info.origin, self.topic.first, self.topic.end),
                next_offset_of(reader, info, TOPIC, 0),
            )
            return SourceCompare(reader, info, report, unframe).run(self.topic.read)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    pair = Pair(tmp_path)
    pair.topic.add(SCHEMA, *(event(n) for n in range(20)))
    pair.seal()
    return pair


def found(report: PartitionReport) -> list[tuple[str, str]]:
    return [(finding.code, finding.message) for finding in report.findings]


def test_everything_is_there(pair: Pair) -> None:
    report = pair.compare()
    assert (report.equal, report.waiting, report.findings, report.warnings) == (21, 0, (), ())
    assert report.not_proven == ()
    assert report.words() == [
        "audit.events/0: the broker keeps offsets 0 to 20, the log has read up to 21",
        "21 sealed and equal",
        "0 wait to be read",
    ]


def test_every_kind_of_offset_is_accounted_for(pair: Pair) -> None:
    topic = pair.topic
    topic.add(event(3), event(4), SCHEMA)  # repeats
    topic.add(b"junk", None, b"x" * 70_000, b"junk")
    topic.marker()
    topic.add(event(30), sign=True)
    topic.marker()
    topic.add(event(30, sequence=99))  # the same, sent by somebody else
    topic.marker()
    pair.seal()
    topic.add(event(31))
    report = pair.compare()
    assert report.findings == () and report.warnings == ()
    assert (report.equal, report.repeats, report.without_message) == (25, 5, 3)
    assert (report.waiting, report.not_proven) == (1, ("not_yet_read",))
    assert "25 sealed and equal, 5 repeats" in report.words()[1]


def test_a_message_that_was_left_out(pair: Pair) -> None:
    """Whether the log says nothing of it, or says that there was none."""
    at = pair.topic.end
    pair.topic.add(event(40), event(41), event(42))
    pair.layout.feed(0, [pair.topic.messages[at], pair.topic.messages[at + 2]], at + 3)
    report = pair.compare()
    assert found(report) == [
        (
            "source_missing",
            f"offset {at + 1} of audit.events/0 holds a message: "
            "the log says that it holds no message",
        )
    ]
    assert report.left_out == 1 and "1 LEFT OUT" in report.words()[1]


def test_a_message_that_is_said_to_have_expired(pair: Pair) -> None:
    at = pair.topic.end
    pair.topic.add(event(40), event(41))
    pair.layout.feed(0, [pair.topic.messages[at + 1]], at + 2, first_kept=at + 1)
    ((code, message),) = found(pair.compare())
    assert code == "source_missing" and "says that it has expired" in message


def test_a_repeat_that_is_none(pair: Pair) -> None:
    at = pair.topic.end
    pair.topic.add(event(3))
    pair.seal()
    pair.topic.messages[at] = pair.topic.messages[at]._replace(value=event(50))
    ((code, message),) = found(pair.compare())
    assert (
        code == "source_missing" and f"offset {at}" in message and "says something else" in message
    )


@pytest.mark.parametrize(
    ("change", "how"),
    [
        ({"value": event(99)}, "does not hold the message's bytes"),
        ({"value": None}, "does not hold the message's bytes"),
        ({"signature": b"s" * 68}, None),
    ],
)
def test_a_message_that_differs(pair: Pair, change: dict[str, bytes | None], how: str) -> None:
    pair.topic.messages[7] = pair.topic.messages[7]._replace(**change)
    report = pair.compare()
    if how is None:  # by its settings a consumer may leave signatures out
        assert report.findings == () and report.unsigned == 1
        assert "1 producer signatures were left out on purpose" in report.words()
        return
    index = report.findings[0].index
    assert found(report) == [
        ("source_differs", f"entry {index}, of offset 7 of audit.events/0, {how}")
    ]
    assert (report.differing, report.equal) == (1, 20)


def test_a_signature_that_the_message_does_not_have(pair: Pair) -> None:
    at = pair.topic.end
    pair.topic.add(event(60), sign=True)
    pair.seal()
    pair.topic.messages[at] = pair.topic.messages[at]._replace(signature=None)
    ((code, message),) = found(pair.compare())
    assert code == "source_differs" and "another producer signature" in message


def test_a_topic_that_ends_before_the_log(pair: Pair) -> None:
    pair.topic.end = 15
    ((code, message),) = found(pair.compare())
    assert code == "source_recreated"
    assert "up to offset 21, the broker has it only up to 15" in message


def test_a_topic_that_was_made_anew_and_filled_again(pair: Pair) -> None:
    for offset in range(21):
        pair.topic.messages[offset] = Fetched(offset, b"k", event(1_000 + offset), None)
    report = pair.compare()
    codes = [code for code, _ in found(report)]
    assert codes.count("source_recreated") == 1 and "source_differs" in codes
    assert len(codes) == 12, "ten are listed, the rest is counted"


def test_what_the_broker_no_longer_keeps_is_not_compared(pair: Pair) -> None:
    topic = pair.topic
    topic.add(event(3), event(70))
    pair.seal()
    topic.first = 15
    report = pair.compare()
    assert (report.equal, report.repeats, report.no_longer_kept) == (7, 1, 15)
    assert report.findings == () and report.not_proven == ("expired_at_source",)
    assert "15 before that, no longer kept: not comparable" in report.words()
    topic.first = topic.end = 23
    report = pair.compare()
    assert (report.equal, report.no_longer_kept, report.findings) == (0, 23, ())
    assert report.words()[0].startswith("audit.events/0: the broker keeps nothing")


def test_what_expired_unread_is_a_warning(pair: Pair) -> None:
    topic = pair.topic
    topic.end, topic.first = 30, 30
    topic.add(event(80))
    report = pair.compare()
    assert (report.lost, report.waiting, report.no_longer_kept) == (9, 1, 21)
    pair.seal()
    report = pair.compare()
    assert (report.lost, report.expired, report.equal, report.no_longer_kept) == (0, 9, 1, 21)
    assert [w.code for w in report.warnings] == ["source_expired"]
    assert "9 offsets of audit.events/0 expired before they were read" in report.warnings[0].message


def test_what_was_compacted_since_is_no_fault(pair: Pair) -> None:
    pair.topic.add(event(3))
    pair.seal()
    for offset in (2, 5, 21):
        del pair.topic.messages[offset]
    report = pair.compare()
    assert (report.gone, report.equal, report.findings) == (3, 19, ())
    assert report.not_proven == ("expired_at_source",)


def test_a_registrys_framing_is_taken_off(pair: Pair) -> None:
    """With the registry's help; without it, the bytes differ."""
    framed = {
        offset: m._replace(value=b"\x00\x00\x00\x00\x07" + m.value[len(EVENT_PREFIX) :])
        for offset, m in pair.topic.messages.items()
    }
    pair.topic.messages = framed
    assert pair.compare().differing == 21
    report = pair.compare(lambda value: EVENT_PREFIX + value[5:])
    assert (report.equal, report.findings) == (21, ())
    assert pair.compare(lambda value: None).differing == 21


def test_long_logs_are_searched_for_where_to_begin(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100, 400, 10):
        pair.topic.add(*(event(n) for n in range(number, number + 10)), event(number))
        pair.seal()
    monkeypatch.setattr(source_compare, "SCAN_ENTRIES", 4)
    monkeypatch.setattr(source_compare, "PROBE_ENTRIES", 1)
    for first in (0, 20, 21, 31, 32, 200, 350, 351):
        pair.topic.first = first
        report = pair.compare()
        assert report.findings == ()
        assert report.equal + report.repeats == 351 - first
        assert report.no_longer_kept == first


def test_another_topic_and_a_broken_log_are_refused(pair: Pair) -> None:
    with open_reader(pair.layout.url) as reader:
        info = reader.logs()[1]
        with pytest.raises(InvalidInput, match=r"is of audit.events/0, not of other/0"):
            next_offset_of(reader, info, "other", 0)
    pair.layout.drop_guards()
    pair.layout.sql("UPDATE entries SET leaf = x'00' WHERE log = 1 AND \"index\" = 12")
    with pytest.raises(StoreCorrupt, match="run `audit verify`"):
        pair.compare()


def test_the_oversize_form_is_what_a_consumer_seals(pair: Pair) -> None:
    large = bytes(range(256)) * 300
    pair.topic.add(large)
    pair.seal()
    report = pair.compare()
    assert report.findings == () and report.equal == 22
    assert oversize_event(large).startswith(MARK + b"sha256:")
