"""The relay on both databases into a ledger: order, poison, outages, leases, and late commits."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

import audit
from audit.capture.database import outbox
from audit.capture.database.backlog import Backlog, backlog
from audit.capture.database.connect import open_database
from audit.capture.database.failed import failed_rows, redrive
from audit.capture.database.leases import Leases
from audit.capture.database.relay import Relay, Settings
from audit.capture.database.tables import require_installed
from audit.errors import Fenced, InvalidInput, Unavailable
from tests.capture.database.outbox_support import (
    DATABASES,
    change,
    count,
    insert,
    new_database,
    new_outbox,
    numbers,
    put,
    relay,
    running,
)
from tests.capture.support import events, make_ledger, records, rows, url
from tests.consumers.processes import wait_until
from tests.services.postgres import PostgresServer


@pytest.fixture(params=DATABASES)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_database(request.param, request, tmp_path)


@pytest.fixture
def engine(address: str, request: pytest.FixtureRequest) -> Engine:
    return new_outbox(address, request)


def wait_for(condition: Any) -> None:
    wait_until("it came to that", condition, pause_s=0.01)


def test_rows_become_events_and_are_gone(engine: Engine, tmp_path: Path) -> None:
    with audit.context(actor="alice", request_id="r-1", trace_id="t-1"):
        put(engine, *(change(n % 7, n) for n in range(50)))
        put(engine, outbox.row("delete", "user", 3), outbox.row("note.made", None, after={"x": 1}))
    assert backlog(engine)[:1] == (52,)
    done = relay(engine, tmp_path, batch=9, source="crm")
    done.run(once=True)
    found = events(tmp_path)
    assert (done.emitted, done.failed, len(found)) == (52, 0, 52)
    assert {(e.source, e.actor, e.request_id, e.trace_id) for e in found} == {
        ("crm", "alice", "r-1", "t-1")
    }
    assert backlog(engine) == Backlog(0, None, 0, 0, 0)
    told = numbers(tmp_path)
    assert told.pop("None/None") == [-1]
    assert told.pop("user/3")[-1] == -1 and all(told[k] == sorted(told[k]) for k in told)
    relay(engine, tmp_path).run(once=True)
    assert len(events(tmp_path)) == 52


def test_a_poison_row_stops_its_own_key_alone(engine: Engine, tmp_path: Path) -> None:
    put(engine, change(1, 1), change(2, 1))
    insert(engine, entity_type="user", entity_key="1", after="not JSON")
    put(engine, change(1, 2), change(2, 2), change(1, 3, "order"))
    first = relay(engine, tmp_path)
    first.run(once=True)
    assert (first.emitted, first.failed, first.behind) == (4, 1, 1)
    put(engine, change(1, 3), change(2, 3))
    relay(engine, tmp_path, batch=1).run(once=True)
    assert numbers(tmp_path) == {"user/1": [1], "user/2": [1, 2, 3], "order/1": [3]}
    assert backlog(engine) == Backlog(0, None, 0, 1, 2)
    (row,) = failed_rows(engine)
    assert (row.id, row.entity_key, row.behind) == (3, "1", 2) and "not JSON" in row.failure

    assert redrive(engine) == 3  # nothing was mended: set aside again
    relay(engine, tmp_path).run(once=True)
    assert backlog(engine) == Backlog(0, None, 0, 1, 2)
    with engine.begin() as connection:
        connection.execute(
            text("""UPDATE attestory_failed SET "after" = '{"n": 17}' WHERE id = 3""")
        )
    assert redrive(engine, "user", "2") == 2  # only those behind; they have to wait
    assert redrive(engine, "order") == 0
    relay(engine, tmp_path).run(once=True)
    assert numbers(tmp_path)["user/1"] == [1]
    put(engine, change(1, 4))
    assert redrive(engine, "user", "1") == 3
    relay(engine, tmp_path, batch=2).run(once=True)
    assert numbers(tmp_path)["user/1"] == [1, 17, 2, 3, 4]
    assert failed_rows(engine) == [] and backlog(engine) == Backlog(0, None, 0, 0, 0)


@pytest.mark.parametrize("batch", [1, 100])
def test_a_truncate_waits_for_its_dataset_and_it_for_the_truncate(
    engine: Engine, tmp_path: Path, batch: int
) -> None:
    insert(engine, entity_type="user", entity_key="1", after="[]")
    truncate = outbox.row("truncate", "user")
    put(engine, change(2, 1), truncate, change(2, 2, op="create"), change(5, 5, "order"))
    relay(engine, tmp_path, batch=batch).run(once=True)
    assert numbers(tmp_path) == {"user/2": [1], "order/5": [5]}
    with engine.begin() as connection:
        connection.execute(text("""UPDATE attestory_failed SET "after" = '{}' WHERE id = 1"""))
    redrive(engine, "user", "1")
    relay(engine, tmp_path, batch=batch).run(once=True)
    assert rows(tmp_path, "user") == {"2": {"n": 2}}
    assert count(engine, "attestory_failed") == 0


def test_hostile_rows_harm_nobody_else(engine: Engine, tmp_path: Path) -> None:
    bad: list[dict[str, Any]] = [
        {"op": "'; DROP TABLE attestory_outbox; --", "entity_key": "1"},
        {"entity_key": "2", "after": '{"a":' * 3_000 + "1" + "}" * 3_000},
        {"entity_key": "3", "after": '{"a": "' + "x" * 600_000 + '"}'},
        {"entity_key": "4", "occurred_us": 2**62, "actor": "a" * 9_000, "after": "{}"},
    ]
    if engine.dialect.name == "sqlite":
        bad += [
            {"entity_key": b"\xff", "after": "{}"},
            {"entity_key": "6", "occurred_us": "yesterday", "after": "{}"},
            {"entity_key": "7", "after": b'{"n": 1}'},
        ]
    for columns in bad:
        insert(engine, entity_type="user", **columns)
    if engine.dialect.name == "sqlite":
        with engine.begin() as connection:  # bytes that are no UTF-8 in a cell of text
            connection.execute(
                text(
                    "INSERT INTO attestory_outbox (event_id, op, entity_type, entity_key, actor)"
                    " VALUES ('z', 'delete', 'user', '8', CAST(x'ff00fe' AS TEXT))"
                )
            )
        bad.append({})
    put(engine, change("good", 1))
    done = relay(engine, tmp_path)
    done.run(once=True)
    assert (done.emitted, done.failed) == (1, len(bad))
    assert numbers(tmp_path) == {"user/good": [1]}
    assert len(failed_rows(engine)) == len(bad)
    assert all(record.entry.kind.name != "QUARANTINED" for record in records(tmp_path))


def test_an_id_that_is_another_event_s_is_set_aside(engine: Engine, tmp_path: Path) -> None:
    put(engine, change(1, 1)._replace(event_id="twice"))
    relay(engine, tmp_path).run(once=True)
    put(engine, change(2, 2), change(3, 3)._replace(event_id="twice"))
    done = relay(engine, tmp_path)
    done.run(once=True)
    assert (done.emitted, done.failed) == (1, 1)
    assert "another event has its id" in failed_rows(engine)[0].failure
    assert numbers(tmp_path) == {"user/1": [1], "user/2": [2]}


def test_an_outage_uses_up_nothing(engine: Engine, tmp_path: Path) -> None:
    make_ledger(tmp_path)
    key = tmp_path / "audit.key"
    kept = key.read_bytes()
    key.unlink()
    store = tmp_path / "audit.db"
    moved = tmp_path / "elsewhere"
    store.rename(moved)
    store.mkdir()  # neither there nor to be made
    key.write_bytes(kept)
    put(engine, *(change(n % 3, n) for n in range(30)))
    with pytest.raises(Unavailable):
        relay(engine, tmp_path).run(once=True)
    moving = relay(engine, tmp_path, batch=4, poll_s=0.01)
    with running(moving):
        wait_for(lambda: moving.outage is not None)
        put(engine, *(change(n % 3, n) for n in range(30, 60)))
        assert backlog(engine)[0] == 60
        store.rmdir()
        moved.rename(store)
        wait_for(lambda: moving.emitted == 60)
    assert (moving.failed, moving.outages, moving.outage) == (0, 1, None)
    assert numbers(tmp_path) == {f"user/{k}": list(range(k, 60, 3)) for k in range(3)}


def test_a_transaction_that_commits_late_is_not_jumped_over(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    engine = new_outbox(new_database("postgresql", request, tmp_path), request)
    with engine.connect() as late:
        outbox.write(late, [change("late", 1)])
        put(engine, change("early", 2))
        relay(engine, tmp_path).run(once=True)
        assert numbers(tmp_path) == {"user/early": [2]}
        late.commit()
    relay(engine, tmp_path).run(once=True)
    assert numbers(tmp_path) == {"user/early": [2], "user/late": [1]}


def test_the_older_transaction_may_change_a_key_last(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The order of transaction numbers is not that of a key's changes; that of ids is."""
    engine = new_outbox(new_database("postgresql", request, tmp_path), request)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE users (id int PRIMARY KEY, n int)"))
        connection.execute(text("INSERT INTO users VALUES (1, 0), (2, 0)"))

    def set_to(connection: Any, key: int, number: int) -> None:
        connection.execute(text("UPDATE users SET n = :n WHERE id = :k"), {"n": number, "k": key})
        outbox.write(connection, [change(key, number)])

    with engine.connect() as older, engine.connect() as between:
        set_to(older, 2, 1)  # has its number from here on
        between.execute(text("SELECT pg_current_xact_id()"))
        with engine.begin() as younger:
            set_to(younger, 1, 2)
        set_to(older, 1, 3)
        older.commit()
        # `between` is under way: of the two only `older` is below pg_snapshot_xmin now.
        with engine.connect() as connection:
            found = connection.execute(
                text(
                    "SELECT (\"after\"::json->>'n')::int, "
                    "txid < pg_snapshot_xmin(pg_current_snapshot()) "
                    "FROM attestory_outbox WHERE entity_key = '1' ORDER BY txid"
                )
            ).all()
        assert [tuple(row) for row in found] == [(3, True), (2, False)]
        relay(engine, tmp_path).run(once=True)
    assert numbers(tmp_path) == {"user/1": [2, 3], "user/2": [1]}


