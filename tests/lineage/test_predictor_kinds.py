"""Logged functions of every kind: coroutines, shadows, chains, ensembles, refused inputs."""

import asyncio
import gc
import math
import os
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import audit
from audit.capture.predicting import prediction_payload as wire
from audit.capture.predicting import shadow as shadows
from audit.capture.predicting.predictor import predictor
from audit.errors import InvalidInput, RejectedInput
from audit.event.payload import encode_record
from audit.lineage.again.made_features import MadeFeatures
from audit.lineage.content.expects import MAX_VIOLATIONS, Expects
from audit.lineage.recorded.models import ModelVersion
from audit.lineage.recorded.predictions import Prediction, find_predictions
from audit.lineage.recorded.records import Named
from audit.replay.points import resolve
from audit.replay.query import parse_query
from audit.store import open_reader
from tests.lineage.common import CLOCK_US, Case


def recorded(case: Case, query: str = "") -> list[Prediction]:
    case.emit.flush()
    with open_reader(case.url) as reader:
        cut = resolve(reader, None, 0)
        asked = parse_query(query, CLOCK_US + 86_400_000_000)
        return list(find_predictions(reader, asked, cut))


def double(features: dict[str, Any]) -> float:
    return float(features["x"] * 2.0)


# Exactness


EXACT = {
    "nan": math.nan,
    "odd nan": struct.unpack("<d", bytes.fromhex("010000000000f8ff"))[0],
    "minus": -0.0,
    "least": 5e-324,
    "sum": 0.1 + 0.2,
    "infinite": -math.inf,
    'Ποσό, "€"\n': 2.0**53,
}


@pytest.mark.parametrize("more", [{}, {"n": 2**53 + 1, "t": "Ελένη", "b": True, "none": None}])
def test_values_survive_whichever_way_they_are_encoded(case: Case, more: dict[str, Any]) -> None:
    score = predictor(model=case.register({}), emitter=case.emit)(lambda f: f["sum"])
    features = {**EXACT, **more}
    for _ in range(3):  # described the first time, encoded at once the next
        score(dict(features))
    found = recorded(case)
    assert len(found) == 3
    for prediction in found:
        assert list(prediction.features) == list(features)
        for name, value in features.items():
            said = prediction.features[name]
            assert type(said) is type(value)
            if isinstance(value, float):
                assert isinstance(said, float)
                assert struct.pack("<d", said) == struct.pack("<d", value)
            else:
                assert said == value
        assert prediction.call == found[0].call


def test_kept_names_do_not_bend_what_comes_next(case: Case) -> None:
    score = predictor(model=case.register({}), emitter=case.emit)(lambda f: 1.0)
    calls: list[Any] = [
        {"a": 1.0, "b": 2.0}, {"a": 1, "b": True}, {"b": 2.0, "a": 1.0}, {"a": 1.0, "b": 2.0},
        {"a": np.float32(0.1), "b": 2.0}, {"a": 1.0, "b": [1, (2,)]}, {"a": 1.0, "b": 2.0},
        {"a": "x", "b": None}, {}, {}, [1.0, 2.0], {"a": 1.0, "b": 2.0},
    ]  # fmt: skip
    for features in calls:
        score(features)
    with pytest.raises(InvalidInput, match="'b'"):
        score({"a": 1.0, "b": 2**70})
    with pytest.raises(InvalidInput):
        score({"a": 1.0, "b": "\ud800"})
    from audit.lineage.content.served import rebuild

    made = [rebuild(dict(p.features), (p.call or {})["features"]) for p in recorded(case)]
    assert [repr(one) for one in made] == [repr(one) for one in calls]


