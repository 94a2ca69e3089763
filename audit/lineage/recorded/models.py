"""Model versions: what a run made, under which digest, and finding it again in the ledger."""

import io
import json
import math
import pickle
import re
from typing import Any, NamedTuple

from audit.errors import Ambiguous, FormatError, InvalidInput, NotFound, UnknownSchema
from audit.event.types import MODEL_VERSION
from audit.lineage.recorded.in_force import target_of
from audit.lineage.recorded.records import Named, all_named
from audit.log.entry import Kind
from audit.log.record import Record
from audit.replay.books import Books
from audit.replay.points import Cut
from audit.replay.refs import checked_key
from audit.replay.steps import trusted_record
from audit.store.blobs import BlobStore
from audit.store.contract import Reader

MODEL_ENTITY = "model"
PICKLE_FORMAT = "pickle"
"""The artifact is a Python pickle, protocol 5 or lower."""
BYTES_FORMAT = "bytes"
"""The artifact is bytes that only their owner knows how to read."""

_NAME = re.compile(r"[^@/\s\x00-\x1f][^@\x00-\x1f]*")
_VERSION = re.compile(r"[^@\s\x00-\x1f]+")


class ModelVersion:
    """A registered model. `digest` names the artifact; name and version are what people call it.

    `artifact_bytes`: its size. `event_id`: of the model.version event. `run_id`: the run that made
    it, if any. `object`: the model itself, where this process has it, else None. `tolerance`,
    `threshold`, `expects`, `members`, `features`: as they were declared when it was registered.
    """

    def __init__(
        self,
        name: str,
        version: str,
        digest: str,
        *,
        format: str,
        artifact_bytes: int | None,
        event_id: str,
        run_id: str | None,
        blobs: BlobStore,
        object: Any = None,
        tolerance: float | None = None,
        threshold: float | None = None,
        expects: dict[str, Any] | None = None,
        members: tuple[Named, ...] = (),
        features: tuple[Named, ...] = (),
    ) -> None:
        self.name = name
        self.version = version
        self.digest = digest
        self.format = format
        self.artifact_bytes = artifact_bytes
        self.event_id = event_id
        self.run_id = run_id
        self.blobs = blobs
        self.object = object
        self.tolerance = tolerance
        self.threshold = threshold
        self.expects = expects
        self.members = members
        self.features = features

    @property
    def ref(self) -> str:
        """The REF of it: model/NAME@VERSION."""
        return f"{MODEL_ENTITY}/{model_key(self.name, self.version)}"

    def load(self) -> Any:
        """The model from the blob store, once; the digest is checked before it is unpickled.

        This runs the artifact's code in this process: load only what you would run anyway.
        Raises NotFound, StoreCorrupt, Unavailable, and FormatError when it cannot be unpickled.
        """
        if self.object is None:
            data = self.blobs.get(self.digest)
            if self.format != PICKLE_FORMAT:
                self.object = data
                return data
            try:
                self.object = pickle.load(io.BytesIO(data))
            except Exception as error:  # whatever the pickle's own code raises
                why = f"{type(error).__name__}: {error}"
                raise FormatError(f"{self.ref} cannot be unpickled here ({why:.300})") from error
        return self.object

    def __str__(self) -> str:
        """The REF."""
        return self.ref

    def __repr__(self) -> str:
        return f"ModelVersion({self.ref!r}, digest={self.digest!r})"


def model_key(name: str, version: str) -> str:
    """NAME@VERSION, the entity key of a model version. Raises InvalidInput, LimitExceeded."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r:.80} is no name for a model: no @, line break or leading slash"
        )
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise InvalidInput(f"{version!r:.80} is no version: no @, no white space")
    return checked_key(f"{name}@{version}")


class FoundModel(NamedTuple):
    """A model.version entry: where it is, and what it says."""

    record: Record
    name: str
    version: str
    digest: str
    format: str
    artifact_bytes: int | None
    run_id: str | None
    packages: dict[str, Any]
    tolerance: float | None = None
    threshold: float | None = None
    expects: dict[str, Any] | None = None
    members: tuple[Named, ...] = ()
    features: tuple[Named, ...] = ()


def find_models(reader: Reader, name: str, version: str, cut: Cut) -> list[FoundModel]:
    """The model.version entries of NAME@VERSION below the cut, oldest first."""
    key = model_key(name, version)
    books = Books(reader, cut)
    found = []
    gone = set()
    for log, size in cut.sizes.items():
        for index, leaf in reader.entity(log, MODEL_ENTITY, key, size):
            record = trusted_record(log, index, leaf)
            gone.add(target_of(reader, record))
            model = _found(books, record, key)
            if model is not None:
                found.append(model)
    found = [one for one in found if (one.record.log, one.record.index) not in gone]
    return sorted(found, key=lambda model: (model.record.recorded_time_us, model.record.log))


def find_model_version(reader: Reader, reference: str, cut: Cut, blobs: BlobStore) -> ModelVersion:
    """The model version that NAME@VERSION or model/NAME@VERSION names.

    Raises NotFound, and Ambiguous when it was registered with several artifacts.
    """
    name, at, version = reference.removeprefix(f"{MODEL_ENTITY}/").rpartition("@")
    if not at:
        raise InvalidInput(f"{reference!r:.80} names no version; write NAME@VERSION")
    found = find_models(reader, name, version, cut)
    if not found:
        raise NotFound(f"no model {name}@{version} is registered in {reader.address}")
    digests = sorted({model.digest for model in found})
    if len(digests) > 1:
        raise Ambiguous(f"{name}@{version} stands for several artifacts: {', '.join(digests)}")
    last = found[-1]
    assert last.record.event is not None
    return ModelVersion(
        name,
        version,
        last.digest,
        format=last.format,
        artifact_bytes=last.artifact_bytes,
        event_id=last.record.event.event_id,
        run_id=last.run_id,
        blobs=blobs,
        tolerance=last.tolerance,
        threshold=last.threshold,
        expects=last.expects,
        members=last.members,
        features=last.features,
    )


def _found(books: Books, record: Record, key: str) -> FoundModel | None:
    event = record.event
    if event is None or event.type != MODEL_VERSION or record.entry.kind is not Kind.EVENT:
        return None
    try:
        data = books.decode(record)
    except (FormatError, UnknownSchema):
        return None
    if not isinstance(data, dict) or event.entity_key != key:
        return None
    name, version, digest = data.get("name"), data.get("version"), data.get("digest")
    if not isinstance(name, str) or not isinstance(version, str) or not isinstance(digest, str):
        return None
    if f"{name}@{version}" != key:
        return None
    artifact_bytes, run_id = data.get("artifact_bytes"), data.get("run_id")
    packages = data.get("packages")
    return FoundModel(
        record,
        name,
        version,
        digest,
        str(data.get("format") or BYTES_FORMAT),
        artifact_bytes if isinstance(artifact_bytes, int) else None,
        run_id if isinstance(run_id, str) else None,
        packages if isinstance(packages, dict) else {},
        _finite(data.get("tolerance")),
        _finite(data.get("threshold")),
        _expects(data.get("expects")),
        all_named(data, "members"),
        all_named(data, "features"),
    )


def _finite(value: object) -> float | None:
    return value if isinstance(value, float) and math.isfinite(value) else None


def _expects(text: object) -> dict[str, Any] | None:
    """A declaration in a record is outside input: what is no object declares nothing."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
