"""Replay a prediction: the recorded artifact and code with the features as served, judged apart.

Steps, numbered here and in the code:

 1 find        the prediction's entry
 2 integrity   the entry of the prediction, and that of its model version, under a signed tree head
 3 model       the artifact by its digest from the blob store, re-hashed
 4 code        the capsule by its digest, and the objects it refers to
 5 run         in a process of its own (audit.lineage.rerun), the features exactly as served
 6 compare     with the recorded output (audit.lineage.compare); a difference is tried twice
 7 environment what it ran on then, against now

A step that fails ends the way to an output, not the other answers. Nothing recorded is unpickled or
run unless the records that name it are VERIFIED and its digest was checked: who can write to the
store and the blobs would have his own code run otherwise. `run_unverified` lifts the first for
records that are UNVERIFIED, never for TAMPERED ones. A model version that the log does not have
(LOG_GAP) is vouched for by the prediction's own record, which names the artifact's digest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from audit.errors import FormatError, InvalidInput, NotFound, StoreCorrupt
from audit.event.values import Value, normalize, parse_json
from audit.lineage import compare as compared
from audit.lineage.capsule import FORMAT
from audit.lineage.compare import compare
from audit.lineage.environment import differences
from audit.lineage.forms import Served
from audit.lineage.integrity import TAMPERED, VERIFIED, Integrity, check_integrity, worst
from audit.lineage.models import FoundModel, find_models
from audit.lineage.predictions import (
    OK_STATUS,
    Prediction,
    is_named,
    locate_prediction,
    read_prediction,
)
from audit.lineage.rerun import TIME_LIMIT_S, Reply, Request, rerun
from audit.lineage.verdict import MATCHES, NOT_REPRODUCIBLE, PredictionReplay, WhatIf
from audit.replay.books import Books
from audit.replay.points import Cut, resolve
from audit.replay.refs import parse_ref
from audit.replay.steps import trusted_record
from audit.store.blobs import BlobStore
from audit.store.contract import Reader
from audit.verify.policy import Policy

_STAGE_REASONS = {
    "artifact": "ENV_LOAD_ERROR",
    "environment": "ENV_LOAD_ERROR",
    "code": "CODE_UNAVAILABLE",
    "features": "FEATURES_UNREADABLE",
    "output": "OUTPUT_UNREADABLE",
    "raised": "RAISED",
    "time": "TIME_LIMIT",
    "process": "PROCESS_DIED",
}


def replay_prediction(
    reader: Reader,
    blobs: BlobStore,
    prediction_id: str,
    policy: Policy | None,
    *,
    cut: Cut | None = None,
    tolerance: float | None = None,
    set_features: Mapping[str, Any] | None = None,
    against: str | None = None,
    time_limit_s: float = TIME_LIMIT_S,
    run_unverified: bool = False,
) -> PredictionReplay:
    """Run a recorded prediction again and judge (see the module docstring).

    `prediction_id`: the event id, or SOURCE:ID, or prediction/ID. `cut`: as known then; default the
    head. `tolerance`: see `compare`. "What if" is asked by `set_features` (name -> value) and
    `against` (NAME@VERSION). `run_unverified`: also run code that nobody vouches for, with all the
    rights of this user; only for a store and blobs that no one else can write to.
    Raises NotFound, Ambiguous, InvalidInput for a prediction or a feature that is not there,
    Unavailable when store or blobs cannot be reached; all else is in the answer.
    """
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise InvalidInput("a tolerance is a number of 0 or more")
    changes = WhatIf({n: normalize(v) for n, v in (set_features or {}).items()}, against)
    if cut is None:
        cut = resolve(reader, None, 0)
    # 1 find
    log, index = locate_prediction(reader, prediction_id, cut)
    wanted = prediction_id.removeprefix("prediction/")
    try:
        record = trusted_record(log, index, reader.leaf(log, index))
    except StoreCorrupt as error:
        return _stopped(wanted, None, [Integrity(TAMPERED, str(error))], "RECORD_TAMPERED")
    if not is_named(record, prediction_id):
        misled = f"the store's index leads to entry {log}/{index}, which has another id"
        return _stopped(wanted, None, [Integrity(TAMPERED, misled)], "RECORD_TAMPERED")
    # 2 integrity
    integrity = check_integrity(reader, log, index, policy, record.leaf)
    prediction = read_prediction(Books(reader, cut), record)
    if integrity.answer == TAMPERED:
        return _stopped(prediction.prediction_id, prediction, [integrity], "RECORD_TAMPERED")
    if prediction.problem is not None:
        return _stopped(prediction.prediction_id, prediction, [integrity], "RECORD_UNREADABLE")
    return _Replay(reader, blobs, prediction, policy, cut, changes, integrity).run(
        tolerance, time_limit_s, run_unverified
    )


def _stopped(
    prediction_id: str, prediction: Prediction | None, found: list[Integrity], reason: str
) -> PredictionReplay:
    sum_ = worst(found)
    messages = [sum_.message]
    if prediction is not None and prediction.problem is not None:
        messages.append(prediction.problem)
    return PredictionReplay(
        prediction_id, prediction, sum_.answer, reasons=(reason,), messages=tuple(messages)
    )


@dataclass
class _Replay:
    """One replay: what was found on the way to an output."""

    reader: Reader
    blobs: BlobStore
    prediction: Prediction
    policy: Policy | None
    cut: Cut
    changes: WhatIf
    integrity: Integrity
    model_answer: str = "UNKNOWN"
    code_answer: str = "UNAVAILABLE"
    reasons: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    data: dict[str, bytes] = field(default_factory=dict)

    def run(
        self, tolerance: float | None, time_limit_s: float, run_unverified: bool
    ) -> PredictionReplay:
        features = self._features()
        # 2 integrity, of the model version
        model = self._find_model()
        found = [self.integrity]
        if model is not None:
            at = model.record
            found.append(check_integrity(self.reader, at.log, at.index, self.policy, at.leaf))
        integrity = worst(found)
        if integrity.answer != VERIFIED:
            self.messages.append(integrity.message)
        if integrity.answer == TAMPERED:
            return replace(self._answer(integrity), reasons=("RECORD_TAMPERED",))
        may_run = integrity.answer == VERIFIED or run_unverified
        if not may_run:
            self.reasons.append("RECORD_UNVERIFIED")
            self.messages.append("nothing was run, as nobody vouches for the recorded code")
        digest, kind = self._artifact_named(model)
        # 3 model
        self._take_artifact(digest)
        # 4 code
        capsule = self._take_code()
        answer = self._answer(integrity)
        if not may_run or capsule is None or self.model_answer in ("MISSING", "DIGEST_MISMATCH"):
            return answer
        name, version = self._model_names(model)
        call = self.prediction.call or {}
        request = Request(capsule, features, call, name, version, digest, kind, self.data)
        # 5 run
        reply = rerun(request, time_limit_s)
        # 6 compare
        answer = self._judge(self._answer(integrity), reply, tolerance)
        if answer.output == compared.DIVERGED and not _agree(reply, rerun(request, time_limit_s)):
            answer = replace(
                answer,
                output=NOT_REPRODUCIBLE,
                reasons=(*answer.reasons, "NONDETERMINISTIC"),
                messages=(*answer.messages, "two runs with the same features differ"),
            )
        # 7 environment
        return self._with_environment(answer, reply)

    def _features(self) -> dict[str, Value]:
        features = dict(self.prediction.features)
        for name, value in self.changes.features.items():
            if name not in features:
                known = ", ".join(list(features)[:20])
                raise InvalidInput(f"the prediction has no feature {name!r:.80}; it has {known}")
            features[name] = value
        return features

    def _find_model(self) -> FoundModel | None:
        """The model.version entry of what was served, or of the model to run instead."""
        against = self.changes.against
        if against is not None:
            ref = parse_ref(against if against.startswith("model/") else f"model/{against}")
            others = find_models(self.reader, ref.name, ref.version or "", self.cut)
            if not others:
                raise NotFound(f"no model {ref} is registered in {self.reader.address}")
            return others[-1]
        prediction = self.prediction
        try:
            found = find_models(
                self.reader, prediction.model_name, prediction.model_version or "", self.cut
            )
        except InvalidInput:
            found = []  # a name or version that no registered model can have
        same = [model for model in found if model.digest == prediction.model_digest]
        if not same:
            self.reasons.append("LOG_GAP")
            self.messages.append("the log has no model.version with this name, version and digest")
        return same[-1] if same else None

    def _artifact_named(self, model: FoundModel | None) -> tuple[str, str]:
        """Digest and format of the artifact to run."""
        if model is not None:
            return model.digest, model.format
        return self.prediction.model_digest or "", str((self.prediction.call or {}).get("format"))

    def _model_names(self, model: FoundModel | None) -> tuple[str, str]:
        if model is not None:
            return model.name, model.version
        return self.prediction.model_name, self.prediction.model_version or ""

    def _take_artifact(self, digest: str) -> None:
        try:
            self.data[digest] = self.blobs.get(digest)
            self.model_answer = MATCHES
        except StoreCorrupt as error:
            self._miss("DIGEST_MISMATCH", "ARTIFACT_DIGEST_MISMATCH", error)
        except (NotFound, FormatError) as error:
            self._miss("MISSING", "ARTIFACT_MISSING", error)

    def _miss(self, answer: str, reason: str, error: Exception) -> None:
        self.model_answer = answer
        self.reasons.append(reason)
        self.messages.append(str(error))

    def _take_code(self) -> dict[str, Any] | None:
        """The capsule, when it and all that it refers to are there; else says what is missing."""
        prediction = self.prediction
        try:
            if prediction.code_digest is None or prediction.call is None:
                raise NotFound("the prediction was recorded without its code")
            capsule = parse_json(self.blobs.get(prediction.code_digest))
            if not isinstance(capsule, dict) or capsule.get("format") != FORMAT:
                raise FormatError(
                    "the recorded code is in another format; a newer version wrote it"
                )
            bindings = list(_bindings(capsule))
            for digest in sorted({b["digest"] for b in bindings if b["is"] == "pickle"}):
                self.data[digest] = self.blobs.get(digest)
            if capsule["missing"]:
                raise NotFound("; ".join(map(str, capsule["missing"])))
        except (NotFound, StoreCorrupt, InvalidInput) as error:
            text = str(error)
        except (KeyError, TypeError, AttributeError):
            text = "the recorded code is not a capsule"
        else:
            self.code_answer = MATCHES
            if self.model_answer == MATCHES and not any(
                binding["is"] in ("model", "version") for binding in bindings
            ):
                self.model_answer = "NOT_USED"
                self.messages.append("the recorded code does not use the registered artifact")
            return capsule
        self.reasons.append("CODE_UNAVAILABLE")
        self.messages.append(text)
        return None

    def _answer(self, integrity: Integrity) -> PredictionReplay:
        return PredictionReplay(
            self.prediction.prediction_id,
            self.prediction,
            integrity.answer,
            model=self.model_answer,
            code=self.code_answer,
            reasons=tuple(self.reasons),
            messages=tuple(self.messages),
            what_if=self.changes.to_json(),
        )

    def _judge(
        self, answer: PredictionReplay, reply: Reply, tolerance: float | None
    ) -> PredictionReplay:
        """The verdict on what came out, against what was recorded."""
        failed_then = self.prediction.status != OK_STATUS
        if reply.stage == "raised" and failed_then:
            same = reply.error == (self.prediction.error or "").partition(":")[0]
            verdict = compared.IDENTICAL if same else compared.DIVERGED
            return replace(answer, output=verdict, raised=reply.error)
        if reply.output is not None and not failed_then:
            call = self.prediction.call or {}
            then = Served(self.prediction.output, call.get("output"))
            found = compare(then, reply.output, tolerance, call.get("threshold"))
            return replace(
                answer,
                output=found.verdict,
                replayed=reply.output,
                max_ulps=found.max_ulps,
                max_difference=found.max_difference,
            )
        if reply.output is not None:
            return replace(answer, output=compared.DIVERGED, replayed=reply.output)
        reason = _STAGE_REASONS.get(reply.stage, "PROCESS_DIED")
        if reply.stage == "code":
            answer = replace(answer, code="UNAVAILABLE")
        text = f"{reply.error}: {reply.message}" if reply.error else reply.message
        return replace(
            answer,
            reasons=(*answer.reasons, reason),
            messages=(*answer.messages, text),
            raised=reply.error if reply.stage == "raised" else None,
        )

    def _with_environment(self, answer: PredictionReplay, reply: Reply) -> PredictionReplay:
        recorded = (self.prediction.call or {}).get("environment")
        if not recorded or not reply.environment:
            return answer
        found = tuple(differences(recorded, reply.environment))
        if not found:
            return replace(answer, environment="SAME")
        answer = replace(answer, environment="DIFFERENT", environment_differences=found)
        if answer.output == compared.IDENTICAL:
            return answer
        return replace(answer, reasons=(*answer.reasons, "ENV_DIFFERENT"))


def _agree(one: Reply, other: Reply) -> bool:
    """Whether two runs gave the same."""
    if one.output is None or other.output is None:
        return (one.stage, one.error) == (other.stage, other.error)
    return compare(one.output, other.output).verdict == compared.IDENTICAL


def _bindings(capsule: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All bindings of a capsule; KeyError, TypeError or AttributeError where it is none."""
    found: list[dict[str, Any]] = []
    for function in capsule["functions"].values():
        for name in ("globals", "closure", "kwdefaults"):
            found.extend(function[name].values())
        found.extend(function["defaults"])
    if not all(isinstance(binding.get("is"), str) for binding in found):
        raise TypeError("a binding without a kind")
    return found
