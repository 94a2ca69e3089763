"""The spool's file format, what damage costs, and what the next writer takes from it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.capture.delivery import backlog, leftover, spool
from audit.capture.delivery.backlog import Backlog
from audit.capture.delivery.leftover import drain
from audit.capture.delivery.spool import (
    MARK,
    Read,
    Spool,
    Waiting,
    encode_first_line,
    encode_record,
    read_first_line,
    read_records,
)
from audit.errors import LimitExceeded, Unavailable
from audit.log.intake import Message

SIGNATURE = bytes(range(68))
TO = "example.com/prod"
waitings = st.builds(
    Waiting,
    st.none() | st.integers(0, 2**63 - 1),
    st.binary(max_size=200),
    st.none() | st.binary(min_size=68, max_size=68),
)


class Taken:
    """Collects what a drain would seal, and the lines it says."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self.messages: list[Message] = []
        self.lines: list[str] = []

    def seal(self, group: list[Message]) -> None:
        self.messages += group
        self.events += [message.event for message in group]

    def drain(self, folder: Path, destination: str = TO) -> int:
        return drain(folder, destination, self.seal, self.lines.append)


def left(folder: Path, *records: bytes, name: str = "dead-000000") -> Path:
    """The file of a dead process."""
    path = folder / f"{name}.spool"
    path.write_bytes(encode_first_line(TO) + b"".join(records))
    return path


def record(number: int) -> bytes:
    return encode_record(number, b"event %d" % number, None)


@given(st.lists(waitings, max_size=20))
def test_what_is_written_is_read(all_waiting: list[Waiting]) -> None:
    data = b"".join(encode_record(*waiting) for waiting in all_waiting)
    assert [read.waiting for read in read_records(data, 0, len(data))] == all_waiting


@given(st.lists(waitings, min_size=1, max_size=6), st.data())
def test_a_torn_end_is_left_out(all_waiting: list[Waiting], draw: st.DataObject) -> None:
    data = b"".join(encode_record(*waiting) for waiting in all_waiting[:-1])
    last = encode_record(*all_waiting[-1])
    data += last[: draw.draw(st.integers(0, len(last) - 1))]
    assert [read.waiting for read in read_records(data, 0, len(data))] == all_waiting[:-1]


@given(st.lists(waitings, min_size=2, max_size=8), st.data())
def test_a_flipped_bit_costs_one_record_and_is_noticed(
    all_waiting: list[Waiting], draw: st.DataObject
) -> None:
    parts = [encode_record(*waiting) for waiting in all_waiting]
    hit = draw.draw(st.integers(0, len(parts) - 2))
    at = draw.draw(st.integers(0, len(parts[hit]) * 8 - 1))
    damaged = bytearray(parts[hit])
    damaged[at // 8] ^= 1 << at % 8
    data = b"".join([*parts[:hit], bytes(damaged), *parts[hit + 1 :]])
    expected: list[Waiting | None] = list(all_waiting)
    expected[hit] = None
    assert [read.waiting for read in read_records(data, 0, len(data))] == expected


@given(st.binary(max_size=300))
def test_junk_is_read_without_error(data: bytes) -> None:
    data = data.replace(b"M", MARK)
    ends = [read.end for read in read_records(data, 0, len(data))]
    assert ends == sorted(ends)
    read_first_line(data)


def test_zeros_at_the_end_are_what_a_power_cut_leaves() -> None:
    data = record(0) + bytes(200_000)
    assert [read.waiting for read in read_records(data, 0, len(data))] == [
        Waiting(0, b"event 0", None)
    ]


def test_a_whole_last_record_with_a_wrong_checksum_is_damage() -> None:
    data = record(0) + record(1)[:-1] + b"!"
    assert [read.waiting for read in read_records(data, 0, len(data))][1:] == [None]


def test_a_length_that_claims_too_much_is_damage() -> None:
    bad = MARK + bytes(4) + b"\xff" * 4 + bytes(20)
    data = bad + record(1)
    assert list(read_records(data, 0, len(data))) == [
        Read(len(bad), None),
        Read(len(data), Waiting(1, b"event 1", None)),
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line[:-1],
        lambda line: line.replace(b"v1", b"v2"),
        lambda line: line.replace(b"prod", b"prof"),
        lambda line: b"",
        lambda line: b"\xff" * 40 + b"\n",
        lambda line: b"x" * 5000,
    ],
)
def test_a_damaged_first_line(change: Callable[[bytes], bytes]) -> None:
    line = encode_first_line(TO)
    assert read_first_line(line + b"rest") == (TO, len(line))
    assert read_first_line(change(line)) is None


