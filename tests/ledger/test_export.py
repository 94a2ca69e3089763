"""Exports: the as-of query gives what replay gives, and a check finds whatever was changed."""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.errors import AuditError, FormatError, InvalidInput, NotFound, StoreCorrupt
from audit.ledger.export.asof_text import ENGINES, asof_sql
from audit.ledger.export.check import ExportCheck, check_export
from audit.ledger.export.files import month_of
from audit.ledger.export.manifest import MANIFEST, RUNNING, Manifest, Selection, parse_manifest
from audit.ledger.export.place import digest_of, open_place
from audit.ledger.export.typed import known_kind, typed_array
from audit.ledger.export.write import ExportResult, export
from audit.replay.points import AsOf
from audit.tlog.note import sign_note
from audit.verify.findings import Verdict
from tests.backends import SqliteBackend, new_backend
from tests.ledger.support import POLICY, SIGNER, random_history
from tests.replay.conftest import LedgerInTest

DUCKDB = ENGINES[0]
SLOW = pytest.mark.slow


def exported(made: LedgerInTest, to: object, as_of: AsOf = None, **k: Any) -> ExportResult:
    selection = Selection(**{name: k.pop(name) for name in Selection._fields if name in k})
    k.setdefault("signer", SIGNER)
    return export(made.store, open_place(str(to)), made.cut(as_of), selection, made.now_us, **k)


def checked(to: object, policy: Any = POLICY) -> ExportCheck:
    return check_export(open_place(str(to)), policy)


def codes(to: object) -> set[str]:
    found = checked(to)
    assert found.verdict is Verdict.TAMPERED
    return {finding.code for finding in found.findings}


def manifest_of(to: Path) -> Manifest:
    return parse_manifest((to / MANIFEST).read_bytes())


@cache
def in_memory() -> duckdb.DuckDBPyConnection:
    """Makes cursors, each with views of its own: to begin a database takes far longer."""
    return duckdb.connect(":memory:")


@pytest.fixture(scope="module", autouse=True)
def closed() -> Iterator[None]:
    yield
    in_memory().close()
    in_memory.cache_clear()


def rows_by_sql(
    to: Path, as_of_us: int, valid_us: int | None = None, entity: str = "user"
) -> dict[str, dict[str, Any]]:
    """What the documented statement gives, as replay's rows would be without telling absent."""
    columns = manifest_of(to).datasets[entity].columns
    with in_memory().cursor() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"CREATE TEMP VIEW ch AS FROM read_parquet('{to}/changes/{entity}/*.parquet')"
        )
        times = [None if us is None else f"make_timestamptz({us})" for us in (as_of_us, valid_us)]
        text = asof_sql(DUCKDB, "ch", columns.names, times[0] or "", times[1])
        found = connection.sql(text).to_arrow_table()
    shown = {column: name for name, column in columns.names.items()}
    cells = [
        {} if name == "_entity_key" else {shown[name]: found.column(name)}
        for name in found.column_names
    ]
    rows: dict[str, dict[str, Any]] = {}
    for at, key in enumerate(found.column("_entity_key").to_pylist()):
        rows[key] = {n: column[at].as_py() for cell in cells for n, column in cell.items()}
    return rows


def rows_by_replay(
    made: LedgerInTest, to: Path, as_of_us: int, valid_us: int | None = None
) -> dict[str, dict[str, Any]]:
    """The same from the plain replay, each value as its column would have it."""
    columns = manifest_of(to).datasets["user"].columns
    rows = made.rows(made.at_us(as_of_us), valid_us)
    return {
        key: {
            name: typed_array([row.get(name)], kind)[0].as_py()
            for name, kind in columns.kinds.items()
        }
        for key, row in rows.items()
    }


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(n, marks=SLOW) for n in range(3, 8))])
def test_the_statement_gives_what_replay_gives(
    ledger: LedgerInTest, tmp_path: Path, seed: int
) -> None:
    ledger.open_log(1)
    start_us = ledger.now_us
    random_history(ledger, seed, 60)
    exported(ledger, tmp_path / "x")
    assert checked(tmp_path / "x").verdict is Verdict.OK
    for step in (9, 25, 44, 65):
        as_of_us = start_us + step * 1_000_000
        for valid_us in (None, as_of_us - 7_000_000):
            by_sql = rows_by_sql(tmp_path / "x", as_of_us, valid_us)
            # repr: NaN equals NaN there, and -0.0 differs from 0.0.
            assert repr(by_sql) == repr(rows_by_replay(ledger, tmp_path / "x", as_of_us, valid_us))


