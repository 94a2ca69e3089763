"""Batches of predictions: one event, rows in the blob store, each row provable by itself."""

import hashlib
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.capture.predicting import prediction_batch
from audit.capture.predicting.predictor import predictor
from audit.errors import FormatError, InvalidInput, InvalidProof, RejectedInput, StoreCorrupt
from audit.lineage.recorded.batch import (
    prove_row,
    read_lines,
    read_row,
    row_lines,
    row_proof,
    rows_of,
    verify_row,
)
from audit.lineage.recorded.predictions import Batch, Prediction, csv_lines
from tests.lineage.common import Case
from tests.lineage.test_predictor_kinds import recorded


def frame(rows: int = 7) -> pd.DataFrame:
    return pd.DataFrame(
        {"id": [f"c{i}" for i in range(rows)], "x": np.arange(rows) / 7, "n": range(rows)}
    )


def total(rows: pd.DataFrame) -> list[float]:
    return [float(a + b) for a, b in zip(rows["x"], rows["n"], strict=True)]


@pytest.fixture
def made(case: Case) -> Prediction:
    score = predictor(model=case.register({}), emitter=case.emit, batch=True, key="id")(total)
    score(frame())
    (found,) = recorded(case)
    return found


def test_one_event_stands_for_all_rows(case: Case, made: Prediction) -> None:
    assert made.problem is None and made.batch is not None
    assert (made.batch.rows, made.batch.failed, made.status) == (7, 0, "OK")
    assert (made.features, made.output, made.key) == ({}, None, made.prediction_id)
    rows = list(rows_of(case.blobs, made))
    assert [row.key for row in rows] == [f"c{i}" for i in range(7)]
    assert rows[3].features == {"id": "c3", "x": 3 / 7, "n": 3}
    assert rows[3].output == 3 / 7 + 3
    said = json.loads(json.dumps(made.to_json()))
    assert said["batch"]["root_hash"] == made.batch.root_hash.hex()
    assert f"BATCH: 7 rows, {made.batch.digest}" in list(csv_lines([made]))[1]


@pytest.mark.parametrize("row", range(7))
def test_each_row_is_provable(case: Case, made: Prediction, row: int) -> None:
    proof = row_proof(json.loads(json.dumps(prove_row(case.blobs, made, row).to_json())))
    assert verify_row(proof, made.batch).features["n"] == row
    assert made.batch is not None
    # With SHA-256 alone, as the module says.
    node = hashlib.sha256(b"\0" + proof.data).digest()
    index, last, path = row, 6, list(proof.path)
    while last:
        if index % 2 or index < last:
            other = path.pop(0)
            pair = other + node if index % 2 else node + other
            node = hashlib.sha256(b"\1" + pair).digest()
        index, last = index // 2, last // 2
    assert node == made.batch.root_hash


def test_a_changed_row_is_found(case: Case, made: Prediction) -> None:
    proof = prove_row(case.blobs, made, 2)
    for wrong in (
        proof._replace(data=proof.data.replace(b"c2", b"c9")),
        proof._replace(row=3),
        proof._replace(rows=8),
        proof._replace(path=proof.path[:-1]),
    ):
        with pytest.raises(InvalidProof):
            verify_row(wrong, made.batch)
    with pytest.raises(InvalidProof):
        verify_row(proof, None)
    with pytest.raises(InvalidInput, match="no row 7"):
        prove_row(case.blobs, made, 7)
    assert made.batch is not None
    other = case.blobs.put(b"".join(line + b"\n" for line in [b"{}"]))
    with pytest.raises(StoreCorrupt):
        row_lines(case.blobs, made._replace(batch=made.batch._replace(digest=other)))
    with pytest.raises(StoreCorrupt, match="other rows"):
        row_lines(case.blobs, made._replace(batch=made.batch._replace(root_hash=bytes(32))))
    with pytest.raises(InvalidInput, match="no batch"):
        row_lines(case.blobs, made._replace(batch=None))


@pytest.mark.parametrize(
    ("rows", "output", "first"),
    [
        (np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1, 2]), {"x0": 1.0, "x1": 2.0}),
        (np.array([1.5, 2.5], dtype="f4"), [1.0, 2.0], {"value": 1.5}),
        ([{"a": 1}, {"a": None}], ["x", "y"], {"a": 1}),
        ([[1, "x"], [2, "y"]], pd.Series([0.5, 0.25]), {"x0": 1, "x1": "x"}),
        (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"p": [0.1, 0.2]}), {"a": 1}),
        (pd.DataFrame({"a": [1, 2]}, index=["u", "v"]), pd.Series([1, 2], index=["v", "u"]), None),
        (pd.DataFrame({"a": [1]}), pd.Series([1]), {"a": 1}),
        ([], [], None),
    ],
    ids=str,
)
def test_every_form_of_rows(case: Case, rows: Any, output: Any, first: Any) -> None:
    score = predictor(model=case.register({}), emitter=case.emit, batch=True)(lambda r: output)
    assert score(rows) is output
    (found,) = recorded(case)
    kept = list(rows_of(case.blobs, found))
    assert len(kept) == len(rows)
    if first is not None:
        assert kept[0].features == first
    if isinstance(output, pd.DataFrame):
        assert [row.output for row in kept] == [{"p": 0.1}, {"p": 0.2}]
    else:
        assert [row.output for row in kept] == list(output)


