"""Datasets compared with the live tables that they tell of: one part of `Ledger`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from audit.errors import AuditError, InvalidInput
from audit.replay.points import AsOf, Cut

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from audit.capture.reconciled import Reconciled
    from audit.store.contract import Reader


class Reconciling:
    """The method of `Ledger` about completeness of capture."""

    reader: "Reader"
    url: str

    if TYPE_CHECKING:  # what the ledger itself brings

        def cut(self, as_of: AsOf | Cut = None) -> Cut:
            """See `Ledger.cut`."""

    def reconcile(
        self,
        entity_type: str,
        against: "str | Engine",
        *,
        table: str | None = None,
        schema: str | None = None,
        outbox_schema: str | None = None,
        leave_out: Sequence[str] = (),
        columns: Sequence[str] | None = None,
        as_of: AsOf | Cut = None,
        values: bool = False,
        limit: int = 100,
        record: bool = True,
        progress: Callable[[int, int], object] | None = None,
    ) -> "Reconciled":
        """Compare a dataset with its live table, key by key and by content: what capture missed.

        `against`: the application's database, as a URL or an SQLAlchemy Engine. `table`: default
        the one captured by triggers as this, else the entity type. Keys with changes under way (in
        the outbox, set aside, not sealed yet) are `pending`, not differences. `leave_out`: columns
        that capture leaves out, beside those that its triggers leave out; `columns`: only these.
        `as_of`: the dataset at a point, for a copy of the database of then. `values`: say in which
        values keys differ. `limit`: keys listed of each kind. `record`: seal an event with the
        counts, never a key or a value; where that is impossible `remarks` says so.
        Raises InvalidInput, Unavailable.
        """
        from audit.capture.database.connect import open_database
        from audit.capture.database.reconcile import Asked, reconcile

        for names in (leave_out, columns):
            if isinstance(names, str):
                raise InvalidInput("columns are given as a list, also when it is only one")
        aside, only = tuple(leave_out), None if columns is None else tuple(columns)
        asked = Asked(entity_type, table, schema, outbox_schema, aside, only, values, limit)
        cut = None if as_of is None else self.cut(as_of)
        engine = open_database(against) if isinstance(against, str) else against
        try:
            found = reconcile(self.reader, engine, asked, cut, progress)
        finally:
            if isinstance(against, str):
                engine.dispose()
        return self._recorded(found) if record else found

    def _recorded(self, found: "Reconciled") -> "Reconciled":
        from audit.ledger.appending import append_built
        from audit.ledger.open import BUNDLE_SCHEME

        if self.url.startswith(BUNDLE_SCHEME):
            return found  # nobody expects a bundle to be written to
        built = found.event()
        try:
            remark = append_built(self.url, [built]).remark
        except AuditError as error:
            reason = str(error).partition("\n")[0]
            return found._replace(remarks=(*found.remarks, f"this was not recorded: {reason}"))
        remarks = found.remarks if remark is None else (*found.remarks, remark)
        return found._replace(recorded=built.event.event_id, remarks=remarks)
