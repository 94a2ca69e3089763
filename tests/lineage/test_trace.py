"""Lineage upstream: from predictions, models, runs, data and rows to what they were made from."""

import json

import pytest

from audit.errors import InvalidInput, LimitExceeded, NotFound
from audit.lineage.tracing.trace_out import to_dot, to_tree
from audit.lineage.tracing.trace_rows import MAX_SCANNED_ENTRIES
from tests.lineage.common import Case
from tests.lineage.common_trace import MODEL, Pipeline, frame, pairs, refs, sha


@pytest.fixture
def pipeline(case: Case) -> Pipeline:
    made = Pipeline(case.url, case.emit)
    made.inquiries()
    return made


def test_from_a_prediction_back_to_the_rows(pipeline: Pipeline) -> None:
    training = pipeline.trained("1", "artifact", "clean")
    pipeline.definition("late-history", "1", sha("late"))
    made = pipeline.asked(sha("late"), "001")
    prediction = pipeline.predict("1", sha("artifact"), "001", feature_sets=[made])
    found = pipeline.trace(f"prediction/{prediction}")
    (root,) = found.roots
    assert found.nodes[root].ref == f"prediction/{prediction}"
    edges = pairs(found)
    asked, model, run = f"prediction/{prediction}", f"model/{MODEL}@1", f"run/{training}"
    (cleaning,) = [node for node in found.of_kind("run") if node.facts["component"] == "cleaning"]
    for expected in (
        (asked, "used", model),
        (model, "wasGeneratedBy", run),
        (run, "used", "code"),
        (run, "used", "environment"),
        (run, "used", "dataset/inquiries@1"),
        ("dataset/inquiries@1", "wasGeneratedBy", cleaning.ref),
        (cleaning.ref, "used", "data"),
        ("data", "wasDerivedFrom", "point"),
        (asked, "used", "dataset/features/late-history@1"),
        (asked, "used", "inquiry/1001"),
        (asked, "used", "inquiry/1003"),
        ("inquiry/1001", "wasGeneratedBy", "event"),
    ):
        assert expected in edges, expected
    assert "inquiry/1002" not in refs(found)
    assert not [node for node in found.nodes.values() if node.problem]
    assert found.cut_off == ()
    node = found.find(run)[0]
    assert (node.facts["params"], node.facts["seed"]) == ({"C": 0.5}, 7)
    assert (node.facts["code_commit"], node.facts["environment"]) == (
        "a" * 40,
        {"python": "3.11.4"},
    )
    assert (node.log, node.facts["status"]) == (0, "COMPLETE")


def test_how_it_is_printed(pipeline: Pipeline) -> None:
    pipeline.trained("1", "artifact", "clean")
    prediction = pipeline.predict("1", sha("artifact"), "001")
    found = pipeline.trace(f"prediction/{prediction}")
    lines = list(to_tree(found))
    assert lines[0].startswith(f"prediction/{prediction}  {MODEL}@1  OK  2026-01-05T08:00:00Z")
    assert lines[1].startswith(f"  used: model/{MODEL}@1  {sha('artifact')[:19]}")
    assert "C=0.5  seed=7" in lines[2]
    assert any("point  inquiry at " in line and " size " in line for line in lines), lines
    assert any("commit aaaaaaaaaaaa" in line for line in lines)
    assert len(lines) == len(found.nodes)
    dot = list(to_dot(found))
    assert (dot[0], dot[-1]) == ("digraph lineage {", "}")
    said = json.loads(json.dumps(found.to_json()))
    assert said["direction"] == "upstream"
    assert {edge["name"] for edge in said["edges"]} == {"used", "wasGeneratedBy", "wasDerivedFrom"}
    assert {edge["how"] for edge in said["edges"]} == {"declared"}


