"""A series of snapshots: every day answers as its file, and a repeat or a crash changes nothing."""

import os
import random
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.capture.delivery.embedded import open_for_writing
from audit.capture.emitter import Emitter
from audit.capture.importer import SeriesResult, import_file, import_series, plan_series
from audit.capture.importer.dated import date_of, gaps, shown
from audit.errors import InvalidInput, LimitExceeded, NotFound
from audit.event.times import parse_rfc3339
from audit.replay.asof import dataset
from audit.replay.fold import Row
from audit.replay.points import resolve, time_of
from audit.store import open_reader
from tests.capture.support import python, records, url

DAY_US = 86_400_000_000


def load(folder: Path, *paths: Path, **options: Any) -> SeriesResult:
    """Import a series into the ledger of a test."""
    with open_for_writing(url(folder)) as ledger:
        return import_series(ledger, paths, **{"entity": "user", "key": "id", **options})


def valid_at(folder: Path, time: str, entity: str = "user") -> dict[str, Row]:
    """The dataset as it was in the world."""
    with open_reader(url(folder)) as reader:
        cut = resolve(reader, None, 0)
        return dict(dataset(reader, entity, cut, time_of(time, 0)).rows())


def write_csv(path: Path, rows: dict[str, dict[str, Any]], columns: tuple[str, ...]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(("id", *columns))]
    for key, row in rows.items():
        cells = ("" if row[name] is None else str(row[name]) for name in columns)
        lines.append(",".join((key, *cells)))
    path.write_text("\n".join(lines) + "\n")
    return path


def histories(seed: int, days: int = 25) -> dict[str, dict[str, dict[str, Any]]]:
    """Date -> rows: created, changed, deleted, made again; some days nothing happens."""
    rng = random.Random(seed)
    now: dict[str, dict[str, Any]] = {}
    found = {}
    for day in range(days):
        for _ in range(rng.choice((0, 2, 4))):
            key = f"k{rng.randrange(8)}"
            if rng.random() < 0.3:
                now.pop(key, None)
            else:
                now[key] = {"name": rng.choice("ABC"), "n": rng.choice((1, 2, None))}
        date = shown(parse_rfc3339("2026-01-20T00:00:00Z") + day * DAY_US)
        found[date] = {key: dict(row) for key, row in now.items()}
    return found


