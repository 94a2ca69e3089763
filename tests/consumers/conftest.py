"""A ledger in a file for the tests of single stages."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.capture.delivery.embedded import EmbeddedLedger, open_for_writing


@pytest.fixture
def ledger(ledger_dir: Path) -> Iterator[EmbeddedLedger]:
    """A new ledger in SQLite, with its key and policy beside it."""
    url = f"sqlite:///{ledger_dir}/audit.db"
    with open_for_writing(url, origin="example.com/l") as opened:
        yield opened
