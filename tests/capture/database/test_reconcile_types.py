"""Reconcile compares by value, whatever types a database and the log keep values in."""

import datetime as dt
import math
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from audit.capture.reconcile_digests import Digester, Digests, canonical, compare, digests_of, same
from tests.capture.database.outbox_support import DATABASES, new_database, new_outbox
from tests.capture.database.reconcile_support import App, counts, reconciled, relayed
from tests.capture.support import url

NOON = dt.datetime(2026, 1, 31, 12, 0, 0, 250)
TYPES: dict[str, tuple[str, str, list[Any]]] = {
    # column: type on PostgreSQL, on SQLite, values
    "i": ("bigint", "BIGINT", [0, -(2**63), 2**63 - 1]),
    "b": ("boolean", "BOOLEAN", [True, False, None]),
    "f": ("double precision", "FLOAT", [0.1, -0.0, 1e300]),
    "d": ("numeric(12, 3)", "NUMERIC(12, 3)", [Decimal("1.500"), Decimal(0), Decimal("-9.001")]),
    "t": ("text", "TEXT", ["", "é\U0001f600\n", "null"]),
    "y": ("bytea", "BLOB", [b"", b"\x00\xff", None]),
    "day": ("date", "DATE", [dt.date(2026, 1, 31), dt.date(1, 1, 1), None]),
    "at": ("timestamp", "TIMESTAMP", [NOON, NOON.replace(microsecond=0), None]),
    "clock": ("time", "TIME", [dt.time(1, 2, 3), dt.time(0), dt.time(23, 59, 59, 999_999)]),
    "j": ("jsonb", "JSON", [{"a": [1, 2.5, None], "$x": {}}, [], "text"]),
}
MORE: dict[str, tuple[str, str, list[Any]]] = {
    "z": ("timestamptz", "", [NOON.replace(tzinfo=dt.UTC), None, None]),
    "nan": ("double precision", "", [math.nan, math.inf, -math.inf]),
    "un": ("numeric", "", [Decimal("NaN"), Decimal("1.50"), Decimal(10) ** 20]),
    "r": ("real", "", [0.1, 1.5, None]),
    "arr": ("integer[]", "", [[1, 2], [], None]),
    "words": ("text[]", "", [["a", None], [], None]),
    "c": ("character(4)", "", ["ab", "abcd", None]),
    "net": ("inet", "", ["10.0.0.1", "::1/64", None]),
    "u": ("uuid", "", ["12345678-1234-5678-1234-567812345678"] + 2 * [None]),
    "iv": ("interval", "", [dt.timedelta(days=1, seconds=5), dt.timedelta(0), None]),
}


@pytest.fixture(params=DATABASES)
def engine(request: pytest.FixtureRequest, ledger_dir: Path) -> Engine:
    return new_outbox(new_database(request.param, request, ledger_dir), request)


def test_values_of_every_type_fit(engine: Engine, ledger_dir: Path) -> None:
    postgresql = engine.dialect.name == "postgresql"
    types = {**TYPES, **MORE} if postgresql else TYPES
    columns = "".join(f', "{n}" {t[0 if postgresql else 1]}' for n, t in types.items())
    app = App(engine, f'CREATE TABLE "user" (id INTEGER PRIMARY KEY{columns})')
    for number in range(3):
        app.insert({"id": number, **{name: t[2][number] for name, t in types.items()}})
    relayed(engine, ledger_dir)
    found = reconciled(app, ledger_dir, values=True)
    assert [one.to_json() for one in found.different] == []
    assert found.ok and found.counts["same"] == 3 and len(found.columns) == len(types) + 1
    # One after the other is changed behind capture's back, and seen.
    for name, (_, _, values) in types.items():
        if values[1] is not None and name != "f":
            app.update({"id": 0}, silent=True, **{name: values[1]})
    (one,) = reconciled(app, ledger_dir).different
    wanted = {name for name, t in types.items() if t[2][1] is not None and name != "f"}
    assert set(one.fields) == wanted


def test_sqlite_keeps_anything_in_any_column(request: pytest.FixtureRequest, tmp_path: Path,
                                             ledger_dir: Path) -> None:  # fmt: skip
    engine = new_outbox(new_database("sqlite", request, ledger_dir), request)
    types = "day DATE, at TIMESTAMP, d NUMERIC(5, 2), b BOOLEAN, j JSON, i INTEGER, t TEXT"
    app = App(engine, f'CREATE TABLE "user" (id INTEGER PRIMARY KEY, {types})')
    nulls = dict.fromkeys(("day", "at", "d", "b", "j", "i"))
    app.insert(*({"id": n, "t": "x", **nulls} for n in range(7)))
    relayed(engine, ledger_dir)
    odd = {
        "day": "'tomorrow'", "at": "17", "d": "'one'", "b": "'maybe'", "j": "'{'", "i": "x'00ff'",
        "t": "CAST(x'ff' AS TEXT)",
    }  # fmt: skip
    with engine.begin() as connection:
        for number, (name, value) in enumerate(odd.items()):
            sql = f'UPDATE "user" SET {name} = {value} WHERE id = {number}'
            connection.exec_driver_sql(sql)
    found = reconciled(app, ledger_dir, values=True)
    assert [one.fields for one in found.different] == [(name,) for name in odd]
    assert all(one.to_json()["table"] for one in found.different)


