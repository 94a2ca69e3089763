"""JSON texts of many rows at once, in the spelling of `audit.event.valuejson.dumps_bytes`.

Plain values are spelled by Arrow's kernels; the others, each distinct one once, by `valuejson`.
"""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from audit.event.fields import decode_value
from audit.event.valuejson import dumps_bytes
from audit.replay.columnar.decode.changes import (
    BOOLEAN,
    DATE,
    DOUBLE,
    LONG,
    NULL,
    STRING,
    TIME,
    Found,
)
from audit.replay.columnar.lockstep import Flags, Longs, Source

_ESCAPED = r'[\x00-\x1f"\\]'
"""What JSON escapes where it need not be ASCII."""
_NOTHING = pa.scalar("", pa.string())


def row_texts(source: Source, found: Found, names: tuple[str, ...], has: Flags) -> "pa.Array":
    """The JSON objects of n rows of values, text[n]; null where a row does not have any (`has`)."""
    if not has.any():
        return pa.nulls(len(has), pa.string())
    # In the order of the buffer texts are taken out with one copy.
    found = found.take(np.argsort(found.spelled, kind="stable"))
    members = pc.binary_join_element_wise(
        _prefixes(names).take(pa.array(found.name)), value_texts(source, found), _NOTHING
    )
    place = found.row * max(1, len(names)) + _ranks(names)[found.name]
    if (place[1:] < place[:-1]).any():
        members = members.take(pa.array(np.argsort(place, kind="stable")))
    offsets = np.zeros(len(has) + 1, dtype=np.int32)
    np.cumsum(np.bincount(found.row, minlength=len(has)), out=offsets[1:])
    lists = pa.ListArray.from_arrays(pa.array(offsets), members)
    joined = pc.binary_join(lists, ",")
    texts = pc.binary_join_element_wise("{", joined, "}", _NOTHING)
    return texts if has.all() else pc.if_else(pa.array(has), texts, pa.scalar(None, pa.string()))


def value_texts(source: Source, found: Found) -> "pa.Array":
    """The JSON text of each value; the values come in the order of the buffer."""
    parts, order = [], []
    for branch in np.flatnonzero(np.bincount(found.branch, minlength=1)).tolist():
        which = np.flatnonzero(found.branch == branch)
        order.append(which)
        some = found if len(which) == len(found.row) else found.take(which)
        parts.append(_texts_of(source, some, branch))
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return pa.array([], pa.string())
    back = np.empty(len(found.row), dtype=np.int64)
    back[np.concatenate(order)] = np.arange(len(back))
    return pa.concat_arrays(parts).take(pa.array(back))


def _texts_of(source: Source, found: Found, branch: int) -> "pa.Array":
    if branch == NULL:
        return pa.repeat(pa.scalar("null", pa.string()), len(found.row))
    if branch == BOOLEAN:
        return pa.array(["false", "true"], pa.string()).take(pa.array(found.number))
    if branch == LONG:
        return pa.array(found.number).cast(pa.string())
    if branch == DOUBLE:
        values = found.number.view(np.float64)
        texts = list(map(float.__repr__, values.tolist()))
        for at in np.flatnonzero(~np.isfinite(values)).tolist():
            texts[at] = dumps_bytes(float(values[at])).decode()
        return pa.array(texts, pa.string())
    if branch == STRING:
        return _quoted(source.spans(found.content, found.end).view(pa.string()))
    if branch in (TIME, DATE):
        return _moments(found.number, branch)
    distinct = source.spans(found.spelled, found.end).dictionary_encode()
    texts = [
        dumps_bytes(decode_value(spelled, 0)[0]).decode()
        for spelled in distinct.dictionary.to_pylist()
    ]
    return pa.array(texts, pa.string()).take(distinct.indices)


def _moments(numbers: Longs, branch: int) -> "pa.Array":
    """Microseconds or days since 1970, all of years 0001 to 9999, in the form of `format_time`."""
    if branch == TIME:
        texts = np.datetime_as_string(numbers.view("datetime64[us]"))
        head, tail = '{"$timestamp":"', 'Z"}'
    else:
        texts = np.datetime_as_string(numbers.astype("datetime64[D]"))
        head, tail = '{"$date":"', '"}'
    return pc.binary_join_element_wise(head, pa.array(texts, pa.string()), tail, _NOTHING)


def _quoted(texts: "pa.Array") -> "pa.Array":
    quoted = pc.binary_join_element_wise('"', texts, '"', _NOTHING)
    hits = pc.match_substring_regex(texts, _ESCAPED)
    if not pc.any(hits).as_py():
        return quoted
    escaped = [json.dumps(text, ensure_ascii=False) for text in texts.filter(hits).to_pylist()]
    return pc.replace_with_mask(quoted, hits, pa.array(escaped, pa.string()))


def _shown(name: str) -> str:
    """A field's name as a key: see `valuejson`."""
    return "$" + name if name.startswith("$") else name


def _prefixes(names: tuple[str, ...]) -> "pa.Array":
    texts = [json.dumps(_shown(name), ensure_ascii=False) + ":" for name in names]
    return pa.array(texts, pa.string())


def _ranks(names: tuple[str, ...]) -> Longs:
    """Where each name comes in an object."""
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[sorted(range(len(names)), key=lambda at: _shown(names[at]))] = np.arange(len(names))
    return ranks
