"""`audit verify`, `prove`, `show`, `bundle`: evidence, and what is wrong with it."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from audit.store.guards import GUARDS
from tests.cli.conftest import Cli


def tamper(database: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        for guard in GUARDS:
            connection.execute(f"DROP TRIGGER {guard}")
        for statement in statements:
            connection.execute(statement)


FORGE = 'UPDATE entries SET leaf = CAST(replace(leaf, "SCS", "SCX") AS BLOB) WHERE "index" = 5'


def test_verify_ok_in_the_shape_of_the_interface(user: Cli) -> None:
    found = user("verify", "--json").json
    assert found["verdict"] == "ok" and found["trust"] == "policy file audit.policy"
    (log,) = found["logs"]
    wanted = {"origin", "size", "root_hash", "verified_size", "producer_signatures", "findings"}
    assert wanted | {"not_proven"} <= log.keys()
    assert (log["size"], log["verified_size"], log["findings"]) == (8, 8, [])
    counts = {"checked": 0, "invalid": 0, "unsigned": 3, "unknown_key": 0}
    assert log["producer_signatures"] == counts
    assert {"freshness", "key_provenance"} <= set(log["not_proven"])


def test_verify_for_people(user: Cli) -> None:
    out = user("verify").out
    assert out.startswith("OK: ") and "NOT PROVEN" in out


def test_verify_with_a_key_that_was_handed_over(user: Cli) -> None:
    vkey = user("key", "list").lines[0].split()[1]
    found = user("verify", "--key", vkey, "--json").json
    assert found["verdict"] == "ok" and "key_provenance" not in found["not_proven"]


def test_verify_with_a_checkpoint_from_elsewhere(user: Cli) -> None:
    user("prove", "HEAD", "-o", "kept.tlog-proof")
    user("emit", "create", "user", "6", "{}")
    found = user("verify", "--checkpoint", "kept.tlog-proof", "--json").json
    assert found["logs"][0]["external_checkpoints"] == 1


def test_verify_takes_a_bare_checkpoint_too(user: Cli, ledger_dir: Path) -> None:
    note = user("replay", "user", "--json").json["citation"]["logs"][0]["checkpoint"]["note"]
    (ledger_dir / "note").write_text(note)
    assert user("verify", "--checkpoint", "note", "--json").json["verdict"] == "ok"


def test_verify_from_an_entry_on(user: Cli) -> None:
    found = user("verify", "--from", "5", "--json").json
    assert found["verdict"] == "ok" and "prefix_content" in found["not_proven"]


def test_verify_one_entry(user: Cli) -> None:
    found = user("verify", "--entry", "6", "--json").json
    assert found["verdict"] == "ok" and "other_entries" in found["not_proven"]


def test_tampering_is_exit_1_and_named(user: Cli, ledger_dir: Path) -> None:
    tamper(ledger_dir / "audit.db", FORGE)
    found = user("verify", "--json", code=1).json
    assert found["verdict"] == "tampered"
    assert min(f["index"] for f in found["logs"][0]["findings"]) == 5
    assert user("verify", code=1).out.startswith("TAMPERED: ")
    assert user("verify", "--entry", "5", "--json", code=1).json["verdict"] == "tampered"
    assert "INVALID" in user("show", "5", code=1).out
    assert "NOT VERIFIED" in user("replay", "user/5", "--as-of", "5", "--verify", code=1).err


def test_a_deleted_entry_is_named(user: Cli, ledger_dir: Path) -> None:
    tamper(ledger_dir / "audit.db", 'DELETE FROM entries WHERE "index" = 6')
    found = user("verify", "--json", code=1).json
    assert ("missing_entry", 6) in [(f["code"], f["index"]) for f in found["logs"][0]["findings"]]


CANNOT_TELL = {
    "no policy": lambda folder: (folder / "audit.policy").unlink(),
    "no SQLite file": lambda folder: (folder / "audit.db").write_bytes(b"junk" * 1000),
    "an empty file": lambda folder: (folder / "audit.db").write_bytes(b""),
    "half a file": lambda folder: (folder / "audit.db").write_bytes(
        (folder / "audit.db").read_bytes()[:4096]
    ),
}


@pytest.mark.parametrize("name", CANNOT_TELL)
def test_what_cannot_be_judged_is_exit_1_and_no_traceback(
    user: Cli, ledger_dir: Path, name: str
) -> None:
    for rest in ledger_dir.glob("audit.db-*"):
        rest.unlink()
    CANNOT_TELL[name](ledger_dir)
    assert user("verify", "--json", code=1).json["verdict"] in ("cannot_tell", "tampered")


def test_the_key_of_another_ledger_cannot_tell(user: Cli) -> None:
    user("init", "--store", "sqlite:///b.db", "--origin", "test.example/other")
    other = user("key", "list", "--store", "sqlite:///b.db").lines[0].split()[1]
    assert user("verify", "--key", other, "--json", code=1).json["verdict"] == "cannot_tell"


def test_a_receipt_verifies_alone(user: Cli, ledger_dir: Path) -> None:
    vkey = user("key", "list").lines[0].split()[1]
    assert user("prove", "5", "-o", "one.tlog-proof").out == ""
    printed = user("prove", "5").out
    assert printed == (ledger_dir / "one.tlog-proof").read_text()
    shown = user("prove", "5", "--json").json
    assert (shown["log"], shown["index"], shown["receipt"]) == (0, 5, printed)
    for path in ledger_dir.glob("audit.*"):
        path.unlink()
    found = user("verify", "one.tlog-proof", "--key", vkey, "--json").json
    assert found["verdict"] == "ok" and found["logs"][0]["entries"] == 1
    forged = printed.replace("index 5", "index 6")
    (ledger_dir / "forged").write_text(forged)
    assert user("verify", "forged", "--key", vkey, "--json", code=1).json["verdict"] == "tampered"


def test_a_bundle_verifies_and_reads_alone(user: Cli, ledger_dir: Path) -> None:
    vkey = user("key", "list").lines[0].split()[1]
    written = user("bundle", "op:update", "-o", "case.zip", "--json").json
    assert written["file"] == "case.zip" and written["entries"] >= 3
    elsewhere = ledger_dir / "elsewhere"
    elsewhere.mkdir()
    shutil.move(ledger_dir / "case.zip", elsewhere)
    for path in ledger_dir.glob("audit.*"):
        path.unlink()
    found = user("verify", "elsewhere/case.zip", "--key", vkey, "--json").json
    assert found["verdict"] == "ok" and "selection" in found["not_proven"]
    url = ("--store", "bundle:///elsewhere/case.zip")
    assert user("verify", "--key", vkey, *url, "--json").json["verdict"] == "ok"
    # The update was asked for; its row comes whole, so that it can be replayed.
    assert len(user("history", "user/5", *url, "--json").json["versions"]) == 3
    assert user("replay", "user/5", "--as-of", "6", *url, "--json").json["row"]["dpt"] == "ISR"
    for args in (("log",), ("status",), ("show", "6"), ("blame", "user/5"), ("replay", "user")):
        assert "bundle" in user(*args, *url).err
    assert user("emit", "create", "user", "9", "{}", *url, code=2).err


def test_a_bundle_of_everything(user: Cli) -> None:
    user("bundle", "-o", "all.zip")
    rows = user("log", "--json", "--store", "bundle:///all.zip").json
    assert rows == user("log", "--json").json
    assert user("verify", "all.zip", "--json").json["verdict"] == "ok"


def test_a_bundle_of_nothing_is_refused(user: Cli, ledger_dir: Path) -> None:
    assert "nothing" in user("bundle", "actor:nobody", "-o", "case.zip", code=2).err
    assert not (ledger_dir / "case.zip").exists()


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04junk", b"c2sp.org/tlog-proof@v1\n"])
def test_files_that_are_no_evidence_cannot_tell(
    user: Cli, ledger_dir: Path, content: bytes
) -> None:
    (ledger_dir / "file").write_bytes(content)
    found = user("verify", "file", "--json", code=1).json
    assert found["verdict"] in ("cannot_tell", "tampered")


BAD = {
    "no file": (("verify", "none.zip"), "none.zip", 2),
    "a folder": (("verify", "."), "directory", 3),
    "no policy file": (("verify", "--policy", "none"), "none", 2),
    "a broken policy": (("verify", "--policy", "broken"), "line 1", 2),
    "a broken key": (("verify", "--key", "x"), "verifier key", 2),
    "key and policy": (("verify", "--key", "x", "--policy", "y"), "not both", 2),
    "no checkpoint": (("verify", "--checkpoint", "none"), "none", 2),
    "a folder as checkpoint": (("verify", "--checkpoint", "."), "folder", 2),
    "an entry of a file": (("verify", "broken", "--entry", "1"), "--entry", 2),
    "an entry beyond the end": (("verify", "--entry", "99"), "99", 2),
    "from beyond the end": (("verify", "--from", "99"), "99", 1),
    "a log that is not there": (("verify", "--log", "7"), "7", 2),
    "prove beyond the end": (("prove", "99"), "99", 2),
    "prove into no folder": (("prove", "5", "-o", "no/f"), "no/", 3),
    "bundle into no folder": (("bundle", "-o", "no/f.zip"), "no/", 3),
    "a bundle without a name": (("bundle",), "-o", 2),
    "show nothing known": (("show", "nothing"), "nothing", 2),
    "show an unknown row": (("show", "user/77"), "user/77", 2),
    "show a position at a time": (("show", "5", "--as-of", "6"), "--as-of", 2),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_calls_are_refused_in_a_line(user: Cli, ledger_dir: Path, name: str) -> None:
    (ledger_dir / "broken").write_text("log x\n")
    args, reason, code = BAD[name]
    ran = user(*args, code=code)
    assert reason in ran.err + ran.out


def test_a_read_only_folder_can_still_be_read(user: Cli, ledger_dir: Path) -> None:
    folder = ledger_dir / "fixed"
    folder.mkdir()
    with (
        closing(sqlite3.connect(ledger_dir / "audit.db")) as source,
        closing(sqlite3.connect(folder / "audit.db")) as target,
    ):
        source.backup(target)
    shutil.copy(ledger_dir / "audit.policy", folder)
    folder.chmod(0o500)
    try:
        found = user("verify", "--store", "sqlite:///fixed/audit.db", "--json").json
    finally:
        folder.chmod(0o700)
    assert found["verdict"] == "ok"


# Show


def test_show_an_entry_and_who_signed(cli: Cli, ledger_dir: Path) -> None:
    cli("init", "--origin", "test.example/log")
    with (ledger_dir / "audit.policy").open("a") as policy:
        policy.write(cli("key", "new", "crm").out)
    signed = ("--source", "crm", "--key", "crm.key", "--actor", "alice")
    event_id = cli("emit", "create", "user", "5", '{"dpt": "SCS"}', *signed).out.strip()
    shown = cli("show", event_id)
    lines = shown.lines
    (producer,) = [line for line in lines if line.startswith("SIGNED BY")]
    assert "producer crm" in producer
    assert "VALID over these exact bytes (key pinned in audit.policy)" in producer
    (log,) = [line for line in lines if line.strip().startswith("log test.example/log")]
    assert "VALID through the checkpoint of size" in log and "proof hash" in log
    assert any("witnesses" in line and "NONE" in line for line in lines)
    assert any(line.startswith("NOT PROVEN") and "what crm said is true" in line for line in lines)
    found = cli("show", event_id, "--json").json
    assert found["signed_by"]["producer"]["status"] == "VALID"
    assert found["after"] == {"dpt": "SCS"} and len(found["leaf_hash"]) == 64
    for other in ("HEAD", "user/5", f"crm:{event_id}", f"sha256:{found['leaf_hash'][:12]}"):
        assert cli("show", other).out == shown.out


def test_show_says_that_nobody_signed(user: Cli) -> None:
    assert user("show", "5", "--json").json["signed_by"]["producer"]["status"] == "NONE"


def test_show_a_row_as_of(user: Cli) -> None:
    assert user("show", "user/5", "--json").json["type"] == "data.delete"
    assert user("show", "user/5", "--as-of", "6", "--json").json["type"] == "data.update"


@pytest.mark.parametrize("index", range(5))
def test_show_what_the_log_itself_says(user: Cli, index: int) -> None:
    shown = user("show", str(index), "--json").json
    assert shown["type"] in ("log.opened", "schema") and shown["index"] == index
    assert user("show", str(index)).out.startswith(f"ENTRY       0/{index} of test.example/log")


def test_show_what_is_quarantined(user: Cli) -> None:
    user("emit", "create", "user", "6", '{"n": 1}', "--event-id", "a")
    user("emit", "create", "user", "6", '{"n": 2}', "--event-id", "a", code=2)
    assert "EVENT_ID_CONFLICT" in user("show", "HEAD").out


def test_an_id_of_digits_needs_its_mark(user: Cli) -> None:
    user("emit", "create", "user", "6", "{}", "--event-id", "1")
    assert json.loads(user("show", "id:1", "--json").out)["event_id"] == "1"
    assert user("show", "1", "--json").json["type"] == "schema"
