"""What logging a prediction costs the caller: beside the bare function, and beside an emit."""

import tempfile
import time
from collections.abc import Callable
from typing import Any

import audit
from audit.store.blobs import BlobStore
from tests.benchmarks.common import Result

FEATURES = {f"feature_{number}": number * 0.37 for number in range(20)}
MIXED = {**{f"feature_{number}": number * 0.37 for number in range(18)}, "id": "00017", "n": 3}
WEIGHTS = {name: 0.1 for name in FEATURES}


def bare(features: dict[str, Any]) -> float:
    """A model that costs next to nothing."""
    return float(features["feature_3"] * WEIGHTS["feature_3"])


def run(count: int = 20_000) -> list[Result]:
    """Embedded SQLite, unsigned, 20 features; the median on the caller's thread."""
    with tempfile.TemporaryDirectory() as folder:
        blobs = BlobStore(f"{folder}/blobs")
        with audit.Emitter(f"sqlite:///{folder}/audit.db", source="bench") as emit:
            with audit.model_run("bench", emitter=emit, blobs=blobs) as training:
                version = training.model(WEIGHTS, version="1")
            score = audit.predictor(model=version, emitter=emit, blobs=blobs)(bare)
            keyed = audit.predictor(model=version, emitter=emit, blobs=blobs, key="id")(bare)
            shadowed = audit.predictor(model=version, emitter=emit, blobs=blobs, shadow=score)(bare)
            plain_us = _median_us(lambda: bare(FEATURES), count, emit)
            emit_us = _median_us(lambda: emit.update("inquiry", 1, FEATURES), count, emit)
            beside = f"bare {plain_us:.1f} us, emit {emit_us:.1f} us"
            found = []
            for name, function, features in (
                ("predictor, 20 doubles", score, FEATURES),
                ("predictor, 18 doubles, a key, an integer", keyed, MIXED),
            ):
                took_us = _median_us(lambda f=function, x=features: f(x), count, emit)  # type: ignore[misc]
                found.append(_result(name, took_us, beside, emit_us))
            # Now and then is dearer than fast: caches are cold, and a thread is woken each time.
            emit_us = _paced_us(lambda: emit.update("inquiry", 1, FEATURES), count // 20)
            beside = f"emit {emit_us:.1f} us"
            took_us = _paced_us(lambda: score(FEATURES), count // 20)
            found.append(_result("predictor, 20 doubles, 1 ms apart", took_us, beside, emit_us))
            took_us = _paced_us(lambda: shadowed(FEATURES), count // 20)
            found.append(_result("predictor with a shadow, 1 ms apart", took_us, beside, emit_us))
            shadowed.flush()
    return [*found, _batch()]


def _result(name: str, took_us: float, beside: str, emit_us: float) -> Result:
    return Result(name, f"{took_us:.1f} us", beside, f"{took_us / emit_us:.2f} emits")


def _median_us(call: Callable[[], object], count: int, emit: audit.Emitter) -> float:
    """While calls come as fast as they can, and the sealer is busy beside them."""
    call()
    emit.flush()
    times = []
    for _ in range(count):
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    emit.flush()
    return sorted(times)[count // 2] * 1e6


def _paced_us(call: Callable[[], object], count: int) -> float:
    call()
    times = []
    for _ in range(max(count, 10)):
        time.sleep(0.001)
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return sorted(times)[len(times) // 2] * 1e6


def _batch(rows: int = 2_000) -> Result:
    """A batch of rows under one event: the time for each row."""
    import numpy
    import pandas

    frame = pandas.DataFrame(numpy.random.default_rng(1).normal(size=(rows, 20)))
    frame.columns = pandas.Index(list(FEATURES))
    with tempfile.TemporaryDirectory() as folder:
        blobs = BlobStore(f"{folder}/blobs")
        with audit.Emitter(f"sqlite:///{folder}/audit.db", source="bench") as emit:
            with audit.model_run("bench", emitter=emit, blobs=blobs) as training:
                version = training.model(WEIGHTS, version="1")
            score = audit.predictor(model=version, emitter=emit, blobs=blobs, batch=True)(
                lambda rows: rows["feature_3"]
            )
            times = []
            for _ in range(3):
                before = time.perf_counter()
                score(frame)
                times.append(time.perf_counter() - before)
    each_us = sorted(times)[1] / rows * 1e6
    return Result(f"batch of {rows:,} rows, each", f"{each_us:.1f} us", "", "")