def test_a_column_has_the_type_that_holds_its_values(ledger: LedgerInTest, tmp_path: Path) -> None:
    ledger.emit("create", 1, {"n": 2**62, "mixed": 1, "none": None, "nested": {"a": [1]}})
    ledger.emit("create", 2, {"n": None, "mixed": "x"})
    exported(ledger, tmp_path)
    table = pq.read_table(next((tmp_path / "changes/user").iterdir()))
    types = {name: table.schema.field(name).type for name in ("n", "mixed", "none", "nested")}
    assert types == {
        "n": pa.int64(),
        "mixed": pa.string(),
        "none": pa.string(),
        "nested": pa.string(),
    }
    assert table.column("mixed").to_pylist() == ["1", '"x"']
    assert table.column("nested").to_pylist() == ['{"a":[1]}', None]
    assert table.column("_set_fields").to_pylist() == [
        ["mixed", "n", "nested", "none"],
        ["mixed", "n"],
    ]


def test_fields_called_as_columns_of_the_table_move_aside(
    ledger: LedgerInTest, tmp_path: Path
) -> None:
    ledger.emit("create", 1, {"_index": 1, "Name": "A", "name": "a", "_N": 2, "": 3, "a\0b": 4})
    exported(ledger, tmp_path)
    assert manifest_of(tmp_path).datasets["user"].columns.names == {
        "": "field",
        "Name": "Name",
        "_N": "_N_",
        "_index": "_index_",
        "a\0b": "a\u2400b",
        "name": "name_",
    }
    assert rows_by_sql(tmp_path, ledger.now_us + 9_000_000)["1"]["_index"] == 1


def test_what_plain_sql_does_not_know_is_said(ledger: LedgerInTest, tmp_path: Path) -> None:
    ledger.open_log(1)
    random_history(ledger, 3, 50, kept=True)
    result = exported(ledger, tmp_path)
    assert any("unchanged" in text for text in result.manifest.datasets["user"].remarks)
    assert checked(tmp_path).verdict is Verdict.OK


# Going on


@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=SLOW)])
def test_an_export_is_extended(ledger: LedgerInTest, tmp_path: Path, seed: int) -> None:
    ledger.open_log(1)
    start_us = ledger.now_us
    to = tmp_path / "x"
    for number in range(3):
        random_history(ledger, seed * 10 + number, 25)
        result = exported(ledger, to)
        assert result.extended is (number > 0)
        assert result.added == 25 if number else result.added > 25
        assert (checked(to).verdict, checked(to).entries) == (Verdict.OK, result.entries)
    as_of_us = start_us + 200_000_000
    assert repr(rows_by_sql(to, as_of_us)) == repr(rows_by_replay(ledger, to, as_of_us))
    before = {path: path.read_bytes() for path in to.rglob("*") if path.is_file()}
    again = exported(ledger, to)
    assert (again.added, again.extended) == (0, True)
    assert before == {path: path.read_bytes() for path in to.rglob("*") if path.is_file()}


def test_a_point_in_the_past_is_exported(ledger: LedgerInTest, tmp_path: Path) -> None:
    first = ledger.emit("create", 1, {"a": 1})
    ledger.emit("create", 2, {"a": 2})
    result = exported(ledger, tmp_path, as_of=first[1])
    assert [log.size for log in result.manifest.logs] == [first[1] + 1]
    assert checked(tmp_path).logs[0].checkpoint_size == first[1] + 1
    with pytest.raises(InvalidInput, match="name another folder"):
        exported(ledger, tmp_path, as_of=first[1] - 1)


