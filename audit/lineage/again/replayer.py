"""What the replays of predictions have in common: each record is judged, each blob taken once.

A `Replayer` brings a prediction as far as a request to run (`prepare`): integrity of its records,
the artifact by its digest, the code. Signatures, models, artifacts and code are kept, so that a
thousand predictions of one model cost little more than one.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from audit.errors import FormatError, InvalidInput, NotFound, StoreCorrupt, UnknownSchema
from audit.event.values import Value
from audit.lineage.again.batch_replay import Rows, rows_for
from audit.lineage.again.capsules import Kept, kept_capsule
from audit.lineage.again.integrity import TAMPERED, VERIFIED, Checker, Integrity, worst
from audit.lineage.again.rerun import Request
from audit.lineage.again.verdict import MATCHES, PredictionReplay, WhatIf
from audit.lineage.recorded.models import FoundModel, find_models
from audit.lineage.recorded.predictions import REJECTED_STATUS, Prediction
from audit.lineage.recorded.runs import find_run
from audit.replay.books import Books
from audit.replay.points import Cut
from audit.replay.refs import parse_ref
from audit.store.blobs import BlobStore
from audit.store.contract import Reader
from audit.verify.policy import Policy

MAX_ARTIFACTS_KEPT = 4
"""How many artifacts stay in memory, the last used ones."""
MAX_CAPSULES_KEPT = 64


class Artifact(NamedTuple):
    """An artifact's bytes, or what is wrong with it: an answer, a reason and a sentence."""

    data: bytes
    answer: str
    reason: str | None = None
    message: str = ""


@dataclass
class Prepared:
    """A prediction on its way to a verdict. Without a request there is nothing to run."""

    answer: PredictionReplay
    request: Request | None = None
    seeded: bool = False
    kept: Kept | None = None
    corrupt: Integrity | None = None
    rows: Rows | None = None
    reasons: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


