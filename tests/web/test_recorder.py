"""Access events where the disk hangs, the spool is full, the ledger of looks is locked."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from audit import Emitter, Ledger
from audit.errors import AuditError, Unavailable
from audit.web import recorder
from audit.web.recorder import Recorder
from tests.web.conftest import MakeWeb


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Emitting hangs until the event is set."""
    go_on = threading.Event()
    plain = Emitter.create

    def create(self: Emitter, *given: Any, **options: Any) -> str:
        go_on.wait(60)
        return plain(self, *given, **options)

    monkeypatch.setattr(Emitter, "create", create)
    monkeypatch.setattr(recorder, "WAIT_SECONDS", 0.05)
    yield go_on
    go_on.set()


def test_a_page_does_not_wait_for_a_disk_that_hangs(
    make_web: MakeWeb, demo_folder: Path, tmp_path: Path, hanging: threading.Event, caplog: Any
) -> None:
    """It is answered, the log says so, and the event is there once the disk is back."""
    looks = f"sqlite:///{tmp_path / 'looks.db'}"
    web = make_web(demo_folder, access=looks)
    for path in ("/keys", "/runs", "/models"):
        web.get(path)
    assert [r.message for r in caplog.records if "not safe" in r.message] == [
        "an access event is not safe: the spool takes none; those handed over wait in memory"
    ]
    hanging.set()
    web.get("/datasets")
    with Emitter(looks) as emit:
        emit.flush()
    with Ledger(looks) as ledger:
        wanted = ["/keys", "/runs", "/models", "/datasets"]
        for _ in range(2_400):
            found = [
                ledger.event_json(one)["after"]["path"] for one in ledger.events("entity:access")
            ]
            if len(found) == len(wanted):
                break
            threading.Event().wait(0.05)
        assert sorted(found) == sorted(wanted)


def test_what_cannot_be_recorded_is_not_shown_where_that_is_wanted(
    make_web: MakeWeb,
    demo_folder: Path,
    tmp_path: Path,
    hanging: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """503 for pages, tables and receipts; again the pages once the disk is back."""
    looks = f"sqlite:///{tmp_path / 'looks.db'}"
    web = make_web(demo_folder, access=looks, access_required=True)
    for path in ("/keys", "/events.csv", "/event/receipt?at=0/3"):
        refused = web.get(path, 503)
        assert refused.headers["retry-after"] and "cannot be" in refused.text
    monkeypatch.setattr(recorder, "WAIT_SECONDS", 60)
    hanging.set()
    for _ in range(2_400):
        if web.get("/keys", None).status == 200:
            break
        threading.Event().wait(0.05)
    web.get("/keys")


class Full:
    """An emitter whose spool is full."""

    def create(self, *given: Any, **options: Any) -> str:
        """Takes nothing."""
        raise Unavailable("the spool is full\nhelp")

    def close(self, timeout: float | None = None) -> None:
        """Nothing to do."""


def test_the_log_says_how_many_and_not_each(caplog: Any) -> None:
    """A full spool under load does not fill the log, too."""
    now = [0.0]
    held = Recorder(Full(), "access", lambda: now[0])  # type: ignore[arg-type]
    for _ in range(5):
        assert not held.record("a", {})
    now[0] = recorder.SAY_SECONDS
    assert not held.record("a", {})
    assert [record.message for record in caplog.records] == [
        "an access event is not safe: the spool is full; help",
        "5 access events are not safe: the spool is full; help",
    ]
    held.close()


def test_a_queue_that_is_full_loses_and_says_so(
    tmp_path: Path, hanging: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Memory has an end; the end of the server, too."""
    monkeypatch.setattr(recorder, "MAX_WAITING", 2)
    monkeypatch.setattr(recorder, "CLOSE_SECONDS", 0.05)
    with Emitter(f"sqlite:///{tmp_path / 'looks.db'}") as emit:
        held = Recorder(emit, "access", lambda: 0.0)
        assert not any(held.record("a", {"n": number}) for number in range(5))
        held.close()
        hanging.set()
    assert caplog.records[-1].message == "3 access events are lost: the spool takes none"


def test_the_end_does_not_wait_for_a_locked_ledger_of_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """The events stay in the spool, which the log says."""
    monkeypatch.setattr(recorder, "CLOSE_SECONDS", 0.2)
    monkeypatch.setattr(recorder, "WAIT_SECONDS", 60)
    file = tmp_path / "looks.db"
    held = Recorder(Emitter(f"sqlite:///{file}"), "access", lambda: 0.0)
    assert held.record("a", {"n": 1})
    held._emitter.flush()
    other = sqlite3.connect(file)
    other.execute("begin immediate")
    assert held.record("a", {"n": 2})
    held.close()
    other.rollback()
    other.close()
    assert "1 event waits in" in caplog.records[-1].message


def test_every_question_is_a_look(make_web: MakeWeb, demo_folder: Path, tmp_path: Path) -> None:
    """That nothing is there is an answer, too; so are HEAD, and that nothing has changed."""
    looks = f"sqlite:///{tmp_path / 'looks.db'}"
    web = make_web(demo_folder, access=looks)
    web.get("/entity", 404, ref="inquiry/nobody")
    web.get("/keys", 404, as_of="no-such-event")
    web.get("/event/receipt", 404, at="0/99999")
    tag = web.get("/runs.json", pin="0:4").headers["etag"]
    web.get("/runs.json", 304, pin="0:4", headers={"If-None-Match": tag})
    web.get("/events.csv", method="HEAD")
    expected = ["/entity", "/event/receipt", "/events.csv", "/keys", "/runs.json", "/runs.json"]
    found: list[str] = []
    until = time.monotonic() + 120
    while len(found) < len(expected) and time.monotonic() < until:
        time.sleep(0.05)
        with suppress(AuditError), Ledger(looks) as ledger:
            found = sorted(ledger.replay("access")["path"])
    assert found == expected


def test_a_verification_that_cannot_be_recorded_is_not_begun(
    make_web: MakeWeb, demo_folder: Path, tmp_path: Path, hanging: threading.Event
) -> None:
    """Where that is wanted: pressing the button is a look at everything."""
    looks = f"sqlite:///{tmp_path / 'looks.db'}"
    web = make_web(demo_folder, access=looks, access_required=True)
    web.get("/verify/run", 503, method="POST", body="")
    assert "never run" in web.get("/verify.json").text


def test_a_bug_in_the_emitter_ends_no_recording(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: Any
) -> None:
    """That look is not safe, and said not to be; the next one is."""
    plain = Emitter.create

    def create(self: Emitter, *given: Any, **options: Any) -> str:
        monkeypatch.setattr(Emitter, "create", plain)
        raise ZeroDivisionError

    monkeypatch.setattr(Emitter, "create", create)
    monkeypatch.setattr(recorder, "WAIT_SECONDS", 60)
    written = Recorder(Emitter(f"sqlite:///{tmp_path / 'looks.db'}"), "access", time.monotonic)
    assert [written.record("a", {"path": "/"}) for _ in range(2)] == [False, True]
    written.close()
    assert any("ZeroDivisionError" in record.message for record in caplog.records)
