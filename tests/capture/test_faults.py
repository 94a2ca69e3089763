"""What goes wrong around an emitter: full disk, locked, broken and read-only stores, poison."""

import sqlite3
from pathlib import Path

import pytest

from audit.capture.delivery.spool import encode_first_line, encode_record
from audit.capture.emitter import Emitter
from audit.errors import StoreBusy, StoreCorrupt, Unavailable
from audit.event.build import data_event, schema_event
from audit.event.envelope import encode_event
from audit.log.entry import Kind
from audit.store import sqlite as store_sqlite
from tests.backends import SqliteBackend
from tests.capture.support import (
    DROP_CAPABILITIES,
    drain,
    events,
    make_ledger,
    origin_of,
    python,
    records,
    require_gapless,
    spool_files,
    url,
)

LIMITS = """
import resource, sys
from audit.capture.emitter import Emitter
from audit.errors import Unavailable, AuditError
def limit(size):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))
"""


def locked(folder: Path) -> sqlite3.Connection:
    """Another program holds the store's write lock."""
    other = sqlite3.connect(folder / "audit.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_emit_does_not_wait_for_a_locked_store_and_flush_says_so(tmp_path: Path) -> None:
    with Emitter(url(tmp_path)) as emit:
        other = locked(tmp_path)
        for number in range(3):
            emit.create("user", number, {})
        with pytest.raises(Unavailable, match=r"4 events wait in .*\.spool"):
            emit.flush(timeout=0.05)
        assert emit.waiting == 4
        other.execute("ROLLBACK")
        other.close()
        emit.flush()
        assert emit.waiting == 0
    assert len(events(tmp_path)) == 3


def test_a_store_that_stays_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_sqlite, "BUSY_TIMEOUT_MS", 50)
    emit = Emitter(url(tmp_path), on_unavailable="raise")
    other = locked(tmp_path)
    emit.create("user", 1, {})
    with pytest.raises(StoreBusy, match="2 events wait"):
        emit.flush()
    with pytest.raises(Unavailable, match="not emitted"):
        emit.create("user", 2, {})
    with pytest.raises(StoreBusy):
        emit.close()
    other.close()
    assert events(tmp_path) == []
    drain(tmp_path)
    assert [e.entity_key for e in events(tmp_path)] == ["1"]
    assert spool_files(tmp_path) == []


def test_a_durable_event_that_cannot_be_sealed_waits_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_sqlite, "BUSY_TIMEOUT_MS", 50)
    with Emitter(url(tmp_path), durable=True) as emit:
        other = locked(tmp_path)
        with pytest.raises(Unavailable, match="events wait"):
            emit.create("user", 1, {})
        other.close()
        emit.create("user", 2, {})
    found = events(tmp_path)
    assert [e.entity_key for e in found] == ["1", "2"]
    require_gapless(found)


def test_a_store_that_was_tampered_with_is_not_appended_to(tmp_path: Path) -> None:
    with Emitter(url(tmp_path)) as emit:
        emit.create("user", 1, {})
    backend = SqliteBackend(tmp_path)
    emit = Emitter(url(tmp_path))
    backend.drop_guards()
    backend.sql('DELETE FROM entries WHERE "index" = 5')
    emit.create("user", 2, {})
    with pytest.raises(StoreCorrupt, match=r"(?s)audit verify.*2 events wait"):
        emit.close()
    assert len(spool_files(tmp_path)) == 1


def test_a_full_disk_under_the_spool(tmp_path: Path) -> None:
    code = (
        LIMITS
        + """
with Emitter(sys.argv[1], spool=sys.argv[2]) as emit:
    emit.create("user", "before", {})
    emit.flush()
    limit(400)
    ids = []
    for number in range(20):
        try:
            ids.append(emit.create("user", number, {"text": "x" * 60}))
        except Unavailable as error:
            print("refused", str(error).splitlines()[0].split(": ")[-1])
            break
    limit(None)
    emit.create("user", "after", {})
print(len(ids))
"""
    )
    done = python(code, url(tmp_path), tmp_path / "spool")
    assert (done.code, done.err) == (0, "")
    refused, count = done.out.splitlines()
    assert refused in ("refused File too large", "refused No space left on device")
    keys = ["before", *map(str, range(int(count))), "after"]
    assert [e.entity_key for e in events(tmp_path)] == keys
    require_gapless(events(tmp_path))
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_full_disk_under_the_store_and_then_room_again(tmp_path: Path) -> None:
    code = (
        LIMITS
        + """
emit = Emitter(sys.argv[1])
emit.flush()
limit(100_000)
for number in range(1000):
    emit.create("user", number, {"text": "x" * 20})
    if number % 100 == 99:
        try:
            emit.flush()
        except AuditError as error:
            print(type(error).__name__, str(error).splitlines()[1].split(" in ")[0])
            break
waited = emit.waiting
limit(None)
emit.close()
print(number + 1, waited > 0)
"""
    )
    done = python(code, url(tmp_path))
    assert (done.code, done.err) == (0, "")
    refused, said = done.out.splitlines()
    assert refused.startswith("Unavailable ") and refused.endswith(" events wait")
    count, waited = said.split()
    assert waited == "True"
    assert [e.entity_key for e in events(tmp_path)] == [str(n) for n in range(int(count))]
    require_gapless(events(tmp_path))


