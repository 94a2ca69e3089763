"""Batches that are run again: once with all rows, judged row by row."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.capture.predicting import prediction_batch
from audit.capture.predicting.predictor import predictor
from tests.lineage.common import Case
from tests.lineage.test_traffic import run

WEIGHTS = {"x": 3.0}


def frame(rows: int = 7) -> pd.DataFrame:
    return pd.DataFrame(
        {"id": [f"c{i}" for i in range(rows)], "x": np.arange(rows) / 7, "n": range(rows)}
    )


def scored(case: Case, model: Any = WEIGHTS, **options: Any) -> Any:
    registered = case.register(model)

    @predictor(model=registered, emitter=case.emit, batch=True, key="id", **options)
    def score(rows: pd.DataFrame) -> Any:
        return rows["x"] * model["x"] + rows["n"].astype("float32")

    return score


def test_all_rows_are_identical(case: Case) -> None:
    score = scored(case)
    score(frame())
    found = case.replay(score.last_id)
    assert (found.output, found.reasons, found.messages) == ("IDENTICAL", (), ())
    assert (found.rows, found.ok, found.exit_code) == ({"IDENTICAL": 7}, True, 0)
    assert found.to_json()["rows"] == {"IDENTICAL": 7}
    both = run(case)
    assert (both.verdicts, both.ok) == ({"IDENTICAL": 1}, True)


def test_another_model_answers_some_rows_otherwise(case: Case) -> None:
    score = scored(case, threshold=1.435)
    score(frame())
    case.register({"x": 3.1}, "2")
    found = case.replay(score.last_id, against="credit-risk@2")
    assert found.rows == {"IDENTICAL": 1, "SAME_DECISION": 5, "DIVERGED": 1}
    assert found.output == "DIVERGED"
    assert found.max_difference == pytest.approx(0.6 / 7)
    assert "1, 2, 3, 4, 5 and 1 more" in found.messages[-1]


def test_rows_that_are_gone_or_others(case: Case) -> None:
    score = scored(case)
    score(frame())
    case.emit.flush()
    batch = case.replay(score.last_id).prediction
    assert batch is not None and batch.batch is not None
    file = case.blob_file(batch.batch.digest)
    data = file.read_bytes()
    file.write_bytes(data.replace(b'"c3"', b'"c4"'))
    found = case.replay(score.last_id)
    assert (found.integrity, found.output) == ("VERIFIED", "NOT_REPRODUCIBLE")
    assert found.reasons == ("ROWS_DIGEST_MISMATCH",)
    file.unlink()
    assert case.replay(score.last_id).reasons == ("ROWS_MISSING",)


@pytest.mark.parametrize(
    "rows",
    [
        np.array([[1.0, 2.0], [3.0, 4.0]], order="F"),
        np.array([1.5, 2.5], dtype="f4"),
        [{"b": 1, "a": 2}, {"a": None}],
        [[1, "x"], (2, "y")],
        ["x", None, 5],
        (np.float32(1), np.float64(2)),
        pd.Series([0.5, 0.25], index=["v", "u"]),
        pd.DataFrame({"a": [1.0]}),
        [],
    ],
    ids=str,
)
def test_every_form_of_rows(case: Case, rows: Any) -> None:
    @predictor(model=case.register({}), emitter=case.emit, batch=True)
    def score(rows: Any) -> Any:
        order = getattr(getattr(rows, "flags", None), "f_contiguous", None)
        return [f"{type(rows)} {order} {rows!r} {index}" for index in range(len(rows))]

    score(rows)
    found = case.replay(score.last_id)
    assert (found.output, found.messages[1:]) == ("IDENTICAL", ())


def test_rows_in_several_chunks(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_batch, "CHUNK_CELLS", 10)
    score = scored(case)
    score(frame(25))
    assert case.replay(score.last_id).rows == {"IDENTICAL": 25}


def test_chance_and_failure(case: Case) -> None:
    registered = case.register({})

    @predictor(model=registered, emitter=case.emit, batch=True)
    def chance(rows: Any) -> Any:
        import random

        return [random.random() for _ in rows]

    chance([1, 2])
    found = case.replay(chance.last_id)
    assert (found.output, found.reasons) == ("NOT_REPRODUCIBLE", ("SEED_MISSING",))

    @predictor(model=registered, emitter=case.emit, batch=True)
    def fails(rows: Any) -> Any:
        return [1 / row for row in rows]

    with pytest.raises(ZeroDivisionError):
        fails([1, 0])
    found = case.replay(fails.last_id)
    assert (found.output, found.raised) == ("IDENTICAL", "ZeroDivisionError")


def test_another_number_or_type_of_answers(case: Case) -> None:
    registered = case.register({})
    state = {"cut": 0}

    @predictor(model=registered, emitter=case.emit, batch=True)
    def score(rows: Any) -> Any:
        import os

        return [1.0 for _ in rows] if "PYTEST_CURRENT_TEST" in os.environ else [1.0]

    score([1, 2, 3])
    found = case.replay(score.last_id)
    assert (found.output, found.ok, state) == ("DIVERGED", False, {"cut": 0})
    assert "another number of rows" in " ".join(found.messages)
