"""Cards of models, datasets, feature definitions, runs and predictions."""

import json

import pytest

from audit.errors import Ambiguous, InvalidInput, NotFound
from audit.ledger import Ledger
from audit.lineage.recorded.dataset_card import dataset_card, feature_card
from audit.lineage.recorded.model_card import count_predictions
from audit.lineage.recorded.prediction_card import prediction_card
from audit.lineage.recorded.run_card import run_card
from tests.lineage.common import Case, example, trained
from tests.lineage.run_records import (
    DIGEST,
    dataset,
    features,
    model,
    prediction,
    run,
    transition,
    use,
)

OTHER = "sha256:" + "cd" * 32


def test_the_card_of_a_trained_model(case: Case) -> None:
    from audit.capture.pipeline.runs import model_run

    with model_run("credit-risk", params={"C": 0.5}, seed=7, emitter=case.emit) as training:
        digest = training.input(example(), name="inquiries")
        training.metric("auc", 0.81)
        training.model(trained(), version="3")
    dataset(case.emit, "7", digest=digest)
    transition(case.emit, "3", "2026-01-01", approved_by="alice")
    case.emit.flush()
    with Ledger(case.url) as ledger:
        card = ledger.model("credit-risk@3")
    assert card.ref == "model/credit-risk@3" and card.run is not None
    assert (card.run.run_id, card.run_id) == (training.run_id, training.run_id)
    (data,) = card.data
    assert (data.use.digest, data.use.rows, data.datasets) == (digest, 3, ("train@7",))
    assert dict(card.params)["C"] == 0.5 and card.seed == 7 and card.metrics["auc"] == 0.81
    assert "sklearn" in card.packages or "scikit-learn" in card.packages
    assert card.code()["digest"] and card.members == ()
    assert [one.approved_by for one in card.served] == ["alice"]
    said = json.loads(json.dumps(card.to_json(), allow_nan=False))
    assert {"run", "data", "packages", "params", "code", "members"} <= said.keys()


def test_a_name_alone_will_do_for_one_version(case: Case) -> None:
    model(case.emit, "1")
    case.emit.flush()
    with Ledger(case.url) as ledger:
        assert ledger.model("model/credit-risk").version == "1"
        with pytest.raises(NotFound):
            ledger.model("credit")
        with pytest.raises(NotFound):
            ledger.model("credit-risk@2")
        with pytest.raises(InvalidInput):
            ledger.model("@")
    model(case.emit, "2")
    case.emit.flush()
    with Ledger(case.url) as ledger, pytest.raises(Ambiguous, match="credit-risk@2, credit-risk@1"):
        ledger.model("credit-risk")


def test_what_somebody_should_know_is_said(case: Case) -> None:
    model(case.emit, "1", package="risk==1.0", digest=OTHER)
    model(case.emit, "2", package="risk==1.0", run_id="gone")
    model(case.emit, "2", package="risk==1.0", run_id="gone", digest="sha256:" + "ef" * 32)
    case.emit.flush()
    with Ledger(case.url) as ledger:
        said = "\n".join(ledger.model("credit-risk@2").warnings)
    assert f"other artifacts: {DIGEST}" in said and "its run gone" in said
    assert "the package is version 1.0, the model 2" in said
    assert "also that of credit-risk@1: not one to one" in said


def test_odd_records_make_cards_all_the_same(case: Case) -> None:
    model(case.emit, "1", tolerance=float("nan"), threshold=float("inf"), expects="{no json")
    case.emit.record("model.version", {**_model_of("other")}, entity_type="model", entity_key="x@9")
    case.emit.flush()
    with Ledger(case.url) as ledger:
        said = json.dumps(ledger.model("credit-risk@1").to_json(), allow_nan=False)
        assert json.loads(said)["expects"] == "{no json"
        with pytest.raises(NotFound):
            ledger.model("other@1")  # recorded under another key than it says


def _model_of(name: str) -> dict[str, object]:
    from tests.lineage.run_records import MODEL_FIELDS

    return {**MODEL_FIELDS, "name": name}


def test_predictions_are_counted_when_asked(case: Case) -> None:
    model(case.emit, "1")
    for at in range(3):
        prediction(case.emit, f"p{at}")
    prediction(case.emit, "other", model_version="2")
    case.emit.flush()
    with Ledger(case.url) as ledger:
        card = ledger.model("credit-risk@1")
        assert count_predictions(ledger.reader, card, ledger.cut()) == 3


