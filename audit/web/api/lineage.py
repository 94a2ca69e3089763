"""Shapes of lineage: traces, what is flagged and what that shares, drift and skew."""

from typing import Annotated, Literal, NotRequired, TypedDict

from audit.lineage.tracing.graph import Kind
from audit.web.api.models import Review
from audit.web.api.rows import Citation
from audit.web.api.shape import More
from audit.web.api.words import (
    Address,
    Count,
    Fields,
    Index,
    Log,
    Named,
    Ref,
    Time,
    Token,
)

# Where things come from


class Node(TypedDict):
    """A thing of the lineage."""

    id: Annotated[str, "Names it within this trace."]
    kind: Kind
    ref: Ref | None
    label: str
    log: Log | None
    index: Index | None
    recorded_time: Time | None
    facts: Fields
    problem: Annotated[str | None, "What is wrong with it."]


class Edge(TypedDict):
    """`effect` was made from `cause`: ids of nodes."""

    effect: str
    cause: str
    name: str
    how: Annotated[str, "declared, or digest: equal content."]
    role: str | None


class Loop(TypedDict):
    """A model made from data that holds predictions of the same line of models."""

    model: Ref | None
    data: str
    predictions_of: Ref | None
    path: list[str]


class Touched(TypedDict):
    """Predictions that a trace downstream found: all counted, the first ones are nodes."""

    count: Count
    listed: Count
    by_model: dict[str, Count]


class LookedThrough(TypedDict):
    """The predictions that were looked through for those that were touched."""

    predictions: Count
    after: Time | None
    until: Time | None
    next: Annotated[Address | None, "Those that follow."]


class Trace(TypedDict):
    """What a thing was made from, or what was made from it, as a graph."""

    ref: Ref
    asked: list[Ref]
    direction: Literal["upstream", "downstream"]
    roots: Annotated[list[str], "Ids of the nodes that were asked for."]
    nodes: Annotated[list[Node], "The nearest first."]
    edges: list[Edge]
    feedback_loops: list[Loop]
    predictions: Touched | None
    cut_off: Annotated[list[str], "What is left out because a limit was met."]
    looked_through: LookedThrough | None
    more: Annotated[Address | None, "With all things that a trace may have."]


class Flagged(TypedDict):
    """A thing that is flagged."""

    ref: Ref
    since: Time
    flags: list[Review]


class Suspect(TypedDict):
    """Something that flagged things were made from."""

    ref: Ref
    score: Annotated[float, More({"minimum": 0, "maximum": 1})]
    flagged: Count
    flagged_total: Count
    unflagged: Count
    unflagged_total: Count


class Flags(TypedDict):
    """What is flagged, and what flagged things share."""

    flagged: list[Flagged]
    suspects: Annotated[list[Suspect], "The most suspect first."]
    suspects_total: Count
    compared: Annotated[Count, "Unflagged predictions that they were compared with."]
    models: list[str]
    untraced: Annotated[list[Ref], "Flagged things of which nothing leads on."]
    next: Token
    stopped: Annotated[bool, "The search took too long and stopped; `next` goes on with it."]
    thorough: Annotated[bool, "More than a page's worth was compared."]


# Drift


class Distribution(TypedDict):
    """The values of a column."""

    kind: Annotated[str, "Of most of them: number, category, ..."]
    types: dict[str, Count]
    rows: Count
    missing: Count
    zeros: NotRequired[Count]
    minimum: NotRequired[float | None]
    maximum: NotRequired[float | None]
    mean: NotRequired[float | None]
    sample_size: NotRequired[Count]
    sampled: NotRequired[bool]
    categories: NotRequired[Annotated[dict[str, Count], "The most frequent ones."]]
    distinct: NotRequired[Count]
    others: NotRequired[Annotated[Count, "Rows of categories that are not told."]]


class Statistic(TypedDict):
    """One comparison of two distributions."""

    statistic: str
    value: float | None
    p_value: float | None
    threshold: float | None
    exceeded: bool | None
    sizes: Annotated[list[int], "Values then and now."]
    note: str | None
    edges: NotRequired[Annotated[list[float | None], "Inner edges of the bins."]]


class ColumnDrift(TypedDict):
    """A column now against then."""

    column: str
    side: str
    status: Literal["COMPARED", "APPEARED", "VANISHED"]
    verdict: Literal["DRIFTED", "STEADY", "CANNOT_TELL"]
    drifted: bool
    kind: str
    type_change: str | None
    reasons: list[str]
    statistics: list[Statistic]
    then: Distribution | None
    now: Distribution | None


class Answers(TypedDict):
    """Answers of a subgroup."""

    size: Count
    failed: Count
    decided: Annotated[Count, "Those with a threshold and one number."]
    over: Annotated[Count, "Of them, at or above the threshold."]
    decision_rate: Annotated[float | None, "over / decided."]
    outputs: dict[str, Distribution]


class GroupDrift(TypedDict):
    """A subgroup now against then."""

    group: str
    verdict: Literal["DRIFTED", "STEADY", "CANNOT_TELL"]
    then: Answers | None
    now: Answers | None
    periods: Annotated[list[Answers | None], "Equal parts of the window now."]
    outputs: list[ColumnDrift]


class SchemaSkew(TypedDict):
    """A feature that differs between training and serving in type or presence."""

    feature: str
    difference: str
    trained: list[str]
    served: list[str]
    finding: bool


class CodeSkew(TypedDict):
    """A feature definition in training and in serving."""

    definition: str
    difference: str
    trained: list[Named]
    served: list[Named]
    predictions: Count


class Skew(TypedDict):
    """How serving differs from training."""

    model: str
    run: str | None
    skewed: bool
    compared: bool
    trained_rows: Count
    predictions: Count
    schema: list[SchemaSkew]
    code: list[CodeSkew]
    feature_skew: list[str]
    distributions: list[ColumnDrift]
    remarks: list[str]


class Then(TypedDict):
    """The window that is compared with; without times where it is a run, model or dataset."""

    since: Time | None
    until: Time | None
    rows: Count


class Now(TypedDict):
    """The window that is looked at: since <= time < until."""

    since: Time
    until: Time
    rows: Count


class Drift(TypedDict):
    """Inputs and outputs now against then."""

    what: str
    subject: Annotated[str, "model or component."]
    verdict: Literal["DRIFTED", "STEADY", "CANNOT_TELL"]
    baseline: str
    then: Then
    now: Now
    columns: list[ColumnDrift]
    by: Annotated[str | None, "The feature that subgroups are told apart by."]
    groups: list[GroupDrift]
    skew: Skew | None
    remarks: list[str]
    citation: Citation
    larger_sample: Annotated[Address | None, "Where more predictions are read."]
