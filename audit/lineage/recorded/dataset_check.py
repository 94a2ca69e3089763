"""Content that was read from the ledger, made again at the point it was read at, and compared."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.errors import FormatError, InvalidInput, NotFound, StoreCorrupt
from audit.lineage.content.frame_digest import FRAME_ALGORITHM
from audit.lineage.content.kept_data import read_kept
from audit.lineage.content.row_selection import is_selection, select_rows
from audit.lineage.recorded.records import DataUse, Named
from audit.replay.citation import cut_of_sizes
from audit.replay.points import Cut
from audit.replay.refs import parse_entity
from audit.store.blobs import BlobStore
from audit.store.contract import Reader
from audit.tlog.hashing import EMPTY_ROOT
from audit.tlog.merkle import tree_root

if TYPE_CHECKING:
    import pandas

SAME, DIFFERENT = "SAME", "DIFFERENT"
NOT_REPLAYABLE = "NOT_REPLAYABLE"
ROOT_DIFFERS = "ROOT_DIFFERS"
MISSING, UNREAD = "MISSING", "UNREAD"
PREDICTIONS = "prediction"
"""The entity type that the citation of a training set names."""
MAX_SHOWN_COLUMNS = 20

_FRAME_V2_PREFIX = "frame-v2:"
_FRAME_V1_PREFIX = f"{FRAME_ALGORITHM}:"


class KeptCopy(NamedTuple):
    """The copy in the blob store. `verdict`: SAME; DIFFERENT (other bytes or content); MISSING;
    UNREAD: the bytes are the recorded ones, but only code in them could tell the content.
    """

    digest: str
    verdict: str
    message: str

    @property
    def holds(self) -> bool:
        """Whether these are the recorded bytes."""
        return self.verdict in (SAME, UNREAD)


class CheckedContent(NamedTuple):
    """See `audit.lineage.recorded.datasets.CheckedDataset`."""

    verdict: str
    message: str
    kept: KeptCopy | None
    digest: str | None = None
    columns: tuple[str, ...] = ()
    stale: bool | None = None
    stale_columns: tuple[str, ...] = ()


class _Ledger(NamedTuple):
    """What frames are made of: the log, and the rows of batches beside it."""

    reader: Reader
    blobs: BlobStore


class _Made(NamedTuple):
    """A frame that was made again, and how: `of` makes it of another cut."""

    frame: "pandas.DataFrame"
    digest: str
    columns: Mapping[str, str]
    of: "_Way"


class _Way(NamedTuple):
    """A way to make a frame from a cut. `mode`: of columns; `model`: of a training set.

    `rows`: the selection of rows, `chosen`: the columns that were taken; None: all.
    """

    entity_type: str
    valid_at_us: int | None
    mode: str
    model: str | None
    rows: str | None
    chosen: tuple[str, ...] | None


def check_content(
    reader: Reader,
    blobs: BlobStore,
    data: DataUse,
    query: str | None,
    predictions_of: tuple[Named, ...],
    cut: Cut,
) -> CheckedContent:
    """Make data again at its recorded points; compare with its digest, and with what is now.

    `query`: the words of a selection; see `audit.lineage.content.row_selection` for those that can
    be made again. Raises Unavailable.
    """
    kept = None if data.blob_digest is None else _check_kept(blobs, data)
    content = _replayed(_Ledger(reader, blobs), data, query, predictions_of, cut)
    return content._replace(kept=kept)


def _replayed(
    ledger: _Ledger, data: DataUse, query: str | None, models: tuple[Named, ...], cut: Cut
) -> CheckedContent:
    if not data.logs or data.entity_type is None:
        return _not_replayable("it cites no dataset and point of the ledger")
    if data.digest is None or not data.digest.startswith((_FRAME_V2_PREFIX, _FRAME_V1_PREFIX)):
        return _not_replayable("its digest is not of a data frame")
    problem = _root_problem(ledger.reader, data)
    if problem is not None:
        return CheckedContent(ROOT_DIFFERS, problem, None)
    try:
        numbers = {info.origin: info.log for info in ledger.reader.logs()}
        sizes = {numbers[point.origin]: point.size for point in data.logs}
        then = cut_of_sizes(ledger.reader, sizes)
        made = list(_tries(ledger, data, query, models, then))
    except (InvalidInput, NotFound) as error:
        return _not_replayable(f"it cannot be made again: {str(error).splitlines()[0]:.200}")
    if not made:
        return _not_replayable("it names no model whose predictions it was made from")
    same = next((one for one in made if one.digest == data.digest), None)
    nearest = made[0] if same is None else same
    stale, stale_columns = _staleness(ledger, nearest, cut)
    if same is not None:
        message = "made again from the ledger, it is the same, all rows and columns"
        return CheckedContent(SAME, message, None, same.digest, (), stale, stale_columns)
    if query is not None and not is_selection(query):
        told = f"only words tell which rows were taken: {query[:120]!r}"
        return _not_replayable(told)._replace(stale=stale, stale_columns=stale_columns)
    columns = _different(data.columns, nearest.columns)
    return CheckedContent(
        DIFFERENT,
        _difference(data, nearest, columns),
        None,
        nearest.digest,
        columns,
        stale,
        stale_columns,
    )


def _not_replayable(message: str) -> CheckedContent:
    return CheckedContent(NOT_REPLAYABLE, message, None)


def _root_problem(reader: Reader, data: DataUse) -> str | None:
    """How this ledger is another than the one the data was read from; None where it is the same."""
    numbers = {info.origin: info.log for info in reader.logs()}
    for point in data.logs:
        log = numbers.get(point.origin)
        if log is None:
            return f"there is no log {point.origin!r:.80} here: this is another ledger"
        held = reader.size(log)
        if not 0 <= point.size <= held:
            return f"log {log} has {held} entries, and {point.size} were read: it was cut short"
        try:
            root = tree_root(reader.hashes(log, point.size), point.size)
        except (NotFound, InvalidInput):
            if point.size:
                return f"log {log} does not hold its tree up to {point.size} entries"
            root = EMPTY_ROOT
        if point.root_hash is not None and root != point.root_hash:
            return f"log {log} had another root hash at size {point.size}: it was changed since"
    return None


def _tries(
    ledger: _Ledger, data: DataUse, query: str | None, models: tuple[Named, ...], cut: Cut
) -> Iterator[_Made]:
    """The frames that the recorded words may mean, the plain one first, until one is the same."""
    chosen = tuple(data.columns) or None
    rows = query if query is not None and is_selection(query) else None
    ways: list[_Way] = []
    if data.entity_type == PREDICTIONS:
        for model in dict.fromkeys(m for one in models for m in (one.name, str(one))):
            ways.append(_Way(PREDICTIONS, None, "union", model, rows, None))
    else:
        entity_type = parse_entity(data.entity_type or "")
        ways = [
            _Way(entity_type, data.valid_at_us, mode, None, rows, None)
            for mode in ("union", "then", "latest")
        ]
    for way in ways:
        for take in (way, way._replace(chosen=chosen)) if chosen else (way,):
            made = _make(ledger, take, cut, data.digest or "")
            if made is not None:
                yield made
                if made.digest == data.digest:
                    return


def _make(ledger: _Ledger, way: _Way, cut: Cut, like: str) -> _Made | None:
    """The frame of a way at a cut; None where it has not all chosen columns."""
    from audit.lineage.content.frame_digest import frame_digest
    from audit.lineage.content.frame_v2 import frame_v2

    frame = _frame(ledger, way, cut)
    if way.rows is not None:
        frame = select_rows(frame, way.rows)
    if way.chosen is not None:
        if not set(way.chosen) <= set(frame.columns):
            return None
        frame = frame[list(way.chosen)]
    if like.startswith(_FRAME_V1_PREFIX):
        return _Made(frame, f"{FRAME_ALGORITHM}:{frame_digest(frame)}", {}, way)
    digest, columns = frame_v2(frame)
    return _Made(frame, digest, columns, way)


def _frame(ledger: _Ledger, way: _Way, cut: Cut) -> "pandas.DataFrame":
    if way.model is not None:
        from audit.lineage.recorded.training_set import training_set
        from audit.replay.query import parse_query

        return training_set(ledger.reader, way.model, cut, parse_query("", 0), ledger.blobs)
    from audit.replay.asof import dataset
    from audit.replay.columns import ColumnMode

    found = dataset(ledger.reader, way.entity_type, cut, way.valid_at_us, ColumnMode(way.mode))
    return found.frame({})


def _staleness(ledger: _Ledger, made: _Made, cut: Cut) -> tuple[bool | None, tuple[str, ...]]:
    """Whether the same selection gives something else at the cut, and in which columns."""
    try:
        now = _make(ledger, made.of, cut, made.digest)
    except NotFound:  # the selection names a column that is there no more
        now = None
    except InvalidInput:
        return None, ()
    if now is None:
        whole = _frame(ledger, made.of, cut)
        return True, tuple(name for name in made.frame.columns if name not in whole.columns)
    if now.digest == made.digest:
        return False, ()
    return True, _different(made.columns, now.columns)


def _different(recorded: Mapping[str, Any], made: Mapping[str, Any]) -> tuple[str, ...]:
    names = dict.fromkeys((*recorded, *made)) if recorded and made else {}
    return tuple(name for name in names if recorded.get(name) != made.get(name))


def _difference(data: DataUse, made: _Made, columns: tuple[str, ...]) -> str:
    rows = f"{data.rows} rows were recorded, {len(made.frame)} are made; "
    told = "" if data.rows in (None, len(made.frame)) else rows
    if columns:
        shown = ", ".join(columns[:MAX_SHOWN_COLUMNS])
        more = ", ..." if len(columns) > MAX_SHOWN_COLUMNS else ""
        return f"{told}other content in {shown}{more}"
    if data.columns and made.columns:
        return f"{told}every column is the same: the index, or the order of columns, differs"
    return f"{told}the content differs; no digests of columns were recorded"


def _check_kept(blobs: BlobStore, data: DataUse) -> KeptCopy:
    digest = data.blob_digest or ""
    try:
        content = blobs.get(digest)
    except StoreCorrupt as error:
        return KeptCopy(digest, DIFFERENT, str(error))
    except InvalidInput as error:  # NotFound, and what is no digest
        return KeptCopy(digest, MISSING, str(error))
    if data.digest is None or not data.digest.startswith((_FRAME_V2_PREFIX, _FRAME_V1_PREFIX)):
        return KeptCopy(digest, SAME, "the copy has the recorded bytes")
    try:
        frame = read_kept("frame", content)
        made = _digest_like(frame, data.digest)
    except FormatError as error:
        return KeptCopy(digest, DIFFERENT, str(error))
    except InvalidInput:
        told = "the copy has the recorded bytes; it is a pickle, and is not opened"
        return KeptCopy(digest, UNREAD, told)
    if made != data.digest:
        return KeptCopy(digest, DIFFERENT, f"the copy has another content: {made}")
    return KeptCopy(digest, SAME, "the copy has the recorded content, all rows and columns")


def _digest_like(frame: Any, like: str) -> str:
    from audit.lineage.content.frame_digest import frame_digest
    from audit.lineage.content.frame_v2 import frame_v2

    if not hasattr(frame, "iloc"):
        raise FormatError("the copy is no data frame")
    if like.startswith(_FRAME_V1_PREFIX):
        return f"{FRAME_ALGORITHM}:{frame_digest(frame)}"
    return frame_v2(frame).digest