def test_a_file_name_that_is_reused_does_not_confuse_it(pipeline: Pipeline) -> None:
    first = pipeline.trained("1", "artifact 1", "clean 1")
    pipeline.emit.update("inquiry", "1002", {"PaymentStatus": "Current"}, actor="bob")
    second = pipeline.trained("2", "artifact 2", "clean 2")
    before = pipeline.trace(f"run/{first}")
    after = pipeline.trace(f"run/{second}")
    assert {"dataset/inquiries@1"} == {ref for ref in refs(before) if ref.startswith("dataset/")}
    assert {"dataset/inquiries@2"} == {ref for ref in refs(after) if ref.startswith("dataset/")}
    assert all(node.facts["path"] == "clean.csv" for node in before.of_kind("dataset"))
    sizes = [
        {point["size"] for node in one.of_kind("point") for point in node.facts["logs"]}
        for one in (before, after)
    ]
    assert max(sizes[0]) < min(sizes[1])


def test_a_name_with_another_artifact_is_shown_as_such(pipeline: Pipeline) -> None:
    first = pipeline.trained("1", "artifact 1", "clean")
    second = pipeline.trained("1", "artifact 2", "clean")
    prediction = pipeline.predict("1", sha("artifact 1"), "001")
    found = pipeline.trace(f"prediction/{prediction}")
    (model,) = found.of_kind("model")
    assert model.facts["digest"] == sha("artifact 1")
    assert "also stands for another artifact" in (model.problem or "")
    assert f"run/{first}" in refs(found)
    assert f"run/{second}" not in refs(found)
    both = pipeline.trace(f"model/{MODEL}@1")
    assert len(both.roots) == 2
    unknown = pipeline.predict("1", sha("artifact 3"), "001")
    found = pipeline.trace(f"prediction/{unknown}")
    (model,) = found.of_kind("model")
    assert "is registered with" in (model.problem or "")
    assert found.of_kind("run") == []
    by_name = pipeline.trace(f"prediction/{pipeline.predict('1', None, '001')}")
    assert len(by_name.of_kind("model")) == 2


def test_the_same_artifact_under_another_name_is_found_by_digest(pipeline: Pipeline) -> None:
    training = pipeline.trained("1", "artifact", "clean")
    found = pipeline.trace(f"prediction/{pipeline.predict('prod', sha('artifact'), '001')}")
    assert f"run/{training}" in refs(found)
    assert [edge.how for edge in found.edges if edge.role == "same artifact"] == ["digest"]


def test_a_later_run_that_made_the_same_content_is_not_its_cause(pipeline: Pipeline) -> None:
    first = pipeline.trained("1", "artifact", "clean")
    prediction = pipeline.predict("1", sha("artifact"), "001")
    second = pipeline.trained("1", "artifact", "clean")
    found = pipeline.trace(f"prediction/{prediction}")
    assert f"run/{first}" in refs(found)
    assert f"run/{second}" not in refs(found)
    later = pipeline.trace(f"prediction/{pipeline.predict('1', sha('artifact'), '001')}")
    assert {f"run/{first}", f"run/{second}"} <= refs(later)


def test_as_of_what_came_later_does_not_exist(pipeline: Pipeline) -> None:
    prediction = pipeline.predict("1", sha("artifact"), "001")
    then = str(pipeline.point()["logs"][0]["size"] - 1)
    pipeline.trained("1", "artifact", "clean")
    late = pipeline.predict("1", sha("artifact"), "001")
    found = pipeline.trace(f"prediction/{prediction}", as_of=then)
    (model,) = found.of_kind("model")
    assert "no model version is registered" in (model.problem or "")
    assert found.of_kind("run") == []
    assert pipeline.trace(f"prediction/{prediction}").of_kind("run")
    for ref in (f"prediction/{late}", f"model/{MODEL}@1", "dataset/inquiries@1"):
        assert isinstance(pipeline.refused(ref, as_of=then), NotFound)


