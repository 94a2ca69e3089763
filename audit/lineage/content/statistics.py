"""How far two samples, or two counts of categories, are apart: distances and tests.

Every function takes the baseline first and what is compared with it second, and never raises or
warns over its data: where it cannot tell, `exceeded` is None and `note` says why. Numbers are given
without missing ones. Sources are named with each function; scipy does the mathematics of the tests
(without it they raise Unavailable).
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.errors import Unavailable

if TYPE_CHECKING:
    import numpy

DISTANCE = 0.1
"""Default threshold of L-infinity, Jensen-Shannon and missing rates."""
P_VALUE = 0.01
"""A test says that it is not chance when its p-value is below this."""
OUTSIDE_SHARE = 0.05
"""Default threshold of the share of numbers outside of the baseline's range."""
STANDARD_ERRORS = 3.0
"""Default threshold of the difference of two means."""
MIN_SIZE = 5
"""Of fewer numbers or rows nothing is told: even 5 against 5, all apart, have p = 0.008."""
MIN_EXPECTED = 5
"""Classes expected less often than this are put together before a chi-square test."""
BINS = 10

Numbers = Sequence[float]
Counts = Mapping[str, int]


class Statistic(NamedTuple):
    """One comparison. `sizes`: of the baseline and of what is compared with it.

    `value`: the distance, or the test's statistic; None where there is none. `threshold`: of the
    p-value where there is one, else of the value. `exceeded`: None where it cannot be told.
    `note`: why not, or how it was made. `edges`: the inner edges of bins.
    """

    statistic: str
    value: float | None
    p_value: float | None
    threshold: float
    exceeded: bool | None
    sizes: tuple[int, int]
    note: str | None = None
    edges: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it; a number that JSON lacks is null."""
        return {
            "statistic": self.statistic,
            "value": finite(self.value),
            "p_value": finite(self.p_value),
            "threshold": finite(self.threshold),
            "exceeded": self.exceeded,
            "sizes": list(self.sizes),
            "note": self.note,
            **({"edges": [finite(edge) for edge in self.edges]} if self.edges else {}),
        }


def finite(number: float | None) -> float | None:
    """The number; None for what JSON has no word for."""
    return number if number is not None and math.isfinite(number) else None


# Counts of categories


def l_infinity(then: Counts, now: Counts, threshold: float = DISTANCE) -> Statistic:
    """The largest difference of a category's share: Chebyshev distance, 0 to 1.

    Breck, Polyzotis, Roy, Whang, Zinkevich: Data validation for machine learning (MLSys 2019);
    TensorFlow Data Validation's default for categories.
    """
    sizes = sum(then.values()), sum(now.values())
    if min(sizes) < MIN_SIZE:
        return _cannot_tell("L_INFINITY", threshold, sizes, _too_few(sizes))
    apart = {
        name: abs(then.get(name, 0) / sizes[0] - now.get(name, 0) / sizes[1])
        for name in {*then, *now}
    }
    most = min(apart, key=lambda name: (-apart[name], name))
    value = apart[most]
    return Statistic(
        "L_INFINITY", value, None, threshold, value > threshold, sizes, f"most: {most:.80}"
    )


def chi_square(
    then: Counts, now: Counts, p_value: float = P_VALUE, name: str = "CHI_SQUARE"
) -> Statistic:
    """Pearson's test that both come from the same shares (scipy.stats.chi2_contingency).

    Classes expected less than MIN_EXPECTED times in either are put together (Cochran: Some methods
    for strengthening the common chi-square tests, Biometrics 1954). Of two classes, Yates'
    correction; of two that are rare all the same, Fisher's exact test.
    """
    sizes = sum(then.values()), sum(now.values())
    if min(sizes) < MIN_SIZE:
        return _cannot_tell(name, p_value, sizes, _too_few(sizes))
    classes = sorted(key for key in {*then, *now} if then.get(key, 0) + now.get(key, 0))
    table = [[counts.get(key, 0) for key in classes] for counts in (then, now)]
    if len(classes) < 2:
        return _cannot_tell(name, p_value, sizes, "one class only: nothing to test")
    exact = False
    if len(classes) > 2:
        table, pooled = _pooled(table, sizes)
        note = f"{pooled} rare classes put together" if pooled else None
        if len(table[0]) < 2:
            return _cannot_tell(name, p_value, sizes, "every class but one is too rare to test")
    else:
        note = None
    if len(table[0]) == 2:
        exact = any(_is_rare(column, sizes) for column in zip(*table, strict=True))
    if exact:
        note = "Fisher's exact test, because a class is rare"

    def test() -> tuple[float, float]:
        stats = _scipy()
        if exact:
            found = stats.fisher_exact(table)
            return float(found[0]), float(found[1])
        found = stats.chi2_contingency(table)
        return float(found[0]), float(found[1])

    return _tested(name, test, p_value, sizes, note, any_value=exact)


def missing_against_present(
    then: tuple[int, int], now: tuple[int, int], p_value: float = P_VALUE
) -> Statistic:
    """Chi-square of two classes: missing and not. Each pair: (missing, rows)."""
    return _two_classes("CHI_SQUARE_MISSING", then, now, ("missing", "present"), p_value)


def zero_against_other(
    then: tuple[int, int], now: tuple[int, int], p_value: float = P_VALUE
) -> Statistic:
    """Chi-square of two classes: zero and other numbers. Each pair: (zeros, numbers)."""
    return _two_classes("CHI_SQUARE_ZERO", then, now, ("zero", "not zero"), p_value)


def missing_rate(
    then: tuple[int, int], now: tuple[int, int], threshold: float = DISTANCE
) -> Statistic:
    """The difference of the shares of missing values. Each pair: (missing, rows)."""
    sizes = then[1], now[1]
    if min(sizes) < MIN_SIZE:
        return _cannot_tell("MISSING_RATE", threshold, sizes, _too_few(sizes))
    before, after = then[0] / then[1], now[0] / now[1]
    value = abs(after - before)
    note = f"{before:.3g} then, {after:.3g} now"
    return Statistic("MISSING_RATE", value, None, threshold, value > threshold, sizes, note)


# Numbers


def jensen_shannon(
    then: Numbers, now: Numbers, threshold: float = DISTANCE, bins: int = BINS
) -> Statistic:
    """Jensen-Shannon divergence in bits, 0 to 1: Lin, Divergence measures (IEEE Trans. IT 1991).

    Both are counted in the same bins: of up to `bins` distinct numbers each is one, else the inner
    edges are the quantiles of both together, and a bin holds its lower edge. `edges` has them.
    """
    sizes = len(then), len(now)
    if min(sizes) < MIN_SIZE:
        return _cannot_tell("JENSEN_SHANNON", threshold, sizes, _too_few(sizes))
    import numpy

    a, b = _array(then), _array(now)
    edges = _edges(a, b, bins)
    p = numpy.bincount(numpy.searchsorted(edges, a, side="right"), minlength=len(edges) + 1)
    q = numpy.bincount(numpy.searchsorted(edges, b, side="right"), minlength=len(edges) + 1)
    value = divergence((p / len(a)).tolist(), (q / len(b)).tolist())
    note = f"{len(edges) + 1} bins"
    inner = tuple(float(edge) for edge in edges)
    return Statistic(
        "JENSEN_SHANNON", value, None, threshold, value > threshold, sizes, note, inner
    )


def divergence(p: Sequence[float], q: Sequence[float]) -> float:
    """Jensen-Shannon divergence of two lists of shares, in bits."""

    def against(shares: Sequence[float]) -> float:
        return math.fsum(
            share * math.log2(share / ((one + other) / 2))
            for share, one, other in zip(shares, p, q, strict=True)
            if share > 0
        )

    return min(1.0, max(0.0, (against(p) + against(q)) / 2))


def kolmogorov_smirnov(then: Numbers, now: Numbers, p_value: float = P_VALUE) -> Statistic:
    """Largest distance of the two empirical distribution functions (scipy.stats.ks_2samp)."""

    def test() -> tuple[float, float]:
        stats = _scipy()
        found = stats.ks_2samp(_array(then), _array(now))
        return float(found.statistic), float(found.pvalue)

    return _test_of_numbers("KOLMOGOROV_SMIRNOV", test, then, now, p_value)


def kruskal_wallis(then: Numbers, now: Numbers, p_value: float = P_VALUE) -> Statistic:
    """Whether one is larger than the other, by ranks (scipy.stats.kruskal)."""

    def test() -> tuple[float, float]:
        stats = _scipy()
        found = stats.kruskal(_array(then), _array(now))
        # Of equal ranks the statistic is 0, and by rounding less: then scipy has no p-value.
        if found.statistic <= 0:
            return 0.0, 1.0
        return float(found.statistic), float(found.pvalue)

    return _test_of_numbers("KRUSKAL_WALLIS", test, then, now, p_value, constant_is_none=True)


def anova(then: Numbers, now: Numbers, p_value: float = P_VALUE) -> Statistic:
    """Whether the means differ, for numbers that vary normally (scipy.stats.f_oneway)."""

    def test() -> tuple[float, float]:
        stats = _scipy()
        found = stats.f_oneway(_array(then), _array(now))
        return float(found.statistic), float(found.pvalue)

    return _test_of_numbers("ANOVA", test, then, now, p_value, constant_is_none=True)


def mean_within_error(then: Numbers, now: Numbers, threshold: float = STANDARD_ERRORS) -> Statistic:
    """How many standard errors the means are apart: of their difference (Welch, Biometrika 1947).

    Both means vary by chance; so the error is of both, not of the baseline's alone.
    """
    sizes = len(then), len(now)
    if min(sizes) < MIN_SIZE:
        return _cannot_tell("MEAN_WITHIN_SE", threshold, sizes, _too_few(sizes))
    import numpy

    with numpy.errstate(all="ignore"):
        a, b = _array(then), _array(now)
        error = float(numpy.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)))
        before, after = float(a.mean()), float(b.mean())
    note = f"{before:.6g} then, {after:.6g} now"
    if not all(map(math.isfinite, (error, before, after))):
        return _cannot_tell("MEAN_WITHIN_SE", threshold, sizes, "the mean is not finite")
    if error == 0:
        if before != after:
            return Statistic("MEAN_WITHIN_SE", None, None, threshold, True, sizes, note)
        return Statistic("MEAN_WITHIN_SE", 0.0, None, threshold, False, sizes, note)
    value = abs(after - before) / error
    return Statistic("MEAN_WITHIN_SE", value, None, threshold, value > threshold, sizes, note)


def value_range(
    minimum: float | None,
    maximum: float | None,
    size: int,
    now: Numbers,
    threshold: float = OUTSIDE_SHARE,
) -> Statistic:
    """The share of numbers below the baseline's minimum or above its maximum, of `size` numbers."""
    sizes = size, len(now)
    if minimum is None or maximum is None or min(sizes) < MIN_SIZE:
        return _cannot_tell("RANGE", threshold, sizes, _too_few(sizes))
    import numpy

    array = _array(now)
    outside = int(numpy.count_nonzero((array < minimum) | (array > maximum)))
    value = outside / len(array)
    note = f"{outside} outside of {minimum:.6g} to {maximum:.6g}"
    return Statistic("RANGE", value, None, threshold, value > threshold, sizes, note)


