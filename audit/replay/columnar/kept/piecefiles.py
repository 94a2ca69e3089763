"""Pieces of the read model as files, and back: one for searching, for each dataset one or two.

e.START-STOP.arrow           what searching needs of every entry
d.NAME.START-STOP.arrow      the data events of a dataset
k.NAME.START-STOP.arrow      its keys that no entry before had, if there are such
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from audit.replay.columnar.decode.cellvalues import SPELLED, TIME_TYPE
from audit.replay.columnar.kept.checked import are_texts, are_values, is_count, is_text
from audit.replay.columnar.kept.checked import within as _within
from audit.replay.columnar.kept.files import Broken, Content, Digest, read_arrays, write_arrays
from audit.replay.columnar.kept.gathering import TEXT_COLUMNS
from audit.replay.columnar.kept.keybook import KEY_TYPE
from audit.replay.columnar.parts import NO_CODE, Cells, Coded, DatasetPart, EventsPart, Op, Sort


class Texts(Sequence[bytes]):
    """Distinct texts in an Arrow array: none is a Python object before it is asked for."""

    def __init__(self, array: "pa.Array") -> None:
        """Of an Arrow binary array without nulls."""
        self._array = array

    def __len__(self) -> int:
        """How many there are."""
        return len(self._array)

    @overload
    def __getitem__(self, at: int) -> bytes: ...

    @overload
    def __getitem__(self, at: slice) -> "Texts": ...

    def __getitem__(self, at: "int | slice") -> "bytes | Texts":
        """One, or some of them."""
        if isinstance(at, slice):
            return Texts(self._array[at])
        text: bytes = self._array[at].as_py()
        return text

    def __iter__(self) -> Iterator[bytes]:
        """All of them."""
        return iter(self._array.to_pylist())

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """Where a text is. Raises ValueError where it is not."""
        some = self._array.slice(start, None if stop is None else max(0, stop - start))
        found: int = pc.index(some, pa.scalar(value, self._array.type)).as_py()
        if found < 0:
            raise ValueError("no such text")
        return start + found


def write_events(folder: Path, part: EventsPart) -> Digest:
    """Keep what searching needs. Raises CannotKeep."""
    arrays = {"recorded_us": pa.array(part.recorded_us), "sort": pa.array(part.sort)}
    if (part.valid_us != part.recorded_us).any():
        arrays["valid_us"] = pa.array(part.valid_us)
    for name in TEXT_COLUMNS:
        coded: Coded = getattr(part, name)
        arrays[f"codes.{name}"] = pa.array(_narrow(coded.codes, len(coded.texts)))
        arrays[f"texts.{name}"] = pa.array(list(coded.texts), pa.large_binary())
    return write_arrays(folder, f"e.{part.start}-{part.stop}.arrow", arrays, {})


def read_events(folder: Path, digest: Digest, log: int, start: int, stop: int) -> EventsPart:
    """What `write_events` kept. Raises Broken."""
    content = read_arrays(folder, digest)
    count = stop - start
    recorded_us = _numbers(content, "recorded_us", np.int64, count)
    valid_us = recorded_us
    if "valid_us" in content.arrays:
        valid_us = _numbers(content, "valid_us", np.int64, count)
    coded = []
    for name in TEXT_COLUMNS:
        texts: Any = content.arrays.get(f"texts.{name}")
        _check(digest, texts is not None)
        codes = _numbers(content, f"codes.{name}", None, count).astype(np.int32)
        _check(digest, texts.type == pa.large_binary() and are_texts(texts))
        _check(digest, _within(codes, -1, len(texts)))
        coded.append(Coded(codes, Texts(texts)))
    sort = _numbers(content, "sort", np.uint8, count)
    _check(digest, _within(sort, 0, len(Sort)))
    return EventsPart(log, start, stop, recorded_us, valid_us, sort, *coded)


def write_dataset(folder: Path, name: str, part: DatasetPart) -> Digest:
    """Keep the data events of a dataset. Raises CannotKeep."""
    arrays = {
        "offset": pa.array(part.offset),
        "recorded_us": pa.array(part.recorded_us),
        "op": pa.array(part.op),
        "whole": pa.array(part.whole.view(np.uint8)),
        "key": pa.array(part.key),
        "careful": pa.array(part.careful),
        "careful_from": pa.array(part.careful_from),
    }
    if (part.valid_us != part.recorded_us).any():
        arrays["valid_us"] = pa.array(part.valid_us)
    if part.unread.any():
        arrays["unread"] = pa.array(part.unread.view(np.uint8))
    for at, cells in enumerate(part.fields.values()):
        if len(cells.at) != part.events:
            arrays[f"at.{at}"] = pa.array(cells.at)
        arrays[f"values.{at}"] = cells.values
    about = {"fields": list(part.fields), "first": part.first, "plain_from": part.plain_from}
    return write_arrays(folder, f"d.{name}.{part.start}-{part.stop}.arrow", arrays, about)


def read_dataset(
    folder: Path, digest: Digest, log: int, start: int, stop: int, key_count: int
) -> DatasetPart:
    """What `write_dataset` kept; its keys have codes below `key_count`. Raises Broken."""
    content = read_arrays(folder, digest)
    offset = _numbers(content, "offset", np.uint32, None)
    count = len(offset)
    recorded_us = _numbers(content, "recorded_us", np.int64, count)
    valid_us, unread = recorded_us, np.zeros(count, dtype=np.bool_)
    if "valid_us" in content.arrays:
        valid_us = _numbers(content, "valid_us", np.int64, count)
    if "unread" in content.arrays:
        unread = _flags(content, "unread", count)
    about = content.about
    careful = _numbers(content, "careful", np.int32, None)
    careful_from = _numbers(content, "careful_from", np.uint32, len(careful))
    plain_from = about.get("plain_from")
    _check(digest, plain_from is None or (type(plain_from) is int and 0 <= plain_from < count))
    op = _numbers(content, "op", np.uint8, count)
    key = _numbers(content, "key", np.int32, count)
    # Nobody but a forger can have written what is refused here: the digest fits.
    _check(digest, _is_rising(offset, stop - start) and _within(op, 0, len(Op)))
    _check(digest, _within(key, NO_CODE, key_count) and _within(careful, 0, key_count))
    _check(digest, _within(careful_from, 0, count))
    return DatasetPart(
        log,
        start,
        stop,
        offset,
        recorded_us,
        valid_us,
        op,
        _flags(content, "whole", count),
        key,
        unread,
        _fields(content, digest, count),
        _first(about, digest),
        careful,
        careful_from,
        plain_from,
    )


def _fields(content: Content, digest: Digest, count: int) -> dict[str, Cells]:
    names = content.about.get("fields")
    _check(digest, isinstance(names, list))
    fields: dict[str, Cells] = {}
    everywhere = np.arange(count, dtype=np.uint32)
    for number, name in enumerate(names or ()):
        values: Any = content.arrays.get(f"values.{number}")
        _check(digest, is_text(name) and values is not None)
        at = everywhere
        if f"at.{number}" in content.arrays:
            at = _numbers(content, f"at.{number}", np.uint32, None)
        _check(digest, len(at) == len(values) and _is_rising(at, count))
        _check(digest, _is_value_type(values.type) and are_values(values))
        fields[name] = Cells(at, values)
    return fields


def _first(about: Mapping[str, Any], digest: Digest) -> dict[str, int]:
    first = about.get("first")
    _check(digest, isinstance(first, dict))
    for name, at in (first or {}).items():
        _check(digest, is_text(name) and is_count(at))
    return first or {}


def _is_value_type(type_: "pa.DataType") -> bool:
    if pa.types.is_dictionary(type_):
        return bool(type_.index_type == pa.int32() and type_.value_type in _TEXT_TYPES)
    return type_ in _VALUE_TYPES


_TEXT_TYPES = frozenset((pa.string(), pa.large_string()))
_VALUE_TYPES = _TEXT_TYPES | {
    *(pa.null(), pa.bool_(), pa.int64(), pa.float64(), pa.binary(), pa.date32()),
    *(TIME_TYPE, SPELLED),
}


def write_keys(folder: Path, name: str, start: int, stop: int, keys: "pa.Array") -> Digest:
    """Keep the new keys of a dataset. Raises CannotKeep."""
    return write_arrays(folder, f"k.{name}.{start}-{stop}.arrow", {"keys": keys}, {})


def read_keys(folder: Path, digest: Digest, count: int) -> "pa.Array":
    """What `write_keys` kept. Raises Broken."""
    keys = read_arrays(folder, digest).arrays.get("keys")
    _check(digest, keys is not None and keys.type == KEY_TYPE and len(keys) == count)
    _check(digest, are_texts(keys))
    return keys


def _numbers(content: Content, name: str, type_: Any, count: int | None) -> Any:
    array = content.arrays.get(name)
    try:
        numbers = None if array is None else array.to_numpy(zero_copy_only=True)
    except (pa.ArrowException, ValueError):
        numbers = None
    if numbers is None or (type_ is not None and numbers.dtype != type_):
        raise Broken(f"column {name[:64]} is not there, or of another type")
    if count is not None and len(numbers) != count:
        raise Broken(f"column {name[:64]} has {len(numbers)} values, not {count}")
    return numbers


def _narrow(codes: Any, count: int) -> Any:
    """Codes in no more bytes than they need."""
    return codes.astype(np.int8 if count < 2**7 else np.int16 if count < 2**15 else np.int32)


def _flags(content: Content, name: str, count: int) -> Any:
    flags = _numbers(content, name, np.uint8, count)
    if not _within(flags, 0, 2):
        raise Broken(f"column {name} holds something else than 0 and 1")
    return flags.view(np.bool_)


def _is_rising(numbers: Any, below: int) -> bool:
    """Whether each is larger than the one before, and all are below a bound."""
    if not len(numbers):
        return True
    return bool((numbers[1:] > numbers[:-1]).all()) and int(numbers[-1]) < below


def _check(digest: Digest, right: bool) -> None:
    if not right:
        raise Broken(f"{digest.name} is not built as a file of the read model")
