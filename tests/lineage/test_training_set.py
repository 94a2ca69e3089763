"""Training sets of logged predictions and what turned out to be true, as known at a point."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from audit.errors import InvalidInput, NotFound
from audit.event.build import new_event_id, record_event
from audit.ledger.facade import Ledger
from tests.lineage.common import CLOCK_US, Case

DIGEST = "sha256:" + "ab" * 32
DAY_US = 86_400_000_000


def predict(case: Case, key: str, features: dict[str, Any], **fields: Any) -> str:
    """A logged prediction, without a model that made it."""
    data: dict[str, Any] = {
        "model_name": "risk", "model_version": "1", "model_digest": DIGEST, "features": features,
        "output": 0.5, "status": "OK", **fields,
    }  # fmt: skip
    event_id = new_event_id()
    built = record_event(
        "prediction", data, event_id=event_id, source="scoring",
        entity_type="prediction", entity_key=key, valid_time_us=data.pop("at", None),
    )  # fmt: skip
    case.emit.send(built)
    return event_id


def tell(case: Case, value: Any, supersedes: str | None = None, **fields: Any) -> str:
    """A ground_truth record."""
    event_id = new_event_id()
    about = fields.get("prediction") or fields.get("key")
    built = record_event(
        "ground_truth", {"value": value, **fields}, event_id=event_id, source="clerk",
        entity_type="prediction", entity_key=about, supersedes=supersedes,
    )  # fmt: skip
    case.emit.send(built)
    return event_id


def made(case: Case, model: str = "risk", *point: Any, **options: Any) -> pd.DataFrame:
    case.emit.flush()
    with Ledger(case.url) as ledger:
        return ledger.training_set(model, *point, **options)


@pytest.fixture
def logged(case: Case) -> Iterator[tuple[Case, list[str]]]:
    ids = [
        predict(case, "001", {"late": 0, "amount": 250_000}, output=0.1),
        predict(case, "002", {"late": 1, "amount": None}, output=0.7, role="CANARY"),
        predict(case, "003", {"late": 2, "amount": 5_000}, output=0.9, model_version="2"),
    ]
    yield case, ids


def test_features_answer_and_truth(logged: tuple[Case, list[str]]) -> None:
    case, ids = logged
    for prediction_id, paid in zip(ids, (True, False, False), strict=True):
        tell(case, paid, prediction=prediction_id)
    frame = made(case)
    assert list(frame.columns) == ["amount", "late", "output", "truth"]
    assert frame.index.tolist() == ids and frame.index.name == "prediction"
    assert frame["late"].tolist() == [0, 1, 2] and str(frame["late"].dtype) == "Int64"
    assert frame["amount"].tolist() == [250_000, pd.NA, 5_000]
    assert frame["output"].tolist() == [0.1, 0.7, 0.9]
    assert frame["truth"].tolist() == [True, False, False]
    assert frame.attrs["audit_predictions_of"] == [["risk", "1", DIGEST], ["risk", "2", DIGEST]]
    cited = frame.attrs["audit"]
    assert cited["entity"] == "prediction" and len(cited["logs"][0]["root_hash"]) == 64
    assert made(case, "risk@2").index.tolist() == ids[2:]
    assert made(case, query="key:001").index.tolist() == ids[:1]


def test_a_correction_counts_from_when_it_was_recorded(logged: tuple[Case, list[str]]) -> None:
    case, ids = logged
    case.emit.flush()
    with Ledger(case.url) as ledger:
        before = ledger.cut().size(0)
    first = tell(case, True, prediction=ids[0])
    case.emit.flush()
    told = f"id:{first}"
    tell(case, False, prediction=ids[0], supersedes=first)
    assert made(case)["truth"].tolist() == [False]
    assert made(case, "risk", told)["truth"].tolist() == [True]
    early = made(case, "risk", before - 1)
    assert early.empty and list(early.columns) == ["output", "truth"]
    assert early.attrs["audit_left_out"]["without_truth"] == 3


def test_of_several_the_newest_and_that_of_the_model(logged: tuple[Case, list[str]]) -> None:
    case, ids = logged
    tell(case, 1, prediction=ids[0])
    tell(case, 2, prediction=f"scoring:{ids[0]}", name="risk")
    tell(case, 9, prediction=ids[0], name="fraud")
    tell(case, 8, prediction=ids[1], name="fraud")
    assert made(case)["truth"].tolist() == [2, 8]


def test_by_key_the_first_that_was_observed_afterwards(case: Case) -> None:
    at = [CLOCK_US + day * DAY_US for day in range(4)]
    early = predict(case, "001", {"x": 1}, at=at[0])
    late = predict(case, "001", {"x": 2}, at=at[2])
    tell(case, "before", key="001", observed_us=at[0] - 1)
    tell(case, "second", key="001", name="risk", observed_us=at[3])
    tell(case, "first", key="001", observed_us=at[1])
    tell(case, "of another", key="001", name="fraud", observed_us=at[0])
    frame = made(case)
    assert frame["truth"].to_dict() == {early: "first", late: "second"}
    tell(case, "its own", prediction=late)
    assert made(case)["truth"].to_dict() == {early: "first", late: "its own"}


def test_what_is_left_out_is_counted(case: Case) -> None:
    ids = [
        predict(case, "1", {"x": 1}),
        predict(case, "2", {"x": 1}, status="ERROR", error="boom", output=None),
        predict(case, "3", {"x": 1}, role="SHADOW"),
        predict(case, "4", {"x": 1}, role="REPLAY"),
        predict(case, "5", {"x": 1}, role="FALLBACK"),
        predict(case, "6", {"x": 1}, model_name="other"),
    ]
    for prediction_id in ids[:4]:
        tell(case, 1, prediction=prediction_id)
    frame = made(case)
    assert frame.index.tolist() == ids[:1]
    assert frame.attrs["audit_left_out"] == {
        "failed": 1, "unreadable": 0, "batches": 0, "without_truth": 1,
    }  # fmt: skip


def test_features_called_like_columns(case: Case) -> None:
    features = {"output": 1, "truth": 2, "output_": 3, "entity_key": 4}
    tell(case, 5, prediction=predict(case, "1", features))
    (row,) = made(case).to_dict("records")
    assert row == {
        "entity_key_": 4, "output_": 1, "output__": 3, "truth_": 2, "output": 0.5, "truth": 5,
    }  # fmt: skip


def test_hostile_truths(case: Case) -> None:
    prediction_id = predict(case, "1", {"x": 1})
    odd = {"value": {"a": [1]}, "prediction": prediction_id, "observed_us": -(2**63)}
    tell(case, odd.pop("value"), **odd)
    case.emit.emit(
        {"type": "ground_truth", "entity_type": "prediction", "entity_key": "1",
         "data": {"prediction": 7, "key": [1], "name": 3, "extra": True}}
    )  # fmt: skip
    assert made(case)["truth"].tolist() == [{"a": [1]}]


def test_no_such_model(logged: tuple[Case, list[str]]) -> None:
    case, _ = logged
    with pytest.raises(NotFound, match="no prediction of other"):
        made(case, "other")
    with pytest.raises(InvalidInput):
        made(case, "")


def test_a_training_set_is_made_again(logged: tuple[Case, list[str]]) -> None:
    from tests.lineage.test_datasets import check, declare

    case, ids = logged
    tell(case, True, prediction=ids[0])
    frame = made(case)
    models = [dict(zip(("name", "version", "digest"), one, strict=True))
              for one in frame.attrs["audit_predictions_of"]]  # fmt: skip
    ref = declare(case, frame, predictions_of=models)
    assert (check(case, ref).verdict, check(case, ref).stale) == ("SAME", False)
    tell(case, False, prediction=ids[1])
    assert (check(case, ref).verdict, check(case, ref).stale) == ("SAME", True)


def test_rows_of_a_batch_are_predictions(case: Case) -> None:
    from audit.capture.predicting.predictor import predictor

    version = case.register({"w": 0.5}, "1")

    @predictor(model=version, emitter=case.emit, batch=True, key="CustomerID")
    def score(rows: list[dict[str, Any]]) -> list[float]:
        return [row["late"] * 0.5 for row in rows]

    score([{"CustomerID": key, "late": at} for at, key in enumerate(("001", "002", "003"))])
    assert score.last_id is not None
    tell(case, "by id", prediction=f"{score.last_id}#2")
    tell(case, "by key", key="001", name="credit-risk")
    frame = made(case, "credit-risk")
    assert frame.index.tolist() == [f"{score.last_id}#0", f"{score.last_id}#2"]
    assert frame["truth"].tolist() == ["by key", "by id"] and frame["late"].tolist() == [0, 2]
    assert frame.attrs["audit_left_out"]["without_truth"] == 1
    for file in (case.backend.path.parent / "audit-blobs").rglob("*"):
        if file.is_file():
            file.unlink()
    assert made(case, "credit-risk").attrs["audit_left_out"]["batches"] == 1