# What they share


def _cannot_tell(name: str, threshold: float, sizes: tuple[int, int], note: str) -> Statistic:
    return Statistic(name, None, None, threshold, None, sizes, f"cannot tell: {note}")


def _too_few(sizes: tuple[int, int]) -> str:
    which = "then" if sizes[0] < MIN_SIZE else "now"
    size = min(sizes) if which == "now" else sizes[0]
    return f"{size} values {which}, of fewer than {MIN_SIZE} nothing is told"


def _two_classes(
    name: str,
    then: tuple[int, int],
    now: tuple[int, int],
    classes: tuple[str, str],
    p_value: float,
) -> Statistic:
    counts = [{classes[0]: some, classes[1]: max(0, rows - some)} for some, rows in (then, now)]
    return chi_square(counts[0], counts[1], p_value, name)


def _is_rare(column: Sequence[int], sizes: tuple[int, int]) -> bool:
    """Whether a class is expected less than MIN_EXPECTED times in either sample."""
    return sum(column) * min(sizes) / sum(sizes) < MIN_EXPECTED


def _pooled(table: list[list[int]], sizes: tuple[int, int]) -> tuple[list[list[int]], int]:
    """The table with its rare classes as one, and how many they were."""
    columns = list(zip(*table, strict=True))
    rare = [column for column in columns if _is_rare(column, sizes)]
    kept = [column for column in columns if not _is_rare(column, sizes)]
    if len(rare) > 1:
        kept.append((sum(column[0] for column in rare), sum(column[1] for column in rare)))
    elif rare:
        kept.append(rare[0])
    if len(kept) > 2 and _is_rare(kept[-1], sizes):
        # Together still rare: with the rarest of the others.
        last = kept.pop()
        rarest = min(range(len(kept)), key=lambda at: sum(kept[at]))
        kept[rarest] = (kept[rarest][0] + last[0], kept[rarest][1] + last[1])
    return [[column[row] for column in kept] for row in (0, 1)], len(rare)


