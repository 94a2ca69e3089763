"""A batch in the process that runs it again: the rows as its function gets them, and its answer."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from audit.event.values import to_json
from audit.lineage.content.served import describe, rebuild
from audit.lineage.recorded.batch import Chunk, read_chunks, read_lines, read_row
from audit.lineage.recorded.batch_cells import joined, put_together, row_values, sliced


def given(data: bytes) -> tuple[Any, list[Chunk]]:
    """What the function was given, and how what it answered was recorded. Raises FormatError."""
    lines = iter(read_lines(data))
    features, output = read_chunks(data)
    parts = []
    for chunk in features:
        rows = [read_row(line).features for line in islice(lines, chunk.rows)]
        parts.append(rebuild(*put_together(rows, chunk.form)))
    return joined(parts), output


def answered(output: Any, chunks: Sequence[Chunk]) -> dict[str, Any]:
    """What the function returned now, row by row, taken apart as it was then: part of a reply."""
    if len(output) != sum(chunk.rows for chunk in chunks):
        chunks = [Chunk(len(output), None)]
    values: list[Any] = []
    forms = []
    start = 0
    for chunk in chunks:
        value, form = describe(sliced(output, start, start + chunk.rows))
        values += [to_json(one) for one in row_values(value, form, chunk.rows)]
        forms.append(form)
        start += chunk.rows
    return {"stage": "done", "rows": values, "form": {"is": "batch", "chunks": forms}}
