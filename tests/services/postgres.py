"""A real PostgreSQL server for tests: one given, one in Docker, installed, or from Maven."""

import contextlib
import itertools
import os
import secrets
import signal
import time
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import psycopg
import pytest

from tests.services import containers, folders
from tests.services.postgres_programs import Programs, programs
from tests.services.process import Process, Unobtainable, environment, free_ports, tail

GIVEN = "AUDIT_TEST_POSTGRES"
START_LIMIT_S = 180.0
LOCK_LIMIT_S = 60

SETTINGS = {"listen_addresses": "127.0.0.1", "max_connections": "100", "shared_buffers": "64MB"}
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}
"""For the shared server: nobody pulls its plug, and waiting for the disk takes most of the time."""


class Engine(Protocol):
    """One server, however it is run. `start` returns at once; the others when it is down."""

    description: str
    url: str

    def start(self) -> None: ...
    def stop(self, mode: str) -> None: ...
    def kill(self) -> None: ...
    def alive(self) -> bool: ...
    def log_tail(self) -> str: ...
    def close(self) -> None: ...


class PostgresServer:
    """A server that tests use, and with `private_postgres` break."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: psycopg.Connection | None = None
        self._made: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._version = ""
        self.start_seconds = 0.0

    @property
    def description(self) -> str:
        """Which server this is, for the report of the test run."""
        where = urlsplit(self._engine.url).netloc.rpartition("@")[2]
        return (
            f"PostgreSQL {self._version} {self._engine.description} at {where}, "
            f"up in {self.start_seconds:.1f} s"
        )

    def new_database(self, *, separate: bool = False) -> str:
        """The URL of an empty place that nobody else uses.

        It is a schema, alone on the search path: made in a millisecond, where a database takes a
        tenth of a second. `separate` makes a database, for tests of what a database has alone.
        """
        name = f"t{next(self._numbers)}_{secrets.token_hex(4)}"
        if separate:
            self._execute(f"CREATE DATABASE {name}")
            url = urlunsplit(urlsplit(self._engine.url)._replace(path=f"/{name}"))
            self._made[url] = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
        else:
            self._execute(f"CREATE SCHEMA {name}")
            parts = urlsplit(self._engine.url)
            options = dict(parse_qsl(parts.query)) | {"options": f"-csearch_path={name}"}
            url = urlunsplit(parts._replace(query=urlencode(options, quote_via=quote)))
            self._made[url] = f"DROP SCHEMA IF EXISTS {name} CASCADE"
        return url

    def drop(self, url: str) -> None:
        """Drop what `new_database` made; a second time is no error."""
        if statement := self._made.pop(url, None):
            self._execute(statement)

    def superuser_url(self, url: str) -> str:
        """The same place seen by the superuser, for a URL that names some role."""
        superuser = urlsplit(self._engine.url).netloc
        return urlunsplit(urlsplit(url)._replace(netloc=superuser))

    def start(self) -> None:
        """Start it on the same port with the same data; return when it answers."""
        began = time.monotonic()
        self._engine.start()
        while not self._answers():
            if not self._engine.alive():
                raise RuntimeError(f"PostgreSQL ended while it started:\n{self.log_tail()}")
            if time.monotonic() - began > START_LIMIT_S:
                raise RuntimeError(f"no PostgreSQL after {START_LIMIT_S:.0f} s:\n{self.log_tail()}")
            time.sleep(0.01)
        self.start_seconds = time.monotonic() - began

    def stop(self, mode: str = "fast") -> None:
        """`fast` breaks connections off and leaves in order; `immediate` is a crash of its own."""
        self._engine.stop(mode)

    def kill(self) -> None:
        """SIGKILL for all its processes: it recovers at the next start."""
        self._engine.kill()

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def log_tail(self) -> str:
        return self._engine.log_tail()

    def close(self) -> None:
        """End it and forget its data; of a given server, only what was made here."""
        if isinstance(self._engine, GivenEngine):
            for url in list(self._made):
                self.drop(url)
        if self._connection is not None:
            self._connection.close()
        self._engine.close()

    def _execute(self, statement: str) -> None:
        for attempt in (1, 2):
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self._engine.url, autocommit=True)
                # A connection that a test left open must not hold up whoever drops its tables.
                self._connection.execute(f"SET lock_timeout = '{LOCK_LIMIT_S}s'")
            try:
                self._connection.execute(statement)
                return
            except psycopg.OperationalError:
                # Perhaps it is the connection of before a restart; then a new one will do.
                lost = self._connection.broken
                self._connection.close()
                if attempt == 2 or not lost:
                    raise

    def _answers(self) -> bool:
        try:
            connection = psycopg.connect(self._engine.url, connect_timeout=5)
        except psycopg.OperationalError:
            return False
        self._version = str(connection.info.parameter_status("server_version")).split()[0]
        connection.close()
        # Somebody else on this port would answer as well.
        return self._engine.alive()


class GivenEngine:
    """The server whose URL the environment names: ours to use, not to stop."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        user, _, address = parts.netloc.rpartition("@")
        name, _, password = user.partition(":")
        # Where libpq looks for it: a URL with a password would end up in messages and arguments.
        self._password = unquote(password)
        if self._password:
            os.environ["PGPASSWORD"] = self._password
        self.url = urlunsplit(parts._replace(netloc=f"{name}@{address}" if name else address))
        self.description = f"given by {GIVEN}"

    def start(self) -> None: ...

    def close(self) -> None:
        if self._password:
            os.environ.pop("PGPASSWORD", None)

    def alive(self) -> bool:
        return True

    def stop(self, mode: str = "fast") -> None:
        pytest.skip(f"{GIVEN} names a server that tests cannot stop")

    kill = stop

    def log_tail(self) -> str:
        return f"(its log is not here: {GIVEN})"


