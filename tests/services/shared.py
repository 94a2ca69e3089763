"""One broker and one registry for all workers of a run, kept by the process that starts these.

Each start takes three to six seconds of processor time, and an idle broker goes on taking some.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from multiprocessing.connection import Client, Listener
from typing import Any

from tests.services import folders, kafka, registry
from tests.services.kafka import KafkaServer, SharedBroker
from tests.services.process import Unobtainable
from tests.services.registry import RegistryServer, SharedRegistry

ADDRESS = "ATTESTORY_TESTS_KEEPER"
"""The environment's name of the socket on which workers ask."""
KAFKA, REGISTRY, END = "kafka", "registry", "end"


class Keeper:
    """Obtains a server when the first worker asks for it, and closes it when all have ended."""

    def __init__(self, say: Callable[[str], object]) -> None:
        """Listen, and tell the workers where; `say` is told which servers it became."""
        self._say = say
        self._folder = folders.new_folder("keeper")
        address = str(self._folder / "socket")
        self._listener = Listener(address, "AF_UNIX")
        self._kept: dict[str, KafkaServer | RegistryServer | str] = {}
        """A server, or why there is none."""
        os.environ[ADDRESS] = address
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def _answer(self) -> None:
        while True:
            # A worker that was killed while it asked is no reason to leave the others alone.
            with self._listener.accept() as connection, contextlib.suppress(OSError, EOFError):
                wanted = connection.recv()
                if wanted == END:
                    return
                connection.send(self._described(wanted))

    def _described(self, wanted: str) -> tuple[str, str, str]:
        """(address, description, why there is none)."""
        if wanted not in self._kept:
            try:
                server = kafka.obtain() if wanted == KAFKA else registry.obtain()
            except Exception as error:  # without its thread all workers would wait for ever
                known = isinstance(error, Unobtainable)
                self._kept[wanted] = str(error) if known else f"{type(error).__name__}: {error}"
            else:
                self._kept[wanted] = server
                self._say(server.description)
        kept = self._kept[wanted]
        if isinstance(kept, str):
            return "", "", kept
        address = kept.bootstrap if isinstance(kept, KafkaServer) else kept.url
        return address, kept.description, ""

    def close(self) -> None:
        """End the servers and forget their data."""
        address = os.environ.pop(ADDRESS)
        with contextlib.suppress(OSError), Client(address) as connection:
            connection.send(END)
        self._thread.join()
        self._listener.close()
        for kept in self._kept.values():
            if not isinstance(kept, str):
                kept.close()
        folders.remove(self._folder)


def obtain_kafka() -> KafkaServer:
    """The run's broker, or one of this process where nobody keeps one. Raises Unobtainable."""
    if ADDRESS not in os.environ or kafka.GIVEN in os.environ:
        return kafka.obtain()
    return KafkaServer(SharedBroker(*_ask(KAFKA)))


def obtain_registry() -> RegistryServer | SharedRegistry:
    """The run's registry, or one of this process. Raises Unobtainable."""
    return SharedRegistry(*_ask(REGISTRY)) if ADDRESS in os.environ else registry.obtain()


def _ask(wanted: str) -> tuple[str, str]:
    """(address, description) of what the keeper has. Raises Unobtainable."""
    connection: Any
    with Client(os.environ[ADDRESS]) as connection:
        connection.send(wanted)
        address, description, refusal = connection.recv()
    if refusal:
        raise Unobtainable(refusal)
    return address, description
