"""The emitter: what comes out of each call, signatures, schemas, sequence numbers, durability."""

import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from audit.capture.context import context
from audit.capture.delivery import backlog, sealer
from audit.capture.emitter import Emitter
from audit.errors import AuditError, InvalidInput, LimitExceeded, NotFound, Unavailable
from audit.event.envelope import encode_event
from audit.event.payload import decode_payload
from audit.event.schema import SchemaBook
from audit.event.signing import SignatureCheck, check_event
from audit.log.entry import Kind
from audit.tlog.keyfile import write_key
from audit.tlog.keys import Ed25519Signer
from tests.capture.support import (
    ROW,
    checkpoint_count,
    events,
    records,
    require_gapless,
    rows,
    spool_files,
    url,
)

SEED = bytes(range(32))


def test_the_story_of_a_user(tmp_path: Path) -> None:
    with Emitter(url(tmp_path), source="crm") as emit:
        ids = [
            emit.create("user", 5, {"name": "Christian", "dpt": "SCS"}),
            emit.update("user", 5, {"dpt": "ISR"}),
        ]
        emit.flush()
        assert rows(tmp_path, "user") == {"5": {"name": "Christian", "dpt": "ISR"}}
        ids.append(emit.delete("user", 5, before={"dpt": "ISR"}))
        ids.append(emit.truncate("user"))
    found = events(tmp_path)
    assert [e.event_id for e in found] == ids
    assert [e.type for e in found] == [
        *("data.create", "data.update", "data.delete", "data.truncate"),
    ]
    assert {e.source for e in found} == {"crm"}
    assert [e.entity_key for e in found] == ["5", "5", "5", None]
    assert {e.producer_id for e in found} == {emit.producer_id}
    require_gapless(found)
    assert (emit.sealed, emit.duplicates, emit.conflicts, emit.waiting) == (5, 0, 0, 0)
    assert spool_files(tmp_path) == []
    assert rows(tmp_path, "user") == {}


def test_context_and_options_fill_the_envelope(tmp_path: Path) -> None:
    now_us = 1_700_000_000_000_000
    with Emitter(url(tmp_path), clock=lambda: now_us) as emit:
        emit.create("user", 1, {})
        with context(
            actor="alice",
            reason="ticket 4711",
            transaction="tx",
            request_id="req",
            trace_id="trace",
            valid_time="2026-01-02",
        ):
            emit.update("user", 1, {"a": 1})
            emit.update(
                "user",
                1,
                {"a": 2},
                actor="bob",
                reason=None,
                transaction=None,
                valid_time=datetime(1970, 1, 1, tzinfo=UTC),
                event_id="my-id",
                supersedes="other",
                subject="person 1",
                source="batch",
            )
            emit.update("user", 1, {"a": 3}, valid_time=None)
    plain, inside, given, recorded = events(tmp_path)
    assert (plain.actor, plain.valid_time_us, plain.source) == (None, now_us, "app")
    assert (inside.actor, inside.reason, inside.transaction_id) == ("alice", "ticket 4711", "tx")
    assert (inside.request_id, inside.trace_id) == ("req", "trace")
    assert inside.valid_time_us == 1_767_312_000_000_000
    assert (given.actor, given.reason, given.transaction_id) == ("bob", None, None)
    assert (given.valid_time_us, given.event_id, given.supersedes) == (0, "my-id", "other")
    assert (given.subject, given.source, given.request_id) == ("person 1", "batch", "req")
    assert recorded.valid_time_us is None


def test_images(tmp_path: Path) -> None:
    with Emitter(url(tmp_path)) as emit:
        emit.create("user", 1, {"a": 1, "b": 2})
        emit.update("user", 1, {"a": 3}, before={"a": 1})
        emit.update("user", 1, {"b": 4}, full=True)
    book = SchemaBook.with_builtins()
    assert [tuple(decode_payload(e, book)) for e in events(tmp_path)] == [
        ("full", None, {"a": 1, "b": 2}),
        ("patch", {"a": 1}, {"a": 3}),
        ("full", None, {"b": 4}),
    ]


