"""Answers about datasets and rows at a point, with what they stand on."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from audit.errors import InvalidInput
from audit.replay.known import datasets
from audit.replay.points import Cut
from audit.replay.refs import Ref, parse_entity, parse_ref
from audit.store.contract import Reader

if TYPE_CHECKING:
    import pandas

    from audit.replay.asof import Dataset, RowAt
    from audit.replay.citation import Citation


class DatasetAnswer(NamedTuple):
    """A dataset at a point, what it stands on, and what to tell who finds it empty."""

    dataset: "Dataset"
    citation: "Citation"
    hint: str | None


class RowAnswer(NamedTuple):
    """One row at a point, what it stands on, and what to tell who finds nothing."""

    found: "RowAt"
    citation: "Citation"
    hint: str | None


def answer_dataset(
    reader: Reader, entity_type: str, cut: Cut, valid_at_us: int | None, columns: str
) -> DatasetAnswer:
    """A dataset at a cut. Raises NotFound, and InvalidInput for an unknown mode of columns."""
    from audit.replay.asof import dataset, hint
    from audit.replay.citation import cite
    from audit.replay.columns import ColumnMode

    if columns not in set(ColumnMode):
        raise InvalidInput(f"columns are then, latest or union, not {columns!r:.40}")
    found = dataset(reader, parse_entity(entity_type), cut, valid_at_us, ColumnMode(columns))
    tell = hint(reader, entity_type, cut) if valid_at_us is None else None
    return DatasetAnswer(found, cite(reader, cut, valid_at_us), tell)


def answer_row(reader: Reader, ref: Ref, cut: Cut, valid_at_us: int | None) -> RowAnswer:
    """One row at a cut. Raises NotFound."""
    from audit.replay.asof import hint, row
    from audit.replay.citation import cite

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


def frame_of(answer: DatasetAnswer) -> "pandas.DataFrame":
    """The answer as a data frame that carries its citation."""
    from audit.replay.frame import build_frame

    found = answer.dataset
    citation = {"entity": found.entity_type, **answer.citation.to_dict()}
    return build_frame(found.rows(), found.columns, citation)


class Moment(Mapping[str, "pandas.DataFrame"]):
    """Dataset name -> data frame, at one cut for all; each is replayed when it is asked for."""

    def __init__(self, reader: Reader, cut: Cut, valid_at_us: int | None) -> None:
        """Use `Ledger.at`."""
        self.cut = cut
        self._reader = reader
        self._valid_at_us = valid_at_us

    def __getitem__(self, entity_type: str) -> "pandas.DataFrame":
        """The dataset as a data frame. Raises NotFound for an unknown entity type."""
        answer = answer_dataset(self._reader, entity_type, self.cut, self._valid_at_us, "union")
        return frame_of(answer)

    def __contains__(self, entity_type: object) -> bool:
        """Whether the ledger has such a dataset."""
        return entity_type in datasets(self._reader)

    def __iter__(self) -> Iterator[str]:
        """The names of the datasets."""
        return iter(datasets(self._reader))

    def __len__(self) -> int:
        """How many datasets there are."""
        return len(datasets(self._reader))
