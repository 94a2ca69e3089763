"""The API's description is true: every answer, example and error is of the shape that it says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis

from audit.capture.delivery.waiting import SpoolFile
from audit.event.build import schema_event
from audit.event.envelope import encode_event
from audit.event.jsonform import event_from_json
from audit.kafka.completeness import Lag
from audit.ledger.status import LedgerStatus
from audit.lineage.content.distributions import Distribution
from audit.lineage.content.statistics import Statistic
from audit.lineage.drifting.drift_columns import ColumnDrift
from audit.lineage.drifting.drift_report import GroupDrift
from audit.lineage.drifting.observed import Answers
from audit.lineage.drifting.skew import CodeSkew, SchemaSkew, SkewReport
from audit.lineage.recorded.predictions import Batch
from audit.lineage.recorded.records import DataUse, LogPoint, Named
from audit.lineage.recorded.runs import use_to_json
from audit.lineage.tracing.graph import Edge, Loop, Node, Touched, Trace
from audit.log.intake import Message
from audit.replay.citation import CutTransaction
from audit.store import open_store
from audit.tlog.keys import Ed25519Signer
from audit.verify.findings import Finding, LogReport, ProducerSignatures
from audit.verify.source_report import PartitionReport
from audit.web import WebOptions
from audit.web.api.answers import ANSWERS, TAGS
from audit.web.api.document import document
from audit.web.screens import SCREENS
from tests.web.conftest import MakeWeb, Web

MAX_OF_A_KIND = 12
"""So many events, runs, ... of a ledger are looked at one by one."""


class Description:
    """What a server says of itself, to hold its answers against."""

    def __init__(self, said: dict[str, Any]) -> None:
        self.said = said

    def validator(self, schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
        whole = {**schema, "components": self.said["components"]}
        return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)

    def answer(self, path: str) -> jsonschema_rs.Draft202012Validator:
        good = self.said["paths"][path]["get"]["responses"]["200"]["content"]
        return self.validator(good["application/json"]["schema"])

    def named(self, name: str) -> jsonschema_rs.Draft202012Validator:
        return self.validator({"$ref": f"#/components/schemas/{name}"})


@pytest.fixture(scope="module")
def said() -> Description:
    return Description(document(SCREENS, WebOptions("sqlite:///audit.db")))


def asked_of(web: Web) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every screen, with what this ledger has for it."""
    for path in ("/index", "/events", "/datasets", "/runs", "/models", "/predictions", "/review"):
        yield path, {}
    for path in ("/verify", "/keys", "/quarantine", "/diff"):
        yield path, {}
    yield "/events", {"since": "0:1"}
    yield "/index", {"as_of": "0/3"}
    found = web.json("/events", limit=1000)["events"]
    for one in [*found[:MAX_OF_A_KIND], *found[-2:]]:
        yield "/event", {"at": f"{one['log']}/{one['index']}"}
    for one in web.json("/quarantine")["entries"]:
        yield "/quarantined", {"at": f"{one['log']}/{one['index']}"}
        yield "/event", {"at": f"{one['log']}/{one['index']}"}
    for name in web.json("/datasets")["datasets"]:
        yield "/dataset", {"name": name}
        yield "/dataset", {"name": name, "as_of": "0/9999", "limit": 1}
        yield "/diff", {"what": name, "a": "0/0"}
        for row in web.json("/dataset", name=name)["rows"][:3]:
            ref = f"{name}/{row['entity_key']}"
            yield "/entity", {"ref": ref}
            yield "/diff", {"what": ref, "a": "0/0"}
            yield "/trace", {"ref": ref, "downstream": 1}
    for one in web.json("/predictions")["predictions"][:MAX_OF_A_KIND]:
        yield "/prediction", {"ref": f"prediction/{one['prediction']}"}
        yield "/trace", {"ref": f"prediction/{one['prediction']}"}
    for one in web.json("/runs")["runs"][:MAX_OF_A_KIND]:
        yield "/run", {"ref": f"run/{one['run']}"}
        yield "/entity", {"ref": f"run/{one['run']}"}
    for one in web.json("/models")["models"][:MAX_OF_A_KIND]:
        yield "/model", {"ref": one["ref"]}
        yield "/trace", {"ref": one["ref"], "downstream": 1}
        yield "/drift", {"what": one["ref"].partition("/")[2].partition("@")[0]}


