"""Replay a run: the recorded component or training, run again on the recorded data; judged apart.

1 find        the run's last entry
2 integrity   that entry under a signed tree head; nothing recorded is run unless it is VERIFIED
3 run         audit.lineage.again.run_rerun: a function or a script, in a process without network
4 compare     models and outputs by digest, metrics by bits, then by tolerance
5 environment what it ran on then, against now

   IDENTICAL          every model and output has the digest it had, every metric the same bits
   WITHIN_TOLERANCE   models or outputs have other bytes, and all metrics are close
   DIVERGED           anything else that ran to its end
   NOT_REPRODUCIBLE   it could not be run, or two runs differ: `reasons`
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from audit.errors import FormatError, InvalidInput, NotFound, StoreCorrupt
from audit.event.valuejson import parse_json, to_json
from audit.lineage.again.capsules import kept_capsule
from audit.lineage.again.compare import DIVERGED, IDENTICAL, WITHIN_TOLERANCE, bits
from audit.lineage.again.integrity import TAMPERED, VERIFIED, check_integrity
from audit.lineage.again.judging import STAGE_REASONS, imports_random, uses_random_numbers
from audit.lineage.again.run_rerun import (
    RUN_TIME_LIMIT_S,
    CannotRun,
    Made,
    Place,
    run_function,
    run_script,
)
from audit.lineage.again.verdict import MATCHES, NOT_REPRODUCIBLE
from audit.lineage.recorded.records import RUN_ENTITY, records_of
from audit.lineage.recorded.runs import COMPLETE, RUN_TYPES, STARTED, Run, find_run
from audit.lineage.source.environment import differences
from audit.replay.points import Cut
from audit.store.blobs import BlobStore
from audit.store.contract import Reader
from audit.verify.policy import Policy

METRIC_TOLERANCE = 1e-6
"""How far metrics may differ, relatively or absolutely, when no tolerance is given."""
MAX_RERUN_CHARS = 1 << 20
SEVERAL_ENDS = "SEVERAL_ENDS"
"""Several records tell how the run ended, and none takes the place of another."""
_INPUT_ANSWERS = {
    "INPUT_MISSING": "UNAVAILABLE",
    "LOG_GAP": "UNAVAILABLE",
    "INPUT_DIGEST_MISMATCH": "DIFFERENT",
    "DATA_DIFFERENT": "DIFFERENT",
}


class Pair(NamedTuple):
    """A thing with its digest, or a metric: then and now. None: it is not there."""

    name: str
    recorded: str | float | None
    replayed: str | float | None


@dataclass(frozen=True)
class RunReplay:
    """The answers, each for itself.

    `integrity`: VERIFIED, UNVERIFIED, TAMPERED.  `code`: MATCHES, UNAVAILABLE.  `inputs`: MATCHES,
    DIFFERENT, UNAVAILABLE, UNKNOWN.  `environment`: SAME, DIFFERENT, UNKNOWN.  `output`: see the
    module docstring; `reasons` say why it is not.  `made`: models, outputs and metrics, one by one.
    """

    run_id: str
    run: Run | None
    integrity: str
    code: str = "UNAVAILABLE"
    inputs: str = "UNKNOWN"
    environment: str = "UNKNOWN"
    output: str = NOT_REPRODUCIBLE
    reasons: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    environment_differences: tuple[str, ...] = ()
    models: tuple[Pair, ...] = ()
    outputs: tuple[Pair, ...] = ()
    metrics: tuple[Pair, ...] = ()
    raised: str | None = None

    @property
    def ok(self) -> bool:
        """True when the record is verified and the same came out, or nearly."""
        same = self.output in (IDENTICAL, WITHIN_TOLERANCE)
        return self.integrity == VERIFIED and same and SEVERAL_ENDS not in self.reasons

    @property
    def exit_code(self) -> int:
        """0 when `ok`, else 1."""
        return 0 if self.ok else 1

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "run": self.run_id,
            "component": None if self.run is None else self.run.name,
            "integrity": self.integrity,
            "code": self.code,
            "inputs": self.inputs,
            "environment": self.environment,
            "output": self.output,
            "reasons": list(self.reasons),
            "messages": list(self.messages),
            "environment_differences": list(self.environment_differences),
            "models": [_pair(one) for one in self.models],
            "outputs": [_pair(one) for one in self.outputs],
            "metrics": [_pair(one) for one in self.metrics],
            "replayed_error": self.raised,
        }


def _pair(one: Pair) -> dict[str, Any]:
    return {
        "name": one.name,
        "recorded": to_json(one.recorded),
        "replayed": to_json(one.replayed),
    }


def replay_run(
    reader: Reader,
    blobs: BlobStore,
    run_id: str,
    policy: Policy | None,
    *,
    cut: Cut,
    opener: Callable[[str], Reader],
    run_unverified: bool = False,
    tolerance: float = METRIC_TOLERANCE,
    time_limit_s: float = RUN_TIME_LIMIT_S,
) -> RunReplay:
    """Run a recorded run again and judge (see the module docstring).

    `opener`: opens a ledger by its URL. `tolerance`: how far metrics may be apart.
    `run_unverified`: also run code that nobody vouches for.
    Raises NotFound when there is no such run, Unavailable; all else is in the answer.
    """
    # 1 find
    if not 0 <= tolerance < float("inf"):
        raise InvalidInput("a tolerance is a number of 0 or more")
    run = find_run(reader, run_id, cut)
    # 2 integrity
    at = run.record
    integrity = check_integrity(reader, at.log, at.index, policy, at.leaf)
    answer = RunReplay(run.run_id, run, integrity.answer)
    if integrity.answer != VERIFIED:
        answer = _with(answer, "", integrity.message)
    if integrity.answer == TAMPERED:
        return _with(answer, "RECORD_TAMPERED", "")
    if integrity.answer != VERIFIED and not run_unverified:
        words = "nothing was run, as nobody vouches for the recorded code"
        return _with(answer, "RECORD_UNVERIFIED", words)
    ends = _ends(reader, run, cut)
    if len(ends) > 1:
        words = f"{', '.join(ends[:10])} all tell how it ended; this is about the last of them"
        answer = _with(answer, SEVERAL_ENDS, words)
    if run.status == STARTED:
        return _with(answer, "RUN_NOT_ENDED", "its end is not recorded: nothing to compare with")
    rerun = _rerun_of(run)
    if rerun is None:
        return _with(answer, "CODE_UNAVAILABLE", "it does not say how it can be run again")

    # 3 run
    def run_once() -> Made:
        if rerun["kind"] == "function":
            return run_function(reader, blobs, run, rerun, time_limit_s)
        return run_script(blobs, run, rerun, Place(_absolute(reader.address), opener), time_limit_s)

    try:
        made = run_once()
    except CannotRun as cannot:
        code = "UNAVAILABLE" if cannot.reason == "CODE_UNAVAILABLE" else MATCHES
        inputs = {"INPUT_MISSING": "UNAVAILABLE", "LOG_GAP": "UNAVAILABLE"}.get(
            cannot.reason, "DIFFERENT" if cannot.reason[:1] == "D" else "UNKNOWN"
        )
        return replace(_with(answer, cannot.reason, str(cannot)), code=code, inputs=inputs)
    # 4 compare
    answer = _judge(replace(answer, code=MATCHES), run, made, tolerance)
    if answer.output == DIVERGED and _essence(run_once()) != _essence(made):
        answer = _by_chance(answer, blobs, run)
    # 5 environment
    return _with_environment(answer, run, made)


def _ends(reader: Reader, run: Run, cut: Cut) -> list[str]:
    """The entries that tell how a run ended: of an honest run one."""
    found = records_of(reader, cut, RUN_ENTITY, RUN_TYPES, run.run_id)
    return [
        f"{one.record.log}/{one.record.index}"
        for one in found
        if one.data.get("run_id") == run.run_id and one.data.get("status") != STARTED
    ]


def _rerun_of(run: Run) -> Mapping[str, Any] | None:
    if run.rerun is None or len(run.rerun) > MAX_RERUN_CHARS:
        return None
    try:
        found = parse_json(run.rerun)
    except InvalidInput:
        return None
    known = isinstance(found, dict) and found.get("kind") in ("function", "script")
    return found if known and isinstance(found, dict) else None


def _absolute(url: str) -> str:
    """A store's address that holds in any folder."""
    from pathlib import Path

    for scheme in ("sqlite:///", "bundle:///"):
        if url.startswith(scheme):
            return scheme + str(Path(url.removeprefix(scheme)).absolute())
    return url