def test_an_event_in_its_json_form(tmp_path: Path) -> None:
    with Emitter(url(tmp_path), source="crm") as emit, context(actor="alice"):
        emit.emit(
            {
                "type": "data.create",
                "entity_type": "user",
                "entity_key": 5,
                "event_id": "one",
                "after": {"price": {"$decimal": "1.50"}},
            }
        )
        emit.emit({"type": "review", "data": {"ok": True}, "actor": "bob", "valid_time": None})
    one, two = events(tmp_path)
    assert (one.event_id, one.source, one.actor) == ("one", "crm", "alice")
    assert one.valid_time_us is not None
    assert (two.actor, two.valid_time_us) == ("bob", None)
    require_gapless([one, two])
    assert rows(tmp_path, "user") == {"5": {"price": Decimal("1.50")}}


@pytest.mark.parametrize("type_", ["key.revoked", "schema", "log.opened", "nonsense", None, ["x"]])
def test_what_an_application_may_not_say(tmp_path: Path, type_: Any) -> None:
    with Emitter(url(tmp_path)) as emit:
        with pytest.raises(InvalidInput, match="type"):
            emit.emit({"type": type_, "data": {}})
        with pytest.raises(InvalidInput):
            emit.record(type_, {})
    assert events(tmp_path) == []


def test_records(tmp_path: Path) -> None:
    with Emitter(url(tmp_path)) as emit:
        emit.record("review", {"wrong": True}, entity_type="prediction", entity_key="p1")
    (event,) = events(tmp_path)
    assert (event.type, event.entity_type, event.entity_key) == ("review", "prediction", "p1")
    assert decode_payload(event, SchemaBook.with_builtins()) == {"wrong": True}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda e: e.create("user", 1, {"x": datetime(2026, 1, 1)}), "field 'x'.*naive"),
        (lambda e: e.create("user", 1, {"x": 2**63}), "field 'x'"),
        (lambda e: e.create("user", 1, {"x": object()}), "field 'x'"),
        (lambda e: e.create("user", 1, {5: 1}), "string"),
        (lambda e: e.create("user", 1, [1]), "dict"),
        (lambda e: e.create("user", 1, None), "needs the row"),
        (lambda e: e.create("user", 1.5, {}), "key"),
        (lambda e: e.create("user", None, {}), "key"),
        (lambda e: e.create("user", "k" * 1025, {}), "1025"),
        (lambda e: e.create("User", 1, {}), "entity_type"),
        (lambda e: e.create("prediction", 1, {}), "prediction"),
        (lambda e: e.create("user", 1, {}, actor=5), "actor"),
        (lambda e: e.create("user", 1, {}, who="me"), "no option who"),
        (lambda e: e.create("user", 1, {}, valid_time="soon"), "RFC 3339"),
        (lambda e: e.create("user", 1, {}, event_id="x" * 129), "129|128"),
        (lambda e: e.create("user", 1, {"x": "y" * 70_000}), "64"),
        (lambda e: e.emit([]), "dict"),
        (lambda e: e.emit({"type": "data.create", "nonsense": 1}), "nonsense"),
        (lambda e: e.frame("user", 5), "DataFrame"),
    ],
)
def test_what_is_refused_leaves_no_gap_and_stops_nothing(
    tmp_path: Path, call: Any, words: str
) -> None:
    with Emitter(url(tmp_path)) as emit:
        emit.create("user", 0, {})
        with pytest.raises(InvalidInput, match=words):
            call(emit)
        emit.create("user", 2, {})
    found = events(tmp_path)
    assert [e.entity_key for e in found] == ["0", "2"]
    require_gapless(found)


def test_signed_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_KEY_PASSPHRASE", "secret")
    write_key(tmp_path / "crm.key", "crm", SEED, b"secret")
    with Emitter(url(tmp_path), source="crm", key=tmp_path / "crm.key") as emit:
        emit.create("user", 1, ROW)
        emit.update("user", 1, {"a": 1})
    verifier = Ed25519Signer.from_seed("crm", SEED).verifier
    for record in records(tmp_path):
        expected = SignatureCheck.UNSIGNED
        if record.event and record.event.type.startswith("data."):
            expected = SignatureCheck.VALID
        entry = record.entry
        assert check_event(entry.event, entry.signature, [verifier])[0] is expected
    with Emitter(url(tmp_path), key=Ed25519Signer.from_seed("other", SEED)) as emit:
        emit.create("user", 2, ROW)
    last = records(tmp_path)[-1].entry
    other = Ed25519Signer.from_seed("other", SEED).verifier
    assert check_event(last.event, last.signature, [other])[0] is SignatureCheck.VALID


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no key file"):
        Emitter(url(tmp_path), key=tmp_path / "none.key")


