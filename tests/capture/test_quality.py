"""The ready-made tests of data and models, called directly and beside a run."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import audit
from audit.capture.pipeline.data_tests import check_tests, run_tests
from audit.errors import FailedTest, InvalidInput
from audit.lineage.recorded.models import ModelVersion
from tests.lineage.common import Case, example, trained


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    yield made
    made.close()


def normal(rows: int = 1_000) -> pd.DataFrame:
    random = np.random.default_rng(7)
    return pd.DataFrame({"a": random.normal(size=rows), "b": random.normal(50, 3, rows)})


def test_outliers() -> None:
    test = audit.quality.outliers()
    assert test(normal()) == {"values": 2_000, "outliers": 0}
    bad = normal()
    bad.loc[[3, 4], "b"] = [1e6, np.inf]
    bad.loc[5, "a"] = np.nan
    with pytest.raises(FailedTest, match=r"2 of 1999 values are outliers, the farthest in 0.b"):
        test(bad)
    assert audit.quality.outliers(["a"])(bad)["outliers"] == 0
    assert audit.quality.outliers(max_share=0.01)(bad)["outliers"] == 2
    with pytest.raises(FailedTest, match="no column c"):
        audit.quality.outliers(["c"])(bad)


@pytest.mark.parametrize(
    ("values", "outliers"),
    [([], 0), ([1], 0), ([1, 1, 1, 1], 0), ([1] * 99 + [2], 1), ([np.nan] * 3, 0), ([np.inf], 1),
     ([True, False], 0)],
)  # fmt: skip
def test_outliers_of_odd_columns(values: list[Any], outliers: int) -> None:
    frame = pd.DataFrame({"a": pd.Series(values, dtype="float64")})
    assert audit.quality.outliers(max_share=1.0)(frame)["outliers"] == outliers


def test_nullable_columns() -> None:
    frame = pd.DataFrame({"a": pd.array([1, None, 2, 3], dtype="Int64")})
    assert audit.quality.outliers()(frame) == {"values": 3, "outliers": 0}
    assert audit.quality.schema({"a": {"type": "integer"}})(frame)["violations"] == 0


def test_train_test_leakage() -> None:
    rows = pd.DataFrame({"id": range(10), "x": np.arange(10) / 3, "s": list("abcdefghij")})
    test = audit.quality.train_test_leakage(key="id")
    assert test(train=rows[:7], test=rows[7:])["shared_rows"] == 0
    with pytest.raises(FailedTest, match="2 shared rows, 2 shared keys") as caught:
        test(train=rows[:7], test=rows[5:])
    assert caught.value.measured == {
        "rows_train": 7, "rows_test": 5, "shared_rows": 2, "shared_keys": 2
    }  # fmt: skip
    changed = rows[5:].assign(x=0.0)
    with pytest.raises(FailedTest, match="0 shared rows, 2 shared keys"):
        test(train=rows[:7], test=changed)
    other_type = rows[5:].astype({"id": "float64"})
    with pytest.raises(FailedTest, match="2 shared rows"):
        audit.quality.train_test_leakage()(train=rows[:7], test=other_type)
    assert audit.quality.train_test_leakage(max_shared=2)(rows[:7], rows[5:])["shared_rows"] == 2
    with pytest.raises(FailedTest, match="do not both have"):
        test(train=rows, test=rows.drop(columns="id"))
    with pytest.raises(InvalidInput):
        test(train=rows)


def test_schema() -> None:
    expects: dict[str, dict[str, Any]] = {
        "LoanAmount": {"type": "integer", "min": 1_000, "max": 100_000},
        "CustomerID": {"type": "string", "required": True},
        "Status": {"required": True},
    }
    with pytest.raises(FailedTest, match=r"violations, first 0.LoanAmount: 1 ") as caught:
        audit.quality.schema(expects)(example())
    assert caught.value.measured["0.LoanAmount"] == 1
    assert caught.value.measured["0.Status"] == 3
    del expects["Status"]
    assert audit.quality.schema(expects)(example()[1:]) == {"rows": 2, "violations": 0}
    gone = example()
    gone.loc["1001", "CustomerID"] = None
    with pytest.raises(FailedTest, match="1 missing"):
        audit.quality.schema(expects)(gone[["CustomerID"]])
    with pytest.raises(InvalidInput):
        audit.quality.schema({"a": {"type": "thing"}})


def registered(case: Case) -> ModelVersion:
    version = case.register(trained(), "1.0")
    case.emit.flush()
    return version


def test_model_integrity(case: Case, tmp_path: Path) -> None:
    version = registered(case)
    known = audit.quality.model_integrity(store=case.url)
    assert known(model=trained()) == {"digest": version.digest, "registered": "credit-risk@1.0"}
    for good in (version, pickle.dumps(trained(), protocol=5)):
        assert known(model=good)["registered"] == "credit-risk@1.0"
    (tmp_path / "model.pkl").write_bytes(case.blobs.get(version.digest))
    assert known(tmp_path / "model.pkl")["digest"] == version.digest
    with pytest.raises(FailedTest, match="no model is registered with the digest"):
        known(model=trained(c=0.1))


def test_model_integrity_of_one_version(case: Case) -> None:
    version = registered(case)
    test = audit.quality.model_integrity(version=version)
    loaded = pickle.loads(case.blobs.get(version.digest))
    assert test(model=loaded)["expected"] == version.digest
    assert audit.quality.model_integrity(digest=version.digest)(trained())
    for bad in (trained(c=0.1), b"other"):
        with pytest.raises(FailedTest, match="not sha256:"):
            test(model=bad)
    case.blob_file(version.digest).write_bytes(b"damaged")
    with pytest.raises(FailedTest, match="holds other bytes"):
        test(model=version)
    with pytest.raises(InvalidInput):
        audit.quality.model_integrity()(a=1, b=2)


def test_beside_a_run(case: Case) -> None:
    version = registered(case)

    @audit.component(
        "split",
        emitter=case.emit,
        before=[audit.quality.outliers(of="df"), audit.quality.model_integrity(version=version)],
        after=[audit.quality.train_test_leakage(), audit.quality.schema({"a": {"min": -9}})],
        profile=False,
    )
    def split(df: pd.DataFrame, model: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
        return df[:700], df[700:]

    split(normal(), trained())
    case.emit.flush()
    with audit.Ledger(case.url) as ledger:
        (run,) = ledger.runs("split")
    assert [(t.name, t.phase, t.status) for t in run.tests] == [
        ("outliers", "BEFORE", "PASSED"), ("model_integrity", "BEFORE", "PASSED"),
        ("train_test_leakage", "AFTER", "PASSED"), ("schema", "AFTER", "PASSED"),
    ]  # fmt: skip
    assert run.tests[2].measured["rows_test"] == 300
    assert all(test.digest for test in run.tests)


def test_settings_are_a_part_of_the_digest() -> None:
    tests = [
        audit.quality.outliers(), audit.quality.outliers(), audit.quality.outliers(z=3),
        audit.quality.schema({}),
    ]  # fmt: skip
    digests = [test.digest for test in tests]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    tests[0](normal())
    assert tests[0].measured["values"] == 2_000


def test_what_tests_may_be() -> None:
    for bad in (1, [1], [FailedTest], "name"):
        with pytest.raises(InvalidInput):
            check_tests(bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        audit.quality.outliers(z=0)
    (said,) = run_tests([audit.quality.outliers()], {"x": 1})
    assert (said["status"], said["phase"]) == ("ERROR", "BEFORE")
    assert "no data frame" in said["message"]
