"""Entries and the events in them, of a block of leaves at once: `entry.v1` around `event.v1`.

Says the same as `audit.log.entry.decode_entry` and `audit.event.envelope.decode_event`: the fields,
their order and limits are theirs. What is not exactly so comes out as `bad`, and is read by them.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from audit.event.envelope_form import (
    EVENT_PREFIX,
    HASH_BYTES,
    MAX_EVENT_BYTES,
    MAX_EVENT_ID_BYTES,
    MAX_KEY_BYTES,
    MAX_KEY_ID_BYTES,
    MAX_NONCE_BYTES,
    MAX_SOURCE_BYTES,
    MAX_TEXT_BYTES,
    MAX_TYPE_BYTES,
    NAME,
    entity_refusal,
)
from audit.event.times import MAX_TIME_US, MIN_TIME_US
from audit.event.wire import MAX_INT32
from audit.log.entry import (
    LEAF_PREFIX,
    MAX_EVENT_IN_LEAF_BYTES,
    MAX_LEAF_BYTES,
    MAX_REASON_BYTES,
    MAX_TOPIC_BYTES,
    SIGNATURE_BYTES,
    Kind,
)
from audit.replay.columnar.lockstep import Cursor, Flags, Longs, Raw, Source, not_utf8
from audit.replay.columnar.parts import NO_CODE, Codes


class Texts(NamedTuple):
    """A text of each of n entries: `codes` int32[n] into `found`, NO_CODE where it has none.

    `found`: the distinct ones, an Arrow binary array.
    """

    codes: Codes
    found: "pa.Array"


class Spans(NamedTuple):
    """Where a text is that only these rows have, in the source."""

    rows: Longs
    start: Longs
    end: Longs


class Envelopes(NamedTuple):
    """What n leaves say before their payload. Arrays of length n; `bad` ones hold anything.

    `kind`: uint8, see `Kind`. `valid_us`: the recorded time where none was `claimed`.
    `entry_reason`: of what is quarantined. `encrypted`, `supersedes`, `signed`: whether it says so.
    `superseded`, `request_id`, `trace_id`: the texts that few have.
    `schema`: the 32 bytes of its hash. Payloads are `payload_start` to `payload_end` in the source.
    """

    bad: Flags
    index: Longs  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    recorded_us: Longs
    valid_us: Longs
    claimed: Flags
    signed: Flags
    kind: Raw
    entry_reason: Texts
    event_id_start: Longs
    event_id_end: Longs
    type: Texts
    source: Texts
    entity_type: Texts
    entity_key: Texts
    actor: Texts
    reason: Texts
    transaction_id: Texts
    schema: Texts
    supersedes: Flags
    encrypted: Flags
    superseded: Spans
    request_id: Spans
    trace_id: Spans
    payload_start: Longs
    payload_end: Longs


class _Entries(NamedTuple):
    """What n entries say beside their events, which are `start` to `end`; see `Envelopes`."""

    bad: Flags
    index: Longs  # type: ignore[assignment]
    recorded_us: Longs
    kind: Raw
    entry_reason: Texts
    signed: Flags
    start: Longs
    end: Longs


def read_envelopes(source: Source, first: int | None) -> Envelopes:
    """Read all leaves of the source; the first one is to have the index `first`, the others follow.

    With None they may have any.
    """
    cursor = Cursor(source, source.start, source.end)
    cursor.mark(None, source.end - source.start > MAX_LEAF_BYTES)
    cursor.mark(None, ~cursor.equal(cursor.skip(len(LEAF_PREFIX)), LEAF_PREFIX))
    index = cursor.count()
    if first is not None:
        cursor.mark(None, index != first + np.arange(len(index)))
    recorded_us = cursor.count()
    cursor.skip(HASH_BYTES)
    branch = cursor.byte()
    cursor.mark(None, (branch > 4) | (branch & 1).astype(np.bool_))
    kind = (branch >> 1).astype(np.uint8)
    cursor.skip(HASH_BYTES, cursor.optional())
    rows = cursor.optional()
    topic = Spans(rows, *cursor.sized(MAX_TOPIC_BYTES, rows))
    partition, offset, next_offset = (cursor.count(rows) for _ in range(3))
    cursor.mark(rows, (partition > MAX_INT32) | (next_offset <= offset))
    rows = cursor.optional()
    reason = Spans(rows, *cursor.sized(MAX_REASON_BYTES, rows))
    rows = cursor.optional()
    start, end = cursor.sized(SIGNATURE_BYTES, rows)
    cursor.mark(rows, end - start != SIGNATURE_BYTES)
    signed = _flags(len(index), rows)
    start, end = cursor.sized(MAX_EVENT_IN_LEAF_BYTES)
    bad = ~cursor.finish()
    for spans in (topic, reason):
        _refuse_non_texts(source, spans, bad)
    entry_reason = _coded(source, reason, bad)
    return _read_events(
        source, _Entries(bad, index, recorded_us, kind, entry_reason, signed, start, end)
    )


def _read_events(source: Source, entries: _Entries) -> Envelopes:
    bad, _, recorded_us, kind, entry_reason, _, start, end = entries
    # What is quarantined may be anything: it is no event here, and its bytes are not looked at.
    has_event = ~bad & (kind != Kind.QUARANTINED)
    rows = np.flatnonzero(has_event)
    cursor = Cursor(source, start[rows], end[rows])
    cursor.mark(None, end[rows] - start[rows] > MAX_EVENT_BYTES)
    cursor.mark(None, ~cursor.equal(cursor.skip(len(EVENT_PREFIX)), EVENT_PREFIX))
    all_rows = np.arange(len(rows))
    event_id = Spans(all_rows, *cursor.sized(MAX_EVENT_ID_BYTES))
    type_ = Spans(all_rows, *cursor.sized(MAX_TYPE_BYTES))
    sender = Spans(all_rows, *cursor.sized(MAX_SOURCE_BYTES))
    for spans in (event_id, sender):
        cursor.mark(None, spans.start == spans.end)
    entity_type = _optional(cursor, MAX_TYPE_BYTES)
    entity_key = _optional(cursor, MAX_KEY_BYTES)
    valid_us, claimed = _read_valid_times(cursor, recorded_us[rows])
    actor, reason, transaction_id = (_optional(cursor, MAX_TEXT_BYTES) for _ in range(3))
    supersedes = _optional(cursor, MAX_EVENT_ID_BYTES)
    others = [_optional(cursor, MAX_TEXT_BYTES) for _ in ("request_id", "trace_id")]
    some = cursor.optional()
    at = cursor.skip(HASH_BYTES, some)
    schema = Spans(some, at, at + HASH_BYTES)
    payload_start, payload_end = cursor.sized(MAX_EVENT_BYTES)
    others.append(_optional(cursor, MAX_KEY_BYTES))  # subject
    some = cursor.optional()
    key_id = Spans(some, *cursor.sized(MAX_KEY_ID_BYTES, some))
    cursor.mark(some, key_id.start == key_id.end)
    cursor.sized(MAX_NONCE_BYTES, some)
    encrypted = some
    others.append(_optional(cursor, MAX_SOURCE_BYTES))  # producer_id
    cursor.count(cursor.optional())
    bad_event = ~cursor.finish()
    for spans in (event_id, supersedes, key_id, *others):
        _refuse_non_texts(source, spans, bad_event)
    coded = [
        _coded(source, spans, bad_event)
        for spans in (type_, sender, entity_type, entity_key, actor, reason, transaction_id, schema)
    ]
    for texts in coded[:-1]:
        _refuse_codes(texts, set(not_utf8(texts.found).tolist()), bad_event)
    _refuse_names(coded[0], bad_event)
    _refuse_names(coded[2], bad_event)
    _refuse_entities(coded[0], coded[2], coded[3], bad_event)
    bad[rows[bad_event]] = True
    spread = [_spread(texts, rows, len(bad)) for texts in coded]
    return Envelopes(
        bad=bad,
        index=entries.index,
        recorded_us=recorded_us,
        valid_us=_put(recorded_us, rows, valid_us),
        claimed=_flags(len(bad), rows[claimed]),
        signed=entries.signed,
        kind=kind,
        entry_reason=entry_reason,
        event_id_start=_put(start, rows, event_id.start),
        event_id_end=_put(start, rows, event_id.end),
        supersedes=_flags(len(bad), rows[supersedes.rows]),
        encrypted=_flags(len(bad), rows[encrypted]),
        superseded=supersedes._replace(rows=rows[supersedes.rows]),
        request_id=others[0]._replace(rows=rows[others[0].rows]),
        trace_id=others[1]._replace(rows=rows[others[1].rows]),
        payload_start=_put(start, rows, payload_start),
        payload_end=_put(start, rows, payload_end),
        **dict(zip(_TEXTS, spread, strict=True)),
    )


_TEXTS = (
    *("type", "source", "entity_type", "entity_key"),
    *("actor", "reason", "transaction_id", "schema"),
)


def _read_valid_times(cursor: Cursor, recorded_us: Longs) -> tuple[Longs, Longs]:
    """(the claimed times, the recorded one where none is claimed; the rows that claim one)."""
    some = cursor.optional()
    claimed_us = cursor.long(some)
    cursor.mark(some, (claimed_us < MIN_TIME_US) | (claimed_us > MAX_TIME_US))
    valid_us = recorded_us.copy()
    valid_us[some] = claimed_us
    return valid_us, some


def _optional(cursor: Cursor, most: int) -> Spans:
    rows = cursor.optional()
    return Spans(rows, *cursor.sized(most, rows))


def _put(base: Longs, rows: Longs, values: Longs) -> Longs:
    full = base.copy()
    full[rows] = values
    return full


def _flags(count: int, rows: Longs) -> Flags:
    flags = np.zeros(count, dtype=np.bool_)
    flags[rows] = True
    return flags


def _good(spans: Spans, bad: Flags) -> Spans:
    """Without those of bad rows, whose positions are anything."""
    keep = ~bad[spans.rows]
    if keep.all():
        return spans
    return Spans(spans.rows[keep], spans.start[keep], spans.end[keep])


def _refuse_non_texts(source: Source, spans: Spans, bad: Flags) -> None:
    spans = _good(spans, bad)
    if len(spans.rows):
        bad[spans.rows[not_utf8(source.spans(spans.start, spans.end))]] = True


def _coded(source: Source, spans: Spans, bad: Flags) -> Texts:
    spans = _good(spans, bad)
    encoded = source.spans(spans.start, spans.end).dictionary_encode()
    codes = np.full(len(bad), NO_CODE, dtype=np.int32)
    codes[spans.rows] = encoded.indices.to_numpy(zero_copy_only=False)
    return Texts(codes, encoded.dictionary)


def _spread(texts: Texts, rows: Longs, count: int) -> Texts:
    """The same, of all entries instead of these rows."""
    if len(rows) == count:
        return texts
    codes = np.full(count, NO_CODE, dtype=np.int32)
    codes[rows] = texts.codes
    return Texts(codes, texts.found)


def _refuse_codes(texts: Texts, refused: set[int], bad: Flags) -> None:
    if refused:
        bad |= np.isin(texts.codes, np.array(sorted(refused), dtype=np.int32))


def _refuse_names(texts: Texts, bad: Flags) -> None:
    refused = {at for at, raw in enumerate(texts.found.to_pylist()) if not _is_name(raw)}
    _refuse_codes(texts, refused, bad)


def _is_name(raw: bytes) -> bool:
    return raw.isascii() and NAME.fullmatch(raw.decode()) is not None


def _refuse_entities(type_: Texts, entity_type: Texts, entity_key: Texts, bad: Flags) -> None:
    """Mark the events that are of a type which cannot be about what they say."""
    types, entities = type_.found.to_pylist(), entity_type.found.to_pylist()
    # One number for each combination of type, entity type and whether there is a key.
    combined = (type_.codes.astype(np.int64) * (len(entities) + 1) + entity_type.codes + 1) * 2
    combined += entity_key.codes != NO_CODE
    combined[bad] = -1
    for number in np.unique(combined).tolist():
        if number < 0:
            continue
        pair, has_key = divmod(number, 2)
        at, entity = divmod(pair, len(entities) + 1)
        about = entities[entity - 1].decode() if entity else None
        if entity_refusal(types[at].decode(), about, "" if has_key else None) is not None:
            bad |= combined == number