def _judge(answer: RunReplay, run: Run, made: Made, tolerance: float) -> RunReplay:
    failed_then = run.status != COMPLETE
    if made.stage == "raised" and failed_then:
        same = made.error == (run.error or "").partition(":")[0]
        return replace(answer, output=IDENTICAL if same else DIVERGED, raised=made.error)
    if made.stage != "done":
        reason = STAGE_REASONS.get(made.stage, "PROCESS_DIED")
        text = f"{made.error}: {made.message}" if made.error else made.message
        answer = _with(answer, reason, text)
        if made.stage == "code":
            answer = replace(answer, code="UNAVAILABLE")
        if made.stage == "inputs":
            answer = replace(answer, inputs="DIFFERENT")
        return replace(answer, raised=made.error or None if made.stage == "raised" else None)
    inputs = _inputs(run, made)
    models = _pairs([(str(m), m.digest) for m in run.models], made.models)
    outputs = _pairs([(use.name or "output", use.digest) for use in run.outputs], made.outputs)
    metrics = tuple(
        Pair(name, run.metrics.get(name), made.metrics.get(name))
        for name in dict.fromkeys((*run.metrics, *made.metrics))
    )
    answer = replace(answer, inputs=inputs, models=models, outputs=outputs, metrics=metrics)
    if failed_then:
        return replace(answer, output=DIVERGED)
    if not (models or outputs or metrics):
        words = "it made no model, output or metric, then or now: nothing tells whether it is same"
        return _with(answer, "NOTHING_TO_COMPARE", words)
    same_bytes = all(
        one.recorded is not None and one.recorded == one.replayed for one in (*models, *outputs)
    )
    if same_bytes and all(_same_bits(one) for one in metrics):
        return replace(answer, output=IDENTICAL)
    if metrics and all(_close(one, tolerance) for one in metrics):
        return replace(answer, output=WITHIN_TOLERANCE)
    return replace(answer, output=DIVERGED)


