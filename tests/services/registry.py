"""A real schema registry for tests: Apicurio, from Maven, speaking the Confluent interface."""

import shutil
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.services import folders
from tests.services.cache import cached, maven_copy, unpack, version_of
from tests.services.java import QUICK_START, QUIET_ARCHIVE, archive_name, find_java
from tests.services.process import Process, free_ports, tail

POM = "registry-pom.xml"
JAVA_MINIMUM = 21
START_LIMIT_S = 180.0
ANSWER_LIMIT_S = 10.0


class RegistryServer:
    """A registry in a process of its own."""

    def __init__(self) -> None:
        self._java = find_java(JAVA_MINIMUM)
        self._programs = cached(f"apicurio-registry-{version_of(POM)}", _fill)
        self._process: Process | None = None
        self._folder = folders.new_folder("registry")
        self._log = self._folder / "registry.log"
        self._port, self._management_port = free_ports(2)
        self.start_seconds = 0.0

    @property
    def url(self) -> str:
        """The base of the Confluent-compatible interface, without a slash at its end."""
        return f"http://127.0.0.1:{self._port}/apis/ccompat/v7"

    @property
    def description(self) -> str:
        """Which registry this is, for the report of the test run."""
        return (
            f"Apicurio Registry {version_of(POM)} at 127.0.0.1:{self._port}, "
            f"up in {self.start_seconds:.1f} s"
        )

    def start(self) -> None:
        """Start it; return when it answers."""
        began = time.monotonic()
        properties = {
            "quarkus.http.host": "127.0.0.1",
            "quarkus.http.port": self._port,
            "quarkus.management.host": "127.0.0.1",
            "quarkus.management.port": self._management_port,
            "quarkus.log.level": "WARN",
            "apicurio.storage.kind": "sql",
            "apicurio.storage.sql.kind": "h2",
            "apicurio.datasource.url": f"jdbc:h2:file:{self._folder / 'registry'}",
        }
        # This Java writes the archive by itself, at the first orderly end.
        archive = self._programs / archive_name(self._java)
        flags = [*QUICK_START, *QUIET_ARCHIVE, "-XX:+AutoCreateSharedArchive"]
        flags += [f"-XX:SharedArchiveFile={archive}", "-Xmx512m"]
        flags += [f"-D{name}={value}" for name, value in properties.items()]
        command = [self._java, *flags, "-jar", "quarkus-run.jar"]
        self._process = Process(command, self._log, cwd=self._programs)
        while not self._answers():
            if not self._alive():
                raise RuntimeError(f"the registry ended while it started:\n{self.log_tail()}")
            if time.monotonic() - began > START_LIMIT_S:
                raise RuntimeError(f"no registry after {START_LIMIT_S:.0f} s:\n{self.log_tail()}")
            time.sleep(0.05)
        self.start_seconds = time.monotonic() - began

    def stop(self) -> None:
        if self._process is not None:
            self._process.end(signal.SIGTERM)

    def log_tail(self) -> str:
        return tail(self._log)

    def close(self) -> None:
        """End it and forget its schemas."""
        self.stop()
        folders.remove(self._folder)

    def _alive(self) -> bool:
        return self._process is not None and self._process.alive

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=ANSWER_LIMIT_S) as answer:
                answer.read()
        except (OSError, urllib.error.URLError):
            return False
        # Somebody else on this port would answer as well.
        return self._alive()


class SharedRegistry:
    """The registry of all workers of this run; see tests.services.shared."""

    def __init__(self, url: str, description: str) -> None:
        self.url = url
        self.description = description

    def close(self) -> None:
        """It is not ours."""


def _fill(part: Path) -> None:
    maven_copy(POM, part / "archive")
    [archive] = (part / "archive").iterdir()
    with archive.open("rb") as packed:
        unpack(packed, "r|gz", part)
    shutil.rmtree(part / "archive")


def obtain() -> RegistryServer:
    """A started registry of the caller's own. Raises Unobtainable."""
    server = RegistryServer()
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    return server
