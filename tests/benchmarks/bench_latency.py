"""What an application's requests take while Kafka is there, and while it is away."""

import contextlib
import tempfile
from pathlib import Path

from tests.apps.shop.load import Load, Told, median_s
from tests.apps.shop.support import Shop
from tests.benchmarks.common import Result, at_most
from tests.services import kafka, postgres
from tests.services.process import Unobtainable

ROUNDS = 3
"""Up, away, up, away: what else the machine does falls on both."""


def run(count: int = 600) -> list[Result]:
    """The median request of a shop with hooks, its relay running; `count` requests of each."""
    with contextlib.ExitStack() as stack:
        try:
            broker = kafka.obtain(private=True)
            stack.callback(broker.close)
            server = postgres.obtain()
            stack.callback(server.close)
        except Unobtainable:
            return []
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bus = broker.url(broker.new_topic())
        shop = stack.enter_context(Shop(server.new_database(), folder, "hooks", bus))
        shop.start_app()
        shop.start_relay()
        _ask(shop, count // 10, 0)
        up: list[Told] = []
        away: list[Told] = []
        rounds = at_most(ROUNDS)
        for number in range(rounds):
            if number:
                broker.start()
            up += _ask(shop, count // rounds, 2 * number + 1)
            shop.drain()
            broker.stop()
            away += _ask(shop, count // rounds, 2 * number + 2)
    with_s, without_s = median_s(up), median_s(away)
    return [
        Result(
            "request of the shop, Kafka away (bare: Kafka there), median",
            f"{without_s * 1e3:.1f} ms",
            f"{with_s * 1e3:.1f} ms",
            f"{without_s / with_s:.2f}",
        )
    ]


def _ask(shop: Shop, count: int, seed: int) -> list[Told]:
    """One client, so that no request waits for another; the same requests each time."""
    with Load(shop.port, 1, count, seed, doomed_part=0) as load:
        load.wait(count)
    assert all(told.status for told in load.done)
    return load.done
