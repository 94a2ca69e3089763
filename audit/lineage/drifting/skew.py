"""Training against serving: other types, other features, other code of features.

Schema skew: a feature's values have another type than the column had that the model was trained on
(an integer is no double; pandas makes doubles of integers when one is missing), or it is on one
side only. Code skew: the recorded definitions that make features when the model answers are others
than those used in training. Feature skew: values are distributed otherwise; whether the features of
a single prediction can be made again as they were served is what `audit replay` says of it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.errors import InvalidInput
from audit.lineage.drifting.drift_columns import DRIFTED, ColumnDrift, compare_column, type_change
from audit.lineage.drifting.observed import INPUTS, Observed, Span, observe_predictions
from audit.lineage.drifting.observed_runs import MODEL_ENTITY, Baseline, observe_baseline
from audit.lineage.recorded.records import Named
from audit.replay.points import Cut
from audit.replay.query import EARLIEST_US, LATEST_US
from audit.store.blobs import BlobStore
from audit.store.contract import Reader

TYPE, NOT_SERVED, NOT_TRAINED = "TYPE", "NOT_SERVED", "NOT_TRAINED"
SAME, CHANGED = "SAME", "CHANGED"


class SchemaSkew(NamedTuple):
    """A feature whose type differs, or that is on one side only; types by frequency.

    `finding`: False for a column that was only there in training, and that the model is not known
    to expect: it may be the label, or a key.
    """

    feature: str
    difference: str
    trained: tuple[str, ...]
    served: tuple[str, ...]
    finding: bool


class CodeSkew(NamedTuple):
    """A feature definition in training and in serving: NAME@VERSION and digest of each used.

    `difference`: SAME, CHANGED, NOT_SERVED or NOT_TRAINED. `predictions`: how many name it.
    """

    definition: str
    difference: str
    trained: tuple[Named, ...]
    served: tuple[Named, ...]
    predictions: int

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            **self._asdict(),
            "trained": [one._asdict() for one in self.trained],
            "served": [one._asdict() for one in self.served],
        }


class SkewReport(NamedTuple):
    """How serving differs from training. `distributions`: the features of both, compared."""

    model: str
    run_id: str | None
    trained_rows: int
    predictions: int
    schema: tuple[SchemaSkew, ...]
    code: tuple[CodeSkew, ...]
    distributions: tuple[ColumnDrift, ...]
    remarks: tuple[str, ...]

    @property
    def skewed(self) -> bool:
        """Whether a type, a feature or a definition differs; distributions are told apart."""
        if any(one.finding for one in self.schema):
            return True
        # A training that recorded no definition at all is no evidence that there was none.
        noted = any(one.trained for one in self.code)
        return any(
            one.difference == CHANGED or (one.difference == NOT_TRAINED and noted)
            for one in self.code
        )

    @property
    def compared(self) -> bool:
        """Whether there was anything to compare: columns of the same name, or definitions."""
        return bool(self.distributions or self.code)

    @property
    def feature_skew(self) -> tuple[str, ...]:
        """The features that are distributed otherwise than in training."""
        return tuple(one.name for one in self.distributions if one.verdict == DRIFTED)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "model": self.model,
            "run": self.run_id,
            "skewed": self.skewed,
            "compared": self.compared,
            "trained_rows": self.trained_rows,
            "predictions": self.predictions,
            "schema": [one._asdict() for one in self.schema],
            "code": [one.to_json() for one in self.code],
            "feature_skew": list(self.feature_skew),
            "distributions": [one.to_json() for one in self.distributions],
            "remarks": list(self.remarks),
        }


def skew(reader: Reader, blobs: BlobStore, model: str, cut: Cut) -> SkewReport:
    """Training against all logged predictions of a model version (NAME@VERSION).

    Raises NotFound, InvalidInput, Unavailable.
    """
    key = model.removeprefix(f"{MODEL_ENTITY}/")
    name, at, version = key.rpartition("@")
    if not (name and at and version):
        raise InvalidInput(f"{model:.140} names no model version; write NAME@VERSION")
    trained = observe_baseline(reader, blobs, cut, f"{MODEL_ENTITY}/{key}", INPUTS)
    always = Span(EARLIEST_US, LATEST_US)
    (served,) = observe_predictions(reader, blobs, cut, name, version, [always], INPUTS)
    return compare_skew(trained, served)


def compare_skew(trained: Baseline, served: Observed) -> SkewReport:
    """Training against what was observed of predictions."""
    columns = [
        {name: one for (side, name), one in seen.columns.items() if side == INPUTS}
        for seen in (trained.observed, served)
    ]
    common = sorted(columns[0].keys() & columns[1].keys())
    compared = [compare_column(name, INPUTS, columns[0][name], columns[1][name]) for name in common]
    run = trained.run
    return SkewReport(
        trained.ref,
        None if run is None else run.run_id,
        trained.observed.rows,
        served.rows,
        tuple(_schema(columns[0], columns[1], trained.expects)),
        tuple(_code(trained.features, served.definitions)),
        tuple(compared),
        tuple(_remarks(trained, served, bool(common))),
    )


def _schema(
    trained: Mapping[str, Any], served: Mapping[str, Any], expects: frozenset[str] | None
) -> list[SchemaSkew]:
    if not trained.keys() & served.keys():
        return []
    found = []
    for name in sorted({*trained, *served}):
        types = [_types(side.get(name)) for side in (trained, served)]
        if name not in served:
            expected = expects is not None and name in expects
            found.append(SchemaSkew(name, NOT_SERVED, types[0], types[1], expected))
        elif name not in trained:
            found.append(SchemaSkew(name, NOT_TRAINED, types[0], types[1], True))
        elif type_change(trained[name].types, served[name].types) is not None:
            found.append(SchemaSkew(name, TYPE, types[0], types[1], True))
    return found


def _types(column: Any) -> tuple[str, ...]:
    if column is None:
        return ()
    return tuple(sorted(column.types, key=lambda name: (-column.types[name], name)))


def _code(trained: tuple[Named, ...], served: Mapping[Named, int]) -> list[CodeSkew]:
    found = []
    for name in sorted({one.name for one in (*trained, *served)}):
        then = tuple(one for one in trained if one.name == name)
        now = tuple(sorted(one for one in served if one.name == name))
        if not now:
            difference = NOT_SERVED
        elif not then:
            difference = NOT_TRAINED
        else:
            digests = {one.digest for one in then}
            difference = SAME if all(one.digest in digests for one in now) else CHANGED
        predictions = sum(served[one] for one in now)
        found.append(CodeSkew(name, difference, then, now, predictions))
    return found


def _remarks(trained: Baseline, served: Observed, common: bool) -> list[str]:
    remarks = []
    if not served.rows:
        remarks.append("no prediction of it is logged here: nothing was served")
    if not trained.observed.columns:
        remarks.append("no profile of what it was trained on is recorded: no schema to compare")
    elif served.columns and not common:
        remarks.append("no feature has the name of a column trained on: no schema to compare")
    if not trained.features and not served.definitions:
        remarks.append("no feature definition is recorded in training or serving: no code compared")
    elif trained.features and served.rows and not served.definitions:
        remarks.append("predictions name no feature definition: their features' code is not known")
    return remarks
