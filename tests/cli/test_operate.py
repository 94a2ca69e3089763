"""`audit import`, `key`, `quarantine`: what operators and data people type."""

import io
import json
from pathlib import Path

import pandas
import pytest

from audit.ledger.harmless import harmless
from tests.cli.conftest import INQUIRIES, Cli

IMPORT = ("import", str(INQUIRIES), "--entity", "inquiry", "--key", "InquiryID")


def test_import_reports_and_repeats_add_nothing(cli: Cli) -> None:
    assert cli(*IMPORT, "--valid-time", "InquiryDate").out == "10 created; the log has 15 entries\n"
    again = cli(*IMPORT, "--valid-time", "InquiryDate", "--json").json
    assert (again["created"], again["skipped"], again["size"]) == (0, 10, 15)


def test_import_snapshot_emits_the_differences(cli: Cli, ledger_dir: Path) -> None:
    cli(*IMPORT)
    lines = INQUIRIES.read_text().splitlines()
    lines[1] = lines[1].replace("250000", "260000")
    (ledger_dir / "new.csv").write_text("\n".join(lines[:-1]) + "\n")
    found = cli("import", "new.csv", "--entity", "inquiry", "--key", "InquiryID", "--snapshot")
    assert found.out == "1 updated, 1 deleted, 8 unchanged; the log has 17 entries\n"


def test_import_from_stdin_and_parquet(cli: Cli, ledger_dir: Path) -> None:
    rows = INQUIRIES.read_text()
    options = ("--entity", "inquiry", "--key", "InquiryID", "--store")
    cli("import", "-", "--format", "csv", *options, "sqlite:///a.db", stdin=rows)
    frame = pandas.read_csv(io.StringIO(rows), dtype={"CustomerID": str, "InquiryID": str})
    frame.to_parquet(ledger_dir / "rows.parquet")
    cli("import", "rows.parquet", *options, "sqlite:///b.db")
    amounts = [
        [
            row["LoanAmount"]
            for row in cli("replay", "inquiry", "--store", url, "--json").json["rows"]
        ]
        for url in ("sqlite:///a.db", "sqlite:///b.db")
    ]
    assert amounts[0] == amounts[1] and amounts[0][0] == 250000


def test_import_says_who_and_why(cli: Cli) -> None:
    cli(*IMPORT, "--source", "bank", "--actor", "alice", "--reason", "initial load")
    event = json.loads(cli("log", "--format", "jsonl").lines[0])
    said = (event["source"], event["actor"], event["reason"])
    assert said == ("bank", "alice", "initial load")


