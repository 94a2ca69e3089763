"""Lineage of records that lie: odd types, huge lists, circles; the index of a growing ledger."""

from typing import Any

import pytest

from audit.lineage.tracing.record_index import index_of
from audit.lineage.tracing.trace_index import view_of
from audit.lineage.tracing.trace_out import to_dot, to_tree
from audit.replay.points import resolve
from audit.store import open_reader
from tests.lineage.common import Case
from tests.lineage.common_trace import MODEL, Pipeline, frame, refs, sha

ODD: list[Any] = [None, 7, "x", -1.5, True, [], {}, [[]], [{}], {"name": 1}, [None], "x" * 2_000]


@pytest.fixture
def pipeline(case: Case) -> Pipeline:
    return Pipeline(case.url, case.emit)


def test_fields_of_any_type(pipeline: Pipeline) -> None:
    names = {
        "run": ("inputs", "outputs", "models", "params", "tests", "environment", "parent_run_id",
                "started_us", "code_digest", "code_dirty", "features", "error", "tags"),
        "dataset": ("logs", "parents", "predictions_of", "entity_type", "columns", "rows"),
    }  # fmt: skip
    asked = []
    for number, odd in enumerate(ODD):
        fields = {name: odd for name in names["run"]}
        asked.append(f"run/{pipeline.run(f'odd {number}', odd=odd, **fields)}")
        fields = {name: odd for name in names["dataset"]}
        pipeline.dataset("odd", str(number), None if number % 2 else frame(str(number)),
                         odd=odd, **fields)  # fmt: skip
        asked.append(f"dataset/odd@{number}")
    for downstream in (False, True):
        found = pipeline.trace(*asked, downstream=downstream)
        assert len(found.roots) == len(asked)
        assert list(to_tree(found)) and list(to_dot(found)) and found.to_json()


def test_predictions_with_fields_of_any_type(pipeline: Pipeline) -> None:
    asked = []
    for number, odd in enumerate(ODD):
        data = {"name": "lenient", "model_name": odd, "inputs": odd, "parents": odd}
        pipeline.emit.record("review", data, entity_type="prediction", entity_key=f"k{number}")
        made = pipeline.asked(sha("x"), "001") | {"request": "[" * 5_000}
        asked.append(f"prediction/{pipeline.predict('1', 'x', 'k', feature_sets=[made])}")
    assert len(pipeline.trace(*asked).of_kind("prediction")) == len(asked)
    assert pipeline.trace(f"run/{pipeline.run('x')}", downstream=True).touched is not None


def test_points_that_are_not_of_this_ledger(pipeline: Pipeline) -> None:
    here = pipeline.point()
    logs = [
        {"origin": "nowhere", "size": 5, "root_hash": None},
        {"origin": here["logs"][0]["origin"], "size": 10**12, "root_hash": None},
        {"origin": here["logs"][0]["origin"], "size": -3, "root_hash": None},
    ]
    uses = [{"entity_type": "inquiry", "name": str(n), "logs": [log]} for n, log in enumerate(logs)]
    prediction = pipeline.predict("1", None, "001", inputs=uses)
    found = pipeline.trace(f"prediction/{prediction}")
    problems = [node.problem or "" for node in found.of_kind("point")]
    assert len(problems) == 3
    assert "is not in this ledger" in problems[0]
    assert "has only" in problems[1]
    odd = pipeline.run(
        "x", inputs=[{**uses[0], "entity_type": "run"}, {**uses[1], "entity_type": "A B"}]
    )
    assert len(pipeline.trace(f"run/{odd}").of_kind("point")) == 2


