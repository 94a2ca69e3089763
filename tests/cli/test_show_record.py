"""`audit show` of runs, models, datasets, feature definitions and predictions: their cards."""

from pathlib import Path
from typing import Any

import pytest

from audit.capture.emitter import Emitter
from audit.store.blobs import BlobStore
from tests.cli.conftest import Cli
from tests.lineage.run_records import (
    DIGEST,
    checked,
    dataset,
    features,
    model,
    prediction,
    run,
    transition,
    use,
)

URL = "sqlite:///audit.db"
NAMED = {"name": "credit-risk", "version": "1", "digest": DIGEST}
HOSTILE = "\x1b[2Jgone"


@pytest.fixture
def recorded(cli: Cli) -> Cli:
    kept = BlobStore("audit-blobs").put(b"Traceback (most recent call last):\nValueError: no\n")
    point = {"origin": "test.example/log", "size": 14, "root_hash": None}
    read = use(name="train", digest=DIGEST, rows=10, entity_type="inquiry", logs=[point])
    read["columns"] = {"LoanAmount": "sha256:1", "gender": "sha256:2"}
    definition = {"name": "late-history", "version": "1", "digest": DIGEST}
    with Emitter(URL, source="test") as emit:
        failed = {"status": "FAIL", "error": f"ValueError: {HOSTILE}", "traceback_digest": kept}
        run(emit, "bad", tests=[checked("outliers", status="FAILED", message="9 of 10")], **failed)
        trained: dict[str, Any] = {"params": {"C": 0.5}, "seed": 7, "inputs": [read]}
        trained |= {"code_commit": "ab" * 20, "code_dirty": True, "metrics": {"auc": 0.81}}
        run(emit, "train", name="credit-risk", model=NAMED, models=[NAMED], **trained)
        declared: dict[str, Any] = {"tolerance": 1e-9, "threshold": 0.5, "package": "risk==1.0"}
        declared |= {"expects": '{"n": {"min": 0}}', "features": [definition]}
        declared |= {"packages": {"sklearn": "1.6"}, "members": [NAMED]}
        model(emit, "1", run_id="train", **declared)
        transition(emit, "1", "2026-01-01", approved_by="alice")
        dataset(emit, "7", query="late only", columns={"gender": "sha256:2"})
        features(emit, "1", owner="dora")
        status = [{"name": "n", "status": "IMPUTED"}]
        prediction(emit, "p", request_id="q", feature_status=status, threshold=0.4, served=True)
        prediction(emit, "s", request_id="q", role="SHADOW", primary="p", served=False)
    return cli


def test_why_a_run_failed(recorded: Cli) -> None:
    out = recorded("show", "run/bad").out
    assert "STATUS      FAIL" in out and "ERROR       ValueError: \\x1b[2Jgone" in out
    assert "TRACEBACK   Traceback (most recent call last):\n            ValueError: no" in out
    assert "BEFORE outliers: FAILED (9 of 10)" in out and "SIGNED BY" in out
    said = recorded("show", "run/bad", "--json").json
    assert said["type"] == "component.run" and said["signed_by"]["log"]["status"] == "VALID"
    assert said["card"]["status"] == "FAIL" and "no\n" in said["card"]["traceback"]


def test_the_card_of_a_model(recorded: Cli) -> None:
    out = recorded("show", "model/credit-risk@1", "--count").out
    for line in (
        "TRAINED BY  run/train (credit-risk, COMPLETE, ",
        f"CODE        {'ab' * 20}, with changes that are not in it",
        "DATA        train: frame, 10 rows, 2 columns",
        "at size 14); the content of dataset/train@7",
        "COLUMNS     LoanAmount, gender",
        "PARAMS      C = 0.5",
        "SEED        7",
        'LIBRARIES   sklearn = "1.6"',
        "ENSEMBLE OF model/credit-risk@1",
        "FEATURES    dataset/features/late-history@1",
        "METRICS     auc = 0.81",
        "TOLERANCE   1e-09",
        "THRESHOLD   0.5",
        'EXPECTS     {"n": {"min": 0}}',
        "SERVED      production from 2026-01-01 00:00:00, approved by alice",
        "WARNING     the code had changes",
        "PREDICTIONS 2",
    ):
        assert line in out, line
    said = recorded("show", "model/credit-risk", "--json").json
    assert said["type"] == "model.version" and "predictions" not in said["card"]
    assert said["card"]["run"]["run"] == "train" and said["card"]["tolerance"] == 1e-9
    recorded("show", "run/train", "--count", code=2)
    recorded("show", "model/none", code=2)


def test_cards_are_as_known_at_a_point(recorded: Cli) -> None:
    registered = recorded("show", "model/credit-risk@1", "--json").json
    then = recorded(
        "show", "model/credit-risk@1", "--as-of", str(registered["index"]), "--json"
    ).json
    assert registered["card"]["served"] and not then["card"]["served"]


def test_the_cards_of_datasets_and_feature_definitions(recorded: Cli) -> None:
    out = recorded("show", "dataset/train@7").out
    assert "QUERY       late only" in out and "COLUMNS     gender sha256:2" in out
    assert "READ BY     run/train" in out
    assert recorded("show", "dataset/train@7", "--json").json["card"]["read_by"] == ["run/train"]
    out = recorded("show", "dataset/features/late-history@1").out
    assert "OWNER       dora" in out and "USED BY     model/credit-risk@1" in out


def test_the_card_of_a_prediction(recorded: Cli) -> None:
    recorded("flag", "prediction/p", "-m", "never late", "--actor", "alice")
    out = recorded("show", "prediction/p").out
    assert "ROLE        PRIMARY, served" in out and "NOT GIVEN   n: IMPUTED" in out
    assert "BESIDE      SHADOW credit-risk@1: 0.5 (prediction/s)" in out
    assert "FLAG        " in out and "by alice: never late" in out
    said = recorded("show", "prediction/s", "--json").json
    assert said["event_id"] == "s" and said["card"]["primary"] == "p"
    assert said["card"]["beside"][0]["prediction_id"] == "p"


def test_a_record_that_fits_no_card_is_shown_as_it_is(cli: Cli, ledger_dir: Path) -> None:
    with Emitter(URL, source="test") as emit:
        emit.record("component.run", {"odd": 1}, entity_type="run", entity_key="r")
        emit.record("dataset.version", {"odd": 1}, entity_type="dataset", entity_key="d@1")
    for ref in ("run/r", "dataset/d@1"):
        assert "odd = 1" in cli("show", ref).out
        assert "card" not in cli("show", ref, "--json").json
    assert "card" not in cli("show", "HEAD", "--json").json
