"""What the tests of the command line share: running it in this process, and a small ledger."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from audit.cli.app import app

INQUIRIES = Path(__file__).resolve().parents[2] / "audit" / "demo" / "inquiries.csv"


class Ran(NamedTuple):
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Cli = Callable[..., Ran]


def run(*args: str, code: int = 0, stdin: str | bytes | None = None) -> Ran:
    """Run `audit ARGS` in the current folder."""
    result = CliRunner().invoke(app, list(args), input=stdin, catch_exceptions=False)
    ran = Ran(result.exit_code, result.stdout, result.stderr)
    assert ran.code == code, f"audit {args} exits {ran.code}:\n{ran.out}{ran.err}"
    assert "Traceback" not in ran.err
    if code in (2, 3):
        assert 1 <= len(ran.err.splitlines()) <= 2, ran.err
        assert ran.err.startswith("error: ")
        assert "a bug in audit" not in ran.err
    return ran


@pytest.fixture
def cli(ledger_dir: Path) -> Cli:
    """Runs `audit ARGS` in an empty folder; asserts the exit code, and no traceback ever."""
    return run


@pytest.fixture(scope="module")
def made_user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `user`, to be copied: four commands for each of hundreds of tests add up."""
    folder = tmp_path_factory.mktemp("user")
    who = ("--actor", "alice", "--source", "crm")
    with contextlib.chdir(folder):
        run("init", "--origin", "test.example/log")
        run("emit", "create", "user", "5", '{"name": "Christian", "dpt": "SCS"}', *who)
        run("emit", "update", "user", "5", '{"dpt": "ISR"}', *who, "--reason", "moved")
        run("emit", "delete", "user", "5", "--actor", "bob", "--source", "crm")
    return folder


@pytest.fixture
def user(cli: Cli, ledger_dir: Path, made_user: Path) -> Cli:
    """A ledger in which user 5 was created (entry 5), moved (6) and deleted (7)."""
    shutil.copytree(made_user, ledger_dir, dirs_exist_ok=True)
    return cli


@pytest.fixture
def inquiries(cli: Cli) -> Cli:
    """A ledger with the ten inquiries of the example table: entries 5 to 14."""
    cli("init", "--origin", "test.example/log")
    cli(
        *("import", str(INQUIRIES), "--entity", "inquiry", "--key", "InquiryID"),
        *("--valid-time", "InquiryDate"),
    )
    return cli
