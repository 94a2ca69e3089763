"""What people and replays said about things: flags, verdicts, notes; and what flagged things share.

A thing is flagged while its newest FLAG is not followed by an UNFLAG. Which run, model or dataset
is to blame is guessed as spectrum-based fault localisation does it: see
`audit.lineage.tracing.suspects`.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from audit.errors import FormatError, UnknownSchema
from audit.event.build import Built, record_event
from audit.event.times import format_time
from audit.event.types import REVIEW
from audit.lineage.recorded.predictions import PREDICTION_ENTITY, Prediction
from audit.lineage.recorded.records import Found, records_of, text
from audit.log.entry import Kind
from audit.log.record import Record
from audit.replay.books import Books
from audit.replay.points import Cut
from audit.store.contract import Reader

REVIEW_ENTITY = "review"
REVIEW_TYPES = frozenset((REVIEW,))
FLAG, UNFLAG = "FLAG", "UNFLAG"
FLAGGING = (FLAG, UNFLAG)


class Review(NamedTuple):
    """One thing that was said about `ref`. `kind`: FLAG, UNFLAG, REPLAY, COMPARISON or NOTE.

    Whoever can write records can say anything, a verdict too: it is known by `source`, as its event
    says, and by where it is in the log. Nothing of it is checked here.
    """

    record: Record
    ref: str
    kind: str
    verdict: str | None
    message: str | None
    actor: str | None
    source: str = ""

    @property
    def time_us(self) -> int:
        """When it was recorded: a flag has no other time."""
        return self.record.recorded_time_us

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "ref": self.ref,
            "kind": self.kind,
            "verdict": self.verdict,
            "message": self.message,
            "actor": self.actor,
            "source": self.source,
            "log": self.record.log,
            "index": self.record.index,
            "recorded_time": format_time(self.time_us),
        }


class Flagged(NamedTuple):
    """A thing that is flagged. `flags`: those that still stand, oldest first; never empty."""

    ref: str
    flags: tuple[Review, ...]

    @property
    def since_us(self) -> int:
        """Since when."""
        return self.flags[0].time_us

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "ref": self.ref,
            "since": format_time(self.since_us),
            "flags": [one.to_json() for one in self.flags],
        }


def find_reviews(reader: Reader, cut: Cut, ref: str | None = None) -> list[Review]:
    """What was said about a thing, or about all, in recorded order."""
    found = records_of(reader, cut, REVIEW_ENTITY, REVIEW_TYPES, ref)
    return [one for one in map(_review, found) if one is not None]


def review_of(books: Books, record: Record) -> Review | None:
    """What one record says; None for one that says nothing of the kind, or cannot be read."""
    event = record.event
    if event is None or event.type not in REVIEW_TYPES or record.entry.kind is not Kind.EVENT:
        return None
    try:
        data = books.decode(record)
    except (FormatError, UnknownSchema):
        return None
    return _review(Found(record, data)) if isinstance(data, dict) else None


def _review(found: Found) -> Review | None:
    event, ref, kind = found.record.event, text(found.data, "ref"), text(found.data, "kind")
    if event is None or ref is None or kind is None or event.entity_key != ref:
        return None
    verdict, message = text(found.data, "verdict"), text(found.data, "message")
    return Review(found.record, ref, kind, verdict, message, event.actor, event.source)


def flagged(reader: Reader, cut: Cut) -> list[Flagged]:
    """The things that are flagged as wrong, oldest flag first."""
    standing: dict[str, list[Review]] = {}
    for one in find_reviews(reader, cut):
        if one.kind == UNFLAG:
            standing.pop(one.ref, None)
        elif one.kind == FLAG:
            standing.setdefault(one.ref, []).append(one)
    found = [Flagged(ref, tuple(flags)) for ref, flags in standing.items()]
    return sorted(found, key=lambda one: one.since_us)


def standing_flags(reviews: list[Review]) -> list[Review]:
    """The flags of one thing that nobody took back."""
    flags: list[Review] = []
    for one in reviews:
        if one.kind == UNFLAG:
            flags = []
        elif one.kind == FLAG:
            flags.append(one)
    return flags


def refs_of(prediction: Prediction) -> tuple[str, str]:
    """The REFs that a prediction may be flagged under: by its id, and by SOURCE:ID."""
    event = prediction.record.event
    source = "" if event is None else event.source
    name = prediction.prediction_id
    return f"{PREDICTION_ENTITY}/{name}", f"{PREDICTION_ENTITY}/{source}:{name}"


def only_flagged(
    predictions: Iterable[Prediction], things: Iterable[Flagged]
) -> Iterator[Prediction]:
    """Those of the predictions that are flagged."""
    refs = {thing.ref for thing in things}
    return (one for one in predictions if not refs.isdisjoint(refs_of(one)))


def flag_event(
    kind: str, ref: str, message: str | None, actor: str | None, source: str, before: list[Review]
) -> Built:
    """The event of a FLAG or UNFLAG of a thing, of which `before` was said already.

    The same by the same person is the same event, whoever sends it how often and from where: its id
    comes from kind, REF, message, actor and how often the opposite was said before, and it has no
    valid time of its own. Raises InvalidInput, LimitExceeded.
    """
    turn = sum(one.kind in FLAGGING and one.kind != kind for one in before)
    said = json.dumps([kind, ref, message, actor, turn]).encode()
    return record_event(
        REVIEW,
        {
            "ref": ref,
            "kind": kind,
            "verdict": None,
            "message": message,
            "logs": [],
            "evidence": None,
        },
        event_id=f"{kind.lower()}-{hashlib.sha256(said).hexdigest()}",
        source=source,
        entity_type=REVIEW_ENTITY,
        entity_key=ref,
        actor=actor,
    )
