"""`audit export` as it is typed."""

from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def test_an_export_and_its_check(user: Cli, tmp_path: Path) -> None:
    ran = user("export", "--to", "lake")
    assert ran.out == ""
    assert ran.err.startswith("lake: 8 entries and 1 dataset in 5 files, ")
    assert ran.err.endswith("manifest signed\n")
    ran = user("export", "--check", "lake")
    assert ran.lines[0] == "OK: the export is what the log recorded (export lake)"
    assert ran.lines[2] == "manifest signed by test.example/log"
    user("emit", "create", "user", "6", '{"name": "Eve"}')
    ran = user("export", "--to", "lake", "--json")
    assert (ran.json["added"], ran.json["entries"], ran.json["extended"]) == (1, 9, True)
    assert ran.json["signed"] is True
    (tmp_path / "lake/sql/user.spark.sql").write_text("DROP")
    ran = user("export", "--check", "lake", "--json", "--policy", "audit.policy", code=1)
    assert ran.json["verdict"] == "tampered"
    assert [finding["code"] for finding in ran.json["findings"]] == ["export_differs"]
    assert (
        "FOUND  export_differs: sql/user.spark.sql" in user("export", "--check", "lake", code=1).out
    )


def test_without_the_key_it_is_said_to_be_unsigned(user: Cli, tmp_path: Path) -> None:
    (tmp_path / "audit.key").rename(tmp_path / "away.key")
    ran = user("export", "--to", "lake")
    assert "manifest NOT SIGNED: the key audit.key is not here" in ran.err
    ran = user("export", "--check", "lake")
    assert "NOT PROVEN  who made the export: its manifest is not signed" in ran.lines


def test_selections_and_points(user: Cli) -> None:
    assert user("export", "actor:bob", "--to", "bobs", "--json").json["datasets"] == {}
    user("export", "--check", "bobs")
    user("export", "--to", "user", "--entity", "user", "--as-of", "6", "--no-leaves")
    assert "NOT PROVEN  what the columns say" in user("export", "--check", "user").out


@pytest.mark.parametrize(
    "args",
    [
        *((), ("--to", "x", "--check", "x"), ("--to", "x", "--policy", "audit.policy")),
        *(("--to", "x", "--entity", "nobody"), ("--check", "x", "--as-of", "1")),
        *(("nonsense", "--to", "x"), ("actor:bob", "--to", "x", "--entity", "user")),
        *(("--check", "nothing-here"), ("--to", "")),
    ],
)
def test_calls_that_are_wrong(user: Cli, args: tuple[str, ...], tmp_path: Path) -> None:
    user("export", *args, code=2)
    assert not (tmp_path / "x" / "manifest.json").exists()
