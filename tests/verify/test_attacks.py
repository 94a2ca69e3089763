"""Every attack on a stored ledger, each with the verdict, the finding and the first bad entry.

The ledger has 536 entries in batches that end at 5, 305, 455, 530 and then one by one; full tiles
cover entries 0 to 511. Each test works on a copy whose guards are gone.
"""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.errors import AuditError
from audit.event.envelope import decode_event, encode_event
from audit.log.entry import Entry, decode_entry, encode_entry
from audit.store import open_reader, open_store
from audit.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from audit.tlog.keys import Ed25519Signer
from audit.tlog.note import Note, NoteSignature, parse_note, serialize_note
from audit.verify.findings import Report, Verdict
from audit.verify.policy import Policy
from audit.verify.verifier import verify
from tests.backends import SqliteBackend
from tests.verify.attacker import COLUMNS, SqliteAttacker, flip
from tests.verify.conftest import (
    ORIGIN,
    POLICY,
    SIGNER,
    STRANGER,
    Ledger,
    codes,
    first,
    first_bad,
    in_file,
    in_schema,
    message,
)


@pytest.fixture(params=["postgresql", "sqlite"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    """An untouched copy, guards included, on every backend."""
    if request.param == "sqlite":
        return in_file(request.getfixturevalue("ledger_file"), tmp_path)
    return in_schema(request.getfixturevalue("ledger_schema"), request, tmp_path)


ON_SQLITE = pytest.mark.parametrize("ledger", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("ledger", ["postgresql"], indirect=True)

Change = Callable[[list[Entry]], list[Entry]]


def amount_changed(index: int) -> Change:
    """The name in an event is another one: the kind of edit that pays."""

    def change(entries: list[Entry]) -> list[Entry]:
        entry = entries[index]
        event = decode_event(entry.event)
        payload = event.payload.replace(b"name", b"fame")
        forged = encode_event(event._replace(payload=payload))
        entries[index] = entry._replace(event=forged)
        return entries

    return change


def dropped(index: int) -> Change:
    return lambda entries: entries[:index] + entries[index + 1 :]


def tampered(report: Report, code: str, index: int | None) -> None:
    """The verdict is `tampered`, this finding is there, and nothing before `index` is blamed."""
    assert report.verdict is Verdict.TAMPERED
    assert code in codes(report)
    assert first(report, code) == index
    assert first_bad(report) == index


def test_an_untouched_ledger_is_ok(ledger: Ledger) -> None:
    report = ledger.verify()
    assert report.verdict is Verdict.OK and report.findings == ()
    log = report.logs[0]
    assert (log.size, log.verified_size, log.first_index) == (ledger.size, ledger.size, 0)
    assert log.producer_signatures.to_json() == {
        "checked": 3,
        "invalid": 0,
        "unsigned": 527,
        "unknown_key": 0,
    }
    assert [warning.code for warning in report.warnings] == ["event_id_conflict"]
    assert set(report.not_proven) == {"freshness", "completeness_at_source", "truth"}


# Leaves


@pytest.mark.parametrize("index", [0, 3, 5, 100, 255, 256, 304, 400, 511])
@pytest.mark.parametrize(
    ("ledger", "where"),
    [*(("sqlite", where) for where in (0.02, 0.3, 0.6, 0.99)), ("postgresql", 0.3)],
    indirect=["ledger"],
)
def test_a_bit_flipped_in_a_leaf(attacked: Ledger, index: int, where: float) -> None:
    leaf = attacked.attacker.leaf(index)
    attacked.attacker.update_leaf(index, flip(leaf, int(len(leaf) * where)))
    tampered(attacked.verify(), "checkpoint_differs", index)


@pytest.mark.parametrize("index", [512, 529, 530, 534, 535])
def test_a_bit_flipped_where_no_tile_is_full_yet(attacked: Ledger, index: int) -> None:
    leaf = attacked.attacker.leaf(index)
    attacked.attacker.update_leaf(index, flip(leaf, len(leaf) - 20))
    tampered(attacked.verify(), "checkpoint_differs", index)


def test_bits_all_over_one_leaf(attacked: Ledger) -> None:
    """The newest entry, so that only the last checkpoint can tell."""
    index = attacked.size - 1
    leaf = attacked.attacker.leaf(index)
    for at in range(0, len(leaf), 3 if attacked.backend.name == "sqlite" else 60):
        attacked.attacker.update_leaf(index, flip(leaf, at))
        tampered(attacked.verify(), "checkpoint_differs", index)


@pytest.mark.parametrize("leaf", [b"", b"\x00", b"\xff" * 300, b"\xc3\x01"])
def test_a_leaf_that_is_no_entry(attacked: Ledger, leaf: bytes) -> None:
    attacked.attacker.update_leaf(100, leaf)
    tampered(attacked.verify(), "entry_malformed", 100)


def test_two_entries_swapped(attacked: Ledger) -> None:
    attacked.attacker.swap(100, 400)
    report = attacked.verify()
    tampered(report, "wrong_index", 100)
    assert {f.index for f in report.findings if f.code == "wrong_index"} == {100, 400}


def test_two_neighbours_swapped(attacked: Ledger) -> None:
    attacked.attacker.swap(534, 535)
    tampered(attacked.verify(), "wrong_index", 534)


def test_two_entries_swapped_and_sealed_again(attacked: Ledger) -> None:
    def swap(entries: list[Entry]) -> list[Entry]:
        times = [entry.recorded_time_us for entry in entries]
        entries[100], entries[400] = entries[400], entries[100]
        pairs = zip(entries, times, strict=True)
        return [entry._replace(recorded_time_us=time) for entry, time in pairs]

    attacked.attacker.rewrite(swap)
    # Chain, columns and tiles fit; the checkpoint of size 305 brackets the first bad entry.
    tampered(attacked.verify(), "checkpoint_differs", 5)


# What is missing


@pytest.mark.parametrize("count", [1, 5, 6, 100])
def test_the_last_entries_dropped(attacked: Ledger, count: int) -> None:
    size = attacked.size - count
    attacked.attacker.truncate(size, with_checkpoints=False)
    tampered(attacked.verify(), "truncated", size)


@pytest.mark.parametrize("size", [535, 530, 305])
def test_the_last_entries_dropped_with_their_checkpoints(attacked: Ledger, size: int) -> None:
    """Nothing in the store can tell; an earlier checkpoint that somebody kept does."""
    kept = attacked.attacker.note(536)
    attacked.attacker.truncate(size, with_checkpoints=True)
    alone = attacked.verify()
    assert alone.verdict is Verdict.OK and "freshness" in alone.not_proven
    report = attacked.verify([kept])
    tampered(report, "rolled_back", size)


def test_the_last_entries_dropped_between_two_checkpoints(attacked: Ledger) -> None:
    attacked.attacker.truncate(500, with_checkpoints=True)
    tampered(attacked.verify(), "uncovered_tail", 455)


def test_an_entry_dropped_from_the_middle(attacked: Ledger) -> None:
    attacked.attacker.delete_entries(100, 101)
    report = attacked.verify()
    tampered(report, "missing_entry", 100)
    assert report.logs[0].root_hash is None


def test_an_entry_dropped_and_the_others_renumbered(attacked: Ledger) -> None:
    attacked.attacker.delete_entries(100, 101)
    attacked.attacker.close_gap(100)
    report = attacked.verify()
    tampered(report, "wrong_index", 100)
    assert "truncated" in codes(report)


@pytest.mark.parametrize("tiles", [True, False])
def test_an_entry_dropped_and_all_sealed_again(attacked: Ledger, tiles: bool) -> None:
    attacked.attacker.rewrite(dropped(400), tiles=tiles)
    report = attacked.verify()
    # With its tiles made again only the checkpoint of size 455 says so, and brackets it.
    tampered(report, "checkpoint_differs", 305 if tiles else 400)
    assert "truncated" in codes(report)


def test_an_entry_dropped_and_all_sealed_again_without_new_indexes(attacked: Ledger) -> None:
    attacked.attacker.rewrite(dropped(400), renumber=False)
    tampered(attacked.verify(), "wrong_index", 400)


# Repeats


def test_an_event_sealed_twice_by_the_key_holder(attacked: Ledger) -> None:
    def repeat(entries: list[Entry]) -> list[Entry]:
        last = entries[-1].recorded_time_us
        return [*entries, entries[100]._replace(recorded_time_us=last + 1)]

    attacked.attacker.rewrite(repeat, SIGNER)
    report = attacked.verify()
    tampered(report, "duplicate_event", attacked.size)
    assert codes(report) == {"duplicate_event"}


def test_the_same_id_with_other_bytes_by_the_key_holder(attacked: Ledger) -> None:
    def repeat(entries: list[Entry]) -> list[Entry]:
        last = entries[-1]
        event = decode_event(entries[100].event)._replace(actor="mallory")
        forged = last._replace(
            recorded_time_us=last.recorded_time_us + 1, event=encode_event(event)
        )
        return [*entries, forged]

    attacked.attacker.rewrite(repeat, SIGNER)
    report = attacked.verify()
    tampered(report, "conflicting_event", attacked.size)
    assert codes(report) == {"conflicting_event"}


def test_a_repeated_row_at_the_end(attacked: Ledger) -> None:
    attacked.attacker.insert(attacked.size, attacked.attacker.leaf(100))
    report = attacked.verify()
    tampered(report, "wrong_index", attacked.size)
    assert {"uncovered_tail", "duplicate_event"} <= codes(report)


def test_the_copies_index_columns_play_no_part(attacked: Ledger) -> None:
    """Only the leaf counts: hiding the repeated id in its column changes nothing."""

    def repeat(entries: list[Entry]) -> list[Entry]:
        last = entries[-1].recorded_time_us
        return [*entries, entries[100]._replace(recorded_time_us=last + 1)]

    attacked.attacker.rewrite(repeat, SIGNER)
    attacked.attacker.update_column(attacked.size, "event_id", b"another")
    assert {"duplicate_event", "column_differs"} == codes(attacked.verify())


# Rewriting history


def test_history_rewritten_without_the_key(attacked: Ledger) -> None:
    attacked.attacker.rewrite(amount_changed(400))
    tampered(attacked.verify(), "checkpoint_differs", 305)


def test_the_newest_entry_rewritten_without_the_key(attacked: Ledger) -> None:
    attacked.attacker.rewrite(amount_changed(attacked.size - 1))
    tampered(attacked.verify(), "checkpoint_differs", attacked.size - 1)


def test_history_rewritten_with_the_same_key(attacked: Ledger) -> None:
    """Caught only with an earlier checkpoint; without one `freshness` is named."""
    kept = [attacked.attacker.note(size) for size in (305, 455, 535)]
    attacked.attacker.rewrite(amount_changed(400), SIGNER)
    alone = attacked.verify()
    assert alone.verdict is Verdict.OK and "freshness" in alone.not_proven
    report = attacked.verify(kept)
    tampered(report, "history_rewritten", 305)
    assert "freshness" not in report.not_proven  # the checkpoint of size 305 agrees
    assert first(attacked.verify(kept[1:]), "history_rewritten") == 0


def test_a_signed_event_rewritten_with_the_logs_key(attacked: Ledger) -> None:
    """The producer's signature is what the log's key cannot forge."""
    index = next(
        i for i, leaf in enumerate(attacked.attacker.leaves()) if decode_entry(leaf).signature
    )
    attacked.attacker.rewrite(amount_changed(index), SIGNER)
    report = attacked.verify()
    tampered(report, "producer_signature", index)
    assert report.logs[0].producer_signatures.invalid == 1


def test_history_rewritten_with_another_key(attacked: Ledger) -> None:
    attacked.attacker.rewrite(amount_changed(400), STRANGER)
    report = attacked.verify()
    assert report.verdict is Verdict.CANNOT_TELL
    assert codes(report) == {"unknown_key"}
    assert report.logs[0].verified_size == 0


def test_history_rewritten_with_another_key_and_its_name(attacked: Ledger) -> None:
    """The store names the new key: it makes no difference, the policy decides."""
    attacked.attacker.rewrite(amount_changed(400), STRANGER)
    attacked.attacker.sql("UPDATE logs SET vkey = ?", [STRANGER.verifier.vkey])
    assert attacked.verify().verdict is Verdict.CANNOT_TELL


def test_the_tail_rewritten_with_another_key(attacked: Ledger) -> None:
    """The old checkpoints stay; only those over the forged tail are by the stranger."""
    old = {size: attacked.attacker.note(size) for size in (4, 5, 305)}
    attacked.attacker.rewrite(amount_changed(400), STRANGER)
    for size, note in old.items():
        attacked.attacker.set_checkpoint(size, note)
    report = attacked.verify()
    tampered(report, "uncovered_tail", 305)
    assert "unknown_key" in codes(report)


def test_rollback_to_an_older_copy(attacked: Ledger) -> None:
    restore = attacked.backend.restorable()
    with open_store(attacked.url) as store:
        kept = store.append(0, [message(20_000)], SIGNER).checkpoint
    restore()
    assert kept is not None
    alone = attacked.verify()
    assert alone.verdict is Verdict.OK and "freshness" in alone.not_proven
    report = attacked.verify([kept])
    tampered(report, "rolled_back", attacked.size)


def test_the_newest_checkpoint_replaced_by_an_older_one(attacked: Ledger) -> None:
    attacked.attacker.set_checkpoint(536, attacked.attacker.note(455))
    report = attacked.verify()
    assert report.verdict is Verdict.TAMPERED
    assert {"checkpoint_size", "uncovered_tail"} == codes(report)
    assert first(report, "uncovered_tail") == 535


def test_two_signed_roots_of_one_size_stored_and_elsewhere(attacked: Ledger) -> None:
    other = sign_checkpoint(Checkpoint(ORIGIN, 455, bytes(32)), SIGNER)
    report = attacked.verify([other])
    tampered(report, "equivocation", 0)
    assert codes(report) == {"equivocation", "history_rewritten"}


def test_two_signed_roots_of_one_size_both_from_elsewhere(attacked: Ledger) -> None:
    notes = [sign_checkpoint(Checkpoint(ORIGIN, 10_000, bytes([n]) * 32), SIGNER) for n in range(2)]
    report = attacked.verify(notes)
    assert report.verdict is Verdict.TAMPERED
    assert codes(report) == {"equivocation", "rolled_back"}


def test_a_stored_checkpoint_with_another_root(attacked: Ledger) -> None:
    attacked.attacker.set_checkpoint(
        455, sign_checkpoint(Checkpoint(ORIGIN, 455, bytes(32)), SIGNER)
    )
    report = attacked.verify()
    tampered(report, "checkpoint_differs", 305)
    assert report.logs[0].verified_size == 536


# Columns, tiles, checkpoints, names


OTHER = {
    "recorded_time_us": 1,
    "kind": 1,
    "type": "data.delete",
    "source": b"web",
    "event_id": b"event-0",
    "entity_type": "account",
    "entity_key": b"2",
    "signature": bytes(68),
}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize(
    ("ledger", "index"),
    [*(("sqlite", index) for index in (8, 9, 200, 535)), ("postgresql", 200)],
    indirect=["ledger"],
)
def test_an_index_column_edited(attacked: Ledger, column: str, index: int) -> None:
    attacked.attacker.update_column(index, column, OTHER[column])
    report = attacked.verify()
    tampered(report, "column_differs", index)
    assert codes(report) == {"column_differs"}
    assert column in report.findings[0].message


@pytest.mark.parametrize("column", ["type", "source", "event_id", "entity_type", "entity_key"])
def test_an_index_column_emptied(attacked: Ledger, column: str) -> None:
    attacked.attacker.update_column(200, column, None)
    tampered(attacked.verify(), "column_differs", 200)


def test_the_stored_type_changed(attacked: Ledger) -> None:
    """What a query finds by its type is another event's kind."""
    attacked.attacker.update_column(200, "type", "data.delete")
    report = attacked.verify()
    tampered(report, "column_differs", 200)
    assert "type" in report.findings[0].message


VALUES: list[object] = [None, 0, 1.0, "text", b"bytes", -1, 2**62]


@ON_SQLITE
@pytest.mark.parametrize("column", [*COLUMNS, "leaf", "index"])
def test_a_value_of_any_type_in_any_column(ledger: Ledger, column: str) -> None:
    ledger.attacker.relax_types()
    query = f'SELECT rowid, "{column}" FROM entries WHERE "index" = 200'
    ((row, original),) = ledger.attacker.sql(query)
    put = f'UPDATE entries SET "{column}" = ? WHERE rowid = ?'
    for value in VALUES:
        ledger.attacker.sql(put, [value, row])
        same = type(value) is type(original) and value == original
        assert (beside_the_schema(ledger) == set()) is same, repr(value)
    ledger.attacker.sql(put, [original, row])
    assert beside_the_schema(ledger) == set()


def beside_the_schema(ledger: Ledger) -> set[str]:
    """The codes found, but for the table itself being another one."""
    report = ledger.verify()
    assert report.verdict == "tampered"
    return {finding.code for finding in report.findings} - {"schema_changed"}


@ON_SQLITE
def test_every_column_as_a_float(ledger: Ledger) -> None:
    """SQL finds 1.0 equal to 1; the ledger never writes it."""
    ledger.attacker.relax_types()
    time = decode_entry(ledger.attacker.leaf(200)).recorded_time_us
    for column, value in (("kind", 0.0), ("recorded_time_us", float(time))):
        ledger.attacker.update_column(200, column, value)
        tampered(ledger.verify(), "column_differs", 200)
        ledger.attacker.update_column(200, column, int(value))
    assert beside_the_schema(ledger) == set()


def test_recorded_time_edited_in_its_column(attacked: Ledger) -> None:
    time = decode_entry(attacked.attacker.leaf(200)).recorded_time_us
    attacked.attacker.update_column(200, "recorded_time_us", time + 1)
    tampered(attacked.verify(), "column_differs", 200)


def test_recorded_time_edited_in_the_leaf(attacked: Ledger) -> None:
    entry = decode_entry(attacked.attacker.leaf(200))
    later = entry._replace(recorded_time_us=entry.recorded_time_us - 1)
    attacked.attacker.update_leaf(200, encode_entry(later))
    tampered(attacked.verify(), "column_differs", 200)


@pytest.mark.parametrize("step_us", [0, -1, -(10**12)])
def test_recorded_time_running_backwards_sealed_by_the_key_holder(
    attacked: Ledger, step_us: int
) -> None:
    def backwards(entries: list[Entry]) -> list[Entry]:
        time = entries[199].recorded_time_us + step_us
        entries[200] = entries[200]._replace(recorded_time_us=time)
        return entries

    attacked.attacker.rewrite(backwards, SIGNER)
    report = attacked.verify()
    tampered(report, "recorded_time", 200)
    assert codes(report) == {"recorded_time"}


def test_a_tile_edited(attacked: Ledger) -> None:
    (data,) = attacked.attacker.sql('SELECT data FROM tiles WHERE "index" = 1')[0]
    attacked.attacker.sql('UPDATE tiles SET data = ? WHERE "index" = 1', [flip(data, 32 * 7)])
    report = attacked.verify()
    tampered(report, "tile_differs", 256 + 7)
    assert codes(report) == {"tile_differs"}


def test_a_tiles_root_edited(attacked: Ledger) -> None:
    attacked.attacker.sql('UPDATE tiles SET root = ? WHERE "index" = 1', [bytes(32)])
    tampered(attacked.verify(), "tile_differs", 256)


@pytest.mark.parametrize("data", [b"", bytes(8191), bytes(8193)])
def test_a_tile_of_another_length(attacked: Ledger, data: bytes) -> None:
    attacked.attacker.sql('UPDATE tiles SET data = ? WHERE "index" = 0', [data])
    tampered(attacked.verify(), "tile_differs", 0)


def test_a_tile_deleted(attacked: Ledger) -> None:
    attacked.attacker.sql('DELETE FROM tiles WHERE "index" = 0')
    tampered(attacked.verify(), "tile_missing", 0)


@pytest.mark.parametrize("place", [(0, 2), (0, -1), (1, 0), (63, 2**62), (-1, 0), (0, 2**62)])
def test_a_tile_too_many(attacked: Ledger, place: tuple[int, int]) -> None:
    values = [*place, bytes(8192), bytes(32)]
    attacked.attacker.sql("INSERT INTO tiles VALUES (0, ?, ?, ?, ?)", values)
    tampered(attacked.verify(), "tile_extra", None)


def test_a_schema_swapped(attacked: Ledger) -> None:
    """By the key holder, so that nothing but the schema's own digest can tell."""

    def swap(entries: list[Entry]) -> list[Entry]:
        event = decode_event(entries[1].event)
        forged = event._replace(payload=event.payload.replace(b"index", b"xedni"))
        entries[1] = entries[1]._replace(event=encode_event(forged))
        return entries

    attacked.attacker.rewrite(swap, SIGNER)
    report = attacked.verify()
    tampered(report, "schema_differs", 1)
    assert codes(report) == {"schema_differs"}


def test_two_schemas_exchanged(attacked: Ledger) -> None:
    attacked.attacker.swap(1, 2)
    tampered(attacked.verify(), "wrong_index", 1)


def test_the_key_of_the_log_swapped(attacked: Ledger) -> None:
    attacked.attacker.sql("UPDATE logs SET vkey = ?", [STRANGER.verifier.vkey])
    report = attacked.verify()
    tampered(report, "log_row_differs", None)


def test_the_name_of_the_log_swapped(attacked: Ledger) -> None:
    attacked.attacker.sql("UPDATE logs SET origin = 'example.com/other'")
    report = attacked.verify()
    tampered(report, "log_row_differs", None)
    assert report.logs[0].origin == ORIGIN and report.logs[0].verified_size == 536


def test_the_logs_row_deleted(attacked: Ledger) -> None:
    attacked.attacker.sql("DELETE FROM logs")
    tampered(attacked.verify(), "log_row_differs", None)


@pytest.mark.parametrize("origin", ["", "\x00", "a\nb", "x" * 5000, "—"])
def test_a_log_with_a_strange_name(attacked: Ledger, origin: str) -> None:
    if "\x00" in origin and attacked.backend.name == "postgresql":
        pytest.skip("no text of PostgreSQL holds U+0000")
    attacked.attacker.sql("UPDATE logs SET origin = ?", [origin])
    tampered(attacked.verify(), "log_row_differs", None)


def test_a_second_log_that_nobody_knows(attacked: Ledger) -> None:
    attacked.attacker.sql("INSERT INTO logs VALUES (1, 'example.com/extra', 'x')")
    report = attacked.verify()
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"empty"}


def test_a_second_log_that_holds_the_first_ones_checkpoints(attacked: Ledger) -> None:
    """Under another name, which its checkpoints do not have."""
    attacked.attacker.sql("INSERT INTO logs VALUES (1, 'example.com/extra', 'x')")
    for table in ("checkpoints", "entries", "tiles"):
        rows = attacked.attacker.sql(f"SELECT * FROM {table} WHERE log = 0")
        for row in rows or ():
            marks = ", ".join("?" * len(row))
            attacked.attacker.sql(f"INSERT INTO {table} VALUES ({marks})", [1, *row[1:]])
    tampered(attacked.verify(), "log_twice", None)


def test_all_checkpoints_deleted(attacked: Ledger) -> None:
    kept = attacked.attacker.note(536)
    attacked.attacker.delete_checkpoints()
    report = attacked.verify()
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"no_checkpoint"}
    # Whoever kept the last one can still tell that every entry is genuine.
    report = attacked.verify([kept])
    assert report.verdict is Verdict.OK
    assert "checkpoint_missing" in {warning.code for warning in report.warnings}


def test_the_newest_checkpoint_deleted(attacked: Ledger) -> None:
    attacked.attacker.sql("DELETE FROM checkpoints WHERE size = 536")
    tampered(attacked.verify(), "uncovered_tail", 535)


def test_all_entries_deleted(attacked: Ledger) -> None:
    attacked.attacker.delete_entries(0)
    tampered(attacked.verify(), "truncated", 0)


def test_everything_deleted(attacked: Ledger) -> None:
    kept = attacked.attacker.note(536)
    for table in ("entries", "tiles", "checkpoints"):
        attacked.attacker.sql(f"DELETE FROM {table}")
    report = attacked.verify()
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"empty"}
    tampered(attacked.verify([kept]), "rolled_back", 0)
    attacked.attacker.sql("DELETE FROM logs")
    report = attacked.verify()
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"empty"}
    tampered(attacked.verify([kept]), "log_missing", None)


