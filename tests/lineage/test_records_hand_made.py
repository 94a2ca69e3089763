"""Small ledgers by hand, and what must be answered: corrections, others' keys, values, cuts."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import audit
from audit.capture.emitter import Emitter
from audit.errors import NotFound
from audit.lineage.content.distributions import Column
from audit.lineage.drifting.drift_columns import compare_column
from audit.lineage.recorded.dataset_card import dataset_card, feature_card
from audit.lineage.recorded.datasets import find_dataset
from audit.lineage.recorded.evaluations import UNKNOWN_DATA, compare_evaluations
from audit.lineage.recorded.model_card import count_predictions, model_card
from audit.lineage.recorded.models import find_models
from audit.lineage.recorded.records import data_uses
from audit.lineage.recorded.runs import find_run, find_runs
from audit.lineage.recorded.serving import serving, serving_history
from audit.replay.points import resolve
from audit.store import open_reader
from tests.lineage.common import Case
from tests.lineage.common_trace import MODEL, Pipeline, frame, refs, sha

NOON_US = 1_767_614_400_000_000


@pytest.fixture
def pipeline(case: Case) -> Pipeline:
    return Pipeline(case.url, case.emit)


def ledger_of(pipeline: Pipeline) -> audit.Ledger:
    pipeline.emit.flush()
    return audit.Ledger(pipeline.url)


def test_a_run_under_another_runs_key_is_nobodys(pipeline: Pipeline) -> None:
    mine = pipeline.run("cleaning", params={"C": 1})
    data = {"run_id": mine, "name": "cleaning", "status": "FAIL", "error": "forged"}
    pipeline.emit.record("component.run", data, entity_type="run", entity_key="another")
    other = {"run_id": "another", "name": "x", "status": "COMPLETE"}
    pipeline.emit.record("component.run", other, entity_type="run", entity_key=mine)
    with ledger_of(pipeline) as ledger:
        cut = ledger.cut()
        assert [run.run_id for run in find_runs(ledger.reader, cut)] == [mine]
        assert find_run(ledger.reader, mine, cut).status == "COMPLETE"
        with pytest.raises(NotFound):
            find_run(ledger.reader, "another", cut)
    assert pipeline.trace(f"run/{mine}").find(f"run/{mine}")[0].problem is None
    assert isinstance(pipeline.refused("run/another"), NotFound)


def test_versions_under_another_key_are_nobodys(pipeline: Pipeline) -> None:
    for type_, key, digest in (
        ("dataset.version", "other@1", frame("forged")),
        ("feature.definition", "features/other@1", sha("forged")),
    ):
        data = {"name": "mine", "version": "1", "digest": digest, "entity_types": ["x"]}
        pipeline.emit.record(type_, data, entity_type="dataset", entity_key=key)
    data = {"name": "mine", "version": "1", "digest": sha("forged")}
    for key in ("other@1", "mine"):
        pipeline.emit.record("model.version", data, entity_type="model", entity_key=key)
    for ref in ("dataset/mine@1", "dataset/features/mine@1", "model/mine@1", "model/other@1"):
        assert isinstance(pipeline.refused(ref), NotFound), ref
    with ledger_of(pipeline) as ledger:
        reader, cut = ledger.reader, ledger.cut()
        for ask in (find_dataset, dataset_card, feature_card, model_card):
            for name in ("mine@1", "other@1"):
                with pytest.raises(NotFound):
                    prefix = "features/" if ask is feature_card else ""
                    ask(reader, prefix + name, cut)
        assert find_models(reader, "other", "1", cut) == []
        with pytest.raises(NotFound):
            serving_history(reader, "mine", cut)


def test_a_transition_of_another_model_does_not_count(pipeline: Pipeline) -> None:
    pipeline.model("1", sha("a"), None, name="m")
    for name in ("m", "n"):
        data = {"name": name, "stage": "production", "version": {"m": "1", "n": "9"}[name]}
        pipeline.emit.record("model.transition", data, entity_type="model", entity_key="m")
    with ledger_of(pipeline) as ledger:
        (now,) = serving(ledger.reader, "m", None, ledger.cut())
        assert (now.version, now.digest) == ("1", sha("a"))


def test_a_correction_counts_from_its_own_entry_and_for_its_own_key(pipeline: Pipeline) -> None:
    def say(key: str, digest: str, **more: Any) -> None:
        data = {"name": key.partition("@")[0], "version": "1", "digest": digest}
        pipeline.emit.record("dataset.version", data, entity_type="dataset", entity_key=key, **more)

    say("d@1", frame("wrong"), event_id="first")
    before = str(pipeline.point()["logs"][0]["size"] - 1)
    say("e@1", frame("e"), supersedes="first", event_id="stranger")
    say("e@1", frame("e"), supersedes="itself", event_id="itself")
    with ledger_of(pipeline) as ledger:
        assert find_dataset(ledger.reader, "d@1", ledger.cut()).digest == frame("wrong")
        assert find_dataset(ledger.reader, "e@1", ledger.cut()).digest == frame("e")
    assert pipeline.trace("dataset/d@1", "dataset/e@1").nodes
    say("d@1", frame("right"), supersedes="first")
    with ledger_of(pipeline) as ledger:
        assert find_dataset(ledger.reader, "d@1", ledger.cut()).digest == frame("right")
        assert find_dataset(ledger.reader, "d@1", ledger.cut(before)).digest == frame("wrong")
    (now,), (then,) = (
        pipeline.trace("dataset/d@1").roots,
        pipeline.trace("dataset/d@1", as_of=before).roots,
    )
    assert (now, then) == (f"data:{frame('right')}", f"data:{frame('wrong')}")


def test_a_model_version_that_was_taken_back_is_not_loaded(pipeline: Pipeline) -> None:
    key = {"entity_type": "model", "entity_key": "m@1"}
    data = {"name": "m", "version": "1", "digest": sha("wrong")}
    pipeline.emit.record("model.version", data, event_id="first", **key)
    pipeline.emit.record("model.version", data | {"digest": sha("b")}, supersedes="first", **key)
    with ledger_of(pipeline) as ledger:
        (found,) = find_models(ledger.reader, "m", "1", ledger.cut())
        assert found.digest == sha("b")
        assert (
            len(find_models(ledger.reader, "m", "1", ledger.cut(str(found.record.index - 1)))) == 1
        )


def test_equal_plain_values_and_empty_tables_link_nothing(pipeline: Pipeline) -> None:
    half = {"name": "result", "kind": "value", "digest": sha("0.5")}
    empty = {"name": "rows", "kind": "frame", "digest": frame("none"), "rows": 0}
    first = pipeline.run("a", outputs=[half, empty])
    second = pipeline.run("b", inputs=[half, empty], outputs=[half])
    third = pipeline.run("c", inputs=[{**half, "kind": "frame"}])
    up, down = pipeline.trace(f"run/{second}"), pipeline.trace(f"run/{first}", downstream=True)
    assert f"run/{first}" not in refs(up) and not {f"run/{second}", f"run/{third}"} & refs(down)
    assert [node.facts["digest"] for node in up.of_kind("data")] == [
        half["digest"],
        empty["digest"],
    ]
    assert len(down.of_kind("data")) == 2
    assert refs(pipeline.trace(f"run/{third}")) == {f"run/{third}"}


def test_one_thing_read_at_two_points_of_a_log_stays_two(pipeline: Pipeline) -> None:
    def part(origin: str, size: int) -> dict[str, Any]:
        return {"entity_type": "x", "logs": [{"origin": origin, "size": size}]}

    found = data_uses({"inputs": [part("a", 1), part("b", 1), part("a", 2)]}, "inputs")
    assert [[(p.origin, p.size) for p in use.logs] for use in found] == [
        [("a", 1), ("b", 1)],
        [("a", 2)],
    ]


def test_replays_are_no_answers(pipeline: Pipeline) -> None:
    training = pipeline.trained("1", "artifact", "clean")
    answer = pipeline.predict("1", sha("artifact"), "001")
    pipeline.predict("1", sha("artifact"), "001", role="REPLAY")
    found = pipeline.trace(f"run/{training}", downstream=True)
    assert found.touched is not None and found.touched.count == 1
    assert [node.ref for node in found.of_kind("prediction")] == [f"prediction/{answer}"]
    with ledger_of(pipeline) as ledger:
        card = model_card(ledger.reader, f"{MODEL}@1", ledger.cut())
        assert count_predictions(ledger.reader, card, ledger.cut()) == 1


def test_a_prediction_that_was_corrected_is_learnt_from_once(pipeline: Pipeline) -> None:
    wrong = pipeline.predict("1", None, "k", output=0.1)
    data = {"model_name": MODEL, "model_version": "1", "model_digest": None, "status": "OK"}
    data |= {"features": {"CustomerID": "k"}, "output": 0.9}
    right = pipeline.emit.record(
        "prediction", data, entity_type="prediction", entity_key="k", supersedes=wrong
    )
    for prediction in (wrong, f"prediction/{right}"):
        pipeline.emit.record(
            "ground_truth",
            {"prediction": prediction, "value": 1},
            entity_type="prediction",
            entity_key="k",
        )
    with ledger_of(pipeline) as ledger:
        assert list(ledger.training_set(MODEL).index) == [right]


def test_data_without_a_digest_is_not_the_same_data(pipeline: Pipeline) -> None:
    known = {"name": "test", "digest": frame("test")}
    a = pipeline.run("a", inputs=[known, {"name": "more"}], metrics={"auc": 0.8})
    b = pipeline.run("b", inputs=[known, {"name": "more"}], metrics={"auc": 0.9})
    with ledger_of(pipeline) as ledger:
        found = compare_evaluations(ledger.reader, a, b, ledger.cut())
    assert (found.verdict, dict(found.metrics)) == (UNKNOWN_DATA, {})
    assert "no digest is recorded" in found.message


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "STEADY"), (0.5, "DRIFTED")])
def test_half_a_standard_deviation_is_drift(shift: float, verdict: str) -> None:
    rng = np.random.default_rng(3)
    sides = []
    for mean in (0.0, shift):
        column = Column("x")
        for value in rng.normal(mean, 1.0, 1_000):
            column.add(float(value))
        sides.append(column.distribution())
    found = compare_column("x", "inputs", *sides)
    assert found.verdict == verdict
    if shift:
        assert found.statistic("JENSEN_SHANNON").exceeded is False  # type: ignore[union-attr]
        assert found.reasons[0].startswith("KOLMOGOROV_SMIRNOV 0.")
        assert compare_column("x", "inputs", *sides, 0.5).verdict == "STEADY"


def test_drift_as_of_a_point_ends_there(tmp_path: Path) -> None:
    clock = iter(range(NOON_US, NOON_US + 10**9, 86_400_000_000 // 86_400))
    emit = Emitter(f"sqlite:///{tmp_path / 'audit.db'}", source="t", clock=lambda: next(clock))
    pipeline = Pipeline(f"sqlite:///{tmp_path / 'audit.db'}", emit)
    for number in range(20):
        when = datetime.fromtimestamp(NOON_US / 1e6 + number, UTC)
        data = {"model_name": "m", "model_version": "1", "model_digest": None, "status": "OK"}
        data |= {"features": {"x": number}, "output": 0.5}
        emit.record("prediction", data, entity_type="prediction", entity_key="k", valid_time=when)
    emit.close()
    with audit.Ledger(pipeline.url) as ledger:
        with open_reader(pipeline.url) as reader:
            assert resolve(reader, None, 0).size(0) > 20
        at = ledger.prediction_record(next(ledger.predictions(newest_first=True)).prediction_id)
        assert at is not None
        report = ledger.drift("m", as_of=f"{at.log}/{at.index}")
    assert report.now_rows == 20
