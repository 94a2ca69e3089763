"""What people declare about data, models and predictions: one function, one event.

``audit.dataset_version`` names data by its content, ``audit.transition`` says which model version
serves from now on, ``audit.ground_truth`` what turned out to be true, ``audit.review`` what
somebody thinks of a recorded thing. Each is recorded when the function returns. Where the event
goes: to an `emitter`, else as with `audit.model_run`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from audit.capture.context import ValidTime, valid_time_us
from audit.capture.emitter import Emitter
from audit.capture.options import Options
from audit.capture.pipeline.registering import VERSION_DIGITS
from audit.capture.pipeline.run_record import RunRecorder, current_run
from audit.capture.pipeline.target import Target
from audit.errors import InvalidInput
from audit.event.types import DATASET_VERSION, GROUND_TRUTH, MODEL_TRANSITION, REVIEW
from audit.event.values import dumps, key_text, normalize, normalize_fields
from audit.lineage.recorded.models import MODEL_ENTITY, ModelVersion, model_key
from audit.lineage.recorded.predictions import PREDICTION_ENTITY
from audit.lineage.recorded.records import DATASET_ENTITY
from audit.lineage.recorded.run_inputs import DATASET_KEY, describe_data
from audit.replay.refs import parse_ref
from audit.store.blobs import BlobStore, digest_of

PREDICTIONS_KEY = "audit_predictions_of"
"""Where `Ledger.training_set` leaves [[name, version, digest], ...] in a frame's attrs."""
REVIEW_ENTITY = "review"
KINDS = ("FLAG", "UNFLAG", "REPLAY", "COMPARISON", "NOTE")
MAX_STAGE_CHARS = 100
MAX_PARENTS = 500
"""Parents of one dataset version: they stand in one event."""


class DatasetVersion(NamedTuple):
    """Data under a name and version. `digest`: of all rows and columns. `event_id`: says so."""

    name: str
    version: str
    digest: str
    rows: int | None
    event_id: str
    blob_digest: str | None
    profile_digest: str | None

    @property
    def ref(self) -> str:
        """The REF of it: dataset/NAME@VERSION."""
        return f"{DATASET_ENTITY}/{self.name}@{self.version}"


def dataset_version(
    name: str,
    data: Any,
    version: str | None = None,
    *,
    query: str | None = None,
    purpose: str | None = None,
    parents: Sequence[Any] = (),
    keep: bool = False,
    profile: bool = True,
    emitter: Emitter | None = None,
    bus: str | None = None,
    blobs: BlobStore | str | None = None,
    source: str | None = None,
) -> DatasetVersion:
    """Name a frame, array, file or bytes as a fixed version of a dataset, by content.

    Without a `version` it is the first 12 hex digits of the digest: the same content has the same
    version. `query`: how rows were selected, in your words. `purpose`: training, test ...
    `parents`: what it was made from: frames, dataset versions or digests. `keep`: a copy goes to
    the blob store. Where `Ledger.replay` or `Ledger.training_set` made the frame, the point of the
    ledger and the models whose predictions are in it are recorded too; in a run, the run is. A run
    that reads this frame unchanged names the version. Raises InvalidInput, Unavailable.
    """
    if isinstance(data, (list, tuple, Mapping)) or data is None:
        raise InvalidInput("a dataset version is one data frame, array, file or bytes")
    with _place(emitter, bus, blobs, source) as target:
        described = describe_data(data, name, profile=profile, keep=keep, blobs=target.blobs)[0]
        digest = str(described["digest"])
        if version is None:
            version = digest.rpartition(":")[2][:VERSION_DIGITS]
        key = dataset_key(name, version)
        attrs = getattr(data, "attrs", None)
        said = {
            part: described[part]
            for part in (
                *("rows", "bytes", "entity_type", "logs", "as_of_us", "valid_at_us"),
                *("blob_digest", "profile_digest", "columns"),
            )
            if described.get(part) is not None
        }
        event_id = target.emitter.record(
            DATASET_VERSION,
            {
                "name": name,
                "version": version,
                "digest": digest,
                **said,
                "query": query,
                "purpose": purpose,
                "run_id": current_run().run_id,
                "parents": _parents(parents),
                "predictions_of": _predictions_of(attrs),
            },
            entity_type=DATASET_ENTITY,
            entity_key=key,
        )
    if isinstance(attrs, dict):
        attrs[DATASET_KEY] = [f"{name}@{version}", digest]
    return DatasetVersion(
        name,
        version,
        digest,
        described["rows"],
        event_id,
        described.get("blob_digest"),
        described.get("profile_digest"),
    )


def transition(
    version: ModelVersion | str,
    stage: str = "production",
    *,
    approved_by: str | None = None,
    share: float | None = None,
    config: Any = None,
    before: str | None = None,
    retire: bool = False,
    valid_time: ValidTime | None = None,
    emitter: Emitter | None = None,
    bus: str | None = None,
    source: str | None = None,
) -> str:
    """From now on this model version serves in a stage; with `retire` it does no more.

    `version`: what `run.model` returned, or NAME@VERSION. `approved_by`: who approved it. `share`:
    part of the traffic, 0 to 1 (default: all). `config`: the deployment's configuration, plain
    values or bytes, of which the digest is recorded. `before`: the version that served until now.
    `valid_time`: since when, if not now. Returns the event's id. Raises InvalidInput, Unavailable.
    """
    name, number, digest = _named_version(version)
    if not isinstance(stage, str) or not 0 < len(stage) <= MAX_STAGE_CHARS:
        raise InvalidInput("a stage is a short name: production, staging ...")
    if share is not None and not (isinstance(share, (int, float)) and 0 <= share <= 1):
        raise InvalidInput("share is the part of the traffic, from 0 to 1")
    data = config if isinstance(config, bytes) else dumps(normalize(config)).encode()
    with _place(emitter, bus, None, source) as target:
        return target.emitter.record(
            MODEL_TRANSITION,
            {
                "name": name,
                "stage": stage,
                "version": None if retire else number,
                "digest": None if retire else digest,
                "before": number if retire else before,
                "approved_by": approved_by,
                "share": None if share is None else float(share),
                "config_digest": None if config is None else digest_of(data),
            },
            entity_type=MODEL_ENTITY,
            entity_key=name,
            **_since(valid_time),
        )


