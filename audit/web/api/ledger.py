"""Shapes of what a ledger holds: its state, and its entries."""

from typing import Annotated, Literal, NotRequired, TypedDict

from audit.web.api.shape import More
from audit.web.api.words import (
    Address,
    Count,
    Fields,
    Hash,
    Index,
    Log,
    Size,
    Time,
    Token,
    Value,
)

# An entry


class Encryption(TypedDict):
    """With which key a payload is encrypted."""

    key_id: str
    nonce: Value


class Event(TypedDict):
    """An event, and where the log put it. What it says is `after` and `before` of a row, `data` of
    a record, or `undecodable` and `payload` where it cannot be read here.
    """

    event_id: Annotated[str, More({"examples": ["018f3b2e-7a51-7c1e-9d61-0c1f6f0d8a11"]})]
    type: Annotated[str, More({"examples": ["data.update", "prediction"]})]
    source: Annotated[str, "The application that said it.", More({"examples": ["crm"]})]
    entity_type: str | None
    entity_key: str | None
    valid_time: Annotated[Time | None, "When it was true; null: when it was recorded."]
    actor: str | None
    reason: str | None
    transaction_id: str | None
    supersedes: Annotated[str | None, "The event that this one takes out."]
    request_id: NotRequired[str]
    trace_id: NotRequired[str]
    subject: NotRequired[str]
    encryption: NotRequired[Encryption]
    producer_id: NotRequired[str]
    producer_sequence: NotRequired[int]
    image: NotRequired[
        Annotated[str | None, "full: `after` is the whole row; patch: what changed of it."]
    ]
    before: NotRequired[Fields | None]
    after: NotRequired[Fields | None]
    data: NotRequired[Fields]
    undecodable: NotRequired[Annotated[str, "Why the payload cannot be read here."]]
    payload: NotRequired[Value]
    payload_schema: NotRequired[
        Annotated[str | None, "sha256:HEX, where it is not the usual one for the type."]
    ]
    log: Log
    index: Index
    recorded_time: Time
    leaf_hash: Hash


class QuarantinedEntry(TypedDict):
    """An entry that holds what was not accepted, as it came."""

    quarantined: Annotated[str | None, "Why it was not accepted."]
    event: Value
    log: Log
    index: Index
    recorded_time: Time
    leaf_hash: Hash


class EventPage(TypedDict):
    """Events that fit a query, newest first."""

    query: str
    events: list[Event | QuarantinedEntry]
    next: Token
    stopped: Annotated[bool, "The search took too long and stopped; `next` goes on with it."]
    count: Annotated[Count, "How many fit in all; at least, where `count_complete` is false."]
    count_complete: bool
    pin: Annotated[Address, "The permalink: the same answer for ever."]


class EventLine(TypedDict):
    """An event as the page shows it: control characters and changes of direction spelled out."""

    log: Log
    index: Index
    recorded_us: Annotated[int, "Microseconds since 1970-01-01T00:00:00Z."]
    type: str
    what: str | None
    actor: str
    says: str


class NewEvents(TypedDict):
    """What came after the sizes of `since`, oldest first."""

    query: str
    events: list[Event | QuarantinedEntry]
    rows: list[EventLine]
    more: Annotated[bool, "More came than is told at once."]
    since: Annotated[
        str, "Sizes of the logs now: ask with them again.", More({"examples": ["0:1042"]})
    ]
    next: None


class ChangedField(TypedDict):
    """A field of the row that an event is about, before it and after it."""

    field: str
    change: Literal["added", "removed", "changed", "same"]
    before: Value
    after: Value


Hashes = TypedDict(
    "Hashes",
    {
        "leaf_hash": Hash,
        "prev_hash": Hash,
        "schema_hash": Hash | None,
        "leaf_bytes": Annotated[Count, "Length of the leaf in bytes."],
        "from": Annotated[str | None, "TOPIC/PARTITION/OFFSET of the message that it came in."],
        "recorded_time": Time,
    },
)
Hashes.__doc__ = "What an entry is known by, and chained with."


class Signature(TypedDict):
    """One signature."""

    who: str
    status: Literal["VALID", "INVALID", "NONE", "UNKNOWN KEY"]
    details: str


class LogSignature(Signature):
    """The log's signature: of a checkpoint that the entry is proven to be under."""

    checkpoint_size: Annotated[Count, "0 where the log did not sign."]
    proof_hashes: Count


class Signatures(TypedDict):
    """Who signed an entry, and what that does not prove."""

    producer: Signature
    log: LogSignature
    witnesses: Signature
    not_proven: list[str]


class EventAnswer(TypedDict):
    """One entry: its event, what it changed, hashes, signatures and receipt."""

    event: Event | QuarantinedEntry
    changes: list[ChangedField]
    hashes: Hashes
    signed: Signatures
    siblings: Annotated[list[Event | QuarantinedEntry], "Others of its transaction, at most 50."]
    siblings_query: str | None
    receipt: Annotated[str | None, "C2SP tlog-proof, as `audit verify` takes it."]
    unproven: Annotated[str | None, "Why there is no receipt."]


# The state of the ledger


class Waiting(TypedDict):
    """How far a log is behind a partition of its source."""

    topic: str
    partition: int
    log: Log | None
    first: Annotated[int, "First offset that the broker keeps."]
    end: Annotated[int, "Behind its last one."]
    next_offset: int
    waiting: Count
    words: str


class SpoolState(TypedDict):
    """A file on the server's machine in which emitted events wait."""

    path: str
    destination: str | None
    events: Count
    bytes: Count
    oldest: Time | None
    alive: bool | None


class Warned(TypedDict):
    """Something that is wrong with the guards of the ledger."""

    code: str
    message: str


class LogState(TypedDict):
    """One log."""

    log: Log
    origin: Annotated[str, More({"examples": ["example.org/audit"]})]
    vkey: Annotated[str, "The key that the store names for it: C2SP signed-note."]
    size: Size
    events: Annotated[Count, "Entries that applications said."]
    schemas: Count
    control: Count
    quarantined: Count
    conflicts: Annotated[Count, "Quarantined because the id belongs to another event."]
    newest_time: Time | None
    newest_age_s: Annotated[float | None, "Seconds since the newest entry."]
    checkpoint_size: Annotated[int | None, "Size of the newest checkpoint."]
    checkpoint_age_s: Annotated[float | None, "Seconds since the newest entry under it."]
    source_lag: Annotated[int | None, "Offsets that wait; null: no source was asked."]
    producers: Annotated[list[str], "Lines of a policy: registered keys."]
    events_in_last_hour: Annotated[int | None, "Entries of the hour before the newest one."]


class Overview(TypedDict):
    """The state of each log."""

    ledger: Annotated[str, "Its address, without a password."]
    datasets: Annotated[list[str], "At most 100; /datasets has all."]
    datasets_in_all: Count
    logs: list[LogState]
    warnings: list[Warned]
    source: list[Waiting]
    spools: list[SpoolState]
    pin: Annotated[Address, "The permalink."]
