"""Running the view under a server, until it is told to end."""

import ctypes
import socket
from collections.abc import Callable

import uvicorn

from audit.errors import Unavailable
from audit.web.app import application
from audit.web.options import WebOptions

KEEP_ALIVE_SECONDS = 15
WAITING_CONNECTIONS = 128
SHUTDOWN_SECONDS = 10
ARENAS = 2
"""Heaps of the C library. By default glibc gives nearly each thread one of its own, and what was
freed in one is not used by the others: under many readers the process would grow on and on."""
_M_ARENA_MAX = -8
"""From malloc.h of glibc."""


def run(options: WebOptions, ready: Callable[[str], object]) -> None:
    """Serve until SIGINT or SIGTERM. `ready` is told the address once it listens.

    Raises InvalidInput, StoreMissing, Unavailable.
    """
    _limit_arenas()
    app = application(options)
    listening = _listen(options.host, options.port)
    port = listening.getsockname()[1]
    host = f"[{options.host}]" if ":" in options.host else options.host
    config = uvicorn.Config(
        app,
        log_level="warning",
        server_header=False,
        # Who asks is our guard's business: uvicorn must not believe headers.
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    ready(f"http://{host}:{port}")
    uvicorn.Server(config).run(sockets=[listening])


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


def _limit_arenas() -> None:
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)
    except (OSError, AttributeError, TypeError):
        return  # another C library, which has no such thing
