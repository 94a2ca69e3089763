"""Services in Docker containers, through testcontainers, where a Docker engine answers."""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from tests.services.process import LOG_TAIL_LINES, Unobtainable, free_ports

ENGINE_LIMIT_S = 5
POSTGRES_VERSION = "17"

Server = TypeVar("Server")


@cache
def engine_answers() -> bool:
    """Asked before anything is imported: without an engine the import alone takes a second."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    command = [docker, "info", "--format", "{{.ServerVersion}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ENGINE_LIMIT_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and bool(done.stdout.strip())


class Container:
    """One container, on a port of 127.0.0.1 that stays the same when it is started again."""

    def __init__(self, image: str, inner_port: int) -> None:
        from testcontainers.core.container import DockerContainer

        self.image = image
        [self.port] = free_ports(1)
        self.container = DockerContainer(image)
        # Not with_bind_ports: it would open the port to the whole network.
        self.container.ports[f"{inner_port}/tcp"] = ("127.0.0.1", self.port)
        self._created = False

    def start(self) -> None:
        if self._created:
            self._wrapped().start()
        else:
            self._created = True
            self.container.start()

    def stop(self) -> None:
        self._wrapped().stop()

    def kill(self, by: str = "SIGKILL") -> None:
        wrapped = self._wrapped()
        wrapped.kill(signal=by)
        wrapped.wait()

    def alive(self) -> bool:
        wrapped = self._wrapped()
        wrapped.reload()
        return wrapped.status in ("created", "running", "restarting")

    def log_tail(self) -> str:
        return self._wrapped().logs(tail=LOG_TAIL_LINES).decode(errors="replace")

    def close(self) -> None:
        if self._created:
            self.container.stop()

    def _wrapped(self) -> Any:
        return self.container.get_wrapped_container()


class ContainerBroker(Container):
    """Apache's own image of the broker, with the settings that the jars get."""

    def __init__(self, version: str, settings: Mapping[str, str]) -> None:
        super().__init__(f"apache/kafka:{version}", 9092)
        self.bootstrap = f"127.0.0.1:{self.port}"
        everywhere = dict(settings) | {
            "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.quorum.voters": "1@localhost:9093",
        }
        for name, value in everywhere.items():
            self.container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
        self.description = f"Kafka in Docker, {self.image},"


class ContainerPostgres(Container):
    """The official image of the database."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        super().__init__(f"postgres:{POSTGRES_VERSION}", 5432)
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        arguments = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self.container.with_env("POSTGRES_HOST_AUTH_METHOD", "trust")
        self.container.with_command(f"postgres {arguments}")
        self.description = f"in Docker, {self.image},"

    def stop(self, mode: str = "fast") -> None:
        self.kill({"smart": "SIGTERM", "fast": "SIGINT", "immediate": "SIGQUIT"}[mode])


def attempt(obtain: Callable[[], Server]) -> Server:
    """Obtain a server in a container. Whatever goes wrong means: not this way; raises Unobtainable.

    An engine may be there and still not give us one: no network, no right, a limit on downloads.
    """
    if not engine_answers():
        raise Unobtainable("no engine answers")
    try:
        return obtain()
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise Unobtainable(reason) from error
