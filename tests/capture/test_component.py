"""Components in real ledgers: what a call records, how it fails, and calls inside calls."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import audit
from audit.capture.pipeline.component import component
from audit.capture.pipeline.run_record import Unrecorded, current_run, running
from audit.errors import FailedTest, InvalidInput
from audit.lineage.content.frame_v2 import frame_v2
from audit.lineage.content.kept_data import read_kept
from audit.lineage.recorded.runs import Run, find_runs
from audit.replay.points import resolve
from audit.store import open_reader
from audit.store.blobs import digest_of
from tests.lineage.common import Case, example, trained


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    yield made
    made.close()


def runs(case: Case) -> list[Run]:
    """All runs, oldest first."""
    case.emit.flush()
    with open_reader(case.url) as reader:
        return find_runs(reader, resolve(reader, None, 0))


def only(case: Case) -> Run:
    (found,) = runs(case)
    return found


def test_a_call_is_recorded(case: Case) -> None:
    @component(
        "cleaning", owner="plumber", tags=["taxi"], description="drops rows", emitter=case.emit
    )
    def clean(df: pd.DataFrame, limit: int, *, columns: list[str], seed: int = 3) -> pd.DataFrame:
        """Keep small loans."""
        current_run().metric("limit", limit)
        current_run().param("noted", True)
        return df[df["LoanAmount"] < limit]

    frame = example()
    out = clean(frame, 100_000, columns=["LoanAmount"])
    assert (clean.__name__, clean.__doc__, len(out)) == ("clean", "Keep small loans.", 2)
    run = only(case)
    assert (run.type, run.name, run.status) == ("component.run", "cleaning", "COMPLETE")
    assert (run.owner, run.tags, run.description) == ("plumber", ("taxi",), "drops rows")
    assert run.params == {"limit": 100_000, "columns": ["LoanAmount"], "seed": 3, "noted": True}
    assert (run.metrics, run.seed, run.error) == ({"limit": 100_000.0}, 3, None)
    assert [(i.name, i.kind, i.digest, i.rows) for i in run.inputs] == [
        ("df", "frame", frame_v2(frame).digest, 3)
    ]
    assert run.inputs[0].columns == frame_v2(frame).columns
    assert [(o.name, o.digest, o.rows) for o in run.outputs] == [
        ("output", frame_v2(out).digest, 2)
    ]
    assert run.started_us is not None and run.ended_us is not None
    assert run.started_us <= run.ended_us
    assert case.blobs.get(str(run.code_digest)) == Path(__file__).read_bytes()
    capsule = json.loads(case.blobs.get(str(run.function_digest)))
    assert "Keep small loans" in capsule["functions"]["0"]["source"]
    rerun = json.loads(str(run.rerun))
    assert (rerun["kind"], rerun["async"]) == ("function", False)
    assert [(one["name"], one["is"]) for one in rerun["arguments"]] == [
        ("df", "input"), ("limit", "value"), ("columns", "value")
    ]  # fmt: skip
    profile = json.loads(case.blobs.get(str(run.inputs[0].profile_digest)))
    assert profile["format"] == "attestory profile v1"


def test_a_failure_is_recorded_and_passes_unchanged(case: Case) -> None:
    error = KeyError("no such column")

    @component("cleaning", emitter=case.emit)
    def clean(df: pd.DataFrame, limit: float) -> pd.DataFrame:
        raise error

    with pytest.raises(KeyError) as caught:
        clean(example(), 0.5)
    assert caught.value is error
    assert not hasattr(error, "__notes__")
    run = only(case)
    assert (run.status, run.error) == ("FAIL", "KeyError: 'no such column'")
    assert run.params == {"limit": 0.5}
    assert [use.digest for use in run.inputs] == [frame_v2(example()).digest]
    assert run.outputs == ()
    assert "raise error" in case.blobs.get(str(run.traceback_digest)).decode()


def test_wrong_arguments_are_the_functions_own_error(case: Case) -> None:
    @component("cleaning", emitter=case.emit)
    def clean(df: pd.DataFrame) -> pd.DataFrame:
        return df

    with pytest.raises(TypeError, match="unexpected keyword"):
        clean(df=example(), nothing=1)  # type: ignore[call-arg]
    assert runs(case) == []


def test_everything_that_may_be_given(case: Case, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"a,b\n")
    model = trained()
    with audit.model_run("credit-risk", emitter=case.emit) as training:
        version = training.model(model)

    @component("all", emitter=case.emit, profile=False)
    def everything(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        kwargs["out"].write_bytes(b"made")
        return kwargs["frames"], 0.5, {"model": model}

    everything(
        np.zeros(3),
        b"raw",
        {1, 2},
        print,
        frames=[example(), example().iloc[:1]],
        model=model,
        version=version,
        file=tmp_path / "in.csv",
        out=tmp_path / "out.bin",
        text="ü",
        none=None,
        big=list(range(5_000)),
        generator=(x for x in [1]),
        nan=float("nan"),
        surrogate="\ud800",
    )
    run = runs(case)[-1]
    found = {use.name: (use.kind, use.digest) for use in run.inputs}
    assert found["args[0]"][0] == "array"
    assert found["args[1]"] == ("bytes", digest_of(b"raw"))
    assert found["args[2]"][0] == "value"
    assert found["frames[1]"] == ("frame", frame_v2(example().iloc[:1]).digest)
    assert found["model"] == ("model", version.digest) == found["version"]
    assert found["file"] == ("file", digest_of(b"a,b\n"))
    assert found["big"][0] == "value"
    assert found["args[3]"][1] is found["generator"][1] is None
    assert run.params["text"] == "ü"
    assert run.params["none"] is None
    assert run.params["out"] == str(tmp_path / "out.bin")
    made = [(use.name, use.kind, use.digest) for use in run.outputs]
    assert ("output[2].model", "model", version.digest) in made
    assert made[-1] == ("out", "file", digest_of(b"made"))
    assert (made[0][0], made[2][0]) == ("output[0][0]", "output[1]")


def test_copies_that_are_kept_give_the_same_again(case: Case) -> None:
    @component("keeper", emitter=case.emit, keep=True, profile=False)
    def keeper(df: pd.DataFrame, array: Any) -> dict[str, Any]:
        return {"rows": df.head(1), "odd": pd.DataFrame({"o": [[1], {"a": 2}]})}

    keeper(example(), np.array([1.5, np.nan]))
    run = only(case)
    for use in (*run.inputs, *run.outputs):
        kept = case.blobs.get(str(use.blob_digest))
        again = read_kept(str(use.kind), kept, trusted=True)
        assert audit_digest(again) == use.digest
    with pytest.raises(InvalidInput, match="only verified"):
        read_kept("frame", case.blobs.get(str(run.outputs[1].blob_digest)))


def audit_digest(thing: Any) -> str:
    from audit.lineage.recorded.run_inputs import describe_data

    return str(describe_data(thing)[0]["digest"])


def test_a_call_inside_a_call_is_a_part_of_it(case: Case) -> None:
    url = case.url

    @component("inner", bus=url, profile=False)
    def inner(x: int) -> int:
        return x + 1

    @component("outer", bus=url, profile=False)
    def outer(x: int) -> int:
        with audit.model_run("training", bus=url):
            return inner(x) + inner(x)

    assert outer(1) == 4
    by_name: dict[str, list[Run]] = {}
    for run in runs(case):
        by_name.setdefault(run.name, []).append(run)
    (top,), (training,) = by_name["outer"], by_name["training"]
    assert (top.parent_run_id, training.parent_run_id) == (None, top.run_id)
    assert [run.parent_run_id for run in by_name["inner"]] == [training.run_id] * 2
    capsule = json.loads(case.blobs.get(str(top.function_digest)))
    assert [one["name"] for one in capsule["functions"].values()] == ["outer", "inner"]
    assert capsule["missing"] == []


def test_coroutine_functions(case: Case) -> None:
    @component("load", emitter=case.emit)
    async def load(x: int) -> int:
        await asyncio.sleep(0)
        current_run().metric("x", x)
        if x == 3:
            raise ValueError("three")
        return x

    async def main() -> list[int | BaseException]:
        return await asyncio.gather(*(load(x) for x in range(4)), return_exceptions=True)

    found = asyncio.run(main())
    assert found[:3] == [0, 1, 2]
    assert isinstance(found[3], ValueError)
    assert sorted((run.metrics["x"], run.status) for run in runs(case)) == [
        (0.0, "COMPLETE"), (1.0, "COMPLETE"), (2.0, "COMPLETE"), (3.0, "FAIL")
    ]  # fmt: skip
    assert {run.parent_run_id for run in runs(case)} == {None}


def test_several_threads(case: Case) -> None:
    @component("work", bus=case.url)
    def work(x: int) -> int:
        return x

    threads = [threading.Thread(target=work, args=(x,)) for x in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(run.params["x"] for run in runs(case)) == [0, 1, 2, 3]
    assert {run.status for run in runs(case)} == {"COMPLETE"}


def test_interrupted_is_aborted(case: Case) -> None:
    @component("work", emitter=case.emit)
    def work() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert only(case).status == "ABORT"


def test_a_test_before_stops_the_run(case: Case) -> None:
    called = []

    def has_rows(df: pd.DataFrame) -> bool:
        return len(df) > 5

    @component("train", emitter=case.emit, before=[has_rows], after=[])
    def train(df: pd.DataFrame) -> None:
        called.append(1)

    with pytest.raises(FailedTest, match="train: has_rows FAILED: it returned False"):
        train(example())
    assert called == []
    run = only(case)
    (test,) = run.tests
    assert (run.status, test.name, test.phase, test.status) == (
        "FAIL", "has_rows", "BEFORE", "FAILED"
    )  # fmt: skip
    assert test.digest is not None


def test_tests_that_are_recorded_only(case: Case) -> None:
    def raises(df: pd.DataFrame) -> None:
        raise AssertionError("too few")

    def breaks(anything: pd.DataFrame) -> None:
        raise ZeroDivisionError

    def needs(nothing: int, of_it: int) -> None: ...

    def measures(output: int, df: pd.DataFrame) -> dict[str, Any]:
        return {"rows": len(df), "output": output, "odd": object()}

    def of_all(**given: Any) -> bool:
        return set(given) == {"df", "output"}

    @component(
        "train", emitter=case.emit, before=[raises, breaks, needs], after=[measures, of_all],
        on_failed_test="record",
    )  # fmt: skip
    def train(df: pd.DataFrame) -> int:
        return 7

    assert train(example()) == 7
    run = only(case)
    assert run.status == "COMPLETE"
    assert [(t.name, t.phase, t.status) for t in run.tests] == [
        ("raises", "BEFORE", "FAILED"), ("breaks", "BEFORE", "ERROR"),
        ("needs", "BEFORE", "ERROR"), ("measures", "AFTER", "PASSED"),
        ("of_all", "AFTER", "PASSED"),
    ]  # fmt: skip
    assert run.tests[0].message == "too few"
    assert run.tests[3].measured == {"rows": 3, "output": 7, "odd": None}


def test_a_training_function(case: Case) -> None:
    @audit.model_run("credit-risk", params={"kind": "linear"}, seed=7, emitter=case.emit)
    def train(df: pd.DataFrame, c: float = 0.5) -> tuple[Any, float]:
        current_run().metric("auc", 0.75)
        return trained(c), 0.75

    model, _ = train(example(), c=0.1)
    train(example())
    first, second = runs(case)
    assert (first.type, first.status, first.seed) == ("model.run", "COMPLETE", 7)
    assert first.params == {"kind": "linear", "c": 0.1}
    assert second.params["c"] == 0.5
    assert first.models[0].digest != second.models[0].digest
    assert [use.name for use in first.outputs] == ["output[1]"]
    assert first.models[0].digest == audit_digest(model)
    assert json.loads(str(first.rerun))["kind"] == "function"


def test_a_model_that_the_training_registered_itself(case: Case) -> None:
    @audit.model_run("credit-risk", emitter=case.emit)
    def train() -> Any:
        model = trained()
        current_run().model(model, "1.0", threshold=0.5)
        return model

    train()
    assert [model.version for model in only(case).models] == ["1.0"]


def test_outside_of_a_run_nothing_is_recorded() -> None:
    run = current_run()
    run.param("a", 1)
    run.metric("b", 2)
    assert (run.run_id, run.input(example()), run.output(1)) == (None, "", "")
    with running(Unrecorded()) as here:
        current_run().metric("auc", 1)
        model = {"w": 1}
        assert current_run().model(model) is model
    assert (here.metrics, here.models) == ({"auc": 1.0}, [model])


class Unreadable(list[int]):
    """Nothing can be done with it."""

    def __iter__(self) -> Iterator[int]:
        raise RuntimeError("not here")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError("nor so")


def nested(depth: int) -> list[Any]:
    thing: list[Any] = []
    for _ in range(depth):
        thing = [thing]
    return thing


def test_nothing_that_is_given_or_returned_stops_a_call(case: Case, tmp_path: Path) -> None:
    @component("work", emitter=case.emit)
    def work(thing: Any, **more: Any) -> Any:
        return thing

    loop: list[Any] = []
    loop.append(loop)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    for thing in (Unreadable([1]), loop, nested(3_000), odd, {"\ud800": object()}):
        assert work(thing) is thing
        assert work(1, **{"\ud800": thing}) == 1
    odd.write_text("x")
    assert work(odd) is odd
    found = runs(case)
    assert [run.status for run in found] == ["COMPLETE"] * 11
    assert found[-1].inputs[0].digest == digest_of(b"x")


class Silent(Exception):
    """Says nothing, and fails at that."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Silent(), "FAIL"), (SystemExit(np.array([1, 2])), "FAIL"), (SystemExit(0), "COMPLETE"),
        (SystemExit(), "COMPLETE"), (SystemExit(0.0), "FAIL"), (ValueError("\ud800"), "FAIL"),
    ],
    ids=["silent", "array", "0", "none", "float", "surrogate"],
)  # fmt: skip
def test_an_exception_passes_whatever_it_is(case: Case, error: Any, status: str) -> None:
    @component("work", emitter=case.emit)
    def work() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        work()
    assert caught.value is error and not hasattr(error, "__notes__")
    assert only(case).status == status


