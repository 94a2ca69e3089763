"""Answers about datasets and rows at a point, with what they stand on."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.errors import InvalidInput
from audit.replay.known import datasets
from audit.replay.points import Cut
from audit.replay.refs import Ref, parse_entity, parse_ref
from audit.store.contract import Reader

if TYPE_CHECKING:
    import duckdb
    import pandas
    import polars
    import pyarrow

    from audit.replay.asof import RowAt
    from audit.replay.citation import Citation
    from audit.replay.outputs import Format
    from audit.replay.select import Selected, Selection, Whole


class DatasetAnswer(NamedTuple):
    """A dataset at a point, what it stands on, and what to tell who finds it empty."""

    dataset: "Selected"
    citation: "Citation"
    hint: str | None

    @property
    def cited(self) -> dict[str, Any]:
        """The citation as the outputs carry it: plain values that JSON can hold."""
        return {"entity": self.dataset.entity_type, **self.citation.to_dict()}

    def to_pandas(self) -> "pandas.DataFrame":
        """A data frame with the key as index; `attrs["audit"]` is the citation."""
        return self.dataset.frame(self.cited)

    def to_arrow(self) -> "pyarrow.Table":
        """An Arrow table, `entity_key` first; metadata `audit` of its schema is the citation."""
        from audit.replay.outputs import to_arrow

        return to_arrow(self.dataset, self.cited)

    def to_polars(self) -> "polars.DataFrame":
        """A Polars frame of the Arrow table's memory (it has no place for the citation)."""
        from audit.replay.outputs import to_polars

        return to_polars(self.dataset, self.cited)

    def to_duckdb(
        self, connection: "duckdb.DuckDBPyConnection | None" = None, name: str | None = None
    ) -> "duckdb.DuckDBPyRelation":
        """A DuckDB relation over the Arrow table, and a view `name` whose comment cites.

        Default: a new connection in memory, and the name of the dataset.
        """
        from audit.replay.outputs import to_duckdb

        return to_duckdb(self.dataset, self.cited, connection, name)

    def to(self, format: "Format" = "pandas") -> Any:
        """In one of these forms: pandas, arrow, polars, duckdb. Raises InvalidInput."""
        from audit.replay.outputs import output

        return output(self.dataset, self.cited, format)


class RowAnswer(NamedTuple):
    """One row at a point, what it stands on, and what to tell who finds nothing."""

    found: "RowAt"
    citation: "Citation"
    hint: str | None


def answer_dataset(
    reader: Reader,
    entity_type: str,
    cut: Cut,
    valid_at_us: int | None,
    wanted: "Selection",
    whole: "Whole | None" = None,
) -> DatasetAnswer:
    """A part of a dataset at a cut. `whole`: who finds all of it, default the plain replay.

    Raises NotFound, and InvalidInput for a column that it has never had.
    """
    from audit.replay.asof import hint
    from audit.replay.citation import cite
    from audit.replay.select import select

    found = select(reader, parse_entity(entity_type), cut, valid_at_us, wanted, whole)
    tell = hint(reader, entity_type, cut) if valid_at_us is None else None
    return DatasetAnswer(found, cite(reader, cut, valid_at_us), tell)


def answer_row(reader: Reader, ref: Ref, cut: Cut, valid_at_us: int | None) -> RowAnswer:
    """One row at a cut. Raises NotFound."""
    from audit.replay.asof import hint, row
    from audit.replay.citation import cite

    # The citation may build the read model, which is nothing to do in one transaction.
    with reader.steady():
        found = row(reader, ref, cut, valid_at_us)
        tell = hint(reader, ref, cut) if valid_at_us is None else None
    return RowAnswer(found, cite(reader, cut, valid_at_us), tell)


def any_ref(ref: str | Ref) -> Ref:
    """A reference in either form. Raises InvalidInput."""
    return parse_ref(ref) if isinstance(ref, str) else ref


def row_ref(ref: str | Ref) -> Ref:
    """The same, of a row. Raises InvalidInput."""
    ref = any_ref(ref)
    if not ref.is_row:
        raise InvalidInput(f"{ref} is no row of a dataset; `audit show` and `history` read it")
    return ref


DatasetAt = Callable[[str, Cut, int | None], DatasetAnswer]
"""Replays a dataset, by its name, at a cut and a valid time in microseconds."""


class Moment(Mapping[str, "pandas.DataFrame"]):
    """Dataset name -> data frame, at one cut for all; each is replayed when it is asked for."""

    def __init__(
        self, reader: Reader, cut: Cut, valid_at_us: int | None, dataset_at: DatasetAt
    ) -> None:
        """Use `Ledger.at`."""
        self.cut = cut
        self._reader = reader
        self._dataset_at = dataset_at
        self._valid_at_us = valid_at_us

    def __getitem__(self, entity_type: str) -> "pandas.DataFrame":
        """The dataset as a data frame. Raises NotFound for an unknown entity type."""
        return self._dataset_at(entity_type, self.cut, self._valid_at_us).to_pandas()

    def __contains__(self, entity_type: object) -> bool:
        """Whether the ledger has such a dataset."""
        return entity_type in datasets(self._reader)

    def __iter__(self) -> Iterator[str]:
        """The names of the datasets."""
        return iter(datasets(self._reader))

    def __len__(self) -> int:
        """How many datasets there are."""
        return len(datasets(self._reader))
