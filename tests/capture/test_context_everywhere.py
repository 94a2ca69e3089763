"""The context of a block is in every event that is made inside it, however it is made."""

from pathlib import Path

import pandas as pd
import pytest

import audit
from audit.capture.emitter import Emitter
from audit.event.envelope import Event
from tests.capture.support import events, url


def said(event: Event) -> tuple[str | None, ...]:
    return event.actor, event.reason, event.request_id, event.trace_id, event.transaction_id


def test_every_way_of_emitting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUDIT_BUS", url(tmp_path))
    context = audit.context(
        actor="alice", reason="ticket 1", request_id="r-1", trace_id="t-1", transaction="tx-1"
    )
    with Emitter(url(tmp_path)) as emit, context:
        emit.create("user", 1, {"n": 1})
        emit.update("user", 1, {"n": 2}, subject="someone")
        emit.delete("user", 1)
        emit.truncate("user")
        emit.record("review", {"note": "fine"}, entity_type="user", entity_key=1)
        emit.emit({"type": "data.create", "entity_type": "user", "entity_key": "9", "after": {}})
        emit.flush()
        emit.frame("city", pd.DataFrame({"name": ["Bern"]}), transaction_id="tx-1")

        @audit.audited("user.block", key="number", emitter=emit, attempt=True)
        def block(number: int) -> None: ...

        block(5)

        @audit.component("cleaning", emitter=emit)
        def clean(rows: int) -> int:
            return rows

        clean(3)
        with audit.model_run("m", emitter=emit) as run:
            version = run.model(b"bytes", version="1")

        @audit.predictor(version, emitter=emit)
        def score(features: dict[str, int]) -> int:
            return features["x"]

        score({"x": 1})
        audit.transition(version, "production", emitter=emit)
        audit.dataset_version("d", pd.DataFrame({"a": [1]}), version="1", emitter=emit)
    found = events(tmp_path)
    assert {event.type for event in found} == {
        *("data.create", "data.update", "data.delete", "data.truncate", "review", "prediction"),
        *("component.run", "model.run", "model.version", "model.transition", "dataset.version"),
    }
    wrong = {event.type: said(event) for event in found
             if said(event) != ("alice", "ticket 1", "r-1", "t-1", "tx-1")}  # fmt: skip
    assert wrong == {}
