"""A prediction replayed from a real ledger with a real model: every verdict, and every reason."""

import json
import math
import pickle
import sqlite3
import struct
import sys
import time
import types
from contextlib import closing
from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.capture.pipeline.runs import model_run
from audit.capture.predicting.predictor import Predictor, predictor
from audit.errors import InvalidInput, NotFound
from audit.event.build import record_event
from audit.event.envelope import encode_event
from audit.lineage.again.integrity import check_integrity
from audit.lineage.again.verdict import PredictionReplay
from audit.lineage.recorded.models import ModelVersion
from audit.log.entry import encode_entry
from audit.log.record import read_record
from audit.replay.books import Books
from audit.replay.points import resolve
from audit.store import open_reader
from tests.lineage.common import Case, trained

COLUMNS = ("amount", "late")
LIMIT = 0.5


def logged(case: Case, version: ModelVersion, **options: Any) -> Predictor[[dict[str, Any]], Any]:
    model = version.object

    @predictor(model=version, emitter=case.emit, key="customer", **options)
    def score(features: dict[str, Any]) -> dict[str, Any]:
        row = np.array([[features[name] for name in COLUMNS]]) / 1000
        probability = model.predict_proba(row)[0, 1]
        return {"score": float(probability), "late": bool(probability >= LIMIT)}

    return score


WEIGHTS = {"amount": -0.125, "late": 0.75}
"""A model that loads at once, for what does not depend on the kind of model."""


def weighed(case: Case, version: ModelVersion, **options: Any) -> Predictor[[dict[str, Any]], Any]:
    weights = version.object

    @predictor(model=version, emitter=case.emit, key="customer", **options)
    def score(features: dict[str, Any]) -> dict[str, Any]:
        total = sum(weights[name] * features[name] for name in sorted(weights)) / 1000
        return {"score": total, "late": total >= -0.5}

    return score


FEATURES: dict[str, Any] = {"late": 1.0, "customer": "003", "amount": 5000.0}


def test_identical(case: Case) -> None:
    score = logged(case, case.register(trained()))
    answer = score(FEATURES)
    found = case.replay(score.last_id)
    assert (found.output, found.reasons, found.messages) == ("IDENTICAL", (), ())
    assert (found.integrity, found.model, found.code) == ("VERIFIED", "MATCHES", "MATCHES")
    assert (found.environment, found.features) == ("SAME", "AS_SERVED_ONLY")
    assert (found.ok, found.exit_code) == (True, 0)
    assert found.replayed is not None
    assert found.replayed.value == answer
    said = json.loads(json.dumps(found.to_json()))
    assert said["recorded"]["features"] == FEATURES
    assert said["recorded"]["key"] == "003"
    assert said["replayed_output"] == said["recorded"]["output"] == answer
    keys = {"integrity", "model", "code", "environment", "features", "output", "reasons"}
    assert keys <= said.keys()


EXOTIC: dict[str, Any] = {
    "nan": float("nan"),
    "minus_zero": -0.0,
    "tiny": 5e-324,
    "sum": 0.1 + 0.2,
    "beyond": 2**53 + 1,
    "name": "Ελένη \U0001f600 \u2028",
    "$key": float("-inf"),
    "nested": {"z": [1, (2.5, None)], "a": np.float32(0.1)},
}


def test_exotic_features_survive_bit_by_bit(case: Case) -> None:
    version = case.register(dict(WEIGHTS))
    model = version.object

    @predictor(model=version, emitter=case.emit)
    def echo(features: dict[str, Any]) -> dict[str, Any]:
        copysign = [math.copysign(1.0, features["minus_zero"]), features["sum"].hex()]
        kinds = [type(value).__name__ for value in features.values()]
        weight = model["amount"] * features["tiny"]
        return {**features, "signs": copysign, "kinds": kinds, "weight": weight}

    answer = echo(EXOTIC)
    found = case.replay(echo.last_id)
    assert (found.output, found.messages) == ("IDENTICAL", ())
    assert found.prediction is not None
    recorded = found.prediction.features
    assert list(recorded) == list(EXOTIC)
    for name in ("minus_zero", "tiny", "sum"):
        assert struct.pack("<d", recorded[name]) == struct.pack("<d", EXOTIC[name])
    assert recorded["beyond"] == 2**53 + 1
    assert answer["kinds"] == [type(value).__name__ for value in EXOTIC.values()]


