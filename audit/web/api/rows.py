"""Shapes of datasets and rows: as they were, through time, compared; and what that stands on."""

from typing import Annotated, Literal, NotRequired, TypedDict

from audit.replay.fold import Flag
from audit.web.api.words import (
    Count,
    Fields,
    Hash,
    Index,
    Log,
    Place,
    Ref,
    Size,
    Time,
    Token,
    Value,
)


class CitedCheckpoint(TypedDict):
    """A checkpoint as the log signed it."""

    size: Size
    note: Annotated[str, "C2SP tlog-checkpoint: origin, size, root hash, signatures."]


class LogCited(TypedDict):
    """One log at the point of an answer."""

    log: Log
    origin: str
    size: Size
    root_hash: Hash | None
    checkpoint: CitedCheckpoint | None
    settled: Annotated[bool, "Nothing at or before the asked time can be recorded in it any more."]
    consistency_proof: NotRequired[list[Hash]]


class CutTransaction(TypedDict):
    """A transaction with events on both sides of the point."""

    transaction_id: str
    events_inside: Count
    events_outside: Count


class Citation(TypedDict):
    """What an answer stands on."""

    asked: Annotated[str, "The point as it was asked for."]
    as_of: Time | None
    valid_at: Time | None
    settled: bool
    in_future: bool
    logs: list[LogCited]
    transactions_cut: list[CutTransaction]


class DatasetCitation(Citation):
    """What the rows of a dataset stand on."""

    entity: Annotated[str, "The dataset."]


class Datasets(TypedDict):
    """The datasets that have ever been recorded, in the order of their names."""

    datasets: Annotated[list[str], "At most 500."]
    count: Annotated[Count, "How many there are in all."]
    next: Token


class DatasetPage(TypedDict):
    """Rows of a dataset at a point, in byte order of their keys."""

    dataset: str
    rows: Annotated[
        list[Fields],
        "Each with its entity_key and its fields; a field never set is not there. A field that is "
        "called entity_key is entity_key_.",
    ]
    columns: Annotated[list[str], "All columns, entity_key left out."]
    citation: DatasetCitation
    more: Annotated[bool, "More rows follow: ask with skip=, or get CSV or Parquet."]
    undecodable: Annotated[Count, "Events of it that cannot be read here, and count for nothing."]


class Said(TypedDict):
    """The entry that said something."""

    log: Log
    index: Index
    recorded_time: Time
    valid_time: Time
    event_id: str
    source: str
    op: str
    actor: str | None
    reason: str | None
    transaction_id: str | None


class BlamedField(Place):
    """A field of a row, and where the entry is that gave it its value."""

    field: str
    value: Value


class Blame(TypedDict):
    """Who gave each field its value."""

    fields: list[BlamedField]
    said: Annotated[list[Said], "The entries behind the fields, each once, by log and index."]
    gone: Annotated[Said | None, "The entry that took the row away."]


class OldAndNew(TypedDict):
    """A value before and after; one that was not there is left out."""

    old: NotRequired[Value]
    new: NotRequired[Value]


class Drifted(TypedDict):
    """What the ledger held, and what the event says was there before it."""

    recorded: NotRequired[Value]
    before: NotRequired[Value]


class Version(TypedDict):
    """What one entry made of a thing."""

    log: Log
    index: Index
    leaf_hash: Hash
    recorded_time: Time
    valid_time: Time
    event_id: str
    source: str
    op: Annotated[str, "create, update, delete, truncate, or the event's type."]
    actor: str | None
    reason: str | None
    transaction_id: str | None
    supersedes: str | None
    superseded_by: Place | None
    changed: dict[str, OldAndNew]
    row: Annotated[Fields | None, "The row right after this entry; null: gone."]
    flags: list[Flag]
    drift: dict[str, Drifted]
    problem: str | None


class Entity(TypedDict):
    """One thing through time."""

    ref: Ref
    row: Annotated[Fields | None, "At the asked point; null: not there then, or no row."]
    blame: Blame | None
    versions: Annotated[list[Version], "Newest first, at most 100."]
    versions_in_all: Annotated[Count, "By the asked point."]
    later_versions: Count
    next: Annotated[Token, "Give it as before= to get older versions; null: these are the last."]


class DifferentRow(TypedDict):
    """A row that differs between two points."""

    entity_key: str
    change: Literal["added", "removed", "changed"]
    before: Fields | None
    after: Fields | None
    fields: dict[str, OldAndNew]


class Difference(TypedDict):
    """The rows that differ."""

    what: Annotated[str | None, "A dataset or a row; null: nothing was asked."]
    a: NotRequired[Annotated[str, "Sizes of the logs at the earlier point, as in a pin."]]
    b: NotRequired[Annotated[str, "Sizes at the later point."]]
    rows: list[DifferentRow]
    more: Annotated[bool, "More rows follow: ask with skip=, or get CSV or Parquet."]
