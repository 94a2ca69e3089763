"""`audit log`, `replay`, `history`, `blame`, `diff`, `status`: what they print, in which order."""

import csv
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import Cli

OPS = ["data.create", "data.update", "data.delete"]


def test_log_shows_the_newest_first_as_a_table_and_oneline(user: Cli) -> None:
    table = user("log").lines
    assert table[0].split() == ["ENTRY", "RECORDED", "TYPE", "WHAT", "ACTOR", "SAYS"]
    assert [line.split()[0] for line in table[1:]] == ["7", "6", "5"]
    assert [line.split()[2] for line in user("log", "--oneline").lines] == OPS[::-1]
    assert user("log", "--format", "oneline").out == user("log", "--oneline").out


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_log_shows_the_oldest_first_as_data(user: Cli, form: str) -> None:
    out = user("log", "--format", form).out
    rows = (
        [json.loads(line) for line in out.splitlines()]
        if form == "jsonl"
        else list(csv.DictReader(io.StringIO(out)))
    )
    assert [row["type"] for row in rows] == OPS


def test_log_json_is_one_array(user: Cli) -> None:
    assert [event["type"] for event in user("log", "--json").json] == OPS
    assert user("log", "actor:nobody", "--json").json == []


def test_log_reverse_turns_the_order_round(user: Cli) -> None:
    assert user("log", "--reverse").lines[1:] == user("log").lines[:0:-1]
    reversed_ = user("log", "--format", "jsonl", "--reverse").lines
    assert reversed_ == user("log", "--format", "jsonl").lines[::-1]


def test_log_n_takes_the_newest(user: Cli) -> None:
    assert [event["type"] for event in user("log", "-n", "2", "--json").json] == OPS[1:]
    assert user("log", "-n", "0", "--json").json == []


def test_log_takes_a_query_and_as_of(user: Cli) -> None:
    def indexes(*query: str) -> list[int]:
        return [event["index"] for event in user("log", *query, "--json").json]

    assert indexes("actor:alice", "op:update") == [6]
    assert indexes("-actor:alice") == [7]
    assert indexes("-n", "5", "-entity:user") == []
    assert indexes("entity:user key:5 field:dpt") == [5, 6]
    assert indexes("--as-of", "6") == [5, 6]
    assert indexes("kind:control", "kind:schema") == [0, 1, 2, 3, 4]


def test_log_jsonl_can_be_imported_again(user: Cli) -> None:
    exported = user("log", "--format", "jsonl").out
    again = user("import", "-", "--events", "--json", "--store", "sqlite:///b.db", stdin=exported)
    assert (again.json["created"], again.json["updated"], again.json["deleted"]) == (1, 1, 1)
    copied = [json.loads(line) for line in exported.splitlines()]
    read = user("log", "--json", "--store", "sqlite:///b.db").json
    for one, other in zip(copied, read, strict=True):
        for name in ("log", "index", "recorded_time", "leaf_hash"):
            del one[name], other[name]
        assert one == other


def test_log_follow_refuses_what_does_not_fit(user: Cli) -> None:
    assert "--follow" in user("log", "--follow", "--as-of", "5", code=2).err


def test_history_tells_who_when_and_why(user: Cli) -> None:
    lines = user("history", "user/5").lines
    assert [line.split()[0] for line in lines[1:]] == ["5", "6", "7"]
    assert "dpt: SCS -> ISR" in lines[2] and "alice" in lines[2] and "moved" in lines[2]
    versions = user("history", "user/5", "--json").json["versions"]
    assert [version["op"] for version in versions] == ["create", "update", "delete"]
    assert versions[1]["changed"] == {"dpt": {"old": "SCS", "new": "ISR"}}
    assert len(user("history", "user/5", "--as-of", "6", "--json").json["versions"]) == 2


def test_history_before_the_first_version(user: Cli) -> None:
    ran = user("history", "user/5", "--as-of", "4")
    assert ran.out == "" and "user/5" in ran.err


def test_blame_names_who_set_each_field(user: Cli) -> None:
    fields = user("blame", "user/5", "--as-of", "6", "--json").json["fields"]
    assert [(f["field"], f["value"], f["index"]) for f in fields] == [
        ("dpt", "ISR", 6),
        ("name", "Christian", 5),
    ]
    assert "moved" in user("blame", "user/5", "--as-of", "6").lines[1]
    gone = user("blame", "user/5")
    assert gone.out == "" and "bob" in gone.err


