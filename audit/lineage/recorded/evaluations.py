"""Two evaluations side by side - if they are of the same data: else no number says which is better.

An evaluation is a run with metrics. Its data are the inputs that are no model and no plain value,
each known by the digest of its content; names and files do not count.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.event.valuejson import to_json
from audit.lineage.recorded.records import DataUse
from audit.lineage.recorded.run_inputs import MODEL, VALUE
from audit.lineage.recorded.runs import Run, find_run, use_to_json
from audit.replay.points import Cut
from audit.store.contract import Reader

SAME_DATA, OTHER_DATA, UNKNOWN_DATA = "SAME_DATA", "OTHER_DATA", "UNKNOWN_DATA"


class ComparedEvaluations(NamedTuple):
    """Two runs with metrics. `verdict`: SAME_DATA, OTHER_DATA, or UNKNOWN_DATA where one of them
    recorded no data.

    `metrics`: name -> (a, b), of those that both measured; empty unless the data is the same.
    `only_a`, `only_b`: the data that one alone read.
    """

    a: Run
    b: Run
    verdict: str
    message: str
    metrics: Mapping[str, tuple[Any, Any]]
    only_a: tuple[DataUse, ...]
    only_b: tuple[DataUse, ...]

    @property
    def comparable(self) -> bool:
        """Whether the metrics may be compared."""
        return self.verdict == SAME_DATA

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "a": self.a.run_id,
            "b": self.b.run_id,
            "verdict": self.verdict,
            "message": self.message,
            "metrics": {n: [to_json(one) for one in pair] for n, pair in self.metrics.items()},
            "only_a": [use_to_json(use) for use in self.only_a],
            "only_b": [use_to_json(use) for use in self.only_b],
        }


def compare_evaluations(reader: Reader, a: str, b: str, cut: Cut) -> ComparedEvaluations:
    """The metrics of two runs, refused where they read other data. Raises NotFound."""
    one, other = find_run(reader, a, cut), find_run(reader, b, cut)
    data = _data(one), _data(other)
    only_a, only_b = _left(*data), _left(data[1], data[0])
    unknown = [run for run, uses in ((one, data[0]), (other, data[1])) if not uses]
    nameless = [run for run in (one, other) if _without_digest(run)]
    if unknown or nameless:
        told = (
            f"{unknown[0].ref} recorded no data that it read: give it with run.input"
            if unknown
            else f"{nameless[0].ref} read data of which no digest is recorded"
        )
        return ComparedEvaluations(one, other, UNKNOWN_DATA, told, {}, only_a, only_b)
    if only_a or only_b:
        named = [use.name or use.digest or "" for use in (*only_a, *only_b)]
        told = f"not comparable: they read other data ({', '.join(dict.fromkeys(named))[:200]})"
        return ComparedEvaluations(one, other, OTHER_DATA, told, {}, only_a, only_b)
    metrics = {
        name: (one.metrics[name], other.metrics[name])
        for name in one.metrics
        if name in other.metrics
    }
    told = f"both read the same data: {', '.join(sorted({use.digest or '' for use in data[0]}))}"
    return ComparedEvaluations(one, other, SAME_DATA, told[:400], metrics, (), ())


def _data(run: Run) -> list[DataUse]:
    return [use for use in run.inputs if use.digest is not None and use.kind not in (MODEL, VALUE)]


def _without_digest(run: Run) -> bool:
    return any(use.digest is None and use.kind not in (MODEL, VALUE) for use in run.inputs)


def _left(uses: list[DataUse], others: list[DataUse]) -> tuple[DataUse, ...]:
    """What of one is not in the other, as often as it is there."""
    left = Counter(use.digest for use in others)
    found = []
    for use in uses:
        if left[use.digest]:
            left[use.digest] -= 1
        else:
            found.append(use)
    return tuple(found)