def _scipy() -> Any:
    try:
        from scipy import stats
    except ImportError:
        raise Unavailable("tests need the package scipy: pip install attestory[ml]") from None
    return stats


def _array(numbers: Numbers) -> "numpy.ndarray[Any, Any]":
    import numpy

    return numpy.asarray(numbers, dtype="float64")


def _edges(a: Any, b: Any, bins: int) -> Any:
    """Inner edges of the bins, ascending, each a number that is there."""
    import numpy

    distinct = numpy.unique(numpy.concatenate([a, b]))
    if len(distinct) <= bins:
        return distinct[1:]
    both = numpy.sort(numpy.concatenate([a, b]))
    at = [len(both) * step // bins for step in range(1, bins)]
    edges = numpy.unique(both[at])
    return edges[edges > both[0]]


def _test_of_numbers(
    name: str,
    test: Callable[[], tuple[float, float]],
    then: Numbers,
    now: Numbers,
    p_value: float,
    constant_is_none: bool = False,
) -> Statistic:
    sizes = len(then), len(now)
    if min(sizes) < MIN_SIZE:
        return _cannot_tell(name, p_value, sizes, _too_few(sizes))
    if constant_is_none and len({*then}) == 1 and {*then} == {*now}:
        return _cannot_tell(name, p_value, sizes, "all numbers are the same")
    return _tested(name, test, p_value, sizes, None)


def _tested(
    name: str,
    test: Callable[[], tuple[float, float]],
    p_value: float,
    sizes: tuple[int, int],
    note: str | None,
    any_value: bool = False,
) -> Statistic:
    """Run a test of scipy; what it has no answer to is told as such. An odds ratio may be inf."""
    import numpy

    with numpy.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value, p = test()
        except (ValueError, ArithmeticError) as error:
            return _cannot_tell(name, p_value, sizes, str(error)[:200])
    if math.isnan(p) or (math.isnan(value) and not any_value):
        return _cannot_tell(name, p_value, sizes, "the numbers vary too little, or too far")
    return Statistic(name, value, p, p_value, p < p_value, sizes, note)
