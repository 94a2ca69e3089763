"""A small credit-risk pipeline as its records tell it, for the tests of lineage.

inquiry rows -> cleaning -> dataset version -> training -> model -> predictions; every record by
hand, so that odd ones can be made too.
"""

import hashlib
import json
from typing import Any

from audit.capture.emitter import Emitter
from audit.errors import AuditError
from audit.event.build import new_event_id
from audit.lineage.tracing.graph import Trace
from audit.lineage.tracing.trace import trace
from audit.replay.points import resolve
from audit.store import open_reader

MODEL = "credit-risk"


def sha(text: str) -> str:
    """A digest that stands for a content."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def frame(text: str) -> str:
    """A digest that stands for a data frame's content."""
    return "frame-v1:" + sha(text)


class Pipeline:
    """Emits records of a pipeline into a ledger."""

    def __init__(self, url: str, emit: Emitter) -> None:
        self.url = url
        self.emit = emit

    def point(self, entity_type: str = "inquiry", **fields: Any) -> dict[str, Any]:
        """The fields of a DataRef for the whole dataset as it is now."""
        self.emit.flush()
        with open_reader(self.url) as reader:
            logs = [
                {"origin": info.origin, "size": reader.size(info.log), "root_hash": None}
                for info in reader.logs()
            ]
        return {"entity_type": entity_type, "logs": logs, **fields}

    def run(self, name: str, *, status: str = "COMPLETE", **fields: Any) -> str:
        """A run of a component, or with `type` of a training."""
        type_ = fields.pop("type", "component.run")
        run_id = fields.pop("run_id", None) or new_event_id()
        start = {"run_id": run_id, "name": name, "status": "START"}
        options = {"entity_type": "run", "entity_key": run_id}
        self.emit.record(type_, start, event_id=f"{run_id}:START", **options)
        if status != "START":
            data = {"run_id": run_id, "name": name, "status": status, **fields}
            self.emit.record(type_, data, event_id=run_id, **options)
        return run_id

    def model(self, version: str, digest: str, run_id: str | None, **fields: Any) -> None:
        name = fields.pop("name", MODEL)
        data = {"name": name, "version": version, "digest": digest, "run_id": run_id, **fields}
        self.emit.record("model.version", data, entity_type="model", entity_key=f"{name}@{version}")

    def dataset(self, name: str, version: str, digest: str | None, **fields: Any) -> None:
        data = {"name": name, "version": version, "digest": digest, **fields}
        self.emit.record(
            "dataset.version", data, entity_type="dataset", entity_key=f"{name}@{version}"
        )

    def definition(self, name: str, version: str, digest: str, **fields: Any) -> None:
        data = {"name": name, "version": version, "digest": digest, "entity_types": ["inquiry"]}
        key = f"features/{name}@{version}"
        self.emit.record(
            "feature.definition", {**data, **fields}, entity_type="dataset", entity_key=key
        )

    def predict(self, version: str, digest: str | None, key: str, **fields: Any) -> str:
        data = {
            "model_name": MODEL,
            "model_version": version,
            "model_digest": digest,
            "features": {"CustomerID": key},
            "status": "OK",
            "output": 0.5,
            **fields,
        }
        return self.emit.record("prediction", data, entity_type="prediction", entity_key=key)

    def trained(self, version: str, artifact: str, cleaned: str, **fields: Any) -> str:
        """Cleaning, dataset version, training and model, from the inquiries as they are now."""
        point = self.point()
        raw = {"name": "raw", "digest": frame(f"raw {cleaned}"), **point}
        made = {"name": "clean", "digest": frame(cleaned), "path": "clean.csv"}
        cleaning = self.run("cleaning", inputs=[raw], outputs=[made], code_digest=sha("clean.py"))
        self.dataset("inquiries", version, frame(cleaned), run_id=cleaning, purpose="training")
        run_id = new_event_id()
        self.model(version, sha(artifact), run_id)
        return self.run(
            "training",
            type="model.run",
            run_id=run_id,
            inputs=[{"name": "train", "digest": frame(cleaned), "path": "clean.csv"}],
            model={"name": MODEL, "version": version, "digest": sha(artifact)},
            models=[{"name": MODEL, "version": version, "digest": sha(artifact)}],
            params={"C": 0.5, **fields.pop("params", {})},
            seed=7,
            code_digest=fields.pop("code_digest", sha("train.py")),
            code_commit="a" * 40,
            environment={"python": "3.11.4", **fields.pop("environment", {})},
            **fields,
        )

    def inquiries(self) -> None:
        """Three inquiries of two customers."""
        rows = (("1001", "001", "Current"), ("1002", "002", "Late"), ("1003", "001", "Late"))
        for key, customer, status in rows:
            row = {"CustomerID": customer, "PaymentStatus": status}
            self.emit.create("inquiry", key, row, actor="alice")

    def asked(self, definition: str, customer: str) -> dict[str, Any]:
        """A FeatureSet of a prediction: what it read and asked for."""
        return {
            "name": "late-history",
            "version": "1",
            "digest": definition,
            "request": json.dumps({"value": {"CustomerID": customer}, "form": None}),
            "names": ["late"],
            "reads": [{"name": "inquiry", "digest": frame("read"), **self.point()}],
        }

    def trace(self, *refs: str, as_of: str | None = None, **options: Any) -> Trace:
        self.emit.flush()
        with open_reader(self.url) as reader:
            return trace(reader, refs, resolve(reader, as_of, 0), **options)

    def refused(self, *refs: str, **options: Any) -> AuditError:
        """The error that a trace ends with."""
        try:
            self.trace(*refs, **options)
        except AuditError as error:
            return error
        raise AssertionError(f"{refs} is traced")


def pairs(found: Trace) -> set[tuple[str, str, str]]:
    """(effect, edge, cause) by REF, else by kind."""

    def name(node: str) -> str:
        return found.nodes[node].ref or found.nodes[node].kind

    return {(name(edge.effect), edge.name, name(edge.cause)) for edge in found.edges}


def refs(found: Trace) -> set[str]:
    """The REFs of all nodes."""
    return {node.ref for node in found.nodes.values() if node.ref is not None}
