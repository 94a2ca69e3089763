"""OpenLineage out and in: what other systems read, and what is taken from them."""

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest

import audit
from audit.errors import AuditError, FormatError, InvalidInput, LimitExceeded
from audit.lineage.recorded.openlineage import MAX_EVENT_CHARS, imported, run_events, run_id
from audit.lineage.recorded.runs import find_run, find_runs

ORIGIN = "example.com/ledger"
URI = re.compile(r"https://\S+")
THEIR_RUN = {
    "eventType": "COMPLETE",
    "eventTime": "2026-01-02T03:04:05.678Z",
    "producer": "https://example.com/airflow",
    "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
    "run": {
        "runId": "3b452093-782c-4ef2-9c0c-aafe2aa6f34d",
        "facets": {
            "parent": {
                "_producer": "https://example.com/airflow",
                "_schemaURL": "https://openlineage.io/spec/facets/1-2-0/ParentRunFacet.json",
                "run": {"runId": "11111111-782c-4ef2-9c0c-aafe2aa6f34d"},
                "job": {"namespace": "prod", "name": "nightly"},
            }
        },
    },
    "job": {
        "namespace": "prod",
        "name": "nightly.clean",
        "facets": {"ownership": {"owners": [{"name": "team:data", "type": "OWNER"}]}},
    },
    "inputs": [
        {
            "namespace": "postgres://db",
            "name": "public.trips",
            "facets": {"version": {"datasetVersion": "sha256:" + "ab" * 32}},
            "inputFacets": {"inputStatistics": {"rowCount": 10, "size": 1_200}},
        }
    ],
    "outputs": [{"namespace": "s3://lake", "name": "trips/clean"}],
}


def ledger_with_runs(folder: Path) -> str:
    url = f"sqlite:///{folder}/audit.db"
    with audit.Emitter(url, source="test") as emit:
        for run_id_, status, more in (
            ("01900000-0000-7000-8000-000000000001", "COMPLETE", {"seed": 7}),
            ("run-2", "FAIL", {"error": "ValueError: no rows", "parent_run_id": "run-1"}),
            ("run-3", "START", {}),
        ):
            emit.record(
                "component.run",
                {
                    "run_id": run_id_,
                    "name": "cleaning",
                    "status": status,
                    "started_us": 1_767_323_045_000_000,
                    "ended_us": None if status == "START" else 1_767_323_046_000_000,
                    "owner": "plumber",
                    "tags": ["taxi"],
                    "params": {"limit": 1.5, "mode": "strict"},
                    "inputs": [
                        {
                            "name": "trips",
                            "digest": "frame-v1:sha256:" + "cd" * 32,
                            "rows": 10,
                            "entity_type": "trip",
                            "logs": [{"origin": ORIGIN, "size": 4}],
                        }
                    ],
                    "outputs": [{"name": "clean", "digest": "sha256:" + "ef" * 32, "bytes": 12}],
                    "tests": [{"name": "outliers", "phase": "BEFORE", "status": "PASSED"}],
                    "code_commit": "0" * 40,
                    **more,
                },
                entity_type="run",
                entity_key=run_id_,
            )
    return url


