"""Two sets of rows compared by digests of their keys and contents, in any order, in little memory.

Each row is 32 bytes: 16 of its key, 16 of its content. No collation and no order of a database is
trusted. Beyond ROWS_IN_MEMORY they go to temporary files, in parts by the key's digest, and each
part is compared alone. The digests are keyed anew in each run: nobody can make two rows that meet.
"""

import math
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from audit.errors import Unavailable
from audit.event.times import us_of_time
from audit.event.wire import MAX_INT64, MIN_INT64

if TYPE_CHECKING:
    import numpy.typing as npt

    Records = npt.NDArray[np.uint64]
    """n rows of four words: two of the key's digest, two of the content's."""

ROWS_IN_MEMORY = 1_000_000
"""Rows of each side that are held before they go to files: 32 MB."""
PARTS = 256
"""Files of each side; one of a thousand million rows has 125 MB in each."""
DIGEST_BYTES = 16
RECORD_BYTES = 2 * DIGEST_BYTES
KEYS_AT_ONCE = 10_000
MAX_PLAIN_EXPONENT = 1_000
"""A number further from 1 is not written out."""

_AS_IT_IS = frozenset({str, int, bool, bytes, type(None)})


def canonical(value: Any) -> Any:
    """Something whose `repr` is the same for values that count as equal, and for no others.

    Numbers are equal by value, whatever type holds them: 1, 1.0 and 1.00; 0.1 as a double is the
    decimal 0.1. NaN equals NaN. Times are instants. Of objects the order of names does not count.
    """
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    if kind is float:
        return _double(value)
    if kind is Decimal:
        return _decimal(value)
    if kind is list:
        return [canonical(item) for item in value]
    if kind is dict:
        return {name: canonical(value[name]) for name in sorted(value)}
    # A tuple is none of the values of events, so it may say what kind of thing it is.
    if kind is datetime:
        return "time", us_of_time(value)
    if kind is date:
        return "date", value.toordinal()
    return "unknown", kind.__name__, repr(value)


def _double(value: float) -> Any:
    if not math.isfinite(value):
        return "number", "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if value.is_integer() and MIN_INT64 <= value <= MAX_INT64:
        return int(value)
    text = repr(value)
    return _decimal(Decimal(text)) if "e" in text else _plain(text)


def _decimal(value: Decimal) -> Any:
    if not value.is_finite():
        return "number", "nan" if value.is_nan() else "-inf" if value < 0 else "inf"
    if not value:
        return 0
    text = str(value)
    if "E" not in text:
        return _plain(text)
    if abs(value.adjusted()) <= MAX_PLAIN_EXPONENT:
        return _plain(format(value, "f"))
    sign, digits, exponent = value.as_tuple()
    written = "".join(map(str, digits))
    shortest = written.rstrip("0")
    assert isinstance(exponent, int)
    return "number", sign, shortest, exponent + len(written) - len(shortest)


def _plain(text: str) -> Any:
    """Of a number written without an exponent."""
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    return ("number", f"{whole}.{fraction}") if fraction else int(whole)


def canonical_column(values: Sequence[Any]) -> Sequence[Any]:
    """The same of many values at once."""
    if set(map(type, values)) <= _AS_IT_IS:
        return values
    return [canonical(value) for value in values]


def same(left: Any, right: Any) -> bool:
    """Whether two values count as equal."""
    return repr(canonical(left)) == repr(canonical(right))


class Digester:
    """Makes the digests of one run."""

    def __init__(self) -> None:
        """Takes a new secret."""
        self._new = partial(blake2b, digest_size=DIGEST_BYTES, key=secrets.token_bytes(32))

    def key(self, text: str) -> bytes:
        """Of a key's text, which may be no UTF-8."""
        return self._new(text.encode("utf-8", "surrogatepass")).digest()

    def keys(self, texts: Iterable[str]) -> list[bytes]:
        """Of many."""
        return [self.key(text) for text in texts]

    def contents(self, count: int, columns: Sequence[Sequence[Any]]) -> list[bytes]:
        """Of `count` rows whose cells are given column by column."""
        if not columns:
            return [bytes(DIGEST_BYTES)] * count
        new = self._new
        rows = zip(*map(canonical_column, columns), strict=True)
        return [new(repr(row).encode()).digest() for row in rows]


