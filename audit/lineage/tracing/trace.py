"""Lineage: what a thing was made from, or, downstream, what was made from it; at any point.

Edges follow content: a model by the digest of its artifact, data by the digest of all its cells. A
name that stands for another content than the one that was used is shown as such, and not followed.
"""

from collections.abc import Sequence

from audit.errors import InvalidInput, LimitExceeded, NotFound
from audit.event.times import format_time
from audit.lineage.recorded.models import MODEL_ENTITY
from audit.lineage.recorded.predictions import PREDICTION_ENTITY, locate_prediction
from audit.lineage.recorded.records import DATASET_ENTITY, FEATURES_PREFIX, RUN_ENTITY, Named
from audit.lineage.recorded.runs import Run
from audit.lineage.tracing.feedback import feedback_loops
from audit.lineage.tracing.graph import Builder, Node, Trace
from audit.lineage.tracing.trace_down import MAX_PREDICTIONS_LISTED, Downstream
from audit.lineage.tracing.trace_index import View, view_of
from audit.lineage.tracing.trace_nodes import prediction_node
from audit.lineage.tracing.trace_records import DatasetEntry, ModelEntry, PredictionEntry
from audit.lineage.tracing.trace_rows import Rows
from audit.lineage.tracing.trace_up import Upstream, read_entry
from audit.lineage.tracing.walked import Part
from audit.replay.books import Books
from audit.replay.history import history
from audit.replay.known import require_dataset
from audit.replay.points import Cut
from audit.replay.refs import Ref, is_ref, parse_ref
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

__all__ = ["MAX_REFS", "trace"]

MAX_REFS = 100
"""Things that are traced at once."""


def trace(
    reader: Reader,
    refs: Sequence[str],
    cut: Cut,
    *,
    downstream: bool = False,
    depth: int | None = None,
    nodes: int | None = None,
    part: Part | None = None,
    view: View | None = None,
) -> Trace:
    """What things were made from; or, downstream, what was made from them.

    `refs`: prediction/ID, run/ID, model/NAME@VERSION, dataset/NAME@VERSION,
    dataset/features/NAME@VERSION, a row such as user/5; downstream also a whole dataset: user.
    `cut`: what was recorded later does not exist. `depth`: how many steps are followed; default
    all, within the limits of `audit.lineage.tracing.graph`. `nodes`: things that are enough, beside
    predictions downstream; `part`: which of these are looked through, default all. `view`: that
    of the cut, of who asks often. Raises NotFound for a thing that is not
    recorded by then, Ambiguous, InvalidInput, LimitExceeded, StoreCorrupt.
    """
    if isinstance(refs, str):
        refs = (refs,)
    if not refs:
        raise InvalidInput("give the REF of at least one thing, such as prediction/ID")
    if len(refs) > MAX_REFS:
        raise LimitExceeded(f"{len(refs)} things at once; at most {MAX_REFS} are traced")
    if depth is not None and depth < 0:
        raise InvalidInput(f"a depth of {depth} is none; count from 0")
    asked = tuple(dict.fromkeys(refs))
    asking = _Asking(reader, cut, view)
    if downstream:
        return asking.downstream(asked, Builder(depth, nodes), part)
    return asking.upstream(asked, Builder(depth, nodes))