BAD_NOTES = {
    "nothing": b"",
    "text": b"hello\n",
    "binary": bytes(range(256)),
    "no signature": f"{ORIGIN}\n536\n".encode() + b"A" * 43 + b"=\n",
    "too long": b"x" * 1_000_001,
}


@pytest.mark.parametrize("note", BAD_NOTES.values(), ids=BAD_NOTES.keys())
def test_a_checkpoint_that_is_none(attacked: Ledger, note: bytes) -> None:
    attacked.attacker.set_checkpoint(536, note)
    report = attacked.verify()
    assert report.verdict is Verdict.TAMPERED
    assert codes(report) == {"checkpoint_malformed", "uncovered_tail"}


def test_a_checkpoint_with_a_wrong_signature(attacked: Ledger) -> None:
    note = parse_note(attacked.attacker.note(536))
    line = note.signatures[0]
    forged = NoteSignature(line.name, line.key_id, flip(line.signature, 5))
    attacked.attacker.set_checkpoint(536, serialize_note(Note(note.text, (forged,))))
    report = attacked.verify()
    assert report.verdict is Verdict.TAMPERED
    assert codes(report) == {"checkpoint_signature", "uncovered_tail"}


def test_a_checkpoint_of_another_log(attacked: Ledger) -> None:
    other = Ed25519Signer.from_seed("example.com/other", bytes([9]) * 32)
    root = open_checkpoint(attacked.attacker.note(536), POLICY.logs).root
    note = sign_checkpoint(Checkpoint(other.name, 536, root), other)
    attacked.attacker.set_checkpoint(536, note)
    policy = Policy.from_vkeys([SIGNER.verifier.vkey, other.verifier.vkey])
    attacked.attacker.sql("DELETE FROM checkpoints WHERE size IN (535, 534)")
    report = attacked.verify(policy=policy)
    assert report.verdict is Verdict.TAMPERED
    assert {"checkpoint_origin", "uncovered_tail"} <= codes(report)