def test_the_bytes_are_those_of_the_schema() -> None:
    fields: dict[str, Any] = {"x": 1.5, "n": 3, "t": "é"}
    data: dict[str, Any] = {
        "request_id": "r", "request_us": 5, "role": "SHADOW", "served": False, "model_name": "m",
        "model_version": "1", "model_digest": "d", "code_digest": None, "features": fields,
        "feature_status": [{"name": "x", "status": "STALE"}], "output": {"a": 1, "b": None},
        "status": "ERROR", "error": "why", "violations": ["v"], "threshold": 0.5,
        "latency_us": 7, "seed": -3, "parents": ["p", "q"], "members": ["r"], "primary": "s",
        "batch": {"rows": 2, "root_hash": bytes(32), "digest": "d", "failed": 0}, "call": "{}",
    }  # fmt: skip
    before = b"".join(
        (
            wire.text("r"), wire.long(5), wire.head("SHADOW", False, "m", "1", "d", None),
            wire.features(fields), wire.origins({"x": "STALE"}, []),
        )
    )  # fmt: skip
    outcome = wire.Outcome("ERROR", data["output"], 7, wire.text("{}"), "why", ["v"])
    links = wire.Links(["p", "q"], ["r"], "s")
    made = wire.payload(
        before, outcome, wire.threshold(0.5), wire.long(-3), links, wire.batch(data["batch"])
    )
    assert made == encode_record("prediction.v2", data)[0]
    for output in (None, 1.5, -0.0, "x", True, 3, [1, 2]):
        plain = {"model_name": "m", "model_version": "1", "model_digest": "d", "served": True,
                 "role": "PRIMARY", "features": {}, "status": "OK", "output": output}  # fmt: skip
        before = b"".join(
            (b"\x00\x00", wire.head("PRIMARY", True, "m", "1", "d", None), wire.features({}),
             wire.origins({}, []))
        )  # fmt: skip
        outcome = wire.Outcome("OK", output, None, wire.text(None))
        made = wire.payload(before, outcome, wire.threshold(None), wire.long(None), wire.NO_LINKS)
        assert made == encode_record("prediction.v2", plain)[0]
    floats = {f"é{i}": i / 7 for i in range(200)}
    assert wire.FloatFeatures(tuple(floats)).encode(floats.values()) == wire.features(floats)


# Coroutines


def test_a_coroutine_function(case: Case) -> None:
    @predictor(model=case.register({}), emitter=case.emit, key="id")
    async def score(features: dict[str, Any]) -> float:
        await asyncio.sleep(0.001 * features["wait"])
        if features["wait"] == 3:
            raise ValueError("three")
        return float(features["wait"])

    async def main() -> list[Any]:
        async def one(wait: int) -> Any:
            with audit.context(request_id=f"r{wait}"):
                answer = await score({"id": str(wait), "wait": wait})
                return answer, score.last_id

        return await asyncio.gather(*map(one, range(5)), return_exceptions=True)

    answers = asyncio.run(main())
    assert [a if isinstance(a, Exception) else a[0] for a in answers][:3] == [0.0, 1.0, 2.0]
    assert isinstance(answers[3], ValueError)
    found = {p.key: p for p in recorded(case)}
    assert found["3"].status == "ERROR" and found["3"].served is False
    assert (found["4"].output, found["4"].request_id) == (4.0, "r4")
    assert found["4"].prediction_id == answers[4][1]
    assert found["4"].latency_us is not None and found["4"].latency_us >= 3_000


def test_a_cancelled_task_is_a_failed_prediction(case: Case) -> None:
    @predictor(model=case.register({}), emitter=case.emit)
    async def score(features: Any) -> float:
        await asyncio.sleep(60)
        return 1.0

    async def main() -> None:
        task = asyncio.ensure_future(score(1))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    (found,) = recorded(case)
    assert found.status == "ERROR" and "CancelledError" in (found.error or "")


# Shadows


def test_a_shadow_has_the_primarys_request_and_features(case: Case) -> None:
    first, second = case.register({"w": 1.0}, "1"), case.register({"w": 3.0}, "2")
    model = first.object

    @predictor(model=first, emitter=case.emit, key="id", shadow=second)
    def score(features: dict[str, Any]) -> float:
        return weighted(features.pop("x"))

    def weighted(x: float) -> float:
        return float(x * model["w"])

    with audit.context(request_id="r-1", actor="web") as request:
        assert score({"id": "7", "x": 2.0}) == 2.0
        score.flush()
    primary, beside = sorted(recorded(case), key=lambda p: p.role)
    assert (primary.role, primary.served, primary.output) == ("PRIMARY", True, 2.0)
    assert (beside.role, beside.served, beside.output) == ("SHADOW", False, 6.0)
    assert (beside.primary, primary.primary) == (primary.prediction_id, None)
    assert beside.request_us == primary.request_us == request.request_us
    assert beside.request_id == primary.request_id == "r-1"
    assert beside.features == primary.features == {"id": "7", "x": 2.0}
    assert beside.model_digest == second.digest
    assert beside.key == "7" and beside.record.event is not None
    assert beside.record.event.actor == "web"
    assert score.last_id == primary.prediction_id


