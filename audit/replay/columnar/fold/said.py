"""What many entries say about themselves, read from their leaves in blocks: `audit.replay.blame`'s
`Said`, as columns.
"""

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.errors import StoreCorrupt
from audit.log.entry import Kind
from audit.replay.blame import Said, said_of
from audit.replay.columnar.decode.envelopes import Envelopes, Texts, read_envelopes
from audit.replay.columnar.lockstep import Source
from audit.replay.columnar.pool import Objects
from audit.replay.fold import DATA_PREFIX
from audit.replay.trusted import trusted_record

if TYPE_CHECKING:
    from audit.replay.steps import Steps

Longs = npt.NDArray[np.int64]

BLOCK = 8_192
"""Leaves read at once."""
TEXTS = ("event_id", "source", "op", "actor", "reason", "transaction_id")


class SaidColumns(NamedTuple):
    """n entries. `texts`: name of TEXTS -> n texts, None where there is none."""

    log: Longs
    index: Longs  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    recorded_us: Longs
    valid_us: Longs
    texts: dict[str, Objects]


def said_columns(steps: "Steps", log: int, indexes: Longs) -> SaidColumns:
    """What the entries at these indexes (ascending) say. Raises StoreCorrupt."""
    located = steps.reader.leaves_at(log, indexes.tolist())
    blocks = []
    for start in range(0, len(indexes), BLOCK):
        asked = indexes[start : start + BLOCK]
        held = list(islice(located, len(asked)))
        if [index for index, _ in held] != asked.tolist():
            raise StoreCorrupt(f"entries of log {log} are not there any more; run audit verify")
        blocks.append(_block(steps, log, asked, [leaf for _, leaf in held]))
    return joined(blocks)


def joined(blocks: Sequence[SaidColumns]) -> SaidColumns:
    """One after the other."""
    if not blocks:
        none = np.empty(0, np.int64)
        return SaidColumns(none, none, none, none, {name: _objects([]) for name in TEXTS})
    numbers = [np.concatenate([block[at] for block in blocks]) for at in range(4)]
    texts = {name: np.concatenate([block.texts[name] for block in blocks]) for name in TEXTS}
    return SaidColumns(numbers[0], numbers[1], numbers[2], numbers[3], texts)


def _block(steps: "Steps", log: int, indexes: Longs, leaves: list[bytes]) -> SaidColumns:
    source = Source(leaves)
    found = read_envelopes(source, None)
    bad = found.bad | (found.index != indexes) | (found.kind != Kind.EVENT)
    made = SaidColumns(
        np.full(len(leaves), log, np.int64),
        indexes,
        found.recorded_us.copy(),
        found.valid_us.copy(),
        _texts(source, found, ~bad),
    )
    # What is read otherwise there is read here: by the plain code, which says what is wrong.
    for at in np.flatnonzero(bad).tolist():
        index = int(indexes[at])
        put(made, at, said_of(steps.step(trusted_record(log, index, leaves[at]))))
    return made


def put(made: SaidColumns, at: int, said: Said) -> None:
    """Make the entry `at` this one."""
    made.log[at], made.index[at] = said.log, said.index
    made.recorded_us[at], made.valid_us[at] = said.recorded_time_us, said.valid_time_us
    for name in TEXTS:
        made.texts[name][at] = getattr(said, name)


def said_rows(said: Sequence[Said]) -> SaidColumns:
    """The same of entries that were read one by one."""
    count = len(said)
    numbers = [np.empty(count, np.int64) for _ in range(4)]
    texts = {name: np.empty(count, np.object_) for name in TEXTS}
    made = SaidColumns(numbers[0], numbers[1], numbers[2], numbers[3], texts)
    for at, one in enumerate(said):
        put(made, at, one)
    return made


def _texts(source: Source, found: Envelopes, good: npt.NDArray[np.bool_]) -> dict[str, Objects]:
    rows = np.flatnonzero(good)
    event_id = np.empty(len(good), np.object_)
    spans = source.spans(found.event_id_start[rows], found.event_id_end[rows])
    event_id[rows] = spans.cast(pa.string()).to_numpy(zero_copy_only=False)
    texts = {"event_id": event_id, "op": _texts_of(found.type, good, DATA_PREFIX)}
    for name in ("source", "actor", "reason", "transaction_id"):
        texts[name] = _texts_of(getattr(found, name), good)
    return texts


def _texts_of(texts: Texts, good: npt.NDArray[np.bool_], prefix: str = "") -> Objects:
    """The texts, those of the bad ones left out; each distinct one is one object."""
    words = [raw.decode("utf-8", "replace").removeprefix(prefix) for raw in texts.found.to_pylist()]
    # None stands last, where NO_CODE (-1) finds it.
    table = _objects([*words, None])
    made: Objects = table[np.where(good, texts.codes, -1)]
    return made


def _objects(values: Sequence[str | None]) -> Objects:
    made = np.empty(len(values), np.object_)
    made[:] = values
    return made
