"""From a thing to what it was made from: predictions, models, runs, data, features, rows."""

from collections.abc import Iterable, Sized
from functools import partial
from typing import TypeVar

from audit.errors import InvalidInput
from audit.lineage.recorded.predictions import PREDICTION_ENTITY
from audit.lineage.recorded.records import DATASET_ENTITY, DataUse, Named
from audit.lineage.recorded.run_index import Runs
from audit.lineage.recorded.runs import Run
from audit.lineage.tracing.graph import (
    BY_DIGEST,
    DECLARED,
    DERIVED,
    GENERATED,
    INFORMED,
    USED,
    Builder,
    Follow,
    Node,
)
from audit.lineage.tracing.trace_index import View
from audit.lineage.tracing.trace_nodes import (
    code_node,
    data_node,
    environment_node,
    features_node,
    missing_run,
    model_node,
    own_node,
    point_node,
    prediction_node,
    run_node,
)
from audit.lineage.tracing.trace_records import (
    DatasetEntry,
    FeatureUse,
    ModelEntry,
    PredictionEntry,
    prediction_entry,
)
from audit.lineage.tracing.trace_rows import Rows
from audit.log.entry import Kind
from audit.log.record import Record
from audit.replay.books import Books
from audit.replay.points import Cut, event_positions
from audit.replay.refs import Ref
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

MAX_PRODUCERS = 20
"""Runs, or registrations, that made the same content, as far as they are followed."""


T = TypeVar("T", ModelEntry, DatasetEntry)


