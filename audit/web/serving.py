"""Running the view under a server, until it is told to end."""

import ctypes
import gc
import logging
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from audit.errors import Unavailable
from audit.web.app import application
from audit.web.guard import Guard
from audit.web.guard.connection import of_server
from audit.web.guard.seldom import Seldom
from audit.web.options import WebOptions

MAX_HEAD_BYTES = 65_536
"""Of a request: its address and all headers."""
KEEP_ALIVE_SECONDS = 15
WAITING_CONNECTIONS = 128
SHUTDOWN_SECONDS = 5
"""So long answers that are being given may take to end; then they are broken off."""
ARENAS = 2
"""Heaps of the C library. By default glibc gives nearly each thread one of its own, and what was
freed in one is not used by the others: under many readers the process would grow on and on."""
YOUNG_OBJECTS = 20_000
"""So many new objects are made before rubbish is looked for: a page or two. By default it is 700,
so that one long page is searched dozens of times, with nothing found."""
_M_ARENA_MAX = -8
"""From malloc.h of glibc."""


def run(options: WebOptions, ready: Callable[[str], object]) -> None:
    """Serve until SIGINT or SIGTERM. `ready` is told the address once it listens.

    Raises InvalidInput, StoreMissing, Unavailable.
    """
    _limit_arenas()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    ending = threading.Event()
    app = application(options, _keep_for_good, ending.is_set)
    listening = _listen(options.host, options.port)
    port = listening.getsockname()[1]
    host = f"[{options.host}]" if ":" in options.host else options.host
    ready(f"http://{host}:{port}")
    config = configured(app)  # which sets up uvicorn's logging
    for name in ("uvicorn.error", "audit.web"):
        logging.getLogger(name).addFilter(Seldom(time.monotonic))
    _say_what_is_done(logging.getLogger("audit.web"))
    _Server(config, ending).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Says that it ends as soon as it is told to: what waits for long can give up at once."""

    def __init__(self, config: uvicorn.Config, ending: threading.Event) -> None:
        super().__init__(config)
        self._ending = ending

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._ending.set()
        super().handle_exit(sig, frame)


def configured(app: Guard, log_level: str = "warning") -> uvicorn.Config:
    """How the server is set up, here and in tests."""
    return uvicorn.Config(
        app,
        http=of_server(app.is_proxy),
        # Said, not chosen by what happens to be installed: uvloop, websockets.
        loop="asyncio",
        ws="none",
        interface="asgi3",
        lifespan="on",
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        log_level=log_level,
        server_header=False,
        # Who asks is our guard's business: uvicorn must not believe headers.
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # Named as TCP, else asyncio leaves Nagle's algorithm on: 40 ms for every answer.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(WAITING_CONNECTIONS)
    except OSError as error:
        raise Unavailable(f"cannot listen on {host}:{port}: {error.strerror}") from None
    return listening


def _say_what_is_done(log: logging.Logger) -> None:
    """Also what is no warning, one line each, on standard error."""
    if not log.handlers:
        log.addHandler(logging.StreamHandler())
    log.setLevel(logging.INFO)


def _keep_for_good() -> None:
    """Look for rubbish among what is there by now for the last time.

    Once the read model is open that is nearly all there will ever be. To walk through it takes as
    long as several pages, and whichever page happened to set that off would wait for it.
    """
    gc.collect()
    gc.freeze()


def _limit_arenas() -> None:
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)
    except (OSError, AttributeError, TypeError):
        return  # another C library, which has no such thing
