"""What one piece of a log looks like as columns: the form between building, keeping and folding.

A part covers the entries [start, stop) of one log. Entries are numbered inside it from 0 (offset =
index - start), the events of a dataset likewise (ordinal). Everything is in the order of the log.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Bools = npt.NDArray[np.bool_]
Bytes8 = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.int32]
Ordinals = npt.NDArray[np.uint32]
Times = npt.NDArray[np.int64]

NO_CODE = -1
"""Stands for a text or a key that is not there."""


class Op(IntEnum):
    """What an event does to its row."""

    CREATE = 0
    UPDATE = 1
    DELETE = 2
    TRUNCATE = 3


class Sort(IntEnum):
    """What an entry is, as `audit.replay.query.sort_of` tells."""

    EVENT = 0
    SCHEMA = 1
    CONTROL = 2
    QUARANTINED = 3


class Cells(NamedTuple):
    """The values that one field was given in a part, one per event that set it.

    `at`: uint32[c], the ordinals of these events, strictly increasing.
    `values`: an Arrow array of length c; null where the value is null. Its type tells the kind:

        int64, double, bool, string (large_string where it must be), binary, date32[day],
        timestamp[us, tz=UTC]   all values of the part are of that one kind, or null
        null                    all are null
        encoded (see `ENCODED`) anything else: each value as the union `attestory.Field.value`
                                spells it (branch and content, `audit.event.fields.decode_value`)

    A string column may be dictionary-encoded (dictionary<int32, string>).
    """

    at: Ordinals
    values: "pa.Array"


ENCODED = "encoded"
"""Kind of cells whose values are `large_binary` spellings of the value union; see `Cells.values`.

Told from plain bytes by type: plain bytes are `binary`, spellings are `large_binary`.
"""


class DatasetPart(NamedTuple):
    """The data events of one dataset in the entries [start, stop) of one log; n of them.

    `offset`: uint32[n], index - start of each. `recorded_us`, `valid_us`: int64[n], microseconds;
    the valid time is the recorded one where none was claimed. `op`: uint8[n], see `Op`.
    `whole`: bool[n], true for a create and for a full image. `key`: int32[n], code in the key book
    of (log, dataset): codes count from 0 in the order in which keys were first seen in the log;
    NO_CODE for a truncate of the whole dataset.
    `unread`: bool[n], the payload could not be read with the schemas that the log held before the
    event. (Such an event is careful: a schema that came later may explain it.)
    `fields`: name -> the cells; in the order of first mention. `first`: name -> the ordinal of the
    first event that mentions the field at all (a Debezium placeholder mentions it without a cell).
    `careful`: int32[k] codes and `careful_from`: uint32[k] ordinals, parallel: from that event on
    the key is folded plainly. A key may be there more than once.
    `plain_from`: ordinal from which the whole dataset is folded plainly; None when it is not.
    """

    log: int
    start: int
    stop: int
    offset: Ordinals
    recorded_us: Times
    valid_us: Times
    op: Bytes8
    whole: Bools
    key: Codes
    unread: Bools
    fields: Mapping[str, Cells]
    first: Mapping[str, int]
    careful: Codes
    careful_from: Ordinals
    plain_from: int | None

    @property
    def events(self) -> int:
        """How many events of the dataset there are."""
        return len(self.offset)


class EventsPart(NamedTuple):
    """What searching needs of every entry in [start, stop) of one log; n = stop - start of them.

    `recorded_us`, `valid_us`: int64[n] (for an entry without an event both are the recorded time).
    `sort`: uint8[n], see `Sort`. The others are `Coded`: texts by their code.
    """

    log: int
    start: int
    stop: int
    recorded_us: Times
    valid_us: Times
    sort: Bytes8
    type: "Coded"
    entity_type: "Coded"
    source: "Coded"
    actor: "Coded"
    transaction_id: "Coded"
    reason: "Coded"


class Coded(NamedTuple):
    """A column of texts: `codes` int32[n] into `texts` (their UTF-8 bytes), NO_CODE for none."""

    codes: Codes
    texts: Sequence[bytes]


class KeyBook(NamedTuple):
    """The keys of one dataset in one log, by code; `order` sorts them by their bytes.

    `keys`: Arrow large_binary[k]. `order`: int32[k], codes in byte order of the keys.
    """

    keys: "pa.Array"
    order: Codes
