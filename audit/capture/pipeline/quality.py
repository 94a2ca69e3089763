"""Ready-made tests of data and models: ``before=[audit.quality.outliers(["amount"])]``.

Each can be given to `before` or `after` of a component, where it finds what it tests by the name of
an argument (after the run also in what was returned), and called directly: ``outliers()(frame)``
returns what was measured, or raises FailedTest. It has a name, a digest of its source text and
settings, and `measured`: what the last call measured.
"""

import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from audit.capture.pipeline.data_tests import OUTPUT, QualityTest, is_given
from audit.capture.pipeline.target import Target
from audit.errors import AuditError, FailedTest, InvalidInput
from audit.event.types import MODEL_VERSION
from audit.lineage.content.expects import Expects
from audit.lineage.recorded.artifact import serialise
from audit.lineage.recorded.models import MODEL_ENTITY, PICKLE_FORMAT, ModelVersion
from audit.lineage.recorded.records import records_of
from audit.lineage.recorded.run_inputs import FRAME, kind_of
from audit.store.blobs import digest_of

DEFAULT_Z = 6.0
"""How many robust standard deviations from the median a value is an outlier: rare in most data."""
MEAN_TO_STD = 1.2533141373155001
MAD_TO_STD = 1.4826022185056018
"""Standard deviation of normal values, by their mean (median) absolute deviation."""
MAX_CHECKED_ROWS = 10_000_000
"""Rows that `schema` looks at."""

__all__ = ["model_integrity", "outliers", "schema", "train_test_leakage"]


def outliers(
    columns: Sequence[str] | None = None,
    z: float = DEFAULT_Z,
    *,
    of: str | None = None,
    max_share: float = 0.0,
) -> QualityTest:
    """No value lies more than `z` robust standard deviations from its column's median.

    The deviation is the median absolute one (where that is 0 the mean absolute one), so outliers do
    not hide themselves. Infinities are outliers, missing values are none. `columns`: default all
    numbers. `of`: name of the argument (default: all frames). `max_share`: the part of the values
    that may be outliers.
    """
    if not z > 0 or not 0 <= max_share <= 1:
        raise InvalidInput("z is above 0, max_share from 0 to 1")
    return _Outliers(
        columns=None if columns is None else list(columns), z=z, of=of, share=max_share
    )


def train_test_leakage(
    train: str = "train",
    test: str = "test",
    *,
    key: str | Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    max_shared: int = 0,
) -> QualityTest:
    """No row of the test frame is in the train frame; nor, with `key`, any of its keys.

    `train`, `test`: names of the arguments; after a run that returns a tuple or dict of frames they
    are found there too, by name or as the first two. Rows are alike when all `columns` (default:
    those that both frames have) are.
    """
    keys = [key] if isinstance(key, str) else None if key is None else list(key)
    names = None if columns is None else list(columns)
    return _Leakage(train=train, test=test, key=keys, columns=names, max_shared=max_shared)


def model_integrity(
    model: str = "model",
    *,
    version: ModelVersion | None = None,
    digest: str | None = None,
    store: str | None = None,
) -> QualityTest:
    """The model is byte for byte one that was registered: unknown digests are refused.

    `model`: name of the argument, a model, a ModelVersion, bytes or the path of an artifact. It
    must be `version`, or have the `digest`; without either it must be registered in the ledger
    `store` (default AUDIT_BUS, AUDIT_STORE or sqlite:///audit.db). A model that was loaded from its
    artifact is best given as the ModelVersion: pickling it again may give other bytes.
    """
    return _Integrity(model=model, version=version, digest=digest, store=store)


def schema(expects: Mapping[str, Mapping[str, Any]], *, of: str | None = None) -> QualityTest:
    """Every row has the columns, types, ranges and values of `audit.lineage.content.expects`.

    `of`: name of the argument (default: all frames).
    """
    Expects(expects)
    return _Schema(expects={name: dict(rule) for name, rule in expects.items()}, of=of)


def _frames(named: Mapping[str, Any], output: Any, of: str | None) -> dict[str, Any]:
    """The frames to test: of the output after a run, else of the arguments."""
    given = dict(named)
    if is_given(output):
        parts = _parts_of(output)
        given = {**given, **parts} if of is not None else parts
    found = {name: thing for name, thing in given.items() if kind_of(thing) == FRAME}
    if of is not None:
        found = {name: thing for name, thing in found.items() if name == of}
    if not found:
        raise InvalidInput(f"there is no data frame {of or ''} to test; there is {list(given)}")
    return {
        name: thing.to_frame() if type(thing).__name__ == "Series" else thing
        for name, thing in found.items()
    }