def test_failed_and_unfinished_runs_say_so(pipeline: Pipeline) -> None:
    failed = pipeline.run("training", status="FAIL", error="ValueError: no data")
    started = pipeline.run("training", status="START")
    found = pipeline.trace(f"run/{failed}", f"run/{started}")
    assert found.find(f"run/{failed}")[0].problem == "FAIL: ValueError: no data"
    assert "no end is recorded" in (found.find(f"run/{started}")[0].problem or "")
    assert any("!! FAIL: ValueError" in line for line in to_tree(found))


def test_parents_members_and_the_prediction_it_runs_beside(pipeline: Pipeline) -> None:
    first = pipeline.predict("1", sha("a"), "001")
    member = pipeline.predict("2", sha("b"), "001", role="MEMBER")
    whole = pipeline.predict(
        "3", sha("c"), "001", parents=[first, "nowhere"], members=[f"prediction/{member}"],
        primary=first,
    )  # fmt: skip
    found = pipeline.trace(f"prediction/{whole}")
    roles = {(edge.role, found.nodes[edge.cause].ref) for edge in found.edges if edge.role}
    assert ("parent", f"prediction/{first}") in roles
    assert ("member", f"prediction/{member}") in roles
    assert ("runs beside", f"prediction/{first}") in roles
    assert "nothing is recorded" in (found.find("prediction/nowhere")[0].problem or "")
    assert {edge.name for edge in found.edges if edge.role} == {"wasInformedBy"}


def test_an_ensemble_has_the_runs_of_its_members(pipeline: Pipeline) -> None:
    training = pipeline.trained("1", "artifact", "clean")
    ref = {"name": MODEL, "version": "1", "digest": sha("artifact")}
    pipeline.model("1", sha("whole"), None, name="ensemble", members=[ref])
    assert f"run/{training}" in refs(pipeline.trace("model/ensemble@1"))


def test_a_row_and_who_wrote_it(pipeline: Pipeline) -> None:
    pipeline.emit.update(
        "inquiry", "1002", {"PaymentStatus": "Current"}, actor="bob", reason="ticket 7",
        transaction_id="t1",
    )  # fmt: skip
    found = pipeline.trace("inquiry/1002")
    (row,) = found.of_kind("row")
    assert "2 events, last update by bob" in row.label
    assert [node.facts["actor"] for node in found.of_kind("event")] == ["alice", "bob"]
    assert "because ticket 7" in found.of_kind("event")[1].label
    (transaction,) = found.of_kind("transaction")
    assert transaction.facts["transaction_id"] == "t1"


def test_a_row_that_was_changed_after_it_was_read_says_so(pipeline: Pipeline) -> None:
    asked = pipeline.asked(sha("late"), "001")
    prediction = pipeline.predict("1", None, "001", feature_sets=[asked])
    ref = f"prediction/{prediction}"
    before = str(pipeline.point()["logs"][0]["size"] - 1)
    pipeline.emit.update(
        "inquiry", "1003", {"PaymentStatus": "Current"}, actor="clerk", reason="paid on time"
    )
    found = pipeline.trace(ref)
    late, same = found.find("inquiry/1003")[0], found.find("inquiry/1001")[0]
    assert "1 event, last create by alice" in late.label
    assert "CHANGED SINCE IT WAS READ: 1 event, last update by clerk 2026-01-05T" in late.label
    assert late.label.endswith("set PaymentStatus because paid on time")
    assert late.facts["events_since"] == 1
    (change,) = late.facts["changes_since"]
    assert (change["actor"], change["reason"]) == ("clerk", "paid on time")
    assert change["changed"]["PaymentStatus"] == {"old": "Late", "new": "Current"}
    assert late.facts["row"]["PaymentStatus"] == "Late"
    assert same.facts["events_since"] == 0 and "SINCE" not in same.label
    assert all(node.facts["actor"] == "alice" for node in found.of_kind("event"))
    assert pipeline.trace(ref, as_of=before).find("inquiry/1003")[0].facts["events_since"] == 0
    now = pipeline.trace("inquiry/1003").find("inquiry/1003")[0]
    assert now.facts["events_since"] == 0


