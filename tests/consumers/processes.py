"""Consumers and applications as the processes they are: started, watched, killed."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.services.process import free_ports

PATIENCE_S = 240.0
"""What passes does not wait for it; a machine may be busy, and its disk slow."""
EMITTER = Path(__file__).with_name("story_emitter.py")


class Process:
    """A program with its output in a file."""

    def __init__(self, arguments: list[str], folder: Path, log: Path, **environment: str) -> None:
        """Start it in a folder, with these variables besides the test's own."""
        self.log = log
        with log.open("ab") as file:
            self.popen = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", *arguments],
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        """What it printed so far."""
        return self.log.read_text(errors="replace")

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.popen.poll() is None

    def kill(self) -> None:
        """As a power cut: nothing is finished."""
        self.popen.kill()
        self.popen.wait(PATIENCE_S)

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        self.popen.terminate()
        return self.ended()

    def ended(self) -> int:
        """Wait for its end; its exit code."""
        try:
            return self.popen.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.popen.send_signal(signal.SIGABRT)
            raise AssertionError(f"it did not end:\n{self.said[-3_000:]}") from None


PATIENT = (
    "import sys; from consumers import service; from consumers.__main__ import main; "
    f"service.STOP_WITHIN_S = service.PUBLISH_WITHIN_S = {PATIENCE_S}; sys.exit(main())"
)
"""`python -m consumers` that takes its time to end in order."""


class Consumer(Process):
    """`python -m consumers` on a bus and a store."""

    def __init__(
        self,
        folder: Path,
        bus: str,
        store: str,
        *options: str,
        name: str = "consumer",
        patient: bool = False,
        **environment: str,
    ) -> None:
        """Start it in the folder of the ledger's key and policy."""
        program = ["-c", PATIENT] if patient else ["-m", "consumers"]
        arguments = [*program, "--bus", bus, "--store", store, *options]
        super().__init__(arguments, folder, folder / f"{name}.log", **environment)


class Application(Process):
    """One emitter of a story (see `story_emitter`)."""

    def __init__(
        self, folder: Path, bus: str, name: str, count: int, seconds: float = 0, **environment: str
    ) -> None:
        """It writes what it says into NAME.truth."""
        self.truth = folder / f"{name}.truth"
        arguments = [str(EMITTER), bus, name, str(count), str(self.truth), str(seconds)]
        spool = {"AUDIT_SPOOL": str(folder / "spool")}
        super().__init__(arguments, folder, folder / f"{name}.log", **{**spool, **environment})


@contextmanager
def ending(*processes: Process) -> Iterator[None]:
    """Kill what still runs when the block ends; what then fails leaves its stacks in the logs."""
    try:
        yield
    except BaseException:
        for process in processes:
            if process.alive:
                process.popen.send_signal(signal.SIGABRT)
                process.popen.wait(PATIENCE_S)
        raise
    finally:
        for process in processes:
            if process.alive:
                process.kill()


def wait_until(
    what: str, condition: object, patience_s: float = PATIENCE_S, pause_s: float = 0.05
) -> None:
    """Wait until a function says yes; a longer pause for one that takes as long as what it asks."""
    assert callable(condition)
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited in vain until {what}"
        time.sleep(pause_s)


def free_port() -> int:
    """A port that nobody else is given."""
    return free_ports(1)[0]


def metrics(port: int) -> Mapping[str, float]:
    """Name and labels -> value, of a consumer's /metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def audit(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run an `audit` command to its end: (exit code, what it printed)."""
    done = subprocess.run(
        [sys.executable, "-m", "audit", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE_S * 2,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace")


def audit_json(folder: Path, *arguments: str, **environment: str) -> object:
    """The JSON that an `audit` command prints."""
    code, printed = audit(folder, *arguments, "--json", **environment)
    start = min(at for at in (printed.find("{"), printed.find("[")) if at >= 0)
    try:
        return json.JSONDecoder().raw_decode(printed[start:])[0]
    except ValueError:
        raise AssertionError(f"exit {code}: {printed[-3_000:]}") from None
