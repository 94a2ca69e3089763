"""From a thing to what was made from it: through runs, data and models to every prediction.

Runs, models and datasets are looked up. Predictions are walked through, once for each time that the
walk itself led to further models: they may be many, so they are counted, and the first ones listed.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial

from audit.lineage.recorded.predictions import PREDICTION_ENTITY, REPLAY
from audit.lineage.recorded.records import DataUse, Named
from audit.lineage.recorded.runs import Run
from audit.lineage.tracing.graph import (
    BY_DIGEST,
    DECLARED,
    DERIVED,
    GENERATED,
    INFORMED,
    USED,
    Builder,
    LookedThrough,
    Touched,
)
from audit.lineage.tracing.trace_index import PointUse, View
from audit.lineage.tracing.trace_nodes import (
    data_id,
    data_node,
    features_node,
    model_node,
    own_node,
    point_node,
    prediction_node,
    run_node,
)
from audit.lineage.tracing.trace_records import DatasetEntry, PredictionEntry
from audit.lineage.tracing.trace_rows import Rows, asks_for, keys_named
from audit.lineage.tracing.walked import Part, all_predictions, some_predictions
from audit.replay.history import Version
from audit.replay.points import Cut
from audit.replay.refs import Ref
from audit.store.contract import Reader

MAX_PREDICTIONS_LISTED = 100
"""Predictions that are shown one by one; all of them are counted."""
MAX_PASSES = 5
"""Walks through the predictions, one for each step of a chain that leads on through new models."""
MAX_IDS = 1_000_000
"""Ids of touched predictions that are remembered, to find what was made from them."""


class TracedRow:
    """A row whose effects are asked for. Without a key: all rows of an entity type."""

    def __init__(self, node: str, ref: Ref | None, entity_type: str, versions: list[Version]):
        self.node = node
        self.key = None if ref is None else ref.entity_key
        self.entity_type = entity_type
        self.versions = versions

    def events_at(self, rows: Rows, use: DataUse) -> str | None:
        """How many of its events a use includes, in words; None for none of them."""
        if self.key is None:
            return "all rows"
        found = rows.includes(use, self.versions)
        if not found:
            return None
        return f"{len(found)} of {len(self.versions)} events"

    def is_asked_for(
        self, rows: Rows, use: DataUse, entry: PredictionEntry, request: object
    ) -> bool:
        """Whether a prediction that read the dataset at this point asked for the row.

        Where nothing says which rows it asked for, it may have read any.
        """
        if use.entity_type != self.entity_type:
            return False
        if self.key is None:
            return True
        found = rows.includes(use, self.versions)
        if not found:
            return False
        asked = request if isinstance(request, dict) else {}
        own = None if entry.key == entry.prediction_id else entry.key
        if self.key in keys_named(own, asked):
            return True
        held = [version.row for version in found if version.row is not None]
        named = [row for row in held if any(name in row for name in asked)]
        if not named:
            return own is None or bool(asked)
        return any(asks_for(asked, row) for row in named)


class Downstream:
    """Grows a graph from causes to effects."""

    def __init__(
        self, reader: Reader, cut: Cut, view: View, graph: Builder, part: Part | None = None
    ) -> None:
        """`part`: which predictions are looked through; None: all."""
        self._part = part
        self._some: list[PredictionEntry] | None = None
        self.looked: LookedThrough | None = None
        self.reader = reader
        self.cut = cut
        self.view = view
        self.graph = graph
        self.rows = Rows(reader, cut, graph)
        self.traced_rows: list[TracedRow] = []
        self.prediction_ids: dict[str, str] = {}
        """Id of a touched prediction -> its node, or the node that stands for it."""
        self._models: dict[Named, str] = {}
        self._features: dict[tuple[str, str], list[tuple[str | None, str]]] = {}
        self._contents: set[str] = set()

    # What leads on

    def row(self, ref: Ref | None, entity_type: str, node: str, versions: list[Version]) -> None:
        """Follow a row, or all rows of an entity type: to every point that includes it."""
        traced = TracedRow(node, ref, entity_type, versions)
        self.traced_rows.append(traced)
        self._follow_row(traced, 1)

    def _follow_row(self, traced: TracedRow, depth: int) -> None:
        for one in self.view.points(traced.entity_type):
            if self.graph.is_enough:
                self.graph.cut(f"there are more than {self.graph.most:,} nodes")
                return
            events = traced.events_at(self.rows, one.use)
            if events is not None:
                self._point_use(traced.node, one, events, depth)

    def _point_use(self, row: str, one: PointUse, events: str, depth: int) -> None:
        point = point_node(one.use, self.rows.point_of(one.use)[1])
        if not self.graph.add(point, depth):
            return
        self.graph.link(point.id, row, DERIVED, DECLARED, events)
        use = one.use
        digest = use.identity if one.dataset is None else one.dataset.digest
        if digest is not None:
            content = self.content(digest, depth + 1)
            self.graph.link(content, point.id, DERIVED, DECLARED)
        elif one.dataset is not None:
            self.graph.link(self.dataset(one.dataset, depth + 1), point.id, DERIVED, DECLARED)
        elif one.run is not None:
            self.graph.link(self.run(one.run, depth + 1), point.id, USED, DECLARED, use.name)

    def content(self, digest: str, depth: int) -> str:
        """Follow a content: to the runs that read it, and the data made from it."""
        node = data_node(digest, self.view.datasets_by_digest.get(digest), None)
        self.graph.add(node, depth, partial(self._content, digest, node.id))
        if node.id in self.graph.nodes:
            self._contents.add(digest)
        return node.id

    def _content(self, digest: str, here: str, depth: int) -> None:
        for run in self.graph.listed(self.view.runs_reading(digest), "runs"):
            if self.graph.is_enough:
                self.graph.cut(f"there are more than {self.graph.most:,} nodes")
                break
            self._used_by(run, here, digest, depth)
        for entry in self.view.datasets_of_parent.get(digest):
            self.graph.link(self.dataset(entry, depth), here, DERIVED, DECLARED)

    def _used_by(self, run: Run, here: str, digest: str, depth: int) -> None:
        role = next((use.name or use.path for use in run.inputs if use.digest == digest), None)
        self.graph.link(self.run(run, depth), here, USED, BY_DIGEST, role)

    def _made(self, use: DataUse, here: str, depth: int) -> str:
        """Follow what a run made; a plain value says nothing about who read an equal one."""
        if use.identity is not None:
            return self.content(use.identity, depth)
        alone = own_node(here, use)
        self.graph.add(alone, depth)
        return alone.id

    def dataset(self, entry: DatasetEntry, depth: int) -> str:
        """Follow a dataset version."""
        if entry.digest is not None:
            return self.content(entry.digest, depth)
        node = data_node(f"?{entry.name}@{entry.version}", [entry], None)
        self.graph.add(node, depth)
        return node.id

    def run(self, run: Run, depth: int) -> str:
        """Follow a run: to what it made, and the runs that are parts of it."""
        node = run_node(run)
        self.graph.add(node, depth, partial(self._run, run, node.id))
        return node.id

    def _run(self, run: Run, here: str, depth: int) -> None:
        for use in self.graph.listed(run.outputs, "outputs"):
            if use.digest is not None:
                content = self._made(use, here, depth)
                self.graph.link(content, here, GENERATED, DECLARED, use.name or use.path)
        made = [entry.named for entry in self.view.models_of_run.get(run.run_id)]
        for model in dict.fromkeys((*made, *self.graph.listed(run.models, "models"))):
            self.graph.link(self.model(model, depth), here, GENERATED, DECLARED)
        for entry in self.view.datasets_of_run.get(run.run_id):
            self.graph.link(self.dataset(entry, depth), here, GENERATED, DECLARED)
        for part in self.view.parts(run.run_id):
            self.graph.link(self.run(part, depth), here, INFORMED, DECLARED, "part of")

    def model(self, model: Named, depth: int) -> str:
        """Follow a model: to the runs and ensembles that use it, and data of its predictions."""
        known = self.view.models.get((model.name, model.version))
        own = [one for one in known if one.digest == model.digest]
        others = {one.digest for one in known if one.digest and one.digest != model.digest}
        node = model_node(model, own, others)
        self.graph.add(node, depth, partial(self._model, model, node.id))
        if node.id in self.graph.nodes:
            self._models[model] = node.id
        return node.id

    def _model(self, model: Named, here: str, depth: int) -> None:
        for entry in self.view.models_of_member.get((model.name, model.version)):
            if any(_is_same(member, model) for member in entry.members):
                self.graph.link(self.model(entry.named, depth), here, DERIVED, DECLARED, "member")
        for data in self.view.datasets_of_model.get((model.name, model.version)):
            if any(_is_same(one, model) for one in data.predictions_of):
                found = self.dataset(data, depth)
                self.graph.link(found, here, DERIVED, DECLARED, "predictions of")
        if model.digest is not None:
            for run in self.view.runs_reading(model.digest):
                self._used_by(run, here, model.digest, depth)
            for same in self.view.models_by_digest.get(model.digest):
                if same.named != model:
                    found = self.model(same.named, depth)
                    self.graph.link(found, here, DERIVED, BY_DIGEST, "same artifact")

    def features(self, features: Named, depth: int) -> str:
        """Follow a feature definition: to the runs and models that use it."""
        key = features.name, features.version
        node = features_node(features, self.view.features.get(key))
        self.graph.add(node, depth, partial(self._of_features, features, node.id))
        self._features.setdefault(key, []).append((features.digest, node.id))
        return node.id

    def _of_features(self, features: Named, here: str, depth: int) -> None:
        key = features.name, features.version
        for run in self.view.runs_of_features(*key):
            if any(_is_same(one, features) for one in run.features):
                self.graph.link(self.run(run, depth), here, USED, DECLARED)
        for model in self.view.models_of_features.get(key):
            if any(_is_same(one, features) for one in model.features):
                self.graph.link(self.model(model.named, depth), here, DERIVED, DECLARED)

    # Predictions

    def predictions(self) -> Touched:
        """Walk through the predictions, until they lead to nothing new; count and list them."""
        for _ in range(MAX_PASSES):
            before = len(self.graph.nodes), len(self.prediction_ids)
            touched = self._walk()
            self.graph.grow()
            known = len(self.graph.nodes), len(self.prediction_ids)
            if known == before or not self._leads_on:
                return touched
        self.graph.cut(f"predictions were walked through {MAX_PASSES} times, and led on each time")
        return touched

    _leads_on = False

    def _walk(self) -> Touched:
        self._leads_on = False
        by_model: Counter[str] = Counter()
        listed = 0
        by_digest = {model.digest: node for model, node in self._models.items() if model.digest}
        chains = bool(self.prediction_ids)
        for entry in self._looked_through():
            if entry.role == REPLAY:
                continue  # nobody was given that answer
            causes = list(self._causes(entry, by_digest))
            if not causes:
                continue
            by_model[entry.model_label] += 1
            shown = listed < MAX_PREDICTIONS_LISTED
            node = prediction_node(entry)
            if shown and self.graph.add(node, 0):
                listed += 1
                for cause, name, how, role in causes:
                    self.graph.link(node.id, cause, name, how, role)
            self._made_from(entry, node.id if shown else causes[0][0])
            if entry.prediction_id not in self.prediction_ids:
                self._leads_on = self._leads_on or chains
                self._remember(entry, node.id)
        return Touched(by_model.total(), listed, dict(by_model.most_common()))

    def _remember(self, entry: PredictionEntry, node: str) -> None:
        if len(self.prediction_ids) < MAX_IDS:
            self.prediction_ids[entry.prediction_id] = node
        else:
            self.graph.cut(f"predictions made from other ones: looked for among {MAX_IDS:,} only")

    def _made_from(self, entry: PredictionEntry, cause: str) -> None:
        """Data that holds predictions of this model, recorded after this one."""
        if entry.model_name is None:
            return
        key = entry.model_name, entry.model_version or ""
        for data in self.view.datasets_of_model.get(key):
            if data.record.recorded_time_us <= entry.record.recorded_time_us:
                continue
            model = Named(*key, entry.model_digest)
            if any(_is_same(one, model) for one in data.predictions_of):
                is_new = data.digest is None or data_id(data.digest) not in self.graph.nodes
                found = self.dataset(data, 1)
                if cause.startswith("prediction:"):
                    self.graph.link(found, cause, DERIVED, DECLARED, "predictions of")
                self._leads_on = self._leads_on or is_new

    def _causes(
        self, entry: PredictionEntry, by_digest: dict[str, str]
    ) -> Iterator[tuple[str, str, str, str | None]]:
        """What of the graph a prediction was made with or from: (node, edge, how, role)."""
        name, version, digest = entry.model_name, entry.model_version, entry.model_digest
        if name is not None:
            node = self._models.get(Named(name, version or "", digest))
            if node is not None:
                yield node, USED, DECLARED, None
            elif digest is None:
                for model, node in self._models.items():
                    if (model.name, model.version) == (name, version):
                        yield node, USED, DECLARED, None
            elif digest in by_digest:
                yield by_digest[digest], USED, BY_DIGEST, None
        for made in entry.feature_sets:
            for code, node in self._features.get((made.named.name, made.named.version), ()):
                if code is None or made.named.digest in (None, code):
                    yield node, USED, DECLARED, None
            for use in made.reads:
                yield from self._read(entry, use, made.request)
        for use in entry.inputs:
            yield from self._read(entry, use, None)
        for role, ids in (("parent", entry.parents), ("member", entry.members)):
            for one in ids:
                node = self.prediction_ids.get(one.removeprefix(f"{PREDICTION_ENTITY}/"))
                if node is not None:
                    yield node, INFORMED, DECLARED, role

    def _read(
        self, entry: PredictionEntry, use: DataUse, request: object
    ) -> Iterator[tuple[str, str, str, str | None]]:
        if use.digest is not None and use.digest in self._contents:
            yield data_id(use.digest), USED, BY_DIGEST, use.name
        for row in self.traced_rows:
            if row.is_asked_for(self.rows, use, entry, request):
                yield row.node, USED, DECLARED, "row"

    def _looked_through(self) -> Iterable[PredictionEntry]:
        """All predictions, or the part of them that was asked for, which is read once."""
        if self._part is None:
            return all_predictions(self.reader, self.cut)
        if self._some is None:
            keys = [row.key for row in self.traced_rows if row.key is not None]
            after_us = self._part.after_us
            if after_us is None:
                after_us = self._began_us() - 1
            self._some, self.looked = some_predictions(
                self.reader, self.cut, keys, after_us, self._part.most
            )
        return self._some

    def _began_us(self) -> int:
        """When what predictions may have been made with was first recorded; 0 where none tells."""
        nodes = self.graph.nodes
        leading = [nodes[one].recorded_us for one in (*self._models.values(), *self._ids())]
        for row in self.traced_rows:
            leading.append(row.versions[0].recorded_time_us if row.versions else 0)
        known = [one for one in leading if one is not None]
        recorded = (node.recorded_us for node in nodes.values() if node.recorded_us is not None)
        return min(known or recorded, default=0)

    def _ids(self) -> list[str]:
        """The nodes of feature definitions, contents and predictions that may lead on."""
        features = [node for known in self._features.values() for _, node in known]
        contents = [data_id(digest) for digest in self._contents] if not self._models else []
        found = (*features, *contents, *self.prediction_ids.values())
        return [one for one in found if one in self.graph.nodes]


def _is_same(one: Named, other: Named) -> bool:
    """Whether a reference names a version: by its digest where both say one."""
    if (one.name, one.version) != (other.name, other.version):
        return False
    return one.digest is None or other.digest is None or one.digest == other.digest
