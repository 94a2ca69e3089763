"""The ledger that the tests of this folder share: a new one for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lineage.common import Case


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    monkeypatch.chdir(tmp_path)
    found = Case(tmp_path)
    try:
        yield found
    finally:
        found.close()
