"""Runbook and README of deploy/: what they tell people to type exists."""

import importlib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from audit.cli.app import app
from tests.deploy.support import DEPLOY, env_file, load_yaml, rules, variables

DOCUMENTS = ("runbook.md", "README.md")
TEXT = {name: (DEPLOY / name).read_text() for name in DOCUMENTS}
SERVICES = load_yaml("compose.yaml")["services"]
OURS = {
    name for name, service in SERVICES.items() if "AUDIT_STORE" in service.get("environment", {})
}
SCRIPTS = {path.stem for path in DEPLOY.glob("*.py")}
WRITING = {"consume", "emit", "import", "init", "key", "quarantine retry"}

COMPOSE_OPTIONS = {
    "build": set(),
    "exec": {"-T"},
    "logs": {"--since", "--tail"},
    "ps": {"-a"},
    "restart": set(),
    "run": {"--rm", "-T", "--entrypoint"},
    "start": set(),
    "stop": set(),
    "up": {"-d", "--wait", "--force-recreate"},
}
WITH_VALUE = {"--since", "--tail", "--entrypoint"}


def commands(text: str) -> Iterator[str]:
    """What is to be typed: in blocks after `$ `, and between backticks."""
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for block in blocks:
        for line in block.splitlines():
            assert line.startswith("$ "), line
            yield line[2:]
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`([^`\n]+)`", rest):
        if re.match(r"(docker compose|audit) ", code) and "..." not in code:
            yield code


def parts(command: str) -> list[list[str]]:
    """The words of each program in a command line, redirections left out."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&<>;")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if word in ("|", "&&", ";"):
            found.append([])
        elif word in ("<", ">", ">>"):
            next(words)
        else:
            found[-1].append(word)
    return found


@cache
def subcommand(group: str, name: str) -> click.Command:
    parent = app if not group else subcommand("", group)
    assert isinstance(parent, click.Group)
    found = parent.get_command(click.Context(parent), name)
    assert found is not None, f"there is no audit {group} {name}"
    return found


def check_audit(words: list[str]) -> str:
    """The name of the command, which exists and has the options."""
    name, *rest = words
    command = subcommand("", name)
    if isinstance(command, click.Group):
        group, name = name, rest[0]
        command = subcommand(group, name)
        name, rest = f"{group} {name}", rest[1:]
    options = {option for parameter in command.params for option in parameter.opts}
    unknown = [word for word in rest if word.startswith("-") and word not in options]
    assert unknown == [], f"audit {name} has no {unknown}"
    return name


def check_compose(words: list[str]) -> None:
    words = list(words)
    while words[0] == "--profile":
        assert any(words[1] in service.get("profiles", []) for service in SERVICES.values())
        del words[:2]
    verb, entrypoint = words.pop(0), None
    while words and words[0].startswith("-"):
        option = words.pop(0)
        assert option in COMPOSE_OPTIONS[verb], f"docker compose {verb} {option}"
        value = words.pop(0) if option in WITH_VALUE else None
        entrypoint = value if option == "--entrypoint" else entrypoint
    if verb not in ("run", "exec"):
        assert set(words) <= SERVICES.keys()
        return
    service = words.pop(0)
    assert service in SERVICES
    if verb == "run":
        check_run(service, entrypoint, words)


def check_run(service: str, entrypoint: str | None, words: list[str]) -> None:
    assert service in OURS
    if entrypoint == "sh":
        assert words[0] == "-c"
        # What the inner shell puts in is one more word, of no option.
        inner = re.sub(r"\$\([^)]*\)", "", words[1])
        [[program, *words]] = parts(inner)
        assert program == "attestory-entrypoint"
    elif entrypoint is not None:
        return
    if words[0] in SCRIPTS:
        return
    name = check_audit(words)
    assert (service == "audit") == (name in WRITING or name.startswith("key ")), words


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_exists_with_its_options(name: str) -> None:
    seen = list(commands(TEXT[name]))
    assert seen
    for command in seen:
        for words in parts(command):
            match words:
                case ["docker", "compose", *rest]:
                    check_compose(rest)
                case ["audit", *rest]:
                    check_audit(rest)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    for target, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", TEXT[name]):
        path = DEPLOY / (target or name)
        assert path.exists()
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            assert anchor in {
                re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings
            }


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_setting_exists(name: str) -> None:
    known = set(env_file(".env.example"))
    for path in (DEPLOY / "compose.yaml", DEPLOY / "entrypoint.sh", DEPLOY / "setup.py"):
        known |= set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", path.read_text()))
    known |= {f"{secret}_FILE" for secret in known}
    for module in ("audit.kafka.address", "audit.capture.delivery.bus", "consumers.command"):
        source = importlib.import_module(module).__file__
        assert source is not None
        known |= set(re.findall(r"\bAUDIT_[A-Z_]+\b", Path(source).read_text()))
    named = set(re.findall(r"\b(?:AUDIT|KAFKA|POSTGRES|GRAFANA|BACKUP|BIND)_[A-Z_]+\b", TEXT[name]))
    assert named - known == {"KAFKA_"} & named


def test_every_alert_is_in_the_runbook_and_no_other() -> None:
    named = set(re.findall(r"\bAttestory[A-Z]\w+", TEXT["runbook.md"]))
    assert named == {rule["alert"] for rule in rules()}


def test_the_quarantine_table_has_every_reason() -> None:
    reasons = set()
    for name in ("audit.log.intake", "consumers.decode", "consumers.signatures"):
        module = importlib.import_module(name)
        reasons |= {value for key, value in vars(module).items() if key.endswith("_REASON")}
    section = TEXT["runbook.md"].partition("| reason begins with |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == reasons


def test_every_file_that_the_readme_names_is_there_and_no_other() -> None:
    section = TEXT["README.md"].partition("| file | what |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    named = {name.rstrip("/") for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    there = {path.name for path in DEPLOY.iterdir()}
    made_by_people = {".env", "secrets", "backup", "__pycache__"}
    beside = {"README.md", ".gitignore", "Dockerfile.dockerignore"}
    assert named == there - beside - made_by_people


def test_every_variable_of_the_compose_file_is_explained() -> None:
    text = re.sub(r"^\s*#.*$", "", (DEPLOY / "compose.yaml").read_text(), flags=re.MULTILINE)
    used = {variable.name: variable.default for variable in variables(text)}
    explained = env_file(".env.example")
    assert used.keys() == explained.keys()
    defaults = {name: value for name, value in used.items() if value is not None}
    assert {name: explained[name] for name in defaults} == defaults