def test_nothing_of_a_shadow_reaches_the_caller(case: Case) -> None:
    first, second = case.register({}, "1"), case.register({}, "2")
    done, ended = threading.Event(), threading.Event()

    @predictor(model=second, emitter=case.emit)
    def failing(features: Any) -> float:
        raise KeyError("shadow")

    @predictor(model=second, emitter=case.emit, expects={"y": {"required": True}})
    def refusing(features: Any) -> float:
        return 1.0

    @predictor(model=second, emitter=case.emit)
    def slow(features: Any) -> Any:
        done.wait(120)
        ended.set()
        return object()

    score = predictor(
        model=first, emitter=case.emit, shadow=[failing, refusing, slow], threshold=0.5
    )(double)
    assert score({"x": 1.0}) == 2.0
    assert not ended.is_set()
    done.set()
    score.flush()
    found = recorded(case)
    assert [p.role for p in found].count("SHADOW") == 3
    assert {p.status for p in found if p.role == "SHADOW"} == {"ERROR", "REJECTED_INPUT"}
    assert {p.primary for p in found if p.role == "SHADOW"} == {score.last_id}
    assert all(p.request_us == found[0].request_us for p in found)
    with pytest.raises(KeyError):
        score({})  # the primary fails; the shadows run all the same
    score.flush()
    assert len(recorded(case)) == 8


def test_too_many_waiting_shadows_are_recorded_as_not_run(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadows, "MAX_WAITING", 1)
    gate = threading.Event()

    @predictor(model=case.register({}, "2"), emitter=case.emit)
    def waits(features: Any) -> float:
        gate.wait(120)
        return 1.0

    score = predictor(model=case.register({}, "1"), emitter=case.emit, shadow=waits)(double)
    score({"x": 1.0})
    score({"x": 2.0})
    gate.set()
    score.flush()
    beside = [p for p in recorded(case) if p.role == "SHADOW"]
    assert sorted(p.status for p in beside) == ["ERROR", "OK"]
    assert any("shadows wait already" in (p.error or "") for p in beside)


def test_an_async_primary_with_a_plain_shadow(case: Case) -> None:
    plain = predictor(model=case.register({}, "2"), emitter=case.emit)(double)

    async def later(features: dict[str, Any]) -> float:
        return float(features["x"] + 1.0)

    score = predictor(model=case.register({}, "1"), emitter=case.emit, shadow=plain)(later)
    both = predictor(model=case.register({}, "3"), emitter=case.emit, shadow=score)(double)
    assert asyncio.run(score({"x": 1.0})) == 2.0
    score.flush()
    assert both({"x": 5.0}) == 10.0
    both.flush()
    outputs = [(p.role, p.model_version, p.output) for p in recorded(case)]
    assert sorted(outputs) == [
        ("PRIMARY", "1", 2.0), ("PRIMARY", "3", 10.0), ("SHADOW", "1", 6.0), ("SHADOW", "2", 2.0)
    ]  # fmt: skip


def test_what_cannot_be_a_shadow(case: Case) -> None:
    version = case.register({}, "1")
    with pytest.raises(InvalidInput, match="a shadow is"):
        predictor(model=version, emitter=case.emit, shadow=double)  # type: ignore[arg-type]
    score = predictor(model=version, emitter=case.emit, shadow=case.register({}, "2"))(double)
    score({"x": 1.0})
    score.flush()
    assert "uses no name that is model/credit-risk@1" in (recorded(case)[1].error or "")
    with pytest.raises(InvalidInput, match="no shadow"):
        predictor(model=version, emitter=case.emit, shadow=version, batch=True)


# Chains and ensembles


def with_members(version: ModelVersion, *members: ModelVersion) -> ModelVersion:
    version.members = tuple(Named(m.name, m.version, m.digest) for m in members)
    return version


def test_predictions_inside_a_prediction_are_its_parents(case: Case) -> None:
    inner = predictor(model=case.register({}, "1"), emitter=case.emit)(double)

    def outer(features: dict[str, Any]) -> float:
        return inner({"x": inner(features)})

    logged = predictor(model=case.register({}, "2"), emitter=case.emit)(outer)
    assert logged({"x": 1.0}) == 4.0
    inner({"x": 1.0})
    one, two, last, alone = recorded(case)
    assert last.parents == (one.prediction_id, two.prediction_id)
    assert (last.members, one.parents, alone.parents) == ((), (), ())
    assert one.role == "PRIMARY"


