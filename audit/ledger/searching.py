"""What the ledger answers about its events: one part of `Ledger`."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from audit.errors import AuditError
from audit.replay.fastpath import FAST_FROM_ENTRIES
from audit.replay.points import AsOf, Cut

if TYPE_CHECKING:
    from audit.log.record import Record
    from audit.replay.columnar.model import ReadModel
    from audit.replay.columnar.search import Columns
    from audit.replay.events import Counted
    from audit.replay.paging import Page
    from audit.replay.query import Query
    from audit.store.contract import Reader


MAX_ENTRIES_BEHIND = 200_000
"""So much may be missing in a read model that any search asks: a second or two of building."""


class Searching:
    """The methods of `Ledger` that find events by a query (see `audit.replay.query`).

    Which entries are looked at is told by the store's indexes and by the read model, where there is
    one; what is given out was judged by its leaf. `scan=True` asks no read model, and decodes
    whatever the store's indexes do not rule out.
    """

    reader: "Reader"

    if TYPE_CHECKING:  # what the ledger itself brings

        def now_us(self) -> int:
            """See `Ledger.now_us`."""

        def cut(self, as_of: AsOf | Cut = None) -> Cut:
            """See `Ledger.cut`."""

        @property
        def read_model(self) -> ReadModel | None:
            """See `Ledger.read_model`."""

    def _columns(self, query: "Query") -> "Columns | None":
        """The read model, where it is worth asking; asking brings it up to the log.

        So it is when little is missing in it, or when the other way is to decode all entries; where
        it is enough to walk through the leaves once, looking for some bytes, that is less work.
        """
        try:
            model = self.read_model
            if model is None:
                return None
            states = model.state()
        except (AuditError, ImportError):
            return None
        if sum(state.size for state in states) < FAST_FROM_ENTRIES:
            return None
        behind = sum(max(0, state.size - state.sealed) for state in states)
        return model if behind <= MAX_ENTRIES_BEHIND or query.costly else None

    def events(
        self,
        query: str = "",
        as_of: AsOf | Cut = None,
        newest_first: bool = False,
        limit: int | None = None,
        since: Mapping[int, int] | None = None,
        *,
        scan: bool = False,
    ) -> "Iterator[Record]":
        """The records that a query fits, oldest first.

        `since`: log -> size; only what came after. `content` reads what a record's event says.
        """
        from audit.replay.events import events
        from audit.replay.query import parse_query

        return events(
            self.reader,
            parse_query(query, self.now_us()),
            self.cut(as_of),
            newest_first,
            limit,
            since,
            columns=self._columns,
            scan=scan,
        )

    def page(
        self,
        query: str = "",
        as_of: AsOf | Cut = None,
        *,
        after: str | None = None,
        limit: int = 100,
        newest_first: bool = True,
        scan: bool = False,
    ) -> "Page":
        """At most `limit` records that a query fits, newest first, and the token of what follows.

        `after`: the token (`Page.next`) of the page before, given with the same query, point and
        order: the pages are of one answer, whatever is written in between. Raises InvalidInput for
        a token that is none or another answer's; LimitExceeded for more than 10,000 records.
        """
        from audit.replay.paging import page

        cut, now_us = self.cut(as_of), self.now_us()
        return page(
            self.reader, query, cut, now_us, after, limit, newest_first, self._columns, scan
        )

    def count(self, query: str = "", as_of: AsOf | Cut = None, *, scan: bool = False) -> "Counted":
        """How many records a query fits, exactly: `number`, of it `by_columns` without a leaf."""
        from audit.replay.events import count_events
        from audit.replay.query import parse_query

        parsed = parse_query(query, self.now_us())
        return count_events(self.reader, parsed, self.cut(as_of), self._columns, scan)
