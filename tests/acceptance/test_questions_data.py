"""Questions about data: versions, training sets, comparisons; a test is named by its id."""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import audit
from tests.cli.conftest import INQUIRIES, Cli


@pytest.fixture
def table(cli: Cli) -> Cli:
    """The example table, imported with InquiryDate as valid time."""
    cli("init", "--origin", "bank.example/credit")
    cli(
        *("import", str(INQUIRIES), "--entity", "inquiry", "--key", "InquiryID"),
        *("--valid-time", "InquiryDate"),
    )
    return cli


def inquiries(**point: Any) -> pd.DataFrame:
    with audit.Ledger() as ledger:
        return ledger.replay("inquiry", **point)


def checked(name: str) -> Any:
    with audit.Ledger() as ledger:
        return ledger.check_dataset(name)


def evaluate(version: Any, frame: pd.DataFrame, score: float) -> str:
    """A recorded evaluation of a model version; the id of its run."""
    with audit.model_run("evaluation") as run:
        run.input(version)
        run.input(frame, name="held-out")
        run.metric("accuracy", score)
    return str(run.run_id)


def register(version: str, weights: Any = None) -> Any:
    with audit.model_run("risk") as run:
        return run.model({"late": 0.5} if weights is None else weights, version=version)


def answer(version: Any, customers: dict[str, int]) -> list[str]:
    """One logged prediction for each customer; their ids."""

    @audit.predictor(model=version, key="CustomerID", source="scoring")
    def risk(features: dict[str, Any]) -> float:
        return float(features["late"] * 0.5)

    ids = []
    for customer, late in customers.items():
        risk({"CustomerID": customer, "late": late})
        assert risk.last_id is not None
        ids.append(risk.last_id)
    risk.flush()
    return ids


def test_C6_artifacts_are_blobs_named_by_digest_never_in_the_log(
    table: Cli, ledger_dir: Path
) -> None:
    first = os.urandom(300_000)
    one = register("1", first)
    again = register("2", first)
    other = register("3", first[:-1] + bytes([first[-1] ^ 1]))
    assert one.digest == again.digest != other.digest
    card = table("show", "model/risk@1", "--json").json
    assert one.digest in str(card) and "300000" in str(card)
    with audit.Ledger() as ledger:
        sizes = [len(record.leaf) for record in ledger.events()]
    assert max(sizes) < 20_000
    blobs = {path.name: path for path in (ledger_dir / "audit-blobs").rglob("*") if path.is_file()}
    stored = [path for path in blobs.values() if path.stat().st_size == 300_000]
    assert len(stored) == 2  # the same content is kept once
    assert any(path.read_bytes() == first for path in stored)


def test_L1_a_training_set_of_logged_requests_and_what_was_true(table: Cli) -> None:
    version = register("1")
    ids = answer(version, {"001": 0, "003": 1, "005": 3})
    audit.ground_truth(ids[0], value=False, origin="measured")
    wrong = audit.ground_truth(ids[1], value=False, origin="measured")
    with audit.Ledger() as ledger:
        early = ledger.training_set("risk@1")
        point = f"id:{wrong}"
    audit.ground_truth(ids[1], value=True, origin="complaint", supersedes=wrong)
    audit.ground_truth(None, value=True, key="005", name="risk")
    with audit.Ledger() as ledger:
        frame = ledger.training_set("risk")
        again = ledger.training_set("risk@1", point)
    assert early["truth"].to_dict() == {ids[0]: False, ids[1]: False}
    assert frame["truth"].to_dict() == {ids[0]: False, ids[1]: True, ids[2]: True}
    assert frame["late"].tolist() == [0, 1, 3] and frame["output"].tolist() == [0.0, 0.5, 1.5]
    pd.testing.assert_frame_equal(again, early)  # as known then, whatever was corrected since
    assert again.attrs["audit"]["logs"][0]["root_hash"] is not None


def test_L1_the_dataset_says_whose_predictions_are_in_it(table: Cli) -> None:
    version = register("1")
    ids = answer(version, {"001": 0, "003": 1})
    for prediction_id in ids:
        audit.ground_truth(prediction_id, value=True)
    with audit.Ledger() as ledger:
        frame = ledger.training_set("risk")
    audit.dataset_version("feedback", frame, "1", purpose="training")
    found = checked("feedback@1")
    assert [tuple(one) for one in found.dataset.predictions_of] == [("risk", "1", version.digest)]
    assert (found.verdict, found.stale) == ("SAME", False)  # it is made again from the log alone
    # A change of the frame is another content, but not another origin.
    audit.dataset_version("feedback", frame[frame["late"] > 0], "2", query="late > 0")
    found = checked("feedback@2")
    assert [str(one) for one in found.dataset.predictions_of] == ["risk@1"]
    assert (found.verdict, found.dataset.rows) == ("SAME", 1)