@pytest.mark.parametrize(
    "features",
    [
        pd.DataFrame({"amount": [5.0], "late": [1.0]}, index=["003"]),
        np.array([[5.0, 1.0]]),
        (5.0, np.int64(1)),
    ],
    ids=lambda f: type(f).__name__,
)
def test_every_form_of_features(case: Case, features: Any) -> None:
    version = case.register(np.array([[0.1, 0.2], [0.3, -0.7]]))
    model = version.object

    @predictor(model=version, emitter=case.emit)
    def score(features: Any) -> Any:
        return np.asarray(features, dtype=float).reshape(1, -1) @ model

    answer = score(features)
    assert answer.shape == (1, 2)
    found = case.replay(score.last_id)
    assert (found.output, found.messages) == ("IDENTICAL", ())


def test_a_pipeline(case: Case) -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    version = case.register(
        make_pipeline(StandardScaler(), trained()).fit([[5, 1], [9, 0]], [1, 0])
    )
    model = version.object

    @predictor(model=version, emitter=case.emit)
    def score(features: Any) -> Any:
        return model.predict_proba(features)

    assert score(np.array([[5.0, 1.0]])).shape == (1, 2)
    found = case.replay(score.last_id)
    assert (found.output, found.messages) == ("IDENTICAL", ())


def test_several_arguments_and_the_version_itself(case: Case) -> None:
    version = case.register(WEIGHTS)

    @predictor(model=version, emitter=case.emit, key="customer")
    def score(customer: str, amount: float, *, late: float = 0.0) -> float:
        return float(version.object["amount"]) * amount + late

    score("003", amount=5000.0)
    found = case.replay(score.last_id)
    assert (found.output, found.model, found.messages) == ("IDENTICAL", "MATCHES", ())
    assert found.prediction is not None
    assert found.prediction.features == {"customer": "003", "amount": 5000.0}
    assert found.prediction.key == "003"


def test_the_artifact_is_gone(case: Case) -> None:
    version = case.register(trained())
    score = logged(case, version)
    score(FEATURES)
    case.blob_file(version.digest).unlink()
    found = case.replay(score.last_id)
    assert (found.model, found.output) == ("MISSING", "NOT_REPRODUCIBLE")
    assert found.reasons == ("ARTIFACT_MISSING",)
    assert (found.integrity, found.exit_code) == ("VERIFIED", 1)
    assert version.digest in found.messages[0]


def test_a_byte_of_the_artifact_is_another(case: Case) -> None:
    version = case.register(trained())
    score = logged(case, version)
    score(FEATURES)
    file = case.blob_file(version.digest)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    found = case.replay(score.last_id)
    assert (found.model, found.output) == ("DIGEST_MISMATCH", "NOT_REPRODUCIBLE")
    assert found.reasons == ("ARTIFACT_DIGEST_MISMATCH",)
    assert found.replayed is None


def test_an_artifact_that_was_replaced_is_never_unpickled(case: Case) -> None:
    version = case.register(trained())
    score = logged(case, version)
    score(FEATURES)
    mark = case.backend.path.parent / "unpickled"
    case.blob_file(version.digest).write_bytes(pickle.dumps(Bomb(str(mark))))
    found = case.replay(score.last_id)
    assert found.reasons == ("ARTIFACT_DIGEST_MISMATCH",)
    assert not mark.exists()


class Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def test_a_feature_changed_in_the_store(case: Case) -> None:
    score = weighed(case, case.register(WEIGHTS))
    score(FEATURES)

    def change(data: dict[str, Any]) -> None:
        data["features"]["amount"] = 250000.0

    index = case.tamper("prediction", change)
    found = case.replay(score.last_id)
    assert (found.integrity, found.output) == ("TAMPERED", "NOT_REPRODUCIBLE")
    assert found.reasons == ("RECORD_TAMPERED",)
    assert str(index) in found.messages[0]
    assert found.exit_code == 1


def test_the_model_version_changed_in_the_store(case: Case) -> None:
    score = weighed(case, case.register(WEIGHTS))
    score(FEATURES)
    case.tamper("model.version", lambda data: data.update(run_id="another"))
    found = case.replay(score.last_id)
    assert (found.integrity, found.reasons) == ("TAMPERED", ("RECORD_TAMPERED",))