def test_declared_schemas(tmp_path: Path) -> None:
    schema = {
        "type": "record",
        "name": "User",
        "fields": [{"name": "name", "type": "string"}, {"name": "age", "type": "long"}],
    }
    with Emitter(url(tmp_path), schemas={"user": schema}) as emit:
        emit.create("user", 1, {"name": "a", "age": 1})
        emit.update("user", 1, {"age": 2})
        with pytest.raises(InvalidInput, match="age"):
            emit.create("user", 2, {"name": "b", "age": "old"})
        with pytest.raises(InvalidInput, match="nick"):
            emit.update("user", 1, {"nick": "x"})
        emit.declare("pet", schema)
        emit.create("pet", 1, {"name": "c", "age": 3})
    assert rows(tmp_path, "user") == {"1": {"name": "a", "age": 2}}
    schemas = [r for r in records(tmp_path) if r.event and r.event.type == "schema"]
    ids = [r.event.event_id for r in schemas if r.event]
    assert len(ids) == len(set(ids))
    data = [r for r in reversed(records(tmp_path)) if r.event and r.event.entity_key]
    first_use = {r.event.payload_schema: r.index for r in data if r.event}
    for record in schemas:
        assert record.event is not None
        schema_hash = bytes.fromhex(record.event.event_id)
        assert record.index < first_use.get(schema_hash, 10**9)
        assert record.event.producer_sequence is None
    with pytest.raises(InvalidInput):
        Emitter(url(tmp_path), schemas={"user": {"type": "string"}})


def test_repeats_and_conflicts_are_counted(tmp_path: Path) -> None:
    with Emitter(url(tmp_path), clock=lambda: 5) as emit:
        emit.create("user", 1, {"a": 1}, event_id="x")
        emit.create("user", 1, {"a": 1}, event_id="x")
        emit.create("user", 1, {"a": 2}, event_id="x")
        emit.create("user", 1, {"a": 2}, event_id="x", source="other")
    assert (emit.sealed, emit.duplicates, emit.conflicts) == (3, 1, 1)
    kinds = [r.entry.kind for r in records(tmp_path)]
    assert kinds.count(Kind.QUARANTINED) == 1
    assert len(events(tmp_path)) == 2


def test_durable_means_sealed_when_the_call_returns(tmp_path: Path) -> None:
    with Emitter(url(tmp_path), durable=True) as emit:
        for number in range(5):
            event_id = emit.create("user", number, {})
            assert emit.waiting == 0
            assert events(tmp_path)[-1].event_id == event_id


def test_fast_events_share_checkpoints(tmp_path: Path) -> None:
    with Emitter(url(tmp_path)) as emit:
        for number in range(3_000):
            emit.create("user", number, {})
    found = events(tmp_path)
    assert [e.entity_key for e in found] == [str(n) for n in range(3_000)]
    require_gapless(found)
    assert checkpoint_count(tmp_path) < 300


def test_more_than_the_queue_holds_is_read_back_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "QUEUE_EVENTS", 10)
    monkeypatch.setattr(sealer, "GROUP_EVENTS", 16)
    monkeypatch.setattr(sealer, "GROUP_PAUSE_S", 0.001)
    key = Ed25519Signer.from_seed("crm", SEED)
    with Emitter(url(tmp_path), key=key) as emit:
        for number in range(500):
            emit.create("user", number, {})
    found = events(tmp_path)
    assert [e.entity_key for e in found] == [str(n) for n in range(500)]
    signed = [r for r in records(tmp_path) if r.event and r.event.type == "data.create"]
    for record in signed:
        entry = record.entry
        check, _ = check_event(entry.event, entry.signature, [key.verifier])
        assert check is SignatureCheck.VALID
    assert spool_files(tmp_path) == []


def test_a_spool_file_that_grows_is_followed_by_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "ROTATE_BYTES", 2_000)
    monkeypatch.setattr(sealer, "GROUP_EVENTS", 16)
    seen: set[str] = set()
    with Emitter(url(tmp_path)) as emit:
        for number in range(300):
            emit.create("user", number, {})
            seen.update(path.name for path in spool_files(tmp_path))
        emit.flush()
        assert len(spool_files(tmp_path)) <= 2
    assert len(seen) > 5
    assert all(name.startswith(emit.producer_id) for name in seen)
    require_gapless(events(tmp_path))
    assert len(events(tmp_path)) == 300
    assert spool_files(tmp_path) == []


