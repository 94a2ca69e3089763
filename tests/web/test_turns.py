"""Many clients at once: none is passed over, none takes all, who has gone away costs nothing."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from audit.web import WebOptions
from audit.web.guard import asgi, turns
from audit.web.guard.hosts import Hosts
from audit.web.guard.limits import Rate
from audit.web.guard.turns import MAX_OF_ONE_CLIENT, Turn, Turns
from audit.web.guard.who import Doorkeeper, Sessions
from audit.web.handling import Handling
from audit.web.lanes import DEAR, PLACES, QUICK, QUICK_PAGES, TABLES, lane_of
from audit.web.screens import SCREENS
from tests.web.conftest import MakeWeb


def run(steps: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """In a loop on a thread of its own: here may be the loop of a browser's driver."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, steps()).result()


async def settled() -> None:
    """Everything that can go on has."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_clients_take_turns() -> None:
    """The one that asked ten times first has one answer, then the others have theirs."""

    async def steps() -> None:
        places = Turns({DEAR: 1, QUICK: 1})
        order: list[str] = []

        async def one(client: str) -> None:
            assert await places.take(DEAR, client) is Turn.READY
            order.append(client)
            await asyncio.sleep(0)
            places.give_back(DEAR, client)

        assert await places.take(DEAR, "first") is Turn.READY
        asked = [asyncio.ensure_future(one(name)) for name in ["greedy"] * 10 + list("abca")]
        await settled()
        assert await places.take(QUICK, "quick") is Turn.READY  # another lane does not wait
        places.give_back(DEAR, "first")
        await asyncio.gather(*asked)
        assert order == ["greedy", "a", "b", "c", "greedy", "a"] + ["greedy"] * 8
        assert set(places._of_client) == {"quick"} and places._lanes[DEAR].free == 1

    run(steps)


def test_limits_of_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one client, of all together, and of time; none of them uses up a place."""
    monkeypatch.setattr(turns, "MAX_WAIT_SECONDS", 0.01)

    async def steps() -> None:
        places = Turns({DEAR: 1})
        assert await places.take(DEAR, "a") is Turn.READY
        many = [places.take(DEAR, "a") for _ in range(MAX_OF_ONE_CLIENT)]
        found = await asyncio.gather(*many)
        assert found.count(Turn.TOO_LATE) == MAX_OF_ONE_CLIENT - 1
        assert found[-1] is Turn.TOO_MANY_OF_ONE
        monkeypatch.setattr(turns, "MAX_WAITING", 1)
        both = await asyncio.gather(places.take(DEAR, "b"), places.take(DEAR, "c"))
        assert list(both) == [Turn.TOO_LATE, Turn.TOO_MANY]
        places.give_back(DEAR, "a")
        assert not places._of_client and not places._waiting and places._lanes[DEAR].free == 1
        assert await places.take(DEAR, "c") is Turn.READY

    run(steps)


def test_a_place_is_never_lost() -> None:
    """To who has gone away, or is cancelled, before it or at the same moment."""

    async def steps() -> None:
        places = Turns({DEAR: 1})
        left = asyncio.Event()

        async def gone() -> None:
            await left.wait()

        assert await places.take(DEAR, "a") is Turn.READY
        waiting = asyncio.ensure_future(places.take(DEAR, "b", gone))
        await settled()
        left.set()
        assert await waiting is Turn.GONE
        for give_back_first in (True, False):
            cancelled = asyncio.ensure_future(places.take(DEAR, "c"))
            await settled()
            if give_back_first:
                places.give_back(DEAR, "a")
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            if give_back_first:
                assert await places.take(DEAR, "a") is Turn.READY
        places.give_back(DEAR, "a")
        assert not places._of_client and not places._waiting and places._lanes[DEAR].free == 1

    run(steps)


def test_nothing_is_made_for_who_has_gone_away() -> None:
    """A request that waits and whose client hangs up never reaches the application."""
    reached: list[str] = []

    async def steps() -> None:
        go_on = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            reached.append(scope["path"])
            assert (await receive())["body"] == b""
            await go_on.wait()

        guard = asgi.Guard(
            app,
            Hosts("127.0.0.1", ()),
            Doorkeeper(None, None, "x", Sessions(lambda: 0.0)),
            Rate(1_000, lambda: 0.0),
            Turns({DEAR: 1}),
            lambda path, query: DEAR,
        )

        def ask(path: str, *said: str) -> asyncio.Task[None]:
            messages = [{"type": f"http.{kind}"} for kind in said]

            async def receive() -> Any:
                if messages:
                    return messages.pop(0)
                await asyncio.Event().wait()

            async def send(message: Any) -> None:
                return None

            scope = {
                "type": "http",
                "path": path,
                "query_string": b"",
                "method": "GET",
                "headers": [(b"host", b"localhost")],
                "client": ("127.0.0.1", 1),
            }
            return asyncio.ensure_future(guard(scope, receive, send))

        first = ask("/1", "request")
        await settled()
        gone = ask("/2", "request", "disconnect")
        there = ask("/3", "request")
        await gone
        go_on.set()
        await asyncio.gather(first, there)

    run(steps)
    assert reached == ["/1", "/3"]


def test_the_lanes_know_the_pages() -> None:
    """Every quick page is one of ours; each kind of request has the lane that it should."""
    ours = {screen.path for screen in SCREENS}
    others = {"/index", "/event/receipt", "/login", "/logout", "/verify/run"}
    assert ours | others >= QUICK_PAGES and set(PLACES) == {QUICK, DEAR, TABLES}
    assert lane_of("/event.json", b"at=0/1") == lane_of("/events.json", b"since=0:1") == QUICK
    assert lane_of("/events", b"q=a") == lane_of("/events.json", b"q=a") == DEAR
    assert lane_of("/event.csv", b"") == lane_of("/dataset.parquet", b"") == TABLES
    assert lane_of("/static/style.css", b"") is None and lane_of("/no/such", b"") == DEAR


def test_one_client_leaves_places_for_others(
    make_web: MakeWeb, demo_folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """429 with when to come back, to the person that the proxy names, and to nobody else."""
    going, go_on = threading.Semaphore(0), threading.Event()
    plain = Handling._answered

    def held(self: Handling, *given: Any) -> Any:
        if given[0].path == "/datasets":
            going.release()
            go_on.wait(120)
        return plain(self, *given)

    monkeypatch.setattr(Handling, "_answered", held)
    monkeypatch.setattr(turns, "MAX_OF_ONE_CLIENT", 2)
    web = make_web(demo_folder, proxy="127.0.0.1", access="none")
    alice, bob = {"X-Forwarded-User": "alice"}, {"X-Forwarded-User": "bob"}
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(web.get, "/datasets", headers=alice) for _ in range(2)]
        try:
            for _ in range(min(2, PLACES[QUICK])):
                assert going.acquire(timeout=120)
            refused = web.get("/keys", 429, headers=alice)
            assert int(refused.headers["retry-after"]) >= 1 and "at once" in refused.text
            web.get("/events", headers=bob)
        finally:
            go_on.set()
        assert [one.result().status for one in asked] == [200, 200]
    web.get("/keys", headers=alice)
    assert WebOptions("sqlite:///a.db").requests_per_minute > MAX_OF_ONE_CLIENT
