"""One connection, with patience that ends: uvicorn waits for ever where a client does nothing.

It has a limit for the time between requests, which the first byte of the next one ends. Whoever
connects and is silent, sends a request a byte a minute, or takes no piece of an answer, would keep
a connection, and in the last case a ledger and a piece of a table, as long as he likes.

uvicorn says to nobody whether a request has come whole and its answer has gone; its protocol does
know. Two attributes of that are read here, `cycle.more_body` and `cycle.response_complete`, and
nothing else but what asyncio calls: tests/web/test_connections.py says so when they change.
"""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import (  # type: ignore[attr-defined]
    H11Protocol,
    h11,
)

from audit.web.guard.limits import neighbourhood

MAX_CONNECTIONS = 512
"""At once, of all clients; one more is closed. Below the 1,024 files that a process may open."""
MAX_OF_ONE_ADDRESS = 128
"""At once, of one client but the trusted proxy: nobody else should find all of them taken."""
MAX_UNSENT_BYTES = 134_217_728
"""Of answers that nobody has taken yet, of all clients together. Whose are the most loses the
largest: he may ask for one answer of some MB after the other and take none."""
REQUEST_SECONDS = 15.0
"""So long a request may take to arrive with its body, from its first byte or the connecting."""
TAKE_SECONDS = 30.0
"""So often it is looked whether a client that is sent to takes anything."""
LEAST_BYTES_PER_SECOND = 8_192
"""Who takes less of an answer meanwhile gets no more of it: few tables are given out at once."""
UNSENT_BYTES = 131_072
"""The system holds so much for a client beyond what is on its way. By default it takes megabytes,
and a third of that must be gone before anybody here sees that the client takes something."""
READ_BYTES = 16_384
"""So much is looked at once: the limit of a request's head counts between two looks, and asyncio
reads up to 256 kB."""
DROPPED_BYTES = 1_048_576
"""Of a body that was refused and comes all the same: to read on would take the processor."""

NOT_HTTP: type[Exception] = h11.LocalProtocolError
"""What uvicorn raises when it is to say something that HTTP does not allow any more."""

_log = logging.getLogger("audit.web")


class Others:
    """All connections of one server."""

    def __init__(self, is_proxy: Callable[[str], bool]) -> None:
        """`is_proxy`: whether an address is that of the trusted proxy."""
        self._is_proxy = is_proxy
        self._here: set[Connection] = set()
        self._of_address: Counter[str] = Counter()

    def take(self, one: "Connection") -> bool:
        """Whether there is room for one more; who is taken is left out later."""
        full = self._of_address[one.address] >= MAX_OF_ONE_ADDRESS
        if len(self._here) >= MAX_CONNECTIONS or (full and not self._is_proxy(one.address)):
            return False
        self._here.add(one)
        self._of_address[one.address] += 1
        return True

    def leave(self, one: "Connection") -> None:
        """It has ended. Safe to repeat."""
        if one in self._here:
            self._here.remove(one)
            self._of_address -= Counter((one.address,))

    def make_room(self) -> None:
        """Break off answers until there is not too much that nobody takes."""
        unsent = {one: one.unsent() for one in self._here}
        held = {one: size for one, size in unsent.items() if size}
        while sum(held.values()) > MAX_UNSENT_BYTES and len(held) > 1:
            of_address: Counter[str] = Counter()
            for one, size in held.items():
                of_address[one.address] += size
            [(most, _)] = of_address.most_common(1)
            largest = max((one for one in held if one.address == most), key=held.__getitem__)
            _log.warning("an answer is broken off: %d bytes are not taken", sum(held.values()))
            largest.end()
            del held[largest]


class Connection(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, ended where nothing comes or nothing is taken."""

    others: ClassVar[Others]

    def __init__(self, *given: Any, **named: Any) -> None:
        """As uvicorn calls it."""
        super().__init__(*given, **named)
        self._asking: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self._way: asyncio.Transport | None = None
        self._dropped_bytes = 0
        self.address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there, and has to say something soon."""
        super().connection_made(transport)
        self._way = transport
        peer = transport.get_extra_info("peername")
        self.address = neighbourhood(str(peer[0])) if peer else ""
        if not self.others.take(self):
            transport.abort()
            return
        held = transport.get_extra_info("socket")
        if held is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            held.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self._asking = _later(REQUEST_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever was waited for does not come."""
        for timer in (self._asking, self._taking):
            if timer is not None:
                timer.cancel()
        self._asking = self._taking = None
        self.others.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A part of a request."""
        try:
            for start in range(0, len(data), READ_BYTES):
                super().data_received(data[start : start + READ_BYTES])
                if self._way is None or self._way.is_closing():
                    return
        except NOT_HTTP:
            # It is not HTTP any more, and its answer has begun: there is no way to say so.
            self.end()
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            if self._asking is not None:
                self._asking.cancel()
                self._asking = None
            return
        refused = cycle is not None and cycle.response_complete and cycle.more_body
        self._dropped_bytes = self._dropped_bytes + len(data) if refused else 0
        if self._dropped_bytes > DROPPED_BYTES:
            self.end()
        elif self._asking is None:
            # The beginning of the next request: uvicorn has just forgotten its own timer.
            self._asking = _later(REQUEST_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._asking = None
        self.end()

    def end(self) -> None:
        """At once. Not `close`: that would wait until what is written is taken."""
        if self._way is not None:
            self._way.abort()

    def unsent(self) -> int:
        """Bytes that are written and the system has not taken."""
        return 0 if self._way is None else self._way.get_write_buffer_size()

    def pause_writing(self) -> None:
        """More is written than the client has taken."""
        super().pause_writing()
        self.others.make_room()
        self._look_later()

    def resume_writing(self) -> None:
        """It has."""
        super().resume_writing()
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def _look_later(self) -> None:
        self._taking = _later(TAKE_SECONDS, self._look, self.unsent())

    def _look(self, left_before: int) -> None:
        self._taking = None
        taken = left_before - self.unsent()
        if taken < LEAST_BYTES_PER_SECOND * TAKE_SECONDS:
            _log.warning("an answer is broken off: %d bytes taken in %d s", taken, TAKE_SECONDS)
            self.end()
        else:
            self._look_later()


def of_server(is_proxy: Callable[[str], bool]) -> type[Connection]:
    """The connections of one server, which know of each other."""
    return type("ServerConnection", (Connection,), {"others": Others(is_proxy)})


def _later(seconds: float, then: Callable[..., None], *given: Any) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(seconds, then, *given)