def test_a_forked_child_that_leaves_does_not_end_the_run(case: Case) -> None:
    @component("work", emitter=case.emit)
    def work() -> int:
        child = os.fork()
        if child == 0:
            raise KeyboardInterrupt
        os.waitpid(child, 0)
        return 1

    try:
        assert work() == 1
    except KeyboardInterrupt:
        os._exit(0)
    assert only(case).status == "COMPLETE"
    with audit.Ledger(case.url) as ledger:
        assert ledger.status().logs[0].quarantined == 0


def test_a_record_that_would_be_too_large(case: Case) -> None:
    wide = pd.DataFrame(np.zeros((1, 140)), columns=[f"a{'x' * 200}{i}" for i in range(140)])

    @component("wide", emitter=case.emit, profile=False)
    def work(a: Any, b: Any, c: Any, **settings: str) -> Any:
        return a

    work(wide, wide, wide, **{f"s{i}": "x" * 500 for i in range(40)})
    run = only(case)
    assert run.status == "COMPLETE"
    assert [use.columns for use in run.inputs] == [{}] * 3
    assert len(run.params) == 40
    assert run.inputs[0].digest == frame_v2(wide).digest


@pytest.mark.parametrize(
    "options",
    [
        {"name": "a@b"}, {"name": ""}, {"on_failed_test": "ignore"}, {"tags": "taxi"},
        {"before": [1]}, {"after": FailedTest}, {"on_unavailable": "never"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_refused_when_decorating(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        component(**{"name": "x", **options})(lambda: None)


def test_what_cannot_be_decorated() -> None:
    def generates() -> Iterator[int]:
        yield 1

    for thing in (generates, print, Case):
        with pytest.raises(InvalidInput):
            component("x")(thing)