def test_the_spool_is_emptied_when_all_is_sealed(tmp_path: Path) -> None:
    with Emitter(url(tmp_path)) as emit:
        emit.create("user", 1, ROW)
        emit.flush()
        emit.create("user", 2, ROW)
        emit.flush()
        emit.close()
    assert spool_files(tmp_path) == []


def test_threads_share_an_emitter(tmp_path: Path) -> None:
    with Emitter(url(tmp_path)) as emit:

        def work(name: int) -> None:
            with context(actor=f"thread {name}"):
                for number in range(200):
                    emit.create("user", f"{name}-{number}", {})

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = events(tmp_path)
    assert len(found) == 800
    require_gapless(found)
    for event in found:
        assert event.entity_key is not None
        assert event.actor == f"thread {event.entity_key.split('-')[0]}"


def test_two_emitters_share_a_ledger_and_a_spool(tmp_path: Path) -> None:
    with Emitter(url(tmp_path), "a") as one, Emitter(url(tmp_path), "b") as two:
        assert one.producer_id != two.producer_id
        for number in range(50):
            one.create("user", number, {})
            two.create("pet", number, {})
    found = events(tmp_path)
    assert len(found) == 100
    require_gapless(found)


def test_after_close(tmp_path: Path) -> None:
    emit = Emitter(url(tmp_path))
    emit.create("user", 1, {})
    emit.close()
    emit.close()
    for call in (lambda: emit.create("user", 2, {}), emit.flush):
        with pytest.raises(InvalidInput, match="closed"):
            call()
    assert emit.sealed == 2


def test_a_block_that_fails_keeps_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), Emitter(url(tmp_path)) as emit:
        emit.create("user", 1, {})
        raise KeyError
    assert len(events(tmp_path)) == 1


def test_an_emitter_that_nobody_holds_seals_and_ends(tmp_path: Path) -> None:
    before = threading.enumerate()  # perhaps some that other tests have left
    emit = Emitter(url(tmp_path))
    emit.create("user", 1, {})
    mine = [thread for thread in threading.enumerate() if thread not in before]
    (thread,) = [thread for thread in mine if thread.name == "audit-sealer"]
    del emit
    thread.join(120)
    assert not thread.is_alive()
    assert len(events(tmp_path)) == 1
    assert spool_files(tmp_path) == []


@pytest.mark.parametrize(
    ("bus", "words"),
    [
        ("kafka://localhost:0/audit.events", "not a Kafka server"),
        ("kafka://u:p@localhost/audit.events", "AUDIT_KAFKA_SASL_PASSWORD"),
        ("mysql://x", "not a store"),
        ("", "not a store"),
        ("sqlite://", "not a store"),
    ],
)
def test_a_bus_that_is_not_there(tmp_path: Path, bus: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        Emitter(bus)


def test_where_the_spool_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_SPOOL", str(tmp_path / "env"))
    with Emitter(url(tmp_path)):
        assert len(list((tmp_path / "env").iterdir())) == 1
    with Emitter(url(tmp_path), spool=tmp_path / "arg"):
        assert len(list((tmp_path / "arg").iterdir())) == 1
        assert list((tmp_path / "env").iterdir()) == []
    assert (tmp_path / "env").stat().st_mode & 0o777 == 0o700


def test_on_unavailable_is_checked(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="on_unavailable"):
        Emitter(url(tmp_path), on_unavailable="hope")  # type: ignore[arg-type]


def test_errors_are_ours(tmp_path: Path) -> None:
    assert issubclass(Unavailable, AuditError) and issubclass(NotFound, AuditError)
    with Emitter(url(tmp_path)) as emit, pytest.raises(LimitExceeded):
        emit.create("user", 1, {"x": "y" * 100_000})


def test_what_waits_is_the_bytes_that_are_sealed(tmp_path: Path) -> None:
    with Emitter(url(tmp_path)) as emit:
        emit.create("user", 1, ROW)
    for record in records(tmp_path):
        assert record.event is not None
        assert encode_event(record.event) == record.entry.event
