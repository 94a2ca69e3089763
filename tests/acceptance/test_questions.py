"""Questions of the teaching material that the product must answer; a test is named by its id."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

import audit
from tests.cli.conftest import INQUIRIES, Cli


@pytest.fixture
def table(cli: Cli) -> Cli:
    """The example table, imported with InquiryDate as valid time: entries 5 to 14."""
    cli("init", "--origin", "bank.example/credit")
    cli(
        *("import", str(INQUIRIES), "--entity", "inquiry", "--key", "InquiryID"),
        *("--valid-time", "InquiryDate"),
    )
    return cli


def inquiries_of(table: Cli, customer: str, *points: str) -> dict[str, str]:
    """InquiryID -> PaymentStatus of one customer at a point."""
    rows = table("replay", "inquiry", *points, "--json").json["rows"]
    return {
        row["entity_key"]: row["PaymentStatus"] for row in rows if row["CustomerID"] == customer
    }


def test_the_example_data_is_the_golden_fixture() -> None:
    rows = list(csv.reader(io.StringIO(INQUIRIES.read_text())))
    assert ",".join(rows[0]) == (
        "InquiryID,CustomerID,InquiryDate,LoanType,LoanAmount,AccountStatus,PaymentStatus"
    )
    assert len(rows) == 11
    assert ",".join(rows[3]) == "1003,003,2020-03-05,Credit Card,5000,Open,Late (30 days)"
    assert ",".join(rows[10]) == "1010,005,2020-10-15,Credit Card,10000,Open,Late (90 days)"


def test_C4_data_provenance_on_both_axes(table: Cli) -> None:
    june, september = ("--valid-at", "2020-06-01"), ("--valid-at", "2020-09-01")
    assert inquiries_of(table, "003", *june) == {"1003": "Late (30 days)"}
    assert inquiries_of(table, "003", *september) == {"1003": "Late (30 days)", "1008": "Paid Off"}
    assert inquiries_of(table, "1") == {}  # 001 is a string, not the number 1
    assert set(inquiries_of(table, "001")) == {"1001", "1006"}


def test_C4_a_correction_does_not_change_what_was_seen(table: Cli, ledger_dir: Path) -> None:
    june = ("--valid-at", "2020-06-01")
    seen = table("replay", "inquiry", "--as-of", "14", *june, "--format", "jsonl").out
    prediction = _predict("14")
    table(
        *("emit", "update", "inquiry", "1003", '{"PaymentStatus": "Current"}'),
        *("--valid-time", "2020-03-05", "--actor", "clerk", "--reason", "booked elsewhere"),
    )
    assert inquiries_of(table, "003", *june) == {"1003": "Current"}
    assert inquiries_of(table, "003", "--as-of", "14", *june) == {"1003": "Late (30 days)"}
    assert table("replay", "inquiry", "--as-of", "14", *june, "--format", "jsonl").out == seen
    again = table("replay", f"prediction/{prediction}", "--json").json
    assert (again["output"], again["integrity"]) == ("IDENTICAL", "VERIFIED")
    assert again["recorded"]["features"] == {"CustomerID": "003", "late": 1}


def _predict(as_of: str) -> str:
    """What a prediction for customer 003 saw in June 2020, as known at a point."""
    with audit.Ledger() as ledger:
        frame = ledger.replay("inquiry", as_of=as_of, valid_at="2020-06-01")
    own = frame[frame["CustomerID"] == "003"]
    late = sum(status.startswith("Late") for status in own["PaymentStatus"])
    weights = {"late": 0.5}
    with audit.model_run("risk") as run:
        run.input(frame, name="inquiry")
        version = run.model(weights, version="1")

    @audit.predictor(model=version, key="CustomerID", source="scoring")
    def risk(features: dict[str, Any]) -> float:
        return float(features["late"] * weights["late"])

    risk({"CustomerID": "003", "late": late})
    risk.flush()
    assert risk.last_id is not None
    return risk.last_id


def test_C5_event_sourcing(cli: Cli) -> None:
    cli("emit", "create", "user", "5", '{"name": "Christian", "dpt": "SCS"}')
    cli("emit", "update", "user", "5", '{"dpt": "ISR"}')
    cli("emit", "delete", "user", "5")

    def row(as_of: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = cli("replay", "user/5", "--as-of", as_of, "--json").json[
            "row"
        ]
        return found

    assert row("4") is None
    assert row("5") == {"entity_key": "5", "dpt": "SCS", "name": "Christian"}
    assert row("6") == {"entity_key": "5", "dpt": "ISR", "name": "Christian"}
    assert row("HEAD") is None
    # The deleted user is still provable.
    versions = cli("history", "user/5", "--json").json["versions"]
    assert [version["op"] for version in versions] == ["create", "update", "delete"]
    cli("prove", "5", "-o", "user-5.tlog-proof")
    assert cli("verify", "user-5.tlog-proof", "--json").json["verdict"] == "ok"


def test_C15_the_log_line_of_a_prediction(table: Cli) -> None:
    prediction = _predict("14")
    text = table("predictions", "key:003", "--format", "csv").out
    header, line = csv.reader(io.StringIO(text))
    assert header == ["date", "model", "model version", "feature inputs", "output"]
    date, model, version, features, output = line
    assert date.endswith("Z") and (model, version) == ("risk", "1")
    assert json.loads(features) == {"CustomerID": "003", "late": 1}
    assert json.loads(output) == 0.5
    assert table("predictions", "--json").json[0]["prediction"] == prediction


def test_C16_who_changed_what_from_what_to_what_and_why(
    cli: Cli,
    ledger_dir: Path,
) -> None:
    cli("init", "--origin", "bank.example/credit")
    with (ledger_dir / "audit.policy").open("a") as policy:
        policy.write(cli("key", "new", "crm").out)
    signed = ("--source", "crm", "--key", "crm.key")
    cli("emit", "create", "user", "5", '{"dpt": "SCS"}', "--actor", "alice", *signed)
    cli(
        "emit",
        "update",
        "user",
        "5",
        '{"dpt": "ISR"}',
        "--actor",
        "bob",
        *signed,
        "--reason",
        "moved",
    )
    version = cli("history", "user/5", "--json").json["versions"][-1]
    assert version["actor"] == "bob" and version["reason"] == "moved" and version["recorded_time"]
    assert version["changed"] == {"dpt": {"old": "SCS", "new": "ISR"}}
    (field,) = cli("blame", "user/5", "--json").json["fields"]
    assert (field["field"], field["actor"], field["reason"]) == ("dpt", "bob", "moved")
    # Signed by the producer, and covered by the log.
    signed_by = cli("show", "user/5", "--json").json["signed_by"]
    assert (signed_by["producer"]["status"], signed_by["log"]["status"]) == ("VALID", "VALID")
