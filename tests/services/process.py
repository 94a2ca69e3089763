"""A program that runs beside the tests: it dies with them, and its log can be read."""

import atexit
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

STOP_LIMIT_S = 120.0
LOG_TAIL_LINES = 30
FIRST_PORT, LAST_PORT = 20_000, 32_000
"""Below those that outgoing connections take, so that a port stays free while its server is down
and a test waits to start it again."""
PORTS_OF_WORKER = 1_000

_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="services")
"""Starts every program. The kernel sends a program its death signal when the *thread* that started
it ends, so that must not be the short-lived thread of some test."""


class Unobtainable(Exception):
    """This machine cannot run the service; says in one line what was tried."""


class Process:
    """One running program with its output in a file; killed when the tests end, however they do."""

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        user: str | None = None,
        dies_by: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.log = log
        guard = []
        if setpriv := shutil.which("setpriv"):
            # Execs in place: the process id is the program's own.
            guard = [setpriv, "--pdeathsig", dies_by.name.removeprefix("SIG"), "--"]
        arguments = [*guard, *map(str, command)]

        def spawn() -> subprocess.Popen[bytes]:
            with log.open("ab") as output:
                return subprocess.Popen(
                    arguments,
                    cwd=cwd,
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for the tests, who then end it in order
                    **identity(user),
                )

        self._popen = _SPAWNER.submit(spawn).result()
        self._owner = os.getpid()
        atexit.register(self._kill_at_exit)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def end(self, by: signal.Signals, limit_s: float = STOP_LIMIT_S) -> None:
        """Send the signal and wait until it is gone; an error if it will not go."""
        if self.alive:
            self._popen.send_signal(by)
        try:
            self._popen.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"did not end on {by.name}:\n{tail(self.log)}") from None
        atexit.unregister(self._kill_at_exit)

    def kill(self) -> None:
        if self.alive:
            self._popen.kill()
        self._popen.wait()
        atexit.unregister(self._kill_at_exit)

    def _kill_at_exit(self) -> None:
        if os.getpid() == self._owner:  # a test's forked child ends earlier than the tests
            self.kill()


def identity(user: str | None) -> dict[str, Any]:
    """Arguments for `subprocess` that run a program as that user, with no group but his."""
    if user is None:
        return {}
    import pwd

    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def tail(log: Path, lines: int = LOG_TAIL_LINES) -> str:
    """The last lines of a log; says so when there are none."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


_given: set[int] = set()
"""Ports that this process gave to somebody, whose server may be down just now."""


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now, and which no other test of this run is given."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    slices = (LAST_PORT - FIRST_PORT) // PORTS_OF_WORKER
    first = FIRST_PORT + (int(worker) + 1 if worker else 0) % slices * PORTS_OF_WORKER
    if len(_given) > PORTS_OF_WORKER // 2:  # those of the first tests are nobody's any more
        _given.clear()
    ports: list[int] = []
    while len(ports) < count:
        port = random.SystemRandom().randrange(first, first + PORTS_OF_WORKER)
        if port not in _given:
            with socket.socket() as listener, contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                _given.add(port)
                ports.append(port)
    return ports


def environment(**more: str) -> dict[str, str]:
    """What a program needs of our environment, without the settings of any service."""
    kept = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    return kept | more
