"""Whose turn it is: a page begins when there is a place for it, and no client is passed over.

A place stands for a thread and a ledger. Dear pages and quick ones have places of their own: who
opens one event must not stand behind eight datasets. Where more wait than there are places the
clients take turns, each with its oldest request, so that one that asks for much waits for itself.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum

MAX_OF_ONE_CLIENT = 16
"""Requests of one client at once, those that wait included. A browser makes six."""
MAX_WAITING = 256
"""Requests that wait, of all clients together."""
MAX_WAIT_SECONDS = 30.0

Gone = Callable[[], Awaitable[None]]


class Turn(Enum):
    """What became of a request that wanted a place; only READY has one."""

    READY = "ready"
    TOO_MANY_OF_ONE = "too many of one"
    TOO_MANY = "too many"
    TOO_LATE = "too late"
    GONE = "gone"


class _Lane:
    def __init__(self, places: int) -> None:
        self.free = places
        self.waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def add(self, client: str) -> asyncio.Future[None]:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.setdefault(client, deque()).append(place)
        return place

    def remove(self, client: str, place: asyncio.Future[None]) -> None:
        held = self.waiting[client]
        held.remove(place)
        if not held:
            del self.waiting[client]

    def pass_on(self) -> None:
        """A place is free: the next client's oldest request has it."""
        if not self.waiting:
            self.free += 1
            return
        client, held = self.waiting.popitem(last=False)
        held.popleft().set_result(None)
        if held:
            self.waiting[client] = held  # at the end: the others are first


class Turns:
    """Gives out places. Of one event loop."""

    def __init__(self, places: Mapping[str, int]) -> None:
        """`places`: how many each lane has."""
        self._lanes = {name: _Lane(number) for name, number in places.items()}
        self._of_client: dict[str, int] = {}
        self._waiting = 0

    async def take(self, lane: str, client: str, gone: Gone | None = None) -> Turn:
        """A place, at once or after waiting; who is READY calls `give_back`.

        `gone` returns when who asks has gone away: nothing is made for him then.
        """
        taken = self._of_client.get(client, 0)
        if taken >= MAX_OF_ONE_CLIENT:
            return Turn.TOO_MANY_OF_ONE
        held = self._lanes[lane]
        if not held.free and self._waiting >= MAX_WAITING:
            return Turn.TOO_MANY
        self._of_client[client] = taken + 1
        if held.free:
            held.free -= 1
            return Turn.READY
        found = Turn.GONE
        try:
            found = await self._waited(held, client, gone)
        finally:
            if found is not Turn.READY:
                self._leave(client)
        return found

    async def _waited(self, lane: _Lane, client: str, gone: Gone | None) -> Turn:
        place = lane.add(client)
        watch = None if gone is None else asyncio.ensure_future(gone())
        self._waiting += 1
        found = Turn.GONE
        try:
            both = {one for one in (place, watch) if one is not None}
            done, _ = await asyncio.wait(
                both, timeout=MAX_WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if place in done:
                found = Turn.READY
            elif not done:
                found = Turn.TOO_LATE
        finally:
            self._waiting -= 1
            if watch is not None:
                watch.cancel()
            if not place.done():
                lane.remove(client, place)
            elif found is not Turn.READY:
                lane.pass_on()  # it came too late for who waited
        return found

    def give_back(self, lane: str, client: str) -> None:
        """The place is free again."""
        self._leave(client)
        self._lanes[lane].pass_on()

    def _leave(self, client: str) -> None:
        left = self._of_client[client] - 1
        if left:
            self._of_client[client] = left
        else:
            del self._of_client[client]
