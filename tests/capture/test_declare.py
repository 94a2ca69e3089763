"""Declarations: dataset versions, transitions, ground truth, reviews; read back from the ledger."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import audit
from audit.errors import InvalidInput
from audit.event.types import DATASET_VERSION, GROUND_TRUTH, MODEL_TRANSITION, REVIEW
from audit.lineage.content.frame_v2 import frame_v2
from audit.lineage.content.kept_data import read_kept
from audit.lineage.recorded.records import Found, records_of
from audit.replay.points import resolve
from audit.store import open_reader
from audit.store.blobs import digest_of
from tests.lineage.common import Case, example, trained


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    yield made
    made.close()


def said(case: Case, entity_type: str, type_: str) -> list[Found]:
    case.emit.flush()
    with open_reader(case.url) as reader:
        return records_of(reader, resolve(reader, None, 0), entity_type, frozenset((type_,)))


def test_a_dataset_version(case: Case) -> None:
    for row in example().reset_index().to_dict("records"):
        case.emit.create("inquiry", row.pop("entity_key"), {str(n): v for n, v in row.items()})
    case.emit.flush()
    with audit.Ledger(case.url) as ledger:
        frame = ledger.replay("inquiry")
    raw = audit.dataset_version("raw", frame, emitter=case.emit)
    small = frame[frame["LoanAmount"] < 100_000]
    small.attrs["audit_predictions_of"] = [["credit-risk", "1", None]]
    version = audit.dataset_version(
        "small-loans", small, "2026-01", query="LoanAmount < 100000", purpose="training",
        parents=[frame, raw, frame_v2(frame).digest], keep=True, emitter=case.emit,
    )  # fmt: skip
    assert version.ref == "dataset/small-loans@2026-01"
    assert raw.version == raw.digest.rpartition(":")[2][:12]
    record, data = said(case, "dataset", DATASET_VERSION)[-1]
    assert record.event is not None
    assert record.event.entity_key == "small-loans@2026-01"
    assert (data["digest"], data["rows"]) == (frame_v2(small).digest, 2)
    assert (data["query"], data["purpose"]) == ("LoanAmount < 100000", "training")
    assert data["entity_type"] == "inquiry"
    assert data["logs"][0]["size"] == frame.attrs["audit"]["logs"][0]["size"]
    assert data["parents"] == [frame_v2(frame).digest]
    assert data["predictions_of"] == [{"name": "credit-risk", "version": "1", "digest": None}]
    assert data["columns"] == frame_v2(small).columns
    assert read_kept("frame", case.blobs.get(data["blob_digest"])).equals(small)
    assert b"attestory profile v1" in case.blobs.get(data["profile_digest"])
    with audit.model_run("x", emitter=case.emit) as run:
        run.input(small)
        run.input(small.head(1))
        inside = audit.dataset_version("made", example(), emitter=case.emit)
    with audit.Ledger(case.url) as ledger:
        used = ledger.run(run.run_id).inputs
    assert [use.dataset for use in used] == ["small-loans@2026-01", None]
    (made,) = [one for one in said(case, "dataset", DATASET_VERSION) if one.data["name"] == "made"]
    assert (made.data["run_id"], made.event_id) == (run.run_id, inside.event_id)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "a/b"}, {"name": "a@b"}, {"version": "1 0"}, {"data": [1]}, {"data": None},
        {"parents": ["file.csv"]}, {"data": pd.DataFrame({"a": [1]}), "predictions": [1]},
    ],
    ids=str,
)  # fmt: skip
def test_no_dataset_version(case: Case, options: dict[str, Any]) -> None:
    frame = example()
    if "predictions" in options:
        frame.attrs["audit_predictions_of"] = options.pop("predictions")
        options.pop("data")
    with pytest.raises(InvalidInput):
        audit.dataset_version(**{"name": "x", "data": frame, "emitter": case.emit, **options})


def test_transitions(case: Case) -> None:
    version = case.register(trained(), "1.0")
    first = audit.transition(
        version, approved_by="alice", share=0.5, config={"replicas": 2}, emitter=case.emit
    )
    audit.transition("credit-risk@1.1", "staging", before="1.0", emitter=case.emit)
    audit.transition(version, retire=True, valid_time="2026-01-05", emitter=case.emit)
    one, two, three = said(case, "model", MODEL_TRANSITION)
    assert one.event_id == first
    assert one.record.event is not None
    assert one.record.event.entity_key == "credit-risk"
    assert (one.data["version"], one.data["digest"]) == ("1.0", version.digest)
    assert (one.data["stage"], one.data["approved_by"], one.data["share"]) == (
        "production", "alice", 0.5
    )  # fmt: skip
    assert one.data["config_digest"] == digest_of(b'{"replicas":2}')
    assert (two.data["stage"], two.data["before"], two.data["digest"]) == ("staging", "1.0", None)
    assert (three.data["version"], three.data["before"]) == (None, "1.0")
    assert three.record.event is not None
    assert three.record.event.valid_time_us == 1_767_571_200_000_000
    refused: list[dict[str, Any]] = [
        {"version": "x"}, {"stage": ""}, {"share": 2.0}, {"config": object()}
    ]  # fmt: skip
    usual: dict[str, Any] = {"version": version, "emitter": case.emit}
    for bad in refused:
        with pytest.raises(InvalidInput):
            audit.transition(**usual | bad)


def test_ground_truth(case: Case) -> None:
    first = audit.ground_truth(
        "prediction/018f", True, origin="measured", observed="2026-01-05", emitter=case.emit
    )
    audit.ground_truth("018f", False, origin="rated", instructions="3", supersedes=first,
                       emitter=case.emit)  # fmt: skip
    audit.ground_truth(None, {"late": 1.0}, key=3, name="credit-risk", emitter=case.emit)
    last, by_key = said(case, "prediction", GROUND_TRUTH)
    assert (last.data["prediction"], last.data["value"]) == ("018f", False)
    assert (last.data["origin"], last.data["instructions"]) == ("rated", "3")
    assert by_key.record.event is not None
    assert (by_key.data["key"], by_key.record.event.entity_key) == ("3", "3")
    assert by_key.data["value"] == {"late": 1.0}
    with pytest.raises(InvalidInput):
        audit.ground_truth(None, True, emitter=case.emit)
    with pytest.raises(InvalidInput):
        audit.ground_truth("x", object(), emitter=case.emit)


def test_reviews(case: Case) -> None:
    with audit.context(actor="alice"):
        audit.review("prediction/018f", "FLAG", message="wrong", emitter=case.emit)
    (one,) = said(case, "review", REVIEW)
    assert one.record.event is not None
    assert (one.record.event.entity_key, one.record.event.actor) == ("prediction/018f", "alice")
    assert (one.data["ref"], one.data["kind"], one.data["message"]) == (
        "prediction/018f", "FLAG", "wrong"
    )  # fmt: skip
    for ref, kind in (("prediction", "NOTE"), ("prediction/1", "LIKE")):
        with pytest.raises(InvalidInput):
            audit.review(ref, kind, emitter=case.emit)


def test_in_a_ledger_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_STORE", f"sqlite:///{tmp_path / 'own.db'}")
    audit.review("run/1", message="looked at", source="people")
    audit.dataset_version("x", b"bytes", source="people")
    with audit.Ledger(f"sqlite:///{tmp_path / 'own.db'}") as ledger:
        assert len(list(ledger.events("source:people"))) == 2