def test_a_leaf_that_is_junk(case: Case) -> None:
    score = weighed(case, case.register(WEIGHTS))
    score(FEATURES)
    index = case.tamper("prediction", lambda data: None)
    case.backend.sql('UPDATE entries SET leaf = ? WHERE "index" = ?', (b"junk", index))
    found = case.replay(score.last_id)
    assert (found.integrity, found.output) == ("TAMPERED", "NOT_REPRODUCIBLE")


def test_an_index_that_leads_to_another_prediction(case: Case) -> None:
    score = weighed(case, case.register(WEIGHTS))
    score(FEATURES)
    first = score.last_id
    assert first is not None
    score({**FEATURES, "amount": 1.0})
    case.emit.flush()
    case.backend.drop_guards()
    for name, other in ((first, "nobody"), (str(score.last_id), first)):
        case.backend.sql(
            "UPDATE entries SET event_id = ? WHERE event_id = ?", (other.encode(), name.encode())
        )
    found = case.replay(first)
    assert (found.integrity, found.reasons) == ("TAMPERED", ("RECORD_TAMPERED",))
    assert "another id" in found.messages[0]


def test_without_a_policy_nothing_is_verified(case: Case) -> None:
    score = weighed(case, case.register(WEIGHTS))
    score(FEATURES)
    found = case.replay(score.last_id, policy=None)
    assert_not_run(found)
    assert "no policy" in found.messages[0]
    found = case.replay(score.last_id, policy=None, run_unverified=True)
    assert (found.integrity, found.output, found.reasons) == ("UNVERIFIED", "IDENTICAL", ())
    assert (found.ok, found.exit_code) == (False, 1)


def assert_not_run(found: PredictionReplay) -> None:
    """Digests are compared, which runs nothing; all that needs a run is not answered."""
    assert (found.integrity, found.output) == ("UNVERIFIED", "NOT_REPRODUCIBLE")
    assert found.reasons == ("RECORD_UNVERIFIED",)
    assert (found.model, found.code, found.environment) == ("MATCHES", "MATCHES", "UNKNOWN")
    assert (found.replayed, found.ok, found.exit_code) == (None, False, 1)


def test_a_policy_of_another_log(case: Case) -> None:
    from audit.tlog.keys import Ed25519Signer
    from audit.verify.policy import Policy

    score = weighed(case, case.register(WEIGHTS))
    score(FEATURES)
    other = Ed25519Signer.from_seed("example.com/other", bytes(32)).verifier.vkey
    assert_not_run(case.replay(score.last_id, policy=Policy.from_vkeys([other])))


def test_another_key_under_the_same_name(case: Case) -> None:
    from audit.tlog.keys import Ed25519Signer
    from audit.verify.policy import Policy

    score = weighed(case, case.register(WEIGHTS))
    score(FEATURES)
    case.emit.flush()
    with open_reader(case.url) as reader:
        origin = reader.logs()[0].origin
    other = Ed25519Signer.from_seed(origin, bytes(32)).verifier.vkey
    assert_not_run(case.replay(score.last_id, policy=Policy.from_vkeys([other])))


def insert(case: Case, event_type: str, **fields: Any) -> str:
    """Copy the newest event of a type above the last checkpoint, with other fields; its new id."""
    with open_reader(case.url) as reader:
        found = [read_record(0, leaf) for _, leaf in reader.leaves(0)]
        record = [r for r in found if r.event is not None and r.event.type == event_type][-1]
        data = Books(reader, resolve(reader, None, 0)).decode(record)
    assert isinstance(data, dict) and record.event is not None
    forged_id = f"forged-{event_type}"
    key = record.event.entity_key
    if event_type == "model.version":
        key = f"{fields['name']}@{fields['version']}"
    built = record_event(event_type, {**data, **fields}, event_id="x", source="x")
    event = record.event._replace(event_id=forged_id, entity_key=key, payload=built.event.payload)
    entry = record.entry._replace(index=len(found), event=encode_event(event))
    assert key is not None
    with closing(sqlite3.connect(case.backend.path)) as connection, connection:
        connection.execute(
            "INSERT INTO entries SELECT log, ?, recorded_time_us, kind, type, source, ?, "
            'entity_type, ?, signature, ? FROM entries WHERE log = 0 AND "index" = ?',
            (len(found), forged_id.encode(), key.encode(), encode_entry(entry), record.index),
        )
    return forged_id


