"""One connection, with patience that ends: uvicorn waits for ever where a client does nothing.

It has a limit for the time between requests, which the first byte of the next one ends. Whoever
connects and is silent, sends a request a byte a minute, or takes no piece of an answer, would keep
a connection, and in the last case a ledger and a piece of a table, as long as he likes.
"""

import asyncio
import logging
import socket
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 512
"""At once, of all clients; one more is closed. Below the 1,024 files that a process may open."""
REQUEST_SECONDS = 15.0
"""So long a request may take to arrive with its body, from its first byte or the connecting."""
TAKE_SECONDS = 30.0
"""So often it is looked whether a client that is sent to takes anything."""
LEAST_BYTES_PER_SECOND = 8_192
"""Who takes less of an answer meanwhile gets no more of it: few tables are given out at once."""
UNSENT_BYTES = 131_072
"""The system holds so much for a client beyond what is on its way. By default it takes megabytes,
and a third of that must be gone before anybody here sees that the client takes something."""

_log = logging.getLogger("audit.web")


class Connection(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, ended where nothing comes or nothing is taken."""

    def __init__(self, *given: Any, **named: Any) -> None:
        """As uvicorn calls it."""
        super().__init__(*given, **named)
        self._asking: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there, and has to say something soon."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        held = transport.get_extra_info("socket")
        if held is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            held.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self._asking = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever was waited for does not come."""
        for timer in (self._asking, self._taking):
            if timer is not None:
                timer.cancel()
        self._asking = self._taking = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A part of a request."""
        super().data_received(data)
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            if self._asking is not None:
                self._asking.cancel()
                self._asking = None
        elif self._asking is None:
            # The beginning of the next request: uvicorn has just forgotten its own timer.
            self._asking = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._asking = None
        self.transport.abort()

    def pause_writing(self) -> None:
        """More is written than the client has taken."""
        super().pause_writing()
        self._look_later()

    def resume_writing(self) -> None:
        """It has."""
        super().resume_writing()
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def _look_later(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._taking = self.loop.call_later(TAKE_SECONDS, self._look, left)

    def _look(self, left_before: int) -> None:
        self._taking = None
        taken = left_before - self.transport.get_write_buffer_size()
        if taken < LEAST_BYTES_PER_SECOND * TAKE_SECONDS:
            _log.warning("an answer is broken off: %d bytes taken in %d s", taken, TAKE_SECONDS)
            # Not `close`: that would wait until what is written is taken.
            self.transport.abort()
        else:
            self._look_later()