@pytest.mark.parametrize("before", [0, 30])
def test_an_interrupted_export_is_none(
    ledger: LedgerInTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    ledger.open_log(1)
    to = tmp_path / "x"
    if before:
        random_history(ledger, 1, before)
        exported(ledger, to)
    random_history(ledger, 2, 30)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exported(ledger, to, progress=interrupt)
    assert (to / RUNNING).exists()
    if before:
        assert {f.code for f in checked(to).findings} <= {"unfinished", "export_differs"}
        assert checked(to).findings
    else:
        with pytest.raises(NotFound, match="no finished export"):
            checked(to)
    exported(ledger, to)
    assert checked(to).verdict is Verdict.OK
    assert not (to / RUNNING).exists()


def test_what_is_of_no_export_is_left_alone(ledger: LedgerInTest, tmp_path: Path) -> None:
    to = tmp_path / "x"
    to.mkdir()
    (to / "thesis.txt").write_text("mine")
    with pytest.raises(InvalidInput, match=r"thesis\.txt"):
        exported(ledger, to)
    (to / "thesis.txt").unlink()
    exported(ledger, to)
    with pytest.raises(InvalidInput, match="another selection"):
        exported(ledger, to, leaves=False)
    (to / "events" / "more.parquet").write_text("mine too")
    with pytest.raises(InvalidInput, match=r"more\.parquet"):
        exported(ledger, to)
    with pytest.raises(InvalidInput, match="is a file"):
        exported(ledger, to / MANIFEST)


def test_another_ledger_does_not_go_on(
    ledger: LedgerInTest, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    ledger.emit("create", 1, {"a": 1})
    exported(ledger, tmp_path / "x")
    (tmp_path / "other").mkdir()
    other = LedgerInTest(new_backend(SqliteBackend.name, request, tmp_path / "other"))
    with other.store:
        other.emit("create", 1, {"a": 2})
        with pytest.raises(StoreCorrupt, match="another history"):
            exported(other, tmp_path / "x")


def test_a_key_does_not_sign_what_it_did_not_sign_before(
    ledger: LedgerInTest, tmp_path: Path
) -> None:
    ledger.emit("create", 1, {"a": 1})
    exported(ledger, tmp_path, signer=None)
    ledger.emit("create", 2, {"a": 1})
    with pytest.raises(InvalidInput, match="was not signed by this ledger's key"):
        exported(ledger, tmp_path)
    assert exported(ledger, tmp_path, signer=None).added == 1


# Selections


def test_one_dataset_with_all_that_is_needed_to_check_it(
    ledger: LedgerInTest, tmp_path: Path
) -> None:
    made = [
        ledger.event("create", number, {"a": number}, entity="user" if number % 3 else "other")
        for number in range(300)
    ]
    ledger.seal([event for event, _ in made], made[0][1])
    result = exported(ledger, tmp_path, entities=("other",))
    assert list(result.manifest.datasets) == ["other"]
    found = checked(tmp_path)
    assert (found.verdict, "selection" in found.not_proven) == (Verdict.OK, True)
    assert 100 <= found.entries < 120
    tree = next((tmp_path / "tree").rglob("*.bin"))
    assert len(tree.read_bytes()) == 32 * result.manifest.logs[0].size
    resigned(tmp_path, lambda: tree.write_bytes(tree.read_bytes()[:-32] + bytes(32)))
    assert codes(tmp_path) == {"root"}
    resigned(tmp_path, lambda: tree.write_bytes(tree.read_bytes()[:96] + bytes(32 * 250)))
    assert codes(tmp_path) == {"root", "export_differs"}


def test_what_fits_a_query(ledger: LedgerInTest, tmp_path: Path) -> None:
    made = [
        ledger.event("create", number, {"a": number}, actor="alice" if number % 2 else "bob")
        for number in range(20)
    ]
    ledger.seal([event for event, _ in made], made[0][1])
    result = exported(ledger, tmp_path, query="actor:alice")
    assert not result.manifest.datasets
    assert checked(tmp_path).verdict is Verdict.OK
    events = pq.ParquetDataset(tmp_path / "events").read()
    assert events.column("actor").to_pylist().count("alice") == 10
    assert "bob" not in events.column("actor").to_pylist()
    with pytest.raises(InvalidInput, match="not extended"):
        exported(ledger, tmp_path, query="actor:alice")


def test_without_leaves_the_root_is_still_proven(ledger: LedgerInTest, tmp_path: Path) -> None:
    ledger.emit("create", 1, {"a": 1})
    exported(ledger, tmp_path, leaves=False)
    found = checked(tmp_path)
    assert (found.verdict, "columns" in found.not_proven) == (Verdict.OK, True)


# Checking


def resigned(to: Path, change: Callable[[], object], sign: bool = True) -> None:
    """Change files, and make the manifest fit them again, as somebody with the key could."""
    change()
    manifest = manifest_of(to)
    place = open_place(str(to))
    files = {
        path: file._replace(digest=digest_of(place, path)) for path, file in manifest.files.items()
    }
    manifest = manifest._replace(files=files, note=None)
    if sign:
        manifest = manifest._replace(note=sign_note(manifest.text(), [SIGNER]))
    (to / MANIFEST).write_bytes(manifest.to_json())


@pytest.fixture(scope="module")
def made_lake(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("ledger")
    made = LedgerInTest(new_backend(SqliteBackend.name, request, folder))
    with made.store:
        made.open_log(1)
        random_history(made, 5, 60)
        exported(made, folder / "lake")
        yield folder / "lake"


@pytest.fixture
def lake(made_lake: Path, tmp_path: Path) -> Path:
    """An export of its own to damage."""
    return Path(shutil.copytree(made_lake, tmp_path / "lake"))


def rewrite(path: Path, column: str, value: Any) -> None:
    """Another value in the last row of a column."""
    table = pq.read_table(path, partitioning=None)
    cells = [*table.column(column).to_pylist()[:-1], value]
    at = table.schema.get_field_index(column)
    field = table.schema.field(at)
    pq.write_table(table.set_column(at, field, pa.array(cells, field.type)), path)


def test_a_file_that_was_changed_is_named(lake: Path) -> None:
    path = next((lake / "changes/user").iterdir())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert path.name in checked(lake).findings[0].message
    assert codes(lake) == {"export_differs"}


def test_missing_and_further_files_are_named(lake: Path) -> None:
    path = next((lake / "events").rglob("*.parquet"))
    shutil.copy(path, path.with_name("more.parquet"))
    path.unlink()
    messages = [finding.message for finding in checked(lake).findings]
    assert any("more.parquet is not in the manifest" in text for text in messages)
    assert any("not there" in text for text in messages)


@pytest.mark.parametrize("sign", [True, False])
@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("actor", "mallory"), ("after", '{"dpt":"X"}'), ("recorded_time", 0), ("op", None)),
        *(("leaf_hash", "00" * 32), ("leaf", b"no leaf"), ("index", 7), ("kind", "control")),
    ],
)
def test_no_column_of_events_can_say_something_else(
    lake: Path, column: str, value: Any, sign: bool
) -> None:
    path = next((lake / "events").rglob("*.parquet"))
    resigned(lake, lambda: rewrite(path, column, value), sign)
    assert codes(lake) & {"export_differs", "root"}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("_entity_key", "z"), ("_whole", None), ("_op", "delete"), ("_supersedes_index", 6)),
        *(("_set_fields", ["dpt"]), ("_index", 1), ("_valid_time", 0), ("_odd", "kept")),
    ],
)
def test_no_column_of_changes_can_say_something_else(lake: Path, column: str, value: Any) -> None:
    path = min((lake / "changes/user").iterdir())
    if column == "_whole":
        value = not pq.read_table(path).column("_whole").to_pylist()[-1]
    if column == "_op":
        value = "create" if pq.read_table(path).column("_op").to_pylist()[-1] == value else value
    resigned(lake, lambda: rewrite(path, column, value))
    assert codes(lake) == {"export_differs"}


