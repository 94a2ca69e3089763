"""A captured function runs again in a fresh process: same names, same bits, and clear reasons."""

import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from audit.lineage.again.rerun import Reply, Request, rerun
from audit.lineage.content.served import describe, describe_fields
from audit.lineage.source.capsule import Capsule, Subject, capture
from audit.lineage.source.environment import differences, environment
from audit.store.blobs import digest_of
from tests.lineage.small_model import Linear

ROWS, ANSWERS = [[0.0, 1.0], [1.0, 0.5], [2.0, 0.0]], [0, 1, 1]
model: Any = Linear(C=0.5).fit(ROWS, ANSWERS)
ARTIFACT = pickle.dumps(model, protocol=5)
COLUMNS = ["a", "b"]
THRESHOLD = 0.5
SCALE = (1.0, -0.0)
scaler = np.array([0.5, 2.0])


def helper(value: float, by: float = 2.0) -> float:
    return math.pow(value, by) * SCALE[0]


def score(features: dict[str, float]) -> dict[str, Any]:
    row = np.array([[helper(features[name]) for name in COLUMNS]]) * scaler
    probability = model.predict_proba(row)[0, 1]
    return {"score": float(probability), "approved": bool(probability >= THRESHOLD)}


def captured(function: Callable[..., object]) -> Capsule:
    return capture(function, Subject(model, object(), object()))


def run(
    function: Callable[..., object],
    features: object,
    arguments: str = "one",
    capsule: Capsule | None = None,
    time_limit_s: float = 60,
) -> Reply:
    capsule = capsule or captured(function)
    fields, form = describe_fields(features)
    digest = digest_of(ARTIFACT)
    call = {"features": form, "arguments": arguments}
    blobs = {digest: ARTIFACT, **capsule.blobs}
    document = json.loads(capsule.document)
    request = Request(document, fields, call, "credit", "1", digest, "pickle", blobs)
    return rerun(request, time_limit_s)


def test_the_same_bits_come_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.linear_model import LogisticRegression

    real = LogisticRegression(C=0.5).fit(ROWS, ANSWERS)
    monkeypatch.setitem(globals(), "model", real)
    monkeypatch.setitem(globals(), "ARTIFACT", pickle.dumps(real, protocol=5))
    capsule = captured(score)
    assert capsule.missing == ()
    features = {"b": 0.1 + 0.2, "a": 5e-324}
    reply = run(score, features, capsule=capsule)
    assert (reply.stage, reply.message) == ("done", "")
    assert reply.output == describe(score(features))
    assert differences(environment(["sklearn"]), reply.environment) == []


