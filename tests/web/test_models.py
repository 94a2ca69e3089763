"""Predictions, models, runs, their lineage and their drift."""

import csv
import io
import re
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest

import audit
from audit.ledger import searching
from audit.lineage.tracing.graph import Edge, Node, Trace
from audit.web.drawn.graph import drawing, fit
from audit.web.drawn.labels import labels, pieces
from audit.web.drawn.layers import BOX_HEIGHT, LANE_HEIGHT, layout
from audit.web.screens.predicted import MAX_NEWEST
from tests.cli.conftest import run
from tests.lineage.common_drift import MODEL, predict
from tests.web.conftest import MakeWeb, Web


def test_predictions_newest_first_and_all_as_csv(web: Web) -> None:
    """The predictions of `audit predictions --json`."""
    said = web.json("/predictions")["predictions"]
    expected = run("predictions", "--json", "--store", web.store).json
    assert said == list(reversed(expected)) and said
    rows = list(csv.DictReader(io.StringIO(web.get("/predictions.csv").text)))
    assert [row["prediction"] for row in rows] == [one["prediction"] for one in expected]
    assert said[0]["prediction"] in web.get("/predictions").text
    web.get("/predictions", 400, q="nonsense:1")


def test_a_prediction_with_all_that_is_known(web: Web) -> None:
    """The card of `audit show --json`; the model is a link."""
    one = web.json("/predictions")["predictions"][0]["prediction"]
    said = web.json("/prediction", ref=f"prediction/{one}")
    shown = run("show", f"prediction/{one}", "--json", "--store", web.store).json
    assert said["card"] == shown["card"]
    page = web.get("/prediction", ref=f"prediction/{one}").text
    assert "/model?ref=model%2F" in page and "/trace?ref=prediction%2F" in page
    web.get("/prediction", 404, ref="prediction/nothing")
    web.get("/prediction", 400, ref="user/5")
    web.get("/prediction", 404, ref=f"prediction/{one}", pin="0:1")


def test_models_and_runs(web: Web) -> None:
    """The lists lead to the cards; a model says when it served."""
    model = web.json("/models")["models"][0]["ref"]
    said = web.json("/model", ref=model)
    assert said["card"] == run("show", model, "--json", "--store", web.store).json["card"]
    assert "serving" in said and "/drift?what=" in web.get("/model", ref=model).text
    runs = web.json("/runs")["runs"]
    assert runs == run("runs", "--json", "--store", web.store).json
    card = web.json("/run", ref=f"run/{runs[0]['run']}")["card"]
    assert card == run("show", f"run/{runs[0]['run']}", "--json", "--store", web.store).json["card"]
    web.get("/runs?status=odd", 400)
    web.get("/run", 404, ref="run/nothing")
    web.get("/model", 404, ref="model/nothing@1")


def test_a_trace_is_drawn_and_listed(web: Web) -> None:
    """The graph of `audit trace --json`; every node of it has its box and its row."""
    one = web.json("/predictions")["predictions"][0]["prediction"]
    said = web.json("/trace", ref=f"prediction/{one}")
    expected = run("trace", f"prediction/{one}", "--json", "--store", web.store).json
    assert said["nodes"] == expected["nodes"] and said["edges"] == expected["edges"]
    page = web.get("/trace", ref=f"prediction/{one}").text
    svg = page[page.index('<svg class="graph"') : page.index("</svg>")]
    assert svg.count("<rect") == len(said["nodes"]) > 3
    for link in {unescape(one) for one in re.findall(r'<a href="([^"]*)"', svg)}:
        web.get(link)
    down = web.json("/trace", ref=said["nodes"][1]["ref"], downstream="1")
    assert down["direction"] == "downstream"
    web.get("/trace", 404, ref="prediction/nothing")
    web.get("/trace", 400, ref=f"prediction/{one}", downstream="yes")


