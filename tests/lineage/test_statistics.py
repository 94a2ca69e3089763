"""Distances and tests: against scipy, against hand-made numbers, and where nobody can tell."""

import math
import warnings
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.lineage.content import statistics as of
from audit.lineage.content.statistics import Statistic

RNG = np.random.default_rng(11)
A, B = RNG.normal(0, 1, 300), RNG.normal(0.5, 1.2, 200)


@pytest.fixture(scope="module")
def stats() -> Any:
    """SciPy's, loaded for the tests that ask it: not by every process that collects this file."""
    from scipy import stats

    return stats


def test_l_infinity_is_the_largest_difference_of_shares() -> None:
    found = of.l_infinity({"a": 50, "b": 30, "c": 20}, {"a": 2, "b": 4, "d": 4})
    assert found.value == pytest.approx(0.4) and found.note == "most: d"
    assert found.exceeded is True and found.sizes == (100, 10) and found.p_value is None
    assert of.l_infinity({"a": 50, "b": 50}, {"a": 55, "b": 45}).exceeded is False
    assert of.l_infinity({"a": 50, "b": 50}, {"a": 55, "b": 45}, 0.04).exceeded is True
    assert of.l_infinity({"a": 9}, {"a": 7}).value == 0


def test_chi_square_is_scipys(stats: Any) -> None:
    table = [[50, 30, 20], [30, 45, 25]]
    found = of.chi_square(*(dict(zip("abc", row, strict=True)) for row in table))
    expected = stats.chi2_contingency(table)
    assert found.value == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.exceeded is bool(expected.pvalue < of.P_VALUE)


def test_chi_square_puts_rare_classes_together(stats: Any) -> None:
    then = {"a": 100, "b": 100, "c": 3, "d": 1, "e": 8}
    now = {"a": 60, "b": 130, "f": 2, "d": 1, "e": 7}
    found = of.chi_square(then, now)
    # c, d and f are rare, and rare even together; so they go with e, the rarest of the others.
    expected = stats.chi2_contingency([[100, 100, 12], [60, 130, 10]])
    assert found.value == pytest.approx(expected.statistic)
    assert found.note == "3 rare classes put together"


def test_missing_and_zero_are_classes_of_their_own(stats: Any) -> None:
    found = of.missing_against_present((5, 100), (30, 100))
    expected = stats.chi2_contingency([[5, 95], [30, 70]])
    assert (found.statistic, found.exceeded) == ("CHI_SQUARE_MISSING", True)
    assert found.p_value == pytest.approx(expected.pvalue)
    zeros = of.zero_against_other((40, 100), (45, 90))
    assert zeros.p_value == pytest.approx(stats.chi2_contingency([[40, 60], [45, 45]]).pvalue)
    assert (zeros.statistic, zeros.exceeded) == ("CHI_SQUARE_ZERO", False)


def test_two_rare_classes_are_tested_exactly(stats: Any) -> None:
    found = of.missing_against_present((0, 20), (4, 20))
    assert found.p_value == pytest.approx(stats.fisher_exact([[0, 20], [4, 16]]).pvalue)
    assert found.note is not None and "Fisher" in found.note


def test_missing_rate_is_the_difference_of_shares() -> None:
    found = of.missing_rate((10, 100), (30, 100))
    assert found.value == pytest.approx(0.2) and found.exceeded is True
    assert found.note == "0.1 then, 0.3 now"
    assert of.missing_rate((10, 100), (15, 100)).exceeded is False


def test_jensen_shannon_is_scipys_over_the_bins_it_states() -> None:
    from scipy.spatial.distance import jensenshannon

    found = of.jensen_shannon(A, B)
    both = np.sort(np.concatenate([A, B]))
    assert found.edges == tuple(both[[50 * step for step in range(1, 10)]])
    bins = [-np.inf, *found.edges, np.inf]
    p, q = (np.histogram(some, bins)[0] / len(some) for some in (A, B))
    assert found.value == pytest.approx(jensenshannon(p, q, base=2) ** 2)
    assert found.note == "10 bins"


def test_jensen_shannon_goes_from_0_to_1() -> None:
    assert of.jensen_shannon(A, A).value == 0
    assert of.jensen_shannon([1.0] * 9, [2.0] * 9).value == 1
    assert of.jensen_shannon([5.0] * 9, [5.0] * 7).value == 0
    assert of.divergence([1, 0], [0.5, 0.5]) == pytest.approx(
        0.5 * (math.log2(1 / 0.75) + 0.5 * math.log2(0.5 / 0.75) + 0.5 * math.log2(0.5 / 0.25))
    )


