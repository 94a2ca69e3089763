"""Makes tests/lineage/golden/frame_v2.json from fixed inputs: `python -m tests.lineage.make_...`.

What is in it never changes: a difference means that the format was broken.
"""

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audit.lineage.content.frame_v2 import array_v2, frame_v2

GOLDEN = Path(__file__).resolve().parent / "golden" / "frame_v2.json"


def frames() -> dict[str, pd.DataFrame]:
    """The frames, by name."""
    rows = pd.Index(["1001", "1002", "1003"], dtype=object, name="entity_key")
    numbers = {
        "int64": pd.Series([1, -2, 2**62], dtype="int64"),
        "uint8": pd.Series([0, 1, 255], dtype="uint8"),
        "float64": pd.Series([0.1 + 0.2, -0.0, np.nan]),
        "float32": pd.Series([5e-45, np.inf, np.nan], dtype="float32"),
        "bool": pd.Series([True, False, True]),
        "Int64": pd.array([2**53 + 1, None, 0], dtype="Int64"),
        "complex": pd.Series([1j, 2, complex("nan")], dtype="complex128"),
    }
    others = {
        "object": pd.Series(["é", None, ""], dtype=object),
        "mixed": pd.Series([Decimal("1.50"), dt.date(2020, 1, 15), b"\0"], dtype=object),
        "str": pd.array(["Mortgage", None, "漢"], dtype=pd.StringDtype(na_value=np.nan)),
        "string": pd.array(["Mortgage", None, "漢"], dtype="string"),
        "category": pd.Categorical(["b", None, "a"], categories=["z", "a", "b"]),
        "ordered": pd.Categorical(["b", None, "a"], categories=["a", "b", "z"], ordered=True),
        "utc": pd.to_datetime(["2020-01-15", None, "2020-02-20"]).tz_localize("UTC").as_unit("us"),
        "naive": pd.to_datetime(["2020-01-15", None, "2020-02-20"]).as_unit("ns"),
        "period": pd.PeriodIndex(["2020-01", None, "2020-03"], freq="M"),
        "interval": pd.IntervalIndex.from_breaks([0, 1, 2, 3]),
    }
    return {
        "empty": pd.DataFrame(index=pd.RangeIndex(0)),
        "no columns": pd.DataFrame(index=pd.RangeIndex(2)),
        "numbers": pd.DataFrame(numbers),
        "others": pd.DataFrame({k: pd.Series(v) for k, v in others.items()}).set_axis(rows),
        "two of a name": pd.DataFrame([[1, 2.5]], columns=["x", "x"]),
        "two levels": pd.DataFrame(
            {"x": [1, 2]},
            index=pd.MultiIndex.from_arrays(
                [np.array([1, 2]), pd.Index(["a", "b"], dtype=object)], names=["i", None]
            ),
        ),
    }


def arrays() -> dict[str, np.ndarray[Any, Any]]:
    """The arrays, by name."""
    return {
        "matrix": np.arange(6.0).reshape(2, 3),
        "none": np.zeros((0, 3), dtype="int16"),
        "single": np.array(1.5),
        "texts": np.array(["a", "bc"]),
        "long": np.arange(1_048_577, dtype="uint8"),
    }


def golden() -> dict[str, Any]:
    """All digests."""
    found = {name: frame_v2(frame) for name, frame in frames().items()}
    return {
        "frames": {name: [one.digest, one.columns] for name, one in found.items()},
        "arrays": {name: array_v2(array) for name, array in arrays().items()},
    }


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(golden(), indent=1) + "\n")
