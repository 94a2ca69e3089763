"""Reading a ledger from SQL: the `Reader` contract over any database SQLAlchemy speaks to.

Long readings go in blocks by key, each a short query of its own: no read transaction stays open, a
reader that stops in the middle leaves nothing behind, and memory is flat.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from operator import itemgetter
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Engine, Select, func, select

from audit.errors import NotFound, StoreCorrupt
from audit.store import tables
from audit.store.contract import (
    Counts,
    Located,
    LogInfo,
    OfRow,
    StoredCheckpoint,
    StoredEntry,
)
from audit.store.database import Database
from audit.store.seam import byte_column, fetched, storable, translate
from audit.store.soundness import defects, refuse
from audit.store.sql_tiles import MIN_INDEX, SqlTiles
from audit.store.statements import OWN, POSITION, Statements
from audit.tlog.hashing import HASH_BYTES, leaf_hash
from audit.tlog.merkle import TILE_WIDTH

BLOCK_ROWS = 4_096
"""Rows fetched at once when reading entries in order."""
FETCH_INDEXES = 500
"""Entries fetched at once when reading scattered ones."""
FEW_INDEXES = 3
"""Entries fetched one by one."""
MAX_INDEX = 2**63 - 1

_entries = tables.entries.c
_STORED = tuple(_entries[name] for name in ("index", "leaf")) + tuple(
    column for column in _entries if column.name not in ("log", "index", "leaf")
)


class SqlReader(SqlTiles):
    """One ledger in one SQL database. See `contract.Reader`."""

    complete = True

    def __init__(self, engine: Engine, address: str, database: Database) -> None:
        """Take an engine that is ready to use; it is disposed of by `close`."""
        self.address = address
        self._engine = engine
        self._database = database
        statements = Statements(engine, address, database)
        self._ask = statements.ask
        self._connected = statements.connected
        self._steady = statements.steady
        self._within = statements.within

    def steady(self) -> AbstractContextManager[None]:
        """See `contract.Reader.steady`."""
        return self._steady()

    def _rows(self, query: Select[Any]) -> list[tuple[Any, ...]]:
        with translate(self.address), self._connected() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def logs(self) -> list[LogInfo]:
        """See `contract.Reader.logs`; a log that has entries but no row comes with empty names."""
        named: dict[int, LogInfo] = {}
        for log, origin, vkey in self._ask("logs"):
            if origin is not None or log not in named:
                named[_log(log)] = LogInfo(log, origin or "", vkey or "")
        return [named[number] for number in sorted(named)]

    def size(self, log: int) -> int:
        """See `contract.Reader.size`."""
        return _size(self._ask("newest", log=log)[0][0])

    def sizes(self) -> dict[int, int]:
        """See `contract.Reader.sizes`."""
        found = {_log(log): _size(newest) for log, newest in self._ask("sizes")}
        return dict(sorted(found.items()))

    def leaf(self, log: int, index: int) -> bytes:
        """See `contract.Reader.leaf`."""
        for (leaf,) in self._ask("leaf", log=log, index=index):
            return byte_column(leaf)
        raise NotFound(f"no entry {log}/{index} in {self.address}")

    def leaves(self, log: int, start: int = 0, stop: int | None = None) -> Iterator[Located]:
        """See `contract.Reader.leaves`."""
        stop = MAX_INDEX if stop is None else stop
        while start < stop:
            block = self._ask("leaves", log=log, start=start, stop=stop, most=BLOCK_ROWS)
            yield from map(Located._make, block)
            if len(block) < BLOCK_ROWS:
                return
            start = block[-1][0] + 1

    def stored_entries(
        self, log: int, start: int = 0, stop: int | None = None
    ) -> Iterator[Sequence[StoredEntry]]:
        """See `contract.Reader.stored_entries`; start 0 also gives rows below 0, if any."""
        first = MIN_INDEX if start == 0 else start
        yield from self._blocks(_STORED, log, first, stop)

    def _blocks(
        self, columns: Sequence[Any], log: int, start: int, stop: int | None
    ) -> Iterator[Sequence[Any]]:
        stop = MAX_INDEX if stop is None else stop
        while start < stop:
            query = (
                select(*columns)
                .where(_entries.log == log, _entries.index >= start, _entries.index < stop)
                .order_by(_entries.index)
                .limit(BLOCK_ROWS)
            )
            with translate(self.address), self._connected() as connection:
                block = fetched(connection.execute(query))
            if block:
                yield block
            if len(block) < BLOCK_ROWS:
                return
            start = block[-1][0] + 1

    def size_at(self, log: int, recorded_time_us: int) -> int:
        """See `contract.Reader.size_at`."""
        with translate(self.address), self._connected() as connection:
            index = self._database.newest_at(connection, log, recorded_time_us)
        return 0 if index is None else index + 1

    def find_event(self, event_id: str, source: str | None = None) -> list[tuple[int, int]]:
        """See `contract.Reader.find_event`."""
        own_id = event_id.encode(errors="surrogatepass")
        if source is None:
            rows = self._ask("of_id", event_id=own_id)
        else:
            own_source = source.encode(errors="surrogatepass")
            rows = self._ask("of_id_and_source", event_id=own_id, source=own_source)
        return [(log, index) for log, index in rows]

    def find_leaf_hash(self, prefix_hex: str, limit: int = 10) -> list[tuple[int, int]]:
        """See `contract.Reader.find_leaf_hash`. Scans: 32 bytes an entry from tiles, then the tail.

        Hashes are not indexed: random keys would cost every append more than this rare question.
        """
        prefix_hex = prefix_hex.lower()
        found: list[tuple[int, int]] = []
        for info in self.logs():
            for index, leaf_hash_ in self._leaf_hashes(info.log):
                if leaf_hash_.hex().startswith(prefix_hex):
                    found.append((info.log, index))
                    if len(found) >= limit:
                        return found
        return found

    def _leaf_hashes(self, log: int) -> Iterator[tuple[int, bytes]]:
        done = 0
        for tile in self.tiles(log):
            if tile.level or tile.index * TILE_WIDTH != done:
                break
            for at in range(0, len(tile.data), HASH_BYTES):
                yield done + at // HASH_BYTES, tile.data[at : at + HASH_BYTES]
            done += TILE_WIDTH
        for index, leaf in self.leaves(log, done):
            yield index, leaf_hash(leaf)

    def entity(
        self,
        log: int,
        entity_type: str,
        entity_key: str | None = None,
        stop: int | None = None,
        start: int = 0,
    ) -> Iterator[Located]:
        """See `contract.Reader.entity`."""
        if not storable(entity_type):
            return iter(())
        values: dict[str, Any] = {"entity_type": entity_type}
        if entity_key is None and stop is not None and stop - start <= BLOCK_ROWS:
            rows = self._ask("of_type_between", log=log, start=start, stop=stop, **values)
            return map(Located._make, rows)
        question = "of_type"
        if entity_key is not None:
            values["entity_key"] = entity_key.encode(errors="surrogatepass")
            question = "of_key"
        if start > 0:
            values["start"] = start
            question += "_from"
        return self._found(question, log, stop, **values)

    def keyless(self, log: int, entity_type: str, stop: int | None = None) -> Iterator[Located]:
        """See `contract.Reader.keyless`."""
        if not storable(entity_type):
            return iter(())
        return self._found("keyless", log, stop, entity_type=entity_type)

    def of_row(self, log: int, entity_type: str, entity_key: str, stop: int | None = None) -> OfRow:
        """See `contract.Reader.of_row`: in one statement, unless they are many."""
        if not storable(entity_type):
            return OfRow([], [])
        key = entity_key.encode(errors="surrogatepass")
        found, is_all = self._first("of_row", log, stop, entity_type=entity_type, entity_key=key)
        own = [Located(index, leaf) for index, mark, leaf in found if mark == OWN]
        keyless = [Located(index, leaf) for index, mark, leaf in found if mark != OWN]
        if not is_all:
            start = found[-1][0] + 1
            own += self.entity(log, entity_type, entity_key, stop, start)
            keyless += (one for one in self.keyless(log, entity_type, stop) if one.index >= start)
        return OfRow(own, keyless)

    def _first(
        self, question: str, log: int, stop: int | None, **values: Any
    ) -> tuple[list[tuple[Any, ...]], bool]:
        """The first that a question finds, with their leaves, in log order; and whether it is all.

        At least one, where it is not.
        """
        stop = MAX_INDEX if stop is None else stop
        rows = self._ask(question, log=log, stop=stop, most=FETCH_INDEXES, **values)
        # Without a leaf, too: whoever reads it says that it is none.
        return sorted(rows, key=itemgetter(0)), len(rows) < FETCH_INDEXES

    def _found(self, question: str, log: int, stop: int | None, **values: Any) -> Iterator[Located]:
        stop = MAX_INDEX if stop is None else stop
        # First the indexes alone, from the covering index: the leaves would not fit the sorter.
        rows = self._ask(question, log=log, stop=stop, **values)
        return self.leaves_at(log, [row[0] for row in rows])

    def leaves_at(self, log: int, indexes: Sequence[int]) -> Iterator[Located]:
        """See `contract.Reader.leaves_at`."""
        if len(indexes) <= FEW_INDEXES:
            for index in indexes:
                for (leaf,) in self._ask("leaf", log=log, index=index):
                    yield Located(index, leaf)
            return
        for at in range(0, len(indexes), FETCH_INDEXES):
            with translate(self.address), self._connected() as connection:
                part = indexes[at : at + FETCH_INDEXES]
                found = self._database.leaves_at(connection, log, part)
            yield from map(Located._make, found)

    def entity_keys(self, log: int, entity_type: str, stop: int | None = None) -> Iterator[str]:
        """See `contract.Reader.entity_keys`."""
        if not storable(entity_type):
            return
        query = (
            select(_entries.entity_key)
            .where(_entries.log == log, _entries.entity_type == entity_type)
            .where(_entries.entity_key.is_not(None))
            .distinct()
            .order_by(_entries.entity_key)
        )
        if stop is not None:
            query = query.where(stop > POSITION)
        for (key,) in self._rows(query):
            yield byte_column(key).decode(errors="surrogateescape")

    def entity_types(self, log: int, stop: int | None = None) -> list[str]:
        """See `contract.Reader.entity_types`: a loose index scan, one seek a type."""
        names = sorted(name for (name,) in self._ask("types", log=log))
        if stop is None:
            return names
        return [
            name
            for name in names
            if self._ask("first_of_type", log=log, entity_type=name, stop=stop)
        ]

    def special(
        self, log: int, stop: int | None = None, kind: int | None = None, start: int = 0
    ) -> Iterator[Located]:
        """See `contract.Reader.special`."""
        if start > 0:
            if kind is None:
                return self._found("special_from", log, stop, start=start)
            return self._found("special_of_kind_from", log, stop, kind=kind, start=start)
        if kind is None:
            return self._found("special", log, stop)
        found, is_all = self._first("first_special_of_kind", log, stop, kind=kind)
        if is_all:
            return iter([Located(index, leaf) for index, _, leaf in found])
        return self._found("special_of_kind", log, stop, kind=kind)

    def counts(self, log: int, stop: int | None = None) -> Counts:
        """See `contract.Reader.counts`."""
        query = (
            select(_entries.kind, func.count())
            .where(self._database.beside_key(_entries.log) == log)
            .where(tables.SPECIAL)
            .group_by(_entries.kind)
        )
        size = self.size(log) if stop is None else min(stop, self.size(log))
        if stop is not None:
            query = query.where(size > POSITION)
        by_kind = {kind: count for kind, count in self._rows(query)}
        schemas, control, quarantined = (by_kind.get(kind, 0) for kind in (0, 1, 2))
        return Counts(size, size - schemas - control - quarantined, schemas, control, quarantined)

    def newest_checkpoint(self, log: int) -> StoredCheckpoint | None:
        """See `contract.Reader.newest_checkpoint`."""
        rows = self._ask("newest_checkpoint", log=log)
        return StoredCheckpoint(*rows[0]) if rows else None

    def covering_checkpoint(self, log: int, size: int) -> StoredCheckpoint | None:
        """See `contract.Reader.covering_checkpoint`."""
        rows = self._ask("covering", log=log, size=size)
        return StoredCheckpoint(*rows[0]) if rows else None

    def checkpoints(self, log: int, start_size: int = 0) -> Iterator[StoredCheckpoint]:
        """See `contract.Reader.checkpoints`; start 0 also gives rows below 0, if any."""
        columns = tables.checkpoints.c
        least = MIN_INDEX if start_size == 0 else start_size
        while True:
            query = (
                select(columns.size, columns.note)
                .where(columns.log == log, columns.size >= least)
                .order_by(columns.size)
                .limit(BLOCK_ROWS)
            )
            block = self._rows(query)
            yield from map(StoredCheckpoint._make, block)
            if len(block) < BLOCK_ROWS:
                return
            least = block[-1][0] + 1

    def warnings(self) -> list[tuple[str, str]]:
        """See `contract.Reader.warnings`."""
        with translate(self.address), self._connected() as connection:
            return self._database.check_guards(connection)

    def defects(self) -> list[tuple[str, str]]:
        """See `contract.Reader.defects`."""
        with translate(self.address), self._connected() as connection:
            return defects(self._database.schema_faults(connection))

    def index_defects(self) -> list[tuple[str, str]]:
        """See `contract.Reader.index_defects`."""
        with translate(self.address), self._connected() as connection:
            faults = self._database.index_faults(connection)
            return [("index_differs", fault) for fault in faults]

    def require_sound(self) -> None:
        """Raise StoreCorrupt unless the store is built as a ledger is, and names each log once."""
        with translate(self.address), self._connected() as connection:
            faults = self._database.schema_faults(connection)
        if not faults:
            origins = [info.origin for info in self.logs()]
            faults = [f"two logs are named {o}" for o in set(origins) if origins.count(o) > 1]
        refuse(self.address, faults)

    def close(self) -> None:
        """See `contract.Reader.close`."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        """Use as a context manager: closes at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def _size(newest: object) -> int:
    """The size of a log whose newest index is this; None: it has none."""
    if newest is not None and type(newest) is not int:
        raise StoreCorrupt(f"the index of an entry is {type(newest).__name__}; run audit verify")
    return 0 if newest is None else max(0, newest + 1)


def _log(number: object) -> int:
    """The number of a log, as a column of a hostile file gives it."""
    if type(number) is not int:
        raise StoreCorrupt(f"the number of a log is {type(number).__name__}; run audit verify")
    return number