def test_equal_rows_of_several_keys_are_told(request: pytest.FixtureRequest,
                                             ledger_dir: Path) -> None:  # fmt: skip
    engine = new_outbox(new_database("sqlite", request, ledger_dir), request)
    app = App(engine, 'CREATE TABLE "user" (id PRIMARY KEY NOT NULL, n INTEGER)')
    app.insert({"id": 5, "n": 1}, {"id": 6, "n": 1})
    relayed(engine, ledger_dir)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO \"user\" VALUES ('5', 1), ('7', 1), (7, 1)"))
    found = reconciled(app, ledger_dir)
    assert counts(found) == (0, 0, 2, 0) and found.counts["same"] == 1
    assert {one.key for one in found.different} == {"5", "7"}


SAME = [
    [1, 1.0, Decimal("1.00"), Decimal("1E+0")],
    [0, 0.0, -0.0, Decimal("0.000")],
    [0.1, Decimal("0.1"), Decimal("0.10")],
    [math.nan, math.nan, Decimal("NaN")],
    [10**18, 1e18, Decimal("1E+18"), Decimal("1000000000000000000.0")],
    [Decimal("1.5E-6"), 1.5e-6, Decimal("0.00000150")],
    [1.5e-7, Decimal("15E-8")],
    [1e300, Decimal("1E+300")],
    [Decimal("1E-2000"), Decimal("10E-2001")],
    [Decimal("-0.5"), -0.5],
    [{"a": [1, 2.0]}, {"a": [1.0, Decimal(2)]}],
    [dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
     dt.datetime(2026, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))],
]  # fmt: skip


def test_what_counts_as_equal() -> None:
    for values in SAME:
        assert all(same(a, b) for a in values for b in values), values
    firsts = [values[0] for values in SAME] + [
        None, True, False, "1", "", b"", b"1", [], {}, [1], ["number", 1], {"number": "0.1"},
        ["0.1"], math.inf, -math.inf, dt.date(2026, 1, 1), "2026-01-01", 2**60, 2**60 + 1, -1,
        1e301, 5e-324, Decimal("1E-2001"),
    ]  # fmt: skip
    for at, left in enumerate(firsts):
        for right in firsts[at + 1 :]:
            assert not same(left, right), (left, right)


@given(
    st.dictionaries(st.integers(0, 40), st.integers(0, 3)),
    st.dictionaries(st.integers(0, 40), st.integers(0, 3)),
    st.sampled_from([7, 1_000]),
)
@settings(max_examples=25)
def test_digests_compare_as_dicts_do(
    left: dict[int, int], right: dict[int, int], memory: int
) -> None:
    digester = Digester()
    name = {digester.key(str(n)): n for n in range(41)}
    with Digests(memory) as one, Digests(memory) as other:
        for side, into in ((left, one), (right, other)):
            for key, value in side.items():
                into.add([digester.key(str(key))], digester.contents(1, [[value]]))
        parts = list(compare(one, other))
    found = [{name[d] for p in parts for d in digests_of(p[kind])} for kind in range(3)]
    both = left.keys() & right.keys()
    assert found[0] == left.keys() - right.keys() and found[1] == right.keys() - left.keys()
    assert found[2] == {key for key in both if left[key] != right[key]}
    assert sum(p.fit for p in parts) == len(both) - len(found[2])
    assert canonical(np.float64(0.5)) != canonical(0.25)


FLAT = """
import resource, sys
from audit.capture.database.connect import open_database
from audit.capture.database.reconcile import Asked, reconcile
from audit.store import open_reader
url, against, count = sys.argv[1:]
with open_reader(url) as reader:
    asked = Asked("user", limit=10, rows_in_memory=2_500)
    found = reconcile(reader, open_database(against), asked)
assert found.counts["table"] == int(count) and found.counts["same"] == 1, found.counts
assert found.missing[:2] == ("10", "100"), found.missing
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_table(engine: Engine, ledger_dir: Path) -> None:
    app = App(engine, 'CREATE TABLE "user" (id INTEGER PRIMARY KEY, note TEXT)')
    app.insert({"id": 1, "note": "x" * 4_000})
    relayed(engine, ledger_dir)
    peak_mb = []
    for count in (2_500, 25_000):
        with engine.begin() as connection:
            numbers = (
                'WITH RECURSIVE n(i) AS (SELECT max(id) + 1 FROM "user" UNION ALL '
                f"SELECT i + 1 FROM n WHERE i < {count}) "
            )
            one = 'INSERT INTO "user" {0}SELECT i, \'' + "x" * 4_000 + "' FROM n"
            connection.execute(text(one.format(numbers)))
        address = engine.url.render_as_string(hide_password=False)
        child = [sys.executable, "-c", FLAT, url(ledger_dir), address, str(count)]
        done = subprocess.run(child, check=True, capture_output=True, text=True)
        peak_mb.append(int(done.stdout))
    # 25,000 rows are 100 MB; what is remembered of them are digests of keys, 50 bytes each.
    assert peak_mb[1] - peak_mb[0] < 60, peak_mb
