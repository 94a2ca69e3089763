"""A thousand logged predictions run again in one process; each way in which one cannot be."""

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audit.capture.pipeline.runs import model_run
from audit.capture.predicting.predictor import Predictor, predictor
from audit.errors import NotFound
from audit.lineage.again.traffic import ReplayedTraffic, replay_traffic
from audit.replay.points import resolve
from audit.replay.query import parse_query
from audit.store import open_reader
from tests.lineage.common import Case
from tests.lineage.small_model import Linear, small

EDGES = (math.nan, -0.0, 5e-324, 0.1 + 0.2, float(2**53), -math.inf)
NAMES = ("Ελένη", "\U0001f600", "naïve", "003")


def scored(case: Case, model: Any, version: str) -> Predictor[[dict[str, Any]], Any]:
    with model_run("credit-risk", emitter=case.emit) as run:
        registered = run.model(model, version)

    @predictor(model=registered, emitter=case.emit, threshold=0.5)
    def score(features: dict[str, Any]) -> dict[str, Any]:
        row = np.nan_to_num(np.array([[features["amount"], features["late"]]]), posinf=1, neginf=0)
        probability = float(model.predict_proba(row / 1000)[0, 1])
        return {"score": probability, "echo": features["edge"], "who": features["who"]}

    return score


def requests(count: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(7)
    for index in range(count):
        edge: Any = EDGES[index % len(EDGES)] if index % 7 else 2**53 + 1
        who = NAMES[index % len(NAMES)]
        late = float(index % 3)
        yield {"who": who, "amount": chance.uniform(0, 300_000), "edge": edge, "late": late}


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """Served by a model that was trained here; a second version is registered as well."""
    case = Case(tmp_path_factory.mktemp("thousand"))
    others = np.array([[5.0, 0.0], [100.0, 1.0], [200.0, 2.0], [300.0, 1.0]])
    scored(case, Linear().fit(others, [0, 0, 1, 1]), "2")
    score = scored(case, small(), "1")
    for request in requests(1_000):
        score(request)
    case.emit.flush()
    yield case
    case.close()


def run(case: Case, query: str = "", **options: Any) -> ReplayedTraffic:
    case.emit.flush()
    options.setdefault("policy", case.policy())
    policy = options.pop("policy")
    with open_reader(case.url) as reader:
        cut = resolve(reader, None, 0)
        return replay_traffic(reader, case.blobs, parse_query(query, 0), policy, cut=cut, **options)


def test_a_thousand_predictions_are_identical(thousand: Case) -> None:
    seen: list[str] = []
    found = run(thousand, observe=lambda answer: seen.append(answer.prediction_id))
    assert found.verdicts == {"IDENTICAL": 1_000}
    assert found.integrity == {"VERIFIED": 1_000}
    assert found.environments == {"SAME": 1_000}
    assert (found.reasons, found.worst, found.ok, found.exit_code) == ({}, (), True, 0)
    assert len(set(seen)) == 1_000


def test_a_differential_test_against_another_version(thousand: Case) -> None:
    found = run(thousand, against="credit-risk@2")
    differential = found.differential
    assert differential is not None
    assert (found.count, differential.compared, found.ok) == (1_000, 1_000, True)
    assert 0 < differential.changed_decisions < 1_000
    assert 0 < differential.fraction_changed <= 1
    assert differential.max_difference is not None and 0 < differential.max_difference < 1
    assert found.worst[0].output == "DIVERGED"
    assert found.worst[0].max_difference == max(a.max_difference or 0 for a in found.worst)
    with pytest.raises(NotFound):
        run(thousand, against="credit-risk@3")


def simple(case: Case, version: str = "1") -> Predictor[[float], float]:
    registered = case.register({"weight": 0.5}, version)
    model = registered.object

    @predictor(model=registered, emitter=case.emit)
    def score(features: float) -> float:
        return float(model["weight"]) * features

    for value in (1.0, 2.0, 3.0):
        score(value)
    return score


def test_a_tampered_record_and_its_neighbours(case: Case) -> None:
    simple(case)
    case.tamper("prediction", lambda data: data["features"].update(value=9.0))
    found = run(case)
    # Of those that were sealed together with it nothing can be proven any more either.
    tampered = found.integrity["TAMPERED"]
    assert found.integrity.get("VERIFIED", 0) + tampered == 3
    assert found.reasons == {"RECORD_TAMPERED": tampered}
    assert (found.ok, found.worst[0].integrity) == (False, "TAMPERED")


def test_an_artifact_that_is_gone_or_other(case: Case) -> None:
    score = simple(case)
    file = case.blob_file(score.model.digest)
    data = file.read_bytes()
    file.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    assert run(case).reasons == {"ARTIFACT_DIGEST_MISMATCH": 3}
    file.unlink()
    found = run(case)
    assert (found.reasons, found.verdicts) == ({"ARTIFACT_MISSING": 3}, {"NOT_REPRODUCIBLE": 3})


def test_another_library_version(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "__version__", "1.0.0")
    registered = case.register({"weight": np.float64(0.5)}, "1")
    model = registered.object

    @predictor(model=registered, emitter=case.emit)
    def score(features: float) -> float:
        return float(model["weight"]) * features

    score(1.0)
    monkeypatch.undo()
    found = run(case)
    assert (found.environments, found.verdicts) == ({"DIFFERENT": 1}, {"IDENTICAL": 1})


def test_a_missing_seed(case: Case) -> None:
    registered = case.register({"weight": 0.5}, "1")
    model = registered.object

    @predictor(model=registered, emitter=case.emit)
    def score(features: float) -> float:
        return float(model["weight"]) * random.random()

    score(1.0)
    found = run(case)
    assert (found.verdicts, found.reasons) == ({"NOT_REPRODUCIBLE": 1}, {"SEED_MISSING": 1})


def test_code_that_remembers_is_judged_alone(case: Case) -> None:
    registered = case.register({"count": 0}, "1")
    model = registered.object

    @predictor(model=registered, emitter=case.emit)
    def score(features: float) -> int:
        model["count"] += 1
        return int(model["count"])

    for _ in range(3):
        score(1.0)
        model["count"] = 0
    found = run(case)
    assert found.verdicts == {"IDENTICAL": 3}


def test_a_call_that_ends_the_process_is_only_its_own(case: Case) -> None:
    registered = case.register({"weight": 0.5}, "1")
    model = registered.object

    @predictor(model=registered, emitter=case.emit)
    def score(features: float) -> float:
        import os

        if features == 2.0 and os.getcwd().endswith("work"):
            os._exit(3)
        return float(model["weight"]) * features

    for value in (1.0, 2.0, 3.0):
        score(value)
    found = run(case)
    assert found.verdicts == {"IDENTICAL": 2, "NOT_REPRODUCIBLE": 1}
    assert found.reasons == {"PROCESS_DIED": 1}


def test_nothing_runs_without_a_policy(case: Case) -> None:
    simple(case)
    found = run(case, policy=None)
    assert found.reasons == {"RECORD_UNVERIFIED": 3}
    assert run(case, policy=None, run_unverified=True).verdicts == {"IDENTICAL": 3}


def test_nothing_found(case: Case, tmp_path: Path) -> None:
    simple(case)
    found = run(case, "key:nobody")
    assert (found.count, found.verdicts, found.ok) == (0, {}, True)
