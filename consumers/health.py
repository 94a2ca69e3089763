"""`/metrics`, `/healthz` and `/readyz` on a small HTTP server of its own thread.

`/healthz`: 200 while the process lives, also when it waits for a broker or a database; else it is
to be started anew. `/readyz`: 200 while it does its work; else the body says what is missing. It
serves whoever can reach the address, so by default that is this machine only.
"""

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from audit.errors import Unavailable
from consumers.metrics import Metrics, exposition, missing_client

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
TEXT_TYPE = "text/plain; charset=utf-8"
REQUEST_TIMEOUT_S = 5.0
"""A client that says nothing for so long is hung up on."""
MAX_CLIENTS = 16
"""Requests answered at the same time; more of them wait in the system's queue."""
POLL_S = 0.1
"""How often the thread looks whether it should end."""

Answer = tuple[int, str, bytes]


class HealthServer:
    """Serves one consumer's health until closed."""

    def __init__(self, host: str, port: int, metrics: Metrics) -> None:
        """Listen, and start the thread; port 0 takes a free one.

        Raises Unavailable when the address is taken or not this machine's, or prometheus-client is
        not installed.
        """
        try:
            import prometheus_client  # noqa: F401
        except ImportError:
            raise missing_client() from None
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._server = _Server((host, port), family, metrics)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "not an address"
            raise Unavailable(f"cannot listen on {host}:{port}: {reason}") from None
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_S,), name="health", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening. Safe to repeat."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], family: int, metrics: Metrics) -> None:
        self.address_family = family
        self.metrics = metrics
        self._room = threading.BoundedSemaphore(MAX_CLIENTS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._room.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is none of ours."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "attestory"
    sys_version = ""
    timeout = REQUEST_TIMEOUT_S

    def do_GET(self) -> None:
        answers: dict[str, Callable[[], Answer]] = {
            "/metrics": self._metrics,
            "/healthz": lambda: _probe(self.server.metrics.fault()),
            "/readyz": lambda: _probe(self.server.metrics.not_ready()),
        }
        answer = answers.get(self.path.partition("?")[0])
        status, kind, body = answer() if answer else (404, TEXT_TYPE, b"no such page\n")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _metrics(self) -> Answer:
        return 200, METRICS_TYPE, exposition(self.server.metrics)

    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every few seconds: nothing to write down."""


def _probe(why: str | None) -> Answer:
    return (200, TEXT_TYPE, b"ok\n") if why is None else (503, TEXT_TYPE, f"{why}\n".encode())