@pytest.mark.parametrize("size", [-1, -(2**63), 0, 2**62, 2**63 - 1])
def test_a_checkpoint_under_a_size_that_it_does_not_sign(attacked: Ledger, size: int) -> None:
    attacked.attacker.set_checkpoint(size, attacked.attacker.note(536))
    report = attacked.verify()
    assert report.verdict is Verdict.TAMPERED
    assert codes(report) <= {"checkpoint_size", "row_malformed"}


@pytest.mark.parametrize("index", [-1, -(2**63), 600, 2**62])
def test_a_row_outside_the_log(attacked: Ledger, index: int) -> None:
    attacked.attacker.move(535, index)
    report = attacked.verify()
    assert report.verdict is Verdict.TAMPERED
    assert first_bad(report) == min(index, 535)


# Guards


def test_guards_dropped_is_a_warning(attacked: Ledger) -> None:
    report = attacked.verify()
    assert report.verdict is Verdict.OK
    assert {"guard_missing", "event_id_conflict"} == {w.code for w in report.warnings}


def test_guards_replaced_by_empty_ones_is_a_warning(ledger: Ledger) -> None:
    ledger.attacker.empty_guards()
    report = ledger.verify()
    assert report.verdict is Verdict.OK
    assert "guard_changed" in {warning.code for warning in report.warnings}