class Digests:
    """The digests of one side's rows. Use it in a `with` block: files go when it ends."""

    def __init__(self, rows_in_memory: int = ROWS_IN_MEMORY) -> None:
        """None yet, and no file."""
        self.count = 0
        self._most = max(1, rows_in_memory) * RECORD_BYTES
        self._held = bytearray()
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def spilled(self) -> bool:
        """Whether there are files."""
        return self._folder is not None

    def add(self, keys: Sequence[bytes], contents: Sequence[bytes]) -> None:
        """Rows, in parallel. Raises Unavailable when no file can be written."""
        self._held += b"".join(word for row in zip(keys, contents, strict=True) for word in row)
        self.count += len(keys)
        if len(self._held) >= self._most:
            self.spill()

    def spill(self) -> None:
        """Put what is held into the files. Raises Unavailable."""
        try:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="audit-reconcile-")
            records = _records(self._held)
            part = (records[:, 0] % np.uint64(PARTS)).astype(np.intp)
            order = np.argsort(part, kind="stable")
            ends = np.cumsum(np.bincount(part, minlength=PARTS))
            for number, some in enumerate(np.split(records[order], ends[:-1])):
                if len(some):
                    with open(self._path(number), "ab") as file:
                        file.write(some.tobytes())
        except OSError as error:
            raise Unavailable(
                f"cannot keep digests in {tempfile.gettempdir()}: {error.strerror}\n"
                "32 bytes a row are needed there; TMPDIR names another folder"
            ) from None
        self._held = bytearray()

    def _path(self, number: int) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / str(number)

    def part(self, number: int | None) -> "Records":
        """The rows of a part; None: all that are held. Raises Unavailable."""
        if number is None:
            return _records(self._held)
        try:
            path = self._path(number)
            return _records(path.read_bytes() if path.exists() else b"")
        except OSError as error:
            raise Unavailable(f"cannot read digests again: {error.strerror}") from None

    def close(self) -> None:
        """Delete the files. Safe to repeat."""
        self._held = bytearray()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> Self:
        """The digests themselves."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def _records(data: "bytes | bytearray") -> "Records":
    return np.frombuffer(bytes(data), dtype="<u8").reshape(-1, 4)


class Unlike(NamedTuple):
    """The keys of one part that do not fit, as rows of two words; `fit`: how many others there are.

    `different`: in both, but of another content, or of several rows on one side.
    """

    only_left: "Records"
    only_right: "Records"
    different: "Records"
    fit: int


def compare(left: Digests, right: Digests) -> Iterator[Unlike]:
    """What does not fit, part by part. Raises Unavailable."""
    if not (left.spilled or right.spilled):
        yield unlike(left.part(None), right.part(None))
        return
    left.spill()
    right.spill()
    for number in range(PARTS):
        yield unlike(left.part(number), right.part(number))


def unlike(left: "Records", right: "Records") -> Unlike:
    """What does not fit of two sets of rows."""
    rows = np.concatenate([left, right])
    is_right = np.arange(len(rows)) >= len(left)
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    rows, is_right = rows[order], is_right[order]
    begins = np.ones(len(rows), np.bool_)
    begins[1:] = (rows[1:, :2] != rows[:-1, :2]).any(axis=1)
    first = np.flatnonzero(begins)
    count = np.diff(np.append(first, len(rows)))
    alone = first[count == 1]
    pair = first[count == 2]
    fits = (rows[pair, 2:] == rows[pair + 1, 2:]).all(axis=1)
    fits &= is_right[pair] != is_right[pair + 1]
    different = np.concatenate([pair[~fits], first[count > 2]])
    on_right = is_right[alone]
    keys = rows[:, :2]
    only_left, only_right = keys[alone[~on_right]], keys[alone[on_right]]
    return Unlike(only_left, only_right, keys[different], int(fits.sum()))


def digests_of(keys: "Records") -> Iterator[bytes]:
    """The keys as `Digester.key` gives them."""
    for start in range(0, len(keys), KEYS_AT_ONCE):
        data = keys[start : start + KEYS_AT_ONCE].tobytes()
        for at in range(0, len(data), DIGEST_BYTES):
            yield data[at : at + DIGEST_BYTES]
