"""The answers of a prediction's replay: each for itself, never one green tick."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from audit.event.values import Value, fields_to_json, to_json
from audit.lineage.again.compare import IDENTICAL, WITHIN_TOLERANCE
from audit.lineage.again.integrity import VERIFIED
from audit.lineage.content.forms import Served
from audit.lineage.recorded.predictions import Prediction

NOT_REPRODUCIBLE = "NOT_REPRODUCIBLE"
AS_SERVED_ONLY = "AS_SERVED_ONLY"
RECOMPUTED_IDENTICAL = "RECOMPUTED_IDENTICAL"
RECOMPUTED_DIFFERENT = "RECOMPUTED_DIFFERENT"
MATCHES = "MATCHES"
"""Model and code: the bytes found are those whose digest was recorded."""


class FeatureDifference(NamedTuple):
    """A feature that comes out otherwise; `recomputed` is a text where it does not come out."""

    name: str
    definition: str
    served: Value
    recomputed: Value

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "name": self.name,
            "definition": self.definition,
            "served": to_json(self.served),
            "recomputed": to_json(self.recomputed),
        }


@dataclass(frozen=True)
class PredictionReplay:
    """The answers, each for itself.

    `integrity`: VERIFIED, UNVERIFIED, TAMPERED.  `model`: MATCHES, MISSING, DIGEST_MISMATCH,
    NOT_USED (the code does not use the registered artifact), UNKNOWN.  `code`: MATCHES,
    UNAVAILABLE.  `environment`: SAME, DIFFERENT, UNKNOWN.  `features`: RECOMPUTED_IDENTICAL,
    RECOMPUTED_DIFFERENT (`feature_differences` says which), AS_SERVED_ONLY (not made by a recorded
    definition from cited data, or that cannot be run again: `messages` says why).
    `output`: IDENTICAL, WITHIN_TOLERANCE, SAME_DECISION, DIVERGED, NOT_REPRODUCIBLE, and why in
    `reasons` (RECORD_UNVERIFIED: nothing was run, as nobody vouches for the recorded code);
    `messages` has a sentence for what is not as it should be.
    `rows`: of a batch, how many rows came out how; then `output` is the worst of them.
    `tolerance`: the one that was used, given or of the model version; None: a few ULPs.
    `what_if`: what was changed on purpose; then `output` says what that did.
    """

    prediction_id: str
    prediction: Prediction | None
    integrity: str
    model: str = "UNKNOWN"
    code: str = "UNAVAILABLE"
    environment: str = "UNKNOWN"
    features: str = AS_SERVED_ONLY
    output: str = NOT_REPRODUCIBLE
    reasons: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    environment_differences: tuple[str, ...] = ()
    replayed: Served | None = None
    raised: str | None = None
    max_ulps: int | None = None
    max_difference: float | None = None
    what_if: Mapping[str, Any] | None = None
    tolerance: float | None = None
    feature_differences: tuple[FeatureDifference, ...] = ()
    rows: Mapping[str, int] | None = None

    @property
    def ok(self) -> bool:
        """True when the record is verified and the same came out; of a what-if, anything at all.

        Not where the features, made again, are others than those that were served.
        """
        if self.integrity != VERIFIED or self.features == RECOMPUTED_DIFFERENT:
            return False
        if self.what_if is not None:
            return self.output != NOT_REPRODUCIBLE
        return self.model == MATCHES and self.output in (IDENTICAL, WITHIN_TOLERANCE)

    @property
    def exit_code(self) -> int:
        """0 when `ok`, else 1."""
        return 0 if self.ok else 1

    def to_json(self) -> dict[str, Any]:
        """As in INTERFACE "Verdicts", with what it stands on."""
        recorded = None if self.prediction is None else self.prediction.to_json()
        return {
            "prediction": self.prediction_id,
            "integrity": self.integrity,
            "model": self.model,
            "code": self.code,
            "environment": self.environment,
            "features": self.features,
            "output": self.output,
            "reasons": list(self.reasons),
            "messages": list(self.messages),
            "environment_differences": list(self.environment_differences),
            "recorded": recorded,
            "replayed_output": None if self.replayed is None else to_json(self.replayed.value),
            "replayed_error": self.raised,
            "max_ulps": self.max_ulps,
            "max_difference": to_json(self.max_difference),
            "what_if": self.what_if,
            "tolerance": self.tolerance,
            "feature_differences": [one.to_json() for one in self.feature_differences],
            "rows": None if self.rows is None else dict(self.rows),
        }


class WhatIf(NamedTuple):
    """What to change on purpose: features by name, and the model version to run instead."""

    features: Mapping[str, Value]
    against: str | None

    def to_json(self) -> dict[str, Any] | None:
        """The changes; None when there are none."""
        if not self.features and self.against is None:
            return None
        return {"set": fields_to_json(self.features), "against": self.against}