# Files


@ON_SQLITE
def test_the_database_without_its_wal(ledger: Ledger, tmp_path: Path) -> None:
    """What was committed last lives in the -wal file: without it the ledger is an older one."""
    (tmp_path / "copy").mkdir()
    copy = SqliteBackend(tmp_path / "copy")
    store = open_store(ledger.url)
    connection = sqlite3.connect(ledger.path)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM entries").fetchone()  # keeps the -wal from going
    kept = store.append(0, [message(30_000)], SIGNER).checkpoint
    shutil.copy(ledger.path, copy.path)
    connection.close()
    store.close()
    assert kept is not None
    older = Ledger(copy, SqliteAttacker(copy.path))
    alone = older.verify()
    assert alone.verdict is Verdict.OK and "freshness" in alone.not_proven
    tampered(older.verify([kept]), "rolled_back", ledger.size)


def verify_file(path: Path) -> Report | None:
    """The report; None when opening is refused, in one line."""
    try:
        with open_reader(f"sqlite:///{path}") as reader:
            return verify(reader, POLICY)
    except AuditError as error:
        assert "\n" not in str(error)
        return None


def contents(path: Path) -> list[object]:
    """All that a ledger says, read without the library; differs when anything was changed."""
    connection = sqlite3.connect(path)
    try:
        return [
            connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()
            for table in ("entries", "tiles", "checkpoints", "logs")
        ]
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return [str(error)]
    finally:
        connection.close()


