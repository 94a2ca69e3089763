"""Answers compared: by bits, in ULPs, by tolerance, by decision."""

import math
import struct
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from audit.lineage.again.compare import bits, compare, ulps_between
from audit.lineage.content.served import describe

OTHER_NAN = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_0001))[0]
NEXT = math.nextafter(0.3, 1.0)
FIVE_ON = 0.3
for _ in range(5):
    FIVE_ON = math.nextafter(FIVE_ON, 1.0)


def verdict(then: object, now: object, **options: Any) -> str:
    return compare(describe(then), describe(now), **options).verdict


@pytest.mark.parametrize(
    "answer",
    [
        None,
        5e-324,
        -0.0,
        float("inf"),
        2**53 + 1,
        "Ελένη",
        {"z": 1.0, "a": [True, None]},
        np.float32(0.1),
        np.array([[0.1, np.nan]]),
    ],
    ids=repr,
)
def test_the_same_is_identical(answer: object) -> None:
    found = compare(describe(answer), describe(answer))
    assert (found.verdict, found.max_ulps, found.max_difference) == ("IDENTICAL", 0, 0.0)


def test_every_nan_counts_as_one() -> None:
    assert bits(OTHER_NAN) == bits(float("nan"))
    assert verdict(OTHER_NAN, float("nan")) == "IDENTICAL"


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (1, 1.0),
        (1, True),
        (0.5, np.float64(0.5)),
        (np.float64(0.5), np.float32(0.5)),
        ([1.0], (1.0,)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1.0}, {"a": 1.0, "b": 1.0}),
        ([1.0], [1.0, 1.0]),
        (Decimal("1.0"), Decimal("1.00")),
        ("x", "y"),
        (None, 0.0),
        (float("nan"), 0.0),
        (float("inf"), 1e308),
        (1.0, 2.0),
        (np.zeros((1, 2)), np.zeros((2, 1))),
    ],
    ids=repr,
)
def test_another_type_or_value_diverges(then: object, now: object) -> None:
    assert verdict(then, now) == "DIVERGED"


def test_a_last_bit_is_within_the_default_tolerance() -> None:
    found = compare(describe({"score": 0.3}), describe({"score": NEXT}))
    assert found.verdict == "WITHIN_TOLERANCE"
    assert found.max_ulps == 1
    assert found.max_difference == NEXT - 0.3
    assert verdict(0.3, FIVE_ON) == "DIVERGED"


def test_a_tolerance_that_is_given() -> None:
    assert verdict(0.3, FIVE_ON, tolerance=1e-12) == "WITHIN_TOLERANCE"
    assert verdict(1000.0, 1001.0, tolerance=1e-2) == "WITHIN_TOLERANCE"
    assert verdict(1000.0, 1001.0, tolerance=1e-6) == "DIVERGED"
    assert verdict(0.3, NEXT, tolerance=0.0) == "DIVERGED"
    assert verdict(0.3, 0.3, tolerance=0.0) == "IDENTICAL"


def test_the_decision() -> None:
    assert verdict(0.7, 0.8, threshold=0.5) == "SAME_DECISION"
    assert verdict(0.7, 0.5, threshold=0.5) == "SAME_DECISION"
    assert verdict(0.7, 0.4, threshold=0.5) == "DIVERGED"
    same_label = {"score": 0.7, "label": "late"}, {"score": 0.8, "label": "late"}
    assert verdict(*same_label) == "SAME_DECISION"
    assert verdict({"score": 0.7, "label": "late"}, {"score": 0.8, "label": "paid"}) == "DIVERGED"
    assert verdict({"score": 0.7, "label": None}, {"score": 0.8, "label": None}) == "DIVERGED"


@pytest.mark.parametrize(
    ("left", "right", "ulps"),
    [
        (0.0, 5e-324, 1),
        (-0.0, 0.0, 1),
        (-5e-324, 5e-324, 3),
        (1.0, math.nextafter(1.0, 2.0), 1),
        (-1.0, math.nextafter(-1.0, -2.0), 1),
    ],
)
def test_ulps(left: float, right: float, ulps: int) -> None:
    assert ulps_between(left, right) == ulps_between(right, left) == ulps