def _inputs(run: Run, made: Made) -> str:
    """Whether it was given what it was given then, and read what it read."""
    then, now = Counter(str(use.digest) for use in run.inputs), Counter(made.inputs or ())
    if then == now:
        return MATCHES
    # What it did not say again may have been read all the same; other data is other data.
    return "UNKNOWN" if made.inputs is None or now <= then else "DIFFERENT"


def _pairs(then: list[tuple[str, str | None]], now: tuple[str, ...]) -> tuple[Pair, ...]:
    """Then and now side by side: first those of the same digest, then by their place."""
    left = Counter(now)
    same = []
    for _, digest in then:
        same.append(digest is not None and left[digest] > 0)
        if same[-1] and digest is not None:
            left[digest] -= 1
    others = iter(list(left.elements()))
    pairs = [
        Pair(name, digest, digest if found else next(others, None))
        for (name, digest), found in zip(then, same, strict=True)
    ]
    return (*pairs, *(Pair("(more)", None, digest) for digest in others))


def _same_bits(one: Pair) -> bool:
    then, now = one.recorded, one.replayed
    if isinstance(then, float) and isinstance(now, float):
        return bits(then) == bits(now)
    return then == now


def _close(one: Pair, tolerance: float) -> bool:
    then, now = one.recorded, one.replayed
    if isinstance(then, (int, float)) and isinstance(now, (int, float)):
        return _same_bits(one) or math.isclose(then, now, rel_tol=tolerance, abs_tol=tolerance)
    return then == now


def _essence(made: Made) -> tuple[object, ...]:
    metrics = {name: repr(value) for name, value in made.metrics.items()}
    return made.stage, made.error, made.models, made.outputs, metrics


def _by_chance(answer: RunReplay, blobs: BlobStore, run: Run) -> RunReplay:
    """The answer where two runs on the same data differ."""
    random = False
    if run.seed is None and run.function_digest is not None:
        kept = kept_capsule(blobs, run.function_digest)
        random = kept.problem is None and uses_random_numbers(kept.capsule)
    elif run.seed is None and run.code_digest is not None:
        with suppress(NotFound, StoreCorrupt, FormatError):
            random = imports_random(blobs.get(run.code_digest).decode(errors="replace"))
    if random:
        reason, why = "SEED_MISSING", "it uses random numbers, and no seed is recorded"
    else:
        reason, why = "NONDETERMINISTIC", "two runs on the same data differ"
    return replace(_with(answer, reason, why), output=NOT_REPRODUCIBLE)


def _with_environment(answer: RunReplay, run: Run, made: Made) -> RunReplay:
    if not run.environment or not made.environment:
        return answer
    recorded = {name: str(value) for name, value in run.environment.items()}
    now = {name: str(value) for name, value in made.environment.items()}
    found = tuple(differences(recorded, now))
    if not found:
        return replace(answer, environment="SAME")
    answer = replace(answer, environment="DIFFERENT", environment_differences=found)
    return answer if answer.output == IDENTICAL else _with(answer, "ENV_DIFFERENT", "")


def _with(answer: RunReplay, reason: str, message: str) -> RunReplay:
    return replace(
        answer,
        reasons=(*answer.reasons, reason) if reason else answer.reasons,
        messages=(*answer.messages, message) if message else answer.messages,
    )