BAD = {
    "no entity": (str(INQUIRIES), ("--key", "InquiryID"), "--entity"),
    "no key": (str(INQUIRIES), ("--entity", "inquiry"), "--key"),
    "no such column": (str(INQUIRIES), ("--entity", "inquiry", "--key", "Inquiry"), "InquiryID"),
    "no such time column": (
        str(INQUIRIES),
        ("--entity", "inquiry", "--key", "InquiryID", "--valid-time", "When"),
        "When",
    ),
    "no file": ("none.csv", ("--entity", "inquiry", "--key", "InquiryID"), "none.csv"),
    "no ending": ("junk", ("--entity", "inquiry", "--key", "InquiryID"), "--format"),
    "junk as csv": ("junk", ("--entity", "e", "--key", "a", "--format", "csv"), "junk"),
    "junk as parquet": ("junk", ("--entity", "e", "--key", "a", "--format", "parquet"), "junk"),
    "junk as jsonl": ("junk", ("--entity", "e", "--key", "a", "--format", "jsonl"), "junk"),
    "junk as events": ("junk", ("--events",), "junk"),
    "rows' options with events": ("junk", ("--events", "--key", "a"), "--events"),
    "broken JSON events": ("broken.jsonl", ("--events",), "2"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_imports_are_refused_in_a_line_and_record_nothing(
    cli: Cli, ledger_dir: Path, name: str
) -> None:
    cli("init")
    (ledger_dir / "junk").write_bytes(bytes(range(256)) * 40)
    event = {"type": "data.create", "entity_type": "user", "entity_key": "5", "after": {}}
    (ledger_dir / "broken.jsonl").write_text(json.dumps(event) + '\n{"type": \n')
    file, options, reason = BAD[name]
    assert reason in cli("import", file, *options, code=2).err
    assert cli("status", "--json").json["logs"][0]["events"] == 0


def test_a_missing_file_leaves_no_ledger_behind(cli: Cli, ledger_dir: Path) -> None:
    cli("import", "none.csv", "--entity", "e", "--key", "a", code=2)
    assert list(ledger_dir.iterdir()) == []


def test_key_new_prints_a_policy_line_and_signs(cli: Cli, ledger_dir: Path) -> None:
    cli("init")
    line = cli("key", "new", "crm").out
    assert line.startswith("producer crm crm+")
    with (ledger_dir / "audit.policy").open("a") as policy:
        policy.write(line)
    cli("emit", "create", "user", "5", "{}", "--source", "crm", "--key", "crm.key")
    (log,) = cli("verify", "--json").json["logs"]
    assert log["producer_signatures"]["checked"] == 1
    assert line.strip() in cli("status").out


def test_key_list_is_a_policy(cli: Cli, ledger_dir: Path) -> None:
    cli("init")
    before = cli("key", "list").lines
    assert [line.split()[0] for line in before] == ["log", "quorum"]
    cli("key", "new", "crm")
    (ledger_dir / "mine.policy").write_text(cli("key", "list").out)
    assert cli("verify", "--policy", "mine.policy", "--json").json["verdict"] == "ok"
    assert cli("key", "list", "--as-of", "3").lines == before
    listed = cli("key", "list", "--json").json
    assert [key["name"] for key in listed["producers"]] == ["crm"]


def test_key_rotate_and_revoke(cli: Cli, ledger_dir: Path) -> None:
    cli("init")
    first = cli("key", "new", "crm", "--json").json
    assert first["file"] == "crm.key" and first["last_index"] is None
    second = cli("key", "rotate", "crm", "-o", "crm2.key", "--json").json
    assert second["vkey"] != first["vkey"] and (ledger_dir / "crm2.key").exists()
    ended = cli("key", "revoke", "crm", "--json").json
    assert ended["vkey"] == second["vkey"] and ended["last_index"] is not None
    lines = [line for line in cli("key", "list").lines if line.startswith("producer")]
    assert len(lines) == 2 and lines[1] == ended["policy_line"]


def test_key_rotate_takes_the_next_free_name(cli: Cli, ledger_dir: Path) -> None:
    cli("init")
    cli("key", "new", "crm")
    (ledger_dir / "crm-2.key").write_text("mine")
    assert cli("key", "rotate", "crm", "--json").json["file"] == "crm-3.key"
    assert cli("key", "rotate", "crm", "--json").json["file"] == "crm-4.key"
    assert (ledger_dir / "crm-2.key").read_text() == "mine"


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("new", "crm"), "crm"),
        (("new", "a b", "-o", "x.key"), "white space"),
        (("revoke", "nobody"), "nobody"),
        (("rotate", "nobody", "-o", "x.key"), "nobody"),
    ],
)
def test_bad_key_commands(cli: Cli, ledger_dir: Path, args: tuple[str, ...], reason: str) -> None:
    cli("init")
    cli("key", "new", "crm")
    size = cli("status", "--json").json["logs"][0]["size"]
    assert reason in cli("key", *args, code=2).err
    assert cli("status", "--json").json["logs"][0]["size"] == size
    assert not (ledger_dir / "x.key").exists()


def test_quarantine_lists_and_shows_what_was_not_accepted(cli: Cli) -> None:
    cli("emit", "create", "user", "5", '{"n": 1}', "--event-id", "a")
    assert cli("quarantine", "list", "--json").json == []
    cli("emit", "create", "user", "5", '{"n": 2}', "--event-id", "a", code=2)
    (entry,) = cli("quarantine", "list", "--json").json
    assert entry["quarantined"].startswith("EVENT_ID_CONFLICT")
    assert len(cli("quarantine", "list").lines) == 2
    shown = cli("quarantine", "show", str(entry["index"]))
    assert "EVENT_ID_CONFLICT" in shown.out and "data.create" in shown.out.replace("\n", "")
    assert cli("quarantine", "show", "HEAD", "--json").json == entry
    assert "not quarantined" in cli("quarantine", "show", "5", code=2).err
    assert "say --all" in cli("quarantine", "retry", code=2).err
    (log,) = cli("status", "--json").json["logs"]
    assert (log["events"], log["quarantined"], log["conflicts"]) == (1, 1, 1)


def test_harmless_spells_what_a_terminal_would_obey() -> None:
    assert harmless("a\x1b[0m\n\t\u202e\u200b\x9b\udcff") == (
        "a\\x1b[0m\\n\\t\\u202e\\u200b\\x9b\\udcff"
    )
    assert harmless("Jürgen 日本 \\n €") == "Jürgen 日本 \\n €"
