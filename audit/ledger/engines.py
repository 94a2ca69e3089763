"""How other engines get at a ledger: SQL right here, and Parquet. One part of `Ledger`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from audit.errors import AuditError, InvalidInput
from audit.replay.fastpath import FAST_FROM_ENTRIES
from audit.replay.points import AsOf, Cut

if TYPE_CHECKING:
    from datetime import date, datetime

    from audit.ledger.answers import DatasetAnswer
    from audit.ledger.export.write import ExportResult
    from audit.ledger.sql.engine import Kept, SqlAnswer
    from audit.replay.columnar.kept.model import ReadModel
    from audit.store.contract import Reader


class Exporting(NamedTuple):
    """What an export holds now; `unsigned_because` is None when its manifest is signed."""

    result: "ExportResult"
    unsigned_because: str | None


class Engines:
    """The methods of `Ledger` that other engines are served with."""

    reader: "Reader"
    url: str

    if TYPE_CHECKING:  # what the ledger itself brings

        def now_us(self) -> int:
            """See `Ledger.now_us`."""

        def cut(self, as_of: AsOf | Cut = None) -> Cut:
            """See `Ledger.cut`."""

        def datasets(self) -> list[str]:
            """See `Ledger.datasets`."""

        @property
        def read_model(self) -> ReadModel | None:
            """See `Ledger.read_model`."""

        def dataset(
            self,
            entity_type: str,
            as_of: AsOf | Cut = None,
            valid_at: "str | datetime | date | None" = None,
        ) -> DatasetAnswer:
            """See `Ledger.dataset`."""

    def _model(self) -> "ReadModel | None":
        """The read model, where it is worth asking; asking builds it, as replay does."""
        try:
            model = self.read_model
            if model is None or not self.reader.complete:
                return None
            size = sum(state.size for state in model.state())
        except (AuditError, ImportError):
            return None
        return model if size >= FAST_FROM_ENTRIES else None

    def sql(
        self,
        statement: str,
        as_of: AsOf | Cut = None,
        *,
        memory: str | None = None,
        threads: int | None = None,
        kept: "Kept | None" = None,
    ) -> "SqlAnswer":
        """Run one SELECT over the ledger in DuckDB; `.df()` or `.arrow()` gives the rows.

        Tables: `events`, `signed_records`, each dataset as of the point, and `asof('user', T)` or
        `asof('user', T, V)`. `memory`: for instance 2GB. Raises InvalidInput, LimitExceeded,
        Unavailable (no DuckDB), StoreCorrupt.
        """
        from audit.ledger.sql.engine import Sources, limits, run_sql
        from audit.replay.citation import cite

        cut = self.cut(as_of)

        def dataset(entity: str, point: str | None, valid_at: str | None) -> "DatasetAnswer":
            return self.dataset(entity, cut if point is None else point, valid_at)

        cited = cite(self.reader, cut)
        sources = Sources(self.reader, cut, cited, self.datasets(), dataset, self._model)
        return run_sql(statement, sources, limits(memory, threads), kept)

    def export(
        self,
        to: str,
        query: str = "",
        as_of: AsOf | Cut = None,
        *,
        entities: Sequence[str] | None = None,
        leaves: bool = True,
        sign: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> Exporting:
        """Write Parquet files for other engines into a folder or a URL that fsspec knows.

        `query`: only what fits it; `entities`: only these datasets. `leaves`: with each entry's
        exact bytes, so that all columns can be checked. An export of the same that is there already
        is extended. Signed when this process has the ledger's key. Raises InvalidInput,
        StoreCorrupt, Unavailable.
        """
        from audit.ledger.export.manifest import Selection
        from audit.ledger.export.place import open_place
        from audit.ledger.export.signed import SigningKey, signing_key
        from audit.ledger.export.write import export
        from audit.replay.known import require_dataset

        if isinstance(entities, str):
            raise InvalidInput("entities are given as a list, also when it is only one")
        wanted = None if entities is None else tuple(sorted(set(entities)))
        for entity in wanted or ():
            require_dataset(self.reader, entity)
        key = signing_key(self.reader, self.url) if sign else SigningKey(None, "as asked for")
        result = export(
            self.reader,
            open_place(to),
            self.cut(as_of),
            Selection(query, wanted, leaves),
            self.now_us(),
            key.signer,
            progress,
        )
        signed = result.manifest.note is not None
        return Exporting(result, None if signed else key.why_not or "it was not signed before")
