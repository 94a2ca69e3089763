"""Which keys do not fit, and in which fields: what is read a second time."""

import heapq
from typing import TYPE_CHECKING

from audit.capture.database.reconcile_sides import ROWS_AT_ONCE, Sides
from audit.capture.database.reconcile_waiting import SINCE, Changing
from audit.capture.reconcile_digests import digests_of, same
from audit.capture.reconciled import Different, Pending
from audit.replay.fold import Row

if TYPE_CHECKING:
    from audit.capture.reconcile_digests import Records

MAX_KEYS_REMEMBERED = 1_000_000
"""Digests of keys that do not fit which are kept of each kind; beyond they are only counted, and
the listed ones are the first of those kept."""


class Misfits:
    """Digests of the keys that do not fit, sorted by what is wrong; `counts` of all of them."""

    def __init__(self) -> None:
        """None yet."""
        self.counts = {"missing": 0, "extra": 0, "different": 0, "pending": 0}
        self.keys: dict[str, set[bytes]] = {name: set() for name in self.counts}
        self.why: dict[bytes, str] = {}

    def _add(self, what: str, digest: bytes, why: str | None) -> None:
        what = what if why is None else "pending"
        self.counts[what] += 1
        if len(self.keys[what]) < MAX_KEYS_REMEMBERED:
            self.keys[what].add(digest)
            if why is not None:
                self.why[digest] = why

    def take(self, keys: "Records", what: str, changing: Changing) -> None:
        """Keys that are `what`, unless a change of theirs is under way."""
        if changing.keys or changing.whole:
            for digest in digests_of(keys):
                self._add(what, digest, changing.why(digest))
        else:
            self.counts[what] += len(keys)
            room = MAX_KEYS_REMEMBERED - len(self.keys[what])
            self.keys[what].update(digests_of(keys[: max(0, room)]))


Lists = tuple[
    tuple[str, ...], tuple[str, ...], tuple[Different, ...], tuple[Pending, ...]
]  # missing, extra, different, pending


class Details:
    """The second reading: which keys they are, and in which fields they differ."""

    def __init__(self, sides: Sides, misfits: Misfits, limit: int, values: bool) -> None:
        """`limit`: most keys of each kind; `values`: keep them where keys differ."""
        self.values = values
        self.sides, self.keys, self.why = sides, misfits.keys, misfits.why
        self.limit = limit
        self.extra: list[str] = []
        self.missing = _Smallest(self.limit)
        self.pending = _Smallest(self.limit)
        self.of_log: dict[bytes, tuple[str, Row]] = {}
        self.different: dict[str, Different] = {}
        self.why_of: dict[str, str] = {}

    def read(self) -> Lists:
        """Read both sides as far as needed: missing, extra, different, pending."""
        keys = self.keys
        if self.limit and (keys["extra"] or keys["different"] or keys["pending"]):
            self._read_log()
        if self.limit and (keys["missing"] or keys["different"] or keys["pending"]):
            self._read_table()
        shown_last = self.pending.sorted()
        return (
            tuple(self.missing.sorted()),
            tuple(self.extra),
            tuple(self.different[key] for key in sorted(self.different, key=_bytes)),
            tuple(Pending(key, self.why_of[key]) for key in shown_last),
        )

    def _note_pending(self, key: str, digest: bytes) -> None:
        self.why_of[key] = self.why.get(digest, SINCE)
        self.pending.add(key)

    def _read_log(self) -> None:
        """Keys come in order here: the first are the smallest."""
        left = len(self.keys["pending"])
        for keys, rows in self.sides.log_blocks():
            for key, row, digest in zip(keys, rows, self.sides.digester.keys(keys), strict=True):
                if digest in self.keys["extra"]:
                    if len(self.extra) < self.limit:
                        self.extra.append(key)
                elif digest in self.keys["different"]:
                    if len(self.of_log) < self.limit:
                        self.of_log[digest] = key, row
                elif digest in self.keys["pending"]:
                    left -= 1
                    self._note_pending(key, digest)
            self.sides.tell(len(keys))
            done = len(self.extra) >= min(self.limit, len(self.keys["extra"]))
            done = done and len(self.of_log) >= min(self.limit, len(self.keys["different"]))
            if done and not left:
                return

    def _read_table(self) -> None:
        sides = self.sides
        # Keys of several rows that the log has none of: there is only the table to name them.
        for block in sides.table.blocks(sides.columns):
            for at, digest in enumerate(sides.digester.keys(block.keys)):
                key = block.keys[at]
                if digest in self.keys["missing"]:
                    self.missing.add(key)
                elif digest in self.keys["different"]:
                    cells = [column[at] for column in block.columns]
                    self._differ(digest, key, dict(zip(sides.columns, cells, strict=True)))
                elif digest in self.keys["pending"]:
                    self._note_pending(key, digest)
            self.sides.tell(len(block.keys))

    def _differ(self, digest: bytes, key: str, cells: Row) -> None:
        found = self.of_log.get(digest)
        if found is None:
            if len(self.of_log) + len(self.different) < self.limit:
                self.different[key] = Different(key, ())
            return
        row = found[1]
        fields = [
            name
            for name in self.sides.columns
            if not same(*self.sides.table.comparable(name, (row.get(name), cells[name])))
        ]
        if self.values:
            log = {name: row.get(name) for name in fields}
            table = {name: cells[name] for name in fields}
            self.different[key] = Different(key, tuple(fields), log, table)
        else:
            self.different[key] = Different(key, tuple(fields))


class _Smallest:
    """The smallest keys of many, in byte order."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._keys: set[str] = set()

    def add(self, key: str) -> None:
        self._keys.add(key)
        if len(self._keys) > 2 * self._limit + ROWS_AT_ONCE:
            self._keys = set(heapq.nsmallest(self._limit, self._keys, key=_bytes))

    def sorted(self) -> list[str]:
        return heapq.nsmallest(self._limit, self._keys, key=_bytes)


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")