def test_rows_above_the_last_checkpoint_never_run(case: Case) -> None:
    score = weighed(case, case.register(WEIGHTS))
    score(FEATURES)
    case.emit.flush()
    mark = case.backend.path.parent / "unpickled"
    digest = case.blobs.put(pickle.dumps(Bomb(str(mark))))
    case.backend.drop_guards()
    insert(case, "model.version", name="evil", version="1", digest=digest)
    forged = insert(case, "prediction", model_name="evil", model_version="1", model_digest=digest)

    for policy in (case.policy(), None):
        found = case.replay(forged, policy=policy)
        assert (found.output, found.ok, mark.exists()) == ("NOT_REPRODUCIBLE", False, False)
    assert_not_run(found)
    for options in ({}, {"run_unverified": True}):
        found = case.replay(forged, **options)
        assert (found.integrity, found.reasons) == ("TAMPERED", ("RECORD_TAMPERED",))
        # A sound prediction leads to no forged model either.
        found = case.replay(score.last_id, against="evil@1", **options)
        assert (found.integrity, found.reasons) == ("TAMPERED", ("RECORD_TAMPERED",))
        assert not mark.exists()
    # The bomb is a real one: it goes off for who insists.
    case.replay(forged, policy=None, run_unverified=True)
    assert mark.exists()


def test_what_no_checkpoint_covers_is_unverified_in_an_excerpt(case: Case) -> None:
    score = weighed(case, case.register(WEIGHTS))
    score(FEATURES)
    case.emit.flush()
    case.backend.drop_guards()
    case.backend.sql("DELETE FROM checkpoints")
    with open_reader(case.url) as reader:
        index = reader.size(0) - 1
        leaf = reader.leaf(0, index)
        assert check_integrity(reader, 0, index, case.policy(), leaf).answer == "TAMPERED"
        reader.complete = False
        assert check_integrity(reader, 0, index, case.policy(), leaf).answer == "UNVERIFIED"


def test_the_bytes_that_are_acted_on_are_proven(case: Case) -> None:
    score = weighed(case, case.register(WEIGHTS))
    score(FEATURES)
    case.emit.flush()
    with open_reader(case.url) as reader:
        index = reader.size(0) - 1
        leaf = reader.leaf(0, index)
        assert check_integrity(reader, 0, index, case.policy(), leaf).answer == "VERIFIED"
        other = leaf[:-1] + bytes([leaf[-1] ^ 1])
        assert check_integrity(reader, 0, index, case.policy(), other).answer == "TAMPERED"


def test_an_exception_is_recorded_and_replayed(case: Case) -> None:
    version = case.register(WEIGHTS)
    score = weighed(case, version)
    with pytest.raises(KeyError, match="amount") as caught:
        score({"late": 1.0, "customer": "003"})
    assert not hasattr(caught.value, "__notes__")
    found = case.replay(score.last_id)
    assert found.prediction is not None
    assert (found.prediction.status, found.prediction.error) == ("ERROR", "KeyError: 'amount'")
    assert found.prediction.output is None
    assert (found.output, found.raised, found.ok) == ("IDENTICAL", "KeyError", True)


def test_code_that_cannot_be_captured(case: Case) -> None:
    version = case.register(WEIGHTS)
    namespace = {"model": version.object}
    exec("def score(features):\n    return sum(model.values())", namespace)
    score = predictor(model=version, emitter=case.emit)(namespace["score"])
    score([5.0, 1.0])
    found = case.replay(score.last_id)
    assert (found.code, found.output, found.reasons) == (
        "UNAVAILABLE", "NOT_REPRODUCIBLE", ("CODE_UNAVAILABLE",)
    )  # fmt: skip
    assert "source of score" in found.messages[0]
    assert found.model == "MATCHES"


def test_the_code_is_gone(case: Case) -> None:
    score = weighed(case, case.register(WEIGHTS))
    score(FEATURES)
    first = case.replay(score.last_id)
    assert first.prediction is not None and first.prediction.code_digest is not None
    case.blob_file(first.prediction.code_digest).write_bytes(b"{}")
    found = case.replay(score.last_id)
    assert (found.code, found.reasons) == ("UNAVAILABLE", ("CODE_UNAVAILABLE",))


def test_code_that_does_not_use_the_model(case: Case) -> None:
    score = predictor(model=case.register(WEIGHTS), emitter=case.emit)(constant)
    score(1)
    found = case.replay(score.last_id)
    assert (found.output, found.model, found.ok) == ("IDENTICAL", "NOT_USED", False)


def constant(features: int) -> int:
    return features + 41