def test_rows_in_several_chunks(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_batch, "CHUNK_CELLS", 10)
    score = predictor(model=case.register({}), emitter=case.emit, batch=True)(total)
    score(frame(25))
    (found,) = recorded(case)
    rows = list(rows_of(case.blobs, found))
    assert [row.features["n"] for row in rows] == list(range(25))
    assert [row.output for row in rows] == total(frame(25))


def test_values_survive_in_rows(case: Case) -> None:
    values = [math.nan, -0.0, 5e-324, 0.1 + 0.2, 2.0**53, -math.inf]
    score = predictor(model=case.register({}), emitter=case.emit, batch=True)(
        lambda rows: rows["ü"]
    )
    score(pd.DataFrame({"ü": values}))
    (found,) = recorded(case)
    for row, value in zip(rows_of(case.blobs, found), values, strict=True):
        assert repr(row.features["ü"]) == repr(row.output) == repr(value)


def test_rows_without_an_output_are_counted(case: Case) -> None:
    score = predictor(model=case.register({}), emitter=case.emit, batch=True)(
        lambda rows: [None if row > 1 else row for row in rows]
    )
    score([0, 1, 2, 3])
    (found,) = recorded(case)
    assert found.batch is not None and found.batch.failed == 2


def test_a_batch_that_fails_or_is_rejected_is_recorded_with_its_rows(case: Case) -> None:
    def bad(rows: pd.DataFrame) -> Any:
        if rows["n"].max() > 2:
            raise ValueError("large")
        return [1.0]

    expects = {"x": {"type": "number", "min": 0}}
    score = predictor(model=case.register({}), emitter=case.emit, batch=True, expects=expects)(bad)
    with pytest.raises(ValueError, match="large"):
        score(frame(4))
    with pytest.raises(InvalidInput, match="1 outputs for 2 rows"):
        score(frame(2))
    with pytest.raises(RejectedInput, match="row 1: x is -5"):
        score(frame(2).assign(x=[0.0, -5.0]))
    failed, short, rejected = recorded(case)
    assert (failed.status, short.status, rejected.status) == ("ERROR", "ERROR", "REJECTED_INPUT")
    for found, rows in ((failed, 4), (short, 2), (rejected, 2)):
        assert found.batch is not None and (found.batch.rows, found.batch.failed) == (rows, rows)
        assert len(list(rows_of(case.blobs, found))) == rows
    assert rejected.violations == ("row 1: x is -5.0, below the least expected: 0",)


def test_what_is_no_batch(case: Case) -> None:
    version = case.register({})

    async def later(rows: Any) -> Any:
        return rows

    for function in (later, lambda a, b: a, lambda *rows: rows):
        with pytest.raises(InvalidInput):
            predictor(model=version, emitter=case.emit, batch=True)(function)
    score = predictor(model=version, emitter=case.emit, batch=True)(lambda rows: rows)
    for rows in (5, "text", {"a": 1}, None, [object()]):
        with pytest.raises(InvalidInput):
            score(rows)
    assert recorded(case) == []


@pytest.mark.parametrize(
    "blob",
    [
        b"", b"{}\n", b"\xff\n", b'{"format":"attestory batch v1","rows":1}\n',
        b'{"format":"attestory batch v1","rows":1}\nrow', b'{"format":"attestory batch v2"}\n',
        b"[" * 1_000 + b"\n", b'{"format":"attestory batch v1","rows":"1"}\nx\n',
    ],
)  # fmt: skip
def test_hostile_blobs(blob: bytes) -> None:
    with pytest.raises(FormatError):
        read_lines(blob)


@pytest.mark.parametrize("row", [b"", b"1", b"[]", b'{"features":1}', b"\xff", b"{" * 999])
def test_hostile_rows(row: bytes) -> None:
    with pytest.raises(FormatError):
        read_row(row)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "x"}, {"row": "1"}, {"row": True}, {"rows": None}, {"path": [1, "?"]},
        {"path": ["AA=="]}, {"path": "x"}, {"data": 1}, {"data": "\ud800"}, {"prediction": 5},
    ],
)  # fmt: skip
def test_hostile_proofs(case: Case, made: Prediction, change: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        row_proof({**prove_row(case.blobs, made, 0).to_json(), **change})
    with pytest.raises(FormatError):
        row_proof([])


def test_a_hostile_entry() -> None:
    assert Batch(2**62, b"x", "d", 0).to_json()["rows"] == 2**62
