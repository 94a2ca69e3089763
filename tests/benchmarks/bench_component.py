"""What `@audit.component` costs on a large frame, beside one pass of SHA-256 over the same bytes.

The bare loop does what cannot be avoided: every byte of the input and of the output is hashed once,
on one processor.
"""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from audit.capture.pipeline.component import component
from tests.benchmarks.common import Result, seconds

COLUMNS = 20


def run(count: int = 1_000_000) -> list[Result]:
    """A frame of numbers through a component that returns it; with profiles; and a tiny call."""
    import numpy
    import pandas

    random = numpy.random.default_rng(7)
    frame = pandas.DataFrame({f"c{number}": random.normal(size=count) for number in range(COLUMNS)})
    name = f"@component, {count:,} x {COLUMNS} in and out"
    return [
        _compare(name, frame, profile=False),
        _compare(f"{name}, with profiles", frame, profile=True),
        _tiny(),
    ]


def _compare(name: str, frame: Any, *, profile: bool) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        bus = f"sqlite:///{Path(folder) / 'audit.db'}"

        @component("passes", bus=bus, profile=profile)
        def passes(rows: Any) -> Any:
            return rows

        passes(frame.head(1))  # imports, the ledger, the list of packages
        ours = seconds(lambda: passes(frame))
    data = frame.to_numpy()
    size_bytes = 2 * data.nbytes
    columns = [memoryview(data[:, at].copy()) for at in range(data.shape[1])]

    def bare() -> None:
        for _ in range(2):
            stream = hashlib.sha256()
            for column in columns:
                stream.update(column)

    once = seconds(bare)
    return Result(
        f"{name} ({os.cpu_count()} cores)",
        f"{ours:.2f} s, {size_bytes / ours / 1e6:,.0f} MB/s",
        f"{once:.2f} s, {size_bytes / once / 1e6:,.0f} MB/s",
        f"{once / ours:.2f}",
    )


def _tiny() -> Result:
    """What a call costs that has next to no data: two events, sealed; its own emitter."""
    with tempfile.TemporaryDirectory() as folder:
        bus = f"sqlite:///{Path(folder) / 'audit.db'}"

        @component("tiny", bus=bus, profile=False)
        def tiny(x: int) -> int:
            return x

        @component("outer", bus=bus, profile=False)
        def outer(times: int) -> None:
            for x in range(times):
                tiny(x)

        tiny(0)
        alone = seconds(lambda: tiny(1))
        none = seconds(lambda: outer(0))
        inside = (seconds(lambda: outer(20)) - none) / 20
    return Result(
        "@component, a call of one number",
        f"{alone * 1e3:.1f} ms alone, {inside * 1e3:.1f} ms inside another",
        "-",
        "-",
    )