def test_a_spool_is_locked_while_it_is_open_and_removed_when_empty(tmp_path: Path) -> None:
    taken = Taken()
    one = Spool.create(tmp_path / "spool", TO, lambda: "a")
    one.append(record(0))
    assert taken.drain(tmp_path / "spool") == 0
    assert one.read(one.start, one.end, 9) == [Read(one.end, Waiting(0, b"event 0", None))]
    one.empty()
    one.sync()
    one.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_name_that_is_taken_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "a.spool").write_bytes(b"somebody's")
    with pytest.raises(Unavailable, match="cannot write the spool"):
        Spool.create(tmp_path, TO, lambda: "a")
    assert (tmp_path / "a.spool").read_bytes() == b"somebody's"


def test_what_a_dead_process_left_is_sealed_in_order_and_removed(tmp_path: Path) -> None:
    left(tmp_path, record(2), encode_record(3, b"signed", SIGNATURE), name="b-000001")
    left(tmp_path, record(0), record(1), name="b-000000")
    taken = Taken()
    assert taken.drain(tmp_path) == 2
    assert taken.events == [b"event 0", b"event 1", b"event 2", b"signed"]
    assert [m.signature for m in taken.messages] == [None, None, None, SIGNATURE]
    assert (taken.lines, list(tmp_path.iterdir())) == ([], [])


def test_what_is_left_for_another_ledger_is_not_touched(tmp_path: Path) -> None:
    path = left(tmp_path, record(0))
    taken = Taken()
    assert taken.drain(tmp_path, "example.com/other") == 0
    assert (taken.events, taken.lines, path.exists()) == ([], [], True)


def test_damage_in_the_middle_keeps_the_file_and_drains_the_rest(tmp_path: Path) -> None:
    bad = bytearray(record(1))
    bad[-1] ^= 1
    path = left(tmp_path, record(0), bytes(bad), record(2))
    data = path.read_bytes()
    taken = Taken()
    assert taken.drain(tmp_path) == 1
    assert taken.events == [b"event 0", b"event 2"]
    (kept,) = tmp_path.iterdir()
    assert kept.name == "dead-000000.spool.corrupt"
    assert kept.read_bytes() == data
    assert len(taken.lines) == 1 and str(kept) in taken.lines[0]
    assert Taken().drain(tmp_path) == 0


def test_a_damaged_first_line_keeps_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.spool").write_bytes(b"attestory spool v1 example.com/prod 00000000\nrest")
    taken = Taken()
    assert taken.drain(tmp_path) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["x.spool.corrupt"]
    assert "first line" in taken.lines[0]


@pytest.mark.parametrize("start", [b"", b"attest", b"attestory spool v1 exam"])
def test_a_file_whose_owner_died_at_its_start_is_removed(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "x.spool").write_bytes(start)
    taken = Taken()
    assert taken.drain(tmp_path) == 0
    assert (list(tmp_path.iterdir()), taken.lines) == ([], [])


def test_a_seal_that_fails_leaves_the_file(tmp_path: Path) -> None:
    path = left(tmp_path, record(0))

    def seal(group: list[Message]) -> None:
        raise Unavailable("away")

    with pytest.raises(Unavailable, match="away"):
        drain(tmp_path, TO, seal, print)
    taken = Taken()
    assert taken.drain(tmp_path) == 1
    assert (taken.events, path.exists()) == ([b"event 0"], False)


def test_large_files_are_drained_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftover, "GROUP_EVENTS", 10)
    left(tmp_path, *(record(n) for n in range(25)))
    groups: list[int] = []
    drain(tmp_path, TO, lambda group: groups.append(len(group)), print)
    assert groups == [10, 10, 5]


def test_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "folder.spool").mkdir()
    (tmp_path / "link.spool").symlink_to(left(tmp_path, record(0)))
    os.mkfifo(tmp_path / "pipe.spool")
    (tmp_path / "notes.txt").write_text("hello")
    taken = Taken()
    assert taken.drain(tmp_path) == 1
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["folder.spool", "link.spool", "notes.txt", "pipe.spool"]
    assert drain(tmp_path / "none", TO, taken.seal, print) == 0