def test_the_model_that_was_changed_after_it_was_registered(case: Case) -> None:
    version = case.register(WEIGHTS)
    score = weighed(case, version)
    version.object["amount"] = 1.0
    try:
        score(FEATURES)
    finally:
        WEIGHTS["amount"] = -0.125
    found = case.replay(score.last_id)
    assert (found.output, found.ok) == ("DIVERGED", False)


def test_a_last_bit(case: Case) -> None:
    version = case.register({"amount": 0.75})
    model = version.object

    @predictor(model=version, emitter=case.emit, threshold=0.5)
    def score(features: list[float]) -> float:
        return float(model["amount"])

    answer = score([1.0])
    model["amount"] = math.nextafter(answer, 10.0)
    score([1.0])
    found = case.replay(score.last_id)
    assert (found.output, found.max_ulps, found.ok) == ("WITHIN_TOLERANCE", 1, True)
    assert case.replay(score.last_id, tolerance=0.0).output == "SAME_DECISION"
    model["amount"] = -answer
    score([1.0])
    assert case.replay(score.last_id).output == "DIVERGED"
    assert case.replay(score.last_id, tolerance=abs(answer) * 3).output == "WITHIN_TOLERANCE"
    with pytest.raises(InvalidInput):
        case.replay(score.last_id, tolerance=-1.0)


def test_chance_is_said(case: Case) -> None:
    version = case.register(WEIGHTS)
    model = version.object

    @predictor(model=version, emitter=case.emit)
    def score(features: float) -> float:
        import random

        return float(model["amount"]) + random.random()

    @predictor(model=version, emitter=case.emit)
    def clocked(features: float) -> int:
        return time.perf_counter_ns() + len(model)

    score(1.0)
    clocked(1.0)
    found = case.replay(score.last_id)
    assert (found.output, found.reasons) == ("NOT_REPRODUCIBLE", ("SEED_MISSING",))
    found = case.replay(clocked.last_id)
    assert (found.output, found.reasons) == ("NOT_REPRODUCIBLE", ("NONDETERMINISTIC",))


def test_with_a_seed_chance_is_none(case: Case) -> None:
    with model_run("credit-risk", seed=7, emitter=case.emit) as run:
        version = run.model(dict(WEIGHTS))
    model = version.object

    @predictor(model=version, emitter=case.emit)
    def score(features: float) -> float:
        import random

        return float(model["amount"]) + random.Random(7).random()

    score(1.0)
    assert case.replay(score.last_id).output == "IDENTICAL"


def test_the_tolerance_of_the_model_version(case: Case) -> None:
    with model_run("credit-risk", emitter=case.emit) as run:
        version = run.model({"amount": 1.0}, version="1", tolerance=0.25)
    model = version.object

    @predictor(model=version, emitter=case.emit)
    def score(features: float) -> float:
        return float(model["amount"])

    model["amount"] = 1.125
    score(1.0)
    found = case.replay(score.last_id)
    assert (found.output, found.tolerance, found.ok) == ("WITHIN_TOLERANCE", 0.25, True)
    assert case.replay(score.last_id, tolerance=0.01).output == "DIVERGED"


