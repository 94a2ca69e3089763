"""A real application under load, killed and started again: nothing is missing, nothing is extra."""

from pathlib import Path

import pytest

from tests.apps.shop.load import Load
from tests.apps.shop.support import (
    Shop,
    require_busy,
    require_order,
    require_reconciled,
    require_told,
    said_in,
)
from tests.capture.support import make_ledger, url
from tests.cli.conftest import run
from tests.services.postgres import PostgresServer

CLIENTS = 6
REQUESTS = 180
KILLS = {40: "relay", 90: "app", 140: "relay"}
"""After so many answers."""


@pytest.mark.slow
@pytest.mark.parametrize("capture", ["hooks", "triggers"])
def test_nothing_is_missing_and_nothing_is_extra(
    capture: str, postgres_server: PostgresServer, ledger_dir: Path
) -> None:
    make_ledger(ledger_dir)
    store = url(ledger_dir)
    with Shop(postgres_server.new_database(), ledger_dir, capture, store) as shop:
        shop.start_app()
        shop.start_relay()
        with Load(shop.port, CLIENTS, REQUESTS, seed=7) as load:
            for count, name in KILLS.items():
                load.wait(count)
                shop.kill(name)
                if name == "app":
                    shop.reconcile(store)
                    shop.start_app()
                else:
                    shop.start_relay()
            load.wait(REQUESTS)
        assert any(told.status == 0 for told in load.done)  # somebody asked while it was killed
        require_busy(load.done, capture)
        shop.drain()
        shop.end("relay")

        require_reconciled(shop.reconcile(store))
        found = said_in(store)
        require_told(found, load)
        assert require_order(found) > 50
        run("verify")
        run("reconcile", "order", "--against", shop.address)