def test_a_full_spool_refuses_and_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "ROTATE_BYTES", 100)
    one = Backlog(tmp_path, TO, "me", print)
    for number in range(5):
        one.prepare()
        one.put(number, b"event %d" % number, None)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) > 1
    monkeypatch.setattr(backlog, "MAX_SPOOL_BYTES", size + 10)
    with pytest.raises(Unavailable, match=r"is full: 5 events wait(.|\n)*example.com/prod"):
        one.put(5, b"event 5", None)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == size
    assert [m.event for m in one.take(9)] == [b"event %d" % n for n in range(5)]
    one.done()
    one.put(5, b"event 5", None)
    one.close()


def test_what_does_not_fit_memory_is_read_back_over_several_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "ROTATE_BYTES", 300)
    monkeypatch.setattr(backlog, "QUEUE_EVENTS", 7)
    one = Backlog(tmp_path, TO, "me", print)
    taken: list[bytes] = []
    for number in range(300):
        before = one.prepare()
        one.put(number, b"event %d" % number, SIGNATURE if number % 3 else None)
        assert one.prepare() >= before
        if number % 9 == 8:
            taken += [m.event for m in one.take(5)]
            one.done()
            assert one.waiting == number + 1 - len(taken)
    one.sync()
    files = len(list(tmp_path.iterdir()))
    assert files > 20
    while group := one.take(5):
        assert one.take(5) is group
        taken += [m.event for m in group]
        one.done()
    assert taken == [b"event %d" % number for number in range(300)]
    assert len(list(tmp_path.iterdir())) == 1
    one.prepare()
    one.put(300, b"in memory again", None)
    assert [m.event for m in one.take(5)] == [b"in memory again"]
    one.done()
    one.sync()
    one.close()
    assert list(tmp_path.iterdir()) == []


def test_a_group_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "GROUP_BYTES", 50)
    monkeypatch.setattr(leftover, "GROUP_BYTES", 50)
    monkeypatch.setattr(backlog, "QUEUE_BYTES", 100)
    one = Backlog(tmp_path, TO, "me", print)
    for number in range(10):
        one.put(number, b"x" * 30, None)
    sizes = []
    while group := one.take(100):
        sizes.append(len(group))
        one.done()
    assert sizes == [2, 2, 1, 1, 1, 1, 1, 1]
    for number in range(4):
        one.put(number, b"x" * 30, None)
    one.close()
    groups: list[int] = []
    drain(tmp_path, TO, lambda group: groups.append(len(group)), print)
    assert groups == [2, 2]


@pytest.mark.parametrize("files", [1, 4])
def test_damage_in_the_backlog_costs_what_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    monkeypatch.setattr(backlog, "ROTATE_BYTES", 10_000 // files)
    monkeypatch.setattr(backlog, "QUEUE_EVENTS", 0)
    lines: list[str] = []
    one = Backlog(tmp_path, TO, "me", lines.append)
    for number in range(200):
        one.prepare()
        one.put(number, b"event %03d" % number, None)
    first = min(tmp_path.iterdir())
    data = bytearray(first.read_bytes())
    data[200:300] = bytes(100)
    with open(first, "r+b") as file:
        file.write(data)
    taken: list[bytes] = []
    while one.waiting:
        taken += [m.event for m in one.take(30)]
        one.done()
    assert 190 < len(taken) < 200 and sorted(taken) == taken
    assert len(lines) == 1 and f"{200 - len(taken)} events in it cannot be read" in lines[0]
    one.close()
    assert list(tmp_path.iterdir()) == []


def test_processes_are_drained_in_the_order_in_which_they_stopped(tmp_path: Path) -> None:
    for age, name in enumerate(["z-000000", "a-000000", "m-000001", "m-000000"]):
        path = left(tmp_path, record(age), name=name)
        os.utime(path, ns=(10**18 + age, 10**18 + age))
    taken = Taken()
    assert taken.drain(tmp_path) == 4
    assert taken.events == [b"event 0", b"event 1", b"event 3", b"event 2"]


def test_the_next_files_of_a_process_do_not_overtake_one_that_is_being_drained(
    tmp_path: Path,
) -> None:
    for number in range(3):
        left(tmp_path, record(number), name=f"dead-00000{number}")
    left(tmp_path, record(9), name="other-000000")
    taken = Taken()
    with open(tmp_path / "dead-000001.spool") as file:
        assert spool.try_lock(file.fileno())
        assert taken.drain(tmp_path) == 2
    assert sorted(taken.events) == [b"event 0", b"event 9"]
    assert taken.drain(tmp_path) == 2
    assert taken.events[2:] == [b"event 1", b"event 2"]


def test_a_name_that_nobody_could_read_back_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LimitExceeded, match="first line"):
        Spool.create(tmp_path, "x" * 3_000, lambda: "a")
    assert list(tmp_path.iterdir()) == []
