"""Registering a model: its artifact into the blob store, then the event that names it."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypedDict, Unpack

from audit.capture.pipeline.outbox import Outbox
from audit.capture.pipeline.target import Target
from audit.errors import InvalidInput
from audit.event.build import new_event_id
from audit.event.types import MODEL_VERSION
from audit.event.values import normalize
from audit.lineage.content.expects import Expects
from audit.lineage.recorded.artifact import serialise
from audit.lineage.recorded.models import MODEL_ENTITY, ModelVersion, model_key
from audit.lineage.recorded.records import Named
from audit.lineage.source.environment import environment
from audit.store.blobs import digest_of

VERSION_DIGITS = 12
"""A version that nobody named is this many hex digits of the artifact's digest."""
MAX_EXPECTS_BYTES = 16_384
"""Longest declaration of what inputs must be like, as JSON: it stands in the event."""


class ModelOptions(TypedDict, total=False):
    """What a model is registered with besides its name and version.

    `tolerance`: numbers that differ by no more count as equal when a prediction is replayed.
    `threshold`: what outputs are compared with to decide. `expects`: what inputs must be like, see
    `audit.lineage.content.expects`. `features`: the definitions it was trained with (default: those
    of the run). `members`: the versions it combines. `package`: NAME==VERSION of the package its
    code was released in.
    """

    tolerance: float | None
    threshold: float | None
    expects: Mapping[str, Any] | None
    features: Sequence[Any]
    members: Sequence[ModelVersion]
    package: str | None
    description: str | None
    tags: Sequence[str]


class MakingRun(Protocol):
    """The run that makes a model, as far as registering asks it."""

    name: str
    run_id: str
    features: list[dict[str, Any]]
    metrics: dict[str, float]
    outbox: Outbox
    target: Target


def register(
    run: MakingRun,
    model: Any,
    version: str | None = None,
    name: str | None = None,
    **options: Unpack[ModelOptions],
) -> ModelVersion:
    """Register a model: its artifact goes to the blob store, and a model.version event out.

    A model is pickled (protocol 5); bytes, or the file at a path, are taken as they are.
    Without a `version` it is the first 12 hex digits of the artifact's digest: the same bytes
    have the same version. `name`: default the run's. Raises InvalidInput, Unavailable.
    """
    unknown = options.keys() - ModelOptions.__annotations__.keys()
    if unknown:
        raise InvalidInput(f"a model is registered with {', '.join(ModelOptions.__annotations__)}")
    artifact = serialise(model)
    name = run.name if name is None else name
    digest = digest_of(artifact.data)
    if version is None:
        version = digest.removeprefix("sha256:")[:VERSION_DIGITS]
    key = model_key(name, version)
    members = [_member(one) for one in options.get("members", ())]
    features = [feature_ref(one) for one in options.get("features", ())] or list(run.features)
    limits = {
        "tolerance": _number("tolerance", options.get("tolerance"), at_least=0.0),
        "threshold": _number("threshold", options.get("threshold")),
    }
    expects = options.get("expects")
    said = {
        "name": name,
        "version": version,
        "digest": digest,
        "artifact_bytes": len(artifact.data),
        "format": artifact.format,
        "run_id": run.run_id,
        "description": options.get("description"),
        "tags": list(options.get("tags", ())),
        **limits,
        "expects": expects_text(expects),
        "members": members,
        "features": features,
        "metrics": dict(run.metrics),
        "package": options.get("package"),
        "packages": environment(artifact.modules),
    }
    # First the bytes, then the event. Where they cannot be kept the run says that they are missing:
    # a trained model is not lost for it, and what has this digest can be put there later.
    run.outbox.keep(f"the model {key}", artifact.data)
    event_id = new_event_id()
    run.outbox.emit(MODEL_VERSION, said, MODEL_ENTITY, key, event_id)
    return ModelVersion(
        name,
        version,
        digest,
        format=artifact.format,
        artifact_bytes=len(artifact.data),
        event_id=event_id,
        run_id=run.run_id,
        blobs=run.target.blobs,
        object=artifact.object,
        **limits,
        expects=None if expects is None else dict(expects),
        members=tuple(Named(**one) for one in members),
        features=tuple(Named(**one) for one in features),
    )


def feature_ref(definition: Any) -> dict[str, Any]:
    """The FeatureRef of what `@audit.features` made. Raises InvalidInput for anything else."""
    reference = {part: getattr(definition, part, None) for part in ("name", "version", "digest")}
    if not isinstance(reference["name"], str) or not isinstance(reference["version"], str):
        raise InvalidInput(
            f"a {type(definition).__qualname__} is no feature definition: decorate with "
            "@audit.features"
        )
    return reference


def expects_text(expects: Mapping[str, Any] | None) -> str | None:
    """The declaration as it is recorded: canonical JSON. Raises InvalidInput."""
    if expects is None:
        return None
    Expects(expects)
    try:
        plain = {name: dict(rule) for name, rule in expects.items()}
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"expects is not plain JSON: {error!s:.200}") from error
    if len(text.encode()) > MAX_EXPECTS_BYTES:
        raise InvalidInput(f"expects is over {MAX_EXPECTS_BYTES} bytes of JSON")
    return text


def _number(name: str, value: Any, at_least: float | None = None) -> float | None:
    if value is None:
        return None
    number = normalize(value)
    if type(number) not in (int, float) or not math.isfinite(number):  # type: ignore[arg-type]
        raise InvalidInput(f"{name} is a number, not {value!r:.80}")
    found = float(number)  # type: ignore[arg-type]  # checked above
    if at_least is not None and found < at_least:
        raise InvalidInput(f"{name} is {at_least:g} or more, not {found:g}")
    return found


def _member(version: Any) -> dict[str, Any]:
    if not isinstance(version, ModelVersion):
        raise InvalidInput(
            f"a member is a version that run.model() returned, not a {type(version).__qualname__}"
        )
    return {"name": version.name, "version": version.version, "digest": version.digest}