def test_huge_lists_have_a_limit(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.lineage.tracing.graph.MAX_LISTED", 5)
    uses = [{"name": str(number), "digest": frame(str(number))} for number in range(50)]
    run = pipeline.run("x", inputs=uses, outputs=uses)
    for downstream in (False, True):
        found = pipeline.trace(f"run/{run}", downstream=downstream)
        assert any("the first 5 are followed" in note for note in found.cut_off)
        assert len(found.of_kind("data")) == 5
    monkeypatch.setattr("audit.lineage.tracing.graph.MAX_NODES", 3)
    found = pipeline.trace(f"run/{run}")
    assert len(found.nodes) == 3
    assert "there are more than 3 nodes" in found.cut_off
    monkeypatch.setattr("audit.lineage.tracing.graph.MAX_NODES", 100)
    monkeypatch.setattr("audit.lineage.tracing.graph.MAX_EDGES", 2)
    assert len(pipeline.trace(f"run/{run}").edges) == 2


def test_a_long_chain_and_a_circle_of_runs(pipeline: Pipeline) -> None:
    for number in range(300):
        pipeline.run(
            "step", run_id=f"r{number}", parent_run_id=f"r{(number + 1) % 300}",
            inputs=[{"digest": frame(str(number))}], outputs=[{"digest": frame(str(number + 1))}],
        )  # fmt: skip
    for downstream in (False, True):
        found = pipeline.trace("run/r150", downstream=downstream)
        assert len(found.of_kind("run")) == 300
        assert len(list(to_tree(found))) >= 300


def test_a_run_recorded_under_another_key_is_not_believed(pipeline: Pipeline) -> None:
    real = pipeline.run("training", params={"C": 1})
    fake = {"run_id": real, "name": "training", "status": "COMPLETE", "params": {"C": 2}}
    pipeline.emit.record("component.run", fake, entity_type="run", entity_key="other")
    found = pipeline.trace(f"run/{real}")
    assert found.nodes[found.roots[0]].facts["params"] == {"C": 1}


def test_text_that_would_move_a_cursor_stays_in_its_line(pipeline: Pipeline) -> None:
    run = pipeline.run("evil\x1b[2J\nname", params={'"quoted\\': "\n"})
    found = pipeline.trace(f"run/{run}")
    assert any("\x1b" in line for line in to_tree(found))  # the command line makes it harmless
    assert all("\n" not in line for line in to_dot(found))


def test_superseded_records_are_left_out(pipeline: Pipeline) -> None:
    wrong = {"name": "d", "version": "1", "digest": frame("wrong")}
    first = pipeline.emit.record("dataset.version", wrong, entity_type="dataset", entity_key="d@1")
    pipeline.emit.record(
        "dataset.version", {**wrong, "digest": frame("right")}, entity_type="dataset",
        entity_key="d@1", supersedes=first,
    )  # fmt: skip
    found = pipeline.trace("dataset/d@1")
    assert [node.facts["digest"] for node in found.of_kind("dataset")] == [frame("right")]


def test_the_index_is_kept_and_extended(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pipeline.run("a")
    pipeline.emit.flush()
    with open_reader(pipeline.url) as reader:
        cut = resolve(reader, None, 0)
        index, view = index_of(reader, cut), view_of(reader, cut)
        assert [told.run_id for told in index.lines(cut)] == [first]
        assert view.run(first) is not None
        second = pipeline.run("b")
        pipeline.emit.flush()
        starts = []
        entity = reader.entity

        def counted(*args: Any) -> Any:
            starts.append(args[4])
            return entity(*args)

        monkeypatch.setattr(reader, "entity", counted)
        later = view_of(reader, resolve(reader, None, 0))
        assert later.run(first) is not None and later.run(second) is not None
        assert set(starts) == {cut.sizes[0]} and view.run(second) is None
        assert index_of(reader, cut) is index
        assert [told.run_id for told in index.lines(cut)] == [first]
        half = view_of(reader, resolve(reader, str(cut.sizes[0] - 2), 0))
        begun = half.run(first)
        assert begun is not None and begun.status == "START"
        for back in range(1, 8):
            view_of(reader, resolve(reader, f"HEAD~{back}", 0))


def test_names_of_models_and_edges_are_deduplicated(pipeline: Pipeline) -> None:
    run = pipeline.trained("1", "artifact", "clean")
    found = pipeline.trace(f"model/{MODEL}@1", f"model/{MODEL}@1", f"run/{run}")
    assert len(found.edges) == len(set(found.edges))
    assert f"run/{run}" in refs(found)
