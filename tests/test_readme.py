"""The README's blocks are run, in order, in one empty folder, and print what it shows.

What differs from run to run (times, ids, hashes, keys, sizes of new files) is masked on both sides;
a line `...` stands for any lines. `UPDATE_README=1` writes what was printed, where it differs from
what is shown, into the README. The block of the cluster runs on a real Kafka and PostgreSQL.

Python and the shell run as processes; a plain `audit` command runs in this one, whose imports are
done. The demo is the one that this run of the tests has made (tests/acceptance/claims.py).
"""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from audit.cli.app import app
from tests.acceptance.claims import told_once
from tests.services.kafka import KafkaServer
from tests.services.postgres import PostgresServer
from tests.services.process import free_ports

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(
    r"(?<!<!-- cluster -->\n)^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
CLUSTER = re.compile(r"<!-- cluster -->\n```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLUSTER_BUS = "kafka://localhost:9092/audit.events"
CLUSTER_STORE = "postgresql://audit@localhost/audit"
SERVE, SERVED_AT = "(audit serve >", "http://127.0.0.1:8460"
TIMEOUT_S = 240
DEMO = re.compile(r"audit demo --dir (\w+) > ([\w.]+)(?: +#.*)?")
PLAIN = re.compile(r"(?:cd (\w+) && )?audit ((?:'[^']*'|[^|<>;&`$'])*?)(?: \| (.*))?")
"""A command of ours alone: where, its words, and what filters it prints to."""

MASKS = [
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)"), "<time>"),
    (re.compile(r"20(2[6-9]|[3-9]\d)-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d+)?)?"), "<time>"),
    (re.compile(r"attestory\.local/[\w.-]+?-[0-9a-f]{8}"), "<origin>"),
    (re.compile(r"\+[0-9a-f]{8}\+[A-Za-z0-9+/]{43,44}=?"), "+<key>"),
    (re.compile(r"[A-Za-z0-9+/]{43}="), "<hash>"),
    (re.compile(r"\b[0-9a-f]{12,64}\b"), "<hash>"),
    (re.compile(r"\b\d+(\.\d+)? ?(ms|s|us|seconds?)\b"), "<duration>"),
]


def masked(text: str) -> str:
    for pattern, name in MASKS:
        text = pattern.sub(name, text)
    # Columns are padded to the widest value, which a mask changes.
    return re.sub(r"[ \t─-]{2,}", "  ", text).rstrip()


def commands(block: str) -> list[tuple[str, str]]:
    """(command, printed) pairs of a console block; a command may go on after a backslash."""
    found: list[tuple[str, str]] = []
    lines = block.splitlines()
    while lines:
        line = lines.pop(0)
        assert line.startswith("$ "), f"a console block begins with a command, not {line!r}"
        command = line[2:]
        while command.endswith("\\"):
            command = command[:-1] + lines.pop(0).removeprefix("> ").strip()
        printed = []
        while lines and not lines[0].startswith("$ "):
            printed.append(lines.pop(0))
        found.append((command, "\n".join(printed)))
    return found


def run(command: str, folder: Path, **settings: str) -> str:
    """What a command prints in a folder."""
    plain = PLAIN.fullmatch(command)
    if plain is None:
        return run_in_shell(command, folder, **settings)
    folder, words, filters = folder / (plain[1] or ""), shlex.split(plain[2]), plain[3]
    with tempfile.TemporaryDirectory() as aside, pytest.MonkeyPatch.context() as patch:
        # As in a process: what is printed into a file is kept until it is enough, or the end.
        said = Path(aside, "said")
        piped = said if filters is None else Path(aside, "piped")
        for name, value in {"COLUMNS": "100", **settings}.items():
            patch.setenv(name, value)
        with (
            contextlib.chdir(folder),
            piped.open("a") as out,
            said.open("a", buffering=1) as err,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            app.run(words)
        if filters is not None:
            with piped.open("rb") as given, said.open("ab") as out:
                subprocess.run(["bash", "-c", filters], stdin=given, stdout=out, check=False)
        return said.read_text().rstrip("\n")


def run_in_shell(command: str, folder: Path, **settings: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AUDIT_")} | settings
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["COLUMNS"] = "100"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT_S,
        check=False,
    )
    return done.stdout.decode().rstrip("\n")


ID = MASKS[0][0]


def renamed(shown: str, printed: str) -> dict[str, str]:
    """Ids as the README has them -> as they are in this run: later commands name them."""
    return dict(zip(ID.findall(shown), ID.findall(printed), strict=False))


def with_ids(command: str, ids: dict[str, str]) -> str:
    return ID.sub(lambda found: ids.get(found[0], found[0]), command)


def at_port(command: str, port: int) -> str:
    """A command with a port of this run for the default one, which another process may have."""
    served = command.replace(SERVE, f"(audit serve --port {port} >")
    return served.replace(SERVED_AT, f"http://127.0.0.1:{port}")


def matches(shown: str, printed: str) -> bool:
    parts = re.split(r"^\.\.\.$", masked(shown), flags=re.MULTILINE)
    pattern = ".*".join(re.escape(part.strip("\n")) for part in parts)
    return re.fullmatch(pattern.strip("\n"), masked(printed), re.DOTALL) is not None


@pytest.mark.slow
def test_the_readme_shows_what_is_printed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = README.read_text()
    assert SERVE in text
    assert SERVED_AT in text
    wrong, [port] = [], free_ports(1)
    ids: dict[str, str] = {}
    for kind, block in BLOCK.findall(text):
        if block.startswith(("$ make", "$ git", "$ pip")):
            continue
        if kind == "python":
            (tmp_path / "example.py").write_text(block)
            printed = run("python example.py || echo FAILED", tmp_path)
            if "FAILED" in printed:
                wrong.append(printed)
            continue
        fresh = ""
        for command, shown in commands(block):
            if demo := DEMO.fullmatch(command):
                told = told_once(tmp_path_factory)
                shutil.copytree(told.folder, tmp_path / demo[1])
                (tmp_path / demo[2]).write_text(told.text)
                printed = ""
            else:
                printed = run(at_port(with_ids(command, ids), port), tmp_path)
            ids |= renamed(shown, printed)
            if not matches(shown, printed):
                wrong.append(f"$ {command}\nshown:\n{shown}\nprinted:\n{printed}")
                shown = printed
            fresh += f"$ {command}\n" + (f"{shown}\n" if shown else "")
        if os.environ.get("UPDATE_README"):
            text = text.replace(block, fresh)
    if os.environ.get("UPDATE_README"):
        README.write_text(text)
        return
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.slow
def test_the_readme_shows_what_a_cluster_prints(
    private_kafka: KafkaServer, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    text = README.read_text()
    block = CLUSTER.search(text)
    assert block is not None
    bus, store = private_kafka.url("audit.events"), postgres_server.new_database()
    settings = {"AUDIT_BUS": bus, "AUDIT_STORE": store, "XDG_STATE_HOME": str(tmp_path)}
    wrong, fresh = [], ""
    for command, shown in commands(block[1]):
        printed = run(command.replace(CLUSTER_BUS, bus), tmp_path, **settings)
        printed = printed.replace(bus, CLUSTER_BUS).replace(store, CLUSTER_STORE)
        if not matches(shown, printed):
            wrong.append(f"$ {command}\nshown:\n{shown}\nprinted:\n{printed}")
            shown = printed
        fresh += f"$ {command}\n" + (f"{shown}\n" if shown else "")
    if os.environ.get("UPDATE_README"):
        README.write_text(text.replace(block[1], fresh))
        return
    assert not wrong, "\n\n".join(wrong)
