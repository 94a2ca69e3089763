"""The dashboard's own form; which metrics it asks for is in test_containers."""

from itertools import combinations
from typing import Any

from tests.deploy.support import dashboard, load_yaml, panel_expressions, tokens

BOARD = dashboard()
PANELS: list[dict[str, Any]] = BOARD["panels"]


def test_it_is_a_dashboard_that_grafana_takes_as_it_is() -> None:
    assert BOARD["uid"] == "attestory" and BOARD["title"] == "Attestory"
    assert "id" not in BOARD and "__inputs" not in BOARD
    assert BOARD["schemaVersion"] >= 39


def test_every_panel_asks_the_provisioned_datasource_and_says_what_it_shows() -> None:
    [source] = load_yaml("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    wanted = {"type": "prometheus", "uid": source["uid"]}
    for panel in PANELS:
        if panel["type"] == "row":
            continue
        assert panel["type"] in ("stat", "timeseries")
        assert panel["title"] and panel["description"]
        assert panel["datasource"] == wanted
        assert panel["targets"]
        assert all(target["datasource"] == wanted for target in panel["targets"])
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references))
    [annotation] = BOARD["annotations"]["list"]
    assert annotation["datasource"] == wanted


def test_ids_and_titles_are_unique() -> None:
    for key in ("id", "title"):
        values = [panel[key] for panel in PANELS]
        assert len(values) == len(set(values))


def test_no_panel_lies_on_another() -> None:
    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        columns = range(at["x"], at["x"] + at["w"])
        return {(x, y) for x in columns for y in range(at["y"], at["y"] + at["h"])}

    assert all(not cells(one) & cells(other) for one, other in combinations(PANELS, 2))


def test_every_query_can_be_read() -> None:
    assert len(panel_expressions()) > 20
    for _, expression in panel_expressions():
        tokens(expression)
        for open_, close in ("()", "{}", "[]"):
            assert expression.count(open_) == expression.count(close)
