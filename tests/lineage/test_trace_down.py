"""Lineage downstream: from a row, run, model, dataset or definition to every prediction."""

import pytest

from audit.lineage.tracing.feedback import feedback_loops
from audit.lineage.tracing.trace_out import to_tree
from tests.lineage.common import Case
from tests.lineage.common_trace import MODEL, Pipeline, frame, pairs, refs, sha


@pytest.fixture
def pipeline(case: Case) -> Pipeline:
    made = Pipeline(case.url, case.emit)
    made.inquiries()
    return made


def test_from_a_row_to_the_predictions(pipeline: Pipeline) -> None:
    before = pipeline.trained("0", "artifact 0", "clean 0")
    pipeline.emit.create("inquiry", "1004", {"CustomerID": "004"}, actor="mallory")
    after = pipeline.trained("1", "artifact 1", "clean 1")
    old = pipeline.predict("0", sha("artifact 0"), "001")
    new = [pipeline.predict("1", sha("artifact 1"), "001") for _ in range(3)]
    found = pipeline.trace("inquiry/1004", downstream=True)
    assert {f"run/{after}", f"model/{MODEL}@1", "dataset/inquiries@1"} <= refs(found)
    assert not {f"run/{before}", f"model/{MODEL}@0", f"prediction/{old}"} & refs(found)
    assert {f"prediction/{one}" for one in new} <= refs(found)
    assert found.touched is not None
    assert (found.touched.count, found.touched.by_model) == (3, {f"{MODEL}@1": 3})
    assert ("point", "wasDerivedFrom", "inquiry/1004") in pairs(found)
    whole = pipeline.trace("inquiry", downstream=True)
    assert {f"run/{before}", f"run/{after}"} <= refs(whole)
    assert whole.touched is not None and whole.touched.count == 4
    lines = list(to_tree(found))
    assert "predictions touched: 3 (listed: 3)" in lines
    assert lines[0].startswith("inquiry/1004  1 event, last create by mallory")


def test_a_corrected_row_says_which_of_its_events_were_read(pipeline: Pipeline) -> None:
    pipeline.trained("1", "artifact 1", "clean 1")
    pipeline.emit.update("inquiry", "1002", {"PaymentStatus": "Current"}, actor="bob")
    pipeline.trained("2", "artifact 2", "clean 2")
    found = pipeline.trace("inquiry/1002", downstream=True)
    roles = {edge.role for edge in found.edges if edge.role and "events" in edge.role}
    assert roles == {"1 of 2 events", "2 of 2 events"}


def test_rows_that_predictions_read(pipeline: Pipeline) -> None:
    made = [pipeline.asked(sha("late"), customer) for customer in ("001", "002")]
    own, other = (
        pipeline.predict("1", None, customer, feature_sets=[one])
        for customer, one in zip(("001", "002"), made, strict=True)
    )
    found = pipeline.trace("inquiry/1001", downstream=True)
    assert f"prediction/{own}" in refs(found)
    assert f"prediction/{other}" not in refs(found)
    pipeline.emit.create("inquiry", "1009", {"CustomerID": "001"})
    later = pipeline.trace("inquiry/1009", downstream=True)
    assert later.touched is not None and later.touched.count == 0


def test_from_runs_models_datasets_and_definitions(pipeline: Pipeline) -> None:
    training = pipeline.trained("1", "artifact", "clean")
    pipeline.definition("late-history", "1", sha("late"))
    plain = pipeline.predict("1", sha("artifact"), "001")
    made = pipeline.predict(
        "9", sha("other"), "002", feature_sets=[pipeline.asked(sha("late"), "002")]
    )
    (cleaning,) = [
        node.ref
        for node in pipeline.trace(f"run/{training}").of_kind("run")
        if node.facts["component"] == "cleaning"
    ]
    assert cleaning is not None
    for ref in (f"run/{training}", cleaning, f"model/{MODEL}@1", "dataset/inquiries@1"):
        found = pipeline.trace(ref, downstream=True)
        assert f"prediction/{plain}" in refs(found), ref
        assert f"prediction/{made}" not in refs(found), ref
    found = pipeline.trace("dataset/features/late-history@1", downstream=True)
    assert refs(found) == {"dataset/features/late-history@1", f"prediction/{made}"}


def test_a_prediction_that_names_another_artifact_is_not_touched(pipeline: Pipeline) -> None:
    pipeline.trained("1", "artifact", "clean")
    right = pipeline.predict("1", sha("artifact"), "001")
    renamed = pipeline.predict("prod", sha("artifact"), "001")
    pipeline.predict("1", sha("forged"), "001")
    found = pipeline.trace(f"model/{MODEL}@1", downstream=True)
    assert {one for one in refs(found) if one.startswith("prediction")} == {
        f"prediction/{right}", f"prediction/{renamed}"
    }  # fmt: skip