class Upstream:
    """Grows a graph from effects to causes.

    `until_us`: nothing recorded after it can have made what was asked for; where two runs made the
    same content, the later one is then not taken for the cause. None: no such limit.
    """

    def __init__(
        self, reader: Reader, cut: Cut, view: View, graph: Builder, until_us: int | None = None
    ) -> None:
        self.reader = reader
        self.cut = cut
        self.view = view
        self.graph = graph
        self.until_us = until_us
        self.rows = Rows(reader, cut, graph)
        self.books = Books(reader, cut)

    def _attach(
        self,
        effect: str,
        node: Node,
        depth: int,
        follow: Follow | None,
        name: str,
        how: str = DECLARED,
        role: str | None = None,
    ) -> None:
        if self.graph.add(node, depth, follow):
            self.graph.link(effect, node.id, name, how, role)

    # Predictions

    def prediction(self, entry: PredictionEntry, depth: int) -> str:
        """Put a prediction in."""
        node = prediction_node(entry)
        self.graph.add(node, depth, partial(self._prediction, entry, node.id))
        return node.id

    def _prediction(self, entry: PredictionEntry, here: str, depth: int) -> None:
        if entry.model_name is not None:
            self._named_model(
                here, Named(entry.model_name, entry.model_version or "", entry.model_digest), depth
            )
        if entry.code_digest is not None:
            node = code_node(entry.code_digest, None, None)
            self._attach(here, node, depth, None, USED, role="serving code")
        for made in self.graph.listed(entry.feature_sets, "feature sets"):
            self._features(here, made.named, depth)
            self._reads(here, entry, made, depth)
        own = {} if entry.problem else _own_features(entry)
        for use in self.graph.listed(entry.inputs, "inputs"):
            self.data(here, use, depth, USED)
            self._rows(here, use, entry, own, depth)
        groups = (("parent", entry.parents), ("member", entry.members))
        for role, ids in groups:
            for one in self.graph.listed(ids, f"{role}s"):
                self._other_prediction(here, one, role, depth)
        if entry.primary is not None:
            self._other_prediction(here, entry.primary, "runs beside", depth)

    def _reads(self, here: str, entry: PredictionEntry, made: FeatureUse, depth: int) -> None:
        for use in self.graph.listed(made.reads, "datasets"):
            self.data(here, use, depth, USED)
            self._rows(here, use, entry, made.request, depth)

    def _rows(
        self, here: str, use: DataUse, entry: PredictionEntry, request: object, depth: int
    ) -> None:
        point, _ = self.rows.point_of(use)
        if point is None or use.entity_type is None:
            return
        key = None if entry.key == entry.prediction_id else entry.key
        asked = request if isinstance(request, dict) else {}
        for found in self.rows.asked_for(use, key, asked):
            row = self.rows.add(Ref(use.entity_type, found), point, depth)
            if row is not None:
                self.graph.link(here, row, USED, DECLARED, "row")

    def _other_prediction(self, here: str, wanted: str, role: str, depth: int) -> None:
        wanted = wanted.removeprefix(f"{PREDICTION_ENTITY}/")
        found = find_entries(self.reader, self.cut, self.books, wanted)
        for entry in found:
            self.graph.link(here, self.prediction(entry, depth), INFORMED, DECLARED, role)
        if not found:
            node = Node(
                f"prediction:?{wanted}",
                "prediction",
                "",
                f"{PREDICTION_ENTITY}/{wanted}",
                problem="nothing is recorded of this prediction",
            )
            self._attach(here, node, depth, None, INFORMED, role=role)

    # Models

    def _named_model(
        self,
        effect: str,
        model: Named,
        depth: int,
        edge: str = USED,
        role: str | None = None,
    ) -> None:
        """The model that a record names: by its artifact where it says which."""
        known = self.view.models.get((model.name, model.version))
        digests = {one.digest for one in known} if model.digest is None else {model.digest}
        for digest in sorted(digests, key=str) or [None]:
            found = self.model(model._replace(digest=digest), depth)
            self.graph.link(effect, found, edge, DECLARED, role)

    def model(self, model: Named, depth: int) -> str:
        """Put a model version in. Its name may stand for other artifacts too."""
        known = self.view.models.get((model.name, model.version))
        own = [one for one in known if one.digest == model.digest]
        others = {one.digest for one in known if one.digest and one.digest != model.digest}
        node = model_node(model, own, others)
        self.graph.add(node, depth, partial(self._model, model, own, node.id))
        return node.id

    def _model(self, model: Named, own: list[ModelEntry], here: str, depth: int) -> None:
        for entry in self._earlier(own):
            if entry.run_id is not None:
                self._run_named(here, entry.run_id, depth)
            for features in self.graph.listed(entry.features, "features"):
                self._features(here, features, depth, DERIVED)
            for member in self.graph.listed(entry.members, "members"):
                self._named_model(here, member, depth, edge=DERIVED, role="member")
        if model.digest is None:
            return
        for run in self._earlier_runs(self.view.runs_of_model(model)):
            self._run_named(here, run.run_id, depth)
        if not own:
            for entry in self._earlier(self.view.models_by_digest.get(model.digest)):
                same = self.model(entry.named, depth)
                self.graph.link(here, same, DERIVED, BY_DIGEST, "same artifact")
            for run in self._earlier_runs(self.view.runs_making(model.digest)):
                self.graph.link(here, self.run(run, depth), GENERATED, BY_DIGEST)

    # Runs

    def _run_named(self, effect: str, run: str, depth: int, edge: str = GENERATED) -> None:
        found = self.view.run(run)
        if found is None:
            self._attach(effect, missing_run(run), depth, None, edge)
        else:
            self.graph.link(effect, self.run(found, depth), edge, DECLARED)

    def run(self, run: Run, depth: int) -> str:
        """Put a run in."""
        node = run_node(run)
        self.graph.add(node, depth, partial(self._run, run, node.id))
        return node.id

    def _run(self, run: Run, here: str, depth: int) -> None:
        if run.code_digest is not None or run.code_commit is not None:
            code = code_node(run.code_digest, run.code_commit, run.code_dirty)
            self._attach(here, code, depth, None, USED)
        if run.environment or run.lock_digest is not None:
            ran_on = environment_node(run.environment, run.lock_digest)
            self._attach(here, ran_on, depth, None, USED)
        for use in self.graph.listed(run.inputs, "inputs"):
            self.data(here, use, depth, USED)
        for features in self.graph.listed(run.features, "features"):
            self._features(here, features, depth)
        if run.parent_run_id is not None:
            self._run_named(here, run.parent_run_id, depth, INFORMED)

    # Data

    def data(self, effect: str, use: DataUse, depth: int, edge: str) -> None:
        """Put in what was read: its content by digest, and the point of the ledger it is of."""
        known = self._dataset_named(use.dataset)
        here = effect
        if use.digest is not None:
            if use.identity is None:
                alone = own_node(effect, use)
                self.graph.add(alone, depth)
                here = alone.id
            else:
                here = self.content(use.identity, depth, use)
            self.graph.link(effect, here, edge, DECLARED, use.name or use.path)
            edge = DERIVED
            known = [entry for entry in known if entry.digest != use.digest]
            if known and use.digest not in {one.digest for one in self._dataset_named(use.dataset)}:
                self._mark(here, f"{use.dataset} is recorded with another content")
        elif known:
            for entry in known:
                self.graph.link(effect, self.dataset(entry, depth), edge, DECLARED, use.name)
        elif not use.entity_type:
            name = use.name or use.path or "something"
            node = Node(f"data:?{effect}:{name}", "data", name, problem="recorded without a digest")
            self._attach(effect, node, depth, None, edge, role=use.name)
        # Equal content may be read at several points: each says who read it there.
        reader = self.graph.nodes[effect].ref if effect in self.graph.nodes else None
        role = read_by(reader) if here != effect and reader is not None else use.name
        self._point(here, use, depth, edge, role)

    def _mark(self, node: str, problem: str) -> None:
        if node in self.graph.nodes and self.graph.nodes[node].problem is None:
            self.graph.nodes[node] = self.graph.nodes[node]._replace(problem=problem)

    def _dataset_named(self, reference: str | None) -> list[DatasetEntry]:
        name, at, version = (reference or "").removeprefix(f"{DATASET_ENTITY}/").rpartition("@")
        return self.view.datasets.get((name, version)) if at else []

    def _point(
        self, effect: str, use: DataUse, depth: int, edge: str, role: str | None = None
    ) -> None:
        if use.entity_type and use.logs:
            _, problem = self.rows.point_of(use)
            self._attach(effect, point_node(use, problem), depth, None, edge, role=role)

    def content(self, digest: str, depth: int, use: DataUse | None = None) -> str:
        """Put a content in, with the dataset versions that it is."""
        named = self.view.datasets_by_digest.get(digest)
        node = data_node(digest, named, use)
        self.graph.add(node, depth, partial(self._content, digest, named, node.id))
        return node.id

    def dataset(self, entry: DatasetEntry, depth: int) -> str:
        """Put a dataset version in: its content, or its name where it has no digest."""
        if entry.digest is not None:
            return self.content(entry.digest, depth)
        node = data_node(f"?{entry.name}@{entry.version}", [entry], None)
        node = node._replace(problem="recorded without a digest")
        self.graph.add(node, depth, partial(self._content, None, [entry], node.id))
        return node.id

    def _content(
        self, digest: str | None, named: list[DatasetEntry], here: str, depth: int
    ) -> None:
        for entry in self._earlier(named):
            self._point(here, entry.point, depth, DERIVED)
            if entry.run_id is not None:
                self._run_named(here, entry.run_id, depth)
            for parent in self.graph.listed(entry.parents, "parents"):
                self.graph.link(here, self.content(parent, depth), DERIVED, DECLARED)
            for model in self.graph.listed(entry.predictions_of, "models"):
                self._named_model(here, model, depth, edge=DERIVED, role="predictions of")
        if digest is None:
            return
        for run in self._earlier_runs(self.view.runs_making(digest)):
            self.graph.link(here, self.run(run, depth), GENERATED, BY_DIGEST)
        for same in self._earlier(self.view.models_by_digest.get(digest)):
            found = self.model(same.named, depth)
            self.graph.link(here, found, DERIVED, BY_DIGEST, "is the model")

    # Features

    def _features(self, effect: str, features: Named, depth: int, edge: str = USED) -> None:
        known = self.view.features.get((features.name, features.version))
        self._attach(effect, features_node(features, known), depth, None, edge)

    def features(self, features: Named, depth: int) -> str:
        """Put a feature definition in."""
        known = self.view.features.get((features.name, features.version))
        node = features_node(features, known)
        self.graph.add(node, depth)
        return node.id

    def _earlier_runs(self, runs: Runs) -> Runs:
        """Those that may have made what was asked for, found without reading them."""
        until_us, found = self.until_us, runs.told
        if until_us is not None:
            early = [one for one in found if min(one.order[0], one.time_us) <= until_us]
            found = early or found
        self._say_many(found)
        return runs.only(found[-MAX_PRODUCERS:])

    def _earlier(self, things: Iterable[T]) -> list[T]:
        """Those that may have made what was asked for; all when none was recorded in time."""
        found = list(things)
        until_us = self.until_us
        if until_us is not None:
            found = [one for one in found if one.record.recorded_time_us <= until_us] or found
        self._say_many(found)
        return found[-MAX_PRODUCERS:]

    def _say_many(self, found: Sized) -> None:
        if len(found) > MAX_PRODUCERS:
            self.graph.cut(f"{len(found):,} records of one content: {MAX_PRODUCERS} are followed")


def read_by(ref: str) -> str:
    """The role of a point of the ledger to the content that something read there."""
    return f"read by {ref}"


def _own_features(entry: PredictionEntry) -> dict[str, object]:
    """The features that name what the prediction is about: those that are its key."""
    features = entry.data.get("features")
    if not isinstance(features, dict):
        return {}
    return {
        name: value
        for name, value in features.items()
        if isinstance(value, (str, int)) and str(value) == entry.key
    }


def find_entries(reader: Reader, cut: Cut, books: Books, wanted: str) -> list[PredictionEntry]:
    """The predictions that ID or SOURCE:ID names, below the cut."""
    try:
        places = event_positions(reader, wanted)
    except InvalidInput:
        return []
    found = []
    for log, index in places:
        if cut.holds((log, index)):
            record = trusted_record(log, index, reader.leaf(log, index))
            entry = read_entry(books, record)
            if entry is not None:
                found.append(entry)
    return found


def read_entry(books: Books, record: Record) -> PredictionEntry | None:
    """The prediction in a record, however odd; None when it is none."""
    if record.entry.kind is not Kind.EVENT:
        return None
    try:
        return prediction_entry(record, books.decode(record))
    except InvalidInput as error:
        return prediction_entry(record, {}, str(error))
