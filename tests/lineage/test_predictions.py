"""Predictions found by customer and day, printed as lines, and the unreadable ones among them."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from audit.capture.predicting.predictor import predictor
from audit.errors import Ambiguous, NotFound
from audit.event.envelope import Event, encode_event
from audit.lineage.recorded.predictions import (
    csv_lines,
    find_prediction,
    find_predictions,
    narrowed,
)
from audit.log.intake import Message
from audit.replay.points import resolve
from audit.replay.query import parse_query
from audit.store import open_reader
from tests.lineage.common import CLOCK_US, Case

DAY_US = 86_400_000_000


def find(case: Case, query: str, **options: Any) -> list[Any]:
    case.emit.flush()
    with open_reader(case.url) as reader:
        cut = resolve(reader, None, 0)
        return list(find_predictions(reader, parse_query(query, CLOCK_US + DAY_US), cut, **options))


def record(case: Case, key: str, **fields: Any) -> str:
    data = {
        "model_name": "credit-risk", "model_version": "1", "features": {}, "status": "OK", **fields
    }  # fmt: skip
    return case.emit.record("prediction", data, entity_type="prediction", entity_key=key)


@pytest.fixture
def filled(case: Case) -> Case:
    record(case, "001", output=0.25, features={"b": 1.5, "a": "x"})
    record(case, "003", output={"score": 0.75, "late": True}, features={"name": 'Ελένη, "a"\n'})
    record(case, "003", output=None, status="ERROR", error="KeyError: 'amount'")
    case.emit.create("user", "003", {"name": "Christian"})
    return case


def test_by_customer_and_day(filled: Case) -> None:
    assert [p.key for p in find(filled, "")] == ["001", "003", "003"]
    assert [p.status for p in find(filled, "key:003 recorded:2026-01-05")] == ["OK", "ERROR"]
    assert find(filled, "key:003 recorded:2026-01-04") == []
    assert find(filled, "key:004") == []
    assert find(filled, "entity:user") == []
    assert find(filled, "type:data.create") == []
    assert len(find(filled, "type:prediction entity:prediction field:output")) == 3
    assert [p.status for p in find(filled, "key:003", newest_first=True)] == ["ERROR", "OK"]
    assert len(find(filled, "", limit=2)) == 2


def test_the_csv_line(filled: Case) -> None:
    text = "".join(csv_lines(find(filled, "")))
    assert text.startswith("date,model,model version,feature inputs,output\n")
    rows = list(csv.reader(io.StringIO(text)))
    assert len(rows) == 4
    date, model, version, features, output = rows[1]
    assert (date[:10], date[-1], model, version) == ("2026-01-05", "Z", "credit-risk", "1")
    assert (features, output) == ('{"b":1.5,"a":"x"}', "0.25")
    assert rows[2][3:] == ['{"name":"Ελένη, \\"a\\"\\n"}', '{"late":true,"score":0.75}']
    assert rows[3][4] == "ERROR: KeyError: 'amount'"
    line = text.split("\n")[1]
    assert line == f'{date},credit-risk,1,"{{""b"":1.5,""a"":""x""}}",0.25'


def test_of_nothing_there_is_the_header() -> None:
    assert list(csv_lines([])) == ["date,model,model version,feature inputs,output\n"]


def test_the_line_of_a_logged_function(case: Case) -> None:
    version = case.register({"w": 2.0}, "7")
    score = predictor(model=version, emitter=case.emit)(lambda f: {"score": f["x"] * 0.1})
    score({"x": 3.0, "customer": "003"})
    (row,) = list(csv.reader(io.StringIO("".join(csv_lines(find(case, ""))))))[1:]
    assert row[1:] == [
        "credit-risk", "7", '{"x":3.0,"customer":"003"}', '{"score":0.30000000000000004}'
    ]  # fmt: skip


def test_as_json(filled: Case) -> None:
    said = json.loads(json.dumps([p.to_json() for p in find(filled, "key:003")]))
    assert said[0]["output"] == {"score": 0.75, "late": True}
    assert (said[1]["status"], said[1]["error"]) == ("ERROR", "KeyError: 'amount'")
    assert said[0]["recorded_time"].startswith("2026-01-05T")
    assert "problem" not in said[0]


def test_one_by_its_id(filled: Case) -> None:
    prediction_id = record(filled, "009", output=1)
    user = filled.emit.create("user", "6", {"name": "x"})
    filled.emit.flush()
    with open_reader(filled.url) as reader:
        cut = resolve(reader, None, 0)
        for text in (prediction_id, f"prediction/{prediction_id}", f"test:{prediction_id}"):
            assert find_prediction(reader, text, cut).key == "009"
        with pytest.raises(NotFound, match="no prediction"):
            find_prediction(reader, user, cut)
        with pytest.raises(NotFound):
            find_prediction(reader, "nothing", cut)
        earlier = resolve(reader, "3", 0)
        with pytest.raises(NotFound):
            find_prediction(reader, prediction_id, earlier)


def test_an_id_of_two_sources(case: Case) -> None:
    for source in ("one", "two"):
        data = {"model_name": source, "features": {}, "status": "OK"}
        case.emit.record(
            "prediction",
            data,
            entity_type="prediction",
            entity_key="1",
            event_id="p",
            source=source,
        )
    case.emit.flush()
    with open_reader(case.url) as reader:
        cut = resolve(reader, None, 0)
        with pytest.raises(Ambiguous, match="SOURCE:ID"):
            find_prediction(reader, "p", cut)
        assert find_prediction(reader, "two:p", cut).model_name == "two"


def test_what_cannot_be_read_is_listed_all_the_same(case: Case, tmp_path: Path) -> None:
    from audit.capture.delivery.embedded import open_for_writing

    record(case, "1", output=1)
    case.emit.flush()
    broken = [
        Event("a", "prediction", "x", "prediction", "1", payload_schema=bytes(32), payload=b"?"),
        Event("b", "prediction", "x", "prediction", "1", payload=b"?"),
        Event("c", "prediction", "x", "prediction", "1"),
    ]
    with open_for_writing(case.url) as ledger:
        ledger.append([Message(encode_event(event)) for event in broken])
    found = find(case, "key:1")
    assert [p.prediction_id for p in found[1:]] == ["a", "b", "c"]
    assert found[0].problem is None
    assert all(p.problem for p in found[1:])
    lines = list(csv_lines(found))
    assert len(lines) == 5
    assert all("ERROR: unreadable: " in line for line in lines[2:])
    assert "problem" in found[1].to_json()


def test_a_record_of_the_first_version_is_read(case: Case) -> None:
    from audit.event.build import Built, new_event_id
    from audit.event.canonical import builtin, schema_hash
    from audit.event.payload import encode_record

    call = {"arguments": "one", "features": None, "output": None, "format": "pickle"}
    said = json.dumps({**call, "threshold": 0.5, "environment": {"python": "3.11"}})
    data = {"model_name": "m", "features": {"x": 1.0}, "status": "OK", "output": 2.0, "call": said}
    payload, canonical = encode_record("prediction.v1", data)
    assert canonical == builtin("prediction.v1")
    event = Event(
        new_event_id(), "prediction", "old", "prediction", "1",
        payload_schema=schema_hash(canonical), payload=payload,
    )  # fmt: skip
    case.emit.send(Built(event, (canonical,)))
    (found,) = find(case, "")
    assert (found.problem, found.role, found.served, found.request_us) == (
        None,
        "PRIMARY",
        None,
        None,
    )
    assert (found.threshold, found.features, found.output) == (0.5, {"x": 1.0}, 2.0)
    assert (found.parents, found.members, found.batch, found.feature_sets) == ((), (), None, ())
    assert json.loads(json.dumps(found.to_json()))["threshold"] == 0.5


def test_all_that_a_record_can_say(case: Case) -> None:
    digest = "sha256:" + "0" * 64
    read = {"name": "inquiry", "digest": digest, "entity_type": "inquiry",
            "logs": [{"origin": "o", "size": 5, "root_hash": bytes(32)}]}  # fmt: skip
    made = {"name": "late", "version": "1", "digest": digest, "request": "{}", "names": ["x"]}
    record(
        case, "1", role="SHADOW", served=False, request_us=CLOCK_US, threshold=0.5, primary="p",
        parents=["a"], members=["b", "c"], violations=["v"], status="REJECTED_INPUT", seed=3,
        feature_status=[{"name": "x", "status": "STALE"}], inputs=[read],
        feature_sets=[{**made, "reads": [read]}],
        batch={"rows": 2, "root_hash": bytes(32), "digest": digest, "failed": 1},
    )  # fmt: skip
    (found,) = find(case, "")
    assert (found.role, found.served, found.request_us, found.seed) == (
        "SHADOW",
        False,
        CLOCK_US,
        3,
    )
    assert (found.parents, found.members, found.primary) == (("a",), ("b", "c"), "p")
    assert (found.feature_status, found.violations) == ({"x": "STALE"}, ("v",))
    (origin,) = found.feature_sets
    assert (origin.name, origin.names) == ("late", ("x",))
    assert origin.reads == found.inputs and found.inputs[0].logs[0].size == 5
    assert found.batch is not None and (found.batch.rows, found.batch.failed) == (2, 1)
    said = json.loads(json.dumps(found.to_json()))
    assert said["request_time"].startswith("2026-01-05T08:00:00")
    assert said["feature_sets"][0]["reads"] == said["inputs"]
    assert list(csv_lines([found]))[1].endswith(",REJECTED_INPUT: v\n")


def test_narrowed_to_a_role_and_a_status(case: Case) -> None:
    record(case, "1", output=1.0)
    record(case, "2", output=1.0, role="SHADOW")
    record(case, "3", status="ERROR", error="x", role="SHADOW")

    def keys(**wanted: str) -> list[str]:
        return [p.key for p in narrowed(find(case, ""), **wanted)]

    assert (keys(role="PRIMARY"), keys(role="SHADOW"), keys(role="MEMBER")) == (
        ["1"],
        ["2", "3"],
        [],
    )
    assert (keys(status="OK"), keys(role="SHADOW", status="ERROR")) == (["1", "2"], ["3"])
