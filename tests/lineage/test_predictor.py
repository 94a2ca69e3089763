"""Logged functions: what each call records, and that they stay the functions they were."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest

import audit
from audit.capture.predicting.predictor import predictor
from audit.errors import InvalidInput, Unavailable
from audit.lineage.recorded.predictions import Prediction, find_predictions
from audit.replay.points import resolve
from audit.replay.query import parse_query
from audit.store import open_reader
from tests.lineage.common import CLOCK_US, Case, call_of, trained
from tests.lineage.small_model import small

NOW_US = CLOCK_US + 86_400_000_000
RATE = 2.0


def recorded(case: Case, query: str = "") -> list[Prediction]:
    case.emit.flush()
    with open_reader(case.url) as reader:
        cut = resolve(reader, None, 0)
        return list(find_predictions(reader, parse_query(query, NOW_US), cut))


def test_a_call_is_recorded(case: Case) -> None:
    version = case.register(trained())
    model = version.object

    @predictor(model=version, emitter=case.emit, key="customer", threshold=0.5)
    def score(features: dict[str, Any]) -> float:
        """What it does."""
        return float(model.predict_proba([[features["amount"], 1.0]])[0, 1])

    with audit.context(actor="alice", request_id="r-1"):
        answer = score({"customer": "003", "amount": 5.0})
    (found,) = recorded(case)
    assert (found.model_name, found.model_version) == ("credit-risk", version.version)
    assert found.model_digest == version.digest
    assert found.code_digest is not None and case.blobs.has(found.code_digest)
    assert found.features == {"customer": "003", "amount": 5.0}
    assert (found.output, found.status, found.error) == (answer, "OK", None)
    assert (found.key, found.request_id) == ("003", "r-1")
    assert found.latency_us is not None and found.latency_us >= 0
    assert found.prediction_id == score.last_id
    assert found.record.event is not None
    assert (found.record.event.entity_type, found.record.event.actor) == ("prediction", "alice")
    assert found.call is not None
    assert found.threshold == 0.5
    assert "threshold" not in found.call
    assert (found.role, found.served, found.seed) == ("PRIMARY", True, None)
    assert {"python", "numpy", "sklearn"} <= found.call["environment"].keys()
    assert (score.__name__, score.__doc__) == ("score", "What it does.")
    assert score.__wrapped__({"customer": "003", "amount": 5.0}) == answer
    assert len(recorded(case)) == 1


@pytest.mark.parametrize(
    ("features", "key", "expected"),
    [
        ({"id": "003"}, "id", "003"),
        ({"id": 3}, "id", "3"),
        ({"id": np.int64(3)}, "id", "3"),
        ({"id": ["a", 1]}, "id", '["a",1]'),
        ({"id": "003"}, lambda f: f["id"] + "!", "003!"),
        (pd.DataFrame({"id": ["003"], "x": [1.0]}), "id", "003"),
        (pd.Series({"id": "003", "x": 1.0}), "id", "003"),
        ({"id": None}, "id", None),
        ({"other": 1}, "id", None),
        (np.array([1.0]), "id", None),
        ({"id": "003"}, None, None),
    ],
    ids=lambda value: str(value).partition(" at 0x")[0],
)
def test_what_a_prediction_is_about(
    case: Case, features: Any, key: Any, expected: str | None
) -> None:
    score = predictor(model=case.register({}), emitter=case.emit, key=key)(number)
    score(features)
    (found,) = recorded(case)
    assert found.key == (found.prediction_id if expected is None else expected)


def number(features: Any) -> float:
    return RATE


@pytest.mark.parametrize(
    "output",
    [
        None,
        1,
        -0.0,
        "late",
        {"b": 1.5, "a": [True]},
        [1, 2.5],
        np.float32(0.5),
        np.eye(2),
        (1, "x"),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)
def test_every_form_of_output(case: Case, output: Any) -> None:
    score = predictor(model=case.register({}), emitter=case.emit)(lambda features: output)
    assert score(1) is output
    (found,) = recorded(case)
    assert found.problem is None
    call = call_of(case, score.last_id)
    from audit.lineage.content.served import describe

    expected = describe(output)
    assert (repr(found.output), call["output"]) == (repr(expected.value), expected.form)


def test_an_exception_passes_unchanged_and_is_recorded(case: Case) -> None:
    class Odd(Exception):
        pass

    error = Odd("bad luck")

    def score(features: Any) -> float:
        raise error

    logged = predictor(model=case.register({}), emitter=case.emit)(score)
    with pytest.raises(Odd) as caught:
        logged(1)
    assert caught.value is error
    (found,) = recorded(case)
    assert (found.status, found.output) == ("ERROR", None)
    assert found.error is not None and found.error.endswith("Odd: bad luck")


def test_features_are_recorded_as_served_even_when_the_function_changes_them(case: Case) -> None:
    def score(features: dict[str, float]) -> float:
        return features.pop("x")

    logged = predictor(model=case.register({}), emitter=case.emit)(score)
    logged({"x": 1.0, "a": 2.0})
    (found,) = recorded(case)
    assert found.features == {"x": 1.0, "a": 2.0}
    assert case.replay(logged.last_id).output == "IDENTICAL"


def test_features_that_cannot_be_recorded_are_refused_before_anything_is_answered(
    case: Case,
) -> None:
    called: list[Any] = []

    def score(features: Any) -> None:
        called.append(features)

    logged = predictor(model=case.register({}), emitter=case.emit)(score)
    with pytest.raises(InvalidInput, match="cannot be recorded exactly"):
        logged({"x": object()})
    with pytest.raises(InvalidInput, match="not a string"):
        logged({1: "x"})
    assert called == []
    assert recorded(case) == []


def test_an_answer_that_cannot_be_recorded_is_not_handed_out(case: Case) -> None:
    logged = predictor(model=case.register({}), emitter=case.emit)(lambda features: object())
    with pytest.raises(InvalidInput, match="cannot be recorded exactly"):
        logged(1)
    (found,) = recorded(case)
    assert (found.status, found.output) == ("ERROR", None)


def test_a_call_that_does_not_fit_the_function(case: Case) -> None:
    logged = predictor(model=case.register({}), emitter=case.emit)(number)
    with pytest.raises(TypeError, match="number"):
        logged(1, 2)  # type: ignore[call-arg]
    assert recorded(case) == []


def test_code_that_changes_is_another_capsule(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    logged = predictor(model=case.register({}), emitter=case.emit)(number)
    logged(1)
    logged(2)
    monkeypatch.setitem(globals(), "RATE", 3.0)
    logged(3)
    found = recorded(case)
    assert [p.output for p in found] == [2.0, 2.0, 3.0]
    assert found[0].code_digest == found[1].code_digest != found[2].code_digest
    for prediction in found:
        assert case.replay(prediction.prediction_id).output == "IDENTICAL"


def test_threads_have_their_own_last_id(case: Case) -> None:
    logged = predictor(model=case.register({}), emitter=case.emit)(number)
    barrier = threading.Barrier(4)

    def work(value: int) -> tuple[int, str | None]:
        before = logged.last_id
        barrier.wait()
        logged({"value": value})
        barrier.wait()
        assert before is None
        return value, logged.last_id

    with ThreadPoolExecutor(4) as pool:
        ids = dict(pool.map(work, range(4)))
    assert logged.last_id is None
    found = {p.prediction_id: p.features["value"] for p in recorded(case)}
    assert found == {prediction_id: value for value, prediction_id in ids.items()}


def test_a_closed_emitter_lets_no_answer_out(case: Case) -> None:
    logged = predictor(model=case.register({}), emitter=case.emit)(number)
    case.emit.close()
    with pytest.raises((InvalidInput, Unavailable)):
        logged(1)


def test_features_too_large_for_an_event(case: Case) -> None:
    logged = predictor(model=case.register({}), emitter=case.emit)(number)
    with pytest.raises(InvalidInput):
        logged({"text": "x" * 70_000})


def generator(features: Any) -> Any:
    yield 1.0


@pytest.mark.parametrize("function", [generator, print, Case, small().score])
def test_what_is_no_plain_function(case: Case, function: Any) -> None:
    with pytest.raises(InvalidInput):
        predictor(model=case.register({}), emitter=case.emit)(function)


def test_what_the_decorator_refuses(case: Case) -> None:
    with pytest.raises(InvalidInput, match=r"run\.model"):
        predictor(model="credit-risk@1", emitter=case.emit)  # type: ignore[arg-type]
    version = case.register({})
    with pytest.raises(InvalidInput, match="not both"):
        predictor(model=version, emitter=case.emit, bus="sqlite:///x.db")
    with pytest.raises(InvalidInput, match="threshold"):
        predictor(model=version, emitter=case.emit, threshold="high")  # type: ignore[arg-type]
