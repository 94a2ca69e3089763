"""Judging what came out of a replayed prediction, against what was recorded."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from audit.lineage.again import compare as compared
from audit.lineage.again.compare import compare
from audit.lineage.again.rerun import Reply
from audit.lineage.again.verdict import NOT_REPRODUCIBLE, PredictionReplay
from audit.lineage.content.forms import Served
from audit.lineage.recorded.predictions import OK_STATUS
from audit.lineage.source.code import MAX_SOURCE_BYTES
from audit.lineage.source.environment import differences

STAGE_REASONS = {
    "artifact": "ENV_LOAD_ERROR",
    "environment": "ENV_LOAD_ERROR",
    "code": "CODE_UNAVAILABLE",
    "features": "FEATURES_UNREADABLE",
    "inputs": "INPUT_DIGEST_MISMATCH",
    "output": "OUTPUT_UNREADABLE",
    "raised": "RAISED",
    "time": "TIME_LIMIT",
    "process": "PROCESS_DIED",
}
_RANDOM_MODULES = ("random", "secrets", "uuid", "numpy.random")


def judge(answer: PredictionReplay, reply: Reply) -> PredictionReplay:
    """The verdict on what came out, against what was recorded."""
    prediction = answer.prediction
    assert prediction is not None
    failed_then = prediction.status != OK_STATUS
    if reply.stage == "raised" and failed_then:
        same = reply.error == (prediction.error or "").partition(":")[0]
        verdict = compared.IDENTICAL if same else compared.DIVERGED
        return replace(answer, output=verdict, raised=reply.error)
    if reply.output is not None and not failed_then:
        then = Served(prediction.output, (prediction.call or {}).get("output"))
        found = compare(then, reply.output, answer.tolerance, prediction.threshold)
        return replace(
            answer,
            output=found.verdict,
            replayed=reply.output,
            max_ulps=found.max_ulps,
            max_difference=found.max_difference,
        )
    if reply.output is not None:
        return replace(answer, output=compared.DIVERGED, replayed=reply.output)
    reason = STAGE_REASONS.get(reply.stage, "PROCESS_DIED")
    if reply.stage == "code":
        answer = replace(answer, code="UNAVAILABLE")
    text = f"{reply.error}: {reply.message}" if reply.error else reply.message
    return replace(
        answer,
        reasons=(*answer.reasons, reason),
        messages=(*answer.messages, text),
        raised=reply.error if reply.stage == "raised" else None,
    )


def agree(one: Reply, other: Reply) -> bool:
    """Whether two runs gave the same."""
    if one.output is None or other.output is None:
        return (one.stage, one.error) == (other.stage, other.error)
    return compare(one.output, other.output).verdict == compared.IDENTICAL


def by_chance(
    answer: PredictionReplay, capsule: Mapping[str, Any], seeded: bool
) -> PredictionReplay:
    """The answer where two runs with the same features differ."""
    if not seeded and uses_random_numbers(capsule):
        reason, why = "SEED_MISSING", "it uses random numbers, and no seed is recorded"
    else:
        reason, why = "NONDETERMINISTIC", "two runs with the same features differ"
    return replace(
        answer,
        output=NOT_REPRODUCIBLE,
        reasons=(*answer.reasons, reason),
        messages=(*answer.messages, why),
    )


def with_environment(answer: PredictionReplay, reply: Reply) -> PredictionReplay:
    """The answer, with what it ran on then against now."""
    prediction = answer.prediction
    assert prediction is not None
    recorded = (prediction.call or {}).get("environment")
    if not recorded or not reply.environment:
        return answer
    found = tuple(differences(recorded, reply.environment))
    if not found:
        return replace(answer, environment="SAME")
    answer = replace(answer, environment="DIFFERENT", environment_differences=found)
    if answer.output == compared.IDENTICAL:
        return answer
    return replace(answer, reasons=(*answer.reasons, "ENV_DIFFERENT"))


def uses_random_numbers(capsule: Mapping[str, Any]) -> bool:
    """Whether the recorded code reaches a module of random numbers by name."""
    for binding in bindings(capsule):
        if binding["is"] == "module":
            names = [binding.get("name"), *(binding.get("parts") or ())]
        elif binding["is"] == "attribute":
            names = [binding.get("module")]
        else:
            continue
        if any(name in _RANDOM_MODULES for name in names):
            return True
    texts = [str(one.get("source", "")) for one in capsule["functions"].values()]
    return any(imports_random(text) for text in texts)


def imports_random(source: str) -> bool:
    """Whether a function's own text imports such a module."""
    if len(source) > MAX_SOURCE_BYTES:
        return False
    text = "if 1:\n" + source if source[:1] in (" ", "\t") else source
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(name in _RANDOM_MODULES for name in _imported(tree))


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def bindings(capsule: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All bindings of a capsule; KeyError, TypeError or AttributeError where it is none."""
    found: list[dict[str, Any]] = []
    for function in capsule["functions"].values():
        for name in ("globals", "closure", "kwdefaults"):
            found.extend(function[name].values())
        found.extend(function["defaults"])
    if not all(isinstance(binding.get("is"), str) for binding in found):
        raise TypeError("a binding without a kind")
    return found
