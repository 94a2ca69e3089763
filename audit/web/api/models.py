"""Shapes of what machine learning leaves behind: predictions, runs and models."""

from typing import Annotated, NotRequired, TypedDict

from audit.web.api.shape import More
from audit.web.api.words import (
    Address,
    Count,
    Digest,
    Fields,
    Hash,
    Index,
    Log,
    Named,
    Number,
    Place,
    Ref,
    Size,
    Time,
    Token,
    Value,
)


class LogPoint(TypedDict):
    """A point of one log."""

    origin: str
    size: Size
    root_hash: Hash | None


class DataUse(TypedDict):
    """Something that was read or made, known by its content; what it does not say is not there."""

    name: NotRequired[str]
    kind: NotRequired[str]
    digest: NotRequired[Digest]
    rows: NotRequired[int]
    bytes: NotRequired[int]
    path: NotRequired[str]
    dataset: NotRequired[str]
    entity_type: NotRequired[str]
    as_of: NotRequired[Time]
    valid_at: NotRequired[Time]
    logs: NotRequired[list[LogPoint]]
    blob_digest: NotRequired[Digest]
    profile_digest: NotRequired[Digest]
    columns: NotRequired[Annotated[Fields, "Digests of the columns."]]


class Review(TypedDict):
    """What was said about a thing. Whoever writes records can say it; it is not checked here."""

    ref: Ref
    kind: Annotated[str, "FLAG, UNFLAG, REPLAY, COMPARISON or NOTE."]
    verdict: str | None
    message: str | None
    actor: str | None
    source: str
    log: Log
    index: Index
    recorded_time: Time


# Predictions


class FeatureSet(TypedDict):
    """Features that a recorded definition made."""

    name: str
    version: str
    digest: Digest
    request: Annotated[str, "The argument that it had, as JSON text."]
    names: list[str]
    reads: list[DataUse]


class Batch(TypedDict):
    """Many answers under one entry."""

    rows: Count
    root_hash: Annotated[Hash, "Of the tree over the rows."]
    digest: Digest
    failed: Count


class Prediction(TypedDict):
    """One recorded prediction."""

    prediction: Annotated[str, "Its id."]
    log: Log
    index: Index
    recorded_time: Time
    date: Annotated[Time, "When it was made, as its producer says; else when it was recorded."]
    key: Annotated[str, "What it is about; its own id where nothing is said."]
    model: str
    model_version: str | None
    model_digest: Digest | None
    code_digest: Digest | None
    features: Annotated[Fields, "As they were served."]
    output: Value
    status: Annotated[str, "OK, ERROR or REJECTED_INPUT."]
    error: str | None
    latency_us: Annotated[int | None, "Microseconds."]
    request_id: str | None
    seed: int | None
    role: Annotated[str, "PRIMARY, SHADOW, CANARY, CHALLENGER, FALLBACK, MEMBER, REPLAY, BACKFILL."]
    served: bool | None
    request_time: Time | None
    feature_status: dict[str, str]
    feature_sets: list[FeatureSet]
    violations: list[str]
    threshold: Number
    parents: Annotated[list[str], "Ids of other predictions."]
    members: list[str]
    primary: str | None
    inputs: list[DataUse]
    batch: Batch | None
    environment: Fields
    problem: NotRequired[Annotated[str, "Why it cannot be read; then the rest is empty."]]


class Predictions(TypedDict):
    """Predictions that a query fits, newest first."""

    predictions: list[Prediction]
    next: Token
    stopped: Annotated[bool, "The search took too long and stopped; `next` goes on with it."]


class Beside(TypedDict):
    """Another prediction of the same request."""

    prediction_id: str
    role: str
    model: str
    output: Value
    status: str


class Truth(TypedDict):
    """What turned out to be true."""

    value: Value
    observed: Time | None
    recorded_time: Time
    origin: str | None
    actor: str | None
    log: Log
    index: Index


class PredictionCard(Prediction):
    """A prediction, those beside it, its truths and its reviews."""

    beside: list[Beside]
    ground_truth: list[Truth]
    reviews: list[Review]


class PredictionAnswer(TypedDict):
    """The card of a prediction."""

    ref: Ref
    card: PredictionCard
    entry: Place
    left_out: Annotated[dict[str, Count], "How many older ones the card leaves out, by field."]


# Runs and models


