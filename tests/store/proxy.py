"""A wire between a client and PostgreSQL that breaks where a test wants it to."""

import contextlib
import socket
import threading
from typing import Self
from urllib.parse import urlsplit, urlunsplit

COMMIT = b"COMMIT\x00"
"""As a statement of its own, not as a part of another."""
CHUNK_BYTES = 65_536
LIMIT_S = 120.0
"""How long the server may take for a commit."""


class Proxy:
    """Passes bytes on in both directions, for any number of connections."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        user, _, _ = parts.netloc.rpartition("@")
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        place = parts._replace(netloc=f"{user}@127.0.0.1:{port}")
        # In the clear, because the proxy reads it.
        self.url = urlunsplit(place) + "&sslmode=disable&gssencmode=disable"
        self._kept: bool | None = None
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_at_commit(self, kept: bool) -> None:
        """Break the next connection that commits: with `kept` after the server has done it."""
        self._kept = kept

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                silent, ended = threading.Event(), threading.Event()
                ends = (client, server, silent, ended)
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()
                threading.Thread(target=self._pass_back, args=ends, daemon=True).start()

    def _pass_on(
        self,
        client: socket.socket,
        server: socket.socket,
        silent: threading.Event,
        ended: threading.Event,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(CHUNK_BYTES):
                if self._kept is not None and COMMIT in data:
                    kept, self._kept = self._kept, None
                    # Nothing of the answer may reach the client.
                    silent.set()
                    if kept:
                        server.sendall(data)
                        # It ends the connection when it has worked through what it was sent.
                        server.shutdown(socket.SHUT_WR)
                        ended.wait(LIMIT_S)
                    break
                server.sendall(data)
        for end in (client, server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _pass_back(
        self,
        client: socket.socket,
        server: socket.socket,
        silent: threading.Event,
        ended: threading.Event,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(CHUNK_BYTES):
                if not silent.is_set():
                    client.sendall(data)
        ended.set()
        if not silent.is_set():
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End all connections."""
        self._listener.close()
        for end in self._sockets:
            end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
