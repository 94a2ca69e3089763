"""Shapes of what vouches for a ledger: verification, keys, checkpoints, what was refused."""

from typing import Annotated, Literal, NotRequired, TypedDict

from audit.verify.findings import Verdict
from audit.web.api.words import Address, Count, Hash, Index, Log, Size, Time, Token, Value


class Finding(TypedDict):
    """A check that failed, or a warning."""

    code: str
    index: Annotated[int | None, "The first bad entry; null: it is about no single one."]
    message: str


class FindingOfLog(Finding):
    """The same, with its log."""

    origin: Annotated[str | None, "null: it is about the whole ledger."]


class ProducerSignatures(TypedDict):
    """How many events carry what; the four never overlap."""

    checked: Annotated[Count, "Verified under a key of the policy."]
    invalid: Annotated[Count, "Claims such a key and is wrong."]
    unsigned: Count
    unknown_key: Count


class ComparedPartition(TypedDict):
    """What comparing a log with its source has shown; offsets and counts of them."""

    topic: str
    partition: int
    log: Log | None
    origin: str | None
    first: int
    end: int
    next_offset: int
    equal: Count
    repeats: Count
    without_message: Count
    gone: Count
    no_longer_kept: Count
    expired: Count
    lost: Count
    waiting: Count
    differing: Count
    left_out: Count
    unsigned: Count


class LogReport(TypedDict):
    """What was found in one log."""

    origin: str
    log: Log | None
    size: Size
    root_hash: Annotated[Hash | None, "Computed from the entries."]
    verified_size: Annotated[Size, "Of the newest checkpoint that a trusted key signed."]
    first_index: Index
    entries: Count
    checkpoints: Count
    external_checkpoints: Count
    stated_heads: Count
    producer_signatures: ProducerSignatures
    source: ComparedPartition | None
    findings: list[Finding]
    warnings: list[Finding]
    not_proven: list[str]


class Report(TypedDict):
    """The result of a verification."""

    verdict: Verdict
    subject: str
    trust: Annotated[str, "Whose keys were believed."]
    logs: list[LogReport]
    findings: Annotated[list[FindingOfLog], "At most 1,000."]
    findings_in_all: Count
    warnings: list[FindingOfLog]
    not_proven: list[str]


class VerificationRun(TypedDict):
    """The newest run of a verification."""

    state: Literal["never run", "running", "done", "failed"]
    done: NotRequired[Annotated[Count, "Entries done, while it runs."]]
    of: NotRequired[int | None]
    report: NotRequired[Report]
    error: NotRequired[str]
    started_by: NotRequired[str]
    seconds: NotRequired[Annotated[float, "How long it took."]]


class Verification(TypedDict):
    """How far the newest verification is, or what it found."""

    run: VerificationRun
    policy: Annotated[str | None, "Whom it trusts; null: no policy is given."]


class Checkpoint(TypedDict):
    """A checkpoint as it is stored."""

    size: Size
    note: Annotated[str, "C2SP tlog-checkpoint."]
    root_hash: Hash | None
    problem: Annotated[str | None, "Why the log's key does not vouch for it."]


class LogKeys(TypedDict):
    """The key of a log, and its newest checkpoints."""

    log: Log
    origin: str
    vkey: str
    policy_line: str
    checkpoints: Annotated[list[Checkpoint], "Newest first, at most 25."]
    older: Address | None


class ProducerKey(TypedDict):
    """A producer's key, and for which entries of log 0 and on it stands."""

    name: str
    vkey: str
    first_index: Index
    last_index: Annotated[int | None, "null: until further notice."]
    policy_lines: list[str]


class TrustedProducer(TypedDict):
    """A producer that the policy trusts."""

    name: str
    vkey: str


class Policy(TypedDict):
    """Whom the policy in use trusts."""

    description: str
    beside_store: Annotated[bool, "It lay beside the ledger, whose writer could have changed it."]
    logs: Annotated[list[str], "Verifier keys."]
    producers: list[TrustedProducer]


class Keys(TypedDict):
    """Keys and checkpoints."""

    logs: list[LogKeys]
    producers: list[ProducerKey]
    policy: Policy | None


class QuarantineLine(TypedDict):
    """An entry that could not be accepted."""

    log: Log
    index: Index
    recorded_time: Time
    bytes: Annotated[Count, "Length of what came."]
    retried_as: Annotated[int | None, "Index of the event that it was recorded as after all."]
    reason: str


class Quarantine(TypedDict):
    """What could not be accepted, newest first."""

    entries: list[QuarantineLine]
    count: Count
    next: Token


class Quarantined(TypedDict):
    """One entry that could not be accepted, with its bytes."""

    quarantined: str | None
    event: Value
    log: Log
    index: Index
    recorded_time: Time
    leaf_hash: Hash
    retried_as: int | None
    bytes_hex: str
