"""The rollback guard, and taking over a log behind it: on real stores, restored and tampered."""

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from audit.capture.delivery.embedded import EmbeddedLedger, open_for_writing
from audit.errors import InvalidInput, StoreCorrupt
from audit.log.entry import SourceSpan
from audit.log.intake import Message, accept
from audit.log.source import SourceBatch
from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from audit.tlog.keys import Ed25519Signer, new_seed
from audit.verify.policy import Policy
from consumers.guard import REMEMBERED_S, Guard
from consumers.metrics import Metrics
from consumers.sequencer import Batch, Sequencer
from tests.consumers.support import an_event, control

TOPIC = "t"
ORIGIN = "example.com/l/t/0"


class Offers:
    """In the publisher's place: what was offered, by origin; a newer one replaces an older."""

    def __init__(self) -> None:
        self.notes: dict[str, bytes] = {}

    def offer(self, origin: str, size: int, note: bytes) -> None:
        self.notes[origin] = note


def sequencer(
    ledger: EmbeddedLedger, published: Mapping[str, bytes], offers: Offers | None = None
) -> Sequencer:
    guard = Guard(lambda names: published, [], Metrics())
    return Sequencer(ledger, guard, offers or Offers(), TOPIC, 0)  # type: ignore[arg-type]


def batch(first: int, count: int, begins: int | None = None) -> Batch:
    incoming = [
        accept(Message(an_event(n), None, SourceSpan(TOPIC, 0, n, n + 1)))
        for n in range(first, first + count)
    ]
    source = SourceBatch(TOPIC, 0, 0, incoming, first + count)
    return Batch(first if begins is None else begins, source, 0.0, 0)


def test_a_log_is_taken_over_and_appended_to(ledger: EmbeddedLedger) -> None:
    offers = Offers()
    first = sequencer(ledger, offers.notes, offers)
    assert first.take_over() == 0
    assert first.append(batch(0, 5)).next_offset == 5
    assert set(offers.notes) == {"example.com/l", ORIGIN}
    # Another process goes on, guarded by what the first one published.
    assert sequencer(ledger, offers.notes).take_over() == 5
    assert control(ledger.url, 0, "log.added") == [
        {"log": 1, "origin": ORIGIN, "vkey": ledger.key_of(ORIGIN).verifier.vkey}
    ]
    policy = Policy.from_file(ledger.policy_path)
    assert [key.name for key in policy.logs] == ["example.com/l", ORIGIN]


def test_a_gap_that_this_process_made_never_reaches_the_log(ledger: EmbeddedLedger) -> None:
    first = sequencer(ledger, {})
    first.take_over()
    first.append(batch(0, 2))
    with pytest.raises(StoreCorrupt, match="begins at 4"):
        first.append(batch(4, 1))
    # What was kept although it was reported lost is repeated, and dropped by the log.
    again = first.append(batch(0, 3))
    assert (len(again.outcomes), again.next_offset, again.skipped) == (1, 3, 0)


def test_a_policy_that_ends_without_a_line_feed_or_is_broken(ledger: EmbeddedLedger) -> None:
    text = ledger.policy_path.read_text()
    ledger.policy_path.write_text(text.rstrip("\n"))
    sequencer(ledger, {}).take_over()
    assert len(Policy.from_file(ledger.policy_path).logs) == 2
    ledger.policy_path.write_text("nonsense\n")
    assert sequencer(ledger, {}).take_over() == 0
    assert ledger.policy_path.read_text() == "nonsense\n"


# Refusals


