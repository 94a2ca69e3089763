"""Content digests of data frames: frame-v2 beside bare SHA-256, and what other digests do not see.

The bare loop hashes the same cells as one buffer that lies ready: of numbers their bytes, of
strings their UTF-8. It finds no types, names, lengths, missing values or single columns; what it
costs cannot be avoided with SHA-256, on one core. frame-v2 uses up to four.

MLflow's digest is made here as mlflow/data/digest_utils.py makes it (commit 001cc178 of
mlflow/mlflow, of its line 2): pandas' hash of the first 10,000 rows, of the columns of numbers and
of strings alone, these in the order of their names; the number of rows; the names of the columns;
of all that MD5, cut to 8 digits. Later rows are not in it, nor columns of times and booleans,
nor the types. mltrace has no digest of content at all: in its store.py (commit 359a00a
of loglabs/mltrace) the primary key of an input or output is its name, so whatever is written to one
file is one thing. So there is no time to compare with, only `misses`, which tests/lineage holds.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from audit.lineage.content.frame_digest import frame_digest
from audit.lineage.content.frame_v2 import array_v2, frame_v2
from audit.lineage.content.profile import profile_of
from tests.benchmarks.common import Result, seconds

MLFLOW_MAX_ROWS = 10_000
COLUMNS = 20


def run(count: int = 1_000_000) -> list[Result]:
    """A frame of numbers, by columns and by rows, with missing ones; one of strings; an array."""
    random = np.random.default_rng(7)
    values = random.random((count, COLUMNS))
    by_rows = pd.DataFrame(values, columns=[f"c{at}" for at in range(COLUMNS)])
    by_columns = pd.DataFrame({name: by_rows[name].copy() for name in by_rows})
    holes = by_columns.mask(random.random(by_rows.shape) < 0.01)
    texts = pd.Series([f"customer {at % 5_000}" for at in range(count // 10)])
    strings = pd.DataFrame({f"s{at}": texts for at in range(5)})
    objects = strings.astype(object)
    names = ["numbers, by columns", "numbers, by rows", "numbers, 1 % missing"]
    bare_numbers = values.tobytes()
    bare_strings = "".join("".join(strings[name]) for name in strings).encode()
    found = []
    for name, frame in zip(names, (by_columns, by_rows, holes), strict=True):
        found.append(_compare(f"frame-v2, {name}", lambda f=frame: frame_v2(f), bare_numbers))
    found.append(_compare("array-v2, numbers", lambda: array_v2(values), bare_numbers))
    found.append(_compare("frame-v2, strings", lambda: frame_v2(strings), bare_strings))
    found.append(_compare("frame-v2, strings as objects", lambda: frame_v2(objects), bare_strings))
    small = by_columns.iloc[: count // 10]
    part = bare_numbers[: len(bare_numbers) // 10]
    found.append(_compare("frame-v1, numbers", lambda: frame_digest(small), part))
    found.append(_compare("MLflow's digest, numbers", lambda: mlflow_digest(small), part))
    found.append(_compare("profile, numbers", lambda: profile_of(by_columns), bare_numbers))
    return found


def _compare(name: str, ours: Callable[[], Any], data: bytes) -> Result:
    time_ours = seconds(ours)
    time_bare = seconds(lambda: hashlib.sha256(data).digest())
    size = len(data) / 1e6
    return Result(
        f"{name} ({size:,.0f} MB)",
        f"{size / time_ours:,.0f} MB/s",
        f"{size / time_bare:,.0f} MB/s",
        f"{time_bare / time_ours:.2f}",
    )


def mlflow_digest(frame: pd.DataFrame) -> str:
    """The digest that MLflow 2 records of a data frame: see the module docstring."""
    first = frame.head(MLFLOW_MAX_ROWS)
    texts = first.columns[(frame.map(type) == str).all()]  # noqa: E721  # as it is there
    columns = texts.union(first.select_dtypes(include=[np.number]).columns)
    stream = hashlib.md5(usedforsecurity=False)
    stream.update(pd.util.hash_pandas_object(first[columns]).to_numpy().tobytes())
    stream.update(np.int64(len(frame)).tobytes())
    for name in frame.columns:
        stream.update(str(name).encode())
    return stream.hexdigest()[:8]


def changes() -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Pairs of frames that are not the same data, by what differs."""
    rows = 10_100
    frame = pd.DataFrame(
        {
            "amount": np.arange(rows, dtype="int64"),
            "paid": np.arange(rows) % 2 == 0,
            "when": pd.date_range("2020-01-01", periods=rows, freq="h"),
            "kind": pd.Categorical(["a", "b"] * (rows // 2)),
        }
    )
    late = frame.copy()
    late.loc[rows - 1, "amount"] += 1
    return {
        "an early row": (frame, frame.assign(amount=frame["amount"].replace(5, 6))),
        "a late row": (frame, late),
        "a number's type": (frame, frame.astype({"amount": "uint64"})),
        "the order of columns": (frame, frame[["paid", "amount", "when", "kind"]]),
        "a column of times": (frame, frame.assign(when=frame["when"] + pd.Timedelta("1h"))),
        "a column of booleans": (frame, frame.assign(paid=~frame["paid"])),
        "a column of categories": (frame, frame.assign(kind=frame["kind"].iloc[::-1].to_numpy())),
    }


def misses() -> dict[str, list[str]]:
    """Which digest does not see which change."""
    digests: dict[str, Callable[[pd.DataFrame], str]] = {
        "frame-v2": lambda frame: frame_v2(frame).digest,
        "MLflow": mlflow_digest,
        "mltrace": lambda _: "features.parquet",  # what identifies it is the name of the file
    }
    return {
        name: [what for what, (one, other) in changes().items() if digest(one) == digest(other)]
        for name, digest in digests.items()
    }
