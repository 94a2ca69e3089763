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
from audit.web.drawn.graph import drawing, layout
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


def test_layers_follow_the_causes_and_survive_circles() -> None:
    """A cause stands right of all its effects; a circle ends."""
    nodes = {name: Node(name, "run", f"<{name}>") for name in "abcd"}
    chain = (Edge("a", "b", "used", "declared"), Edge("b", "c", "used", "declared"))
    plain = Trace(("a",), ("a",), nodes, (*chain, Edge("a", "c", "used", "declared")), False, ())
    assert [layout(plain)[name].layer for name in "abc"] == [0, 1, 2]
    circle = plain._replace(edges=(*chain, Edge("c", "a", "used", "declared")))
    assert [layout(circle)[name].layer for name in "abc"] == [0, 1, 2]
    drawn = drawing(circle, lambda node: None)
    assert "&lt;a&gt;" in drawn and "<a>" not in drawn


def test_drift_with_its_distributions(web: Web) -> None:
    """The report of `audit drift --json`; each column with values is drawn."""
    name = web.json("/models")["models"][0]["ref"].removeprefix("model/").rpartition("@")[0]
    said = web.json("/drift", what=name, since="-1d", baseline="-2d..-1d")
    assert said["subject"] == "model"
    page = web.get("/drift", what=name, since="-1d").text
    assert '<svg class="bars"' in page
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
