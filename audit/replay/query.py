"""The query language of `audit log`: text -> a predicate over entries, and bounds to read less.

    query      = *( ["-"] qualifier ":" value )            separated by white space
    qualifier  = actor op entity key type field recorded valid source log id transaction reason kind
                 has
    value      = any characters but white space, or in double quotes, where \\" and \\\\ stand for
                 " and \\ (only a quote right after the colon begins one)
    recorded:, valid:   [">=" | ">" | "<=" | "<"] time, times as in `audit.replay.points`

Terms are all to hold; several values of one qualifier are alternatives (`op:create op:delete`); "-"
takes out what fits. A date alone means that whole day in UTC (`recorded:2026-01-05`); behind a
comparison it means its 00:00 UTC, as everywhere. An event without valid time is valid from its
recorded time. `field:` finds the events that give a field a value, null included; Debezium's
placeholder for an unchanged one is none. `reason:` is an event's reason, and of what is quarantined
the word before the colon: `kind:quarantined reason:UNDECODABLE`. `has:` asks whether an event says
so much at all: `op:delete -has:reason`.

Schema events, CONTROL and QUARANTINED entries are what applications did not say: they are left out
unless the query has `type:` or `kind:` (event, schema, control, quarantined).
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from audit.errors import InvalidInput, LimitExceeded
from audit.event.envelope import Event
from audit.event.row import Change
from audit.event.values import Value
from audit.log.entry import Kind
from audit.log.record import Record
from audit.replay.fold import DATA_PREFIX, OPS
from audit.replay.points import date_us, parse_time, try_time
from audit.replay.query_hints import no_term, unknown_qualifier
from audit.replay.rows import unchanged

MAX_QUERY_CHARS = 100_000
MAX_QUERY_TERMS = 1_000
SCHEMA_TYPE = "schema"

Payload = Change | dict[str, Value]
Decode = Callable[[Record], Payload | None]
"""Gives the payload of a record, or None where it cannot be read."""

QUALIFIERS = (
    "actor",
    "op",
    "entity",
    "key",
    "type",
    "field",
    "recorded",
    "valid",
    "source",
    "log",
    "id",
    "transaction",
    "reason",
    "kind",
    "has",
)
SORTS = frozenset(("event", "schema", "control", "quarantined"))
"""What `kind:` tells apart; `event` is what applications said."""
OPTIONAL = frozenset(("actor", "entity", "reason", "transaction"))
"""What `has:` asks for: parts of an event that it may lack."""
_TIMES = frozenset(("recorded", "valid"))
_VERBATIM = ("actor", "entity", "key", "reason", "source", "transaction", "type")
"""Qualifiers whose value stands in the leaf of what it fits, byte for byte, as it is asked for."""
_WORD = re.compile(r"(-?)([A-Za-z_][A-Za-z_-]*):")
_VALUE = re.compile(r"\S*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"(?=\s|$)')
_SPACE = re.compile(r"\s*")
_COMPARISON = re.compile(r">=|>|<=|<|")
_LOG = re.compile(r"0|[1-9][0-9]{0,18}")
_DAY_US = 86_400_000_000
EARLIEST_US = -(2**62)
LATEST_US = 2**62


class Span(NamedTuple):
    """Microseconds from `first_us` to `last_us`, both included; empty when they cross."""

    first_us: int
    last_us: int

    def holds(self, time_us: int) -> bool:
        """True when the time is inside."""
        return self.first_us <= time_us <= self.last_us


class Query(NamedTuple):
    """A parsed query. `wanted` and `unwanted`: qualifier -> the values of its terms.

    `spans` and `unwanted_spans` are the terms of `recorded:` and `valid:`; all `spans` must hold.
    """

    wanted: dict[str, frozenset[str]]
    unwanted: dict[str, frozenset[str]]
    spans: tuple[tuple[str, Span], ...]
    unwanted_spans: tuple[tuple[str, Span], ...]

    @property
    def recorded(self) -> Span:
        """The bounds of the recorded time."""
        spans = [span for name, span in self.spans if name == "recorded"]
        first_us = max((span.first_us for span in spans), default=EARLIEST_US)
        return Span(first_us, min((span.last_us for span in spans), default=LATEST_US))

    @property
    def logs(self) -> frozenset[int] | None:
        """The logs to look into; None for all."""
        wanted = self.wanted.get("log")
        return None if wanted is None else frozenset(map(int, wanted))

    @property
    def hides_special(self) -> bool:
        """True when only what applications said is asked for."""
        return "type" not in self.wanted and "kind" not in self.wanted

    @property
    def only_special(self) -> bool:
        """True when nothing can fit but schema events, CONTROL and QUARANTINED entries."""
        sorts = self.wanted.get("kind")
        if sorts is not None and "event" not in sorts:
            return True
        return self.wanted.get("type") == frozenset((SCHEMA_TYPE,))

    @property
    def narrows(self) -> bool:
        """True when it asks for more than a log and a recorded time."""
        asked = (*self.wanted, *self.unwanted)
        if any(name != "log" for name in asked) or self.unwanted_spans:
            return True
        return any(name == "valid" for name, _ in self.spans)

    def leaves_out(self, log: int) -> bool:
        """True for a log that nothing can fit in."""
        wanted = self.logs
        if wanted is not None and log not in wanted:
            return True
        return str(log) in self.unwanted.get("log", ())

    def marks(self) -> tuple[tuple[bytes, ...], ...]:
        """Of each of these alternatives, one is in the leaf of whatever matches, byte for byte.

        A leaf without them needs no decoding: looking for bytes takes a hundredth of that.
        """
        found = [self.wanted[name] for name in _VERBATIM if name in self.wanted]
        if "op" in self.wanted:
            found.append(frozenset(DATA_PREFIX + op for op in self.wanted["op"]))
        # No text in a leaf holds a lone surrogate, so that a value with one is in none.
        spelled = (tuple(value.encode(errors="surrogatepass") for value in one) for one in found)
        return tuple(sorted((one for one in spelled if b"" not in one), key=len))

    @property
    def costly(self) -> bool:
        """True when, without columns, all there is would have to be decoded for a few hits."""
        asks = "field" in self.wanted or any(name == "valid" for name, _ in self.spans)
        return asks and not self.marks()

    def matches(self, record: Record, decode: Decode) -> bool:
        """True when the entry fits. `decode` is called only when a term asks for a field."""
        if self.hides_special and sort_of(record) != "event":
            return False
        for name, span in self.spans:
            if not span.holds(_time(record, name)):
                return False
        for name, span in self.unwanted_spans:
            if span.holds(_time(record, name)):
                return False
        for name, values in self.wanted.items():
            if not _fits(record, name, values, decode):
                return False
        return not any(
            _fits(record, name, values, decode) for name, values in self.unwanted.items()
        )


def sort_of(record: Record) -> str:
    """event, schema, control or quarantined: what the entry is, as `audit status` counts it."""
    if record.entry.kind is Kind.CONTROL:
        return "control"
    if record.entry.kind is Kind.QUARANTINED or record.event is None:
        return "quarantined"
    return SCHEMA_TYPE if record.event.type == SCHEMA_TYPE else "event"


def _time(record: Record, name: str) -> int:
    recorded_us = record.entry.recorded_time_us
    if name == "recorded" or record.event is None or record.event.valid_time_us is None:
        return recorded_us
    return record.event.valid_time_us


def _fits(record: Record, name: str, values: frozenset[str], decode: Decode) -> bool:
    if name == "kind":
        return sort_of(record) in values
    if name == "log":
        return str(record.log) in values
    if name == "reason" and record.entry.reason is not None:
        return record.entry.reason.partition(":")[0] in values
    event = record.event
    if event is None:
        return False
    if name == "field":
        return not values.isdisjoint(_fields(decode(record)))
    if name == "op":
        return event.type.startswith(DATA_PREFIX) and event.type[len(DATA_PREFIX) :] in values
    if name == "id":
        return event.event_id in values or f"{event.source}:{event.event_id}" in values
    if name == "has":
        return any(_said(event, part) is not None for part in values)
    found = _said(event, name)
    return found is not None and found in values


def _said(event: Event, name: str) -> str | None:
    return {
        "actor": event.actor,
        "entity": event.entity_type,
        "key": event.entity_key,
        "type": event.type,
        "source": event.source,
        "transaction": event.transaction_id,
        "reason": event.reason,
    }[name]


def _fields(payload: Payload | None) -> frozenset[str]:
    if isinstance(payload, Change):
        payload = payload.after
    return frozenset(name for name, value in (payload or {}).items() if not unchanged(value))


def parse_query(text: str, now_us: int) -> Query:
    """The query in a text; an empty one asks for everything. Raises InvalidInput, LimitExceeded.

    `now_us` is what `now`, `yesterday` and `-7d` count from.
    """
    if len(text) > MAX_QUERY_CHARS:
        raise LimitExceeded(f"a query of {len(text)} characters is over {MAX_QUERY_CHARS}")
    values: dict[tuple[bool, str], set[str]] = {}
    spans: dict[bool, list[tuple[str, Span]]] = {False: [], True: []}
    for count, (negated, name, value) in enumerate(_terms(text)):
        if count >= MAX_QUERY_TERMS:
            raise LimitExceeded(f"a query has at most {MAX_QUERY_TERMS} terms")
        if name in _TIMES:
            spans[negated].append((name, _span(name, value, now_us)))
        else:
            values.setdefault((negated, name), set()).add(_checked(name, value))
    wanted = {name: frozenset(v) for (negated, name), v in values.items() if not negated}
    unwanted = {name: frozenset(v) for (negated, name), v in values.items() if negated}
    return Query(wanted, unwanted, tuple(spans[False]), tuple(spans[True]))


def _terms(text: str) -> list[tuple[bool, str, str]]:
    terms = []
    at = _skip_space(text, 0)
    while at < len(text):
        word = _WORD.match(text, at)
        if word is None:
            plain = _VALUE.match(text, at)
            raise InvalidInput(no_term(plain[0] if plain else "", QUALIFIERS))
        if word[2] not in QUALIFIERS:
            raise InvalidInput(unknown_qualifier(word[2], QUALIFIERS))
        value, at = _value(text, word.end())
        terms.append((bool(word[1]), word[2], value))
        at = _skip_space(text, at)
    return terms


def _skip_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _value(text: str, at: int) -> tuple[str, int]:
    if text.startswith('"', at):
        quoted = _QUOTED.match(text, at)
        if quoted is None:
            raise InvalidInput(f"a quote in the query does not end well: {text[at : at + 40]!r}")
        return re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL), quoted.end()
    plain = _VALUE.match(text, at)
    if plain is None or not plain[0]:
        raise InvalidInput(
            f'a term of the query has no value; for an empty one write {text[:at].split()[-1]}""'
        )
    return plain[0], plain.end()


def _checked(name: str, value: str) -> str:
    if name == "op" and value not in OPS:
        raise InvalidInput(f"op:{value[:40]} is none of {', '.join(sorted(OPS))}")
    if name == "kind" and value not in SORTS:
        raise InvalidInput(f"kind:{value[:40]} is none of {', '.join(sorted(SORTS))}")
    if name == "has" and value not in OPTIONAL:
        raise InvalidInput(f"has:{value[:40]} is none of {', '.join(sorted(OPTIONAL))}")
    if name == "log" and not _LOG.fullmatch(value):
        raise InvalidInput(f"log:{value[:40]} is no log's number")
    return value


def _span(name: str, value: str, now_us: int) -> Span:
    shape = _COMPARISON.match(value)
    comparison = shape[0] if shape else ""
    text = value[len(comparison) :]
    if not comparison:
        return _whole(name, text, now_us)
    time_us = parse_time(text, now_us)
    if comparison == ">=":
        return Span(time_us, LATEST_US)
    if comparison == ">":
        return Span(time_us + 1, LATEST_US)
    return Span(EARLIEST_US, time_us if comparison == "<=" else time_us - 1)


def _whole(name: str, text: str, now_us: int) -> Span:
    if text.startswith("-") and try_time(text, now_us) is not None:
        raise InvalidInput(f"{name}:{text} is one instant; write {name}:>={text}")
    time_us = parse_time(text, now_us)
    if text == "yesterday" or date_us(text) is not None:
        return Span(time_us, time_us + _DAY_US - 1)
    return Span(time_us, time_us)
