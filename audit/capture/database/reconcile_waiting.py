"""The changes that a ledger cannot know of yet: their keys are not judged."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, inspect, select

from audit.capture.database.events import Waiting
from audit.capture.database.purge import is_sealed
from audit.capture.database.reconcile_table import ROWS_AT_ONCE
from audit.capture.database.tables import OUTBOX, Tables, tables_of
from audit.capture.reconcile_digests import Digester
from audit.errors import Unavailable
from audit.event.types import OPERATIONS
from audit.replay.points import Cut
from audit.store.contract import Reader

MAX_WAITING_KEYS = 1_000_000
"""Keys with changes under way that are remembered; with more nothing can be told."""
WAITING, SENT, FAILED, SINCE = "waiting", "sent", "failed", "since"
"""Why a key is not judged: a change of it waits in the outbox; is with the broker, and not sealed;
was set aside; was recorded while the table was read."""


class Changing:
    """The keys with changes under way, by their digests: why each is not judged."""

    def __init__(self) -> None:
        """None."""
        self.keys: dict[bytes, str] = {}
        self.whole: str | None = None

    def add(self, digest: bytes | None, why: str) -> None:
        """A key; None: all of the dataset, as a truncate is. Raises Unavailable for too many."""
        if digest is None:
            self.whole = why if self.whole in (None, SENT) else self.whole
        elif len(self.keys) < MAX_WAITING_KEYS or digest in self.keys:
            # The last word is the surest: what was sent may be sealed, what waits is not.
            if self.keys.get(digest) in (None, SENT):
                self.keys[digest] = why
        else:
            raise Unavailable(
                f"changes of more than {MAX_WAITING_KEYS:,} keys are under way: nothing can be "
                "told yet\nrun `audit relay` until the outbox is empty, then reconcile again"
            )

    def why(self, digest: bytes) -> str | None:
        """Why a key is not judged; None for one that is."""
        return self.keys.get(digest) or self.whole

    @property
    def excuses_sent(self) -> bool:
        """Whether any key is not judged only because a broker has a change of it."""
        return self.whole == SENT or SENT in self.keys.values()

    def settle(self, keys: set[bytes]) -> None:
        """These are judged after all."""
        for digest in keys:
            self.keys.pop(digest, None)
        if self.whole == SENT and keys:
            self.whole = None


def outbox_tables(connection: Connection, schemas: Sequence[str | None]) -> Tables | None:
    """The outbox in the first of these schemas that has one; None where there is none."""
    seen = inspect(connection)
    for schema in schemas:
        wanted = tables_of(connection, schema)
        if seen.has_table(OUTBOX, wanted.outbox.schema):
            return wanted
    return None


def waiting(
    connection: Connection, found: Tables, entity_type: str, digester: Digester, into: Changing
) -> None:
    """Note the keys of a dataset with rows in the outbox. Raises Unavailable."""
    for table, why in ((found.outbox, WAITING), (found.failed, FAILED), (found.sent, SENT)):
        if not inspect(connection).has_table(table.name, table.schema):
            continue
        query = select(table.c.entity_key).where(*_changes(table, entity_type)).distinct()
        stream = connection.execution_options(stream_results=True, yield_per=ROWS_AT_ONCE)
        with stream.execute(query) as result:
            for key in result.scalars():
                # What is no text in SQLite is no key: the relay will set it aside.
                into.add(None if key is None else _digest(digester, key), why)


def _changes(table: Any, entity_type: str) -> tuple[Any, Any]:
    """The rows that change a dataset: a gap or an action of somebody leaves it as it is."""
    return table.c.entity_type == entity_type, table.c.op.in_(OPERATIONS)


def _digest(digester: Digester, key: Any) -> bytes:
    return digester.key(key if isinstance(key, str) else repr(key))


def sealed_by_now(
    connection: Connection,
    found: Tables,
    entity_type: str,
    wanted: set[bytes],
    reader: Reader,
    cut: Cut,
    digester: Digester,
) -> set[bytes]:
    """Of keys whose changes a broker has, those of which the ledger holds all at the cut.

    Acknowledged rows may be kept long after their events were sealed: they excuse nothing then.
    """
    table = found.sent
    columns = [table.c[name] for name in Waiting._fields[:-1]]
    query = select(*columns, table.c.source).where(*_changes(table, entity_type))
    stream = connection.execution_options(stream_results=True, yield_per=ROWS_AT_ONCE)
    unsealed: set[bytes] = set()
    whole = False
    with stream.execute(query) as result:
        for *values, source in result:
            row = Waiting._make([*values, False])
            digest = None if row.entity_key is None else _digest(digester, row.entity_key)
            if digest is not None and (digest not in wanted or digest in unsealed):
                continue
            if not _is_within(reader, cut, row, source):
                whole = whole or digest is None
                unsealed.add(digest or b"")
    return set() if whole else wanted - unsealed


def _is_within(reader: Reader, cut: Cut, row: Waiting, source: Any) -> bool:
    places = reader.find_event(str(row.event_id), str(source))
    return any(map(cut.holds, places)) and is_sealed(reader, row, str(source)) is True
