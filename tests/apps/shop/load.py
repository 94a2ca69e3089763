"""Client threads of the shop: each request has its actor and its id, and is remembered."""

import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.apps.shop.app import ACTOR_HEADER, DOOMED

WRITES = (
    *("/customers", "/customers/change", "/customers/remove", "/orders", "/orders"),
    *("/orders/close", "/prices", "/products/rename", "/tags", "/categories", "/raw"),
)
NO_EVENT = ("/silent",)
DOOMED_PART = 0.2
LIMIT_S = 120.0
PAUSE_S = 0.05
"""Before the next request when nobody answers."""


class Told(NamedTuple):
    """A request and its end. `status` 0: the connection broke, nobody knows what became of it.

    `error`: what the application says went wrong.
    """

    request_id: str
    actor: str
    path: str
    is_doomed: bool
    status: int
    error: str
    seconds: float


class Load:
    """Clients against one port, until enough requests were answered."""

    def __init__(
        self, port: int, clients: int, enough: int, seed: int, doomed_part: float = DOOMED_PART
    ) -> None:
        """Nothing runs yet. `seed`: of what is chosen."""
        self.done: list[Told] = []
        self._port = port
        self._enough = enough
        self._doomed_part = doomed_part
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._client, args=(number, random.Random(f"{seed}/{number}")))
            for number in range(clients)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def answered(self) -> int:
        """How many requests came to their end by now."""
        return sum(told.status > 0 for told in self.done)

    def wait(self, count: int, patience_s: float = 120.0) -> None:
        """Until so many were answered."""
        deadline = time.monotonic() + patience_s
        while self.answered < count:
            assert time.monotonic() < deadline, f"{self.answered} of {count} were answered"
            time.sleep(0.01)

    def _client(self, number: int, chance: random.Random) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=LIMIT_S)
        count = 0
        while self.answered < self._enough and not self._stop.is_set():
            count += 1
            path = chance.choice((*WRITES, *NO_EVENT))
            is_doomed = path not in NO_EVENT and chance.random() < self._doomed_part
            told = _ask(connection, f"user-{number}", f"r-{number}-{count}", path, is_doomed,
                        chance.getrandbits(32))  # fmt: skip
            with self._lock:
                self.done.append(told)
            if told.status == 0:
                connection.close()
                time.sleep(PAUSE_S)
        connection.close()


def _ask(
    connection: http.client.HTTPConnection,
    actor: str,
    request_id: str,
    path: str,
    is_doomed: bool,
    seed: int,
) -> Told:
    text = f"{DOOMED if is_doomed else 'by'} {request_id}"
    headers = {ACTOR_HEADER: actor, "X-Request-ID": request_id, "Content-Type": "application/json"}
    began_s = time.perf_counter()
    try:
        connection.request("POST", path, json.dumps({"text": text, "seed": seed}), headers)
        response = connection.getresponse()
        said = response.read()
        status = response.status
        error = _error_in(said) if status == 500 else ""
    except (OSError, http.client.HTTPException) as broken:
        status, error = 0, type(broken).__name__
    seconds = time.perf_counter() - began_s
    return Told(request_id, actor, path, is_doomed, status, error, seconds)


def _error_in(said: bytes) -> str:
    """What went wrong; where the application did not expect it, all that the server says."""
    try:
        return str(json.loads(said)["error"])
    except ValueError:
        return said.decode(errors="replace")


def until(
    condition: Callable[[], object], patience_s: float = 120.0, pause_s: float = 0.02
) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {patience_s} s"
        time.sleep(pause_s)


def median_s(done: Sequence[Told]) -> float:
    """The middle one of the times of successful requests."""
    times = sorted(told.seconds for told in done if told.status == 200)
    return times[len(times) // 2]