@ON_SQLITE
@pytest.mark.parametrize("start", range(8))
def test_a_flipped_byte_in_the_file(ledger: Ledger, tmp_path: Path, start: int) -> None:
    """Never a traceback, and never `ok` when anything that is stored reads differently."""
    original = contents(ledger.path)
    data = ledger.path.read_bytes()
    path = tmp_path / "flipped.db"
    for at in range(start * 97, len(data), len(data) // 25):
        path.write_bytes(data[:at] + bytes((data[at] ^ 0x55,)) + data[at + 1 :])
        report = verify_file(path)
        if report is not None and report.ok:
            assert contents(path) == original


@ON_SQLITE
@pytest.mark.parametrize("part", [0.5, 0.25, 0.9, 0.01])
def test_half_the_file(ledger: Ledger, tmp_path: Path, part: float) -> None:
    data = ledger.path.read_bytes()
    path = tmp_path / "half.db"
    path.write_bytes(data[: int(len(data) * part)])
    report = verify_file(path)
    assert report is None or not report.ok


INDEXES = ["entries_entity", "entries_recorded", "entries_event_id", "entries_special"]


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_that_leaves_a_row_out(ledger: Ledger, name: str) -> None:
    """No guard is touched and every leaf is as it was; but answers come through the index."""
    if name == "entries_recorded" and ledger.backend.name == "postgresql":
        pytest.skip("PostgreSQL does without this index")
    ledger.attacker.hide_from_index(name, 0 if name == "entries_special" else 200)
    report = ledger.verify()
    assert report.verdict == "tampered"
    assert {finding.code for finding in report.findings} == {"index_differs"}


def test_an_index_dropped(ledger: Ledger) -> None:
    ledger.attacker.sql("DROP INDEX entries_entity")
    report = ledger.verify()
    assert {finding.code for finding in report.findings} == {"schema_changed"}


@pytest.mark.parametrize("table", ["entries", "logs", "checkpoints", "tiles"])
def test_a_table_replaced_by_a_view_without_end(ledger: Ledger, table: str) -> None:
    ledger.attacker.replace_by_endless_view(table)
    report = ledger.verify()
    assert report.verdict == "tampered"
    assert "table_replaced" in {finding.code for finding in report.findings}
