"""The ledger as one object for reading: replay, history, search, verification, proofs.

Opens a store by its URL, or a bundle (`bundle:///case.zip`). Everything is answered from the log as
it is when asked; nothing is kept but the connection. Writing is the emitter's business.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from audit.errors import InvalidInput, NotFound, Unproven
from audit.replay.fold import DATA_PREFIX, Position
from audit.replay.points import AsOf, Cut, locate, resolve, time_of
from audit.replay.refs import Ref, is_ref, parse_entity, parse_ref
from audit.store import clock_us
from audit.store.contract import LOG_OF_THE_LEDGER

if TYPE_CHECKING:
    import pandas

    from audit.capture.keyring import RegisteredKey
    from audit.event.row import Change
    from audit.event.values import Value
    from audit.ledger_checks import Checked
    from audit.ledger_status import LedgerStatus
    from audit.lineage.predictions import Prediction
    from audit.lineage.verdict import PredictionReplay
    from audit.log.record import Record
    from audit.replay.asof import Dataset, RowAt
    from audit.replay.blame import Blame
    from audit.replay.books import Books
    from audit.replay.citation import Citation
    from audit.replay.diff import RowChange
    from audit.replay.fold import Row
    from audit.replay.history import Version
    from audit.store.contract import Reader
    from audit.verify.bundle import Written
    from audit.verify.findings import Report
    from audit.verify.policy import Policy
    from audit.verify.verifier import Progress

STORE_VARIABLE = "AUDIT_STORE"
POLICY_VARIABLE = "AUDIT_POLICY"
DEFAULT_URL = "sqlite:///audit.db"
DEFAULT_POLICY = "audit.policy"
BUNDLE_SCHEME = "bundle:///"
ALL_KINDS = "kind:event kind:schema kind:control kind:quarantined"

When = str | datetime | date | None
"""A time on the valid axis; None: the recorded axis is asked for."""


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


class Ledger:
    """Reads one ledger. Use it in a `with` block, or `close` it.

    `url`: the store, or `bundle:///case.zip` (default AUDIT_STORE, else sqlite:///audit.db).
    `now_us`: the clock for `now`, `-7d` and the like, microseconds since the epoch; default the
    system's at each call. Points (`as_of`): a time, a position, an aware datetime; None is HEAD.
    Every method may raise Unavailable (StoreMissing when there is no ledger) and StoreCorrupt;
    InvalidInput, NotFound and Ambiguous for what was asked wrongly.
    """

    def __init__(self, url: str | None = None, now_us: int | None = None) -> None:
        """Open it. Raises StoreMissing, Unavailable, InvalidInput."""
        self.url = url or os.environ.get(STORE_VARIABLE) or DEFAULT_URL
        self._now_us = now_us
        self.reader: Reader = open_any_reader(self.url)
        self._books: Books | None = None

    def now_us(self) -> int:
        """The clock that this ledger was given, or the system's."""
        return clock_us() if self._now_us is None else self._now_us

    @cached_property
    def single(self) -> bool:
        """Whether there is one log only, so that a bare index names an entry."""
        return len(self.reader.logs()) == 1

    # Points

    def cut(self, as_of: "AsOf | Cut" = None) -> Cut:
        """How far each log is read for a point. A cut is one already: it stays."""
        return as_of if isinstance(as_of, Cut) else resolve(self.reader, as_of, self.now_us())

    def _valid_us(self, valid_at: When) -> int | None:
        return None if valid_at is None else time_of(valid_at, self.now_us())

    def at(self, as_of: AsOf, valid_at: When = None) -> "Moment":
        """All datasets at one point: `ledger.at(T)["user"]` is a data frame."""
        return Moment(self, self.cut(as_of), valid_at)

    # Datasets and rows

    def datasets(self) -> list[str]:
        """The entity types that are datasets, sorted."""
        from audit.replay.known import datasets

        return datasets(self.reader)

    def dataset(
        self,
        entity_type: str,
        as_of: AsOf = None,
        valid_at: When = None,
        columns: str = "union",
    ) -> DatasetAnswer:
        """A dataset at a point, row by row. `columns`: then, latest, or their union."""
        from audit.replay.asof import dataset, hint
        from audit.replay.citation import cite
        from audit.replay.columns import ColumnMode

        if columns not in set(ColumnMode):
            raise InvalidInput(f"columns are then, latest or union, not {columns!r:.40}")
        cut = self.cut(as_of)
        valid_us = self._valid_us(valid_at)
        found = dataset(self.reader, parse_entity(entity_type), cut, valid_us, ColumnMode(columns))
        tell = hint(self.reader, entity_type, cut) if valid_us is None else None
        return DatasetAnswer(found, cite(self.reader, cut, valid_us), tell)

    def row(self, ref: str | Ref, as_of: AsOf = None, valid_at: When = None) -> RowAnswer:
        """One row at a point, with its citation."""
        from audit.replay.asof import hint, row
        from audit.replay.citation import cite

        ref = _row_ref(ref)
        cut = self.cut(as_of)
        valid_us = self._valid_us(valid_at)
        found = row(self.reader, ref, cut, valid_us)
        tell = hint(self.reader, ref, cut) if valid_us is None else None
        return RowAnswer(found, cite(self.reader, cut, valid_us), tell)

    def replay(
        self,
        entity_type: str,
        as_of: AsOf = None,
        valid_at: When = None,
        columns: str = "union",
    ) -> "pandas.DataFrame":
        """A dataset at a point, as a data frame; `df.attrs["audit"]` cites what it stands on."""
        from audit.replay.frame import build_frame

        if is_ref(entity_type):
            raise InvalidInput(f"{entity_type} is one row; use replay_row for it")
        found, citation, _ = self.dataset(entity_type, as_of, valid_at, columns)
        return build_frame(found.rows(), found.columns, citation.to_dict())

    def replay_row(self, ref: str | Ref, as_of: AsOf = None, valid_at: When = None) -> "Row | None":
        """One row at a point as a dict; None where it is not there."""
        return self.row(ref, as_of, valid_at).found.row

    def history(self, ref: str | Ref, as_of: AsOf = None) -> "list[Version]":
        """All versions of a thing, oldest first."""
        from audit.replay.history import history

        return history(self.reader, _ref(ref), self.cut(as_of))

    def blame(self, ref: str | Ref, as_of: AsOf = None, valid_at: When = None) -> "Blame":
        """Who gave each field of a row its value, when and why."""
        from audit.replay.blame import blame

        return blame(self.reader, _row_ref(ref), self.cut(as_of), self._valid_us(valid_at))

    def diff(self, entity: str, a: AsOf, b: AsOf, valid_at: When = None) -> "Iterator[RowChange]":
        """The rows of a dataset (or the one row of a REF) that differ between two points.

        With `valid_at`, the rows valid then, as known at `a` and at `b`.
        """
        from audit.replay.diff import diff, diff_row

        valid_us = self._valid_us(valid_at)
        cuts = self.cut(a), self.cut(b)
        if not is_ref(entity):
            return diff(self.reader, parse_entity(entity), *cuts, valid_us, valid_us)
        change = diff_row(self.reader, _row_ref(entity), *cuts, valid_us, valid_us)
        return iter(() if change is None else (change,))

    # Events and entries

    def events(
        self,
        query: str = "",
        as_of: AsOf | Cut = None,
        newest_first: bool = False,
        limit: int | None = None,
        since: Mapping[int, int] | None = None,
    ) -> "Iterator[Record]":
        """The records that a query fits (see `audit.replay.query`), oldest first.

        `since`: log -> size; only what came after. `content` reads what a record's event says.
        """
        from audit.replay.events import events
        from audit.replay.query import parse_query

        parsed = parse_query(query, self.now_us())
        return events(self.reader, parsed, self.cut(as_of), newest_first, limit, since)

    def entry(self, position: str | int) -> "Record":
        """The entry at a position."""
        from audit.replay.steps import trusted_record

        log, index = locate(self.reader, str(position))
        return trusted_record(log, index, self.reader.leaf(log, index))

    def content(self, record: "Record") -> "Change | dict[str, Value]":
        """What a record's event says. Raises FormatError where it cannot be read here."""
        return self._books_for(record).decode(record)

    def event_json(self, record: "Record") -> dict[str, Any]:
        """A record as JSON: its event in the form of INTERFACE, and where the log put it."""
        from audit.event.jsonform import event_to_json
        from audit.event.times import format_time

        if record.event is None:
            said: dict[str, Any] = {
                "quarantined": record.entry.reason,
                "event": {"$bytes": _base64(record.entry.event)},
            }
        else:
            said = event_to_json(record.event, self._books_for(record).of_log(record.log))
        return {
            **said,
            "log": record.log,
            "index": record.index,
            "recorded_time": format_time(record.recorded_time_us),
            "leaf_hash": record.leaf_hash.hex(),
        }

    def _books_for(self, record: "Record") -> "Books":
        """The schemas known now, or when they were last read, if that was after the record."""
        from audit.replay.books import Books

        if self._books is None or not self._books_cut.holds((record.log, record.index)):
            self._books_cut = resolve(self.reader, None, 0)
            self._books = Books(self.reader, self._books_cut)
        return self._books

    # Predictions

    def predictions(
        self, query: str = "", as_of: AsOf = None, newest_first: bool = False
    ) -> "Iterator[Prediction]":
        """The predictions that a query fits, oldest first."""
        from audit.lineage.predictions import find_predictions
        from audit.replay.query import parse_query

        parsed = parse_query(query, self.now_us())
        return find_predictions(self.reader, parsed, self.cut(as_of), newest_first)

    def replay_prediction(
        self,
        prediction_id: str,
        as_of: AsOf = None,
        *,
        policy: "Policy | None" = None,
        tolerance: float | None = None,
        against: str | None = None,
        set_features: Mapping[str, Any] | None = None,
    ) -> "PredictionReplay":
        """Run a recorded prediction again, and judge: see `audit.lineage.prediction_replay`.

        This runs recorded code, in a process of its own. Artifacts come from AUDIT_BLOBS, else from
        audit-blobs/ beside the store. `policy`: default the ledger's own.
        """
        from audit.lineage.prediction_replay import replay_prediction
        from audit.store.blobs import BlobStore, default_blobs_url

        return replay_prediction(
            self.reader,
            BlobStore(default_blobs_url(self.url)),
            prediction_id,
            policy or self.default_policy(),
            cut=self.cut(as_of),
            tolerance=tolerance,
            set_features=set_features,
            against=against,
        )

    # Evidence

    def default_policy(self) -> "Policy | None":
        """The policy of AUDIT_POLICY, else of audit.policy beside the store; None without one."""
        return policy_for(self.url)

    def status(self, as_of: AsOf = None) -> "LedgerStatus":
        """Logs, sizes, checkpoints and their age, at a point."""
        from audit.ledger_status import status_of

        return status_of(self.reader, self.cut(as_of), self.now_us())

    def check_answer(
        self, what: str, as_of: AsOf | Cut = None, policy: "Policy | None" = None
    ) -> "Checked":
        """Check every entry that the replay of a dataset or row is made from, by its own proof."""
        from audit.ledger_checks import check_answer

        return check_answer(self.reader, what, self.cut(as_of), policy or self.default_policy())

    def policy_file(self, path: str | None) -> "Policy | None":
        """The policy in a file that somebody named; without a name the ledger's own."""
        from audit.verify.policy import Policy

        return self.default_policy() if path is None else Policy.from_file(path)

    def producer_keys(self, as_of: AsOf = None) -> "list[RegisteredKey]":
        """The producers' keys that were registered by a point, with the entries they may sign."""
        from audit.capture.keyring import list_keys

        size = self.cut(as_of).size(LOG_OF_THE_LEDGER)
        return list_keys(self.reader, size)

    def verify(
        self,
        policy: "Policy | None" = None,
        checkpoints: Sequence[bytes] = (),
        *,
        from_index: int = 0,
        log: int | None = None,
        progress: "Progress | None" = None,
    ) -> "Report":
        """Check everything, believing nothing: see `audit.verify.verifier`.

        `policy`: whom to trust; without one the ledger's own, and the report says so.
        `checkpoints`: signed notes that were kept elsewhere.
        """
        trusted = policy or self.default_policy()
        if self.url.startswith(BUNDLE_SCHEME):
            from audit.verify.bundle import verify_bundle

            return verify_bundle(bundle_path(self.url), trusted, checkpoints)
        from audit.verify.verifier import verify

        return verify(self.reader, trusted, checkpoints, from_index, progress, log)

    def prove(self, position: str | int) -> bytes:
        """A receipt for one entry: it verifies alone, with nothing but the log's public key."""
        from audit.log.receipt import write_receipt
        from audit.tlog.checkpoint import parse_checkpoint_text
        from audit.tlog.merkle import inclusion_proof
        from audit.tlog.note import parse_note

        record = self.entry(position)
        stored = self.reader.covering_checkpoint(record.log, record.index + 1)
        if stored is None:
            raise Unproven(f"no checkpoint covers entry {record.log}/{record.index} yet")
        # The size that was signed counts, not the one that the row claims.
        size = parse_checkpoint_text(parse_note(stored.note).text).size
        hashes = self.reader.hashes(record.log, size)
        proof = inclusion_proof(hashes, record.index, size)
        return write_receipt(record.leaf, record.index, proof, stored.note)

    def bundle(
        self, query: str, path: str | os.PathLike[str], as_of: AsOf | Cut = None
    ) -> "Written":
        """Write what a query finds, and all that is needed to read and check it, into one file.

        Of each row that something found is about, all events are taken, so that it can be replayed.
        """
        from audit.verify.bundle import Selection, write_bundle

        positions: list[Position] = []
        entities: set[tuple[str, str | None]] = set()
        # An empty query means everything, the log's own entries too.
        for record in self.events(query or ALL_KINDS, as_of):
            positions.append((record.log, record.index))
            event = record.event
            if event is not None and event.type.startswith(DATA_PREFIX) and event.entity_type:
                entities.add((event.entity_type, event.entity_key))
        policy = policy_path(self.url)
        text = policy.read_text("utf-8", "surrogateescape") if policy.is_file() else None
        selection = Selection(query, positions, tuple(sorted(entities, key=str)))
        return write_bundle(self.reader, selection, os.fspath(path), text)

    # Opening and closing

    def close(self) -> None:
        """Close the store. Safe to repeat."""
        self.reader.close()

    def __enter__(self) -> Self:
        """The ledger itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        return f"Ledger({self.reader.address!r})"


class Moment(Mapping[str, "pandas.DataFrame"]):
    """All datasets of a ledger at one point; each is replayed when it is asked for."""

    def __init__(self, ledger: Ledger, cut: Cut, valid_at: When) -> None:
        """Use `Ledger.at`."""
        self.ledger = ledger
        self.cut = cut
        self.valid_at = valid_at

    def __getitem__(self, entity_type: str) -> "pandas.DataFrame":
        """The dataset as a data frame. Raises NotFound for an unknown entity type."""
        from audit.replay.asof import dataset
        from audit.replay.citation import cite
        from audit.replay.frame import build_frame

        valid_us = self.ledger._valid_us(self.valid_at)
        found = dataset(self.ledger.reader, entity_type, self.cut, valid_us)
        citation = cite(self.ledger.reader, self.cut, valid_us)
        return build_frame(found.rows(), found.columns, citation.to_dict())

    def __contains__(self, entity_type: object) -> bool:
        """Whether the ledger has such a dataset."""
        return entity_type in self.ledger.datasets()

    def __iter__(self) -> Iterator[str]:
        """The names of the datasets."""
        return iter(self.ledger.datasets())

    def __len__(self) -> int:
        """How many datasets there are."""
        return len(self.ledger.datasets())


def open_any_reader(url: str) -> "Reader":
    """A reader of a store or a bundle. Raises StoreMissing, Unavailable, InvalidInput."""
    if url.startswith(BUNDLE_SCHEME):
        from audit.verify.bundle import open_bundle

        return open_bundle(bundle_path(url))
    from audit.store import open_reader

    return open_reader(url)


def bundle_path(url: str) -> Path:
    """The file of a bundle URL."""
    return Path(url.removeprefix(BUNDLE_SCHEME))


def policy_path(url: str) -> Path:
    """Where the policy of a ledger is: AUDIT_POLICY, else audit.policy beside store or bundle."""
    named = os.environ.get(POLICY_VARIABLE)
    if named:
        return Path(named)
    if url.startswith(BUNDLE_SCHEME):
        return bundle_path(url).parent / DEFAULT_POLICY
    from audit.store import sqlite_path

    return sqlite_path(url).parent / DEFAULT_POLICY


def policy_for(url: str) -> "Policy | None":
    """The policy at `policy_path`; None when there is no such file. Raises FormatError."""
    from audit.verify.policy import Policy

    with suppress(NotFound):
        return Policy.from_file(policy_path(url), beside_store=True)
    return None


def _ref(ref: str | Ref) -> Ref:
    return parse_ref(ref) if isinstance(ref, str) else ref


def _row_ref(ref: str | Ref) -> Ref:
    ref = _ref(ref)
    if not ref.is_row:
        raise InvalidInput(f"{ref} is no row of a dataset; `audit show` and `history` read it")
    return ref


def _base64(data: bytes) -> str:
    from audit.event.values import to_json

    spelled: dict[str, str] = to_json(data)
    return spelled["$bytes"]
