"""Numbers that no log has: what a producer sent, and never arrived."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.event.build import data_event
from audit.event.envelope import encode_event
from audit.kafka.transport import Fetched
from audit.log.intake import Message
from audit.verify.fast_numbers import FastNumbers
from audit.verify.findings import Report
from audit.verify.noted import Notes
from audit.verify.steps import numbers as steps_numbers
from audit.verify.steps.numbers import ProducerNumbers
from tests.verify.layout import SCHEMA, Layout, event, warned


def gaps(report: Report) -> list[str]:
    return [w.message for w in report.warnings if w.code == "producer_gap"]


def feed(layout: Layout, numbers: list[int], producer: str = "emitter-1") -> None:
    """Numbers of one producer, over all partitions in turn."""
    count = len(layout.next_offsets)
    for partition in layout.next_offsets:
        values = [event(n, producer) for n in numbers if n % count == partition]
        layout.feed(partition, [SCHEMA, *values])


def test_numbers_that_are_in_some_log_are_no_gap(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 3)
    feed(layout, list(range(400)))
    report = layout.verify()
    assert report.ok and report.warnings == ()


def test_missing_numbers_are_named_with_their_producer(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 3)
    lost = {17, 18, 19, 20, 31, 200, 300, 310, 320}
    feed(layout, [n for n in range(5, 400) if n not in lost])
    feed(layout, [10_001, 10_003], "emitter-2")
    report = layout.verify()
    assert report.ok and warned(report) == {"producer_gap"}
    first, second = gaps(report)
    assert first.startswith(
        "no log has the 9 numbers 17 to 20, 31, 200, 300, 310 and 1 more ranges of producer "
        "'emitter-1' of 'crm': lost before the log, or still on the way"
    )
    assert second.startswith("no log has the number 10002 of producer 'emitter-2'")


def test_what_arrived_in_any_form_is_no_gap(tmp_path: Path) -> None:
    """Quarantined, dropped as a repeat that another emitter sent, or both."""
    layout = Layout(tmp_path, 1)
    layout.feed(0, [SCHEMA, event(0), event(1)])
    # 2 has the id of 1 and other bytes; 3 has the id of 1 and says the same.
    layout.feed(0, [event(1, sequence=2, actor="mallory"), event(1, sequence=3), event(4)])
    # 5 is what only the ledger may say.
    layout.feed(0, [event(5, source="audit"), event(6)])
    report = layout.verify()
    assert report.ok and warned(report) == {"event_id_conflict"}


def test_what_cannot_be_read_may_have_held_them(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 1)
    layout.feed(0, [SCHEMA, event(0), b"\xc3\x01junk", None, event(2)])
    at = layout.next_offsets[0]
    layout.feed(0, [Fetched(at + 3, b"k", event(3), None)], first_kept=at + 3)
    (message,) = gaps(layout.verify())
    assert "1 quarantined messages that cannot be read and 3 offsets that expired" in message


def test_an_embedded_ledger_has_no_gaps(tmp_path: Path) -> None:
    """Repeats are dropped there without a trace, so a missing number means nothing."""
    layout = Layout(tmp_path, 0)
    messages = [Message(SCHEMA), *(Message(event(n)) for n in range(0, 300, 2))]
    layout.ledger.append(messages)
    report = layout.verify()
    assert report.ok and report.warnings == ()


def test_events_of_no_source_do_not_fill_a_gap(tmp_path: Path) -> None:
    """What is recorded past the topic, as retrying does, is no arrival."""
    layout = Layout(tmp_path, 1)
    layout.ledger.append([Message(SCHEMA), *(Message(event(n)) for n in range(100, 200))], 1)
    layout.feed(0, [event(n) for n in range(100)])
    layout.feed(0, [event(n) for n in range(200, 300)])
    (message,) = gaps(layout.verify())
    assert "100 to 199" in message


def test_one_log_alone_tells_nothing_of_gaps(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 2)
    feed(layout, list(range(200)))
    assert layout.verify(log=1).warnings == ()


def test_more_than_is_followed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path, 1)
    feed(layout, [0, 2, 9_000, 100_000])
    monkeypatch.setattr(steps_numbers, "MAX_PAGES", 2)
    assert warned(layout.verify()) == {"producers_not_followed"}
    monkeypatch.undo()
    monkeypatch.setattr(steps_numbers, "MAX_PRODUCERS", 0)
    assert warned(layout.verify()) == {"producers_not_followed"}


def test_numbers_over_several_pages(tmp_path: Path) -> None:
    """A page ends in the middle of a batch; a number may be of any size."""
    layout = Layout(tmp_path, 1)
    numbers = [n for n in range(8_100, 8_300) if n != 8_191]
    numbers += [2**63 - 3, 2**63 - 1]
    layout.feed(0, [SCHEMA, *(event(n) for n in numbers)])
    (message,) = gaps(layout.verify())
    assert "9,223,372,036,854,767,507 numbers 8191, 8300 to 9223372036854775804, " in message


def naive(numbers: set[int]) -> set[int]:
    return set(range(min(numbers), max(numbers))) - numbers if numbers else set()


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(8_150, 8_250) | st.integers(16_380, 16_390)),
        max_size=40,
    ),
    st.booleans(),
)
def test_pages_and_marks_against_plain_sets(seen: list[tuple[str, int]], fast: bool) -> None:
    numbers = ProducerNumbers()
    lane = FastNumbers()
    lane.restart(numbers)
    for producer, number in seen:
        if fast:
            made = data_event(
                "delete", "user", 1, event_id="e", source="crm",
                producer_id=producer, producer_sequence=number,
            )  # fmt: skip
            data = encode_event(made.event)
            at = data.rindex(producer.encode()) + 2
            lane.learn(data[at - 6 : at], producer, "crm")
            lane.note(data[at - 6 :], 6)
        else:
            numbers.take(producer, number, "crm")
    lane.finish()
    for producer in "ab":
        mine = {number for name, number in seen if name == producer}
        found = numbers._producers.get(producer)
        pages = found.pages if found else {}
        missing = {n for gap in steps_numbers._missing(pages) for n in range(*gap)}
        assert missing == naive(mine)


def test_whole_pages_cost_nothing() -> None:
    numbers = ProducerNumbers()
    for number in range(3 * 8_192):
        numbers.take("p", number)
    assert numbers._pages == 0
    warnings = Notes()
    numbers.report(warnings)
    assert not warnings
