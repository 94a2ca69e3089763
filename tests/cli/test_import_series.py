"""`audit import --snapshots` on the command line."""

from pathlib import Path

import pytest

from tests.cli.conftest import Cli

SERIES = ("import", "days", "--entity", "user", "--key", "id", "--snapshots")


@pytest.fixture
def days(ledger_dir: Path) -> Path:
    """Three days of one dataset."""
    folder = ledger_dir / "days"
    folder.mkdir()
    for day, text in enumerate(("1,a\n2,b\n", "1,a\n", "1,c\n3,d\n"), 1):
        (folder / f"users-2026-01-0{day}.csv").write_text(f"id,name\n{text}")
    (folder / "notes.txt").write_text("who made this")
    return folder


def test_each_day_replays_as_its_file(cli: Cli, days: Path) -> None:
    ran = cli(*SERIES)
    assert [line.split()[:7] for line in ran.lines[1:]] == [
        ["2026-01-01", "imported", "2", "2", "0", "0", "0"],
        ["2026-01-02", "imported", "1", "0", "0", "1", "1"],
        ["2026-01-03", "imported", "2", "1", "1", "0", "0"],
    ]
    assert "--valid-at 2026-01-03" in ran.err and "notes.txt" in ran.err
    for path in sorted(days.glob("*.csv")):
        date = path.stem.removeprefix("users-")
        rows = cli("replay", "user", "--valid-at", date, "--format", "csv").lines
        assert [",".join(row.split(",")[1:]) for row in rows] == path.read_text().splitlines()
    assert "--valid-at" in cli("replay", "user", "--as-of", "2026-01-02").err


def test_a_dry_run_records_nothing(cli: Cli, days: Path, ledger_dir: Path) -> None:
    ran = cli(*SERIES, "--dry-run")
    assert [line.split()[1:3] for line in ran.lines[1:]] == [
        ["new", "2"],
        ["new", "1"],
        ["new", "2"],
    ]
    assert "nothing is recorded" in ran.err and not (ledger_dir / "audit.db").exists()
    done = cli(*SERIES, "--json").json
    assert done["size"] and [one["state"] for one in done["snapshots"]] == ["imported"] * 3
    again = cli(*SERIES, "--json", "--dry-run").json
    assert [one["state"] for one in again["snapshots"]] == ["skipped"] * 3
    assert again["snapshots"][0]["digest"] == done["snapshots"][0]["digest"]
    version = cli("show", "dataset/user.snapshot@2026-01-02").out
    assert done["snapshots"][1]["digest"].removeprefix("sha256:")[:12] in version


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("import", "a", "b", "--entity", "u", "--key", "id"), "a series: --snapshots"),
        (("import", "a", "--entity", "u", "--key", "id", "--gaps"), "go with --snapshots"),
        (("import", "a", "--events", "--snapshots"), "each line says it all"),
        ((*SERIES, "--snapshot"), "do not fit"),
        ((*SERIES, "--valid-time", "x"), "do not fit"),
        (("import", "-", "--entity", "u", "--key", "id", "--snapshots"), "do not fit"),
        (("import", "nowhere", "--entity", "u", "--key", "id", "--snapshots"), "no file or folder"),
        ((*SERIES, "--date-column", "day"), "is a folder"),
        (("import", "days/notes.txt", "--entity", "u", "--key", "id", "--snapshots"), "no date"),
    ],
)
def test_what_does_not_fit_is_refused(
    cli: Cli, days: Path, ledger_dir: Path, args: tuple[str, ...], said: str
) -> None:
    assert said in cli(*args, code=2).err
