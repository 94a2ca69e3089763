"""The state machine: from the events of one key, in order, to the row they leave. Pure.

The rules. create = the row, update = changed fields (or the whole row for
`image: full`), delete and truncate = gone. Null is a value, absent means unchanged, and so does
Debezium's placeholder for a value it could not see. What does not fit - a second create, an update
or a delete of what is not there - is folded all the same and flagged.

Two orders. On the recorded axis events fold in the order of recorded time, then
log. With a valid time V only events valid at or before V fold, in the order of valid time; equal
valid times keep the recorded order, so that a correction recorded later wins. In both, an event
that another one supersedes takes no part from the moment that other one is recorded.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from audit.event.row import Change
from audit.event.values import Value
from audit.log.record import Record
from audit.replay.rows import (
    ABSENT,
    UNAVAILABLE,
    Absent,
    Row,
    changed_fields,
    same_value,
    unchanged,
)

__all__ = [
    "ABSENT",
    "DATA_PREFIX",
    "NOTHING",
    "OPS",
    "UNAVAILABLE",
    "Absent",
    "Drift",
    "Flag",
    "Judged",
    "Move",
    "Position",
    "Row",
    "State",
    "Step",
    "advance",
    "as_recorded",
    "changed_fields",
    "drift_of",
    "flags_of",
    "fold",
    "in_force",
    "moves",
    "same_value",
    "superseded",
]

DATA_PREFIX = "data."
OPS = frozenset(("create", "update", "delete", "truncate"))


class Flag(StrEnum):
    """What is odd about an event, judged by the state it met when it was recorded."""

    DOUBLE_CREATE = "double_create"
    UPDATE_OF_UNKNOWN = "update_of_unknown"
    DELETE_OF_UNKNOWN = "delete_of_unknown"
    DRIFT = "drift"
    UNDECODABLE = "undecodable"
    SUPERSEDES_UNKNOWN = "supersedes_unknown"


Position = tuple[int, int]
"""(log, index) of an entry."""


class Step(NamedTuple):
    """One event of an entity as the fold takes it.

    `op` is create, update, delete or truncate, and None for events that are no change of data.
    `change` is None where the payload cannot be read; `problem` then says why.
    `valid_time_us` is the producer's, or the recorded time where he claimed none.
    """

    record: Record
    op: str | None
    change: Change | None
    problem: str | None
    valid_time_us: int

    @property
    def position(self) -> Position:
        """(log, index) of its entry."""
        return self.record.log, self.record.index

    @property
    def is_keyless(self) -> bool:
        """True for a truncate of the whole dataset."""
        return self.record.event is None or self.record.event.entity_key is None

    @property
    def recorded_time_us(self) -> int:
        """When its log recorded it."""
        return self.record.entry.recorded_time_us

    @property
    def order(self) -> tuple[int, int]:
        """The order on the recorded axis across logs."""
        return self.record.entry.recorded_time_us, self.record.log


class State(NamedTuple):
    """What is known of a key: its row (None: not there), and what later events need to be judged.

    `blurred`: an event that could not be read went into the row, so that a `before` proves nothing.
    `logs`: the logs in which the key was seen; a truncate empties what its own log knows.
    """

    row: Row | None
    blurred: bool
    logs: frozenset[int]


NOTHING: Final = State(None, False, frozenset())
"""The state of a key before its first event."""


class Move(NamedTuple):
    """One step of a fold, with the state before it and the state after it."""

    step: Step
    before: State
    after: State


class Judged(NamedTuple):
    """A step with the states as they were known when it was recorded, and what was odd about it.

    `drift`: field -> (value in the log, value in `before`), where the flags have DRIFT.
    """

    step: Step
    before: State
    after: State
    flags: tuple[Flag, ...]
    drift: "Drift"


def advance(state: State, step: Step) -> State:
    """The state after a step. Never raises: whatever was recorded has a meaning."""
    log = step.record.log
    op = step.op
    if op is None:
        return state
    if op == "truncate":
        return state._replace(row=None, blurred=False) if log in state.logs else state
    logs = state.logs if log in state.logs else state.logs | {log}
    if op == "delete":
        return State(None, False, logs)
    old = state.row
    if step.change is None:
        return State({} if old is None or op == "create" else old, True, logs)
    after = step.change.after or {}
    if op == "create" or step.change.image == "full":
        return State(_whole(old, after), False, logs)
    return State(_patched(old, after), state.blurred, logs)


def _whole(old: Row | None, after: Row) -> Row:
    """The row that a full image leaves."""
    row: Row = {}
    for name, value in after.items():
        if not unchanged(value):
            row[name] = value
        elif old is not None and name in old:
            row[name] = old[name]
    return row


def _patched(old: Row | None, after: Row) -> Row:
    """The row that changed fields leave."""
    row = dict(old) if old else {}
    for name, value in after.items():
        if not unchanged(value):
            row[name] = value
    return row


def flags_of(state: State, step: Step) -> tuple[Flag, ...]:
    """What is odd about a step that meets this state, but for drift."""
    op = step.op
    flags: list[Flag] = []
    if op == "create" and state.row is not None:
        flags.append(Flag.DOUBLE_CREATE)
    elif op == "update" and state.row is None:
        flags.append(Flag.UPDATE_OF_UNKNOWN)
    elif op == "delete" and state.row is None:
        flags.append(Flag.DELETE_OF_UNKNOWN)
    if step.problem is not None:
        flags.append(Flag.UNDECODABLE)
    return tuple(flags)


Drift = dict[str, tuple[Value | Absent, Value]]
"""Field -> (value in the log, value in `before`) where the two differ, sorted by name."""


def drift_of(state: State, step: Step) -> Drift:
    """How `before` differs from the state that a step meets: a change that was never captured.

    Only the fields given are compared. A null that meets an absent field is no difference: `before`
    has no other way to say that nothing was there. Nothing is said about a row that is not there
    (that is a flag of its own) or that holds what could not be read.
    """
    change = step.change
    if change is None or not change.before or state.row is None or state.blurred:
        return {}
    differing: Drift = {}
    for name in sorted(change.before):
        said = change.before[name]
        held = state.row.get(name, ABSENT)
        if unchanged(said) or (said is None and held is ABSENT) or same_value(held, said):
            continue
        differing[name] = held, said
    return differing


def superseded(steps: Sequence[Step]) -> dict[Position, Step]:
    """Position of every event that a later one takes out -> the first step that does so.

    `steps` are those of one key (and the truncates of its dataset) in recorded order. A step names
    an earlier event of the same key in the same log. Where two sources used one id, its own source
    is meant. Being superseded itself does not undo what a step superseded.
    """
    out: dict[Position, Step] = {}
    if not any(_names_another(step) for step in steps):
        return out
    targets = Targets()
    for step in steps:
        target = targets.named_by(step)
        if target is not None:
            out.setdefault(target.position, step)
        targets.add(step)
    return out


def _names_another(step: Step) -> bool:
    event = step.record.event
    return event is not None and event.supersedes is not None


class Targets:
    """The events seen so far, found by what a later `supersedes` says."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._by_id: dict[tuple[int, str | None, str], list[Step]] = {}

    def add(self, step: Step) -> None:
        """Later steps may name this one."""
        event = step.record.event
        if event is not None:
            name = step.record.log, event.entity_key, event.event_id
            self._by_id.setdefault(name, []).append(step)

    def named_by(self, step: Step) -> Step | None:
        """The event that a step supersedes; None when it names none, or none that fits alone."""
        event = step.record.event
        if event is None or event.supersedes is None:
            return None
        fits = self._by_id.get((step.record.log, event.entity_key, event.supersedes), [])
        if len(fits) > 1:
            fits = [fit for fit in fits if fit.record.event and _same_source(fit, step)]
        return fits[0] if len(fits) == 1 else None