class Replayer:
    """Prepares predictions of one ledger for a run, all under the same conditions."""

    def __init__(
        self,
        reader: Reader,
        blobs: BlobStore,
        policy: Policy | None,
        cut: Cut,
        changes: WhatIf,
        tolerance: float | None,
        run_unverified: bool,
    ) -> None:
        """`tolerance`: given by the caller; None takes the model version's."""
        if tolerance is not None and not 0 <= tolerance < float("inf"):
            raise InvalidInput("a tolerance is a number of 0 or more")
        self.reader = reader
        self.blobs = blobs
        self.cut = cut
        self.checker = Checker(reader, policy)
        self.run_unverified = run_unverified
        self.books = Books(reader, cut)
        self._changes = changes
        self._tolerance = tolerance
        self._models: dict[tuple[str, str], list[FoundModel]] = {}
        self._tolerances: dict[tuple[int, int], float | None] = {}
        self._seeds: dict[str, bool] = {}
        self._artifacts: OrderedDict[str, Artifact] = OrderedDict()
        self._capsules: OrderedDict[str, Kept] = OrderedDict()
        self._other = self._wanted_model()

    def prepare(self, prediction: Prediction, integrity: Integrity) -> Prepared:
        """Everything up to the run. `integrity`: of the prediction's own record."""
        found = Prepared(PredictionReplay(prediction.prediction_id, prediction, integrity.answer))
        features = self._features(prediction)
        model = self._model(prediction, found)
        all_ = [integrity]
        if found.corrupt is not None:
            all_.append(found.corrupt)
        if model is not None:
            at = model.record
            all_.append(self.checker.check(at.log, at.index, at.leaf))
        sum_ = worst(all_)
        found.answer = replace(
            found.answer,
            integrity=sum_.answer,
            tolerance=self._tolerance_of(model),
            what_if=self._changes.to_json(),
        )
        if sum_.answer != VERIFIED:
            found.messages.append(sum_.message)
        if sum_.answer == TAMPERED:
            found.reasons = ["RECORD_TAMPERED"]
            return _said(found)
        may_run = sum_.answer == VERIFIED or self.run_unverified
        if not may_run:
            found.reasons.append("RECORD_UNVERIFIED")
            found.messages.append("nothing was run, as nobody vouches for the recorded code")
        if prediction.status == REJECTED_STATUS:
            found.reasons.append("INPUT_REJECTED")
            found.messages.append("the input was rejected, and no model was run")
            return _said(found)
        if prediction.batch is not None:
            self._take_rows(prediction, found)
        call = prediction.call or {}
        digest = (prediction.model_digest or "") if model is None else model.digest
        kind = str(call.get("format")) if model is None else model.format
        artifact = self._artifact(digest)
        kept = self._capsule(prediction)
        self._say(found, artifact, kept)
        rows = found.rows
        if not may_run or kept.problem is not None or artifact.reason is not None:
            return _said(found)
        if rows is not None and rows.reason is not None:
            return _said(found)
        name = prediction.model_name if model is None else model.name
        version = (prediction.model_version or "") if model is None else model.version
        data = {**kept.blobs, digest: artifact.data}
        if rows is not None and prediction.batch is not None:
            data[prediction.batch.digest] = rows.data
        capsule = dict(kept.capsule)
        found.kept = kept
        found.seeded = prediction.seed is not None or self._run_has_seed(model)
        found.request = Request(
            capsule, features, call, name, version, digest, kind, data, prediction.seed,
            batch=None if prediction.batch is None else prediction.batch.digest,
        )  # fmt: skip
        return _said(found)

    def _take_rows(self, prediction: Prediction, found: Prepared) -> None:
        rows = found.rows = rows_for(self.blobs, prediction)
        if rows.reason is not None:
            found.reasons.append(rows.reason)
            found.messages.append(rows.message)

    def _say(self, found: Prepared, artifact: Artifact, kept: Kept) -> None:
        """Answers about model and code, with what is missing."""
        answer = artifact.answer
        if artifact.reason is not None:
            found.reasons.append(artifact.reason)
            found.messages.append(artifact.message)
        if kept.problem is not None:
            found.reasons.append("CODE_UNAVAILABLE")
            found.messages.append(kept.problem)
        elif answer == MATCHES and not kept.uses_model:
            answer = "NOT_USED"
            found.messages.append("the recorded code does not use the registered artifact")
        code = "UNAVAILABLE" if kept.problem is not None else MATCHES
        found.answer = replace(found.answer, model=answer, code=code)

    def _features(self, prediction: Prediction) -> Mapping[str, Value]:
        features = dict(prediction.features)
        for name, value in self._changes.features.items():
            if name not in features:
                known = ", ".join(list(features)[:20])
                raise InvalidInput(f"the prediction has no feature {name!r:.80}; it has {known}")
            features[name] = value
        return features

    def _wanted_model(self) -> FoundModel | None:
        """The model.version entry of the model to run instead, if there is one."""
        against = self._changes.against
        if against is None:
            return None
        ref = parse_ref(against if against.startswith("model/") else f"model/{against}")
        others = find_models(self.reader, ref.name, ref.version or "", self.cut)
        if not others:
            raise NotFound(f"no model {ref} is registered in {self.reader.address}")
        return others[-1]

    def _model(self, prediction: Prediction, found: Prepared) -> FoundModel | None:
        """The model.version entry of what was served, or of the model to run instead."""
        if self._other is not None:
            return self._other
        key = prediction.model_name, prediction.model_version or ""
        if key not in self._models:
            try:
                self._models[key] = find_models(self.reader, *key, self.cut)
            except InvalidInput:
                self._models[key] = []  # a name or version that no registered model can have
            except StoreCorrupt as error:
                found.corrupt = Integrity(TAMPERED, str(error))
                return None
        same = [model for model in self._models[key] if model.digest == prediction.model_digest]
        if not same:
            found.reasons.append("LOG_GAP")
            found.messages.append("the log has no model.version with this name, version and digest")
        # The first: what is said about the same artifact later (a wider tolerance) changes nothing.
        return same[0] if same else None

    def _tolerance_of(self, model: FoundModel | None) -> float | None:
        if self._tolerance is not None or model is None:
            return self._tolerance
        at = model.record.log, model.record.index
        if at not in self._tolerances:
            declared: object = None
            try:
                data = self.books.decode(model.record)
                declared = data.get("tolerance") if isinstance(data, dict) else None
            except (FormatError, UnknownSchema):
                declared = None
            known = isinstance(declared, float) and 0 <= declared < float("inf")
            self._tolerances[at] = declared if known and isinstance(declared, float) else None
        return self._tolerances[at]

    def _run_has_seed(self, model: FoundModel | None) -> bool:
        run_id = None if model is None else model.run_id
        if run_id is None:
            return False
        if run_id not in self._seeds:
            try:
                self._seeds[run_id] = find_run(self.reader, run_id, self.cut).seed is not None
            except (InvalidInput, StoreCorrupt):
                self._seeds[run_id] = False
        return self._seeds[run_id]

    def _artifact(self, digest: str) -> Artifact:
        known = self._artifacts.get(digest)
        if known is None:
            try:
                known = Artifact(self.blobs.get(digest), MATCHES)
            except StoreCorrupt as error:
                known = Artifact(b"", "DIGEST_MISMATCH", "ARTIFACT_DIGEST_MISMATCH", str(error))
            except (NotFound, FormatError) as error:
                known = Artifact(b"", "MISSING", "ARTIFACT_MISSING", str(error))
            _keep(self._artifacts, digest, known, MAX_ARTIFACTS_KEPT)
        return known

    def _capsule(self, prediction: Prediction) -> Kept:
        digest = None if prediction.call is None else prediction.code_digest
        known = self._capsules.get(digest or "")
        if known is None:
            known = kept_capsule(self.blobs, digest)
            _keep(self._capsules, digest or "", known, MAX_CAPSULES_KEPT)
        return known


def _keep(cache: "OrderedDict[str, Any]", name: str, thing: Any, limit: int) -> None:
    cache[name] = thing
    if len(cache) > limit:
        cache.popitem(last=False)


def _said(found: Prepared) -> Prepared:
    found.answer = replace(
        found.answer, reasons=tuple(found.reasons), messages=tuple(found.messages)
    )
    return found