def holds(web: Web, said: Description) -> dict[str, int]:
    """Hold every answer of a server against what is said of it; how many of each address."""
    counted: dict[str, int] = {}
    for path, parameters in asked_of(web):
        got = web.get(f"{path}.json", None, **parameters)
        where = f"{path} {parameters}"
        if got.status == 200:
            errors = [
                f"{e.instance_path} {e.message[:300]}"
                for e in said.answer(f"{path}.json").iter_errors(got.json)
            ]
            assert not errors, f"{where}: {errors[:5]}"
            counted[path] = counted.get(path, 0) + 1
        else:
            assert got.headers["content-type"] == "application/problem+json", where
            assert said.named("Problem").is_valid(got.json), where
    return counted


def test_answers_over_the_demo(web: Web, said: Description) -> None:
    """Every screen but those of what the demo has none of; the verification when it is done."""
    web.get("/verify/run", 303, method="POST", body="")
    while web.json("/verify")["run"]["state"] == "running":
        assert said.answer("/verify.json").is_valid(web.json("/verify"))
    assert web.json("/verify")["run"]["state"] == "done"
    counted = holds(web, said)
    seen = {"/" if path == "/index" else path for path in counted}
    assert seen == {screen.path for screen in SCREENS} - {"/quarantined"}


def test_answers_over_what_an_attacker_wrote(hostile: Web, said: Description) -> None:
    """Values, names, keys and a refused event that try to be something else."""
    counted = holds(hostile, said)
    assert {"/quarantined", "/event", "/entity", "/diff", "/dataset"} <= set(counted)


def test_every_screen_is_described(said: Description) -> None:
    """A shape and a tag for each screen; names that are there once; no unions of anything."""
    whole = said.said
    assert set(ANSWERS) == {screen.path for screen in SCREENS}
    assert [one["name"] for one in whole["tags"]] == list(TAGS)
    operations = [path["get"] for path in whole["paths"].values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    for one in operations:
        assert one["summary"] and one["tags"][0] in TAGS and one["operationId"].isidentifier()
    text = str(whole)
    assert "anyOf" not in text and "allOf" not in text
    for name, schema in whole["components"]["schemas"].items():
        assert schema["description"], name
        assert name == "Value" or schema["additionalProperties"] is False, name
    schemathesis.openapi.from_dict(whole).validate()


def test_examples_are_what_they_are_examples_of(said: Description) -> None:
    """Of every shape and parameter."""
    seen = 0

    def look(schema: Any) -> None:
        nonlocal seen
        if isinstance(schema, dict):
            given = schema.get("examples")
            for one in given if isinstance(given, list) else []:
                said.validator(schema).validate(one)
                seen += 1
            for inner in schema.values():
                look(inner)

    look(said.said["components"]["schemas"])
    for path in said.said["paths"].values():
        for parameter in path["get"]["parameters"]:
            if "example" in parameter:
                said.validator(parameter["schema"]).validate(parameter["example"])
                seen += 1
    assert seen > 100


def test_limits_are_as_described(web: Web) -> None:
    """The least and the most of every number are taken; what is beyond them is refused."""
    needed = {"name": "inquiry", "ref": "inquiry/1001", "what": "inquiry", "at": "0/8"}
    numbers = [(screen, one) for screen in SCREENS for one in screen.parameters if one.most]
    assert len(numbers) >= 9
    for screen, one in numbers:
        given = {p.name: needed[p.name] for p in screen.parameters if p.name in needed}
        if screen.path == "/keys":
            given["log"] = "0"
        elif screen.path == "/drift":
            given["what"] = web.json("/predictions")["predictions"][0]["model"]
        for value in (one.least, one.most):
            web.get(f"{screen.path}.json", 200, **{**given, one.name: value})
        if one.name != "log":
            for wrong in (str(one.least - 1), str((one.most or 0) + 1), "1.5"):
                web.get(f"{screen.path}.json", 400, **{**given, one.name: wrong})


NAMED = Named("a", "1", "sha256:00")
NUMBERS = Distribution("number", {"double": 2}, 3, 1, 0, 2, 1.0, 2.0, 1.5, [1.0], True, {}, 0)
TEXTS = Distribution(
    "category", {"string": 1}, 1, 0, 0, 0, None, None, None, [], False, {"x": 1}, 0
)
STATISTIC = Statistic("PSI", float("inf"), None, 0.2, True, (3, 3), "a note", (1.0, 2.0))
COLUMN = ColumnDrift(
    "c", "inputs", "COMPARED", "DRIFTED", "number", NUMBERS, TEXTS, "a", (STATISTIC,), ("b",)
)
ANSWERED = Answers(3, 1, 2, 1, {"output": NUMBERS})
NODE = Node("a", "model", "a", "model/a@1", 0, 1, 5, {"b": 1})
FINDING = Finding("bad", 3, "it is bad", "t.example/0")
PARTITION = PartitionReport("t", 0, None, None, 0, 5, 3)
SIGNED = ProducerSignatures()
LOG = LogReport("t.example/0", 5, None, 0, SIGNED, (FINDING,), (FINDING,), ("x",), source=PARTITION)
WAITING = Lag("t", 0, None, 0, 5, 3)
SPOOL = SpoolFile(Path("a"), None, 1, 2, None, True)
STATE = LedgerStatus("a", ("b",), (), (("code", "text"),), (WAITING,), (SPOOL,))
IN_SCHEMA = SchemaSkew("f", "TYPE", ("a",), ("b",), True)
IN_CODE = CodeSkew("d", "CHANGED", (NAMED,), (NAMED,), 1)
SKEW = SkewReport("a", None, 1, 1, (IN_SCHEMA,), (IN_CODE,), (COLUMN,), ("r",))
POINT = LogPoint("o", 1, None)
USE = DataUse("n", "frame", "d", 1, 2, "p", "d@1", "t", (POINT,), 1, 2, "b", "p", {"c": "d"})
EDGE, LOOP = Edge("a", "b", "used", "digest", "r"), Loop(NODE, NODE, NODE, ("a",))
LOOKED = {"predictions": 1, "after": None, "until": None, "next": "/trace?ref=a"}
TOUCHED = Touched(2, 1, {"a@1": 2})
TRACE = Trace(("a",), ("a",), {"a": NODE}, (EDGE,), True, ("x",), TOUCHED, (LOOP,))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Batch", Batch(2, bytes(32), "sha256:00", 1).to_json()),
        ("CutTransaction", CutTransaction("t", 1, 2)._asdict()),
        ("DataUse", use_to_json(USE)),
        ("GroupDrift", GroupDrift("g", ANSWERED, None, (None, ANSWERED), (COLUMN,)).to_json()),
        ("LogReport", LOG.to_json()),
        ("Overview", {**STATE.to_json(), "datasets_in_all": 1, "pin": "/"}),
        ("Skew", SKEW.to_json()),
        ("Trace", {"ref": "a", **TRACE.to_json(), "looked_through": LOOKED, "more": None}),
    ],
)
def test_shapes_that_the_demo_has_none_of(
    said: Description, name: str, value: dict[str, Any]
) -> None:
    """What the library says is what is described, with all that can be in it."""
    value = json.loads(json.dumps(value))
    errors = [f"{one.instance_path} {one.message}" for one in said.named(name).iter_errors(value)]
    assert not errors
    required = said.said["components"]["schemas"][name]["required"]
    for key in value:
        without = {other: value[other] for other in value if other != key}
        assert said.named(name).is_valid(without) == (key not in required), key
    assert not said.named(name).is_valid({**value, "unknown": 1})