def check_form(event: dict[str, Any]) -> None:
    """What the specification requires of a run event and of every facet."""
    assert event["eventType"] in {"START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"}
    assert URI.fullmatch(event["producer"]) and URI.fullmatch(event["schemaURL"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", event["eventTime"])
    uuid.UUID(event["run"]["runId"])
    assert event["job"]["namespace"] and event["job"]["name"]
    holders = [event["run"], event["job"], *event["inputs"], *event["outputs"]]
    for holder in holders:
        for group in ("facets", "inputFacets", "outputFacets"):
            for facet in holder.get(group, {}).values():
                assert URI.fullmatch(facet["_producer"]) and URI.fullmatch(facet["_schemaURL"])
    for dataset in (*event["inputs"], *event["outputs"]):
        assert dataset["namespace"] and dataset["name"]
    json.dumps(event, allow_nan=False)


def test_runs_go_out_as_start_and_end(tmp_path: Path) -> None:
    with audit.Ledger(ledger_with_runs(tmp_path)) as ledger:
        runs = {run.run_id: run for run in find_runs(ledger.reader, ledger.cut())}
    events = {name: list(run_events(run, ORIGIN)) for name, run in runs.items()}
    for event in (one for several in events.values() for one in several):
        check_form(event)
    states = {name: [one["eventType"] for one in several] for name, several in events.items()}
    assert states == {
        "01900000-0000-7000-8000-000000000001": ["START", "COMPLETE"],
        "run-2": ["START", "FAIL"],
        "run-3": ["START"],
    }
    end = events["01900000-0000-7000-8000-000000000001"][1]
    assert end["run"]["runId"] == "01900000-0000-7000-8000-000000000001"
    assert end["run"]["facets"]["attestory_run"]["seed"] == 7
    (used,) = end["inputs"]
    assert (used["namespace"], used["name"]) == (ORIGIN, "trip")
    assert used["facets"]["version"]["datasetVersion"] == "frame-v1:sha256:" + "cd" * 32
    assert used["inputFacets"]["inputStatistics"]["rowCount"] == 10
    failed = events["run-2"][1]["run"]["facets"]
    assert failed["errorMessage"]["message"] == "ValueError: no rows"
    assert failed["parent"]["run"]["runId"] == run_id("run-1")


def test_a_run_of_another_system_comes_in_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    start = {**THEIR_RUN, "eventType": "START", "eventTime": "2026-01-02T03:00:00Z"}
    with audit.Emitter(url, source="airflow") as emit:
        for event in (start, THEIR_RUN, THEIR_RUN):
            taken = imported(json.dumps(event), "airflow")
            assert taken is not None
            emit.emit(taken)
    with audit.Ledger(url) as ledger:
        run = find_run(ledger.reader, THEIR_RUN["run"]["runId"], ledger.cut())  # type: ignore[index]
        assert len(list(ledger.events("type:component.run"))) == 2
    assert (run.name, run.status, run.owner) == ("prod/nightly.clean", "COMPLETE", "team:data")
    assert run.parent_run_id == "11111111-782c-4ef2-9c0c-aafe2aa6f34d"
    (used,), (made,) = run.inputs, run.outputs
    assert (used.name, used.digest, used.rows) == (
        "postgres://db/public.trips",
        "sha256:" + "ab" * 32,
        10,
    )
    assert made.name == "s3://lake/trips/clean"
    check_form(list(run_events(run, ORIGIN))[1])


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ("", FormatError, "not an OpenLineage event"),
        ("[]", FormatError, "a JSON object"),
        ("{}", FormatError, "no run and job"),
        ('{"run": [], "job": {}}', FormatError, "no run and job"),
        ({"eventType": 5}, FormatError, "of type '5'"),
        ({"eventTime": "yesterday"}, InvalidInput, "yesterday"),
        ({"run": {}}, FormatError, "runId is missing"),
        ({"job": {"namespace": "x" * 2_000, "name": "n"}}, FormatError, "too long"),
        ({"inputs": 5}, FormatError, "no list of datasets"),
        ({"inputs": [5]}, FormatError, "no list of datasets"),
        ({"inputs": [{}]}, FormatError, "namespace is missing"),
        ({"inputs": [{}] * 1_001}, LimitExceeded, "over 1000 inputs"),
        ("x" * (MAX_EVENT_CHARS + 1), LimitExceeded, "too long"),
    ],
)
def test_what_is_no_run_event_is_refused(bad: Any, error: type[AuditError], words: str) -> None:
    text = bad if isinstance(bad, str) else json.dumps({**THEIR_RUN, **bad})
    with pytest.raises(error, match=words):
        imported(text, "airflow")


@pytest.mark.parametrize("facets", [5, [], {"parent": 5}, {"errorMessage": {"message": 5}}, None])
def test_facets_of_any_form_do_no_harm(facets: Any) -> None:
    event = {**THEIR_RUN, "run": {"runId": "r", "facets": facets}}
    event["job"] = {"namespace": "n", "name": "j", "facets": facets}
    taken = imported(json.dumps(event), "x")
    assert taken is not None and taken["data"]["run_id"] == "r"


@pytest.mark.parametrize(
    "more", [{"eventType": "OTHER"}, {"run": None}, {"run": None, "job": None, "dataset": {}}]
)
def test_what_is_not_about_a_run_is_left_out(more: dict[str, Any]) -> None:
    assert imported(json.dumps({**THEIR_RUN, **more}), "x") is None
