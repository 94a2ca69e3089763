"""The rows of a batch: many predictions under one entry, each of which can be proven by itself.

The entry's field ``batch`` names the number of rows, the root hash of their tree and the blob that
holds them. The blob, format ``attestory batch v1``, is UTF-8 text, every line ends with LF alone::

    {"features": [CHUNK, ...], "format": "attestory batch v1", "output": [CHUNK, ...], "rows": N}
    ROW       N lines; there is no LF inside a row
    CHUNK     {"form": FORM, "rows": n}: how n rows were served, see audit.lineage.content.served
    ROW       {"features": {name: value, ...}, "key": text or null, "output": value}

Each line is JSON in one spelling: no spaces, members sorted by name, and what JSON lacks spelled
as in audit.event.valuejson (``{"$double": "NaN"}``); a number with a point or an exponent is a
double, in the shortest text that reads back as the same one. An output of null means that the row
has none. Rows that are lists have the features ``x0 x1 ...``, rows that are one value ``value``.

*Row bytes* are a ROW's bytes without the LF. The tree is that of RFC 6962, section 2.1: leaf hash
SHA-256(0x00 || row bytes), node hash SHA-256(0x01 || left || right). So whoever has the entry (from
a bundle or a proof, checked with `audit verify`) can check a row with SHA-256 alone.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from audit.errors import FormatError, InvalidInput, InvalidProof, LimitExceeded, StoreCorrupt
from audit.event.valuejson import dumps_bytes
from audit.event.values import Value, loads, parse_json, to_json
from audit.lineage.content.forms import Form
from audit.lineage.recorded.predictions import Batch, Prediction
from audit.store.blobs import BlobStore
from audit.tlog.hashing import HASH_BYTES, leaf_hash, pair_hashes
from audit.tlog.merkle import inclusion_proof, root_of
from audit.tlog.proof import verify_inclusion

FORMAT = "attestory batch v1"
MAX_ROWS = 1_000_000
"""Rows of one batch."""
MAX_ROW_BYTES = 64_000
"""Longest row, as one event of its own could be."""
MAX_HEADER_BYTES = 16_000_000
MAX_PATH_HASHES = 64


class Row(NamedTuple):
    """One prediction of a batch. `output`: None where there is none."""

    features: dict[str, Value]
    output: Value
    key: str | None


class Chunk(NamedTuple):
    """How some rows in a row were served."""

    rows: int
    form: Form


class RowProof(NamedTuple):
    """That `data` is row number `row` of `rows` of a prediction: siblings from the leaf upward."""

    prediction_id: str
    row: int
    rows: int
    data: bytes
    path: tuple[bytes, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it; `row_proof` reads it back."""
        return {
            "format": FORMAT,
            "prediction": self.prediction_id,
            "row": self.row,
            "rows": self.rows,
            "data": self.data.decode(),
            "path": [base64.b64encode(one).decode() for one in self.path],
        }


def row_bytes(row: Row) -> bytes:
    """The bytes of a row, whose values are normalized. Raises LimitExceeded."""
    data = dumps_bytes({"features": row.features, "key": row.key, "output": row.output})
    if len(data) > MAX_ROW_BYTES:
        raise LimitExceeded(f"a row of {len(data)} bytes: at most {MAX_ROW_BYTES}")
    return data


def rows_root(rows: Sequence[bytes]) -> bytes:
    """The root hash of the tree over rows."""
    return root_of([leaf_hash(row) for row in rows])


def write_rows(rows: Sequence[bytes], features: Sequence[Chunk], output: Sequence[Chunk]) -> bytes:
    """The blob of a batch. Raises LimitExceeded."""
    if len(rows) > MAX_ROWS:
        raise LimitExceeded(f"a batch of {len(rows)} rows: at most {MAX_ROWS}; make several")
    header = {
        "format": FORMAT,
        "rows": len(rows),
        "features": [chunk._asdict() for chunk in features],
        "output": [chunk._asdict() for chunk in output],
    }
    return b"".join(line + b"\n" for line in (_plain_json(header), *rows))


