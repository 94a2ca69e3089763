"""A ledger of several logs on the command line: positions, queries, status, keys."""

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.verify.layout import ORIGIN, SCHEMA, Layout, event


@pytest.fixture
def layout(ledger_dir: Path) -> Layout:
    """Four partitions; the third holds what could not be accepted."""
    layout = Layout(ledger_dir)
    for partition in layout.next_offsets:
        layout.feed(partition, [SCHEMA, *(event(n) for n in range(partition, 40, 4))])
    layout.feed(2, [b"junk", event(2, actor="mallory"), None])
    layout.feed(3, [b"other junk"])
    layout.heads()
    return layout


def test_status_is_a_table_with_a_line_for_each_log(layout: Layout, cli: Cli) -> None:
    lines = cli("status").lines
    assert lines[0].startswith("ledger ") and lines[1] == "datasets    user"
    header = lines[3].split()
    assert header[:6] == ["LOG", "ORIGIN", "ENTRIES", "EVENTS", "QUARANTINED", "CONFLICTS"]
    rows = [line.split() for line in lines[4:10]]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4", "all"]
    assert rows[3][:6] == ["3", layout.origin(2), "18", "10", "3", "1"]
    assert rows[5][1:5] == ["73", "40", "4", "1"]
    assert all("covers all" in line for line in lines[4:9])
    assert max(map(len, lines[3:10])) <= 120
    policy = [line[12:] for line in lines[11:16]]
    assert policy == cli("key", "list").lines[:5]
    assert policy[0].startswith(f"log {ORIGIN}+") and policy[3].startswith(
        "log " + layout.origin(2)
    )
    logs = cli("status", "--json").json["logs"]
    assert [log["source_lag"] for log in logs] == [None] * 5


def test_the_keys_complete_a_policy(layout: Layout, cli: Cli, ledger_dir: Path) -> None:
    lines = cli("key", "list").lines
    (ledger_dir / "short.policy").write_text(f"{lines[0]}\nquorum none\n")
    said = cli("verify", "--policy", "short.policy", code=1).out
    assert said.startswith("CANNOT TELL") and all(line in said for line in lines[1:5])
    (ledger_dir / "full.policy").write_text("\n".join(lines) + "\n")
    assert cli("verify", "--policy", "full.policy").out.startswith("OK")


def test_positions_name_the_log(layout: Layout, cli: Cli) -> None:
    assert "fits 5 logs; say which: 0/3, 1/3" in cli("show", "3", code=2).err
    shown = cli("show", "3/7", "--json").json
    assert (shown["log"], shown["index"], shown["origin"]) == (3, 7, layout.origin(2))
    assert f"FROM        audit.events/2 offset {shown['index'] - 4}" in cli("show", "3/7").out
    head = cli("show", "3/HEAD", "--json").json
    assert head["quarantined"].startswith("TOMBSTONE")
    assert "shown by `audit quarantine show 3/17`" in cli("show", "3/HEAD").out
    assert "audit.events/2 offset 13" in cli("quarantine", "show", "3/17").out


def test_queries_find_what_is_quarantined_in_all_logs(layout: Layout, cli: Cli) -> None:
    def places(*query: str) -> list[str]:
        found = cli("log", *query, "--json").json
        return sorted(f"{one['log']}/{one['index']}" for one in found)

    assert places("kind:quarantined") == ["3/15", "3/16", "3/17", "4/15"]
    assert places("kind:quarantined", "log:4") == ["4/15"]
    assert places("kind:quarantined", "reason:UNDECODABLE") == ["3/15", "4/15"]
    assert places("kind:quarantined", "-reason:UNDECODABLE") == ["3/16", "3/17"]
    assert places("kind:quarantined", "reason:TOMBSTONE", "reason:EVENT_ID_CONFLICT") == [
        "3/16",
        "3/17",
    ]
    assert [row.split()[0] for row in cli("quarantine", "list").lines[1:]] == [
        *("3/15", "3/16", "3/17", "4/15"),
    ]
    assert places("kind:control", "type:ledger.heads") == ["0/8"]


def test_reason_is_an_events_reason_too(user: Cli) -> None:
    assert [one["type"] for one in user("log", "reason:moved", "--json").json] == ["data.update"]
    assert user("log", "reason:other", "--json").json == []


def test_what_waits_in_the_spool_is_told(
    layout: Layout, cli: Cli, ledger_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audit.capture.delivery.spool import Spool, encode_record

    monkeypatch.setenv("AUDIT_SPOOL", str(ledger_dir / "spool"))
    (ledger_dir / "spool").mkdir()
    assert cli("status", "--json").json["spools"] == []
    spool = Spool.create(ledger_dir / "spool", ORIGIN, lambda: "emitter-9-000000")
    for number in range(3):
        spool.append(encode_record(number, event(number), None))
    (waiting,) = cli("status", "--json").json["spools"]
    assert (waiting["destination"], waiting["events"], waiting["alive"]) == (ORIGIN, 3, True)
    assert f"spool       3 events for {ORIGIN}, of a running process: " in cli("status").out
    spool.close()
