"""What the ledger answers about datasets and rows in the past: one part of `Ledger`."""

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal, overload

from audit.errors import InvalidInput
from audit.ledger.answers import (
    DatasetAnswer,
    Moment,
    RowAnswer,
    answer_dataset,
    answer_row,
    any_ref,
    row_ref,
)
from audit.replay.points import AsOf, Cut, time_of
from audit.replay.refs import Ref, is_ref, parse_entity

if TYPE_CHECKING:
    import duckdb
    import pandas
    import polars
    import pyarrow

    from audit.ledger.checks import Checked
    from audit.replay.blame import Blame, Cell
    from audit.replay.diff import RowChange
    from audit.replay.diff_steps import RowStep
    from audit.replay.fold import Row
    from audit.replay.history import Version
    from audit.replay.outputs import Format
    from audit.replay.select import Whole
    from audit.store.contract import Reader
    from audit.verify.given import GivenPolicy
    from audit.verify.policy import Policy

When = str | datetime | date | None
"""A time on the valid axis; None: the recorded axis is asked for."""
Columns = str | Iterable[str]
"""then, latest or union; or the names of columns, in the order that they are to have."""


class Replaying:
    """The methods of `Ledger` about datasets and rows. Points are explained there."""

    reader: "Reader"

    if TYPE_CHECKING:  # what the ledger itself brings

        def now_us(self) -> int:
            """See `Ledger.now_us`."""

        def cut(self, as_of: AsOf | Cut = None) -> Cut:
            """See `Ledger.cut`."""

        def _trusted(self, policy: GivenPolicy | None) -> Policy | None: ...

    def _valid_us(self, valid_at: When) -> int | None:
        return None if valid_at is None else time_of(valid_at, self.now_us())

    def _whole(self, entity_type: str, cut: Cut, valid_at_us: int | None) -> "Whole | None":
        """Who finds a whole dataset; None: the plain replay."""
        return None

    def at(self, as_of: AsOf, valid_at: When = None) -> Moment:
        """All datasets at one point: `ledger.at(T)["user"]` is a data frame."""
        return Moment(self.reader, self.cut(as_of), self._valid_us(valid_at), self._dataset_at)

    def datasets(self) -> list[str]:
        """The entity types that are datasets, sorted."""
        from audit.replay.known import datasets

        return datasets(self.reader)

    def _dataset_at(
        self,
        entity_type: str,
        cut: Cut,
        valid_us: int | None,
        columns: Columns = "union",
        keys: Iterable[Any] | None = None,
        filters: object = None,
    ) -> DatasetAnswer:
        from audit.replay.select import selection

        wanted = selection(columns, keys, filters)
        whole = self._whole(entity_type, cut, valid_us)
        return answer_dataset(self.reader, entity_type, cut, valid_us, wanted, whole)

    def dataset(
        self,
        entity_type: str,
        as_of: AsOf | Cut = None,
        valid_at: When = None,
        columns: Columns = "union",
        *,
        keys: Iterable[Any] | None = None,
        filters: object = None,
    ) -> DatasetAnswer:
        """A dataset at a point: its rows, and `to_pandas()`, `to_arrow()` and the like.

        `columns`: then, latest, or their union; or a list of names. `keys`: only these; few are
        read from their own entries, and the columns are those ever set for them. `filters`: the
        rows that fit, as in pandas.read_parquet: see `audit.replay.conditions`.
        """
        if is_ref(entity_type):
            raise InvalidInput(f"{entity_type} is one row; use replay_row for it")
        cut, valid_us = self.cut(as_of), self._valid_us(valid_at)
        return self._dataset_at(entity_type, cut, valid_us, columns, keys, filters)

    def row(self, ref: str | Ref, as_of: AsOf | Cut = None, valid_at: When = None) -> RowAnswer:
        """One row at a point, with its citation."""
        return answer_row(self.reader, row_ref(ref), self.cut(as_of), self._valid_us(valid_at))

    @overload
    def replay(
        self,
        entity_type: str,
        as_of: AsOf | Cut = ...,
        valid_at: When = ...,
        columns: Columns = ...,
        *,
        keys: Iterable[Any] | None = ...,
        filters: object = ...,
        format: Literal["pandas"] = ...,
        verify: "bool | GivenPolicy" = ...,
    ) -> "pandas.DataFrame": ...

    @overload
    def replay(
        self,
        entity_type: str,
        as_of: AsOf | Cut = ...,
        valid_at: When = ...,
        columns: Columns = ...,
        *,
        keys: Iterable[Any] | None = ...,
        filters: object = ...,
        format: Literal["arrow"],
        verify: "bool | GivenPolicy" = ...,
    ) -> "pyarrow.Table": ...

    @overload
    def replay(
        self,
        entity_type: str,
        as_of: AsOf | Cut = ...,
        valid_at: When = ...,
        columns: Columns = ...,
        *,
        keys: Iterable[Any] | None = ...,
        filters: object = ...,
        format: Literal["polars"],
        verify: "bool | GivenPolicy" = ...,
    ) -> "polars.DataFrame": ...

    @overload
    def replay(
        self,
        entity_type: str,
        as_of: AsOf | Cut = ...,
        valid_at: When = ...,
        columns: Columns = ...,
        *,
        keys: Iterable[Any] | None = ...,
        filters: object = ...,
        format: Literal["duckdb"],
        verify: "bool | GivenPolicy" = ...,
    ) -> "duckdb.DuckDBPyRelation": ...

    def replay(
        self,
        entity_type: str,
        as_of: AsOf | Cut = None,
        valid_at: When = None,
        columns: Columns = "union",
        *,
        keys: Iterable[Any] | None = None,
        filters: object = None,
        format: "Format" = "pandas",
        verify: "bool | GivenPolicy" = False,
    ) -> Any:
        """A dataset at a point, as a data frame; `df.attrs["audit"]` cites what it stands on.

        `columns`, `keys` and `filters` as in `dataset`. `format`: pandas, arrow, polars or duckdb.
        `verify`: make the answer again from hashed leaves first (True: trusting the ledger's own
        policy) and raise Unproven unless it is the same. It reads every leaf of the logs.
        """
        answer = self.dataset(entity_type, as_of, valid_at, columns, keys=keys, filters=filters)
        if verify is not False:
            from audit.ledger.checks import require_proven

            policy = None if verify is True else verify
            require_proven(self.check(entity_type, answer, policy))
        return answer.to(format)

    def replay_row(
        self, ref: str | Ref, as_of: AsOf | Cut = None, valid_at: When = None
    ) -> "Row | None":
        """One row at a point as a dict; None where it is not there."""
        from audit.replay.asof import row

        # Without a citation, which costs many times as much as the row: `row` has one.
        with self.reader.steady():
            return row(self.reader, row_ref(ref), self.cut(as_of), self._valid_us(valid_at)).row

    def join_asof(
        self,
        spine: Any,
        entity_type: str,
        columns: Iterable[str] | None = None,
        *,
        time: str,
        key: str | None = None,
        axis: Literal["recorded", "valid"] = "recorded",
        as_of: AsOf | Cut = None,
        prefix: str = "",
        suffix: str = "",
    ) -> Any:
        """The spine with, for each row, the values of its key known at its own time.

        The training set without leakage: each row gets what `replay_row` says at its time.
        `spine`: a pandas or Polars frame or an Arrow table, in any order; it comes back in the same
        order, kind, index and dtypes, with further columns called as in a replay, between `prefix`
        and `suffix`. `time` and `key` are columns of it (key: default `entity_key`, else the
        index). `axis`: what was recorded by that time; or "valid": what was true at it, as known at
        `as_of`. Where nothing is known there are missing values. `attrs["audit_joins"]` cites each.
        """
        from audit.replay.citation import cite
        from audit.replay.join import join_asof, join_of

        join = join_of(time, key, columns, axis, prefix, suffix)
        cut = self.cut(as_of)
        entity_type = parse_entity(entity_type)
        cited = {"entity": entity_type, **cite(self.reader, cut).to_dict()}
        return join_asof(self.reader, spine, entity_type, cut, join, self.now_us(), cited)

    def history(self, ref: str | Ref, as_of: AsOf | Cut = None) -> "list[Version]":
        """All versions of a thing, oldest first."""
        from audit.replay.history import history

        with self.reader.steady():
            return history(self.reader, any_ref(ref), self.cut(as_of))

    @overload
    def blame(
        self, what: Ref, as_of: AsOf | Cut = ..., valid_at: When = ..., *, keys: None = ...
    ) -> "Blame": ...

    @overload
    def blame(
        self,
        what: str,
        as_of: AsOf | Cut = ...,
        valid_at: When = ...,
        *,
        keys: Iterable[Any] | None = ...,
    ) -> Any: ...

    def blame(
        self,
        what: str | Ref,
        as_of: AsOf | Cut = None,
        valid_at: When = None,
        *,
        keys: Iterable[Any] | None = None,
    ) -> Any:
        """Who gave each field of a row its value, when, why, and at which position: a `Blame`.

        Of a whole dataset, or of its `keys`: a data frame with a line for each cell.
        """
        from audit.replay.blame import blame
        from audit.replay.blame_frame import blame_dataset
        from audit.replay.citation import cite
        from audit.replay.select import selection

        if isinstance(what, Ref) or is_ref(what):
            if keys is not None:
                raise InvalidInput(f"{what} is one row; keys go with a dataset")
            with self.reader.steady():
                cut, valid_us = self.cut(as_of), self._valid_us(valid_at)
                return blame(self.reader, row_ref(what), cut, valid_us)
        cut, valid_us = self.cut(as_of), self._valid_us(valid_at)
        what, wanted = parse_entity(what), selection(keys=keys).keys
        cited = {"entity": what, **cite(self.reader, cut, valid_us).to_dict()}
        return blame_dataset(self.reader, what, cut, valid_us, wanted, cited)

    def blame_cells(
        self,
        entity_type: str,
        as_of: AsOf | Cut = None,
        valid_at: When = None,
        *,
        keys: Iterable[Any] | None = None,
    ) -> "Iterator[Cell]":
        """Who gave each cell of a dataset its value, one after the other, in flat memory."""
        from audit.replay.blame import blame_cells
        from audit.replay.select import selection

        wanted = selection(keys=keys).keys
        cut, valid_us = self.cut(as_of), self._valid_us(valid_at)
        return blame_cells(self.reader, parse_entity(entity_type), cut, valid_us, wanted)

    @overload
    def diff(
        self,
        entity: str,
        a: AsOf | Cut,
        b: AsOf | Cut,
        valid_at: When = ...,
        *,
        net: Literal[True] = ...,
    ) -> "Iterator[RowChange]": ...

    @overload
    def diff(
        self,
        entity: str,
        a: AsOf | Cut,
        b: AsOf | Cut,
        valid_at: When = ...,
        *,
        net: Literal[False],
    ) -> "Iterator[RowStep]": ...

    def diff(
        self,
        entity: str,
        a: AsOf | Cut,
        b: AsOf | Cut,
        valid_at: When = None,
        *,
        net: bool = True,
    ) -> "Iterator[RowChange] | Iterator[RowStep]":
        """The rows of a dataset (or the one row of a REF) that differ between two points.

        With `valid_at`, the rows valid then, as known at `a` and at `b`. `net=False`: every step
        between them, with the entry that made it, row by row.
        """
        from audit.replay.diff import diff, diff_row
        from audit.replay.diff_steps import diff_steps

        valid_us = self._valid_us(valid_at)
        cuts = self.cut(a), self.cut(b)
        if not net:
            what = row_ref(entity) if is_ref(entity) else parse_entity(entity)
            return diff_steps(self.reader, what, *cuts, valid_us)
        if not is_ref(entity):
            return diff(self.reader, parse_entity(entity), *cuts, valid_us, valid_us)
        change = diff_row(self.reader, row_ref(entity), *cuts, valid_us, valid_us)
        return iter(() if change is None else (change,))

    def diff_frame(
        self,
        entity_type: str,
        a: AsOf | Cut,
        b: AsOf | Cut,
        valid_at: When = None,
        format: "Format" = "pandas",
    ) -> Any:
        """The same as a table, a line for each row: see `audit.replay.diff_frame`."""
        from audit.replay.diff_frame import diff_frame

        between = self.cut(a), self.cut(b), self._valid_us(valid_at)
        return diff_frame(self.reader, parse_entity(entity_type), *between, format)

    def check_answer(
        self,
        what: str,
        as_of: AsOf | Cut = None,
        policy: "GivenPolicy | None" = None,
        valid_at: When = None,
    ) -> "Checked":
        """Replay a dataset or a row, and check the answer: see `check`."""
        answer = (self.row if is_ref(what) else self.dataset)(what, as_of, valid_at)
        return self.check(what, answer, policy)

    def check(
        self,
        what: str,
        answer: DatasetAnswer | RowAnswer,
        policy: "GivenPolicy | None" = None,
    ) -> "Checked":
        """Make an answer again from leaves that are hashed up to a signed checkpoint, and compare.

        Which entries belong to it is found among all leaves of the logs, not by the store's
        indexes, so none can be left out; they are folded plainly, and row by row compared.
        """
        from audit.ledger.checks import check_answer

        trusted = self._trusted(policy)
        if isinstance(answer, RowAnswer):
            shown = answer.found
            valid_us = answer.citation.valid_at_us
            return check_answer(self.reader, what, shown.cut, trusted, shown, None, valid_us)
        found = answer.dataset
        return check_answer(
            self.reader, what, found.cut, trusted, found, found.wanted, found.valid_at_us
        )
