"""What the ledger answers about runs, models and predictions: one part of `Ledger`."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from audit.errors import NotFound
from audit.ledger.open import open_any_reader
from audit.replay.points import AsOf, Cut

if TYPE_CHECKING:
    import pandas

    from audit.lineage.again.run_replay import RunReplay
    from audit.lineage.again.traffic import ReplayedTraffic
    from audit.lineage.again.verdict import PredictionReplay
    from audit.lineage.drifting.drift_report import DriftReport
    from audit.lineage.recorded.component_diff import ComponentDiff
    from audit.lineage.recorded.datasets import CheckedDataset
    from audit.lineage.recorded.evaluations import ComparedEvaluations
    from audit.lineage.recorded.model_card import ModelCard
    from audit.lineage.recorded.predictions import Prediction
    from audit.lineage.recorded.reviews import Flagged
    from audit.lineage.recorded.runs import Run
    from audit.lineage.recorded.serving import Serving
    from audit.lineage.tracing.graph import Trace
    from audit.lineage.tracing.run_pages import RunsPage
    from audit.lineage.tracing.suspects import Suspect
    from audit.lineage.tracing.trace_diff import TraceDiff
    from audit.lineage.tracing.walked import Part
    from audit.log.record import Record
    from audit.replay.columnar.kept.model import ReadModel
    from audit.replay.query import Query
    from audit.store.blobs import BlobStore
    from audit.store.contract import Reader
    from audit.verify.given import GivenPolicy
    from audit.verify.policy import Policy


class MachineLearning:
    """The methods of `Ledger` about runs, models and predictions."""

    url: str
    reader: "Reader"

    if TYPE_CHECKING:  # what the ledger itself brings

        def now_us(self) -> int:
            """See `Ledger.now_us`."""

        def cut(self, as_of: AsOf | Cut = None) -> Cut:
            """See `Ledger.cut`."""

        def entry(self, position: str | int) -> Record:
            """See `Ledger.entry`."""

        def _trusted(self, policy: GivenPolicy | None) -> Policy | None: ...

        def _columns(self, query: Query, may_build: bool = True) -> ReadModel | None: ...

    def _blobs(self) -> "BlobStore":
        from audit.store.blobs import BlobStore, default_blobs_url

        return BlobStore(default_blobs_url(self.url))

    # Predictions

    def predictions(
        self, query: str = "", as_of: AsOf | Cut = None, newest_first: bool = False
    ) -> "Iterator[Prediction]":
        """The predictions that a query fits, oldest first."""
        from audit.lineage.recorded.predictions import find_predictions
        from audit.replay.query import parse_query

        parsed = parse_query(query, self.now_us())
        return find_predictions(self.reader, parsed, self.cut(as_of), newest_first)

    def prediction_record(self, prediction_id: str, as_of: AsOf | Cut = None) -> "Record | None":
        """The entry of a prediction, by its id; None when there is none by then."""
        from audit.lineage.recorded.predictions import locate_prediction

        try:
            log, index = locate_prediction(self.reader, prediction_id, self.cut(as_of))
        except NotFound:
            return None
        return self.entry(f"{log}/{index}")

    def replay_prediction(
        self,
        prediction_id: str,
        as_of: AsOf | Cut = None,
        *,
        policy: "GivenPolicy | None" = None,
        tolerance: float | None = None,
        against: str | None = None,
        set_features: Mapping[str, Any] | None = None,
        run_unverified: bool = False,
    ) -> "PredictionReplay":
        """Run a recorded prediction again, and judge: see `audit.lineage.again.prediction_replay`.

        This runs recorded code, in a process of its own, if its records are VERIFIED; with
        `run_unverified` also code that nobody vouches for. Artifacts come from AUDIT_BLOBS, else
        from audit-blobs/ beside the store. `policy`: default the ledger's own.
        """
        from audit.lineage.again.prediction_replay import replay_prediction

        return replay_prediction(
            self.reader,
            self._blobs(),
            prediction_id,
            self._trusted(policy),
            cut=self.cut(as_of),
            tolerance=tolerance,
            set_features=set_features,
            against=against,
            run_unverified=run_unverified,
        )

    def replay_predictions(
        self,
        query: str = "",
        as_of: AsOf | Cut = None,
        *,
        policy: "GivenPolicy | None" = None,
        tolerance: float | None = None,
        against: str | None = None,
        run_unverified: bool = False,
        progress: Callable[[int, int], None] | None = None,
        observe: "Callable[[PredictionReplay], None] | None" = None,
        role: str | None = None,
        status: str | None = None,
    ) -> "ReplayedTraffic":
        """Run all predictions that a query finds again, and count the verdicts.

        With `against` (NAME@VERSION) through another model version: a differential test.
        `observe` is given each answer.
        """
        from audit.lineage.again.traffic import replay_traffic
        from audit.replay.query import parse_query

        return replay_traffic(
            self.reader,
            self._blobs(),
            parse_query(query, self.now_us()),
            self._trusted(policy),
            cut=self.cut(as_of),
            tolerance=tolerance,
            against=against,
            run_unverified=run_unverified,
            progress=progress,
            observe=observe,
            role=role,
            status=status,
        )

    # Runs and models

    def runs(
        self,
        component: str | None = None,
        as_of: AsOf | Cut = None,
        *,
        since: str | None = None,
        until: str | None = None,
        status: str | None = None,
    ) -> "list[Run]":
        """Component and training runs, newest first; `since` and `until`: times they started at."""
        from audit.lineage.recorded.run_search import search_runs
        from audit.replay.points import time_of

        now_us = self.now_us()
        return search_runs(
            self.reader,
            self.cut(as_of),
            component,
            None if since is None else time_of(since, now_us),
            None if until is None else time_of(until, now_us),
            status,
        )

    def runs_page(
        self,
        component: str | None = None,
        as_of: AsOf | Cut = None,
        *,
        since: str | None = None,
        until: str | None = None,
        status: str | None = None,
        skip: int = 0,
        limit: int = 100,
    ) -> "RunsPage":
        """At most `limit` of what `runs` finds, after the first `skip`, and how many there are."""
        from audit.lineage.tracing.run_pages import runs_page
        from audit.replay.points import time_of

        now_us = self.now_us()
        return runs_page(
            self.reader,
            self.cut(as_of),
            component,
            None if since is None else time_of(since, now_us),
            None if until is None else time_of(until, now_us),
            status,
            skip=skip,
            limit=limit,
        )

    def run(self, run_id: str, as_of: AsOf | Cut = None) -> "Run":
        """One run. Raises NotFound."""
        from audit.lineage.recorded.runs import find_run

        return find_run(self.reader, run_id, self.cut(as_of))

    def replay_run(
        self,
        run_id: str,
        as_of: AsOf | Cut = None,
        *,
        policy: "GivenPolicy | None" = None,
        run_unverified: bool = False,
    ) -> "RunReplay":
        """Run a recorded component or training again; compare what it makes. Runs recorded code."""
        from audit.lineage.again.run_replay import replay_run

        return replay_run(
            self.reader,
            self._blobs(),
            run_id,
            self._trusted(policy),
            cut=self.cut(as_of),
            opener=open_any_reader,
            run_unverified=run_unverified,
        )

    def compare_components(self, a: str, b: str, as_of: AsOf | Cut = None) -> "ComponentDiff":
        """How two components differ: code, tests, parameters, environment; by their last runs."""
        from audit.lineage.recorded.component_diff import compare_components

        return compare_components(self.reader, self._blobs(), a, b, self.cut(as_of))

    def model(self, model: str, as_of: AsOf | Cut = None) -> "ModelCard":
        """How a model version (NAME@VERSION) was made, and where it served."""
        from audit.lineage.recorded.model_card import model_card

        return model_card(self.reader, model, self.cut(as_of))

    def serving(
        self, name: str, at: str | None = None, as_of: AsOf | Cut = None
    ) -> "list[Serving]":
        """Which version of a model served at a time, in each stage."""
        from audit.lineage.recorded.serving import serving
        from audit.replay.points import time_of

        at_us = None if at is None else time_of(at, self.now_us())
        return serving(self.reader, name, at_us, self.cut(as_of))

    # Lineage

    def trace(
        self,
        *refs: str,
        as_of: AsOf | Cut = None,
        downstream: bool = False,
        depth: int | None = None,
        nodes: int | None = None,
        part: "Part | None" = None,
    ) -> "Trace":
        """What things were made from; or, downstream, what was made from them.

        `nodes`: things that are enough; `part`: which predictions are looked through. Default all.
        """
        from audit.lineage.tracing.trace import trace

        cut = self.cut(as_of)
        return trace(
            self.reader, refs, cut, downstream=downstream, depth=depth, nodes=nodes, part=part
        )

    def trace_diff(self, a: str, b: str, as_of: AsOf | Cut = None) -> "TraceDiff":
        """How the lineage of two things differs."""
        from audit.lineage.tracing.trace_diff import trace_diff

        return trace_diff(self.reader, self._blobs(), a, b, self.cut(as_of))

    def flagged(self, as_of: AsOf | Cut = None) -> "list[Flagged]":
        """The things that are flagged as wrong, oldest flag first."""
        from audit.lineage.recorded.reviews import flagged

        return flagged(self.reader, self.cut(as_of))

    def review(self, as_of: AsOf | Cut = None) -> "list[Suspect]":
        """The runs, models and datasets that flagged things share, most suspect first."""
        from audit.lineage.tracing.suspects import rank

        return rank(self.reader, self.cut(as_of))

    # Distributions

    def drift(
        self,
        what: str,
        *,
        since: str | None = None,
        until: str | None = None,
        baseline: str | None = None,
        side: str = "both",
        by: str | None = None,
        threshold: float | None = None,
        as_of: AsOf | Cut = None,
        sample: int | None = None,
    ) -> "DriftReport":
        """How the inputs and outputs of a model or component are distributed now against then.

        See `audit.lineage.drifting.drift`. `side`: inputs, outputs or both; `by`: a feature whose
        values are subgroups; `baseline`: a REF of a run, model or dataset version, or a time.
        `sample`: so many predictions of a window are read where it has more and a read model is at
        hand; the report says so. Default all.
        """
        from audit.lineage.drifting.drift import Asked, drift
        from audit.lineage.drifting.sampling import Sampling
        from audit.replay.points import time_of
        from audit.replay.query import parse_query

        now_us, cut = self.now_us(), self.cut(as_of)
        # As of a point in the past the window ends there, and that point is in it.
        known_us = now_us if cut.as_of_us is None or cut.in_future else cut.as_of_us + 1
        asked = Asked(
            what=what,
            since_us=None if since is None else time_of(since, now_us),
            until_us=known_us if until is None else time_of(until, now_us),
            baseline=baseline,
            side=side,
            by=by,
            threshold=threshold,
        )
        columns = None if sample is None else self._columns(parse_query("", now_us), False)
        sampling = None if columns is None or sample is None else Sampling(columns, sample)
        return drift(self.reader, self._blobs(), asked, cut, now_us, sampling)

    def training_set(
        self, model: str, as_of: AsOf | Cut = None, *, query: str = ""
    ) -> "pandas.DataFrame":
        """Logged predictions of a model joined with what turned out to be true, as known then."""
        from audit.lineage.recorded.training_set import training_set
        from audit.replay.query import parse_query

        parsed = parse_query(query, self.now_us())
        return training_set(self.reader, model, self.cut(as_of), parsed, self._blobs())

    def compare_evaluations(
        self, a: str, b: str, as_of: AsOf | Cut = None
    ) -> "ComparedEvaluations":
        """The metrics of two runs, by run id; refused where they did not read the same data."""
        from audit.lineage.recorded.evaluations import compare_evaluations

        return compare_evaluations(self.reader, a, b, self.cut(as_of))

    def check_dataset(self, dataset: str, as_of: AsOf | Cut = None) -> "CheckedDataset":
        """Whether a dataset version (NAME@VERSION) can be made again, with the same content."""
        from audit.lineage.recorded.datasets import check_dataset

        return check_dataset(self.reader, self._blobs(), dataset, self.cut(as_of))