def test_another_environment(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from audit.capture.predicting import logged as module

    older = {"numpy": "1.0.0", "python": "3.11.0", "left_pad": "1"}
    monkeypatch.setattr(module, "environment", lambda modules: older)
    score = weighed(case, case.register(WEIGHTS))
    score(FEATURES)
    found = case.replay(score.last_id)
    assert (found.output, found.environment) == ("IDENTICAL", "DIFFERENT")
    assert any(line.startswith("numpy 1.0.0 -> ") for line in found.environment_differences)
    assert "left_pad 1 -> not installed" in found.environment_differences
    assert found.ok


def test_a_model_that_does_not_load_here(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("a_module_of_this_process")
    local = type("Local", (dict,), {"__module__": module.__name__})
    module.Local = local  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    score = weighed(case, case.register(local(WEIGHTS)))
    score(FEATURES)
    found = case.replay(score.last_id)
    assert (found.output, found.reasons) == ("NOT_REPRODUCIBLE", ("ENV_LOAD_ERROR",))
    assert module.__name__ in found.messages[0]


def test_a_model_version_that_is_not_in_this_ledger(case: Case, tmp_path: Any) -> None:
    from tests.lineage.common import Case as OtherCase

    folder = tmp_path / "other"
    folder.mkdir()
    other = OtherCase(folder)
    version = other.register(WEIGHTS)
    other.close()
    score = weighed(case, version, blobs=case.blobs)
    score(FEATURES)
    found = case.replay(score.last_id)
    assert (found.model, found.reasons) == ("MISSING", ("LOG_GAP", "ARTIFACT_MISSING"))
    case.blobs.put(version.blobs.get(version.digest))
    found = case.replay(score.last_id)
    assert (found.output, found.reasons) == ("IDENTICAL", ("LOG_GAP",))


def test_what_if_a_feature_were_another(case: Case) -> None:
    score = weighed(case, case.register(WEIGHTS), threshold=0.5)
    score(FEATURES)
    found = case.replay(score.last_id, set_features={"amount": 1.0, "late": 0.0})
    assert found.output == "DIVERGED"
    assert found.what_if == {"set": {"amount": 1.0, "late": 0.0}, "against": None}
    assert found.ok
    assert found.replayed is not None
    assert isinstance(found.replayed.value, dict) and found.replayed.value["late"] is True
    with pytest.raises(InvalidInput, match="no feature 'salary'"):
        case.replay(score.last_id, set_features={"salary": 1})


def test_what_if_it_were_another_model(case: Case) -> None:
    score = weighed(case, case.register(WEIGHTS, "1"))
    case.register({"amount": 1.0, "late": 1.0}, "2")
    score(FEATURES)
    found = case.replay(score.last_id, against="credit-risk@2")
    assert found.output in ("DIVERGED", "SAME_DECISION")
    assert found.to_json()["what_if"] == {"set": {}, "against": "credit-risk@2"}
    assert case.replay(score.last_id, against="model/credit-risk@1").output == "IDENTICAL"
    with pytest.raises(NotFound):
        case.replay(score.last_id, against="credit-risk@3")


def test_ids(case: Case) -> None:
    score = weighed(case, case.register(WEIGHTS))
    score(FEATURES)
    found = [case.replay(f"{before}{score.last_id}") for before in ("prediction/", "test:")]
    assert [f.output for f in found] == ["IDENTICAL", "IDENTICAL"]
    for wrong in ("nothing", "prediction/", ""):
        with pytest.raises(InvalidInput):
            case.replay(wrong)


def test_a_prediction_without_code(case: Case) -> None:
    prediction_id = case.emit.record(
        "prediction",
        {"model_name": "m", "model_version": "1", "features": {"a": 1}, "status": "OK"},
        entity_type="prediction",
        entity_key="003",
    )
    found = case.replay(prediction_id)
    assert (found.integrity, found.code, found.output) == (
        "VERIFIED", "UNAVAILABLE", "NOT_REPRODUCIBLE"
    )  # fmt: skip
    assert found.reasons == ("LOG_GAP", "ARTIFACT_MISSING", "CODE_UNAVAILABLE")


@pytest.mark.parametrize("call", ["{", "[]", "{}", '{"arguments": "one", "features": 1}'])
def test_a_call_that_is_junk(case: Case, call: str) -> None:
    data = {"model_name": "m", "features": {}, "status": "OK", "call": call}
    prediction_id = case.emit.record("prediction", data, entity_type="prediction", entity_key="1")
    found = case.replay(prediction_id)
    assert (found.output, found.reasons) == ("NOT_REPRODUCIBLE", ("RECORD_UNREADABLE",))


CALL = {"arguments": "one", "features": None, "output": None, "format": "pickle"}


@pytest.mark.parametrize(
    "capsule",
    [
        b"junk",
        b"[]",
        b'{"format": "attestory-capsule-v2"}',
        b'{"format": "attestory-capsule-v1"}',
        b'{"format": "attestory-capsule-v1", "functions": {"0": 1}, "missing": []}',
        b'{"format": "attestory-capsule-v1", "functions": {}, "missing": []}',
    ],
)
def test_a_capsule_that_is_junk(case: Case, capsule: bytes) -> None:
    version = case.register(WEIGHTS)
    data = {
        "model_name": version.name,
        "model_version": version.version,
        "model_digest": version.digest,
        "code_digest": case.blobs.put(capsule),
        "features": {},
        "status": "OK",
        "call": json.dumps(CALL),
    }
    prediction_id = case.emit.record("prediction", data, entity_type="prediction", entity_key="1")
    found = case.replay(prediction_id)
    assert (found.code, found.output) == ("UNAVAILABLE", "NOT_REPRODUCIBLE")
    assert "CODE_UNAVAILABLE" in found.reasons