def _parts_of(output: Any) -> dict[str, Any]:
    if isinstance(output, Mapping):
        return {str(name): thing for name, thing in output.items()}
    if isinstance(output, (tuple, list)):
        return {f"{OUTPUT}[{index}]": thing for index, thing in enumerate(output)}
    return {OUTPUT: output}


class _Outliers(QualityTest):
    name = "outliers"

    def check(self, named: Mapping[str, Any], output: Any) -> dict[str, Any]:
        wanted, z = self.settings["columns"], self.settings["z"]
        measured: dict[str, Any] = {"values": 0, "outliers": 0}
        worst: list[tuple[float, str]] = []
        for name, frame in _frames(named, output, self.settings["of"]).items():
            lacking = [column for column in wanted or () if column not in frame.columns]
            if lacking:
                raise FailedTest(f"{name} has no column {', '.join(lacking)}"[:500], measured)
            columns = wanted or list(frame.select_dtypes("number").columns)
            for column in columns:
                count, found, far = _far_off(frame[column], z)
                measured["values"] += count
                measured["outliers"] += found
                if found:
                    measured[f"{name}.{column}"] = found
                    worst.append((far, f"{name}.{column}"))
        share = measured["outliers"] / max(1, measured["values"])
        if measured["outliers"] and share > self.settings["share"]:
            far, column = max(worst)
            raise FailedTest(
                f"{measured['outliers']} of {measured['values']} values are outliers, "
                f"the farthest in {column}: {far:.3g} deviations from the median",
                measured,
            )
        return measured


def _far_off(column: Any, z: float) -> tuple[int, int, float]:
    """Values there are, outliers among them, and how far the farthest is."""
    import numpy

    values = column.dropna().to_numpy(dtype="float64", na_value=numpy.nan)
    if not len(values):
        return 0, 0, 0.0
    finite = values[numpy.isfinite(values)]
    middle = numpy.median(finite) if len(finite) else 0.0
    away = numpy.abs(values - middle)
    near = away[numpy.isfinite(away)]
    scale = float(numpy.median(near)) * MAD_TO_STD if len(near) else 0.0
    if not scale:
        scale = float(near.mean()) * MEAN_TO_STD if len(near) else 0.0
    score = away / scale if scale else numpy.where(numpy.isfinite(away), 0.0, numpy.inf)
    found = score > z
    return len(values), int(found.sum()), float(score.max())


class _Leakage(QualityTest):
    name = "train_test_leakage"

    def check(self, named: Mapping[str, Any], output: Any) -> dict[str, Any]:
        train, test = self._both(named, output)
        columns = self.settings["columns"] or [c for c in train.columns if c in test.columns]
        lacking = [
            column
            for column in [*columns, *(self.settings["key"] or ())]
            if column not in train.columns or column not in test.columns
        ]
        if lacking or not columns:
            raise FailedTest(f"the frames do not both have the columns {lacking}"[:500])
        measured = {
            "rows_train": len(train),
            "rows_test": len(test),
            "shared_rows": _shared(train[columns], test[columns]),
        }
        keys = self.settings["key"]
        if keys:
            measured["shared_keys"] = _shared(train[keys], test[keys])
        shared = {n: measured[n] for n in ("shared_rows", "shared_keys") if n in measured}
        if max(shared.values()) > self.settings["max_shared"]:
            words = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in shared.items())
            raise FailedTest(f"the test data leaks into the train data: {words}", measured)
        return measured

    def _both(self, named: Mapping[str, Any], output: Any) -> tuple[Any, Any]:
        given = {name: thing for name, thing in named.items() if kind_of(thing) == FRAME}
        if is_given(output):
            made = {n: t for n, t in _parts_of(output).items() if kind_of(t) == FRAME}
            given = {**given, **made}
        wanted = self.settings["train"], self.settings["test"]
        if all(name in given for name in wanted):
            return given[wanted[0]], given[wanted[1]]
        rest = list(made.values()) if is_given(output) else list(given.values())
        if len(rest) < 2:
            raise InvalidInput(f"there are no frames {wanted[0]} and {wanted[1]} to compare")
        return rest[0], rest[1]


def _shared(left: Any, right: Any) -> int:
    """How many rows of the right frame are in the left one, by a 64-bit hash of each row."""
    import numpy
    import pandas

    left, right = left.copy(deep=False), right.copy(deep=False)
    for column in left.columns:
        if left[column].dtype != right[column].dtype:
            both = (left[column], right[column])
            numbers = all(pandas.api.types.is_numeric_dtype(one) for one in both)
            kind = "float64" if numbers else str
            left[column], right[column] = left[column].astype(kind), right[column].astype(kind)
    hashes = [
        pandas.util.hash_pandas_object(frame, index=False).to_numpy() for frame in (left, right)
    ]
    return int(numpy.isin(hashes[1], hashes[0]).sum())