def _same_source(left: Step, right: Step) -> bool:
    one, other = left.record.event, right.record.event
    return one is not None and other is not None and one.source == other.source


def in_force(steps: Sequence[Step], valid_at_us: int | None = None) -> list[Step]:
    """The steps that fold, in the order they fold in: not superseded, and valid by then."""
    gone = superseded(steps)
    kept = [step for step in steps if step.position not in gone] if gone else list(steps)
    if valid_at_us is None:
        return kept
    kept = [step for step in kept if step.valid_time_us <= valid_at_us]
    kept.sort(key=lambda step: step.valid_time_us)
    return kept


def moves(steps: Sequence[Step], valid_at_us: int | None = None) -> Iterator[Move]:
    """Fold the steps of one key, as known at the last of them; each step with both its states."""
    state = NOTHING
    for step in in_force(steps, valid_at_us):
        after = advance(state, step)
        yield Move(step, state, after)
        state = after


def fold(steps: Sequence[Step], valid_at_us: int | None = None) -> State:
    """The state that the steps of one key leave, as known at the last of them."""
    state = NOTHING
    for step in in_force(steps, valid_at_us):
        state = advance(state, step)
    return state


def as_recorded(steps: Iterable[Step], begin: State = NOTHING) -> Iterator[Judged]:
    """Every step of one key on the recorded axis, with the states as they were known right then.

    Unlike `moves`, an event that is superseded later appears with what it did at its time, and the
    step that supersedes it shows the row without it. So what is said of a step does not change when
    more is recorded. The `before` of a step that supersedes another may be the row with or without
    that other one. `begin`: the state that the first step meets; steps before it are not named.
    """
    kept: list[tuple[Step, State]] = []
    targets = Targets()
    gone: set[Position] = set()
    for step in steps:
        known = kept[-1][1] if kept else begin
        target = targets.named_by(step)
        if target is not None and target.position not in gone:
            gone.add(target.position)
            _take_out(kept, target, begin)
        state = kept[-1][1] if kept else begin
        flags = flags_of(state, step)
        drift = drift_of(state, step) and drift_of(known, step)
        if drift:
            flags = (*flags, Flag.DRIFT)
        if target is None and _names_another(step):
            flags = (*flags, Flag.SUPERSEDES_UNKNOWN)
        after = advance(state, step)
        kept.append((step, after))
        targets.add(step)
        yield Judged(step, known, after, flags, drift)


def _take_out(kept: list[tuple[Step, State]], target: Step, begin: State) -> None:
    """Remove one step and fold again from its place: what came before it is not touched."""
    at = len(kept) - 1
    while kept[at][0].position != target.position:
        at -= 1
    later = [step for step, _ in kept[at + 1 :]]
    del kept[at:]
    for step in later:
        state = advance(kept[-1][1] if kept else begin, step)
        kept.append((step, state))