def restored_after(ledger: EmbeddedLedger, work: Callable[[], None]) -> EmbeddedLedger:
    """The ledger from a copy of its file that is older than the work."""
    path = Path(ledger.url.removeprefix("sqlite:///"))
    old = path.with_name("old.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(old)) as copy:
        source.backup(copy)
    work()
    ledger.close()
    for name in ("audit.db-wal", "audit.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    shutil.copy(old, path)
    return open_for_writing(ledger.url)


def test_an_older_copy_is_refused(ledger: EmbeddedLedger) -> None:
    offers = Offers()
    first = sequencer(ledger, {}, offers)
    first.take_over()
    first.append(batch(0, 5))
    with restored_after(ledger, lambda: first.append(batch(5, 5)) and None) as old:
        again = sequencer(old, offers.notes)
        with pytest.raises(StoreCorrupt, match=r"has 9 entries, 14 were published") as refused:
            again.take_over()
        assert "restore the newest copy" in str(refused.value)
        assert old.store.claim(1).epoch == 2, "nothing was claimed by the refused one"


def test_a_copy_from_before_the_log_was_opened_is_refused(ledger: EmbeddedLedger) -> None:
    offers = Offers()
    first = sequencer(ledger, {}, offers)
    with restored_after(ledger, lambda: first.take_over() and None) as old:
        with pytest.raises(StoreCorrupt, match="has 0 entries, 4 were published"):
            sequencer(old, offers.notes).take_over()
        # The policy file beside it remembers the log too, when nothing was published.
        with pytest.raises(StoreCorrupt, match="the store does not have it"):
            sequencer(old, {}).take_over()
        assert [info.log for info in old.store.logs()] == [0]


def a_note(ledger: EmbeddedLedger, size: int, root: bytes, origin: str = ORIGIN) -> bytes:
    return sign_checkpoint(Checkpoint(origin, size, root), ledger.key_of(origin))


def test_another_history_of_the_same_length_is_refused(ledger: EmbeddedLedger) -> None:
    first = sequencer(ledger, {})
    first.take_over()
    first.append(batch(0, 300))
    forked = {ORIGIN: a_note(ledger, 256, b"\1" * 32)}
    with pytest.raises(StoreCorrupt, match="has another root at size 256"):
        sequencer(ledger, forked).take_over()


def test_a_log_whose_hashes_are_gone_is_refused(ledger: EmbeddedLedger) -> None:
    offers = Offers()
    first = sequencer(ledger, {}, offers)
    first.take_over()
    first.append(batch(0, 600))
    ledger.close()
    with closing(sqlite3.connect(ledger.url.removeprefix("sqlite:///"))) as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        for (name,) in connection.execute(query).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DELETE FROM tiles WHERE log = 1")
        connection.execute('DELETE FROM entries WHERE log = 1 AND "index" = 100')
        connection.commit()
    with open_for_writing(ledger.url) as opened, pytest.raises(StoreCorrupt):
        sequencer(opened, offers.notes).take_over()


@pytest.mark.parametrize("who", ["another key", "nobody", "another log", "a forger"])
def test_what_is_not_the_logs_own_checkpoint_is_refused(ledger: EmbeddedLedger, who: str) -> None:
    checkpoint = Checkpoint(ORIGIN, 1, b"\1" * 32)
    notes = {
        "another key": sign_checkpoint(checkpoint, Ed25519Signer.from_seed(ORIGIN, new_seed())),
        "nobody": b"nonsense",
        "another log": a_note(ledger, 1, b"\1" * 32, "example.com/l"),
        "a forger": a_note(ledger, 1, b"\1" * 32).replace(b"\n1\n", b"\n2\n"),
    }
    with pytest.raises(InvalidInput, match=r"audit\.checkpoints"):
        sequencer(ledger, {ORIGIN: notes[who]}).take_over()
    assert [info.log for info in ledger.store.logs()] == [0]


def test_the_ledgers_own_log_is_guarded_too(ledger: EmbeddedLedger) -> None:
    metrics = Metrics()
    note = a_note(ledger, 1_000, b"\1" * 32, "example.com/l")
    guard = Guard(lambda names: {"example.com/l": note}, [], metrics)
    with pytest.raises(StoreCorrupt, match=r"log 0 example.com/l of .* 1000 were published"):
        guard.check(ledger.store, 0, ledger.signer().verifier)
    assert metrics.guard_refusals == 1


def test_what_was_published_is_read_for_many_logs_at_once(ledger: EmbeddedLedger) -> None:
    asked: list[set[str]] = []
    now = [0.0]

    def read_back(names: Iterable[str]) -> Mapping[str, bytes]:
        asked.append(set(names))
        return {}

    guard = Guard(read_back, ["a", "b"], Metrics(), lambda: now[0])
    for name in ("a", "b", "a", "c"):
        guard.check(ledger.store, 1, ledger.key_of(name).verifier)
    now[0] += REMEMBERED_S + 1
    guard.check(ledger.store, 1, ledger.key_of("a").verifier)
    assert asked == [{"a", "b"}, {"a", "b", "c"}, {"a", "b", "c"}]