class LocalEngine:
    """A server run by programs on this machine, in a temporary folder."""

    def __init__(self, programs: "Programs", durable: bool) -> None:
        self._programs = programs
        self._process: Process | None = None
        self.description = f"from {programs.origin}"
        [self._port] = free_ports(1)
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"
        self._folder = programs.new_folder()
        self._data = self._folder / "data"
        programs.copy_template(self._data)
        self._log = self._folder / "postgres.log"
        sockets = {"unix_socket_directories": str(self._folder), "port": str(self._port)}
        self._settings = SETTINGS | sockets | ({} if durable else NOT_DURABLE)

    def start(self) -> None:
        if self.alive():
            return
        settings = [part for item in self._settings.items() for part in ("-c", "=".join(item))]
        command = [self._programs.folder / "postgres", "-D", self._data, *settings]
        self._process = Process(
            command,
            self._log,
            cwd=self._folder,
            environ=environment(),
            user=self._programs.user,
            dies_by=signal.SIGQUIT,  # its children go too, and so does its shared memory
        )

    def stop(self, mode: str) -> None:
        signals = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
        if self._process is not None:
            self._process.end(signals[mode])

    def kill(self) -> None:
        if self._process is None or not self.alive():
            return
        children = children_of(self._process.pid)
        self._process.kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        # Until the last is gone the next start finds their shared memory in use.
        deadline = time.monotonic() + START_LIMIT_S
        while any(map(is_running, children)) and time.monotonic() < deadline:
            time.sleep(0.005)

    def alive(self) -> bool:
        return self._process is not None and self._process.alive

    def log_tail(self) -> str:
        return tail(self._log)

    def close(self) -> None:
        self.stop("immediate")
        folders.remove(self._folder)


def children_of(pid: int) -> list[int]:
    """Linux tells; elsewhere they notice by themselves that the first process is gone."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def obtain(*, durable: bool = False) -> PostgresServer:
    """A started server of the caller's own, or the given one. Raises Unobtainable."""
    if url := os.environ.get(GIVEN):
        return _started(GivenEngine(url))
    try:
        more = {} if durable else NOT_DURABLE
        return containers.attempt(lambda: _started(containers.ContainerPostgres(more)))
    except Unobtainable as error:
        in_docker = error
    try:
        return _started(LocalEngine(programs(), durable))
    except Unobtainable as error:
        reasons = f"{GIVEN} is not set; Docker: {in_docker}; {error}"
        raise Unobtainable(f"no PostgreSQL: {reasons}") from None


def _started(engine: Engine) -> PostgresServer:
    server = PostgresServer(engine)
    try:
        server.start()
    except BaseException:
        engine.close()
        raise
    return server
