"""Replay a prediction: the recorded artifact and code with the features as served, judged apart.

Steps, numbered here and in the code:

 1 find        the prediction's entry
 2 integrity   the entry of the prediction, and that of its model version, under a signed tree head
 3 model       the artifact by its digest from the blob store, re-hashed
 4 code        the capsule by its digest, and the objects it refers to
 5 run         in a process of its own (audit.lineage.again.rerun), the features exactly as served
 6 compare     with the recorded output (audit.lineage.again.compare); a difference is tried twice
 7 environment what it ran on then, against now
 8 features    made again by their recorded definition (audit.lineage.again.recompute), and compared

A step that fails ends the way to an output, not the other answers. Nothing recorded is unpickled or
run unless the records that name it are VERIFIED and its digest was checked: who can write to the
store and the blobs would have his own code run otherwise. `run_unverified` lifts the first for
records that are UNVERIFIED, never for TAMPERED ones. A model version that the log does not have
(LOG_GAP) is vouched for by the prediction's own record, which names the artifact's digest.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from audit.errors import InvalidInput, StoreCorrupt
from audit.event.values import normalize
from audit.lineage.again.batch_replay import judge_batch
from audit.lineage.again.compare import DIVERGED
from audit.lineage.again.integrity import TAMPERED, VERIFIED, Integrity
from audit.lineage.again.judging import agree, by_chance, judge, with_environment
from audit.lineage.again.recompute import recompute
from audit.lineage.again.replayer import Prepared, Replayer
from audit.lineage.again.rerun import TIME_LIMIT_S, Reply, rerun
from audit.lineage.again.verdict import PredictionReplay, WhatIf
from audit.lineage.recorded.predictions import (
    Prediction,
    is_named,
    locate_prediction,
    read_prediction,
)
from audit.replay.points import Cut, resolve
from audit.replay.steps import trusted_record
from audit.store.blobs import BlobStore
from audit.store.contract import Reader
from audit.verify.policy import Policy


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
    head. `tolerance`: see `compare`; default the one that the model version declares. "What if" is
    asked by `set_features` (name -> value) and `against` (NAME@VERSION). `run_unverified`: also run
    code that nobody vouches for, with all the rights of this user; only for a store and blobs that
    no one else can write to.
    Raises NotFound, Ambiguous, InvalidInput for a prediction or a feature that is not there,
    Unavailable when store or blobs cannot be reached; all else is in the answer.
    """
    changes = WhatIf({n: normalize(v) for n, v in (set_features or {}).items()}, against)
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise InvalidInput("a tolerance is a number of 0 or more")
    if cut is None:
        cut = resolve(reader, None, 0)
    # 1 find
    log, index = locate_prediction(reader, prediction_id, cut)
    wanted = prediction_id.removeprefix("prediction/")
    try:
        record = trusted_record(log, index, reader.leaf(log, index))
    except StoreCorrupt as error:
        return stopped(wanted, None, Integrity(TAMPERED, str(error)))
    if not is_named(record, prediction_id):
        misled = f"the store's index leads to entry {log}/{index}, which has another id"
        return stopped(wanted, None, Integrity(TAMPERED, misled))
    # 2 integrity
    replayer = Replayer(reader, blobs, policy, cut, changes, tolerance, run_unverified)
    integrity = replayer.checker.check(log, index, record.leaf)
    prediction = read_prediction(replayer.books, record)
    early = judged_at_once(prediction, integrity)
    if early is not None:
        return early
    prepared = replayer.prepare(prediction, integrity)  # with 3 and 4
    answer = prepared.answer
    if prepared.request is not None:
        answer = run_alone(prepared, time_limit_s)
    # 8 features
    if changes.to_json() is None and answer.integrity != TAMPERED and (
        answer.integrity == VERIFIED or run_unverified
    ):  # fmt: skip
        made = recompute(replayer, prediction, time_limit_s)
        answer = replace(
            answer,
            features=made.answer,
            feature_differences=made.differences,
            reasons=(*answer.reasons, *made.reasons),
            messages=(*answer.messages, *made.messages),
        )
    return answer


def run_alone(prepared: Prepared, time_limit_s: float) -> PredictionReplay:
    """Run it in a fresh process, twice where it comes out otherwise, and judge."""
    assert prepared.request is not None
    # 5 run
    reply = rerun(prepared.request, time_limit_s)
    # 6 compare
    answer = judged(prepared, reply)
    again: Reply | None = None
    if answer.output == DIVERGED:
        again = rerun(prepared.request, time_limit_s)
        if not agree(reply, again):
            answer = by_chance(answer, prepared.request.capsule, prepared.seeded)
    # 7 environment
    return with_environment(answer, reply)


def judged(prepared: Prepared, reply: Reply) -> PredictionReplay:
    """The verdict on what came out; of a batch row by row."""
    if prepared.rows is not None:
        return judge_batch(prepared.answer, reply, prepared.rows.data)
    return judge(prepared.answer, reply)


def judged_at_once(prediction: Prediction, integrity: Integrity) -> PredictionReplay | None:
    """The answer where the record itself is no good; None where it is."""
    if integrity.answer == TAMPERED:
        return stopped(prediction.prediction_id, prediction, integrity)
    if prediction.problem is not None:
        return stopped(prediction.prediction_id, prediction, integrity, "RECORD_UNREADABLE")
    return None


def stopped(
    prediction_id: str,
    prediction: Prediction | None,
    found: Integrity,
    reason: str = "RECORD_TAMPERED",
) -> PredictionReplay:
    """An answer without a run."""
    messages = [found.message]
    if prediction is not None and prediction.problem is not None:
        messages.append(prediction.problem)
    return PredictionReplay(
        prediction_id, prediction, found.answer, reasons=(reason,), messages=tuple(messages)
    )
