"""A batch run again: its function once more with all rows, what comes out compared row by row.

The rows come from the blob store, checked against the root hash in the entry. The verdict is the
worst one of a row; how many rows came out how is beside it.
"""

from collections import Counter
from dataclasses import replace
from typing import NamedTuple

from audit.errors import FormatError, NotFound, StoreCorrupt
from audit.lineage.again.compare import (
    DIVERGED,
    IDENTICAL,
    SAME_DECISION,
    WITHIN_TOLERANCE,
    Comparison,
    compare,
)
from audit.lineage.again.judging import judge
from audit.lineage.again.rerun import Reply
from audit.lineage.again.verdict import PredictionReplay
from audit.lineage.content.forms import Served
from audit.lineage.recorded.batch import read_chunks, read_lines, read_row, row_lines
from audit.lineage.recorded.predictions import OK_STATUS, Prediction
from audit.store.blobs import BlobStore

MAX_REPLAYED_ROWS = 100_000
MAX_REPLAYED_BYTES = 256 << 20
MAX_NAMED_ROWS = 5
"""How many rows that came out otherwise are named."""

_ORDER = (IDENTICAL, WITHIN_TOLERANCE, SAME_DECISION, DIVERGED)


class Rows(NamedTuple):
    """The blob of a batch, checked; or why it cannot be had: a reason and a sentence."""

    data: bytes
    reason: str | None = None
    message: str = ""


def rows_for(blobs: BlobStore, prediction: Prediction) -> Rows:
    """The rows of a batch that are to be run again. Raises Unavailable."""
    batch = prediction.batch
    assert batch is not None
    if batch.rows > MAX_REPLAYED_ROWS:
        words = f"it has {batch.rows} rows; at most {MAX_REPLAYED_ROWS} are run again"
        return Rows(b"", "BATCH_TOO_LARGE", words)
    try:
        data = blobs.get(batch.digest)
        if len(data) > MAX_REPLAYED_BYTES:
            words = f"its rows are {len(data)} bytes; at most {MAX_REPLAYED_BYTES} are run again"
            return Rows(b"", "BATCH_TOO_LARGE", words)
        row_lines(blobs, prediction)
        read_chunks(data)
    except StoreCorrupt as error:
        return Rows(b"", "ROWS_DIGEST_MISMATCH", str(error))
    except (NotFound, FormatError) as error:
        return Rows(b"", "ROWS_MISSING", str(error))
    return Rows(data)


def judge_batch(answer: PredictionReplay, reply: Reply, data: bytes) -> PredictionReplay:
    """As `judging.judge`, row by row."""
    prediction = answer.prediction
    assert prediction is not None
    if reply.output is None or prediction.status != OK_STATUS:
        return replace(judge(answer, reply), replayed=None)
    then = [read_row(line).output for line in read_lines(data)]
    _, chunks = read_chunks(data)
    now, form = reply.output
    forms = (form or {}).get("chunks")
    if not isinstance(now, list) or len(now) != len(then) or not isinstance(forms, list):
        words = f"it answers another number of rows than the {len(then)} that were recorded"
        return replace(answer, output=DIVERGED, messages=(*answer.messages, words))
    pairs = [(chunk.form, one) for chunk, one in zip(chunks, forms, strict=False)]
    same = len(chunks) == len(forms) and all(
        compare(Served(None, a), Served(None, b)).verdict == IDENTICAL for a, b in pairs
    )
    if not same:
        words = "its answers are of another type than those that were recorded"
        return replace(
            answer,
            output=DIVERGED,
            rows={DIVERGED: len(then)},
            messages=(*answer.messages, words),
        )
    threshold = prediction.threshold
    found = [
        compare(Served(a, None), Served(b, None), answer.tolerance, threshold)
        for a, b in zip(then, now, strict=True)
    ]
    return _summed(answer, found)


def _summed(answer: PredictionReplay, found: list[Comparison]) -> PredictionReplay:
    counts = Counter(one.verdict for one in found)
    worst = max((one.verdict for one in found), key=_ORDER.index, default=IDENTICAL)
    others = [row for row, one in enumerate(found) if one.verdict != IDENTICAL]
    messages = answer.messages
    if others:
        listed = ", ".join(map(str, others[:MAX_NAMED_ROWS]))
        more = f" and {len(others) - MAX_NAMED_ROWS} more" if len(others) > MAX_NAMED_ROWS else ""
        messages = (*messages, f"rows that come out otherwise: {listed}{more}; the first is row 0")
    ulps = [one.max_ulps for one in found]
    differences = [one.max_difference for one in found]
    known = [one for one in ulps if one is not None]
    numbers = [one for one in differences if one is not None]
    return replace(
        answer,
        output=worst,
        rows={name: counts[name] for name in _ORDER if counts[name]},
        max_ulps=max(known, default=0) if len(known) == len(ulps) else None,
        max_difference=max(numbers, default=0.0) if len(numbers) == len(differences) else None,
        messages=messages,
    )