def test_a_record_of_another_type_under_the_same_key(
    web: Web, make_web: MakeWeb, tmp_path: Path, said: Description
) -> None:
    """A run that somebody records as a model's, and the other way, hides and breaks nothing."""
    model, run = (
        web.json("/events", q=f"type:{one}")["events"][0] for one in ("model.version", "model.run")
    )
    key = model["entity_key"]
    false_run = {**run, "event_id": "a", "entity_type": "model", "entity_key": key}
    false_run["data"] = {**run["data"], "run_id": key}
    true_run = {**false_run, "event_id": "b", "entity_type": "run"}
    false_model = {**model, "event_id": "c", "entity_type": "run", "entity_key": run["entity_key"]}
    signer = Ed25519Signer.from_seed("t.example/0", bytes(32))
    with open_store(f"sqlite:///{tmp_path / 'audit.db'}", create=True) as store:
        store.create("t.example/0", signer)
        for event in (model, run, true_run, false_run, false_model):
            built, schemas = event_from_json(event)
            known = [Message(encode_event(schema_event(text))) for text in schemas]
            store.append(0, [*known, Message(encode_event(built))], signer)
    forged = make_web(tmp_path, access="none")
    for path, ref in (("/model", f"model/{key}"), ("/run", f"run/{run['entity_key']}")):
        assert forged.get(path, ref=ref).status == 200
        assert said.answer(f"{path}.json").is_valid(forged.json(path, ref=ref))
