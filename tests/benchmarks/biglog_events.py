"""Spelling the events of a block as bytes, fast: pieces from tables, joined.

The same bytes as `data_event`, `encode_event` and the sequencer give; test_biglog.py compares them.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from audit.event.canonical import builtin, schema_hash
from audit.event.envelope_form import EVENT_PREFIX, EVENT_SCHEMA_HASH
from audit.event.wire import LENGTHS, encode_long, encode_size
from audit.log.entry import LEAF_PREFIX
from tests.benchmarks.biglog_plan import (
    ACTORS,
    COUNTRIES,
    CREATE,
    DELETE,
    ENTITY,
    FIELDS,
    OPS,
    SEGMENTS,
    STATUSES,
    WORDS,
    Block,
    Ints,
    key_texts,
)

SOURCE = "bench"
TYPES = tuple(f"data.{op}" for op in OPS)
LEAF_START = LEAF_PREFIX
_NULL = b"\x00"
_SOME = b"\x02"
_HEAD = EVENT_PREFIX + LENGTHS[36]
_ROW = schema_hash(builtin("row.v1"))
_AFTER_ACTOR = 5 * _NULL + _SOME + _ROW
_END = 4 * _NULL
_TAIL_START = _NULL + _SOME + EVENT_SCHEMA_HASH + 3 * _NULL
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)

Columns = tuple[str, bytes, bytes, str, bytes]


def _text(text: str) -> bytes:
    raw = text.encode()
    return encode_size(len(raw)) + raw


_ABOUT = tuple(
    _text(t) + _text(SOURCE) + _SOME + _text(ENTITY) + _SOME + LENGTHS[12] for t in TYPES
)
_ACTORS = tuple(_SOME + _text(actor) for actor in ACTORS)
_PATCH, _FULL = b"\x00\x00\x02", b"\x02\x00\x02"
_NO_ROWS = b"\x00\x00\x00"


def spelled(block: Block) -> Iterator[tuple[Columns, bytes]]:
    """Of each event its index columns (type to key) and its leaf from `kind` on."""
    ids, keys = _ids(block), key_texts(block.key).tolist()
    times, payloads = _times(block.valid_us), _payloads(block)
    source, entity = SOURCE.encode(), ENTITY
    places = zip(
        *(ids, block.op.tolist(), keys, times, block.actor.tolist(), payloads), strict=True
    )
    for event_id, op, key, time, actor, payload in places:
        about = (_HEAD, event_id, _ABOUT[op], key, _SOME, time, _ACTORS[actor], _AFTER_ACTOR)
        event = b"".join((*about, encode_size(len(payload)), payload, _END))
        tail = _TAIL_START + encode_size(len(event)) + event
        yield (TYPES[op], source, event_id, entity, key), tail


def _ids(block: Block) -> list[bytes]:
    """UUIDv7 texts: the milliseconds of the clock, then what was drawn."""
    count = len(block)
    out = np.full((count, 36), ord("-"), np.uint8)
    ms = np.frombuffer(f"{block.clock_us // 1_000:012x}".encode(), np.uint8)
    drawn = np.frombuffer(block.random, np.uint8).reshape(count, 9)
    nibbles = np.empty((count, 18), np.uint8)
    nibbles[:, 0::2], nibbles[:, 1::2] = drawn >> 4, drawn & 15
    digits = _HEX[nibbles]
    out[:, :8], out[:, 9:13] = ms[:8], ms[8:]
    out[:, 14], out[:, 15:18] = ord("7"), digits[:, :3]
    out[:, 19], out[:, 20:23] = ord("8"), digits[:, 3:6]
    out[:, 24:] = digits[:, 6:]
    return out.reshape(-1).view("S36").tolist()  # type: ignore[no-any-return]


def _times(times_us: Ints) -> list[bytes]:
    """Avro longs of times that take eight bytes, as all of this century do until 2040."""
    rest = times_us.astype(np.uint64) << np.uint64(1)
    groups = rest[:, None] >> np.arange(0, 56, 7, dtype=np.uint64) & np.uint64(0x7F)
    groups[:, :7] |= np.uint64(0x80)
    raw = groups.astype(np.uint8).tobytes()
    if not ((rest >> np.uint64(49) > 0) & (rest >> np.uint64(56) == 0)).all():
        return [encode_long(int(time)) for time in times_us]
    return [raw[at : at + 8] for at in range(0, len(raw), 8)]


def _payloads(block: Block) -> list[bytes]:
    cells: list[list[bytes]] = [[] for _ in range(len(block))]
    for field in FIELDS:
        places = np.flatnonzero(block.given(field))
        pieces = _SPELL[field](_text(field), block.values[field][places])
        for at, piece in zip(places.tolist(), pieces, strict=True):
            cells[at].append(piece)
    heads = [(_PATCH if count else _NO_ROWS) + LENGTHS[count] for count in range(len(FIELDS) + 1)]
    full = _FULL + LENGTHS[len(FIELDS)]
    return [
        _NO_ROWS
        if op == DELETE
        else (full if op == CREATE else heads[len(row)]) + b"".join(row) + _NULL
        for op, row in zip(block.op.tolist(), cells, strict=True)
    ]


def _coded(texts: tuple[str, ...]) -> Callable[[bytes, Any], list[bytes]]:
    # The last one is what code -1 finds.
    encoded = (*(b"\x08" + _text(text) for text in texts), _NULL)

    def spell(name: bytes, codes: Any) -> list[bytes]:
        table = [name + piece for piece in encoded]
        return [table[code] for code in codes.tolist()]

    return spell


def _spell_doubles(name: bytes, values: Any) -> list[bytes]:
    raw, start = values.astype("<f8").tobytes(), name + b"\x06"
    return [start + raw[at : at + 8] for at in range(0, len(raw), 8)]


def _spell_longs(name: bytes, values: Any) -> list[bytes]:
    start = name + b"\x04"
    return [start + encode_long(value) for value in values.tolist()]


def _spell_times(name: bytes, values: Any) -> list[bytes]:
    start = name + b"\x10"
    return [start + encode_long(value) for value in values.tolist()]


def _spell_booleans(name: bytes, values: Any) -> list[bytes]:
    no, yes = name + b"\x02\x00", name + b"\x02\x01"
    return [yes if value else no for value in values.tolist()]


_RAW_WORDS = tuple(word.encode() for word in WORDS)


def _spell_notes(name: bytes, codes: Any) -> list[bytes]:
    start, words, found = name + b"\x08", _RAW_WORDS, []
    parts = [(codes >> shift & 1_023).tolist() for shift in (30, 20, 10, 0)]
    for a, b, c, d in zip(*parts, strict=True):
        text = b"%b %b %b %b" % (words[a], words[b], words[c], words[d])
        found.append(start + LENGTHS[len(text)] + text)
    return found


_SPELL: dict[str, Callable[[bytes, Any], list[bytes]]] = {
    "active": _spell_booleans,
    "amount": _spell_longs,
    "balance": _spell_doubles,
    "country": _coded(COUNTRIES),
    "note": _spell_notes,
    "opened": _spell_times,
    "score": _spell_doubles,
    "segment": _coded(SEGMENTS),
    "status": _coded(STATUSES),
    "visits": _spell_longs,
}
