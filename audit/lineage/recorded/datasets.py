"""Dataset versions: which data had a name and version, and whether it can still be made again."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.errors import Ambiguous, InvalidInput, NotFound
from audit.event.times import format_time
from audit.event.types import DATASET_VERSION
from audit.event.valuejson import fields_to_json
from audit.lineage.recorded.dataset_check import (
    DIFFERENT,
    NOT_REPLAYABLE,
    ROOT_DIFFERS,
    SAME,
    CheckedContent,
    KeptCopy,
    check_content,
)
from audit.lineage.recorded.records import (
    DATASET_ENTITY,
    FEATURES_PREFIX,
    DataUse,
    Found,
    LogPoint,
    Named,
    all_named,
    data_use,
    records_of,
    text,
    texts,
)
from audit.lineage.recorded.runs import use_to_json
from audit.log.record import Record
from audit.replay.points import Cut
from audit.replay.refs import checked_key
from audit.store.blobs import BlobStore
from audit.store.contract import Reader

__all__ = [
    "DIFFERENT",
    "NOT_REPLAYABLE",
    "ROOT_DIFFERS",
    "SAME",
    "CheckedDataset",
    "DatasetVersionRecord",
    "all_datasets",
    "check_dataset",
    "dataset_records",
    "find_dataset",
]

_TYPES = frozenset((DATASET_VERSION,))


class DatasetVersionRecord(NamedTuple):
    """A dataset version as it is recorded: the fields of dataset_version.v1, and its entry."""

    record: Record
    name: str
    version: str
    digest: str | None
    rows: int | None
    bytes: int | None
    entity_type: str | None
    query: str | None
    logs: tuple[LogPoint, ...]
    as_of_us: int | None
    valid_at_us: int | None
    purpose: str | None
    run_id: str | None
    parents: tuple[str, ...]
    predictions_of: tuple[Named, ...]
    blob_digest: str | None
    profile_digest: str | None
    columns: Mapping[str, Any]

    @property
    def ref(self) -> str:
        """The REF of it."""
        return f"{DATASET_ENTITY}/{self.name}@{self.version}"

    @property
    def data(self) -> DataUse:
        """What it is, as runs say it of what they read."""
        return DataUse(
            dataset=f"{self.name}@{self.version}",
            **{name: getattr(self, name) for name in _DATA_FIELDS},
        )

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "name": self.name,
            "version": self.version,
            "log": self.record.log,
            "index": self.record.index,
            "recorded_time": format_time(self.record.recorded_time_us),
            **{k: v for k, v in use_to_json(self.data).items() if k not in ("dataset", "columns")},
            "query": self.query,
            "purpose": self.purpose,
            "run": self.run_id,
            "parents": list(self.parents),
            "predictions_of": [one._asdict() for one in self.predictions_of],
            "columns": fields_to_json(self.columns),
        }


_DATA_FIELDS = (
    *("digest", "rows", "bytes", "entity_type", "logs", "as_of_us", "valid_at_us"),
    *("blob_digest", "profile_digest", "columns"),
)


class CheckedDataset(NamedTuple):
    """What came of making a dataset version again.

    `verdict`: SAME, DIFFERENT, NOT_REPLAYABLE or ROOT_DIFFERS. `digest`: of what was made now.
    `columns`: those whose content differs from what is recorded. `kept`: what the copy in the blob
    store is worth; None where none was kept. `stale`: whether what was recorded since changed the
    data that it was made from, so that the same selection gives something else now, in the columns
    `stale_columns`; None where it cannot be told.
    """

    dataset: DatasetVersionRecord
    verdict: str
    message: str
    digest: str | None
    columns: tuple[str, ...]
    kept: KeptCopy | None
    stale: bool | None
    stale_columns: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether the recorded content is at hand: made again, or as a sound copy."""
        copied = self.kept is not None and self.kept.holds
        return self.verdict == SAME or (self.verdict == NOT_REPLAYABLE and copied)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "dataset": self.dataset.to_json(),
            "verdict": self.verdict,
            "holds": self.holds,
            "message": self.message,
            "digest": self.digest,
            "columns": list(self.columns),
            "kept": None if self.kept is None else self.kept._asdict(),
            "stale": self.stale,
            "stale_columns": list(self.stale_columns),
        }


def all_datasets(reader: Reader, cut: Cut) -> list[DatasetVersionRecord]:
    """All dataset versions below the cut, in recorded order."""
    return dataset_records(reader, cut)


def dataset_records(reader: Reader, cut: Cut, key: str | None = None) -> list[DatasetVersionRecord]:
    """All records of dataset versions, or those of NAME@VERSION, in recorded order."""
    found = records_of(reader, cut, DATASET_ENTITY, _TYPES, key)
    return [one for one in map(_dataset, found) if one is not None]


def find_dataset(reader: Reader, ref: str, cut: Cut) -> DatasetVersionRecord:
    """The dataset version NAME@VERSION, with or without `dataset/` before it; its newest record.

    Raises NotFound, InvalidInput for no such name, and Ambiguous when it was recorded with several
    contents: a version has one.
    """
    key = checked_key(ref.removeprefix(f"{DATASET_ENTITY}/"))
    name, _, version = key.rpartition("@")
    if not name or not version:
        raise InvalidInput(f"{ref!r:.140} is no dataset version; write NAME@VERSION")
    fits = dataset_records(reader, cut, key)
    if not fits:
        raise NotFound(f"there is no dataset version {key!r:.140} in {reader.address}")
    digests = dict.fromkeys(one.digest for one in fits)
    if len(digests) > 1:
        places = ", ".join(f"{one.record.log}/{one.record.index}" for one in fits[:10])
        raise Ambiguous(
            f"{key:.140} was recorded with {len(digests)} different contents (entries {places})\n"
            "read it as of a point before the second one"
        )
    return fits[-1]


def check_dataset(reader: Reader, blobs: BlobStore, ref: str, cut: Cut) -> CheckedDataset:
    """Make a dataset version again at the points of the ledger that it cites, and compare.

    Whole datasets, on either axis, and training sets of logged predictions are made again, of these
    the chosen columns, and the rows of a selection that `audit.lineage.content.row_selection` can
    read. Of any other selection the words alone are known: then the copy is checked.
    Raises what `find_dataset` raises; Unavailable.
    """
    found = find_dataset(reader, ref, cut)
    content = check_content(reader, blobs, found.data, found.query, found.predictions_of, cut)
    return _checked(found, content)


def _checked(found: DatasetVersionRecord, content: CheckedContent) -> CheckedDataset:
    return CheckedDataset(
        dataset=found,
        verdict=content.verdict,
        message=content.message,
        digest=content.digest,
        columns=content.columns,
        kept=content.kept,
        stale=content.stale,
        stale_columns=content.stale_columns,
    )


def _dataset(found: Found) -> DatasetVersionRecord | None:
    """The dataset version in a record; None for one of another name than it is filed under."""
    data, event = found.data, found.record.event
    name, version, digest = text(data, "name"), text(data, "version"), text(data, "digest")
    if name is None or version is None or event is None:
        return None
    if event.entity_key != f"{name}@{version}" or name.startswith(FEATURES_PREFIX):
        return None
    use = data_use(data)
    assert use is not None
    return DatasetVersionRecord(
        record=found.record,
        name=name,
        version=version,
        query=text(data, "query"),
        purpose=text(data, "purpose"),
        run_id=text(data, "run_id"),
        parents=texts(data, "parents"),
        predictions_of=all_named(data, "predictions_of"),
        digest=digest,
        **{field: getattr(use, field) for field in _DATA_FIELDS if field != "digest"},
    )