def _plain_json(document: Any) -> bytes:
    import json

    text = json.dumps(
        document, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return text.encode()


def read_lines(data: bytes) -> list[bytes]:
    """The rows' bytes in the blob of a batch. Raises FormatError, LimitExceeded."""
    first, _, rest = data.partition(b"\n")
    if len(first) > MAX_HEADER_BYTES:
        raise LimitExceeded(f"a batch whose header has {len(first)} bytes")
    try:
        header = parse_json(first)
    except InvalidInput as error:
        raise FormatError(f"the rows of the batch have no header: {error}") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise FormatError("the rows of the batch are in another format; a newer version wrote it")
    lines = rest.split(b"\n")
    if lines.pop() or len(lines) != header.get("rows") or len(lines) > MAX_ROWS:
        raise FormatError("the blob does not have the rows that its header says")
    return lines


def read_chunks(data: bytes) -> tuple[list[Chunk], list[Chunk]]:
    """How the rows in a blob were served, and how the answers came out. Raises FormatError.

    A batch that has no answers has no chunks of them.
    """
    rows = len(read_lines(data))
    header = parse_json(data.partition(b"\n")[0])
    features, output = _chunks(header.get("features")), _chunks(header.get("output"))
    for chunks in (features, output):
        if sum(chunk.rows for chunk in chunks) != rows and (chunks or chunks is features):
            raise FormatError("the chunks of the batch have another number of rows than it has")
    return features, output


def _chunks(said: object) -> list[Chunk]:
    found = []
    for one in said if isinstance(said, list) else [None]:
        rows = one.get("rows") if isinstance(one, dict) else None
        form = one.get("form") if isinstance(one, dict) else None
        if type(rows) is not int or rows < 0 or not isinstance(form, dict | None):
            raise FormatError("the chunks of the batch are not as they must be")
        found.append(Chunk(rows, form))
    return found


def read_row(data: bytes) -> Row:
    """What a row's bytes say. Raises FormatError."""
    if len(data) > MAX_ROW_BYTES:
        raise FormatError(f"a row of {len(data)} bytes: at most {MAX_ROW_BYTES}")
    try:
        said = loads(data)
    except InvalidInput as error:
        raise FormatError(f"a row of the batch is not JSON: {error}") from None
    features = said.get("features") if isinstance(said, dict) else None
    if not isinstance(said, dict) or not isinstance(features, dict):
        raise FormatError("a row of the batch is not as it must be")
    key = said.get("key")
    return Row(features, said.get("output"), key if isinstance(key, str) else None)


def row_lines(blobs: BlobStore, prediction: Prediction) -> list[bytes]:
    """The bytes of all rows of a batch, which do lead to the root in its entry.

    Raises InvalidInput for a prediction that is no batch, NotFound, StoreCorrupt, Unavailable.
    """
    batch = prediction.batch
    if batch is None:
        raise InvalidInput(f"prediction {prediction.prediction_id} is no batch")
    try:
        lines = read_lines(blobs.get(batch.digest))
    except (FormatError, LimitExceeded) as error:
        raise StoreCorrupt(f"blob {batch.digest}: {error}") from None
    if len(lines) != batch.rows or rows_root(lines) != batch.root_hash:
        raise StoreCorrupt(f"blob {batch.digest} holds other rows than the entry stands for")
    return lines


def rows_of(blobs: BlobStore, prediction: Prediction) -> Iterator[Row]:
    """The rows of a batch, in their order. Raises as `row_lines`, FormatError."""
    for line in row_lines(blobs, prediction):
        yield read_row(line)


def prove_row(blobs: BlobStore, prediction: Prediction, row: int) -> RowProof:
    """The proof of one row, for `verify_row`. Raises as `row_lines`, InvalidInput for no such."""
    lines = row_lines(blobs, prediction)
    if not 0 <= row < len(lines):
        raise InvalidInput(f"the batch has no row {row}; it has {len(lines)}, the first is 0")
    path = inclusion_proof(_Levels(lines), row, len(lines))
    return RowProof(prediction.prediction_id, row, len(lines), lines[row], tuple(path))


def verify_row(proof: RowProof, batch: Batch | None) -> Row:
    """The row, if it is the one of that number in the batch of a (verified) entry.

    Raises InvalidProof for anything else, FormatError for a row that cannot be read.
    """
    if batch is None or proof.rows != batch.rows:
        raise InvalidProof("the entry stands for another number of rows than the proof")
    verify_inclusion(leaf_hash(proof.data), proof.row, batch.rows, proof.path, batch.root_hash)
    return read_row(proof.data)


def row_proof(document: object) -> RowProof:
    """A proof from its JSON. Raises FormatError."""
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise FormatError(f"not the proof of a row in the format {FORMAT}")
    prediction_id, data = document.get("prediction"), document.get("data")
    row, rows, path = document.get("row"), document.get("rows"), document.get("path")
    if (
        not isinstance(prediction_id, str)
        or not isinstance(data, str)
        or type(row) is not int
        or type(rows) is not int
        or not isinstance(path, list)
        or len(path) > MAX_PATH_HASHES
    ):
        raise FormatError("the proof of a row is not as it must be")
    try:
        hashes = tuple(base64.b64decode(str(one), validate=True) for one in path)
        raw = data.encode()
    except (binascii.Error, ValueError):
        raise FormatError("the proof of a row holds what is neither text nor Base64") from None
    if any(len(one) != HASH_BYTES for one in hashes):
        raise FormatError(f"the proof of a row has hashes that are not {HASH_BYTES} bytes")
    return RowProof(prediction_id, row, rows, raw, hashes)


def row_to_json(row: Row) -> dict[str, Any]:
    """A row as JSON can hold it."""
    return {"features": to_json(row.features), "key": row.key, "output": to_json(row.output)}


class _Levels:
    """The hashes of the tree over rows, level by level: where a proof is taken from."""

    def __init__(self, rows: Sequence[bytes]) -> None:
        self._levels = [[leaf_hash(row) for row in rows]]
        while len(self._levels[-1]) > 1:
            self._levels.append(pair_hashes(self._levels[-1]))

    def node(self, level: int, index: int) -> bytes:
        return self._levels[level][index]