def test_members_of_an_ensemble(case: Case) -> None:
    versions = [case.register({}, str(n)) for n in range(3)]
    members = [predictor(model=v, emitter=case.emit)(double) for v in versions[:2]]
    other = predictor(model=versions[2], emitter=case.emit)(double)
    ensemble = with_members(case.register({}, "e"), *versions[:2])

    @predictor(model=ensemble, emitter=case.emit)
    def mean(features: dict[str, Any]) -> float:
        return sum(m(features) for m in members) / 2 + other(features) * 0

    assert mean({"x": 1.0}) == 2.0
    *inside, found = recorded(case)
    assert [p.role for p in inside] == ["MEMBER", "MEMBER", "PRIMARY"]
    assert [p.served for p in inside] == [False, False, True]
    assert found.members == (inside[0].prediction_id, inside[1].prediction_id)
    assert found.parents == (inside[2].prediction_id,)


def test_calls_side_by_side_keep_their_own_parents(case: Case) -> None:
    inner = predictor(model=case.register({}, "1"), emitter=case.emit)(double)

    def outer(features: dict[str, Any]) -> float:
        return inner(features) + inner(features)

    logged = predictor(model=case.register({}, "2"), emitter=case.emit)(outer)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: logged({"x": float(n)}), range(20)))
    found = recorded(case)
    by_id = {p.prediction_id: p for p in found}
    outers = [p for p in found if p.model_version == "2"]
    assert len(outers) == 20
    for one in outers:
        assert [by_id[parent].features for parent in one.parents] == [one.features] * 2


# What is expected, and what is said about features


def test_an_input_that_is_not_as_expected(case: Case) -> None:
    ran: list[Any] = []
    expects = {
        "amount": {"type": "number", "min": 0, "max": 1e6, "required": True},
        "status": {"type": "string", "allowed": ["Open", "Closed"]},
    }

    @predictor(model=case.register({}), emitter=case.emit, expects=expects)
    def score(features: dict[str, Any]) -> float:
        ran.append(features)
        return 1.0

    assert score({"amount": 5, "status": "Open"}) == 1.0
    assert score({"amount": 0.0}) == 1.0
    with pytest.raises(RejectedInput, match="amount is -1") as caught:
        score({"amount": -1, "status": "odd"})
    assert isinstance(caught.value, InvalidInput) and "\n" not in str(caught.value)
    with pytest.raises(RejectedInput, match="is missing"):
        score({"status": "Open"})
    assert len(ran) == 2
    *_, low, missing = recorded(case)
    assert (low.status, low.output, low.served) == ("REJECTED_INPUT", None, False)
    assert low.features == {"amount": -1, "status": "odd"}
    assert low.violations == (
        "amount is -1, below the least expected: 0",
        "status is 'odd', which is not among the allowed values",
    )
    assert missing.violations == ("amount is missing",)


@pytest.mark.parametrize(
    ("declared", "value", "fits"),
    [
        ({"type": "number"}, True, False), ({"type": "number"}, 1, True),
        ({"type": "integer"}, 1.0, False), ({"type": "boolean"}, 1, False),
        ({"type": "number", "required": True}, math.nan, False), ({"type": "number"}, None, True),
        ({"max": 1}, "a", False), ({"max": 1}, 1, True), ({"allowed": [1]}, True, False),
        ({"allowed": [None, 1]}, 1, True), ({}, [1], True), ({"type": "string"}, {}, False),
    ],
)  # fmt: skip
def test_what_fits(declared: dict[str, Any], value: Any, fits: bool) -> None:
    assert (Expects({"f": declared}).violations({"f": value}) == []) is fits


@pytest.mark.parametrize(
    "declared",
    [
        [], {1: {}}, {"f": 1}, {"f": {"typ": "number"}}, {"f": {"type": "float"}},
        {"f": {"min": "a"}}, {"f": {"min": math.nan}}, {"f": {"required": 1}},
        {"f": {"allowed": "ab"}}, {"f": {"type": []}}, {"f": {"min": True}},
    ],
)  # fmt: skip
def test_expectations_that_are_none(declared: Any) -> None:
    with pytest.raises(InvalidInput):
        Expects(declared)


def test_many_violations_are_counted() -> None:
    said = Expects({f"f{n}": {"required": True} for n in range(500)}).violations({})
    assert len(said) == MAX_VIOLATIONS + 1 and said[-1] == "and 400 more"


