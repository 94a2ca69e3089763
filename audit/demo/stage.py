"""The stage of the demo: a folder, the commands typed in it, and what they print."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from audit.demo.place import Place
from audit.errors import AuditError, InvalidInput

Command = Callable[[Sequence[str]], int]
"""Runs one `audit` command line in this process; returns its exit code."""

MARKER = ".attestory-demo"
MARKER_TEXT = "Made by `audit demo`. The next demo that is given this folder empties it first.\n"
TEXT_COLUMNS = 92
PROGRAM_SECONDS = 120
CONSUME = ("consume", "--once")
INTERRUPTED = 130
"""What a command returns that somebody interrupted."""


class DemoFailed(AuditError):
    """A command of the demo did not do what the story tells: a bug, or a broken installation."""

    exit_code = 3


def check_folder(folder: Path) -> None:
    """Raises InvalidInput for a folder that holds somebody's files."""
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder} is no folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise InvalidInput(f"{folder} is not empty, and not of an earlier demo; name another")


def prepare(folder: Path) -> None:
    """Make an empty folder for a demo. Raises InvalidInput when it holds somebody's files."""
    check_folder(folder)
    if folder.is_dir():
        for entry in folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text(MARKER_TEXT)


class Stage:
    """Tells and runs. Commands run in `folder`, with the settings of the place and no others.

    `shown_as`: texts that are secret, or hold something secret, and what the reader sees instead.
    """

    def __init__(self, folder: Path, place: Place, command: Command) -> None:
        """`command` runs `audit`."""
        self.folder = folder
        self.place = place
        self.shown_as = {place.store: place.shown_store}
        self._command = command
        self._chapters = 0

    @property
    def settings(self) -> list[str]:
        """The settings that all commands get, as they are typed."""
        named = self.place.settings.items()
        return [f"export {name}={_quoted(self.shown_as.get(text, text))}" for name, text in named]

    def chapter(self, title: str, text: str = "") -> None:
        """A numbered heading, and what it is about."""
        self._chapters += 1
        print(f"\n\n{self._chapters}  {title}\n{'=' * (len(title) + 3)}")
        if text:
            self.say(text)

    def say(self, text: str) -> None:
        """A paragraph for the reader."""
        print()
        print(textwrap.fill(" ".join(text.split()), TEXT_COLUMNS))

    def show(self, line: str) -> None:
        """A line that is typed."""
        print(f"\n$ {line}", flush=True)

    def audit(
        self,
        *args: str,
        expect: int = 0,
        only: str | None = None,
        into: str | None = None,
    ) -> str:
        """Run `audit` and show what it prints; returns what it printed on stdout.

        `expect`: the exit code that the story needs. `only`: show the lines with this text alone,
        as `| grep` does. `into`: append stdout to a file, as `>>` does.
        """
        tail = f" | grep {only}" if only is not None else f" >> {into}" if into is not None else ""
        typed = [_quoted(self.shown_as.get(word, word)) for word in args]
        self.show(" ".join(["audit", *typed]) + tail)
        shown = io.StringIO()
        out = _Tee(None if only is not None or into is not None else shown)
        with (
            self._inside(),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(_Tee(shown)),
        ):
            code = self._command(args)
        text = out.getvalue()
        print(shown.getvalue(), end="")
        if into is not None:
            with (self.folder / into).open("a") as file:
                file.write(text)
        elif only is not None:
            lines = text.splitlines(keepends=True)
            print("".join(line for line in lines if only in line), end="")
        self._ended(f"audit {args[0]}", code, expect)
        return text

    def quietly(self, *args: str) -> str:
        """Run `audit` for what the story itself needs to know; returns what it printed."""
        out = io.StringIO()
        with self._inside(), contextlib.redirect_stdout(out):
            code = self._command(args)
        if not out.getvalue():
            raise DemoFailed(f"`audit {args[0]}` ended with {code} and has no answer")
        return out.getvalue()

    def python(self, script: str, *args: str) -> str:
        """Run a Python program of the demo in a process of its own; returns what it printed."""
        self.show(" ".join(["python", script, *map(_quoted, args)]))
        done = self._process(script, [script, *args], self.place.settings)
        print(done.stdout, end="")
        self._ended(script, done.returncode, 0)
        return done.stdout

    def consume(self, store: str | None = None, expect: int = 0, only: str = "") -> None:
        """Let a consumer, a process of its own, seal what the topic holds; then it ends.

        `store`: another ledger than the story's. `expect`, `only`: as in `audit`.
        """
        settings = self.place.settings
        typed = " ".join(["audit", *CONSUME])
        if store is not None:
            # In the environment: process arguments are for everybody to read.
            settings["AUDIT_STORE"] = store
            typed = f"AUDIT_STORE={_quoted(self.shown_as.get(store, store))} {typed}"
        self.show(f"{typed} 2>&1 | grep {only}" if only else typed)
        done = self._process("audit consume", ["-m", "audit", *CONSUME], settings, both=True)
        lines = done.stdout.splitlines(keepends=True)
        print("".join(line for line in lines if only in line or done.returncode != expect), end="")
        self._ended("audit consume", done.returncode, expect)

    def _ended(self, name: str, code: int, expect: int) -> None:
        """Show the exit code if it is not 0; it must be the one that the story needs."""
        if code:
            print(f"(exit code {code})")
        sys.stdout.flush()
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code != expect:
            raise DemoFailed(f"`{name}` ended with {code} where the story needs {expect}")

    def _process(
        self, name: str, args: Sequence[str], settings: Mapping[str, str], both: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run Python in the folder; `both`: stderr is shown where stdout is."""
        package = Path(str(files("audit"))).parent
        environment = {name: value for name, value in os.environ.items() if self.place.keeps(name)}
        known = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([str(package), *([known] if known else [])])
        try:
            return subprocess.run(
                [sys.executable, *args],
                cwd=self.folder,
                env={**environment, **settings},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if both else None,
                text=True,
                timeout=PROGRAM_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"{name} did not end within {PROGRAM_SECONDS} seconds") from None

    def file(self, name: str) -> None:
        """Put a file of the demo into the folder."""
        (self.folder / name).write_bytes((files("audit.demo") / name).read_bytes())

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        """In the folder, with the settings of the place instead of the reader's own."""
        own = {name: text for name, text in os.environ.items() if not self.place.keeps(name)}
        here = Path.cwd()
        for name in own:
            del os.environ[name]
        os.environ.update(self.place.settings)
        os.chdir(self.folder)
        try:
            yield
        finally:
            os.chdir(here)
            for name in self.place.settings:
                os.environ.pop(name, None)
            os.environ.update(own)


class _Tee(io.StringIO):
    """Keeps what is written, and writes it to a transcript as well."""

    def __init__(self, transcript: io.StringIO | None) -> None:
        super().__init__()
        self._transcript = transcript

    def write(self, text: str) -> int:
        if self._transcript is not None:
            self._transcript.write(text)
        return super().write(text)


def _quoted(word: str) -> str:
    """A word as it is typed into a shell."""
    plain = word and all(c.isalnum() or c in "-_./:=@,~+" for c in word)
    return word if plain else "'" + word.replace("'", "'\\''") + "'"
