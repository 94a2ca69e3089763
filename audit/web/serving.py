"""Running the view under a server, until it is told to end."""

import socket
from collections.abc import Callable

import uvicorn

from audit.errors import Unavailable
from audit.web.app import application
from audit.web.options import WebOptions

KEEP_ALIVE_SECONDS = 15
WAITING_CONNECTIONS = 128
SHUTDOWN_SECONDS = 10


def run(options: WebOptions, ready: Callable[[str], object]) -> None:
    """Serve until SIGINT or SIGTERM. `ready` is told the address once it listens.

    Raises InvalidInput, StoreMissing, Unavailable.
    """
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
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(WAITING_CONNECTIONS)
    except OSError as error:
        raise Unavailable(f"cannot listen on {host}:{port}: {error.strerror}") from None
    return listening