def test_V1_evaluations_on_other_data_are_not_compared(table: Cli) -> None:
    old, new = register("1"), register("2", {"late": 0.7})
    data = inquiries()
    one, two = evaluate(old, data, 0.8), evaluate(new, inquiries(), 0.9)
    table("emit", "update", "inquiry", "1003", '{"PaymentStatus": "Current"}')
    three = evaluate(new, inquiries(), 0.95)
    with audit.Ledger() as ledger:
        same = ledger.compare_evaluations(one, two)
        other = ledger.compare_evaluations(one, three)
        alone = ledger.compare_evaluations(one, register_run())
    assert same.comparable and same.metrics == {"accuracy": (0.8, 0.9)}
    assert (other.verdict, other.comparable, other.metrics) == ("OTHER_DATA", False, {})
    assert "held-out" in other.message and other.only_a[0].digest != other.only_b[0].digest
    changed = {
        name for name, digest in other.only_a[0].columns.items()
        if other.only_b[0].columns[name] != digest
    }  # fmt: skip
    assert changed == {"PaymentStatus"}
    assert alone.verdict == "UNKNOWN_DATA" and alone.to_json()["metrics"] == {}


def register_run() -> str:
    """A run with metrics that recorded no data."""
    with audit.model_run("evaluation") as run:
        run.metric("accuracy", 1.0)
    return str(run.run_id)


def test_V5_a_reference_of_the_data_and_a_stale_query_is_detected(table: Cli) -> None:
    frame = inquiries(valid_at="2020-09-01").query("AccountStatus == 'Open'")
    audit.dataset_version(
        "open-loans", frame, "1", query="AccountStatus == 'Open'", purpose="train"
    )
    found = checked("open-loans@1")
    assert (found.verdict, found.stale) == ("SAME", False)
    recorded = found.dataset
    assert (recorded.query, recorded.purpose, recorded.rows) == (
        "AccountStatus == 'Open'", "train", len(frame),
    )  # fmt: skip
    assert recorded.valid_at_us is not None and recorded.logs[0].size and recorded.digest
    # The data model changes: the account's status has another word now. The query runs, and lies.
    table(
        *("emit", "update", "inquiry", "1003", '{"AccountStatus": "OPEN"}'),
        *("--valid-time", "2020-03-05"),
    )
    found = checked("open-loans@1")
    assert (found.verdict, found.stale) == ("SAME", True)
    assert "AccountStatus" in found.stale_columns


def test_V5_a_digest_that_does_not_fit_the_query_is_detected(table: Cli) -> None:
    frame = inquiries()
    audit.dataset_version("loans", frame.assign(LoanAmount=1), "1")
    found = checked("loans@1")
    assert (found.verdict, found.columns, found.holds) == ("DIFFERENT", ("LoanAmount",), False)
    audit.dataset_version("loans", frame.iloc[:3], "2", query="the first three", keep=True)
    found = checked("loans@2")
    assert (found.verdict, found.holds) == ("NOT_REPLAYABLE", True)  # the copy is sound


def test_V6_past_training_data_is_made_again_after_the_data_changed(table: Cli) -> None:
    frame = inquiries()
    version = audit.dataset_version("inquiries", frame, "2020", profile=False)
    table("emit", "update", "inquiry", "1001", '{"LoanAmount": 1}')
    table("emit", "delete", "inquiry", "1002")
    table("emit", "create", "inquiry", "1011", '{"CustomerID": "006", "NewColumn": 1}')
    assert len(inquiries()) == 10 and "NewColumn" in inquiries().columns
    found = checked("inquiries@2020")
    assert (found.verdict, found.digest, found.stale) == ("SAME", version.digest, True)
    assert {"LoanAmount", "NewColumn"} <= set(found.stale_columns)
    cited = frame.attrs["audit"]["logs"][0]
    again = inquiries(as_of=cited["size"] - 1)
    pd.testing.assert_frame_equal(again, frame)


def test_V6_a_changed_past_is_found(table: Cli) -> None:
    import sqlite3

    audit.dataset_version("inquiries", inquiries(), "2020")
    with sqlite3.connect("audit.db") as store:
        for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type='trigger'"):
            store.execute(f'DROP TRIGGER "{name}"')
        rows = store.execute('SELECT "index", leaf FROM entries').fetchall()
        ((index, leaf),) = [row for row in rows if b"Late (30 days)" in row[1]]
        changed = leaf.replace(b"Late (30 days)", b"Late (99 days)")
        store.execute('UPDATE entries SET leaf = ? WHERE "index" = ?', (changed, index))
    found = checked("inquiries@2020")
    assert (found.verdict, found.holds) == ("ROOT_DIFFERS", False)