def test_diff_shows_old_and_new(user: Cli) -> None:
    assert user("diff", "user", "5..6").lines == ["~ 5", "    dpt: SCS -> ISR"]
    assert user("diff", "user/5", "5..6").out == user("diff", "user", "5..6").out
    assert user("diff", "user", "5", "--as-of", "6").out == user("diff", "user", "5..6").out
    assert user("diff", "user", "4..5").lines[0] == "+ 5"
    assert user("diff", "user", "6..HEAD").lines[0] == "- 5"
    nothing = user("diff", "user", "4..HEAD")
    assert nothing.out == "" and "nothing" in nothing.err


def test_diff_json(user: Cli) -> None:
    (change,) = user("diff", "user", "5..6", "--json").json
    assert change["change"] == "changed"
    assert change["fields"] == {"dpt": {"old": "SCS", "new": "ISR"}}


@pytest.mark.parametrize("span", [(), ("5",), ("..",), ("5..6..7",), ("5..6", "--as-of", "7")])
def test_diff_needs_two_points(user: Cli, span: tuple[str, ...]) -> None:
    user("diff", "user", *span, code=2)


def test_status_counts_what_applications_said(user: Cli) -> None:
    status = user("status", "--json").json
    (log,) = status["logs"]
    wanted = {"log": 0, "origin": "test.example/log", "size": 8, "events": 3, "checkpoint_size": 8}
    assert {name: log[name] for name in wanted} == wanted
    assert log["schemas"] + log["control"] + log["events"] == log["size"]
    assert status["datasets"] == ["user"]
    before = user("status", "--json", "--as-of", "6").json["logs"][0]
    assert (before["size"], before["events"], before["checkpoint_size"]) == (7, 2, 7)


def test_status_for_people(user: Cli) -> None:
    out = user("status").out
    assert "8 entries" in out and "3 events" in out and "covers all entries" in out


# Replay


def test_replay_a_dataset_with_its_citation_on_stderr(inquiries: Cli) -> None:
    ran = inquiries("replay", "inquiry")
    assert len(ran.lines) == 11
    assert ran.lines[0].split()[:2] == ["entity_key", "AccountStatus"]
    assert "10 rows" in ran.err and "test.example/log at size 15" in ran.err


def test_replay_json_holds_rows_and_citation(inquiries: Cli) -> None:
    found = inquiries("replay", "inquiry", "--json", "--as-of", "7").json
    assert [row["entity_key"] for row in found["rows"]] == ["1001", "1002", "1003"]
    assert found["rows"][0]["CustomerID"] == "001" and found["rows"][0]["LoanAmount"] == 250000
    (log,) = found["citation"]["logs"]
    assert log["size"] == 8 and len(log["root_hash"]) == 64 and log["checkpoint"]["size"] >= 8


def test_replay_formats_agree(inquiries: Cli, ledger_dir: Path) -> None:
    rows = inquiries("replay", "inquiry", "--json").json["rows"]
    jsonl = [json.loads(line) for line in inquiries("replay", "inquiry", "--format", "jsonl").lines]
    assert jsonl == rows
    table = list(csv.DictReader(io.StringIO(inquiries("replay", "inquiry", "--format", "csv").out)))
    assert table == [{name: str(value) for name, value in row.items()} for row in rows]
    inquiries("replay", "inquiry", "-o", "out.parquet")
    assert pq.read_table(ledger_dir / "out.parquet").to_pylist() == rows


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.ndjson"])
def test_replay_writes_a_file_in_the_format_of_its_ending(
    inquiries: Cli, ledger_dir: Path, name: str
) -> None:
    form = "csv" if name.endswith("csv") else "jsonl"
    ran = inquiries("replay", "inquiry", "-o", name)
    assert ran.out == ""
    assert (ledger_dir / name).read_text() == inquiries("replay", "inquiry", "--format", form).out
    assert [path.name for path in ledger_dir.glob(".out*")] == []


def test_replay_a_row(user: Cli) -> None:
    assert user("replay", "user/5", "--as-of", "6").lines == ["dpt   ISR", "name  Christian"]
    assert user("replay", "user/5", "--json").json["row"] is None
    gone = user("replay", "user/5")
    assert gone.out == "" and "not there" in gone.err