def test_rows_that_are_left_out_or_made_up_are_found(lake: Path) -> None:
    path = min((lake / "changes/user").iterdir())
    table = pq.read_table(path)
    resigned(lake, lambda: pq.write_table(table.slice(0, table.num_rows - 1), path))
    assert codes(lake) == {"export_differs"}
    more = pa.concat_tables([table, table.slice(0, 1)])
    resigned(lake, lambda: pq.write_table(more, path))
    assert codes(lake) == {"export_differs"}


def test_a_statement_that_was_changed_is_found(lake: Path) -> None:
    path = lake / "sql/user.trino.sql"
    text = path.read_text().replace("_op = 'delete'", "_op = 'never'")
    resigned(lake, lambda: path.write_text(text))
    assert "user.trino.sql" in checked(lake).findings[0].message


def test_who_signed_is_told(lake: Path) -> None:
    assert checked(lake).signed == SIGNER.name
    assert checked(lake, None).verdict is Verdict.CANNOT_TELL
    resigned(lake, lambda: None, sign=False)
    unsigned = checked(lake)
    # The log's own checkpoints prove the entries whoever made the export.
    assert (unsigned.verdict, unsigned.signed) == (Verdict.OK, "nobody")
    assert "manifest" in unsigned.not_proven
    manifest = manifest_of(lake)
    forged = manifest._replace(note=sign_note("another text\n", [SIGNER]))
    (lake / MANIFEST).write_bytes(forged.to_json())
    assert codes(lake) == {"note_signature"}