def test_a_full_disk_until_the_process_ends(tmp_path: Path) -> None:
    code = (
        LIMITS
        + """
emit = Emitter(sys.argv[1])
emit.create("user", "first", {})
emit.flush()
limit(60_000)
acknowledged = 1
try:
    for number in range(200):
        emit.create("user", number, {"text": "x" * 100})
        acknowledged += 1
    emit.close()
except Unavailable:
    pass
print(acknowledged)
"""
    )
    done = python(code, url(tmp_path))
    assert done.code == 0
    acknowledged = int(done.out)
    drain(tmp_path)
    assert len(events(tmp_path)) == acknowledged
    require_gapless(events(tmp_path))
    assert spool_files(tmp_path) == []


def test_a_folder_that_becomes_read_only(tmp_path: Path) -> None:
    make_ledger(tmp_path)
    code = (
        DROP_CAPABILITIES
        + """
import sys
from audit.capture.emitter import Emitter
from audit.errors import Unavailable
drop_capabilities()
try:
    with Emitter(sys.argv[1]) as emit:
        emit.create("user", 1, {})
    print("emitted")
except Unavailable as error:
    print(error)
"""
    )
    tmp_path.chmod(0o555)
    try:
        done = python(code, url(tmp_path))
    finally:
        tmp_path.chmod(0o755)
    assert (done.code, done.err) == (0, "")
    assert "emitted" not in done.out and len(done.out.splitlines()) <= 2
    assert events(tmp_path) == []


def test_poison_in_a_spool_is_quarantined_and_stops_nothing(tmp_path: Path) -> None:
    with Emitter(url(tmp_path)) as emit:
        emit.flush()
    origin = origin_of(tmp_path)
    built = data_event("create", "user", 1, event_id="good", source="app", after={"a": 1})
    good = encode_event(built.event)
    schema = encode_event(schema_event(built.schemas[0]))
    folder = tmp_path / "audit-spool"
    (folder / "dead-000000.spool").write_bytes(
        encode_first_line(origin)
        + encode_record(0, b"junk", None)
        + encode_record(None, schema, None)
        + encode_record(1, b"", None)
        + encode_record(2, good, None)
        + encode_record(3, good[:-1], None)
        + encode_record(4, good, None)
    )
    with Emitter(url(tmp_path)) as emit:
        emit.create("user", 2, {})
    assert (emit.quarantined, emit.duplicates) == (3, 2)
    assert [e.event_id == "good" for e in events(tmp_path)] == [True, False]
    quarantined = [r.entry for r in records(tmp_path) if r.entry.kind is Kind.QUARANTINED]
    assert [entry.event for entry in quarantined] == [b"junk", b"", good[:-1]]
    assert spool_files(tmp_path) == []


def test_a_damaged_spool_is_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Emitter(url(tmp_path)) as emit:
        emit.flush()
    origin = origin_of(tmp_path)
    built = data_event("create", "user", 1, event_id="good", source="app", after={"a": 1})
    bad = encode_record(0, b"lost", None)[:-1] + b"!"
    (tmp_path / "audit-spool" / "dead-000000.spool").write_bytes(
        encode_first_line(origin) + bad + encode_record(1, encode_event(built.event), None)
    )
    drain(tmp_path)
    assert [e.event_id for e in events(tmp_path)] == ["good"]
    (line,) = [r.getMessage() for r in caplog.records]
    assert ".corrupt is damaged in 1 place" in line and "\n" not in line
    assert [p.suffix for p in spool_files(tmp_path)] == [".corrupt"]
