"""Runs, models, datasets and feature definitions by what they are made from, at one cut.

Predictions are many: they are never in here.
"""

from collections.abc import Iterator
from typing import NamedTuple

from audit.lineage.recorded.records import DataUse, Named
from audit.lineage.recorded.run_index import Runs, Told
from audit.lineage.recorded.runs import Run
from audit.lineage.tracing.record_index import RecordIndex, index_of
from audit.lineage.tracing.things import Below, Entered
from audit.lineage.tracing.trace_records import DatasetEntry, FeatureEntry, ModelEntry
from audit.replay.points import Cut
from audit.store.contract import Reader


class PointUse(NamedTuple):
    """Something that was read from a dataset of the ledger: by a run, or as a dataset version."""

    use: DataUse
    run: Run | None
    dataset: DatasetEntry | None


class View:
    """Look-ups over what was recorded below one cut, superseded records left out."""

    def __init__(self, index: RecordIndex, reader: Reader, cut: Cut) -> None:
        """Use `view_of`."""
        self._index, self._reader, self._cut = index, reader, cut
        self._there = index.there(cut)
        things, there = index.things, self._entered
        self.models = Below(things.models, ModelEntry, there)
        self.models_by_digest = Below(things.models_by_digest, ModelEntry, there)
        self.models_of_run = Below(things.models_of_run, ModelEntry, there)
        self.models_of_features = Below(things.models_of_features, ModelEntry, there)
        self.models_of_member = Below(things.models_of_member, ModelEntry, there)
        self.datasets = Below(things.datasets, DatasetEntry, there)
        self.datasets_by_digest = Below(things.datasets_by_digest, DatasetEntry, there)
        self.datasets_of_run = Below(things.datasets_of_run, DatasetEntry, there)
        self.datasets_of_parent = Below(things.datasets_of_parent, DatasetEntry, there)
        self.datasets_of_model = Below(things.datasets_of_model, DatasetEntry, there)
        self._datasets_of_type = Below(things.datasets_of_type, DatasetEntry, there)
        self.features = Below(things.features, FeatureEntry, there)

    def _entered(self, entered: Entered) -> bool:
        record = entered.thing.record
        return self._index.is_there(self._cut, record.log, record.index, entered.since)

    def _run(self, told: Told) -> Run:
        return self._index.run(self._reader, self._cut, told)

    def _saying(self, told: list[Told] | None) -> Runs:
        return Runs(self._index.runs.saying(told or (), self._there), self._run)

    def run(self, run_id: str) -> Run | None:
        """The run with an id."""
        found = self._index.runs.traced(run_id, self._there)
        return None if found is None else self._run(found[1])

    def runs_making(self, digest: str) -> Runs:
        """The runs that made a content."""
        return self._saying(self._index.runs.making.get(digest))

    def runs_reading(self, digest: str) -> Runs:
        """The runs that read a content."""
        return self._saying(self._index.runs.reading.get(digest))

    def runs_of_model(self, model: Named) -> Runs:
        """The runs that say that they made a model version, of this very artifact."""
        return self._saying(self._index.runs.of_model.get(model))

    def runs_of_features(self, name: str, version: str) -> Runs:
        """The runs that say that they used a feature definition."""
        return self._saying(self._index.runs.of_features.get((name, version)))

    def parts(self, run_id: str) -> Runs:
        """The runs that are parts of a run."""
        return self._saying(self._index.runs.parts.get(run_id))

    def points(self, entity_type: str) -> Iterator[PointUse]:
        """All that was read from a dataset of the ledger."""
        for run in self._saying(self._index.runs.points.get(entity_type)):
            for use in run.inputs:
                if use.entity_type == entity_type and use.logs:
                    yield PointUse(use, run, None)
        for entry in self._datasets_of_type.get(entity_type):
            yield PointUse(entry.point, None, entry)


def view_of(reader: Reader, cut: Cut) -> View:
    """The runs, models, datasets and feature definitions of a ledger at a cut.

    Raises LimitExceeded, StoreCorrupt, Unavailable.
    """
    return View(index_of(reader, cut), reader, cut)