def test_a_status_apart_from_the_value(case: Case) -> None:
    inner = predictor(model=case.register({}, "1"), emitter=case.emit)(double)
    score = predictor(model=case.register({}, "2"), emitter=case.emit)(lambda f: inner(f))
    with audit.statuses({"x": "DEFAULTED", "age": "MISSING"}):
        score({"x": 0.0})
    score({"x": 0.0})
    within, defaulted, _, measured = recorded(case)
    assert defaulted.features == measured.features == {"x": 0.0}
    assert defaulted.feature_status == {"x": "DEFAULTED", "age": "MISSING"}
    assert within.feature_status == measured.feature_status == {}
    assert defaulted.to_json()["feature_status"] == {"x": "DEFAULTED", "age": "MISSING"}
    with pytest.raises(InvalidInput, match="MISSING"), audit.statuses({"x": "ODD"}):
        pass


def test_features_of_a_definition_say_where_they_come_from(case: Case) -> None:
    read = {"name": "inquiry", "digest": "sha256:" + "1" * 64, "as_of_us": 5}
    made = MadeFeatures({"x": 2.0}, Named("late", "1", "sha256:" + "0" * 64), "{}", [read])
    score = predictor(model=case.register({}), emitter=case.emit)(double)
    assert score(made) == 4.0
    many = predictor(model=case.register({}), emitter=case.emit)(lambda a, b: a["x"] + b)
    assert many(made, 1.0) == 3.0
    one, two = recorded(case)
    for prediction in (one, two):
        (origin,) = prediction.feature_sets
        assert (origin.name, origin.version, origin.names) == ("late", "1", ("x",))
        assert (origin.reads[0].digest, origin.reads[0].as_of_us) == (read["digest"], 5)
    assert one.features == {"x": 2.0}
    assert case.replay(one.prediction_id).output == "IDENTICAL"


def test_role_seed_threshold_and_the_versions_own(case: Case) -> None:
    version = case.register({})
    version.threshold, version.expects = 0.25, {"x": {"min": 0}}
    score = predictor(model=version, emitter=case.emit, role="CANARY", seed=7)(double)
    score({"x": 1.0})
    with pytest.raises(RejectedInput):
        score({"x": -1.0})
    found, _ = recorded(case)
    assert (found.role, found.served, found.seed, found.threshold) == ("CANARY", True, 7, 0.25)
    for wrong in ({"role": "MAIN"}, {"seed": True}, {"seed": "x"}, {"expects": {"x": 1}}):
        with pytest.raises(InvalidInput):
            predictor(model=version, emitter=case.emit, **wrong)


def test_a_closed_emitter_does_not_hurt_the_shadows_caller(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    other = audit.Emitter(case.url, source="other")
    beside = predictor(model=case.register({}, "2"), emitter=other)(double)
    other.close()
    score = predictor(model=case.register({}, "1"), emitter=case.emit, shadow=beside)(double)
    assert score({"x": 1.0}) == 2.0
    score.flush()
    assert "closed" in caplog.text
    gc.collect()


# What a replay makes of them


@pytest.mark.slow
def test_every_kind_can_be_run_again(case: Case) -> None:
    first, second = case.register({"w": 1.0}, "1"), case.register({"w": 3.0}, "2")
    model = first.object

    @predictor(model=first, emitter=case.emit, shadow=second)
    def score(features: dict[str, Any]) -> float:
        return float(features["x"] * model["w"])

    @predictor(model=first, emitter=case.emit)
    async def later(features: dict[str, Any]) -> float:
        await asyncio.sleep(0)
        return float(features["x"] + model["w"])

    @predictor(model=second, emitter=case.emit)
    def chain(features: dict[str, Any]) -> float:
        return score({"x": score(features)})

    chain({"x": 2.0})
    score.flush()
    asyncio.run(later({"x": 2.0}))
    found = recorded(case)
    assert sorted(p.role for p in found) == ["PRIMARY"] * 4 + ["SHADOW"] * 2
    kinds = {(p.role, p.model_version, p.code_digest): p for p in found}
    assert len(kinds) == 4
    for prediction in kinds.values():
        assert case.replay(prediction.prediction_id).output == "IDENTICAL"


def test_a_forked_child_has_shadows_of_its_own(case: Case) -> None:
    beside = predictor(model=case.register({}, "2"), emitter=case.emit)(double)
    score = predictor(model=case.register({}, "1"), emitter=case.emit, shadow=beside)(double)
    score({"x": 1.0})
    score.flush()
    child = os.fork()
    if not child:
        code = 1
        try:
            score({"x": 2.0})
            score.flush(10)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert sorted((p.role, p.output) for p in recorded(case)) == [
        ("PRIMARY", 2.0), ("PRIMARY", 4.0), ("SHADOW", 2.0), ("SHADOW", 4.0)
    ]  # fmt: skip