def test_a_capsule_is_stable_and_knows_when_it_is_out_of_date(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = captured(score), captured(score)
    assert first.digest == second.digest
    assert first.is_current()
    monkeypatch.setitem(globals(), "THRESHOLD", 0.9)
    assert not first.is_current()
    assert captured(score).digest != first.digest
    monkeypatch.undo()
    assert first.is_current()
    COLUMNS.append("c")
    try:
        assert not first.is_current()
    finally:
        COLUMNS.pop()


def test_closures_defaults_and_several_arguments() -> None:
    weight = 0.1

    def inner(x: float, *more: float, factor: float = 3.0, **named: float) -> list[float]:
        text = """a text
that is not indented"""
        return [x * weight * factor, *more, float(len(text)), *named.values()]

    arguments = {"x": 0.7, "more": (1.0, -0.0), "named": {"z": 1.5, "a": 2.5}}
    reply = run(inner, arguments, "many")
    assert reply.output == describe(inner(0.7, 1.0, -0.0, z=1.5, a=2.5))


def test_a_function_that_calls_itself() -> None:
    def factorial(n: int) -> int:
        return 1 if n == 0 else n * factorial(n - 1)

    assert run(factorial, 10).output == describe(3628800)


def test_lambdas() -> None:
    double = lambda x: x * 2  # noqa: E731
    assert run(double, 21).output == describe(42)


def test_of_two_lambdas_the_right_one_or_none() -> None:
    one, two = lambda x: x + 1, lambda x: x + 2
    assert captured(one).missing == ()
    assert "not the code that runs" in captured(two).missing[0]


def test_a_function_without_source_is_not_guessed() -> None:
    namespace: dict[str, Any] = {}
    exec("def made(x):\n    return x + 1", namespace)
    capsule = captured(namespace["made"])
    assert "source of made" in capsule.missing[0]
    reply = run(namespace["made"], 1, capsule=capsule)
    assert (reply.stage, reply.output) == ("code", None)
    assert "source of made" in reply.message


def test_what_cannot_be_captured_is_named() -> None:
    import threading

    lock = threading.Lock()

    def locked(x: int) -> int:
        with lock:
            return x

    capsule = captured(locked)
    assert any("uses lock" in line for line in capsule.missing)
    assert run(locked, 1, capsule=capsule).stage == "code"


def test_an_exception_comes_back_by_name() -> None:
    def fails(x: int) -> int:
        raise KeyError(x)

    reply = run(fails, 7)
    assert (reply.stage, reply.error, reply.message) == ("raised", "KeyError", "7")


def test_there_is_no_network() -> None:
    def calls(x: int) -> object:
        import socket

        return socket.create_connection(("127.0.0.1", 9))

    reply = run(calls, 1)
    assert (reply.stage, reply.error) == ("raised", "PermissionError")
    assert "no network" in reply.message


def test_what_the_model_prints_is_not_the_answer() -> None:
    def prints(x: int) -> int:
        import os

        print('{"stage": "done"}', flush=True)
        os.write(1, b"\0" * 100)
        return x

    assert run(prints, 5).output == describe(5)


def test_a_process_that_dies_or_hangs() -> None:
    def dies(x: int) -> None:
        import os

        os.write(2, b"last words")
        os.abort()

    reply = run(dies, 1)
    assert reply.stage == "process"
    assert "signal 6" in reply.message
    assert "last words" in reply.message

    def hangs(x: int) -> None:
        while True:
            pass

    assert run(hangs, 1, time_limit_s=1.5).stage == "time"


def test_the_environment_is_not_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_KEY_PASSPHRASE", "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def looks(x: int) -> list[object]:
        import os

        return [
            os.environ.get("AUDIT_KEY_PASSPHRASE"),
            os.environ.get("OMP_NUM_THREADS"),
            os.listdir(),
        ]

    assert run(looks, 1).output == describe([None, "1", []])


def test_an_artifact_that_does_not_load() -> None:
    capsule = captured(score)
    broken = b"not a pickle"
    request = Request(
        json.loads(capsule.document), {"a": 1.0, "b": 2.0}, {"features": None, "arguments": "one"},
        "credit", "1", digest_of(broken), "pickle", {digest_of(broken): broken, **capsule.blobs},
    )  # fmt: skip
    reply = rerun(request)
    assert reply.stage == "artifact"
    assert reply.error == "UnpicklingError"


def test_bytes_under_another_digest_are_never_unpickled() -> None:
    capsule = captured(score)
    bomb = pickle.dumps(Bomb())
    request = Request(
        json.loads(capsule.document), {"a": 1.0, "b": 2.0}, {"features": None, "arguments": "one"},
        "credit", "1", digest_of(ARTIFACT), "pickle", {digest_of(ARTIFACT): bomb},
    )  # fmt: skip
    reply = rerun(request)
    assert reply.stage == "artifact"
    assert "holds other bytes" in reply.message


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (exit, (3,))


SCIPY = """
import sys
from audit.lineage.source.environment import _machine, environment
import scipy
assert "scipy.linalg" not in sys.modules
early = environment(["blas"])["blas"]
import scipy.linalg
_machine.cache_clear()
print(early == environment(["blas"])["blas"])
"""


def test_what_computes_for_scipy_is_said_before_all_of_scipy_is_there() -> None:
    """Else a process would say one BLAS, and the one that replays another."""
    done = subprocess.run([sys.executable, "-c", SCIPY], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"]