def test_a_model_says_what_it_predicted(web: Web) -> None:
    """How many, when, and the page with exactly these; the table of them as well."""
    model = web.json("/models")["models"][0]["ref"].removeprefix("model/")
    said = web.json("/model", ref=f"model/{model}")["predictions"]
    every = web.json("/predictions")["predictions"]
    assert said["complete"] and said["looked_through"] == len(every)
    assert said["found"] == len(every) > 0
    assert said["newest"] == every[0]["date"] and said["first"] == every[-1]["date"]
    assert said["page"] in unescape(web.get("/model", ref=f"model/{model}").text)
    assert "never" not in web.get("/model", ref=f"model/{model}").text
    named = web.json("/predictions", model=model)
    assert named == web.json("/predictions", model=model.partition("@")[0])
    assert named["predictions"] == every and named["next"] is None
    assert every[0]["prediction"] in web.get(said["page"]).text
    for other in ("other@1", f"{model}0", "\udcff".encode(errors="replace").decode()):
        assert web.json("/predictions", model=other)["predictions"] == []
    assert len(web.get("/predictions.csv", model=model).text.splitlines()) == 1 + len(every)
    assert len(web.get("/predictions.csv", model="other@1").text.splitlines()) == 1


def test_predictions_of_a_model_that_serves_no_more(make_web: MakeWeb, tmp_path: Path) -> None:
    """Among many of a newer one: what is told is a part, and the link leads to it, not past it."""
    with audit.Emitter(f"sqlite:///{tmp_path / 'audit.db'}") as emit:
        for version, count in (("1", 3), ("2", MAX_NEWEST + 2)):
            emit.record(
                "model.version",
                {"name": "m", "version": version, "digest": "sha256:" + version * 64},
                entity_type="model",
                entity_key=f"m@{version}",
            )
            for n in range(count):
                predict(emit, {"x": float(n)}, 0.5, datetime.now(UTC), "m", version)
    web = make_web(tmp_path)
    old, new = (web.json("/model", ref=f"model/m@{n}")["predictions"] for n in "12")
    assert old["found"] == 3 and not old["complete"] and "recorded" in old["page"]
    assert new["found"] >= MAX_NEWEST and "recorded" not in new["page"]
    assert "at least 3<" in web.get("/model", ref="model/m@1").text
    listed = web.get(old["page"].replace("/predictions?", "/predictions.json?")).json
    assert [one["model_version"] for one in listed["predictions"]] == ["1"] * 3


def test_things_are_named_by_what_tells_them_apart() -> None:
    """Two short lines for each kind; what an attacker wrote is spelled out and bounded."""
    digest = "frame-v2:sha256:" + "ab" * 32
    logs = [{"origin": "a.example/log", "size": 1234, "root_hash": None}]
    nodes = {
        "p": Node("p", "prediction", "", "prediction/1", facts={"key": "7", "output": 0.25}),
        "d": Node("d", "data", "", facts={"digest": digest, "rows": 1}),
        "o": Node("o", "point", "", facts={"entity_type": "user", "logs": logs}),
        "r": Node("r", "row", "", "user/7", facts={"events": 2, "events_since": 0}),
        "e": Node("e", "event", "x  2026-01-31T10:00:00Z", facts={"op": "update", "actor": "ann"}),
        "h": Node("h", "run", "", "run/1", facts={"component": "\u202e" + "x" * 9_000}),
        "v": Node("v", "environment", "", facts={"versions": {"python": "3.11", "numpy": "2.0"}}),
        "m": Node("m", "model", "", "model/churn@3", facts={"metrics": "no mapping"}),
    }
    edges = (
        Edge("p", "d", "used", "declared", "user"),
        Edge("r", "e", "wasGeneratedBy", "declared"),
    )
    found = labels(Trace(("p",), ("p",), nodes, edges, False, ()))
    assert found["p"].title == "7 → 0.25"
    assert found["d"] == ("user, 1 row", "ab" * 6)
    assert found["o"] == ("user, size 1,234", "a.example/log")
    assert found["r"] == ("user/7", "2 events")
    assert found["e"] == ("update user/7", "2026-01-31 10:00:00 ann")
    assert "\u202e" not in found["h"].title and len(found["h"].title) < 300
    assert found["v"] == ("Python 3.11", "numpy 2.0")
    assert found["m"].title == "churn@3"
    assert pieces(nodes["v"]) == ["python 3.11", "numpy 2.0"]
    assert fit("churn", 100, 12) == "churn"
    assert fit("a" * 90 + "@12", 100, 12).endswith("…@12")