def test_depth_and_what_is_cut_off(pipeline: Pipeline) -> None:
    training = pipeline.trained("1", "artifact", "clean")
    prediction = pipeline.predict("1", sha("artifact"), "001")
    near = pipeline.trace(f"prediction/{prediction}", depth=2)
    assert f"run/{training}" in refs(near)
    assert not near.of_kind("dataset")
    assert near.cut_off == ("1 things at depth 2 are not followed",)
    assert len(pipeline.trace(f"prediction/{prediction}", depth=0).nodes) == 1
    assert isinstance(pipeline.refused("inquiry/1001", depth=-1), InvalidInput)


def test_many_entries_are_not_searched_for_rows(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_SCANNED_ENTRIES >= 1_000
    monkeypatch.setattr("audit.lineage.tracing.trace_rows.MAX_SCANNED_ENTRIES", 3)
    made = pipeline.asked(sha("late"), "1002")
    found = pipeline.trace(f"prediction/{pipeline.predict('1', None, '001', feature_sets=[made])}")
    assert [node.ref for node in found.of_kind("row")] == ["inquiry/1002"]
    assert any("not searched for" in note for note in found.cut_off)


@pytest.mark.parametrize(
    ("ref", "kind"),
    [
        ("inquiry", InvalidInput),
        ("nosuch", NotFound),
        ("inquiry/9", NotFound),
        ("run/none", NotFound),
        ("model/x@1", NotFound),
        ("model/x", InvalidInput),
        ("dataset/x@1", NotFound),
        ("dataset/features/x@1", NotFound),
        ("prediction/none", NotFound),
        ("", InvalidInput),
    ],
)
def test_what_is_refused(pipeline: Pipeline, ref: str, kind: type[Exception]) -> None:
    assert isinstance(pipeline.refused(ref), kind)


def test_nothing_and_too_much_are_refused(pipeline: Pipeline) -> None:
    assert isinstance(pipeline.refused(), InvalidInput)
    assert isinstance(pipeline.refused(*(f"inquiry/{n}" for n in range(101))), LimitExceeded)


def test_content_that_a_name_does_not_have(pipeline: Pipeline) -> None:
    pipeline.dataset("inquiries", "1", frame("right"))
    use = {"name": "train", "digest": frame("other"), "dataset": "inquiries@1"}
    found = pipeline.trace(f"run/{pipeline.run('training', inputs=[use])}")
    (data,) = found.of_kind("data")
    assert data.problem == "inquiries@1 is recorded with another content"
    by_name = pipeline.run("training", inputs=[{"name": "train", "dataset": "inquiries@1"}])
    assert "dataset/inquiries@1" in refs(pipeline.trace(f"run/{by_name}"))


def test_data_without_a_version_is_found_by_equal_digests(pipeline: Pipeline) -> None:
    data = frame("between")
    maker = pipeline.run("cleaning", outputs=[{"name": "out.csv", "digest": data}])
    user = pipeline.run("training", inputs=[{"name": "train.csv", "digest": data}])
    found = pipeline.trace(f"run/{user}")
    assert pairs(found) == {
        (f"run/{user}", "used", "data"), ("data", "wasGeneratedBy", f"run/{maker}")
    }  # fmt: skip
    assert [edge.how for edge in found.edges] == ["declared", "digest"]


def test_equal_content_read_at_two_points_says_who_read_it_where(pipeline: Pipeline) -> None:
    same = {"name": "train", "digest": frame("same")}
    first = pipeline.run("training", inputs=[{**same, **pipeline.point()}])
    second = pipeline.run("training", inputs=[{**same, **pipeline.point()}])
    found = pipeline.trace(f"run/{first}", f"run/{second}")
    assert len(found.of_kind("data")) == 1
    roles = [edge.role for edge in found.edges if found.nodes[edge.cause].kind == "point"]
    assert roles == [f"read by run/{first}", f"read by run/{second}"]