def same_rows(found: dict[str, Row], rows: dict[str, dict[str, Any]]) -> bool:
    """Equal, where a cell without a value is null."""
    return found.keys() == rows.keys() and all(
        {name: found[key].get(name) for name in row} == row for key, row in rows.items()
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_every_day_answers_as_its_file(tmp_path: Path, seed: int) -> None:
    days = histories(seed)
    folder = tmp_path / "users"
    for date, rows in days.items():
        write_csv(folder / f"users-{date}.csv", rows, ("name", "n"))
    result = load(tmp_path, folder)
    assert [shown(one.time_us) for one in result.snapshots] == list(days)
    for date, rows in days.items():
        assert same_rows(valid_at(tmp_path, date), rows), date
        assert same_rows(valid_at(tmp_path, f"{date}T23:59:59Z"), rows), date
    assert valid_at(tmp_path, "2026-01-19") == {}
    for before, one, rows in zip(
        [{}, *days.values()], result.snapshots, days.values(), strict=False
    ):
        assert one.created == len(rows.keys() - before.keys())
        assert one.deleted == len(before.keys() - rows.keys())
        assert one.rows == len(rows) and one.unchanged is not None


def test_a_repeat_adds_nothing_and_new_days_go_on(tmp_path: Path) -> None:
    days = histories(3, 10)
    folder = tmp_path / "users"
    for date, rows in list(days.items())[:6]:
        write_csv(folder / f"{date}.csv", rows, ("name", "n"))
    first = load(tmp_path, folder)
    again = load(tmp_path, folder)
    assert {one.state for one in again.snapshots} == {"skipped"}
    assert again.size == first.size
    for date, rows in days.items():
        write_csv(folder / f"{date}.csv", rows, ("name", "n"))
    states = [one.state for one in load(tmp_path, folder).snapshots]
    assert states == ["skipped"] * 6 + ["imported"] * 4
    for date, rows in days.items():
        assert same_rows(valid_at(tmp_path, date), rows), date


def test_a_then_b_then_a(tmp_path: Path) -> None:
    a, b = "id,n\n1,1\n2,2\n", "id,n\n1,9\n"
    for day, text in enumerate((a, b, a), 1):
        (tmp_path / f"x-2026-01-0{day}.csv").write_text(text)
    result = load(tmp_path, tmp_path)
    assert [(one.created, one.updated, one.deleted) for one in result.snapshots] == [
        (2, 0, 0),
        (0, 1, 1),
        (1, 1, 0),
    ]
    assert valid_at(tmp_path, "2026-01-01") == valid_at(tmp_path, "2026-01-03")
    assert valid_at(tmp_path, "2026-01-02") == {"1": {"id": 1, "n": 9}}
    assert len({event.transaction_id for event in data_events(tmp_path)}) == 3


def data_events(folder: Path) -> list[Any]:
    return [r.event for r in records(folder) if r.event and r.event.type.startswith("data.")]


def test_columns_come_and_go(tmp_path: Path) -> None:
    (tmp_path / "2026-01-01.csv").write_text("id,old\n1,x\n2,\n")
    (tmp_path / "2026-01-02.csv").write_text("id,new\n1,5\n2,6\n")
    load(tmp_path, tmp_path)
    assert valid_at(tmp_path, "2026-01-01")["1"] == {"id": 1, "old": "x"}
    assert valid_at(tmp_path, "2026-01-02") == {"1": {"id": 1, "new": 5}, "2": {"id": 2, "new": 6}}


def test_partitions_of_parquet(tmp_path: Path) -> None:
    for day in (1, 2):
        for part in (0, 1):
            path = tmp_path / "data" / f"date=2026-01-0{day}" / f"part-{part}-20200101.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            table = pa.table({"id": [part * 10 + day], "n": [2**60 + day]})
            pq.write_table(table, path)
    (tmp_path / "data" / "_SUCCESS").touch()
    (tmp_path / "data" / "README.md").touch()
    result = load(tmp_path, tmp_path / "data")
    assert [len(one.places) for one in result.snapshots] == [2, 2]
    assert [Path(one).name for one in result.left_out] == ["README.md"]
    assert valid_at(tmp_path, "2026-01-01").keys() == {"1", "11"}
    assert valid_at(tmp_path, "2026-01-02")["12"] == {"id": 12, "n": 2**60 + 2}


def test_a_column_that_says_the_date(tmp_path: Path) -> None:
    days = histories(4, 12)
    lines = [
        f"{date},{key},{row['name']},{'' if row['n'] is None else row['n']}"
        for date, rows in days.items()
        for key, row in rows.items()
    ]
    random.Random(1).shuffle(lines)
    path = tmp_path / "all.csv"
    path.write_text("day,id,name,n\n" + "\n".join(lines) + "\n")
    there = {date: rows for date, rows in days.items() if rows}
    result = load(tmp_path, path, date_column="day", gaps=True)
    assert [shown(one.time_us) for one in result.snapshots] == list(there)
    for date, rows in there.items():
        found = valid_at(tmp_path, date)
        assert same_rows(found, rows), date
        assert all("day" not in row for row in found.values())
    path.write_text("day,id,name,n\n" + "\n".join([*lines[::-1], "2026-03-01,k1,A,1"]) + "\n")
    again = load(tmp_path, path, date_column="day", gaps=True)
    assert [one.state for one in again.snapshots] == ["skipped"] * len(there) + ["imported"]


def test_a_dry_run_says_what_would_be_done(tmp_path: Path) -> None:
    for day in (1, 2):
        (tmp_path / f"2026-01-0{day}.csv").write_text(f"id,n\n1,{day}\n")
    plan = plan_series(None, [tmp_path], entity="user", key="id")
    assert [(one.state, one.rows) for one in plan.snapshots] == [("new", 1), ("new", 1)]
    assert plan.size is None and not (tmp_path / "audit.db").exists()
    load(tmp_path, tmp_path / "2026-01-01.csv")
    with open_reader(url(tmp_path)) as reader:
        size = reader.size(0)
        plan = plan_series(reader, [tmp_path], entity="user", key="id")
        assert [one.state for one in plan.snapshots] == ["skipped", "new"]
        assert reader.size(0) == size


def test_progress_ends_at_its_total(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        (tmp_path / f"2026-01-0{day}.csv").write_text("id,n\n" + "1,1\n" * (day == 1))
    told: list[tuple[int, int]] = []
    load(tmp_path, tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] and told == sorted(told)


FILES = {
    "no date": (("users.csv",), "no date, or more than one"),
    "two dates": (("a-2026-01-01-to-2026-01-02.csv",), "no date, or more than one"),
    "no day of the calendar": (("a-2026-02-30.csv",), "no date, or more than one"),
    "perhaps an hour": (("a-2026-01-01-10.csv",), "no date, or more than one"),
    "with an offset": (("a-2026-01-01T10+02.csv",), "no date, or more than one"),
    "longer digits": (("a-202601011.csv",), "no date, or more than one"),
    "one date twice": (("a-2026-01-01.csv", "b-20260101.csv"), "2 files of 2026-01-01"),
    "a file beside a partition": (("d=2026-01-01/a.csv", "b-20260101.csv"), "2 files of"),
    "two in a dated folder": (("2026-01-01/a.csv", "2026-01-01/b.csv"), "2 files of 2026-01-01"),
    "a missing day": (
        ("2026-01-01.csv", "2026-01-02.csv", "2026-01-04.csv", "2026-01-05.csv"),
        "nothing between 2026-01-02 and 2026-01-04",
    ),
    "a missing month": (
        tuple(f"2026-0{month}-01.csv" for month in (1, 2, 4, 5, 6)),
        "nothing between 2026-02-01 and 2026-04-01",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_what_is_not_sure_is_refused_in_a_line(tmp_path: Path, case: str) -> None:
    names, said = FILES[case]
    for name in names:
        write_csv(tmp_path / "in" / name, {}, ("n",))
    with pytest.raises(InvalidInput, match=said) as raised:
        load(tmp_path, tmp_path / "in")
    assert len(str(raised.value).splitlines()) <= 2
    assert data_events(tmp_path) == []
    if "missing" in case:
        assert len(load(tmp_path, tmp_path / "in", gaps=True).snapshots) == len(names)


@pytest.mark.parametrize(
    ("name", "date"),
    [
        ("users-2026-01-31.csv", "2026-01-31"),
        ("20260131.parquet", "2026-01-31"),
        ("v2-2026-01-31.csv", "2026-01-31"),
        ("2026-01-31T10.jsonl", "2026-01-31T10:00:00.000000Z"),
        ("x_2026-01-31T1030Z.csv", "2026-01-31T10:30:00.000000Z"),
        ("2026-01-31T10-30-05_x.csv", "2026-01-31T10:30:05.000000Z"),
        ("2026-01-31/users.csv", "2026-01-31"),
        ("2026-01-31/users-2026-02-01.csv", "2026-02-01"),
        ("date=2026-01-31/users-2026-02-01.csv", "2026-01-31"),
        ("date=2026-01-31/hour=5/x.csv", "2026-01-31"),
    ],
)
def test_dates_in_names(name: str, date: str) -> None:
    found = date_of(Path(name))
    assert found is not None and shown(found[0]) == date


def test_gaps_are_seen_by_the_usual_step() -> None:
    days = [day * DAY_US for day in (0, 1, 2, 4, 5)]
    assert gaps(days) == [(2 * DAY_US, 4 * DAY_US)]
    assert gaps(days[:2]) == gaps([]) == gaps([0, DAY_US, 2 * DAY_US]) == []
    months = [day * DAY_US for day in (0, 31, 59, 90, 120)]
    assert gaps(months) == []


@pytest.mark.parametrize("date", ["2026-01-02", "2025-12-31"])
def test_a_snapshot_before_what_is_there_is_refused(tmp_path: Path, date: str) -> None:
    for day in (1, 3):
        (tmp_path / f"2026-01-0{day}.csv").write_text("id,n\n1,1\n")
    load(tmp_path, tmp_path)
    # Nothing changed on the third day: what says that it is known is its snapshot alone.
    path = tmp_path / f"{date}.csv"
    path.write_text("id,n\n1,2\n")
    for paths in ((path,), (tmp_path,)):
        with pytest.raises(InvalidInput, match=f"is known up to 2026-01-03, after {date}"):
            load(tmp_path, *paths, gaps=True)
    with open_reader(url(tmp_path)) as reader, pytest.raises(InvalidInput, match="is known up to"):
        plan_series(reader, [path], entity="user", key="id")
    assert valid_at(tmp_path, "2026-01-03") == {"1": {"id": 1, "n": 1}}


def test_other_content_for_a_date_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "2026-01-01.csv"
    path.write_text("id,n\n1,1\n")
    load(tmp_path, path)
    path.write_text("id,n\n1,2\n")
    with pytest.raises(InvalidInput, match="imported from other content"):
        load(tmp_path, path)
    assert load(tmp_path, path, entity="other").snapshots[0].state == "imported"


def test_live_events_after_the_snapshots_do_not_change_their_days(tmp_path: Path) -> None:
    (tmp_path / "2026-01-01.csv").write_text("id,n\n1,1\n")
    load(tmp_path, tmp_path)
    with Emitter(url(tmp_path)) as emit:
        emit.update("user", "1", {"n": 7})
    assert valid_at(tmp_path, "2026-01-05") == {"1": {"id": 1, "n": 1}}
    (tmp_path / "2026-01-02.csv").write_text("id,n\n1,2\n")
    with pytest.raises(InvalidInput, match="after 2026-01-02"):
        load(tmp_path, tmp_path)


def test_a_bad_row_keeps_the_days_before_it(tmp_path: Path) -> None:
    (tmp_path / "2026-01-01.csv").write_text("id,n\n1,1\n")
    bad = tmp_path / "2026-01-02.csv"
    bad.write_text("id,n\n1,2\n1,3\n")
    with pytest.raises(InvalidInput, match="line 3: the key '1' is there twice, first in"):
        load(tmp_path, tmp_path)
    assert valid_at(tmp_path, "2026-01-02") == {"1": {"id": 1, "n": 1}}
    bad.write_text("id,n\n1,2\n2,3\n")
    assert [one.state for one in load(tmp_path, tmp_path).snapshots] == ["skipped", "imported"]
    for text, word in (("id,n\n1\n", "cells"), ("", "empty"), ("id\n,\n", "cells")):
        (tmp_path / "2026-01-03.csv").write_text(text)
        with pytest.raises(InvalidInput, match=word):
            load(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("day,id\n2026-01-01,1\n,2\n", "line 3: the date column day is empty"),
        ("day,id\n2026-01-01,1\nsoon,2\n", "line 3, day"),
        ("day,id\n2026-01-01,1\n2026-01-01,1\n", "twice on one date"),
        ("date,id\n2026-01-01,1\n", "no column 'day'"),
    ],
)
def test_a_bad_date_column_is_refused(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "all.csv").write_text(text)
    with pytest.raises(InvalidInput, match=word):
        load(tmp_path, tmp_path / "all.csv", date_column="day")
    with pytest.raises(InvalidInput, match="in the key"):
        load(tmp_path, tmp_path / "all.csv", date_column="id")


def test_limits_and_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="no snapshots in"):
        load(tmp_path, tmp_path / "empty")
    with pytest.raises(NotFound):
        load(tmp_path, tmp_path / "no-2026-01-01.csv")
    for day in (1, 2):
        (tmp_path / "empty" / f"2026-01-0{day}.csv").write_text("id\n")
    monkeypatch.setattr("audit.capture.importer.dated.MAX_FILES", 1)
    with pytest.raises(LimitExceeded):
        load(tmp_path, tmp_path / "empty")


KILLED = """
import os, signal, sys
from audit.capture.delivery.embedded import EmbeddedLedger, open_for_writing
from audit.capture.importer import import_series, sealing
sealing.BATCH_EVENTS = 3
append, left = EmbeddedLedger.append, [int(sys.argv[3])]
def dying(self, messages, *rest):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return append(self, messages, *rest)
EmbeddedLedger.append = dying
with open_for_writing(sys.argv[1]) as ledger:
    import_series(ledger, [sys.argv[2]], entity="user", key="id")
"""


def test_an_interrupted_import_goes_on(tmp_path: Path) -> None:
    days = histories(5, 8)
    folder = tmp_path / "users"
    for date, rows in days.items():
        more = {f"m{n}": {"name": date, "n": n} for n in range(5)}
        days[date] = {**rows, **more}
        write_csv(folder / f"{date}.csv", days[date], ("name", "n"))
    for appends in (1, 4, 3):
        done = python(KILLED, url(tmp_path), folder, appends)
        assert done.code == -signal.SIGKILL, done.err
    states = [one.state for one in load(tmp_path, folder).snapshots]
    assert states == sorted(states, reverse=True) and {"skipped", "imported"} == set(states)
    for date, rows in days.items():
        assert same_rows(valid_at(tmp_path, date), rows), date
    assert {one.state for one in load(tmp_path, folder).snapshots} == {"skipped"}


def test_a_snapshot_alone_and_a_series_meet(tmp_path: Path) -> None:
    """What `--snapshot` recorded is valid from now on: older days cannot come behind it."""
    path = tmp_path / "2026-01-01.csv"
    path.write_text("id,n\n1,1\n")
    with open_for_writing(url(tmp_path)) as ledger:
        import_file(ledger, path, entity="user", key="id", snapshot=True)
    with pytest.raises(InvalidInput, match="is known up to"):
        load(tmp_path, path)
    assert os.listdir(tmp_path)