class _Asking:
    """One question at one cut: finds what REFs name."""

    def __init__(self, reader: Reader, cut: Cut, view: View | None) -> None:
        self.reader = reader
        self.cut = cut
        self.view: View = view_of(reader, cut) if view is None else view

    def upstream(self, asked: tuple[str, ...], graph: Builder) -> Trace:
        found = [self._found(ref) for ref in asked]
        until_us = _newest_us([thing for things in found for thing in things])
        up = Upstream(self.reader, self.cut, self.view, graph, until_us)
        with self.reader.steady():  # many small questions, answered soon
            roots = [self._grow_up(up, thing) for things in found for thing in things]
            graph.grow()
        return _made(asked, roots, graph, downstream=False)

    def _grow_up(self, up: Upstream, thing: "_Thing") -> str:
        if isinstance(thing, PredictionEntry):
            return up.prediction(thing, 0)
        if isinstance(thing, Run):
            return up.run(thing, 0)
        if isinstance(thing, ModelEntry):
            return up.model(thing.named, 0)
        if isinstance(thing, DatasetEntry):
            return up.dataset(thing, 0)
        if isinstance(thing, Named):
            return up.features(thing, 0)
        if isinstance(thing, Ref):
            row = up.rows.add(thing, self.cut, 0, asked=True)
            assert row is not None
            return row
        raise InvalidInput(
            f"{thing} names a whole dataset: give a row, {thing}/KEY, or trace it --downstream"
        )

    def downstream(self, asked: tuple[str, ...], graph: Builder, part: Part | None) -> Trace:
        down = Downstream(self.reader, self.cut, self.view, graph, part)
        found = [self._found(ref) for ref in asked]
        roots = [self._grow_down(down, thing) for things in found for thing in things]
        graph.grow()
        touched = None
        if graph.depth:
            graph.most += MAX_PREDICTIONS_LISTED if graph.is_enough else 0
            touched = down.predictions()
        made = _made(asked, roots, graph, downstream=True)
        return made._replace(touched=touched, part=down.looked)

    def _grow_down(self, down: Downstream, thing: "_Thing") -> str:
        if isinstance(thing, PredictionEntry):
            node = prediction_node(thing)
            down.graph.add(node, 0)
            down.prediction_ids[thing.prediction_id] = node.id
            return node.id
        if isinstance(thing, Run):
            return down.run(thing, 0)
        if isinstance(thing, ModelEntry):
            return down.model(thing.named, 0)
        if isinstance(thing, DatasetEntry):
            return down.dataset(thing, 0)
        if isinstance(thing, Named):
            return down.features(thing, 0)
        if isinstance(thing, Ref):
            rows = Rows(self.reader, self.cut, down.graph)
            versions = history(self.reader, thing, self.cut)
            row = rows.add(thing, self.cut, 0, asked=True)
            assert row is not None
            down.row(thing, thing.entity_type, row, versions)
            return row
        whole = Node(f"rows:{thing}", "row", "all rows", thing)
        down.graph.add(whole, 0)
        down.row(None, thing, whole.id, [])
        return whole.id

    def _found(self, text: str) -> "list[_Thing]":
        """What a REF names. Raises InvalidInput, NotFound, Ambiguous."""
        if not is_ref(text):
            require_dataset(self.reader, text)
            return [text]
        ref = parse_ref(text)
        if ref.is_row:
            return [ref]
        found: Sequence[_Thing] = ()
        key = ref.name, ref.version or ""
        if ref.entity_type == PREDICTION_ENTITY:
            found = self._prediction(ref)
        elif ref.entity_type == RUN_ENTITY:
            run = self.view.run(ref.entity_key)
            found = () if run is None else (run,)
        elif ref.entity_type == MODEL_ENTITY:
            found = _each({one.named: one for one in self.view.models.get(key)})
        elif ref.name.startswith(FEATURES_PREFIX):
            name = ref.name.removeprefix(FEATURES_PREFIX)
            known = self.view.features.get((name, key[1]))
            found = _each({one.digest: Named(name, key[1], one.digest) for one in known})
        elif ref.entity_type == DATASET_ENTITY:
            found = _each({one.digest: one for one in self.view.datasets.get(key)})
        if not found:
            then = "" if self.cut.as_of_us is None else f" by {format_time(self.cut.as_of_us)}"
            raise NotFound(f"nothing is recorded of {ref}{then}"[:400])
        return list(found)

    def _prediction(self, ref: Ref) -> "Sequence[_Thing]":
        log, index = locate_prediction(self.reader, ref.entity_key, self.cut)
        record = trusted_record(log, index, self.reader.leaf(log, index))
        entry = read_entry(Books(self.reader, self.cut), record)
        return () if entry is None else (entry,)


_Thing = PredictionEntry | Run | ModelEntry | DatasetEntry | Named | Ref | str
"""What a REF may name. Named: a feature definition; a text: a whole dataset."""


def _newest_us(things: Sequence[_Thing]) -> int | None:
    """When the last of them was recorded; None where one of them is no record."""
    newest_us: int | None = None
    for thing in things:
        if not isinstance(thing, (PredictionEntry, Run, ModelEntry, DatasetEntry)):
            return None
        newest_us = max(newest_us or 0, thing.record.recorded_time_us)
    return newest_us


def _each(found: "dict[object, _Thing]") -> "Sequence[_Thing]":
    return tuple(found.values())


def _made(asked: tuple[str, ...], roots: list[str], graph: Builder, downstream: bool) -> Trace:
    nodes, unique = dict(graph.nodes), tuple(dict.fromkeys(roots))
    made = Trace(asked, unique, nodes, graph.edges(), downstream, tuple(graph.cut_off))
    return made._replace(loops=tuple(feedback_loops(made)))
