"""`audit log`: pages and their tokens, counts, and what is said about a wrong query."""

import re
from pathlib import Path

import pytest

from audit.ledger import Ledger
from tests.cli.conftest import Cli

TOKEN = re.compile(r"more fits: go on with --after (\S+)\n")


def indexes(ran: object) -> list[int]:
    return [event["index"] for event in ran]  # type: ignore[attr-defined]


def test_what_n_leaves_out_is_told_with_the_way_on(user: Cli) -> None:
    first = user("log", "-n", "2", "--oneline")
    said = TOKEN.fullmatch(first.err)
    assert said and [line.split()[0] for line in first.lines] == ["7", "6"]
    rest = user("log", "-n", "2", "--oneline", "--after", said[1])
    assert [line.split()[0] for line in rest.lines] == ["5"] and rest.err == ""
    assert user("log", "-n", "3", "--oneline").err == ""
    assert "-n 0" in user("log", "-n", "0").err


@pytest.mark.parametrize("form", ["table", "jsonl", "csv", "oneline"])
def test_every_format_tells_the_token(user: Cli, form: str) -> None:
    ran = user("log", "-n", "1", "--format", form)
    assert TOKEN.fullmatch(ran.err)
    assert not TOKEN.search(ran.out)


def test_json_has_the_token_once_pages_are_asked_for(user: Cli) -> None:
    assert indexes(user("log", "-n", "2", "--json").json) == [6, 7]
    first = user("log", "-n", "2", "--json", "--after", "start")
    assert (indexes(first.json["events"]), first.err) == ([6, 7], "")
    user("emit", "create", "user", "6", "{}")
    last = user("log", "-n", "2", "--json", "--after", first.json["next"])
    assert (indexes(last.json["events"]), last.json["next"]) == ([5], None)
    assert user("log", "--json", "--after", "start", "actor:nobody").json == {
        "events": [],
        "next": None,
    }


def test_a_token_belongs_to_its_query(user: Cli) -> None:
    token = user("log", "-n", "1", "--json", "--after", "start").json["next"]
    assert "another query" in user("log", "op:update", "--after", token, code=2).err
    assert "another query" in user("log", "--as-of", "6", "--after", token, code=2).err
    assert "no token" in user("log", "--after", "x" + token, code=2).err


def test_count_is_a_number(user: Cli) -> None:
    assert user("log", "--count").out == "3\n"
    assert user("log", "actor:alice", "--count").out == "2\n"
    assert user("log", "--count", "--as-of", "5", "--scan").out == "1\n"
    assert user("log", "--count", "-has:reason").out == "2\n"
    assert user("log", "--count", "--json").json["count"] == 3


@pytest.mark.parametrize(
    "options",
    [
        ("--count", "-n", "3"),
        ("--count", "--follow"),
        ("--count", "--after", "start"),
        ("--follow", "--after", "start"),
        ("--after", "start", "-n", "0"),
    ],
)
def test_what_does_not_fit_is_refused(user: Cli, options: tuple[str, ...]) -> None:
    user("log", *options, code=2)


def test_scan_finds_the_same(user: Cli) -> None:
    for query in ("", "actor:alice", "op:delete", "field:dpt"):
        assert user("log", query, "--scan").out == user("log", query).out


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("actr:alice", "did you mean actor:?"),
        ("Actor:alice", "did you mean actor:?"),
        ("since:2026-01-01", "did you mean recorded:>=TIME?"),
        ("event-id:5", "did you mean id:?"),
        ("recorded>=2026-01-01", "write recorded:>=2026-01-01"),
        ("actor=alice", "write actor:alice"),
        ("OR", "are alternatives"),
        ("(actor:alice)", "joins nothing here"),
        ("user/5", "entity:user key:5"),
        ("has:nothing", "none of actor, entity, reason, transaction"),
    ],
)
def test_a_wrong_query_is_answered_with_a_hint(user: Cli, query: str, hint: str) -> None:
    assert hint in user("log", query, code=2).err


def test_a_large_log_is_searched_by_columns(cli: Cli, ledger_dir: Path) -> None:
    lines = [f"{n},{'rare' if n % 4_000 == 7 else 'often'}\n" for n in range(10_500)]
    (ledger_dir / "many.csv").write_text("id,name\n" + "".join(lines))
    cli("import", "many.csv", "--entity", "user", "--key", "id", "--actor", "alice")
    cli("emit", "update", "user", "7", '{"extra": 1}', "--actor", "bob")
    for query, number in (("actor:bob", 1), ("field:extra", 1), ("actor:alice", 10_500)):
        counted = cli("log", query, "--count", "--json").json
        assert counted == {"count": number, "by_columns": number}
        assert cli("log", query, "--count", "--json", "--scan").json["by_columns"] == 0
    assert cli("log", "field:extra").out == cli("log", "field:extra", "--scan").out
    # What is written over is seen, dropped, and built again.
    with Ledger(f"sqlite:///{ledger_dir}/audit.db") as ledger:
        assert ledger.read_model is not None
        ledger.read_model.seal()
    kept = [path for path in ledger_dir.rglob("e.*.arrow")]
    assert kept
    for path in kept:
        path.write_bytes(b"not columns")
    assert (
        cli("log", "actor:bob", "--oneline").out
        == cli("log", "actor:bob", "--oneline", "--scan").out
    )