def test_a_head_that_nobody_signed_is_found(lake: Path) -> None:
    manifest = manifest_of(lake)
    head = manifest.logs[0]._replace(root_hash=bytes(32))
    forged = manifest._replace(logs=(head, *manifest.logs[1:]))
    (lake / MANIFEST).write_bytes(forged.to_json())
    assert {"root", "note_signature"} <= codes(lake)
    shorter = manifest._replace(logs=manifest.logs[:1], note=None)
    (lake / MANIFEST).write_bytes(shorter.to_json())
    assert codes(lake) == {"export_differs"}


def test_a_manifest_from_anybody_is_read_without_surprise(lake: Path) -> None:
    good = json.loads((lake / MANIFEST).read_bytes())

    def mutations(value: Any) -> list[Any]:
        """The value with one part of it replaced, in many ways."""
        strange: list[Any] = [None, -1, 2**70, "", "../x", [], {}, ["x"], True]
        if isinstance(value, dict):
            found = [{**value, k: m} for k in list(value)[:3] for m in mutations(value[k])]
            return [*found, {**value, "more": 1}, *strange]
        if isinstance(value, list):
            return [[m, *value[1:]] for m in mutations(value[0])] + strange if value else strange
        return strange

    for name in good:
        for value in mutations(good[name])[:80]:
            (lake / MANIFEST).write_text(json.dumps({**good, name: value}))
            try:
                assert isinstance(checked(lake).exit_code, int)
            except AuditError:
                pytest.fail(f"{name}: {value!r:.100}")
    for data in (b"", b"[]", b"{", b"\xff", json.dumps({**good, "files": {"../x": [1, 1, "a"]}})):
        (lake / MANIFEST).write_bytes(data if isinstance(data, bytes) else data.encode())
        assert checked(lake).verdict is Verdict.CANNOT_TELL


def test_a_parquet_file_from_anybody_is_read_without_surprise(lake: Path) -> None:
    path = next((lake / "events").rglob("*.parquet"))
    whole = path.read_bytes()
    for data in (b"", b"PAR1", whole[: len(whole) // 2], whole[:-20] + bytes(20)):
        resigned(lake, lambda data=data: path.write_bytes(data))  # type: ignore[misc]
        assert codes(lake) == {"export_differs"}
    resigned(lake, lambda: pq.write_table(pa.table({"leaf": [1]}), path))
    assert codes(lake) == {"export_differs"}


# Places


def test_an_export_goes_to_any_file_system(ledger: LedgerInTest) -> None:
    to = "memory://export-test/lake"
    ledger.emit("create", 1, {"a": 1})
    exported(ledger, to)
    ledger.emit("create", 2, {"a": "x"})
    assert exported(ledger, to).added == 1
    assert checked(to).verdict is Verdict.OK
    assert sum(name.startswith("changes/") for name in open_place(to).names()) == 2


def test_a_place_that_is_none() -> None:
    with pytest.raises(InvalidInput, match="another machine"):
        open_place("file://host/x")
    with pytest.raises(NotFound, match="no finished export"):
        checked("/nonexistent/place")


# Small parts


def test_months_meet_without_a_gap() -> None:
    for us in (-(10**15), 0, 10**15, 2 * 10**15):
        month = month_of(us)
        assert month.start_us <= us < month.stop_us
        assert month_of(month.stop_us).start_us == month.stop_us
        assert month_of(month.stop_us - 1) == month
    with pytest.raises(StoreCorrupt):
        month_of(2**62)


def test_kinds_and_values_that_do_not_fit() -> None:
    assert known_kind("decimal:38") and not known_kind("decimal:39") and not known_kind(1)
    with pytest.raises(FormatError):
        typed_array(["x"], "int")
    with pytest.raises(FormatError):
        typed_array([1], "null")
