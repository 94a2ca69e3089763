"""How commands end: exit codes, one or two lines, pipes, and no traceback ever."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from audit.cli import outcome
from audit.cli.app import LATER
from audit.errors import AuditError, NotFound, StoreCorrupt, StoreMissing
from tests.cli.conftest import Cli

AUDIT = [sys.executable, "-m", "audit"]


def ended_with(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    def run() -> None:
        raise error

    code = outcome.guarded(run, lambda: 0)
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (NotFound("no such thing"), 2, "error: no such thing\n"),
        (StoreCorrupt("broken"), 1, "error: broken\n"),
        (StoreMissing("no ledger"), 3, "error: no ledger\n"),
        (AuditError("one\ntwo\nthree"), 2, "error: one\ntwo three\n"),
        (AuditError(), 2, "error: AuditError\n"),
        (NotFound("\x1b[31mred\u202e"), 2, "error: \\x1b[31mred\\u202e\n"),
        (click.UsageError("wrong"), 2, "error: wrong\n"),
        (PermissionError(errno.EACCES, "Permission denied", "f"), 3, None),
        (OSError(errno.ENOSPC, "No space left on device", "f"), 3, "full"),
        (MemoryError(), 3, "memory"),
        (RecursionError(), 2, "nested"),
        (KeyError("x"), 3, "a bug in audit"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (click.Abort(), 130, "interrupted\n"),
    ],
)
def test_every_error_is_a_line_or_two_and_a_code(
    error: BaseException, code: int, said: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    found, err = ended_with(error, capsys)
    assert found == code
    assert "Traceback" not in err and 1 <= len(err.splitlines()) <= 2
    assert said is None or said in err


def test_a_bug_shows_its_traceback_when_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_TRACEBACK", "1")
    code, err = ended_with(KeyError("x"), capsys)
    assert code == 3
    assert "Traceback" in err and "a bug in audit" in err


def test_a_reader_that_goes_away_is_no_error_and_keeps_the_verdict(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    assert outcome.guarded(run, lambda: 1) == 1
    assert outcome.guarded(run, lambda: 0) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", LATER)
def test_names_of_later_releases_say_so(cli: Cli, name: str) -> None:
    ran = cli(name, "--anything", code=2)
    assert ran.err == f"error: audit {name} comes with a later release\n"


def test_an_unknown_command_is_guessed(cli: Cli) -> None:
    assert "did you mean emit?" in cli("emti", code=2).err


@pytest.mark.parametrize("args", [("--nope",), ("log", "--nope"), ("status", "x"), ("show",)])
def test_wrong_calls_point_at_the_help(cli: Cli, args: tuple[str, ...]) -> None:
    assert "--help`" in cli(*args, code=2).err


def test_no_command_at_all_shows_the_help_on_stderr() -> None:
    done = subprocess.run(AUDIT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Commands" in done.stderr or "Auditors" in done.stderr


def test_output_into_a_closed_pipe_ends_quietly(user: Cli) -> None:
    with subprocess.Popen(
        [*AUDIT, "log", "--format", "jsonl", "kind:schema"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait() == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_output_onto_a_full_disk_says_so(user: Cli) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*AUDIT, "log", "--json"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 3
    assert done.stderr == b"error: the disk is full; make room and try again\n"


def test_data_is_utf8_whatever_the_locale_says(user: Cli) -> None:
    user("emit", "create", "user", "6", '{"name": "Jürgen"}')
    done = subprocess.run(
        [*AUDIT, "replay", "user", "--format", "csv"],
        env={**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        capture_output=True,
    )
    assert done.returncode == 0
    assert "Jürgen".encode() in done.stdout


def test_an_argument_that_is_no_text_is_refused(user: Cli) -> None:
    done = subprocess.run([*AUDIT, "show", b"user/\xff"], capture_output=True)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr and done.stderr.startswith(b"error: ")


def test_control_characters_never_reach_the_terminal(user: Cli) -> None:
    evil = '{"name": "\\u001b[2J\\u009b31m\\u202e", "\\u001b]0;x\\u0007": "y\\n"}'
    user("emit", "create", "user", "\x1b[1m", evil, "--actor", "\x1b[5mbob", "--reason", "a\rb")
    reading = (
        ("log",),
        ("log", "--oneline"),
        ("log", "--json"),
        ("log", "--format", "jsonl"),
        ("history", "user/\x1b[1m"),
        ("history", "user/\x1b[1m", "--json"),
        ("blame", "user/\x1b[1m"),
        ("diff", "user", "7..HEAD"),
        ("replay", "user"),
        ("replay", "user/\x1b[1m"),
        ("replay", "user", "--json"),
        ("show", "HEAD"),
        ("show", "HEAD", "--json"),
    )
    for args in reading:
        ran = user(*args)
        text = ran.out + ran.err
        assert not any((ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 for c in text), args
        assert "\u202e" not in text, args
        assert "user/" not in args[-1] or ran.out


def test_follow_shows_what_comes_and_ends_when_interrupted(user: Cli, ledger_dir: Path) -> None:
    with subprocess.Popen(
        [*AUDIT, "log", "--follow", "-n", "1", "--format", "oneline"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background has it ignored, and that is handed down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        try:
            assert "data.delete" in running.stdout.readline()
            user("emit", "create", "user", "6", '{"name": "new"}')
            assert "name=new" in running.stdout.readline()
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=120) == 0
            assert running.stderr.read() == ""
        finally:
            running.kill()  # it would be waited for without end


def test_nothing_but_data_on_stdout(inquiries: Cli) -> None:
    """Every line of stdout is data: a program may read it without a filter."""
    assert len(inquiries("replay", "inquiry", "--format", "csv").lines) == 11
    assert inquiries("key", "new", "crm").out.startswith("producer crm ")
    assert inquiries("prove", "5", "-o", "x").out == ""