def test_replay_on_the_valid_axis(inquiries: Cli) -> None:
    found = inquiries("replay", "inquiry", "--valid-at", "2020-06-01", "--json").json
    assert [row["entity_key"] for row in found["rows"]] == ["1001", "1002", "1003", "1004", "1005"]


def test_replay_before_an_import_names_the_other_axis(inquiries: Cli) -> None:
    ran = inquiries("replay", "inquiry", "--as-of", "2020-06-01")
    assert len(ran.lines) == 1
    assert "--valid-at 2020-06-01" in ran.err


def test_replay_verify_checks_every_entry_used(inquiries: Cli) -> None:
    assert "10 entries used" in inquiries("replay", "inquiry", "--verify").err
    found = inquiries("replay", "inquiry/1003", "--verify", "--json").json["verified"]
    checked = {"ok": True, "entries": 1, "failed": None, "why": None, "leaves": 15, "rows": 1}
    assert found == checked


def test_replay_verify_without_a_policy_proves_nothing(inquiries: Cli, ledger_dir: Path) -> None:
    (ledger_dir / "audit.policy").unlink()
    assert "NOT VERIFIED" in inquiries("replay", "inquiry", "--verify", code=1).err


@pytest.mark.parametrize("mode", ["then", "latest", "union"])
def test_replay_columns(user: Cli, mode: str) -> None:
    user("emit", "create", "user", "6", '{"phone": "1"}', "--source", "crm")
    columns = user("replay", "user", "--as-of", "6", "--columns", mode).lines[0].split()
    # Without a declared schema: then, those that a row had; latest, those that one has today.
    wanted = {"then": ["dpt", "name"], "latest": ["phone"], "union": ["dpt", "name"]}
    assert columns == ["entity_key", *wanted[mode]]


BAD = {
    "an unknown dataset": (("replay", "usr"), "user"),
    "an unknown row": (("replay", "user/6"), "user/6"),
    "an unknown position": (("replay", "user", "--as-of", "99"), "99"),
    "a bad time": (("replay", "user", "--as-of", "2026-13-01"), "2026-13-01"),
    "a bad valid time": (("replay", "user", "--valid-at", "then"), "then"),
    "a format nobody knows": (("replay", "user", "-o", "x.xls"), "--format"),
    "json and a file": (("replay", "user", "-o", "x.csv", "--json"), "--json"),
    "a folder that is not there": (("replay", "user", "-o", "no/x.csv"), "no/"),
    "a prediction's option": (("replay", "user", "--set", "a=1"), "--set"),
    "a row's option": (("replay", "prediction/x", "--valid-at", "now"), "--valid-at"),
    "an unknown prediction": (("replay", "prediction/x"), "x"),
    "a model": (("replay", "model/a@1"), "model/a@1"),
    "a run": (("replay", "run/1"), "no run"),
    "history of a dataset": (("history", "user"), "user/KEY"),
    "blame of a prediction": (("blame", "prediction/x"), "prediction/x"),
    "a broken query": (("log", "alice"), "alice"),
    "an unknown qualifier": (("log", "actr:alice"), "actor"),
    "a negative count": (("log", "-n", "-1"), "-1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_questions_are_refused_in_a_line(user: Cli, name: str) -> None:
    args, reason = BAD[name]
    # A folder that is not there is not the question's fault: exit 3.
    code = 3 if name == "a folder that is not there" else 2
    assert reason in user(*args, code=code).err


READERS = (
    *(("log",), ("replay", "user"), ("history", "user/5"), ("blame", "user/5")),
    *(("diff", "user", "1..2"), ("status",), ("show", "1"), ("prove", "1"), ("verify",)),
    *(("bundle", "entity:user", "-o", "x.zip"), ("predictions",), ("key", "list")),
    *(("quarantine", "list"), ("quarantine", "show", "1"), ("replay", "prediction/x")),
)


@pytest.mark.parametrize("args", READERS, ids=lambda args: " ".join(args))
def test_a_store_that_is_not_there_is_exit_3_and_none_is_made(
    cli: Cli, ledger_dir: Path, args: tuple[str, ...]
) -> None:
    assert "audit.db" in cli(*args, code=3).err
    assert list(ledger_dir.iterdir()) == []