def test_few_distinct_numbers_are_a_bin_each() -> None:
    found = of.jensen_shannon([0.0] * 6 + [1.0] * 4, [0.0] * 2 + [1.0] * 6 + [3.0] * 2)
    assert found.edges == (1.0, 3.0)
    assert found.value == pytest.approx(of.divergence([0.6, 0.4, 0], [0.2, 0.6, 0.2]))


def test_a_heap_of_one_number_does_not_hide_the_others() -> None:
    then = [0.0] * 80 + list(map(float, range(1, 21)))
    now = [0.0] * 20 + list(map(float, range(1, 81)))
    found = of.jensen_shannon(then, now)
    assert found.exceeded is True and len(set(found.edges)) == len(found.edges)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (of.kolmogorov_smirnov, "ks_2samp"),
        (of.kruskal_wallis, "kruskal"),
        (of.anova, "f_oneway"),
    ],
)
def test_tests_of_numbers_are_scipys(ours: Any, theirs: str, stats: Any) -> None:
    found, expected = ours(A, B), getattr(stats, theirs)(A, B)
    assert found.value == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.exceeded is True and found.threshold == of.P_VALUE and found.sizes == (300, 200)
    assert ours(A, A[::-1]).exceeded is False


def test_the_mean_is_within_some_standard_errors(stats: Any) -> None:
    found = of.mean_within_error([1.0, 2, 3, 4, 5], [3.0, 4, 5, 6, 7])
    assert found.value == pytest.approx(2 / math.sqrt(2.5 / 5 + 2.5 / 5))
    assert found.exceeded is False and found.note == "3 then, 5 now"
    assert found.value == pytest.approx(
        abs(stats.ttest_ind([1, 2, 3, 4, 5], [3, 4, 5, 6, 7], equal_var=False).statistic)
    )
    assert of.mean_within_error([2.0] * 5, [3.0] * 5).exceeded is True
    assert of.mean_within_error([2.0] * 5, [2.0] * 5).exceeded is False


def test_range_is_the_share_outside_of_the_baselines() -> None:
    found = of.value_range(0.0, 10.0, 100, [-1.0, 0.0, 5.0, 10.0, 11.0])
    assert (found.value, found.exceeded) == (0.4, True)
    assert found.note == "2 outside of 0 to 10"
    assert of.value_range(None, None, 100, [1.0] * 9).exceeded is None


DEGENERATE: list[list[float]] = [
    [],
    [1.0],
    [3.0] * 9,
    [0.0] * 9,
    [math.inf] * 9,
    [1e308, -1e308] * 5,
]
OF_NUMBERS = (
    *(of.jensen_shannon, of.kolmogorov_smirnov, of.kruskal_wallis, of.anova),
    of.mean_within_error,
)


@pytest.mark.parametrize(("then", "now"), list(product(DEGENERATE, DEGENERATE)))
def test_degenerate_numbers_get_an_answer(then: list[float], now: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for function in OF_NUMBERS:
            check(function(then, now))
    if min(len(then), len(now)) < of.MIN_SIZE:
        found = of.kolmogorov_smirnov(then, now)
        assert found.exceeded is None and found.note is not None
        assert found.note.startswith("cannot tell: ")


NUMBERS = st.lists(st.floats(allow_nan=False) | st.integers(-3, 3).map(float), max_size=30)
COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 60), max_size=6)


@given(NUMBERS, NUMBERS)
def test_any_numbers_get_an_answer(then: list[float], now: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for function in OF_NUMBERS:
            check(function(then, now))
        check(of.value_range(min(then, default=None), max(then, default=None), len(then), now))
    same = of.jensen_shannon(then, then)
    assert same.value in (0, None)


@given(COUNTS, COUNTS)
def test_any_counts_get_an_answer(then: dict[str, int], now: dict[str, int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for function in (of.l_infinity, of.chi_square):
            check(function(then, now))
        pairs = [(min(counts.values(), default=0), sum(counts.values())) for counts in (then, now)]
        for of_pairs in (of.missing_rate, of.missing_against_present, of.zero_against_other):
            check(of_pairs(*pairs))


def check(found: Statistic) -> None:
    """An answer, or a note why there is none; and JSON can hold it."""
    if found.exceeded is None:
        assert found.note is not None and found.note.startswith("cannot tell: ")
    if found.p_value is not None:
        assert -1e-9 <= found.p_value <= 1 + 1e-9
    assert all(
        value is None or math.isfinite(value)
        for value in (found.to_json()["value"], found.to_json()["p_value"])
    )
    assert list(found.to_json())[:6] == [
        *("statistic", "value", "p_value", "threshold", "exceeded", "sizes")
    ]
