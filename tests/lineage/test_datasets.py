"""Dataset versions: found, made again at their points, and what each change does to the verdict."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from audit.errors import Ambiguous, InvalidInput, NotFound
from audit.event.build import new_event_id, record_event
from audit.ledger.facade import Ledger
from audit.lineage.content.row_selection import is_selection, select_rows
from audit.lineage.recorded.datasets import (
    DIFFERENT,
    NOT_REPLAYABLE,
    ROOT_DIFFERS,
    SAME,
    CheckedDataset,
    all_datasets,
    find_dataset,
)
from audit.lineage.recorded.run_inputs import describe_data
from tests.backends import SqliteBackend
from tests.lineage.common import Case, example


def read(case: Case, *point: Any, **options: Any) -> pd.DataFrame:
    case.emit.flush()
    with Ledger(case.url) as ledger:
        return ledger.replay("inquiry", *point, **options)


def declare(case: Case, frame: pd.DataFrame, version: str = "1", **fields: Any) -> str:
    """A dataset.version record of a frame; `keep` keeps a copy."""
    keep = fields.pop("keep", False)
    (data,) = describe_data(frame, "inquiries", keep=keep, blobs=case.blobs)
    taken = {k: v for k, v in data.items() if k not in ("kind", "path", "dataset", "name")}
    record = {**taken, "name": "inquiries", "version": version, **fields}
    built = record_event(
        "dataset.version", record, event_id=new_event_id(), source="test",
        entity_type="dataset", entity_key=f"inquiries@{version}",
    )  # fmt: skip
    case.emit.send(built)
    return f"inquiries@{version}"


def check(case: Case, ref: str, *point: Any) -> CheckedDataset:
    case.emit.flush()
    with Ledger(case.url) as ledger:
        return ledger.check_dataset(ref, *point)


@pytest.fixture
def table(case: Case) -> Case:
    case.emit.frame("inquiry", example())
    return case


def test_found_with_all_fields(table: Case) -> None:
    ref = declare(
        table, read(table), purpose="training", query="all", parents=["sha256:" + "0" * 64]
    )
    declare(table, read(table), "2", predictions_of=[{"name": "m", "version": "1", "digest": None}])
    table.emit.flush()
    with Ledger(table.url) as ledger:
        found = find_dataset(ledger.reader, ref, ledger.cut())
        assert (found.name, found.version, found.rows, found.purpose) == (
            "inquiries", "1", 3, "training",
        )  # fmt: skip
        assert found.digest.startswith("frame-v2:sha256:") and found.ref == f"dataset/{ref}"
        assert set(found.columns) == {"CustomerID", "LoanAmount"}
        assert found.logs[0].root_hash is not None and found.entity_type == "inquiry"
        assert found.to_json()["parents"] == ["sha256:" + "0" * 64]
        assert find_dataset(ledger.reader, f"dataset/{ref}", ledger.cut()) == found
        versions = all_datasets(ledger.reader, ledger.cut())
        assert [str(m) for m in versions[1].predictions_of] == ["m@1"]
        assert [one.version for one in all_datasets(ledger.reader, ledger.cut())] == ["1", "2"]
        early = ledger.cut(found.record.index - 1)
        assert all_datasets(ledger.reader, early) == []
        for unknown, error in (("other@1", NotFound), ("nothing", InvalidInput)):
            with pytest.raises(error):
                find_dataset(ledger.reader, unknown, ledger.cut())


def test_two_contents_under_one_name(table: Case) -> None:
    ref = declare(table, read(table))
    table.emit.flush()
    declare(table, read(table))  # said again: the same content
    assert check(table, ref).verdict == SAME
    declare(table, read(table).iloc[:1])
    with pytest.raises(Ambiguous, match="2 different contents"):
        check(table, ref)
    assert check(table, ref, "HEAD~1").verdict == SAME


def test_same_and_then_stale(table: Case) -> None:
    ref = declare(table, read(table))
    found = check(table, ref)
    assert (found.verdict, found.stale, found.holds, found.columns) == (SAME, False, True, ())
    table.emit.update("inquiry", "1003", {"LoanAmount": 5001})
    found = check(table, ref)
    assert (found.verdict, found.stale, found.stale_columns) == (SAME, True, ("LoanAmount",))
    assert found.to_json()["stale_columns"] == ["LoanAmount"]


CHOICES: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str | None]] = {
    "columns": (lambda f: f[["LoanAmount"]], None),
    "columns in another order": (lambda f: f[["LoanAmount", "CustomerID"]], None),
    "rows": (lambda f: f[f["LoanAmount"] > 10000], "LoanAmount > 10000"),
    "rows and columns": (
        lambda f: f[f["CustomerID"].isin(["003"])][["CustomerID"]],
        "CustomerID in ['003']",
    ),
    "no rows": (lambda f: f.query("CustomerID == 'x'"), "CustomerID == 'x'"),
}


@pytest.mark.parametrize("name", CHOICES)
def test_what_was_chosen_is_made_again(table: Case, name: str) -> None:
    choose, query = CHOICES[name]
    found = check(table, declare(table, choose(read(table)), query=query))
    assert (found.verdict, found.stale) == (SAME, False)


def test_a_query_is_stale_when_its_column_is_gone(table: Case) -> None:
    frame = read(table).query("LoanAmount > 10000")
    ref = declare(table, frame, query="LoanAmount > 10000")
    table.emit.create("inquiry", "1004", {"CustomerID": "004", "LoanAmount": 70000})
    found = check(table, ref)
    assert (found.verdict, found.stale) == (SAME, True)


def test_the_valid_axis(case: Case) -> None:
    case.emit.create("inquiry", "1", {"a": 1}, valid_time="2020-01-01")
    case.emit.create("inquiry", "2", {"a": 2}, valid_time="2020-02-01")
    frame = read(case, valid_at="2020-01-15")
    assert len(frame) == 1
    ref = declare(case, frame)
    assert (check(case, ref).verdict, check(case, ref).stale) == (SAME, False)
    case.emit.create("inquiry", "3", {"a": 3}, valid_time="2020-01-10")  # it arrives late
    assert (check(case, ref).verdict, check(case, ref).stale) == (SAME, True)


def test_different_in_which_columns(table: Case) -> None:
    frame = read(table)
    found = check(table, declare(table, frame.assign(LoanAmount=frame["LoanAmount"] + 1)))
    assert (found.verdict, found.columns, found.holds) == (DIFFERENT, ("LoanAmount",), False)
    assert "LoanAmount" in found.message and found.digest is not None
    found = check(table, declare(table, frame.iloc[::-1].set_axis(frame.index), "2"))
    assert found.columns == ("CustomerID", "LoanAmount")
    found = check(table, declare(table, frame.rename(index={"1001": "9"}), "3"))
    assert found.columns == () and "the index" in found.message
    found = check(table, declare(table, frame.iloc[:2], "4"))
    assert "2 rows were recorded, 3 are made" in found.message


def test_words_alone_then_the_copy_counts(table: Case) -> None:
    frame = read(table).iloc[:2]
    found = check(table, declare(table, frame, query="the first two customers", keep=True))
    assert (found.verdict, found.holds) == (NOT_REPLAYABLE, True)
    assert found.kept is not None and found.kept.verdict == "SAME"
    # What does not survive Parquet is kept as a pickle, which is not opened.
    odd = frame.assign(odd=pd.Series([1, "1"], frame.index, dtype=object))
    found = check(table, declare(table, odd, "3", query="the first two customers", keep=True))
    assert found.kept is not None and (found.kept.verdict, found.holds) == ("UNREAD", True)
    ref = declare(table, frame, "2", query="the first two customers")
    assert (check(table, ref).verdict, check(table, ref).holds) == (NOT_REPLAYABLE, False)


def test_the_copy_is_lost_or_changed(table: Case) -> None:
    frame = example().assign(note="not of the ledger")
    ref = declare(table, frame, keep=True)
    found = check(table, ref)
    assert found.verdict == NOT_REPLAYABLE and "cites no dataset" in found.message
    assert found.kept is not None and (found.kept.verdict, found.holds) == ("SAME", True)
    file = table.blob_file(found.kept.digest)
    content = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(content[:-1] + b"x")
    found = check(table, ref)
    assert found.kept is not None and (found.kept.verdict, found.holds) == ("DIFFERENT", False)
    file.unlink()
    found = check(table, ref)
    assert found.kept is not None and (found.kept.verdict, found.holds) == ("MISSING", False)
    other = table.blobs.put(content.replace(b"PAR1", b"PAR2"))
    found = check(table, declare(table, frame, "2", blob_digest=other))
    assert found.kept is not None and found.kept.verdict == "DIFFERENT"


def test_a_changed_log_has_another_root(table: Case) -> None:
    ref = declare(table, read(table))
    table.emit.flush()
    with Ledger(table.url) as ledger:
        (record,) = [r for r in ledger.events("entity:inquiry") if b"1003" in r.leaf]
    table.backend.drop_guards()
    table.backend.sql(
        'UPDATE entries SET leaf = ? WHERE log = 0 AND "index" = ?',
        (record.leaf.replace(b"003", b"009"), record.index),
    )
    checked = check(table, ref)
    assert checked.verdict == ROOT_DIFFERS and "root hash" in checked.message


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"origin": "elsewhere.example/log"}, "another ledger"),
        ({"size": 10_000_000}, "cut short"),
        ({"size": -1}, "cut short"),
        ({"root_hash": bytes(32)}, "another root hash"),
    ],
)
def test_another_ledger(table: Case, change: dict[str, Any], told: str) -> None:
    frame = read(table)
    (data,) = describe_data(frame, "x")
    found = check(table, declare(table, frame, logs=[{**data["logs"][0], **change}]))
    assert found.verdict == ROOT_DIFFERS and told in found.message


@pytest.mark.parametrize(
    "fields",
    [
        {"entity_type": "prediction"},
        {"entity_type": "No Type!"},
        {"entity_type": "unknown"},
        {"digest": "frame-v9:sha256:00"},
        {
            "entity_type": "prediction",
            "predictions_of": [{"name": "", "version": "", "digest": None}],
        },
    ],
)
def test_hostile_records_are_a_verdict(table: Case, fields: dict[str, Any]) -> None:
    fields = {"blob_digest": "sha256:../../etc", "valid_at_us": -(2**62), **fields}
    found = check(table, declare(table, read(table), **fields))
    assert found.verdict == NOT_REPLAYABLE
    assert found.kept is not None and found.kept.verdict == "MISSING"


def test_older_digests_are_read(table: Case) -> None:
    from audit.lineage.content.frame_digest import frame_digest

    frame = read(table)
    ref = declare(table, frame, digest=f"frame-v1:{frame_digest(frame)}", columns={})
    assert check(table, ref).verdict == SAME
    ref = declare(table, frame, "2", digest="frame-v1:sha256:" + "0" * 64, columns={})
    assert check(table, ref).message.endswith("no digests of columns were recorded")


SELECTIONS = {
    "a == 1": [0],
    "a != 1": [1, 2],
    "a >= 1 and b == 'x'": [0, 1],
    "(a == 1) | ~(b == 'x')": [0, 2],
    "not c": [1],
    "a in [1, 2]": [0, 1],
    "a not in (1, 2)": [2],
    "a < -1 or b == b": [0, 1, 2],
    "k >= '11'": [1, 2],
}


@pytest.mark.parametrize("text", SELECTIONS)
def test_selections(text: str) -> None:
    frame = pd.DataFrame(
        {
            "a": pd.array([1, 2, None], dtype="Int64"),
            "b": ["x", "x", "y"],
            "c": pd.array([True, False, None], dtype="boolean"),
        },
        index=pd.Index(["10", "11", "12"], name="k"),
    )
    if text == "not c":  # what is missing is not true, and so is taken
        SELECTIONS[text] = [1, 2]
    assert select_rows(frame, text).index.tolist() == [frame.index[at] for at in SELECTIONS[text]]


@pytest.mark.parametrize(
    "text",
    [
        "", "open ones", "__import__('os').system('x')", "a.b == 1", "f(a)", "a == b'x'", "1 == 1",
        "a < b < c", "True", "a + 1 == 2", "[a for a in b]", "(" * 300, "~" * 90 + "a", "a == None",
        "a in b", "x" * 3_000, "lambda: 1", "a and True",
    ],
)  # fmt: skip
def test_words_are_no_selection(text: str) -> None:
    assert not is_selection(text)
    with pytest.raises(InvalidInput):
        select_rows(pd.DataFrame({"a": [1]}), text)


def test_selections_that_do_not_fit() -> None:
    frame = pd.DataFrame({"a": [1], "b": ["x"]})
    for text, error in (("x == 1", NotFound), ("b < 1", InvalidInput), ("a", InvalidInput)):
        with pytest.raises(error):
            select_rows(frame, text)


def test_the_frame_says_which_dataset_it_is_of(table: Case) -> None:
    assert read(table).attrs["audit"]["entity"] == "inquiry"


def test_a_bundle_without_the_tree(table: Case, tmp_path: Path) -> None:
    ref = declare(table, read(table))
    table.emit.flush()
    assert isinstance(table.backend, SqliteBackend)
    with Ledger(table.url) as ledger:
        ledger.bundle("entity:dataset", tmp_path / "case.zip")
    with Ledger(f"bundle:///{tmp_path / 'case.zip'}") as ledger:
        assert ledger.check_dataset(ref).verdict in (NOT_REPLAYABLE, ROOT_DIFFERS)
