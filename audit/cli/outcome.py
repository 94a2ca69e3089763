"""How a command ends: the one place where errors become a line or two and an exit code.

    0  done, and nothing wrong found
    1  findings: verification failed, cannot tell, a replay diverged
    2  the call was wrong
    3  something needed is not reachable, or a bug in this program
    130  interrupted (128 + SIGINT, as shells expect)

A reader of the output that goes away (`| head`) is no error: the command ends quietly with the
code it had until then. With AUDIT_TRACEBACK=1 every error shows its traceback as well.
"""

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable

import click

from audit.errors import AuditError
from audit.ledger.harmless import harmless

FINDINGS = 1
WRONG_CALL = 2
NOT_REACHABLE = 3
INTERRUPTED = 130

TRACEBACK_VARIABLE = "AUDIT_TRACEBACK"
MAX_MESSAGE_LINES = 2
MAX_MESSAGE_CHARS = 1_000

_DISK_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))


class ReaderGone(Exception):
    """Nobody reads the output any more. Not an OSError: click makes exit code 1 of those."""


def guarded(run: Callable[[], None], code: Callable[[], int]) -> int:
    """Run a command to its end and return the exit code.

    `code` gives the code of a command that ended well, or whose reader went away.
    """
    try:
        try:
            run()
            sys.stdout.flush()
        except click.exceptions.Exit as stop:
            return stop.exit_code
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else WRONG_CALL
        return code()
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted")
        return INTERRUPTED
    except (BrokenPipeError, ReaderGone):
        _drop_stdout()
        return code()
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> int:
    """Show an error; the exit code for it."""
    if os.environ.get(TRACEBACK_VARIABLE) == "1":
        traceback.print_exception(error)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        _write(error.format_message() + "\n")
        return WRONG_CALL
    if isinstance(error, click.ClickException):
        _say(f"error: {error.format_message()}{_see_help(error)}")
        return WRONG_CALL
    if isinstance(error, AuditError):
        _say(f"error: {str(error) or type(error).__name__}")
        return error.exit_code
    if isinstance(error, OSError):
        _say(f"error: {_os_error(error)}")
        return NOT_REACHABLE
    if isinstance(error, MemoryError):
        _say("error: there is not enough memory for this")
        return NOT_REACHABLE
    if isinstance(error, RecursionError):
        _say("error: what was given is nested too deeply")
        return WRONG_CALL
    _say(
        f"error: a bug in audit, not in your call: {type(error).__name__}: {_first_line(error)}\n"
        f"please report it with the traceback that {TRACEBACK_VARIABLE}=1 shows"
    )
    return NOT_REACHABLE


def _see_help(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    if context is None or "\n" in error.format_message():
        return ""
    return f"\nsee `{context.command_path} --help`"


def _os_error(error: OSError) -> str:
    place = f" {error.filename}" if error.filename is not None else ""
    if error.errno in _DISK_FULL:
        return f"the disk is full{': ' + place.strip() if place else ''}; make room and try again"
    return f"cannot use{place}: {error.strerror}" if error.strerror else f"{error}"


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:200]


def _say(message: str) -> None:
    """A message of at most two lines on stderr, its control characters shown harmlessly."""
    lines = message[:MAX_MESSAGE_CHARS].strip().split("\n")
    kept = [*lines[: MAX_MESSAGE_LINES - 1], " ".join(lines[MAX_MESSAGE_LINES - 1 :])]
    _write("".join(harmless(line) + "\n" for line in kept if line))


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _drop_stdout() -> None:
    """Point stdout to nowhere, so that the interpreter's own flush at exit finds no broken pipe."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
