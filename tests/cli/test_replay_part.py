"""`audit replay` of a part of a dataset, and made again from all leaves; blame and diff in full."""

import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import audit
from audit.errors import InvalidInput, Unproven
from audit.ledger.answers import DatasetAnswer
from audit.replay.select import Selected
from tests.cli.conftest import Cli


def tamper(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in names.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            assert connection.execute(statement).rowcount == 1


def test_columns_keys_and_conditions(inquiries: Cli) -> None:
    part = ("replay", "inquiry", "--columns", "PaymentStatus,LoanAmount", "--format", "csv")
    out = inquiries(*part, "--where", "LoanAmount>=10000", "--where", "PaymentStatus!=x").lines
    assert out[0] == "entity_key,LoanAmount,PaymentStatus" and len(out) > 1
    assert all(int(line.split(",")[1]) >= 10000 for line in out[1:])
    table = inquiries(*part[:-2], "--key", "1003", "--key", "1001", "--key", "none").lines
    assert table[0].split() == ["entity_key", "PaymentStatus", "LoanAmount"]
    assert [line.split()[0] for line in table[1:]] == ["1001", "1003"]
    checked = inquiries("replay", "inquiry", "--key", "1003", "--verify", "--json").json
    assert [row["entity_key"] for row in checked["rows"]] == ["1003"]
    assert checked["verified"]["ok"] and checked["verified"]["rows"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("inquiry", "--columns", "LoanAmuont"), "did you mean LoanAmount"),
        (("inquiry", "--where", "LoanAmuont>1"), "did you mean LoanAmount"),
        (("inquiry", "--where", "Amount"), "is no condition"),
        (("inquiry", "--where", 'LoanAmount="1\\q"'), "JSON string"),
        (("inquiry/1003", "--key", "5"), "--key does not fit inquiry/1003"),
        (("inquiry/1003", "--where", "a=1"), "--where does not fit inquiry/1003"),
        (("run/5", "--where", "a=1"), "--where does not fit run/5"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(
    inquiries: Cli, options: tuple[str, ...], words: str
) -> None:
    assert words in inquiries("replay", *options, code=2).err


def test_verify_says_what_was_compared(user: Cli) -> None:
    err = user("replay", "user", "--as-of", "6", "--verify").err
    assert "2 entries used, found among all 7 leaves" in err and "give the 1 rows shown" in err
    assert "3 entries used" in user("replay", "user/5", "--verify").err
    found = user("replay", "user", "--as-of", "6", "--verify", "--json").json["verified"]
    assert found == {**found, "ok": True, "entries": 2, "leaves": 7, "rows": 1}
    early = user("replay", "user", "--as-of", "2020-01-01", "--verify", "--json").json
    assert early["verified"] == {**found, "entries": 0, "leaves": 0, "rows": 0}
    user("bundle", "entity:user", "-o", "users.zip")
    bundled = user("replay", "user", "--store", "bundle:///users.zip", "--verify").err
    assert "3 entries used" in bundled and "leaves out cannot be told" in bundled


BOTH = {"user", "user/5"}


@pytest.mark.parametrize(
    ("statement", "wrong"),
    [
        ("""UPDATE entries SET entity_type = 'other' WHERE "index" = 6""", BOTH),
        # A dataset is folded by the keys in its leaves, so that it is right all the same.
        ("""UPDATE entries SET entity_key = CAST('6' AS BLOB) WHERE "index" = 6""", {"user/5"}),
        (
            """UPDATE entries SET entity_type = 'user', entity_key = CAST('7' AS BLOB)
               WHERE "index" = 4""",
            {"user"},
        ),
        ("""DELETE FROM entries WHERE "index" = 6""", BOTH),
        ("""DELETE FROM entries WHERE "index" = 2""", BOTH),
        (
            """UPDATE entries SET leaf = CAST(replace(leaf, 'ISR', 'XXX') AS BLOB)
               WHERE "index" = 6""",
            BOTH,
        ),
        (
            """UPDATE entries SET leaf = CAST(replace(leaf, 'alice', 'mal1e') AS BLOB)
               WHERE "index" = 5""",
            BOTH,
        ),
    ],
)
def test_no_entry_can_be_left_out_put_in_or_changed(
    user: Cli, ledger_dir: Path, statement: str, wrong: set[str]
) -> None:
    tamper(ledger_dir / "audit.db", statement)
    with audit.Ledger() as ledger:
        for what in sorted(BOTH):
            try:
                held = ledger.check_answer(what).ok
            except audit.StoreCorrupt:
                held = False
            assert held is (what not in wrong)
        if "user" in wrong:
            with pytest.raises(Unproven):
                ledger.replay("user", verify=True)


def test_an_answer_that_does_not_follow_is_found(user: Cli) -> None:
    """A read model may be wrong in any way: what it shows is compared with what the leaves say."""
    with audit.Ledger() as ledger:
        answer = ledger.dataset("user", as_of=6)
        assert ledger.check("user", answer).ok
        for rows in (
            [],
            [("5", {"dpt": "ISR", "name": "Eve"})],
            [("5", {"dpt": "ISR"})],
            [("6", {"dpt": "ISR", "name": "Christian"})],
            [("5", {"dpt": "ISR", "name": "Christian"}), ("6", {})],
        ):
            assert not ledger.check("user", Lying.of(answer, rows)).ok
        assert ledger.check(
            "user", Lying.of(answer, [("5", {"dpt": "ISR", "name": "Christian"})])
        ).ok
        row = ledger.row("user/5", as_of=6)
        assert ledger.check("user/5", row).ok
        wrong = row._replace(found=row.found._replace(row={"dpt": "SCS", "name": "Christian"}))
        assert "another 'dpt'" in ledger.check("user/5", wrong).sentence
        gone = row._replace(found=row.found._replace(row=None))
        assert "not shown" in ledger.check("user/5", gone).sentence


class Lying(Selected):
    """An answer with other rows than those that were recorded."""

    told: list[tuple[str, Any]]

    @classmethod
    def of(cls, answer: DatasetAnswer, rows: list[tuple[str, Any]]) -> DatasetAnswer:
        real = answer.dataset
        made = cls(real.found, real.wanted, real.columns)
        made.told = rows
        return answer._replace(dataset=made)

    def rows(self) -> Any:
        return iter(self.told)


@pytest.mark.parametrize("mode", ["then", "latest", "union"])
def test_a_verified_replay_is_the_same_frame(user: Cli, mode: str) -> None:
    user("emit", "create", "user", "6", '{"dpt": "X", "age": 1}')
    with audit.Ledger() as ledger:
        for options in (
            {"columns": mode},
            {"columns": mode, "valid_at": "2100-01-01"},
            {"columns": mode, "filters": [("dpt", "==", "X")]},
            {"keys": ["6"], "as_of": "HEAD"},
        ):
            plain = ledger.replay("user", **options)
            pd.testing.assert_frame_equal(ledger.replay("user", verify=True, **options), plain)


def test_replay_in_other_forms(user: Cli) -> None:
    with audit.Ledger() as ledger:
        table = ledger.replay("user", as_of=6, format="arrow")
        assert table.to_pylist() == [{"entity_key": "5", "dpt": "ISR", "name": "Christian"}]
        assert ledger.replay("user", 6, format="polars").to_dicts() == table.to_pylist()
        relation = ledger.replay("user", as_of=6, format="duckdb")
        assert relation.fetchall() == [("5", "ISR", "Christian")]
        answer = ledger.dataset("user", as_of=6)
        assert answer.to_pandas().attrs["audit"] == answer.cited
        with pytest.raises(InvalidInput, match="pandas, arrow, polars, duckdb"):
            ledger.replay("user", format="excel")  # type: ignore[call-overload]


def test_join_asof_of_the_facade(user: Cli) -> None:
    with audit.Ledger() as ledger:
        moments = [ledger.entry(index).recorded_time_us for index in (4, 5, 6, 7)]
        spine = pd.DataFrame({"at": pd.to_datetime(moments, unit="us", utc=True), "who": "5"})
        found = ledger.join_asof(spine, "user", ["dpt"], time="at", key="who")
        assert found["dpt"].tolist() == [pd.NA, "SCS", "ISR", pd.NA]
        assert found.attrs["audit_joins"][0]["entity"] == "user"


def test_blame_of_a_dataset(user: Cli) -> None:
    user("emit", "create", "user", "6", '{"dpt": "X"}', "--actor", "eve")
    lines = user("blame", "user", "--as-of", "6").lines
    assert lines[0].split()[:4] == ["KEY", "FIELD", "VALUE", "ENTRY"]
    assert [line.split()[:3] for line in lines[1:]] == [
        ["5", "dpt", "ISR"],
        ["5", "name", "Christian"],
    ]
    (cell,) = user("blame", "user", "--key", "6", "--key", "7", "--json").json
    assert (cell["entity_key"], cell["field"], cell["value"], cell["actor"]) == (
        "6",
        "dpt",
        "X",
        "eve",
    )
    assert "--key goes with a dataset" in user("blame", "user/5", "--key", "6", code=2).err
    with audit.Ledger() as ledger:
        frame = ledger.blame("user", as_of=6)
        assert frame["reason"].tolist() == ["moved", None] and frame.attrs["audit"]["logs"]
        assert ledger.blame("user", keys=[6])["value"].tolist() == ["X"]


def test_diff_in_full(user: Cli) -> None:
    assert user("diff", "user", "4..HEAD").lines == []
    lines = user("diff", "user", "4..HEAD", "--full").lines
    assert [line[:3] for line in lines if line[0] != " "] == ["+ 5", "~ 5", "- 5"]
    assert "update by alice (moved)" in lines[3] and lines[4].strip() == "dpt: SCS -> ISR"
    steps = user("diff", "user/5", "5..HEAD", "--full", "--json").json
    assert [step["entry"]["actor"] for step in steps] == ["alice", "bob"]
    with audit.Ledger() as ledger:
        assert [s.kind for s in ledger.diff("user", 7, 5, net=False)] == ["added", "changed"]
