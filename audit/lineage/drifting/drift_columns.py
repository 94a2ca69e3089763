"""One column now against then: the statistics that fit its kind, and what they come to.

A column has drifted when a distance is over its threshold and the test beside it says that this is
not chance: large windows make every test significant, small ones every distance large. MISSING_RATE
is paired with CHI_SQUARE_MISSING, L_INFINITY with CHI_SQUARE, JENSEN_SHANNON and RANGE with
KOLMOGOROV_SMIRNOV. The statistic of that one is a distance itself, and counts as one: it sees a
shift by half a standard deviation (0.2), of which the divergence is 0.05 only. The others
(MEAN_WITHIN_SE, KRUSKAL_WALLIS, ANOVA, CHI_SQUARE_ZERO) are told, and decide nothing.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.lineage.content import statistics
from audit.lineage.content.distributions import CATEGORY, NUMBER, Distribution, comparable
from audit.lineage.content.statistics import Statistic

DRIFTED, STEADY, CANNOT_TELL = "DRIFTED", "STEADY", "CANNOT_TELL"
COMPARED, APPEARED, VANISHED = "COMPARED", "APPEARED", "VANISHED"

PAIRS = {
    "MISSING_RATE": "CHI_SQUARE_MISSING",
    "L_INFINITY": "CHI_SQUARE",
    "JENSEN_SHANNON": "KOLMOGOROV_SMIRNOV",
    "RANGE": "KOLMOGOROV_SMIRNOV",
}
"""Distance -> the test that says whether it may be chance."""
_MAIN = frozenset(("L_INFINITY", "JENSEN_SHANNON"))


class ColumnDrift(NamedTuple):
    """A column now against then. `status`: COMPARED, APPEARED or VANISHED.

    `verdict`: DRIFTED, STEADY or CANNOT_TELL. `type_change`: how the types of values differ, if
    they do. `reasons`: what the verdict stands on.
    """

    name: str
    side: str
    status: str
    verdict: str
    kind: str
    then: Distribution | None
    now: Distribution | None
    type_change: str | None
    statistics: tuple[Statistic, ...]
    reasons: tuple[str, ...]

    def statistic(self, name: str) -> Statistic | None:
        """One of the statistics, by its name."""
        return next((one for one in self.statistics if one.statistic == name), None)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "column": self.name,
            "side": self.side,
            "status": self.status,
            "verdict": self.verdict,
            "drifted": self.verdict == DRIFTED,
            "kind": self.kind,
            "type_change": self.type_change,
            "reasons": list(self.reasons),
            "statistics": [one.to_json() for one in self.statistics],
            "then": None if self.then is None else self.then.to_json(),
            "now": None if self.now is None else self.now.to_json(),
        }


def one_sided(
    name: str, side: str, then: Distribution | None, now: Distribution | None, expected: bool = True
) -> ColumnDrift:
    """A column that only one side has; not `expected` to be on both, it is no finding."""
    status = APPEARED if then is None else VANISHED
    one = now if then is None else then
    assert one is not None
    why = "not there then" if then is None else "not there now"
    verdict = DRIFTED if expected else STEADY
    return ColumnDrift(name, side, status, verdict, one.kind, then, now, None, (), (why,))


def compare_column(
    name: str, side: str, then: Distribution, now: Distribution, threshold: float | None = None
) -> ColumnDrift:
    """A column that both sides have. `threshold`: of the distances, see `Asked`."""
    change = type_change(then.types, now.types)
    found = list(_missing(then, now))
    if then.present and now.present and then.kind == now.kind:
        distance = statistics.DISTANCE if threshold is None else threshold
        found = [*_values(then, now, distance), *found]
    verdict, reasons = judge(found)
    if change is not None:
        verdict, reasons = DRIFTED, [f"types: {change}", *reasons]
    kind = now.kind if now.present else then.kind
    return ColumnDrift(
        name, side, COMPARED, verdict, kind, then, now, change, tuple(found), tuple(reasons)
    )


def judge(found: list[Statistic]) -> tuple[str, list[str]]:
    """The verdict that statistics come to, and why."""
    by_name = {one.statistic: one for one in found}
    drifted, unclear = [], []
    main = False
    for name, test_name in PAIRS.items():
        distance = by_name.get(name)
        if distance is None:
            continue
        main = main or (name in _MAIN and distance.exceeded is not None)
        if not distance.exceeded:
            continue
        test = by_name.get(test_name)
        if test is not None and test.exceeded:
            drifted.append(f"{name} {distance.value or 0:.3g} > {distance.threshold:.3g}")
        elif test is None or test.exceeded is None:
            unclear.append(f"{name} over its threshold, {test_name} cannot tell")
    drifted += _shifted(by_name)
    if drifted:
        return DRIFTED, drifted
    if unclear:
        return CANNOT_TELL, unclear
    missing = by_name.get("MISSING_RATE")
    if main or not (_MAIN & by_name.keys() or missing is None or missing.exceeded is None):
        return STEADY, []
    notes = [one.note for one in found if one.exceeded is None and one.note]
    return CANNOT_TELL, notes[:1]


def _shifted(by_name: Mapping[str, Statistic]) -> list[str]:
    """The distance of KOLMOGOROV_SMIRNOV, where it is over the threshold of distances."""
    test, main = by_name.get("KOLMOGOROV_SMIRNOV"), by_name.get("JENSEN_SHANNON")
    if test is None or main is None or not test.exceeded or test.value is None:
        return []
    if test.value <= main.threshold:
        return []
    return [f"{test.statistic} {test.value:.3g} > {main.threshold:.3g}"]


def _missing(then: Distribution, now: Distribution) -> list[Statistic]:
    before, after = (then.missing, then.rows), (now.missing, now.rows)
    return [
        statistics.missing_rate(before, after),
        statistics.missing_against_present(before, after),
    ]


def _values(then: Distribution, now: Distribution, threshold: float) -> list[Statistic]:
    if now.kind == NUMBER:
        a, b = then.values, now.values
        return [
            statistics.jensen_shannon(a, b, threshold),
            statistics.kolmogorov_smirnov(a, b),
            statistics.value_range(then.minimum, then.maximum, then.numbers, b),
            statistics.mean_within_error(a, b),
            statistics.kruskal_wallis(a, b),
            statistics.anova(a, b),
            statistics.zero_against_other((then.zeros, then.numbers), (now.zeros, now.numbers)),
        ]
    if now.kind == CATEGORY:
        before, after, pooled = comparable(then, now)
        distance = statistics.l_infinity(before, after, threshold)
        if pooled:
            note = f"{distance.note}; categories beyond those listed are one class"
            distance = distance._replace(note=note)
        # Missing is a class of the test, and of the distance none: that has MISSING_RATE.
        with_missing = (
            {**before, "(missing)": then.missing + before.get("(missing)", 0)},
            {**after, "(missing)": now.missing + after.get("(missing)", 0)},
        )
        return [distance, statistics.chi_square(*with_missing)]
    return []


def type_change(then: Mapping[str, int], now: Mapping[str, int]) -> str | None:
    """How types of values differ: one that was not there then, or another that most have."""
    if not then or not now:
        return None
    new = sorted(now.keys() - then.keys())
    if not new and _most(then) == _most(now):
        return None
    return f"{_listed(then)} -> {_listed(now)}"


def _most(types: Mapping[str, int]) -> str:
    return max(types, key=lambda name: (types[name], name))


def _listed(types: Mapping[str, int]) -> str:
    return ", ".join(sorted(types, key=lambda name: (-types[name], name)))