def test_predictions_made_from_predictions(pipeline: Pipeline) -> None:
    first = pipeline.predict("1", sha("a"), "001")
    second = pipeline.predict("2", sha("b"), "001", parents=[first])
    third = pipeline.predict("3", sha("c"), "001", members=[second])
    pipeline.predict("4", sha("d"), "001")
    found = pipeline.trace(f"prediction/{first}", downstream=True)
    assert refs(found) == {f"prediction/{one}" for one in (first, second, third)}
    assert found.touched is not None and found.touched.count == 2


def test_the_list_has_a_limit_the_count_is_exact(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.lineage.tracing.trace_down.MAX_PREDICTIONS_LISTED", 2)
    pipeline.trained("1", "artifact", "clean")
    for _ in range(5):
        pipeline.predict("1", sha("artifact"), "001")
    found = pipeline.trace(f"model/{MODEL}@1", downstream=True)
    assert found.touched is not None
    assert (found.touched.count, found.touched.listed) == (5, 2)
    assert len(found.of_kind("prediction")) == 2


def test_as_of_downstream(pipeline: Pipeline) -> None:
    pipeline.trained("1", "artifact", "clean")
    pipeline.predict("1", sha("artifact"), "001")
    then = str(pipeline.point()["logs"][0]["size"] - 1)
    pipeline.predict("1", sha("artifact"), "001")
    pipeline.trained("2", "artifact 2", "clean")
    found = pipeline.trace("dataset/inquiries@1", downstream=True, as_of=then)
    assert found.touched is not None and found.touched.count == 1
    assert f"model/{MODEL}@2" not in refs(found)


def fed_back(pipeline: Pipeline) -> None:
    """Version 1, whose predictions become the data that version 2 is trained on."""
    pipeline.trained("1", "artifact 1", "clean 1")
    pipeline.predict("1", sha("artifact 1"), "001")
    ref = {"name": MODEL, "version": "1", "digest": sha("artifact 1")}
    pipeline.dataset("labelled", "1", frame("labelled"), predictions_of=[ref])
    run = pipeline.run("cleaning", inputs=[{"digest": frame("labelled")}],
                       outputs=[{"digest": frame("fed back")}])  # fmt: skip
    pipeline.dataset("labelled", "2", frame("fed back"), parents=[frame("labelled")], run_id=run)
    training = pipeline.run(
        "training", type="model.run", inputs=[{"digest": frame("fed back")}],
        model={"name": MODEL, "version": "2", "digest": sha("artifact 2")},
    )  # fmt: skip
    pipeline.model("2", sha("artifact 2"), training)
    pipeline.predict("2", sha("artifact 2"), "001")


def test_a_feedback_loop_is_found(pipeline: Pipeline) -> None:
    fed_back(pipeline)
    found = pipeline.trace(f"model/{MODEL}@2")
    (loop,) = feedback_loops(found)
    assert loop.model.ref == f"model/{MODEL}@2"
    assert loop.data.ref == "dataset/labelled@1"
    assert loop.source.ref == f"model/{MODEL}@1"
    assert any(line.startswith("FEEDBACK LOOP  model/credit-risk@2") for line in to_tree(found))
    assert feedback_loops(pipeline.trace(f"model/{MODEL}@1")) == []


def test_downstream_leads_on_through_data_of_predictions(pipeline: Pipeline) -> None:
    fed_back(pipeline)
    found = pipeline.trace("dataset/inquiries@1", downstream=True)
    assert {f"model/{MODEL}@2", "dataset/labelled@2"} <= refs(found)
    assert found.touched is not None and found.touched.count == 2
    assert len(feedback_loops(found)) == 1
    (first,) = [
        node.ref for node in found.of_kind("prediction") if node.facts["model"] == f"{MODEL}@1"
    ]
    assert first is not None
    by_one = pipeline.trace(first, downstream=True)
    assert by_one.touched is not None


def test_a_model_of_its_own_predictions_is_a_circle_and_ends(pipeline: Pipeline) -> None:
    ref = {"name": MODEL, "version": "1", "digest": sha("a")}
    run = pipeline.run(
        "training", type="model.run", inputs=[{"digest": frame("own")}], model=ref,
        outputs=[{"digest": frame("own")}],
    )  # fmt: skip
    pipeline.model("1", sha("a"), run, members=[ref])
    pipeline.dataset("own", "1", frame("own"), predictions_of=[ref], parents=[frame("own")])
    for downstream in (False, True):
        found = pipeline.trace(f"model/{MODEL}@1", downstream=downstream)
        assert len(found.nodes) < 10
        assert len(feedback_loops(found)) == 1
        assert list(to_tree(found))