def test_edges_run_beside_boxes() -> None:
    """An edge over several layers has a lane of its own, and each edge its port."""
    nodes = {name: Node(name, "run", name) for name in "abcd"}
    pairs = ("ab", "bc", "ac", "ad")
    edges = tuple(Edge(near, far, "used", "declared") for near, far in pairs)
    trace = Trace(("a",), ("a",), nodes, edges, False, ())
    placed = layout(trace)
    assert set(placed.lanes) == {("a", "c")}
    (lane,) = placed.lanes["a", "c"]
    assert lane.layer == 1
    for name in "bd":
        away = abs(placed.nodes[name].middle - lane.middle)
        assert away >= (BOX_HEIGHT + LANE_HEIGHT) / 2
    ways = re.findall(r'class="declared" d="(M[0-9.]+ [0-9.]+)', drawing(trace, lambda node: None))
    assert len(ways) == len(set(ways)) == len(edges)


def test_layers_follow_the_causes_and_survive_circles() -> None:
    """A cause stands right of all its effects; a circle ends."""
    nodes = {name: Node(name, "run", f"<{name}>") for name in "abcd"}
    chain = (Edge("a", "b", "used", "declared"), Edge("b", "c", "used", "declared"))
    plain = Trace(("a",), ("a",), nodes, (*chain, Edge("a", "c", "used", "declared")), False, ())
    assert [layout(plain).nodes[name].layer for name in "abc"] == [0, 1, 2]
    circle = plain._replace(edges=(*chain, Edge("c", "a", "used", "declared")))
    assert [layout(circle).nodes[name].layer for name in "abc"] == [0, 1, 2]
    drawn = drawing(circle, lambda node: None)
    assert "&lt;a&gt;" in drawn and "<a>" not in drawn


def test_drift_with_its_distributions(web: Web) -> None:
    """The report of `audit drift --json`; each column with values is drawn."""
    name = web.json("/models")["models"][0]["ref"].removeprefix("model/").rpartition("@")[0]
    said = web.json("/drift", what=name, since="-1d", baseline="-2d..-1d")
    assert said["subject"] == "model"
    page = web.get("/drift", what=name, since="-1d").text
    assert "Only 1 prediction now" in page and "one value now" in page
    model = web.json("/models")["models"][0]["ref"]
    assert '<svg class="bars"' in web.get("/drift", what=name, baseline=model).text
    web.get("/drift", 404, what="nothing")
    web.get("/drift", 400, what=name, side="odd")


def test_a_larger_sample_is_a_link(
    make_web: MakeWeb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a page draws at random it says, with the address that reads more."""
    with audit.Emitter(f"sqlite:///{tmp_path / 'audit.db'}") as emit:
        for n in range(30):
            predict(emit, {"x": float(n)}, 0.5, datetime.now(UTC))
    monkeypatch.setattr(searching, "FAST_FROM_ENTRIES", 0)
    web = make_web(tmp_path)
    small = web.json("/drift", what=MODEL, sample=2)
    assert small["now"]["rows"] == 2
    page = web.get("/drift", what=MODEL, sample=2).text
    link = unescape(re.findall(r'href="([^"]*sample=20)"', page)[0])
    assert link == small["larger_sample"]
    larger = web.json("/drift", what=MODEL, sample=20)
    assert larger["now"]["rows"] == 20 and web.get(link).status == 200
    whole = web.json("/drift", what=MODEL, sample=200)
    assert whole["now"]["rows"] == 30 and whole["larger_sample"] is None
