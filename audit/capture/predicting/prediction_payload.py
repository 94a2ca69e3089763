"""The bytes of a ``prediction.v2`` record, put together from parts that stay the same for long.

The same bytes as `audit.event.payload.encode_record` makes of a dictionary; a test holds that. It
is written out because it is in the path of every answer of a model: what names the model and the
code is encoded once, and the features only once, before the function can change them.
"""

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from audit.errors import LimitExceeded
from audit.event.canonical import builtin, schema_hash
from audit.event.envelope import MAX_EVENT_BYTES
from audit.event.fields import encode_fields, encode_value
from audit.event.payload import field_encoder
from audit.event.values import Value
from audit.event.wire import encode_long, encode_size
from audit.lineage.recorded.predictions import ERROR_STATUS, OK_STATUS, REJECTED_STATUS

SCHEMA = "prediction.v2"

_pack_double = struct.Struct("<d").pack
_NULL = b"\x00"
_EMPTY = b"\x00"


@lru_cache(maxsize=32)
def _encoder(name: str) -> Any:
    return field_encoder(SCHEMA, name)


@lru_cache(maxsize=1)
def schema() -> tuple[bytes, tuple[bytes, ...]]:
    """(hash of the schema, canonical schemas that must be in the log before)."""
    canonical = builtin(SCHEMA)
    return schema_hash(canonical), (canonical,)


class Outcome(NamedTuple):
    """What became of a call. `call`: the encoded field, see `text`."""

    status: str
    output: Value
    latency_us: int | None
    call: bytes
    error: str | None = None
    violations: Sequence[str] = ()


class Links(NamedTuple):
    """Other predictions, by id."""

    parents: Sequence[str] = ()
    members: Sequence[str] = ()
    primary: str | None = None


NO_LINKS = Links()


def text(value: str | None) -> bytes:
    """A string or null."""
    if value is None:
        return _NULL
    raw = value.encode()
    return b"\x02" + encode_size(len(raw)) + raw


def long(value: int | None) -> bytes:
    """An integer or null."""
    return _NULL if value is None else b"\x02" + encode_long(value)


@lru_cache(maxsize=1_024)
def head(
    role: str,
    served: bool,
    model_name: str,
    model_version: str,
    model_digest: str,
    code_digest: str | None,
) -> bytes:
    """The fields from `role` to `code_digest`."""
    parts = {
        "role": role,
        "served": served,
        "model_name": model_name,
        "model_version": model_version,
        "model_digest": model_digest,
        "code_digest": code_digest,
    }
    return b"".join(_encoder(name)(value) for name, value in parts.items())


def threshold(value: float | None) -> bytes:
    """The field `threshold`."""
    found: bytes = _encoder("threshold")(value)
    return found


class FloatFeatures:
    """Encodes features of the same names again and again, all of them doubles: one `struct` call.

    The same bytes as `features` makes, at a quarter of the time.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """`names`: in their order; at least one."""
        heads = [encode_fields({name: 0.0}) for name in names]
        # A list of one field is its size, the name, branch 3, eight bytes, and the end of the list.
        one = encode_size(1)
        self._heads = [head[len(one) : -9] for head in heads]
        self._heads[0] = encode_size(len(names)) + self._heads[0]
        self._pack = struct.Struct("<" + "".join(f"{len(h)}sd" for h in self._heads) + "x").pack

    def encode(self, values: Iterable[float]) -> bytes:
        """The field `features` of these values."""
        return self._pack(*chain.from_iterable(zip(self._heads, values, strict=True)))


def features(fields: dict[str, Any]) -> bytes:
    """The field `features`. Raises InvalidInput naming the feature, LimitExceeded."""
    found = encode_fields(fields)
    if len(found) > MAX_EVENT_BYTES:
        raise LimitExceeded(f"features of {len(found)} bytes: at most {MAX_EVENT_BYTES}")
    return found


def origins(statuses: dict[str, str], sets: Sequence[dict[str, Any]]) -> bytes:
    """The fields `feature_status` and `feature_sets`."""
    if not statuses and not sets:
        return _EMPTY + _EMPTY
    listed = [{"name": name, "status": status} for name, status in statuses.items()]
    found: bytes = _encoder("feature_status")(listed) + _encoder("feature_sets")(list(sets))
    return found


def batch(value: dict[str, Any] | None) -> bytes:
    """The field `batch`."""
    if value is None:
        return _NULL
    found: bytes = _encoder("batch")(value)
    return found


def payload(
    before: bytes,
    outcome: Outcome,
    threshold_: bytes,
    seed: bytes,
    links: Links,
    batch_: bytes = _NULL,
) -> bytes:
    """The record; `before` are its fields up to `feature_sets`. Raises LimitExceeded."""
    status, output, latency_us, call, error, violations = outcome
    parents, members, primary = links
    found = b"".join(
        (
            before,
            _output(output),
            _STATUSES[status],
            text(error),
            _encoder("violations")(list(violations)) if violations else _EMPTY,
            threshold_,
            long(latency_us),
            seed,
            _encoder("parents")(list(parents)) if parents else _EMPTY,
            _encoder("members")(list(members)) if members else _EMPTY,
            text(primary),
            _EMPTY,  # inputs
            batch_,
            call,
        )
    )
    if len(found) > MAX_EVENT_BYTES:
        raise LimitExceeded(f"record of {len(found)} bytes: at most {MAX_EVENT_BYTES}")
    return found


_STATUSES = {
    status: encode_size(len(status)) + status.encode()
    for status in (OK_STATUS, ERROR_STATUS, REJECTED_STATUS)
}


def _output(output: Value) -> bytes:
    if type(output) is float:
        return b"\x04\x06" + _pack_double(output)
    if output is None:
        return _NULL
    if type(output) is dict:
        return b"\x02" + encode_fields(output)
    return b"\x04" + encode_value(output)
