"""How two components differ: code, tests, parameters, environment; by a run of each.

Compared is the newest complete run of each (else the newest that ended, else the newest), because
only a run that came to its end made all of its tests. Code is compared function by function where
both runs kept theirs (`audit.lineage.recorded.function_diff`), else by the digest of the source
text.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.errors import NotFound
from audit.event.valuejson import to_json
from audit.lineage.recorded.function_diff import CodeDiff, compare_code
from audit.lineage.recorded.runs import COMPLETE, STARTED, Run, find_run, find_runs
from audit.replay.points import Cut
from audit.store.blobs import BlobStore
from audit.store.contract import Reader

ABSENT = object()
"""Stands for a value that one side does not have."""
MAX_NAMES_LISTED = 20

Pairs = Mapping[str, tuple[Any, Any]]


class QualityTestsDiff(NamedTuple):
    """Tests by `PHASE name`: those that one side lacks, those with other code, the same ones."""

    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    other_code: tuple[str, ...]
    same: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def differ(self) -> bool:
        """Whether one side lacks a test, or has another one under the same name."""
        return bool(self.only_a or self.only_b or self.other_code)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {name: list(value) for name, value in self._asdict().items()}


class ComponentDiff(NamedTuple):
    """How `a` and `b` differ, by the runs that are named. Pairs: name -> (in a, in b).

    `environment` holds what both name and have in other versions; `only_named`: what one side alone
    names, which says only what was loaded there.
    """

    a: Run
    b: Run
    code: CodeDiff
    tests: QualityTestsDiff
    params: Pairs
    environment: Pairs
    only_named: tuple[str, ...]

    @property
    def locks(self) -> tuple[str | None, str | None]:
        """The digests of all packages that were installed."""
        return self.a.lock_digest, self.b.lock_digest

    @property
    def differences(self) -> tuple[str, ...]:
        """What differs or cannot be told: code, tests, params, environment. Owners do not count."""
        found = {
            "code": self.code.verdict != "SAME",
            "tests": self.tests.differ,
            "params": bool(self.params),
            "environment": bool(self.environment)
            or (None not in self.locks and self.locks[0] != self.locks[1]),
        }
        return tuple(name for name, differs in found.items() if differs)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "a": _side(self.a),
            "b": _side(self.b),
            "differences": list(self.differences),
            "code": self.code.to_json(),
            "tests": self.tests.to_json(),
            "params": _pairs(self.params),
            "environment": {
                "differ": _pairs(self.environment),
                "named_by_one": list(self.only_named),
                "locks": list(self.locks),
            },
        }


def _side(run: Run) -> dict[str, Any]:
    return {
        "component": run.name,
        "run": run.run_id,
        "status": run.status,
        "owner": run.owner,
        "code_commit": run.code_commit,
        "code_dirty": run.code_dirty,
        "code_digest": run.code_digest,
        "function_digest": run.function_digest,
    }


def _pairs(pairs: Pairs) -> dict[str, Any]:
    sides = ("a", "b")
    return {
        name: {
            side: to_json(value)
            for side, value in zip(sides, pair, strict=True)
            if value is not ABSENT
        }
        for name, pair in pairs.items()
    }


def compare_components(reader: Reader, blobs: BlobStore, a: str, b: str, cut: Cut) -> ComponentDiff:
    """Compare two components by name, or two runs by `run/ID`. Raises NotFound."""
    runs = find_runs(reader, cut)
    one, other = _chosen(reader, runs, a, cut), _chosen(reader, runs, b, cut)
    shared = one.environment.keys() & other.environment.keys()
    environments = _differing(one.environment, other.environment)
    return ComponentDiff(
        one,
        other,
        compare_code(blobs, one, other),
        _tests(one, other),
        _differing(_params(one), _params(other)),
        {name: pair for name, pair in environments.items() if name in shared},
        tuple(sorted(one.environment.keys() ^ other.environment.keys())),
    )


def _chosen(reader: Reader, runs: list[Run], named: str, cut: Cut) -> Run:
    if named.startswith("run/"):
        return find_run(reader, named, cut)
    own = sorted((run for run in runs if run.name == named), key=lambda run: run.time_us)
    if not own:
        known = sorted({run.name for run in runs})[:MAX_NAMES_LISTED]
        listed = ", ".join(known) or "none at all"
        raise NotFound(f"no run of a component {named!r:.80} is recorded; there are: {listed}")
    for wanted in (
        [run for run in own if run.status == COMPLETE],
        [run for run in own if run.status != STARTED],
    ):
        if wanted:
            return wanted[-1]
    return own[-1]


def _params(run: Run) -> dict[str, Any]:
    """Parameters, and the seed among them."""
    return {**run.params, **({} if run.seed is None else {"seed": run.seed})}


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = sorted(one.keys() | other.keys())
    pairs = {name: (one.get(name, ABSENT), other.get(name, ABSENT)) for name in names}
    return {name: pair for name, pair in pairs.items() if not _equal(*pair)}


def _equal(one: object, other: object) -> bool:
    """Equal as values of the log are: 1 is not 1.0, and NaN is itself."""
    if one is ABSENT or other is ABSENT:
        return one is other
    return type(one) is type(other) and bool(to_json(one) == to_json(other))


def _tests(one: Run, other: Run) -> QualityTestsDiff:
    """The newest word about each test counts, where a run made it several times."""
    mine = {f"{test.phase} {test.name}": test.digest for test in one.tests}
    theirs = {f"{test.phase} {test.name}": test.digest for test in other.tests}
    shared = sorted(mine.keys() & theirs.keys())
    told = [name for name in shared if mine[name] is not None and theirs[name] is not None]
    return QualityTestsDiff(
        only_a=tuple(sorted(mine.keys() - theirs.keys())),
        only_b=tuple(sorted(theirs.keys() - mine.keys())),
        other_code=tuple(name for name in told if mine[name] != theirs[name]),
        same=tuple(name for name in told if mine[name] == theirs[name]),
        unknown=tuple(name for name in shared if name not in told),
    )
