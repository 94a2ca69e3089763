"""Runs while the log cannot be reached: the pipeline goes on, and the gap is recorded later."""

import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest

import audit
from audit.capture.delivery import kafka_sender
from audit.capture.pipeline.component import component
from audit.errors import Unavailable
from audit.lineage.recorded.runs import Run, find_runs
from audit.replay.points import resolve
from audit.store import open_reader


def runs(url: str) -> list[Run]:
    with open_reader(url) as reader:
        return find_runs(reader, resolve(reader, None, 0))


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A ledger that cannot be opened: a folder is in its place."""
    (tmp_path / "audit.db").mkdir()
    return f"sqlite:///{tmp_path / 'audit.db'}"


def test_the_pipeline_goes_on_and_the_gap_is_recorded(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @component("cleaning", bus=url, source="etl")
    def clean(x: int) -> int:
        if x < 0:
            raise ValueError("negative")
        return x + 1

    with caplog.at_level(logging.ERROR, "audit.capture"):
        assert clean(1) == 2
    assert len([r for r in caplog.records if "is not recorded now" in r.message]) == 1
    with pytest.raises(ValueError, match="negative") as caught:
        clean(-1)
    assert not hasattr(caught.value, "__notes__")
    gaps = sorted((tmp_path / "audit-spool").glob("gap-*.json"))
    assert len(gaps) == 2
    (tmp_path / "audit.db").rmdir()
    assert clean(5) == 6
    found = {run.params["x"]: run for run in runs(url)}
    assert found[5].status == "COMPLETE"
    assert (found[1].status, found[-1].status) == ("ABORT", "ABORT")
    assert str(found[1].error).startswith("not recorded: ")
    assert str(found[1].error).endswith("; it ended COMPLETE")
    assert str(found[-1].error).endswith("; it ended FAIL (ValueError: negative)")
    assert found[1].record.event is not None
    assert found[1].record.event.source == "etl"
    assert not list((tmp_path / "audit-spool").glob("gap-*.json"))


def test_reached_again_before_the_end(url: str, tmp_path: Path) -> None:
    with audit.model_run("credit-risk", bus=url) as run:
        run.model({"w": 1}, "1.0")
        (tmp_path / "audit.db").rmdir()
    (found,) = runs(url)
    assert (found.status, found.error) == ("COMPLETE", None)
    assert [model.version for model in found.models] == ["1.0"]
    with audit.Ledger(url) as ledger:
        assert len(list(ledger.events("entity:model"))) == 1


def test_a_model_that_was_registered_in_a_gap(url: str, tmp_path: Path) -> None:
    with audit.model_run("credit-risk", bus=url) as run:
        version = run.model({"w": 1}, "1.0", tolerance=0.5)
    (tmp_path / "audit.db").rmdir()
    with audit.model_run("other", bus=url):
        pass
    with open_reader(url) as reader:
        from audit.lineage.recorded.models import find_model_version

        cut = resolve(reader, None, 0)
        found = find_model_version(reader, "credit-risk@1.0", cut, version.blobs)
    assert (found.digest, found.tolerance, found.event_id) == (
        version.digest, 0.5, version.event_id
    )  # fmt: skip
    assert {run.name: run.status for run in runs(url)} == {
        "credit-risk": "ABORT", "other": "COMPLETE"
    }  # fmt: skip


def test_or_it_fails_closed(url: str, tmp_path: Path) -> None:
    called = []

    @component("cleaning", bus=url, on_unavailable="raise")
    def clean() -> None:
        called.append(1)

    with pytest.raises(Unavailable):
        clean()
    with pytest.raises(Unavailable), audit.model_run("x", bus=url, on_unavailable="raise"):
        called.append(1)
    assert called == []
    assert not (tmp_path / "audit-spool").exists()
    (tmp_path / "audit.db").rmdir()
    clean()
    assert called == [1]


def test_a_store_that_goes_away_under_an_open_emitter(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'audit.db'}"

    @component("work", bus=url)
    def work() -> int:
        for path in tmp_path.glob("audit.db*"):
            path.rename(tmp_path / f"away-{path.name}")
        (tmp_path / "audit.db").mkdir()
        return 1

    assert work() == 1


def test_without_a_blob_store_the_run_is_recorded(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    (tmp_path / "audit-blobs").write_text("in the way")

    @component("work", bus=url, keep=True)
    def work(data: Any) -> Any:
        return data

    assert work(b"x") == b"x"
    (run,) = runs(url)
    assert (run.status, run.function_digest, run.inputs[0].blob_digest) == ("COMPLETE", None, None)
    assert run.inputs[0].digest is not None
    missing = json.loads(str(run.rerun))["missing"]
    assert any("source text was not kept" in one for one in missing)
    assert any("no copy or profile of data" in one for one in missing)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"format":"attestory-gap-v1","events":1}', "\xff", "[" * 100_000,
        '{"format":"attestory-gap-v1","events":[{"type":"data.create"}]}',
        '{"format":"attestory-gap-v1","events":[1]}',
    ],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_gap_files_that_are_none(tmp_path: Path, text: str) -> None:
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    (tmp_path / "audit-spool").mkdir()
    (tmp_path / "audit-spool" / "gap-1.json").write_text(text, encoding="latin-1")
    with audit.model_run("x", bus=url):
        pass
    assert [run.status for run in runs(url)] == ["COMPLETE"]
    assert (tmp_path / "audit-spool" / "gap-1.bad").exists()


def test_a_gap_that_cannot_be_written_is_only_said(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUDIT_SPOOL", str(tmp_path / "file" / "spool"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file" / "state"))
    with audit.model_run("x", bus=url):
        pass
    assert "is recorded nowhere" in caplog.text


def test_a_gap_beside_a_folder_that_cannot_be_written(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "audit-spool").write_text("in the way")
    with audit.model_run("x", bus=url):
        pass
    assert len(list((tmp_path / "state").rglob("gap-*.json"))) == 1
    (tmp_path / "audit.db").rmdir()
    (tmp_path / "audit-spool").unlink()
    other = f"sqlite:///{tmp_path / 'other' / 'audit.db'}"
    (tmp_path / "other").mkdir()
    with audit.model_run("of another ledger", bus=other):
        pass
    with audit.model_run("y", bus=url):
        pass
    assert {run.name: run.status for run in runs(url)} == {"x": "ABORT", "y": "COMPLETE"}
    assert not list((tmp_path / "state").rglob("gap-*.json"))


def test_models_and_inputs_without_a_blob_store(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    (tmp_path / "audit-blobs").write_text("in the way")
    with audit.model_run("credit-risk", bus=url, keep=True) as run:
        run.input(b"x", "rows")
        version = run.model({"w": 1}, "1.0")
    assert version.object == {"w": 1}
    (found,) = runs(url)
    assert (found.status, [made.version for made in found.models]) == ("COMPLETE", ["1.0"])
    missing = json.loads(str(found.rerun))["missing"]
    assert any("the model credit-risk@1.0 was not kept" in one for one in missing)
    strict = audit.model_run("credit-risk", bus=url, on_unavailable="raise")
    with pytest.raises(Unavailable), strict as run:
        run.model({"w": 2}, "2.0")


def test_an_emitter_that_was_closed_meanwhile(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    emit = audit.Emitter(url)

    @component("work", emitter=emit)
    def work() -> int:
        emit.close()
        return 7

    assert (work(), work()) == (7, 7)
    with audit.model_run("next", bus=url):
        pass
    assert sorted(run.status for run in runs(url)) == ["ABORT", "ABORT", "COMPLETE"]


@pytest.mark.slow
def test_a_broker_that_is_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUDIT_SPOOL", str(tmp_path / "spool"))
    bus = "kafka://127.0.0.1:1/events"
    called = []

    @component("work", bus=bus, blobs=str(tmp_path / "blobs"))
    def work() -> int:
        called.append(1)
        return 7

    @component("work", bus=bus, blobs=str(tmp_path / "blobs"), on_unavailable="raise")
    def strict() -> int:
        called.append(2)
        return work()

    with pytest.raises(Unavailable):
        strict()
    assert work() == 7
    took_s = []
    for _ in range(3):
        begin_s = time.monotonic()
        assert work() == 7
        took_s.append(time.monotonic() - begin_s)
    assert min(took_s) < kafka_sender.CONNECT_TIMEOUT_S  # the next do not wait for it again
    assert called == [1] * 4
    assert len(list((tmp_path / "spool").glob("*.spool"))) == 4