def test_writers_and_relays_race(engine: Engine, tmp_path: Path) -> None:
    """Every committed row once, in the order of its key's changes, whoever relays."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE users (id int PRIMARY KEY, n int)"))
        for key in range(4):
            connection.execute(text("INSERT INTO users VALUES (:k, 0)"), {"k": key})
    writers = 1 if engine.dialect.name == "sqlite" else 3

    def write(seed: int) -> None:
        for at in range(25):
            with engine.connect() as connection:
                for key in sorted({(seed + at) % 4, (seed * at) % 4}):
                    connection.execute(text("UPDATE users SET n = n + 1 WHERE id = :k"), {"k": key})
                    number = connection.execute(
                        text("SELECT n FROM users WHERE id = :k"), {"k": key}
                    ).scalar_one()
                    outbox.write(connection, [change(key, number)])
                connection.rollback() if at % 5 == 4 else connection.commit()

    make_ledger(tmp_path)
    relays = [relay(engine, tmp_path, batch=3, lease_s=0.3, poll_s=0.005) for _ in range(3)]
    with running(*relays), ThreadPoolExecutor(writers) as applications:
        assert list(applications.map(write, range(writers))) == [None] * writers
        wait_for(lambda: count(engine, "attestory_outbox") == 0)
    with engine.connect() as connection:
        final = {k: n for k, n in connection.execute(text("SELECT id, n FROM users")) if n}
    assert numbers(tmp_path) == {f"user/{k}": list(range(1, n + 1)) for k, n in final.items()}


def test_a_spool_that_cannot_be_written_is_an_outage(engine: Engine, tmp_path: Path) -> None:
    put(engine, change(1, 1))
    (tmp_path / "spool").write_text("in the way")
    moving = relay(engine, tmp_path, poll_s=0.01, emitter={"spool": tmp_path / "spool"})
    with pytest.raises(Unavailable):
        moving.run(once=True)
    with running(moving):
        wait_for(lambda: moving.outage is not None)
        (tmp_path / "spool").unlink()
        wait_for(lambda: moving.emitted == 1)
    assert numbers(tmp_path) == {"user/1": [1]} and moving.failed == 0


@pytest.mark.slow
def test_the_database_goes_away_and_comes_back(
    private_postgres: PostgresServer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    engine = new_outbox(private_postgres.new_database(), request)
    put(engine, *(change(n % 3, n) for n in range(30)))
    moving = relay(engine, tmp_path, batch=4, poll_s=0.01)
    with running(moving):
        wait_for(lambda: moving.emitted >= 4)
        private_postgres.stop("immediate")
        wait_for(lambda: moving.outage is not None)
        private_postgres.start()
        wait_for(lambda: moving.emitted >= 30)
        put(engine, *(change(n % 3, n) for n in range(30, 60)))
        wait_for(lambda: count(engine, "attestory_outbox") == 0)
    assert moving.failed == 0
    assert numbers(tmp_path) == {f"user/{k}": list(range(k, 60, 3)) for k in range(3)}


def leases(engine: Engine, shards: int | None = None, lease_s: float = 15.0) -> Leases:
    made = Leases(engine, require_installed(engine), shards, lease_s)
    made.begin()
    return made


def test_a_lease_is_one_relay_s_until_its_time_is_up(engine: Engine) -> None:
    one, other = leases(engine), leases(engine)
    one.take()
    other.take()
    assert (one.held, other.held) == ({0: 2}, {})
    one.lease_us = 1
    one.take()
    assert one.held == {0: 2}
    time.sleep(0.01)
    other.take()
    assert other.held == {0: 3}
    with pytest.raises(Fenced), engine.begin() as connection:
        one.renew(connection, 0)
    one.take()
    assert one.held == {}
    other.release()
    one.take()
    assert one.held == {0: 4}


def test_relays_share_and_hand_over(engine: Engine) -> None:
    one, other = leases(engine, 5), leases(engine)
    one.take()
    assert len(one.held) == 5
    other.take()
    one.take()
    other.take()
    assert (len(one.held), len(other.held)) == (3, 2)
    assert not one.held.keys() & other.held.keys()
    with pytest.raises(InvalidInput, match="5 shards are running"):
        leases(engine, 2)
    one.release()
    other.take()
    assert len(other.held) == 5
    other.release()
    assert leases(engine, 2).shards == 2
    with pytest.raises(Fenced, match="2 shards"):
        other.take()


@pytest.mark.parametrize("shards", [0, 65])
def test_a_number_of_shards_that_is_none(engine: Engine, shards: int) -> None:
    with pytest.raises(InvalidInput):
        leases(engine, shards)


def test_shards_are_relayed_by_two(engine: Engine, tmp_path: Path) -> None:
    make_ledger(tmp_path)
    put(engine, *(change(n % 3, n, f"set{n % 10}") for n in range(100)))
    # They share by renewing, three times in a lease; who is held up for that long loses his part.
    both = [relay(engine, tmp_path, shards=8, batch=5, lease_s=6.0, poll_s=0.01) for _ in "ab"]
    with running(both[0]):
        wait_for(lambda: len(both[0].leases.held) == 8)
        with running(both[1]):
            wait_for(lambda: count(engine, "attestory_outbox") == 0 and both[1].leases.held)
            put(engine, *(change(n % 3, n, f"set{n % 10}") for n in range(100, 200)))
            wait_for(lambda: count(engine, "attestory_outbox") == 0)
    told = numbers(tmp_path)
    assert sum(map(len, told.values())) == 200 and all(n == sorted(n) for n in told.values())
    assert both[1].emitted > 0


def test_a_relay_that_was_stopped_changes_nothing_later(engine: Engine, tmp_path: Path) -> None:
    """It read and emitted, and lost its lease before it marked."""
    put(engine, change(1, 1), change(2, 1))
    slow, quick = relay(engine, tmp_path, lease_s=0.1), relay(engine, tmp_path)
    slow.leases.begin()
    slow.leases.take()
    read = slow._moves.read(0)
    judged = slow._emit(0, read)
    time.sleep(0.15)
    quick.run(once=True)
    put(engine, change(1, 2))
    slow._flush(0)
    with pytest.raises(Fenced):
        slow._moves.finish(0, [row.id for row in judged.emitted], [], [], None)
    assert count(engine, "attestory_outbox") == 1
    slow._end()
    relay(engine, tmp_path).run(once=True)
    assert numbers(tmp_path) == {"user/1": [1, 2], "user/2": [1]}


def test_what_a_relay_is_told_wrongly(engine: Engine, tmp_path: Path) -> None:
    for wrong in (
        {"source": "audit"},
        {"batch": 0},
        {"lease_s": 0.0},
        {"poll_s": -1.0},
        {"keep_s": 5.0},
        {"store": url(tmp_path)},
    ):
        with pytest.raises(InvalidInput):
            Relay(engine, Settings(**{"bus": url(tmp_path), **wrong}))
    empty = tmp_path / "empty.db"
    empty.touch()
    with pytest.raises(InvalidInput, match="install"):
        relay(open_database(f"sqlite:///{empty}"), tmp_path)
