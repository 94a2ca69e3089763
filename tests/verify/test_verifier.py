"""The verifier beyond single attacks: trust, resuming, several logs, sources, ids, failures."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import pytest

import audit.verify.steps.ids as steps_ids
import audit.verify.steps.sources as steps_sources
from audit.errors import InvalidInput, LimitExceeded, StoreCorrupt, Unavailable
from audit.event.build import record_event
from audit.event.envelope import encode_event
from audit.log.columns import columns_of
from audit.log.entry import Kind, SourceSpan
from audit.log.intake import Message, accept
from audit.log.record import read_record
from audit.log.sequence import append, empty_head
from audit.store import open_reader
from audit.store.contract import LogInfo, Reader, StoredCheckpoint, StoredEntry, StoredTile
from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from audit.tlog.hashing import leaf_hash
from audit.tlog.keys import Ed25519Signer, Signer
from audit.tlog.merkle import HashSource
from audit.tlog.tiles import TileHashes, tile_root
from audit.verify.external import MAX_EXTERNAL_CHECKPOINTS
from audit.verify.findings import Verdict
from audit.verify.noted import MAX_FINDINGS_PER_CODE, Notes
from audit.verify.policy import Policy, ProducerKey
from audit.verify.steps.ids import SpilledIds, place_of, split_place
from audit.verify.verifier import unreadable, verify
from tests.verify.conftest import (
    ORIGIN,
    POLICY,
    PRODUCER,
    SIGNER,
    STRANGER,
    Ledger,
    codes,
    first,
    message,
    schema_messages,
)

# Trust


def test_without_a_policy_nothing_can_be_told(ledger: Ledger) -> None:
    report = ledger.verify(policy=None)
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"no_policy"}
    assert report.trust == "no policy" and report.logs[0].verified_size == 0


def test_without_a_policy_contradictions_are_still_found(attacked: Ledger) -> None:
    attacked.attacker.delete_entries(100, 101)
    report = attacked.verify(policy=None)
    assert report.verdict is Verdict.TAMPERED and first(report, "missing_entry") == 100


def test_an_unknown_key_is_cannot_tell(ledger: Ledger) -> None:
    report = ledger.verify(policy=Policy.from_vkey(STRANGER.verifier.vkey))
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"unknown_key"}
    assert len(report.findings) == MAX_FINDINGS_PER_CODE + 1
    assert report.findings[-1].message == "and 1 more of these"


def test_a_policy_of_another_log_is_cannot_tell(ledger: Ledger) -> None:
    other = Ed25519Signer.from_seed("example.com/else", bytes([4]) * 32)
    report = ledger.verify(policy=Policy.from_vkey(other.verifier.vkey))
    assert report.verdict is Verdict.CANNOT_TELL
    assert codes(report) == {"unknown_key", "log_absent"}


def test_a_policy_that_asks_for_witnesses_is_not_met(ledger: Ledger) -> None:
    key = b"\x04" + bytes([1]) * 32
    key_id = sha256(b"w1\n" + key).digest()[:4].hex()
    witness = f"w1+{key_id}+{b64encode(key).decode()}"
    with_witness = POLICY.to_text().replace("quorum none", f"witness W {witness}\nquorum W")
    policy = Policy.from_text(with_witness)
    report = ledger.verify(policy=policy)
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"quorum_not_met"}


def test_a_policy_beside_the_store_leaves_the_keys_unproven(ledger: Ledger) -> None:
    policy = Policy.from_text(POLICY.to_text(), beside_store=True)
    report = ledger.verify(policy=policy)
    assert report.ok and "key_provenance" in report.not_proven


def test_look_alike_keys_are_warnings(ledger: Ledger) -> None:
    producer = Ed25519Signer.from_seed("CRM", bytes([8]) * 32).verifier.vkey
    policy = Policy.from_text(POLICY.to_text() + f"producer CRM {producer}\n")
    report = ledger.verify(policy=policy)
    assert report.ok and "look_alike_key" in {warning.code for warning in report.warnings}


def test_a_producer_key_outside_its_range(ledger: Ledger) -> None:
    """Signed at 8, 108 and 208; the key is good from 100 to 150."""
    key = ProducerKey("crm", PRODUCER.verifier, 100, 150)
    report = ledger.verify(policy=Policy(POLICY.logs, producers=(key,)))
    assert report.ok
    counts = report.logs[0].producer_signatures
    assert (counts.checked, counts.unknown_key, counts.invalid) == (1, 2, 0)
    assert "producer_key_out_of_range" in {warning.code for warning in report.warnings}


def test_an_unknown_producer_key_is_counted(ledger: Ledger) -> None:
    report = ledger.verify(policy=Policy(POLICY.logs))
    counts = report.logs[0].producer_signatures
    assert report.ok and (counts.checked, counts.unknown_key) == (0, 3)


# Checkpoints from elsewhere


def test_a_kept_checkpoint_that_agrees_shows_freshness(ledger: Ledger) -> None:
    report = ledger.verify([ledger.attacker.note(536), ledger.attacker.note(455)])
    assert report.ok and report.not_proven == ("completeness_at_source", "truth")
    assert report.logs[0].external_checkpoints == 2


@pytest.mark.parametrize("note", [b"", b"junk", b"\xff" * 100, b"a\n\n\xe2\x80\x94 x y\n"])
def test_a_given_checkpoint_that_is_none_is_cannot_tell(ledger: Ledger, note: bytes) -> None:
    report = ledger.verify([note])
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"checkpoint_unusable"}


def test_a_given_checkpoint_by_a_stranger_is_no_evidence(ledger: Ledger) -> None:
    note = sign_checkpoint(Checkpoint(ORIGIN, 536, bytes(32)), STRANGER)
    report = ledger.verify([note])
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"checkpoint_unusable"}


def test_a_given_checkpoint_of_a_log_that_is_not_here(ledger: Ledger) -> None:
    other = Ed25519Signer.from_seed("example.com/else", bytes([4]) * 32)
    note = sign_checkpoint(Checkpoint(other.name, 5, bytes(32)), other)
    policy = Policy.from_vkeys([SIGNER.verifier.vkey, other.verifier.vkey])
    report = ledger.verify([note], policy=policy)
    assert report.verdict is Verdict.TAMPERED and codes(report) == {"log_missing"}


def test_too_many_checkpoints_are_refused(ledger: Ledger) -> None:
    with pytest.raises(LimitExceeded):
        ledger.verify([b""] * (MAX_EXTERNAL_CHECKPOINTS + 1))


# Resuming


@pytest.mark.parametrize("start", [1, 5, 100, 255, 256, 257, 305, 511, 512, 530, 535, 536])
def test_resuming_anywhere(ledger: Ledger, start: int) -> None:
    report = ledger.verify(from_index=start)
    assert report.verdict is Verdict.OK, report.findings
    log = report.logs[0]
    whole = ledger.verify().logs[0]
    assert (log.first_index, log.size, log.root_hash) == (start, 536, whole.root_hash)
    assert log.verified_size == 536 and "prefix_content" in log.not_proven


@pytest.mark.parametrize("start", [100, 300, 500])
def test_resuming_finds_what_was_changed_since(attacked: Ledger, start: int) -> None:
    leaf = attacked.attacker.leaf(520)
    attacked.attacker.update_leaf(520, leaf[:-30] + b"?" + leaf[-29:])
    report = attacked.verify(from_index=start)
    assert report.verdict is Verdict.TAMPERED and first(report, "chain_broken") == 520


def test_resuming_does_not_see_content_before_but_its_hashes(attacked: Ledger) -> None:
    leaf = attacked.attacker.leaf(100)
    attacked.attacker.update_leaf(100, leaf[:-30] + b"?" + leaf[-29:])
    assert attacked.verify(from_index=300).ok  # `prefix_content` says so
    (data,) = attacked.attacker.sql('SELECT data FROM tiles WHERE "index" = 0')[0]
    attacked.attacker.sql(
        'UPDATE tiles SET data = ? WHERE "index" = 0', [leaf_hash(b"x") + data[32:]]
    )
    # A tile below the start is not read as long as its root is kept beside it; that root is.
    attacked.attacker.sql('UPDATE tiles SET root = ? WHERE "index" = 0', [leaf_hash(b"x")])
    report = attacked.verify(from_index=300)
    assert report.verdict is Verdict.TAMPERED
    assert {"checkpoint_differs", "start_unproven"} == codes(report)


def test_resuming_with_an_earlier_checkpoint(attacked: Ledger) -> None:
    kept = [attacked.attacker.note(size) for size in (5, 305)]
    assert attacked.verify(kept, from_index=400).logs[0].external_checkpoints == 2
    # The same key signs another history: consistency with the kept ones fails.
    attacked.attacker.rewrite(lambda entries: entries[:200] + entries[201:], SIGNER)
    assert attacked.verify(from_index=400).ok
    report = attacked.verify(kept, from_index=400)
    assert report.verdict is Verdict.TAMPERED and first(report, "history_rewritten") == 0


def test_resuming_beyond_the_end_is_cannot_tell(ledger: Ledger) -> None:
    kept = ledger.attacker.note(536)
    report = ledger.verify(from_index=537)
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"start_unproven"}
    ledger.attacker.drop_guards()
    ledger.attacker.truncate(530, with_checkpoints=True)
    report = ledger.verify([kept], from_index=536)
    assert report.verdict is Verdict.TAMPERED and first(report, "rolled_back") == 530


def test_resuming_without_a_checkpoint_above_is_cannot_tell(attacked: Ledger) -> None:
    attacked.attacker.delete_checkpoints()
    report = attacked.verify(from_index=300)
    assert report.verdict is Verdict.CANNOT_TELL
    assert codes(report) == {"no_checkpoint", "start_unproven"}


def test_resuming_finds_missing_and_edited_tiles(attacked: Ledger) -> None:
    attacked.attacker.sql('UPDATE tiles SET data = zeroblob(8192) WHERE "index" = 1')
    report = attacked.verify(from_index=300)
    # What lies before the start was taken from this very tile.
    assert first(report, "tile_differs") == 300
    attacked.attacker.sql('DELETE FROM tiles WHERE "index" = 1')
    assert first(attacked.verify(from_index=300), "tile_missing") == 256


def test_wrong_arguments_are_refused(ledger: Ledger) -> None:
    with pytest.raises(InvalidInput):
        ledger.verify(from_index=-1)
    with open_reader(ledger.url) as reader, pytest.raises(InvalidInput, match="no log 7"):
        verify(reader, POLICY, log=7)


def test_progress_ends_at_the_total(ledger: Ledger) -> None:
    seen: list[tuple[int, int]] = []
    ledger.verify(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (536, 536)
    assert all(done <= total for done, total in seen)


# Readers of any size and kind


class MadeReader(Reader):
    """A ledger in memory, sealed here; what it holds can be replaced piece by piece."""

    address = "made"
    complete = True

    def __init__(self) -> None:
        self.infos: list[LogInfo] = []
        self.rows: dict[int, list[tuple]] = {}
        self.notes: dict[int, list[StoredCheckpoint]] = {}
        self.kept_tiles: dict[int, list[StoredTile]] = {}

    def add_log(
        self,
        log: int,
        signer: Signer,
        batches: Sequence[Sequence[Message]],
        kind: Kind = Kind.EVENT,
    ) -> None:
        self.infos.append(LogInfo(log, signer.name, signer.verifier.vkey))
        head = empty_head()
        rows, notes, tiles = [], [], []
        for batch in batches:
            incoming = [m if not isinstance(m, Message) else accept(m, kind) for m in batch]
            step = append(head, [item.draft for item in incoming], 1_000_000)
            for sealed in step.sealed:
                record = read_record(log, sealed.leaf)
                columns = columns_of(record.entry, record.event)
                rows.append((sealed.index, sealed.leaf, *columns))
            head = step.head
            tiles += [StoredTile(*tile) for tile in step.tiles]
            checkpoint = Checkpoint(signer.name, head.size, head.edge.root())
            notes.append(StoredCheckpoint(head.size, sign_checkpoint(checkpoint, signer)))
        self.rows[log], self.notes[log] = rows, notes
        self.kept_tiles[log] = sorted(tiles)

    def logs(self) -> list[LogInfo]:
        return self.infos

    def size(self, log: int) -> int:
        return len(self.rows[log])

    def leaf(self, log: int, index: int) -> bytes:
        return self.rows[log][index][1]

    def stored_entries(
        self, log: int, start: int = 0, stop: int | None = None
    ) -> Iterator[Sequence[StoredEntry]]:
        rows = self.rows[log][start:stop]
        for at in range(0, len(rows), 1_000):
            yield rows[at : at + 1_000]

    def newest_checkpoint(self, log: int) -> StoredCheckpoint | None:
        return self.notes[log][-1] if self.notes[log] else None

    def covering_checkpoint(self, log: int, size: int) -> StoredCheckpoint | None:
        return next((note for note in self.notes[log] if note.size >= size), None)

    def checkpoints(self, log: int, start_size: int = 0) -> Iterator[StoredCheckpoint]:
        return (note for note in self.notes[log] if note.size >= start_size)

    def tile(self, log: int, level: int, index: int) -> bytes | None:
        found = (t.data for t in self.kept_tiles[log] if (t.level, t.index) == (level, index))
        return next(found, None)

    def tiles(self, log: int) -> Iterator[StoredTile]:
        return iter(self.kept_tiles[log])

    def hashes(self, log: int, size: int) -> HashSource:
        def read(level: int, index: int, width: int) -> bytes:
            tile = self.tile(log, level, index)
            if tile is not None:
                return tile[: 32 * width]
            below = range(index * 256, index * 256 + width)
            if level:
                return b"".join(tile_root(read(level - 1, at, 256)) for at in below)
            return b"".join(leaf_hash(self.leaf(log, at)) for at in below)

        return TileHashes(size, read)

    def warnings(self) -> list[tuple[str, str]]:
        return []

    def defects(self) -> list[tuple[str, str]]:
        return []

    def index_defects(self) -> list[tuple[str, str]]:
        return []


def signer_of(number: int) -> Signer:
    return Ed25519Signer.from_seed(f"example.com/log/{number}", bytes([number + 1]) * 32)


@pytest.fixture
def large() -> MadeReader:
    """66,000 entries: 257 tiles of level 0 and one of level 1."""
    reader = MadeReader()
    signer = signer_of(0)
    found = [message(n) for n in range(66_000)]
    reader.add_log(0, signer, [found[:30_000], found[30_000:65_536], found[65_536:]])
    return reader


@pytest.mark.slow
def test_a_log_with_a_tile_of_level_1(large: MadeReader) -> None:
    policy = Policy.from_vkey(signer_of(0).verifier.vkey)
    assert verify(large, policy).ok
    assert [(t.level, t.index) for t in large.kept_tiles[0]][-2:] == [(0, 256), (1, 0)]
    tiles = large.kept_tiles[0]
    large.kept_tiles[0] = [*tiles[:-1], tiles[-1]._replace(data=bytes(8192))]
    assert first(verify(large, policy), "tile_differs") == 0
    large.kept_tiles[0] = [*tiles[:-1], tiles[-1]._replace(root=bytes(32))]
    assert first(verify(large, policy), "tile_differs") == 0
    large.kept_tiles[0] = tiles[:-1]
    assert first(verify(large, policy), "tile_missing") == 0
    large.kept_tiles[0] = tiles
    assert verify(large, policy, from_index=65_600).ok
    assert verify(large, policy, from_index=65_000).ok


def test_the_ids_of_a_large_log_are_spilled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps_ids, "BUCKET_IDS", 500)
    monkeypatch.setattr(steps_ids, "BUFFER_IDS", 300)
    policy = Policy.from_vkey(signer_of(0).verifier.vkey)
    reader = MadeReader()
    found = [message(n) for n in range(3_000)]
    found[1_500] = message(123)
    found[2_900] = message(123, actor="mallory")
    reader.add_log(0, signer_of(0), [found])
    report = verify(reader, policy)
    assert codes(report) == {"duplicate_event", "conflicting_event"}
    assert first(report, "duplicate_event") == 1_500
    assert first(report, "conflicting_event") == 2_900


def test_spilled_ids_give_the_lowest_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps_ids, "BUCKET_IDS", 10)
    monkeypatch.setattr(steps_ids, "BUFFER_IDS", 25)
    monkeypatch.setattr(steps_ids, "MAX_REPEATS", 3)
    hashes = [n * 7919 % 101 - 50 for n in range(150)]
    with SpilledIds(len(hashes)) as ids:
        for at in range(0, len(hashes), 10):
            ids.add(hashes[at : at + 10], range(at, at + 10))
        assert ids.repeats() == [[0, 101], [1, 102], [2, 103]]
        assert ids._folder is not None
        folder = Path(ids._folder.name)
        assert any(folder.iterdir())
    assert not folder.exists()


@pytest.mark.parametrize("place", [(0, 0), (3, 12345), (9_999, 2**47 - 1)])
def test_places_round_trip(place: tuple[int, int]) -> None:
    number = place_of(*place)
    assert split_place(number) == place and number < 2**63


# Several logs


def two_logs(second: Sequence[Message]) -> tuple[MadeReader, Policy]:
    reader = MadeReader()
    reader.add_log(0, signer_of(0), [schema_messages(), [message(n) for n in range(50)]])
    reader.add_log(1, signer_of(1), [schema_messages(), second])
    return reader, Policy.from_vkeys([signer_of(n).verifier.vkey for n in range(2)])


def test_several_logs_are_each_reported() -> None:
    reader, policy = two_logs([message(n) for n in range(100, 150)])
    report = verify(reader, policy)
    assert report.ok and [log.size for log in report.logs] == [51, 51]
    assert report.warnings == ()  # the schema events in both are no repeats
    one = verify(reader, policy, log=1)
    assert one.ok and [log.log for log in one.logs] == [1]
    assert verify(reader, policy, log=1, from_index=10).ok
    with pytest.raises(InvalidInput, match="several logs"):
        verify(reader, policy, from_index=10)


def test_the_same_id_in_two_logs_is_a_warning() -> None:
    reader, policy = two_logs([message(7), message(200)])
    report = verify(reader, policy)
    assert report.ok
    assert [(w.code, w.index) for w in report.warnings] == [("event_id_in_two_logs", 1)]


def test_two_logs_exchanged() -> None:
    reader, policy = two_logs([message(n) for n in range(100, 150)])
    for kept in (reader.rows, reader.notes, reader.kept_tiles):
        kept[0], kept[1] = kept[1], kept[0]
    report = verify(reader, policy)
    assert report.verdict is Verdict.TAMPERED and "checkpoint_origin" in codes(report)


@pytest.mark.parametrize("log", [None, 0, 1])
def test_two_logs_of_one_name(log: int | None) -> None:
    reader, policy = two_logs([message(100)])
    reader.infos[1] = reader.infos[1]._replace(origin=reader.infos[0].origin)
    report = verify(reader, policy, log=log)
    assert report.verdict is Verdict.TAMPERED and "log_twice" in codes(report)


def test_a_log_that_the_policy_names_and_the_store_lost() -> None:
    reader, policy = two_logs([message(100)])
    kept = reader.notes[1][-1].note
    reader.infos.pop()
    report = verify(reader, policy)
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"log_absent"}
    report = verify(reader, policy, [kept])
    assert report.verdict is Verdict.TAMPERED and codes(report) == {"log_missing"}


# Sources


def spans(*offsets: tuple[int, int]) -> list[Message]:
    return [
        message(n)._replace(source=SourceSpan("events", 3, begin, after))
        for n, (begin, after) in enumerate(offsets)
    ]


def skipped(*ranges: list[int], partition: object = 3, number: int = 0) -> list[object]:
    data = {"topic": "events", "partition": partition, "ranges": list(ranges)}
    event = record_event("source.skipped", data, event_id=f"skip-{number}", source="audit").event
    return [accept(Message(encode_event(event)), Kind.CONTROL)]


SOURCES = {
    "no gap": ([spans((0, 1), (1, 2), (2, 3))], {}),
    "begins anywhere": ([spans((700, 701), (701, 702))], {}),
    "next offset beyond the next": ([spans((0, 5), (5, 6))], {}),
    "a gap": ([spans((0, 1), (5, 6))], {"source_gap": 1}),
    "a gap that is accounted for": ([spans((0, 1), (5, 6)), skipped([1, 5])], {}),
    "a gap in two ranges": ([spans((0, 1), (5, 6)), skipped([1, 3], [3, 5])], {}),
    "a gap accounted for in part": ([spans((0, 1), (5, 6)), skipped([2, 4])], {"source_gap": 1}),
    "accounted for at the end": ([spans((0, 1)), skipped([1, 9]), spans((0, 1), (9, 10))[1:]], {}),
    "another partition's": (
        [spans((0, 1), (5, 6)), skipped([1, 5], partition=4)],
        {"source_gap": 1},
    ),
    "an overlap": ([spans((0, 1), (1, 2), (1, 2))], {"source_overlap": 2}),
    "backwards": ([spans((5, 6), (3, 4))], {"source_overlap": 1}),
    "a record that says nothing": ([spans((0, 1)), skipped(partition="x")], {"entry_malformed": 1}),
    "a range that ends before": ([spans((0, 1)), skipped([3, 3])], {"entry_malformed": 1}),
}


@pytest.mark.parametrize(("batches", "expected"), SOURCES.values(), ids=SOURCES.keys())
def test_every_offset_of_a_source_is_accounted_for(
    batches: list[list[Message]], expected: dict[str, int]
) -> None:
    reader = MadeReader()
    reader.add_log(0, signer_of(0), batches)
    report = verify(reader, Policy.from_vkey(signer_of(0).verifier.vkey))
    assert {finding.code: finding.index for finding in report.findings} == expected


def test_more_partitions_than_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps_sources, "MAX_PARTITIONS", 3)
    reader = MadeReader()
    found = [message(n)._replace(source=SourceSpan(f"t{n}", 0, 0, 1)) for n in range(5)]
    reader.add_log(0, signer_of(0), [found])
    report = verify(reader, Policy.from_vkey(signer_of(0).verifier.vkey))
    assert [(f.code, f.index) for f in report.findings] == [("unreadable", 3), ("unreadable", 4)]


# Readers that fail


class Failing(MadeReader):
    """Fails in one method, in the way of a database or of a reader that meets a strange value."""

    def __init__(self, method: str, error: BaseException) -> None:
        super().__init__()
        self.add_log(0, signer_of(0), [[message(n) for n in range(300)]])
        self.method = method
        self.error = error

    def __getattribute__(self, name: str) -> object:
        if name != "method" and name == object.__getattribute__(self, "__dict__").get("method"):
            raise self.error
        return super().__getattribute__(name)


@pytest.mark.parametrize(
    "error",
    [Unavailable("gone"), StoreCorrupt("malformed"), TypeError("x"), OverflowError(), KeyError(1)],
    ids=repr,
)
@pytest.mark.parametrize(
    "method",
    ["logs", "size", "stored_entries", "newest_checkpoint", "checkpoints", "tiles", "warnings"],
)
def test_a_reader_that_fails_is_cannot_tell(method: str, error: BaseException) -> None:
    policy = Policy.from_vkey(signer_of(0).verifier.vkey)
    report = verify(Failing(method, error), policy)
    assert report.verdict is Verdict.CANNOT_TELL and "unreadable" in codes(report)


def test_a_failure_in_the_middle_keeps_what_was_found() -> None:
    class Half(MadeReader):
        def stored_entries(
            self, log: int, start: int = 0, stop: int | None = None
        ) -> Iterator[Sequence[StoredEntry]]:
            rows = self.rows[log]
            yield [*rows[:10], *rows[11:20]]
            raise Unavailable("the disk is gone")

    reader = Half()
    reader.add_log(0, signer_of(0), [[message(n) for n in range(300)]])
    report = verify(reader, Policy.from_vkey(signer_of(0).verifier.vkey))
    assert {"missing_entry", "unreadable"} <= codes(report)
    assert report.verdict is Verdict.TAMPERED and first(report, "missing_entry") == 10


def test_a_failure_after_a_contradiction_is_still_tampered() -> None:
    class Half(MadeReader):
        def stored_entries(
            self, log: int, start: int = 0, stop: int | None = None
        ) -> Iterator[Sequence[StoredEntry]]:
            yield self.rows[log][:250]
            raise Unavailable("the disk is gone")

    reader = Half()
    found = [message(n) for n in range(300)]
    reader.add_log(0, signer_of(0), [found[:200], found[200:]])
    row = reader.rows[0][100]
    reader.rows[0][100] = (row[0], row[1].replace(b"alice", b"malic"), *row[2:])
    report = verify(reader, Policy.from_vkey(signer_of(0).verifier.vkey))
    assert report.verdict is Verdict.TAMPERED
    assert first(report, "chain_broken") == first(report, "checkpoint_differs") == 100


def test_checkpoints_out_of_order_end_the_same_way() -> None:
    reader = MadeReader()
    found = [message(n) for n in range(300)]
    reader.add_log(0, signer_of(0), [found[:100], found[100:200], found[200:]])
    reader.notes[0] = [reader.notes[0][1], reader.notes[0][0], reader.notes[0][2]]
    report = verify(reader, Policy.from_vkey(signer_of(0).verifier.vkey))
    assert report.ok and report.logs[0].checkpoints == 2


def test_a_claimed_size_of_a_billion_costs_nothing() -> None:
    class Boasting(MadeReader):
        def size(self, log: int) -> int:
            return 10**9

    reader = Boasting()
    reader.add_log(0, signer_of(0), [[message(n) for n in range(10)]])
    report = verify(reader, Policy.from_vkey(signer_of(0).verifier.vkey))
    assert report.verdict is Verdict.TAMPERED and first(report, "missing_entry") == 10


def test_a_writer_going_on_while_we_read_is_no_finding() -> None:
    """Entries, tiles and checkpoints that came after the cut are left alone."""

    class Growing(MadeReader):
        asked = 0

        def size(self, log: int) -> int:
            self.asked += 1
            return 300 if self.asked <= 2 else len(self.rows[log])

        def newest_checkpoint(self, log: int) -> StoredCheckpoint | None:
            return self.notes[log][0]

        def stored_entries(
            self, log: int, start: int = 0, stop: int | None = None
        ) -> Iterator[Sequence[StoredEntry]]:
            yield self.rows[log][start:stop]

    reader = Growing()
    found = [message(n) for n in range(900)]
    reader.add_log(0, signer_of(0), [found[:300], found[300:600], found[600:]])
    report = verify(reader, Policy.from_vkey(signer_of(0).verifier.vkey))
    assert report.ok and report.logs[0].size == 300


def test_a_ledger_that_cannot_be_opened() -> None:
    report = unreadable("sqlite:///x.db", POLICY, "x.db is broken")
    assert report.verdict is Verdict.CANNOT_TELL and report.exit_code == 1
    assert report.to_json()["findings"][0]["message"] == "x.db is broken"


# Findings


def test_notes_do_not_grow() -> None:
    notes = Notes("o")
    for n in range(1_000):
        notes.add("column_differs", 999 - n, f"{n}")
    listed = notes.listed()
    assert len(listed) == MAX_FINDINGS_PER_CODE + 1
    assert [finding.index for finding in listed[:2]] == [990, 991]
    assert listed[-1].message == "and 990 more of these"
