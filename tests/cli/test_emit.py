"""`audit init` and `audit emit`."""

import json
import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def test_init_makes_the_ledger_and_prints_the_verifier_key(cli: Cli, ledger_dir: Path) -> None:
    made = cli("init", "--origin", "test.example/log")
    assert made.lines == [made.out.strip()]
    assert made.out.startswith("test.example/log+")
    assert made.out.strip() in (ledger_dir / "audit.policy").read_text()
    assert stat.S_IMODE((ledger_dir / "audit.key").stat().st_mode) == 0o600
    assert cli("init").out == made.out


def test_init_json(cli: Cli) -> None:
    made = cli("init", "--json").json
    assert made.keys() == {"topics", "created", "origin", "vkey", "store", "key", "policy"}
    assert made["created"] is True
    assert cli("init", "--json").json == {**made, "created": False}


def test_init_refuses_another_origin(cli: Cli) -> None:
    cli("init", "--origin", "test.example/log")
    assert "test.example/log" in cli("init", "--origin", "test.example/other", code=2).err


def test_emit_prints_the_event_id_alone_and_makes_what_is_missing(
    cli: Cli, ledger_dir: Path
) -> None:
    event_id = cli("emit", "create", "user", "5", '{"name": "Christian"}').out
    assert len(event_id) == 37 and event_id.endswith("\n")
    assert (ledger_dir / "audit.db").exists() and (ledger_dir / "audit.key").exists()
    assert cli("log", "--format", "jsonl").json["event_id"] == event_id.strip()


def test_emit_json_says_where(cli: Cli) -> None:
    made = cli("emit", "create", "user", "5", '{"name": "C"}', "--json").json
    assert made.keys() == {"event_id", "log", "index", "duplicate"}
    assert (made["log"], made["index"], made["duplicate"]) == (0, 5, False)


def test_emit_records_every_option(cli: Cli) -> None:
    first = cli("emit", "create", "user", "5", '{"dpt": "SCS"}', "--source", "crm").out.strip()
    cli(
        *("emit", "update", "user", "5", '{"dpt": "ISR"}', "--full", "--before", '{"dpt": "SCS"}'),
        *("--actor", "alice", "--reason", "moved", "--transaction", "t1", "--supersedes", first),
        *("--valid-time", "2026-01-02", "--source", "crm", "--event-id", "mine"),
    )
    event = json.loads(cli("log", "--format", "jsonl").lines[-1])
    wanted = {
        "event_id": "mine",
        "type": "data.update",
        "source": "crm",
        "entity_type": "user",
        "entity_key": "5",
        "valid_time": "2026-01-02T00:00:00.000000Z",
        "actor": "alice",
        "reason": "moved",
        "transaction_id": "t1",
        "supersedes": first,
        "image": "full",
        "before": {"dpt": "SCS"},
        "after": {"dpt": "ISR"},
    }
    assert {name: event[name] for name in wanted} == wanted


def test_emit_reads_stdin(cli: Cli) -> None:
    cli("emit", "create", "user", "5", "-", stdin='{"name": "Jürgen"}')
    assert cli("replay", "user/5", "--json").json["row"] == {"entity_key": "5", "name": "Jürgen"}


@pytest.mark.parametrize("key", ["-5", "--", "a b", "005", "x/y", "ключ", "'"])
def test_a_key_may_hold_anything_after_the_dashes(cli: Cli, key: str) -> None:
    cli("emit", "create", "user", "--", key, '{"n": 1}')
    rows = cli("replay", "user", "--format", "jsonl").lines
    assert [json.loads(row)["entity_key"] for row in rows] == [key]


def test_the_same_event_twice_is_recorded_once(cli: Cli) -> None:
    same = ("emit", "create", "user", "5", "{}", "--event-id", "a", "--valid-time", "2026-01-01")
    first = cli(*same, "--json").json
    assert cli(*same, "--json").json == {**first, "duplicate": True}
    assert cli("status", "--json").json["logs"][0]["events"] == 1


def test_another_event_under_the_same_id_is_told(cli: Cli) -> None:
    cli("emit", "create", "user", "5", '{"n": 1}', "--event-id", "a")
    told = cli("emit", "create", "user", "5", '{"n": 2}', "--event-id", "a", code=2).err
    assert "quarantine" in told
    assert cli("replay", "user/5", "--json").json["row"] == {"entity_key": "5", "n": 1}


BAD = {
    "no row": (("create", "user", "5"), "JSON"),
    "no JSON": (("create", "user", "5", "{"), "JSON"),
    "not an object": (("create", "user", "5", "[1]"), "object"),
    "a huge integer": (("create", "user", "5", '{"n": 99999999999999999999}'), "64"),
    "NaN": (("create", "user", "5", '{"n": NaN}'), "NaN"),
    "the same field twice": (("create", "user", "5", '{"n": 1, "n": 2}'), "twice"),
    "a bad entity type": (("create", "User", "5", "{}"), "User"),
    "a reserved entity type": (("create", "prediction", "5", "{}"), "prediction"),
    "an unknown operation": (("upsert", "user", "5", "{}"), "upsert"),
    "a bad time": (("create", "user", "5", "{}", "--valid-time", "soon"), "soon"),
    "no such key file": (("create", "user", "5", "{}", "--key", "no.key"), "no.key"),
    "full with create": (("create", "user", "5", "{}", "--full"), "--full"),
    "before with delete": (("delete", "user", "5", "--before", "{}"), "--before"),
    "a key too long": (("create", "user", "k" * 1025, "{}"), "1024"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line_and_records_nothing(cli: Cli, name: str) -> None:
    cli("init")
    args, reason = BAD[name]
    assert reason in cli("emit", *args, code=2).err
    assert cli("status", "--json").json["logs"][0]["events"] == 0


def test_too_much_on_stdin_is_refused(cli: Cli) -> None:
    assert "1000000" in cli("emit", "create", "user", "5", "-", stdin="x" * 1_000_001, code=2).err


def test_stdin_that_is_no_text_is_refused(cli: Cli) -> None:
    assert "UTF-8" in cli("emit", "create", "user", "5", "-", stdin=b"\xff\xfe\x00", code=2).err


def test_emit_into_a_folder_that_is_not_there(cli: Cli) -> None:
    told = cli("emit", "create", "u", "5", "{}", "--store", "sqlite:///no/where/audit.db", code=3)
    assert "no/where" in told.err


def test_emit_follows_the_bus_unless_a_store_is_typed(
    cli: Cli, ledger_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_BUS", "sqlite:///bus.db")
    cli("emit", "create", "user", "5", "{}")
    cli("emit", "create", "user", "6", "{}", "--store", "sqlite:///typed.db")
    assert sorted(path.name for path in ledger_dir.glob("*.db")) == ["bus.db", "typed.db"]


def test_an_address_of_kafka_that_is_wrong(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_BUS", "kafka://localhost:9092/audit.events?clint=confluent")
    assert "did you mean client?" in cli("emit", "create", "user", "5", "{}", code=2).err
