"""The help, and that the documents name every command and setting."""

import re
from pathlib import Path

import click
import pytest

from audit.cli.app import COMMANDS, app
from audit.cli.operators.consume import consume
from audit.cli.outcome import TRACEBACK_VARIABLE
from audit.config import Settings
from audit.kafka import address
from tests.cli.conftest import Cli

README = Path(__file__).resolve().parents[2] / "README.md"
READING = {
    *("replay", "history", "blame", "diff", "log", "show", "bundle", "predictions", "status"),
    *("key list", "quarantine list", "runs", "serving", "review", "trace", "trace-diff", "drift"),
}
"""Commands that answer about the past; `verify`, `prove` and `quarantine show` check or show one
thing that never changes."""
PRINTING = {"consume", "demo", "serve"}
"""Commands whose output is no result: a service's log, a story, pages."""


def leaves() -> dict[str, click.Command]:
    """Every command that does something, by the words that name it."""
    found: dict[str, click.Command] = {}
    context = click.Context(app)
    for name in COMMANDS:
        command = app.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            inner = {f"{name} {sub}": command.commands[sub] for sub in command.commands}
            found.update(inner)
        else:
            found[name] = command
    return found


LEAVES = leaves()


def options(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


def test_the_help_groups_commands_by_who_uses_them(cli: Cli) -> None:
    out = cli("--help").out
    assert cli("-h").out == out
    for audience in ("Applications", "Auditors", "Machine learning", "Operators"):
        assert re.search(rf"^{audience}", out, re.MULTILINE)
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.help)}", out, re.MULTILINE), name


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_a_help(cli: Cli, name: str) -> None:
    out = cli(*name.split(), "--help").out
    assert out.startswith(f"Usage: audit {name} ")
    assert len(out.splitlines()) > 5


@pytest.mark.parametrize("name", sorted(set(LEAVES) - PRINTING))
def test_every_command_takes_store_and_json(name: str) -> None:
    assert {"--store", "--json"} <= options(LEAVES[name])


@pytest.mark.parametrize("name", sorted(READING))
def test_every_command_that_reads_the_past_takes_as_of(name: str) -> None:
    assert "--as-of" in options(LEAVES[name])


def test_the_version_is_told(cli: Cli) -> None:
    assert re.fullmatch(r"attestory \d+\.\d+\.\d+\n", cli("--version").out)


@pytest.mark.parametrize("name", LEAVES)
def test_the_readme_names_every_command(name: str) -> None:
    assert re.search(rf"audit {re.escape(name.split()[0])}\b", README.read_text())


@pytest.mark.parametrize(
    "name",
    sorted(
        {
            *(f"AUDIT_{name.upper()}" for name in Settings.model_fields),
            TRACEBACK_VARIABLE,
            *(str(option.envvar) for option in consume.params if option.envvar),
            *re.findall(r"\bAUDIT_[A-Z_]+[A-Z]\b", str(address.__doc__)),
        }
    ),
)
def test_the_readme_names_every_setting(name: str) -> None:
    assert re.search(rf"\b{name}\b", README.read_text())
