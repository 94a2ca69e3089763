"""The fast lane on entries from a source finds exactly what the plain form finds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.event.envelope import decode_event
from audit.kafka.transport import Fetched
from audit.log.columns import columns_of
from audit.log.entry import SourceSpan, decode_entry, encode_entry
from audit.log.intake import Message
from audit.store import open_reader
from audit.store.contract import LogInfo
from audit.tlog.hashing import leaf_hash
from audit.verify.evidence import Evidence
from audit.verify.noted import Notes
from audit.verify.policy import Policy
from audit.verify.steps.entries import BEGINNING, EntryWalk
from audit.verify.steps.ids import SpilledIds
from audit.verify.steps.numbers import ProducerNumbers
from audit.verify.steps.producers import ProducerWalk
from audit.verify.steps.said import ControlWalk
from audit.verify.steps.sources import SourceWalk
from tests.verify.layout import ORIGIN, SCHEMA, TOPIC, Layout, event

Row = tuple[Any, ...]


class Walked:
    """A walk over the rows of a partition's log, and everything that it leaves behind."""

    def __init__(self, rows: Sequence[Row], fast: bool) -> None:
        self.notes, warnings = Notes(), Notes()
        producers = ProducerWalk(Policy(), "a.example", self.notes, warnings)
        sources, numbers, ids = SourceWalk(self.notes), ProducerNumbers(), SpilledIds(1)
        said = ControlWalk(LogInfo(1, f"{ORIGIN}/{TOPIC}/0", ""), self.notes, sources, numbers)
        walk = EntryWalk(
            *(BEGINNING, self.notes, warnings, Evidence(), producers, sources, ids, 0),
            said,
            numbers,
        )
        lane = walk.fast
        assert lane is not None
        if not fast:
            walk.fast = None
        self.leaf_hashes = [h for part in (rows[:150], rows[150:]) for h in walk.take(part)]
        walk.end(len(rows))
        sources.finish()
        self.fast_until = lane.index
        self.left = (
            self.notes.listed(),
            warnings.listed(),
            producers.counts(),
            self.leaf_hashes,
            (walk.index, walk.lost, walk._prev_hash, walk._time_us),
            list(ids._hashes[0]),
            sources._next,
            {name: found.pages for name, found in numbers._producers.items()},
            (numbers.unreadable, numbers.expired),
        )


def both(rows: Sequence[Row]) -> Walked:
    fast, plain = Walked(rows, True), Walked(rows, False)
    assert fast.left == plain.left
    return fast


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """Two producers, one of them over a page's end; a gap in the offsets; control entries."""
    layout = Layout(tmp_path_factory.mktemp("rows"), 1)
    values = [event(n, "emitter-1" if n % 3 else "emitter-2", 8_000 + 2 * n) for n in range(400)]
    layout.feed(0, [SCHEMA, *values[:200]])
    layout.feed(0, values[:5])
    at = layout.next_offsets[0]
    layout.feed(0, [Fetched(at + 3 + n, b"k", v, None) for n, v in enumerate(values[200:])])
    layout.ledger.close()
    with open_reader(layout.url) as reader:
        return [tuple(row) for block in reader.stored_entries(1) for row in block]


def test_entries_from_a_source_go_through_the_fast_lane(rows: list[Row]) -> None:
    walked = both(rows)
    assert walked.notes.listed() == ()
    # The last row is the entry that says why three offsets have none.
    assert walked.fast_until == len(rows) - 1


@settings(max_examples=50)
@given(data=st.data())
def test_any_byte_of_a_leaf(rows: list[Row], data: st.DataObject) -> None:
    at = data.draw(st.integers(70, len(rows) - 1))
    leaf = rows[at][1]
    # Most of what differs between the lanes is in the source, near the beginning.
    place = data.draw(st.integers(0, 140) | st.integers(0, len(leaf) - 1)) % len(leaf)
    byte = data.draw(st.integers(0, 255))
    how = data.draw(st.sampled_from(["replace", "insert", "delete"]))
    new = leaf[:place] + (b"" if how == "delete" else bytes((byte,)))
    new += leaf[place + (how != "insert") :]
    both([*rows[:at], (rows[at][0], new, *rows[at][2:]), *rows[at + 1 :]])


topics = st.sampled_from(["audit.events", "audit.event", "other"])
spans = st.builds(
    lambda topic, partition, offset, more: SourceSpan(topic, partition, offset, offset + more),
    topics,
    st.sampled_from([0, 1, 64]),
    st.integers(0, 500) | st.integers(2**40, 2**62),
    st.sampled_from([1, 1, 1, 2, 100]),
)


@settings(max_examples=60)
@given(data=st.data())
def test_any_source_in_a_sound_leaf(rows: list[Row], data: st.DataObject) -> None:
    """Some entries in a row are sealed again with other sources, or none."""
    at = data.draw(st.integers(70, len(rows) - 10))
    changed = list(rows[:at])
    prev_hash = leaf_hash(rows[at - 1][1])
    for row in rows[at : at + data.draw(st.integers(1, 8))]:
        entry = decode_entry(row[1])
        source = data.draw(st.one_of(st.just(entry.source), st.none(), spans))
        entry = entry._replace(prev_hash=prev_hash, source=source)
        leaf = encode_entry(entry)
        prev_hash = leaf_hash(leaf)
        changed.append((row[0], leaf, *columns_of(entry, decode_event(entry.event))))
    both(changed)


def test_a_log_that_begins_with_events_of_no_source(tmp_path: Path) -> None:
    """Their numbers count in neither form."""
    layout = Layout(tmp_path, 1)
    layout.ledger.append([Message(SCHEMA), *(Message(event(n)) for n in range(150))], 1)
    layout.feed(0, [event(n) for n in range(150, 300)])
    layout.ledger.close()
    with open_reader(layout.url) as reader:
        rows = [tuple(row) for block in reader.stored_entries(1) for row in block]
    walked = both(rows)
    assert walked.notes.listed() == ()
    assert walked.left[7]["emitter-1"][0] == (1 << 300) - (1 << 150)
