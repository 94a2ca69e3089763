"""Something costly, made once for all workers of a test run."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

WAIT_S = 300
POLL_S = 0.1


def made_once(name: str, factory: pytest.TempPathFactory, make: Callable[[Path], None]) -> Path:
    """The folder `name`, filled by `make`; the other workers wait for the first that asks.

    It is made under another name and renamed: what stands under its own name is complete.
    """
    base = factory.getbasetemp()
    # With xdist each worker has a folder of its own below that of the run.
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    final, claim = root / name, root / f"{name}.claimed"
    try:
        claim.mkdir()
    except FileExistsError:
        return _waited_for(final)
    part = Path(tempfile.mkdtemp(prefix=f"{name}.part.", dir=root))
    try:
        make(part / "made")
        (part / "made").rename(final)
    except BaseException:
        claim.rmdir()  # so that the next one tries, and tells why it fails
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return final


def _waited_for(final: Path) -> Path:
    until = time.monotonic() + WAIT_S
    while not final.exists():
        claim = final.with_name(f"{final.name}.claimed")
        assert claim.exists(), f"another worker could not make {final.name}"
        assert time.monotonic() < until, f"{final.name} was not made within {WAIT_S} s"
        time.sleep(POLL_S)
    return final
