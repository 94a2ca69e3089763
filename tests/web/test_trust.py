"""Flags, verification, keys and checkpoints, quarantine."""

import csv
import io
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq

from audit import Ledger
from tests.cli.conftest import run
from tests.web.conftest import HOSTILE, MakeWeb, Web


def _verified(web: Web) -> dict[str, object]:
    """Press the button, and wait for the end of the run."""
    web.get("/verify/run", 303, method="POST", body="", headers={"Content-Length": "0"})
    for _ in range(2_400):
        run_ = web.json("/verify")["run"]
        if run_["state"] != "running":
            return dict(run_)
        time.sleep(0.05)
    raise AssertionError("the verification does not end")


def test_flags_and_what_they_share(web: Web) -> None:
    """The same as `audit review --json`, the newest first; the pages together have all."""
    run("flag", "user/5", "-m", "<b>wrong</b>", "--store", web.store)
    said = web.json("/review")
    expected = run("review", "--json", "--store", web.store).json
    assert said["flagged"] == list(reversed(expected["flagged"])) and len(said["flagged"]) > 1
    assert all(said[name] == expected[name] for name in expected if name != "flagged")
    assert said["next"] is None and not said["stopped"] and not said["thorough"]
    assert {**web.json("/review", things="1000"), "thorough": False} == said
    page = web.get("/review").text
    assert "&lt;b&gt;wrong&lt;/b&gt;" in page and "/entity?ref=user%2F5" in page


def test_a_verification_is_started_watched_and_tells_what_it_found(web: Web) -> None:
    """The page shows the report that `audit verify --json` gives."""
    assert "Verify all entries now" in web.get("/verify").text
    done = _verified(web)
    assert done["state"] == "done" and done["report"]["verdict"] == "ok"  # type: ignore[index]
    assert "all holds" in web.get("/verify").text


def test_the_first_bad_entry_is_named(make_web: MakeWeb, demo_folder: Path, tmp_path: Path) -> None:
    """A leaf changed behind the database's back."""
    folder = tmp_path / "ledger"
    shutil.copytree(demo_folder, folder)
    with closing(sqlite3.connect(folder / "audit.db")) as database:
        triggers = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        held = triggers.fetchall()
        for name, _ in held:
            database.execute(f'DROP TRIGGER "{name}"')
        changed = "UPDATE entries SET leaf = CAST(leaf || x'00' AS BLOB) WHERE log = 0"
        changed += ' AND "index" = 3'
        assert database.execute(changed).rowcount == 1
        for _, sql in held:
            database.execute(sql)
        database.commit()
    web = make_web(folder)
    assert _verified(web)["report"]["verdict"] == "tampered"  # type: ignore[index]
    page = web.get("/verify").text
    assert "The first bad entry" in page and "/event?at=0%2F3" in page


def test_keys_and_checkpoints(web: Web) -> None:
    """Lines for a policy, and signatures that were checked; older ones by the link."""
    said = web.json("/keys")
    log = said["logs"][0]
    with Ledger(web.store) as ledger:
        newest = ledger.reader.newest_checkpoint(0)
        assert newest is not None and log["checkpoints"][0]["size"] == newest.size
        assert log["policy_line"] == f"log {ledger.reader.logs()[0].vkey}"
    assert all(one["problem"] is None for one in log["checkpoints"])
    sizes = [one["size"] for one in log["checkpoints"]]
    assert sizes == sorted(sizes, reverse=True)
    older = web.json("/keys", log="0", below=str(sizes[0]))["logs"][0]["checkpoints"]
    assert older[0]["size"] == sizes[1]
    assert log["policy_line"] in web.get("/keys").text


def test_what_is_quarantined_and_why(hostile: Web) -> None:
    """The list, its table forms, and one entry with its bytes."""
    said = hostile.json("/quarantine")
    assert said["count"] == len(said["entries"]) == 1
    one = said["entries"][0]
    rows = list(csv.DictReader(io.StringIO(hostile.get("/quarantine.csv").text)))
    assert [int(row["index"]) for row in rows] == [one["index"]]
    table = pq.read_table(io.BytesIO(hostile.get("/quarantine.parquet").body))
    assert table.column("reason").to_pylist() == [one["reason"]]
    place = f"{one['log']}/{one['index']}"
    assert bytes.fromhex(hostile.json("/quarantined", at=place)["bytes_hex"])
    page = hostile.get("/quarantined", at=place).text
    assert HOSTILE["markup"] not in page and "Its bytes" in page
    hostile.get("/quarantined", 400, at="0/0")
    hostile.get("/quarantined", 404, at="0/99999")
    hostile.get("/quarantined", 400)