class RunTest(TypedDict):
    """A test that a run made of what went in or came out."""

    name: str
    phase: str
    status: str
    digest: Digest | None
    message: str | None
    measured: Fields


class Run(TypedDict):
    """A run of a component, or a training."""

    run: Annotated[str, "Its id."]
    type: Annotated[str, "component.run or model.run."]
    component: str
    status: Annotated[str, "START, COMPLETE or FAIL."]
    log: Log
    index: Index
    recorded_time: Time
    started: Time | None
    ended: Time | None
    description: str | None
    owner: str | None
    tags: list[str]
    parent_run: str | None
    params: Fields
    metrics: Fields
    seed: int | None
    inputs: list[DataUse]
    outputs: list[DataUse]
    models: list[Named]
    features: list[Named]
    tests: list[RunTest]
    code_digest: Digest | None
    code_commit: str | None
    code_dirty: bool | None
    function_digest: Digest | None
    environment: Fields
    lock_digest: Digest | None
    error: str | None
    traceback_digest: Digest | None


class Runs(TypedDict):
    """Runs, newest first."""

    runs: Annotated[list[Run], "At most 50; ask with skip= for those that follow."]
    count: Annotated[Count, "How many there are in all."]
    older: Annotated[Address | None, "The page that follows."]


class RunCard(Run):
    """A run, the traceback of its failure, and what was said about it since."""

    duration_us: Annotated[int | None, "Microseconds, as it says itself."]
    ended_known: bool
    traceback: str | None
    traceback_problem: Annotated[str | None, "Why there is no traceback."]
    reviews: list[Review]


class RunAnswer(TypedDict):
    """The card of a run."""

    ref: Ref
    card: RunCard
    entry: Place
    left_out: Annotated[dict[str, Count], "How many older ones the card leaves out, by field."]


class ModelLine(Place):
    """A model version, and its entry."""

    ref: Ref


class Models(TypedDict):
    """Model versions, the newest first."""

    models: list[ModelLine]
    next: Token
    stopped: Annotated[bool, "The search took too long and stopped; `next` goes on with it."]


class TrainingData(DataUse):
    """Something that a training read, and the dataset versions of the very same content."""

    datasets: list[str]


class Code(TypedDict):
    """What code made a model."""

    commit: str | None
    dirty: bool | None
    digest: Digest | None
    function_digest: Digest | None


class Serving(TypedDict):
    """One version in one stage."""

    stage: Annotated[str, More({"examples": ["production"]})]
    version: Annotated[str | None, "null: the stage served nothing."]
    digest: Digest | None
    since: Time
    until: Annotated[Time | None, "null: until further notice."]
    share: Annotated[Number, "0 to 1 of the requests; null: all, or the rest."]
    approved_by: str | None
    config_digest: Digest | None
    actor: str | None
    reason: str | None
    log: Log
    index: Index
    recorded_time: Time


class ModelCard(TypedDict):
    """A model version."""

    name: str
    version: str
    digest: Digest | None
    artifact_bytes: int | None
    format: str | None
    description: str | None
    tags: list[str]
    log: Log
    index: Index
    recorded_time: Time
    run_id: str | None
    run: Run | None
    data: list[TrainingData]
    packages: Fields
    params: Fields
    seed: int | None
    code: Code
    members: list[Named]
    features: list[Named]
    tolerance: Number
    threshold: Number
    expects: Value
    metrics: Fields
    package: str | None
    served: list[Serving]
    warnings: Annotated[list[str], "What somebody who relies on it should know."]


class KnownPredictions(TypedDict):
    """What is known of a model's predictions from reading some, at either end of its time."""

    found: Annotated[Count, "Predictions of this model among those that were looked through."]
    looked_through: Count
    complete: Annotated[bool, "All predictions of the ledger were looked through."]
    first: Annotated[Time | None, "The first one that was found."]
    newest: Annotated[Time | None, "The newest one that was found."]
    page: Annotated[Address, "The page with all of them."]


class ModelAnswer(TypedDict):
    """The card of a model version, and what of its name served when."""

    ref: Ref
    card: ModelCard
    entry: Place
    left_out: Annotated[dict[str, Count], "How many older ones the card leaves out, by field."]
    serving: Annotated[list[Serving], "By stage, oldest first; the last 100."]
    serving_in_all: Count
    predictions: KnownPredictions
