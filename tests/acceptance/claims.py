"""What `audit demo` claims, whatever store and bus its story goes through."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner, Result

from audit.cli.app import app
from tests.web.once import made_once

AUDIT = [sys.executable, "-m", "audit"]
MARKER = ".attestory-demo"
PRINTED = "printed.txt"
FOLDER = "<the demo's folder>"
LEFT_OVER = "left-over"
TAMPER_CHAPTER = "Now somebody tampers"


class Told(NamedTuple):
    """The folder of one demo, all that it printed, and the URL of its store if it was given one."""

    folder: Path
    text: str
    store: str | None = None

    @property
    def settings(self) -> dict[str, str]:
        """What it says to export before anything is tried."""
        lines = re.findall(r"^    export (\w+)=(.*)$", self.text, re.MULTILINE)
        return {name: shlex.split(value)[0] for name, value in lines}

    def audit(self, *args: str) -> Result:
        """Run a command as its reader would, in the folder and with its settings."""
        # What it shows of the store has no password.
        store = {} if self.store is None else {"AUDIT_STORE": self.store}
        with contextlib.chdir(self.folder):
            return CliRunner(env=self.settings | store).invoke(app, args)


class Ended(NamedTuple):
    """How a demo ended, as of a process."""

    returncode: int
    stdout: str
    stderr: str


def here(folder: Path, *options: str, **env: str) -> Ended:
    """Run a demo in this process, whose imports are done; what it starts says into `stderr`, too.

    That it can be a process of its own the demo of `told_once` shows.
    """
    with (
        tempfile.TemporaryDirectory() as aside,
        Path(aside, "out").open("w") as out,
        Path(aside, "err").open("w", buffering=1) as err,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in env.items():
            patch.setenv(name, value)
        with (
            contextlib.chdir(folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            _instead_of(2, err.fileno()),
        ):
            code = app.run(["demo", *options])
        out.flush()
        return Ended(code, Path(out.name).read_text(), Path(err.name).read_text())


@contextlib.contextmanager
def _instead_of(wanted: int, given: int) -> Iterator[None]:
    """Whoever writes to the one descriptor writes to the other, processes that are started too."""
    kept = os.dup(wanted)
    os.dup2(given, wanted)
    try:
        yield
    finally:
        os.dup2(kept, wanted)
        os.close(kept)


def tell(home: Path, store: str | None = None, bus: str | None = None, **env: str) -> Told:
    """Run a demo in the folder `story`; nothing else may appear in its surroundings."""
    given = {"--store": store, "--bus": bus}
    options = [word for name, url in given.items() if url for word in (name, url)]
    return _told(home, here(home, "--dir", "story", *options, **env), store)


def _told(home: Path, ended: Ended, store: str | None = None) -> Told:
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout[-3000:]
    assert [path.name for path in home.iterdir()] == ["story"]
    return Told(home / "story", ended.stdout, store)


def refused(folder: Path, *options: str) -> str:
    """What a demo says that must not begin; it leaves nothing behind."""
    ended = here(folder, "--dir", "x", *options)
    assert ended.returncode == 2
    assert list(folder.iterdir()) == []
    return ended.stderr


def told_once(factory: pytest.TempPathFactory) -> Told:
    """A demo on one machine, made once for all workers: to be copied, not to be written to.

    The reader's own settings do not disturb it. Its folder holds what a demo left that was killed.
    """

    def make(folder: Path) -> None:
        home = folder / "home"
        home.mkdir(parents=True)
        _break_off(home)
        elsewhere = {"AUDIT_STORE": "sqlite:///nowhere/x.db", "AUDIT_BUS": "kafka://x"}
        done = subprocess.run(
            [*AUDIT, "demo", "--dir", "story"],
            cwd=home,
            env={**os.environ, **elsewhere, "AUDIT_KEY": "none"},
            capture_output=True,
            text=True,
        )
        told = _told(home, Ended(done.returncode, done.stdout, done.stderr))
        (folder / PRINTED).write_text(told.text.replace(str(told.folder), FOLDER))

    made = made_once("demo", factory, make)
    story = made / "home" / "story"
    return Told(story, (made / PRINTED).read_text().replace(FOLDER, str(story)))


def _break_off(home: Path) -> None:
    """Kill a demo that has begun in the folder `story`."""
    begun = subprocess.Popen(
        [*AUDIT, "demo", "--dir", "story"], cwd=home, stdout=subprocess.DEVNULL
    )
    try:
        while not (home / "story" / MARKER).exists():
            assert begun.poll() is None, "the demo ended and left nothing"
            time.sleep(0.01)
    finally:
        begun.kill()
        begun.wait()
    (home / "story" / LEFT_OVER).write_text("x")


class Claims:
    """The claims, as tests. A subclass gives the fixture `told`.

    `refusals`: how often the tampering is met besides by verifying. `what_if`: whether the
    prediction is made once more with another value; as it was the story has made it again.
    """

    refusals = 0
    what_if = False

    def test_every_step_is_headed_and_shows_its_command(self, told: Told) -> None:
        numbers = re.findall(r"^(\d+)  \S", told.text, re.MULTILINE)
        assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
        commands = set(re.findall(r"^\$ audit ([a-z]+)", told.text, re.MULTILINE))
        assert commands >= {
            *("init", "import", "key", "emit", "history", "show", "replay", "predictions"),
            *("blame", "diff", "verify", "prove"),
        }

    def test_the_events_are_signed_and_checked(self, told: Told) -> None:
        chapter = told.text[: told.text.index("A model is trained")]
        assert len(re.findall(r"^SIGNED BY +producer crm +VALID", chapter, re.MULTILINE)) == 1
        assert len(re.findall(r"^ +log demo\.example\S* +VALID", chapter, re.MULTILINE)) == 1

    def test_customer_003_on_both_axes(self, told: Told) -> None:
        found = re.findall(r"^(1003|1008),\w+,003,.*?,([^,\n]*)$", told.text, re.MULTILINE)
        assert found == [
            ("1003", "Late (30 days)"),
            ("1003", "Late (30 days)"),
            ("1008", "Paid Off"),
            ("1003", "Current"),
        ]

    def test_the_correction_changed_one_field_alone(self, told: Told) -> None:
        diff = re.search(r"^\$ audit diff .*\n((?:.+\n)*)", told.text, re.MULTILINE)
        assert diff is not None
        assert diff[1] == "~ 1003\n    PaymentStatus: Late (30 days) -> Current\n"

    def test_the_prediction_is_identical(self, told: Told) -> None:
        assert re.search(r"^OUTPUT +IDENTICAL$", told.text, re.MULTILINE)
        assert re.search(r"^INTEGRITY +VERIFIED$", told.text, re.MULTILINE)

    def test_the_three_attacks_are_found_and_located(self, told: Told) -> None:
        story = told.text[told.text.index(TAMPER_CHAPTER) :]
        words = " ".join(story.split())
        verdicts = re.findall(r"^(OK|TAMPERED): ", story, re.MULTILINE)
        # Edited, deleted, rewritten: flawless by itself, and caught by what was kept.
        assert verdicts == ["TAMPERED", "TAMPERED", "OK", "TAMPERED"]
        inquiry = re.search(r"Entry (?:\d+/)?(\d+) is inquiry", words)
        correction = re.search(r"the correction, entry (?:\d+/)?(\d+), never", words)
        assert inquiry is not None and correction is not None
        located = re.findall(r"FIRST BAD ENTRY (\d+)", story)
        assert located == [inquiry[1], inquiry[1], correction[1]]
        assert story.count("(exit code 1)") == 3 + self.refusals

    def test_the_ledger_stays_and_still_verifies(self, told: Told) -> None:
        assert str(told.folder) in told.text.splitlines()[-1]
        lines = re.findall(r"^    (audit .*?)(?: +#.*)?$", told.text, re.MULTILINE)
        bundle = next(line for line in lines if "bundle" in line).split()[-1]
        asks = [line for line in lines if "--set" in line]
        assert len(asks) == 1
        for line in ["audit verify", *lines, f"audit verify {bundle}"]:
            if line in asks and not self.what_if:
                continue  # a process that imports scikit-learn
            tried = told.audit(*line.split()[1:])
            assert tried.exit_code == 0, f"{line}\n{tried.output}"
