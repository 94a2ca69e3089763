"""What the tests of the command line share: running it in this process, and a small ledger."""

import json
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


@pytest.fixture
def cli(ledger_dir: Path) -> Cli:
    """Runs `audit ARGS` in an empty folder; asserts the exit code, and no traceback ever."""

    def run(*args: str, code: int = 0, stdin: str | bytes | None = None) -> Ran:
        result = CliRunner().invoke(app, list(args), input=stdin, catch_exceptions=False)
        ran = Ran(result.exit_code, result.stdout, result.stderr)
        assert ran.code == code, f"audit {args} exits {ran.code}:\n{ran.out}{ran.err}"
        assert "Traceback" not in ran.err
        if code in (2, 3):
            assert 1 <= len(ran.err.splitlines()) <= 2, ran.err
            assert ran.err.startswith("error: ")
            assert "a bug in audit" not in ran.err
        return ran

    return run


@pytest.fixture
def user(cli: Cli) -> Cli:
    """A ledger in which user 5 was created (entry 5), moved (6) and deleted (7)."""
    cli("init", "--origin", "test.example/log")
    who = ("--actor", "alice", "--source", "crm")
    cli("emit", "create", "user", "5", '{"name": "Christian", "dpt": "SCS"}', *who)
    cli("emit", "update", "user", "5", '{"dpt": "ISR"}', *who, "--reason", "moved")
    cli("emit", "delete", "user", "5", "--actor", "bob", "--source", "crm")
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