def ground_truth(
    prediction: str | None,
    value: Any,
    *,
    origin: str | None = None,
    key: Any = None,
    name: str | None = None,
    instructions: str | None = None,
    observed: ValidTime | None = None,
    supersedes: str | None = None,
    emitter: Emitter | None = None,
    bus: str | None = None,
    source: str | None = None,
) -> str:
    """What turned out to be true: one value, or named ones, of a prediction by its id.

    `key`: what it is about, as the prediction's key, where the prediction's id is not known; `name`
    then says of which model or label. `origin`: measured, rated, complaint ... `instructions`:
    version of the instructions that raters followed. `observed`: when it became known in the world.
    `supersedes`: id of the ground truth that this one corrects. Returns the event's id.
    Raises InvalidInput, Unavailable.
    """
    if prediction is None and key is None:
        raise InvalidInput("say which prediction it is about: its id, or key=...")
    prediction = None if prediction is None else prediction.removeprefix(f"{PREDICTION_ENTITY}/")
    said = normalize_fields(value) if isinstance(value, Mapping) else normalize(value)
    text = None if key is None else key_text(key)
    with _place(emitter, bus, None, source) as target:
        return target.emitter.record(
            GROUND_TRUTH,
            {
                "prediction": prediction,
                "name": name,
                "key": text,
                "value": said,
                "observed_us": None if observed is None else valid_time_us(observed),
                "origin": origin,
                "instructions": instructions,
            },
            entity_type=PREDICTION_ENTITY,
            entity_key=text if prediction is None else prediction,
            **({} if supersedes is None else {"supersedes": supersedes}),
        )


def review(
    ref: str,
    kind: str = "NOTE",
    *,
    message: str | None = None,
    verdict: str | None = None,
    evidence: str | None = None,
    emitter: Emitter | None = None,
    bus: str | None = None,
    source: str | None = None,
) -> str:
    """Say something about a recorded thing, named by its REF: prediction/ID, run/ID, user/5 ...

    `kind`: FLAG marks it as wrong, UNFLAG takes that back, NOTE only says `message`. Who says so is
    the actor of `audit.context`. Returns the event's id. Raises InvalidInput, Unavailable.
    """
    if kind not in KINDS:
        raise InvalidInput(f"a review is one of {', '.join(KINDS)}, not {kind!r:.40}")
    parse_ref(ref)
    with _place(emitter, bus, None, source) as target:
        return target.emitter.record(
            REVIEW,
            {
                "ref": ref,
                "kind": kind,
                "verdict": verdict,
                "message": message,
                "evidence": evidence,
            },
            entity_type=REVIEW_ENTITY,
            entity_key=ref,
        )


def dataset_key(name: str, version: str) -> str:
    """NAME@VERSION, the entity key of a dataset version. Raises InvalidInput."""
    if isinstance(name, str) and "/" in name:
        raise InvalidInput(f"{name!r:.80} is no name for a dataset version: no slash")
    return model_key(name, version)


@contextmanager
def _place(
    emitter: Emitter | None, bus: str | None, blobs: BlobStore | str | None, source: str | None
) -> Iterator[Target]:
    """Where one event goes; it is sealed (or safe in the spool) when the block ends."""
    target = Target(emitter, bus, blobs, source)
    run = current_run()
    if isinstance(run, RunRecorder):
        target.borrow(run.target)
    try:
        yield target
    except BaseException:
        if target.owned:
            target.abandon()
        raise
    target.finish()


def _since(valid_time: ValidTime | None) -> Options:
    return {} if valid_time is None else {"valid_time": valid_time}


def _named_version(version: ModelVersion | str) -> tuple[str, str, str | None]:
    if isinstance(version, ModelVersion):
        return version.name, version.version, version.digest
    name, at, number = str(version).removeprefix(f"{MODEL_ENTITY}/").rpartition("@")
    if not at:
        raise InvalidInput(f"{version!r:.80} names no model version; write NAME@VERSION")
    model_key(name, number)
    return name, number, None


def _parents(parents: Sequence[Any]) -> list[str]:
    """Digests of what data was made from, each once."""
    found: list[str] = []
    for parent in (parents,) if isinstance(parents, (str, bytes, DatasetVersion)) else parents:
        if isinstance(parent, DatasetVersion):
            found.append(parent.digest)
        elif isinstance(parent, str):
            if "sha256:" not in parent:
                raise InvalidInput(
                    f"a parent is data, a dataset version or a digest: {parent!r:.80}"
                )
            found.append(parent)
        else:
            found.extend(str(one["digest"]) for one in describe_data(parent))
    if len(found) > MAX_PARENTS:
        raise InvalidInput(f"{len(found)} parents; at most {MAX_PARENTS}")
    return list(dict.fromkeys(found))


def _predictions_of(attrs: Any) -> list[dict[str, Any]]:
    listed = attrs.get(PREDICTIONS_KEY) if isinstance(attrs, Mapping) else None
    if listed is None:
        return []
    try:
        return [
            {"name": str(name), "version": str(version), "digest": digest}
            for name, version, digest in listed
        ]
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"attrs[{PREDICTIONS_KEY!r}] is not as Ledger.training_set leaves it: {error}"
        ) from error