class _Integrity(QualityTest):
    name = "model_integrity"

    def check(self, named: Mapping[str, Any], output: Any) -> dict[str, Any]:
        wanted = self.settings["model"]
        given = {**named, **(_parts_of(output) if is_given(output) else {})}
        if wanted not in given and len(given) == 1:
            wanted = next(iter(given))
        if wanted not in given:
            raise InvalidInput(f"there is no model {wanted} to test; there is {list(given)}")
        model = given[wanted]
        found = self._digest(model)
        measured = {"digest": found}
        version = self.settings["version"]
        expected = self.settings["digest"] or (None if version is None else version.digest)
        if expected is None:
            names = _registered(self.settings["store"], found)
            if not names:
                raise FailedTest(f"no model is registered with the digest {found}", measured)
            return {**measured, "registered": names[-1]}
        if found != expected and not (version is not None and _same_pickle(version, model)):
            raise FailedTest(f"the model is {found}, not {expected}", measured)
        return {**measured, "expected": expected}

    def _digest(self, model: Any) -> str:
        if not isinstance(model, ModelVersion):
            return digest_of(serialise(model).data)
        try:
            model.blobs.get(model.digest)  # re-hashed: a damaged artifact is not that model
        except AuditError as error:
            raise FailedTest(f"{model.ref}: {error}", {"digest": model.digest}) from error
        return model.digest


def _registered(store: str | None, digest: str) -> list[str]:
    """The model versions of the ledger that have a digest, oldest first."""
    from audit.replay.points import resolve
    from audit.store import open_reader

    url = Target(None, store, None, None).bus
    with open_reader(url) as reader:
        cut = resolve(reader, None, 0)
        found = records_of(reader, cut, MODEL_ENTITY, frozenset((MODEL_VERSION,)))
        return [
            f"{one.data.get('name')}@{one.data.get('version')}"
            for one in found
            if one.data.get("digest") == digest
        ]


def _same_pickle(version: ModelVersion, model: Any) -> bool:
    """Whether a model is the artifact once both went through a pickle as often.

    A model that was unpickled has other bytes when it is pickled again: which of its texts are one
    object is part of a pickle.
    """
    if version.format != PICKLE_FORMAT or isinstance(model, (bytes, ModelVersion)):
        return False
    again: Callable[[Any], bytes] = lambda thing: serialise(thing).data  # noqa: E731
    try:
        artifact = again(pickle.loads(version.blobs.get(version.digest)))
        return again(pickle.loads(artifact)) == again(
            pickle.loads(again(pickle.loads(again(model))))
        )
    except AuditError:
        raise
    except Exception:  # whatever unpickling a model raises
        return False


class _Schema(QualityTest):
    name = "schema"

    def check(self, named: Mapping[str, Any], output: Any) -> dict[str, Any]:
        measured: dict[str, Any] = {"rows": 0, "violations": 0}
        first = None
        for name, frame in _frames(named, output, self.settings["of"]).items():
            if len(frame) > MAX_CHECKED_ROWS:
                raise InvalidInput(f"{name} has more than {MAX_CHECKED_ROWS} rows")
            measured["rows"] += len(frame)
            for column, rule in self.settings["expects"].items():
                found = _violations(frame, column, rule)
                if found:
                    measured["violations"] += sum(found.values())
                    measured[f"{name}.{column}"] = sum(found.values())
                    words = ", ".join(f"{count} {why}" for why, count in found.items())
                    first = first or f"{name}.{column}: {words}"
        if first is not None:
            raise FailedTest(f"{measured['violations']} violations, first {first}", measured)
        return measured


def _violations(frame: Any, column: str, rule: Mapping[str, Any]) -> dict[str, int]:
    """Reason -> how many rows, of one column; as `Expects` judges one value."""
    if column not in frame.columns:
        return {"absent": max(1, len(frame))} if rule.get("required") else {}
    series = frame[column]
    missing = series.isna()
    there = series[~missing]
    found = {"missing": int(missing.sum())} if rule.get("required") else {}
    judge = Expects({column: {n: v for n, v in rule.items() if n != "required"}})
    counts = there.value_counts(dropna=True) if len(there) else {}
    for value, count in counts.items():
        plain = value.item() if hasattr(value, "item") else value
        for said in judge.violations({column: plain}):
            why = said.removeprefix(column).strip()
            found[why] = found.get(why, 0) + int(count)
    return {why: count for why, count in found.items() if count}
