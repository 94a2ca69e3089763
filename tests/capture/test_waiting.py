"""What waits in a spool, as an operator sees it."""

import os
from pathlib import Path

import pytest

from audit.capture import backlogs
from audit.capture.delivery.backlog import Backlog
from audit.capture.delivery.leftover import drain
from audit.capture.delivery.spool import Spool, encode_first_line, encode_record, is_locked
from audit.capture.emitter import Emitter
from audit.errors import Unavailable
from audit.event.build import data_event, new_event_id, schema_event
from audit.event.canonical import builtin
from audit.event.envelope import encode_event
from tests.capture.support import DROP_CAPABILITIES, python, url

TO = "kafka://a:9092/audit.events"
SIGNATURE = bytes(68)


def event(event_id: str | None = None) -> bytes:
    made = data_event("create", "u", 1, event_id=event_id or new_event_id(), source="a", after={})
    return encode_event(made.event)


def test_no_folder_and_no_files(tmp_path: Path) -> None:
    assert backlogs(tmp_path / "none") == []
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "folder.spool").mkdir()
    assert backlogs(tmp_path) == []


def test_living_and_dead_owners(tmp_path: Path) -> None:
    first = new_event_id()
    schema = encode_event(schema_event(builtin("row.v1")))
    records = [
        encode_record(None, schema, None),
        encode_record(0, event(first), SIGNATURE),
        *(encode_record(n, event(), SIGNATURE if n % 2 else None) for n in range(1, 10)),
    ]
    dead = tmp_path / "dead-000000.spool"
    dead.write_bytes(encode_first_line(TO) + b"".join(records))
    alive = Backlog(tmp_path, "example.com/prod", "living", print)
    alive.put(0, event("not a time"), None)
    one, other = backlogs(tmp_path)
    ms = int(first.replace("-", "")[:12], 16)
    assert one == (dead, TO, 10, dead.stat().st_size, ms * 1_000, False)
    assert other == (alive.path, "example.com/prod", 1, alive.path.stat().st_size, None, True)
    # Nobody was disturbed: the one goes on, the other is drained by whoever comes next.
    alive.put(1, event(), None)
    taken: list[object] = []
    assert drain(tmp_path, TO, taken.extend, print) == 1
    assert len(taken) == 11
    (left,) = backlogs(tmp_path)
    assert left.events == 2
    alive.close()


@pytest.mark.parametrize("cut", [1, 12, 20, 22, 60])
def test_a_torn_end_does_not_count(tmp_path: Path, cut: int) -> None:
    records = [encode_record(n, event(), None) for n in range(3)]
    data = encode_first_line(TO) + b"".join(records[:2]) + records[2][:-cut]
    (tmp_path / "dead-000000.spool").write_bytes(data)
    assert [found.events for found in backlogs(tmp_path)] == [2]


def test_what_cannot_be_read_is_shown_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.spool").write_bytes(b"junk")
    (tmp_path / "b.spool").write_bytes(encode_first_line(TO) + b"junk" * 100)
    (tmp_path / "c.spool").write_bytes(encode_first_line(TO) + encode_record(0, b"", None))
    (tmp_path / "d.spool").write_bytes(encode_first_line(TO) + encode_record(0, b"junk", None))
    found = [(each.destination, each.events, each.oldest_us) for each in backlogs(tmp_path)]
    assert found == [(None, 0, None), (TO, 0, None), (TO, 1, None), (TO, 1, None)]


def test_an_emitter_that_has_delivered_everything(tmp_path: Path) -> None:
    with Emitter(url(tmp_path)) as emit:
        emit.create("user", 1, {})
        emit.flush()
        # The file is emptied when nobody holds its lock: at the latest by the thread when idle.
        while backlogs(tmp_path / "audit-spool")[0].events:
            pass
    assert backlogs(tmp_path / "audit-spool") == []


def test_looking_does_not_lock(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, TO, lambda: "x")
    with open(spool.path, "rb") as file:
        assert is_locked(file.fileno())
        spool.abandon()
        assert not is_locked(file.fileno())
        other = os.open(spool.path, os.O_RDONLY)
        assert not is_locked(other)
        os.close(other)


def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    code = (
        DROP_CAPABILITIES
        + "drop_capabilities()\nimport sys\nfrom audit.capture import backlogs\n"
        + "try: backlogs(sys.argv[1])\nexcept Exception as error: print(type(error).__name__)\n"
    )
    (tmp_path / "spool").mkdir(mode=0o000)
    done = python(code, tmp_path / "spool")
    assert (done.out, done.err) == (f"{Unavailable.__name__}\n", "")