def test_the_card_of_a_dataset_version(case: Case) -> None:
    dataset(case.emit, columns={"age": "x", "gender": "y"}, query="CustomerID < 4")
    run(case.emit, "by-content", inputs=[use(digest=DIGEST)])
    run(case.emit, "by-name", inputs=[use(dataset="train@1")])
    run(case.emit, "neither", inputs=[use(digest=OTHER)])
    case.emit.flush()
    with Ledger(case.url) as ledger:
        card = dataset_card(ledger.reader, "dataset/train@1", ledger.cut())
        assert sorted(card.readers) == ["run/by-content", "run/by-name"]
        said = card.to_json()
        assert list(said["columns"]) == ["age", "gender"] and said["query"] == "CustomerID < 4"
        with pytest.raises(NotFound):
            dataset_card(ledger.reader, "train@2", ledger.cut())
        with pytest.raises(InvalidInput):
            dataset_card(ledger.reader, "train", ledger.cut())


def test_the_card_of_a_feature_definition(case: Case) -> None:
    features(case.emit, "1", owner="dora")
    features(case.emit, "2", replaces="1")
    named = {"name": "late-history", "version": "1", "digest": DIGEST}
    run(case.emit, "r", features=[named])
    model(case.emit, "1", features=[named])
    case.emit.flush()
    with Ledger(case.url) as ledger:
        card = feature_card(ledger.reader, "dataset/features/late-history@1", ledger.cut())
        with pytest.raises(NotFound):
            feature_card(ledger.reader, "features/late-history@9", ledger.cut())
    assert (card.owner, card.replaced_by) == ("dora", ["late-history@2"])
    assert (card.runs, card.models) == (["run/r"], ["model/credit-risk@1"])
    json.dumps(card.to_json())


def test_the_card_of_a_failed_run_has_the_traceback(case: Case) -> None:
    kept = case.blobs.put(b"Traceback ...\nValueError: no rows\n")
    run(case.emit, "new", status="FAIL", error="ValueError: no rows", traceback_digest=kept)
    run(case.emit, "old", status="FAIL", error=f"ValueError: no rows (traceback {kept})")
    run(case.emit, "lost", status="FAIL", error="x", traceback_digest=OTHER)
    run(case.emit, "odd", status="FAIL", error="x", traceback_digest="../../etc/passwd")
    case.emit.flush()
    with Ledger(case.url) as ledger:
        cards = {
            name: run_card(ledger.reader, case.blobs, f"run/{name}", ledger.cut())
            for name in ("new", "old", "lost", "odd")
        }
    for name in ("new", "old"):
        assert "no rows" in cards[name].to_json()["traceback"]
    for name in ("lost", "odd"):
        said = cards[name].to_json()
        assert said["traceback"] is None and said["traceback_problem"]
    assert cards["new"].to_json()["duration_us"] == 2_000_000


def test_the_card_of_a_prediction(case: Case) -> None:
    prediction(case.emit, "p", request_id="q", served=True, threshold=0.4)
    prediction(case.emit, "s", request_id="q", role="SHADOW", primary="p", model_version="2")
    prediction(case.emit, "later", request_id="r")
    truth = {"prediction": "p", "name": None, "key": None, "value": 1.0, "observed_us": 2**62}
    for about in ("p", "later"):
        case.emit.record(
            "ground_truth",
            {**truth, "prediction": about, "origin": "measured", "instructions": None},
            entity_type="prediction",
            entity_key=about,
        )
    case.emit.flush()
    with Ledger(case.url) as ledger:
        card = prediction_card(ledger.reader, "p", ledger.cut())
        shadow = prediction_card(ledger.reader, "s", ledger.cut())
    assert [(one.prediction_id, one.role) for one in card.beside] == [("s", "SHADOW")]
    assert [one.prediction_id for one in shadow.beside] == ["p"]
    said = json.loads(json.dumps(card.to_json(), allow_nan=False))
    assert [one["value"] for one in said["ground_truth"]] == [1.0]
    assert said["ground_truth"][0]["observed"] is None
    assert (said["role"], said["served"], said["threshold"]) == ("PRIMARY", True, 0.4)
