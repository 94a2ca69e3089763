"""All events of a dataset, or of some keys of it, from the beginning of each log."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from audit.replay.columnar.fold.among import Bools, only_events
from audit.replay.columnar.fold.careful import careful_of
from audit.replay.columnar.fold.ranks import Ranks
from audit.replay.columnar.fold.spans import Span, spans_of, told_after
from audit.replay.columnar.fold.state import NOTHING_TOLD
from audit.replay.columnar.parts import NO_CODE, Codes, DatasetPart, KeyBook

if TYPE_CHECKING:
    from audit.replay.columnar.fold.fast import FastReplay
    from audit.replay.steps import Steps


class WholeLog(NamedTuple):
    """A log up to the cut. `careful`: codes of the keys that are folded plainly."""

    size: int
    parts: Sequence[DatasetPart]
    book: KeyBook
    careful: Codes

    def codes_of(self, keys: Sequence[str | None]) -> Codes:
        """The code of each key in this log; NO_CODE where it has none here."""
        texts = [None if key is None else key.encode() for key in keys]
        asked = pa.array(texts, pa.large_binary()).dictionary_encode()
        # The asked ones are hashed, not the whole book: they are fewer.
        place = pc.index_in(self.book.keys, value_set=asked.dictionary)
        known = np.flatnonzero(place.is_valid().to_numpy(zero_copy_only=False))
        # One more for those that are None.
        code_of = np.full(len(asked.dictionary) + 1, NO_CODE, np.int32)
        code_of[place.drop_null().to_numpy()] = known
        codes: Codes = code_of[asked.indices.fill_null(len(asked.dictionary)).to_numpy()]
        return codes

    def spans(self, wanted: Bools | None, fields: Collection[str] | None) -> list[Span]:
        """The events of the wanted keys (bool by code; None: all), with these fields or all."""
        parts = self.parts
        if fields is not None:
            parts = [
                part._replace(fields={n: c for n, c in part.fields.items() if n in fields})
                for part in parts
            ]
        if wanted is not None:
            parts = [only_events(part, wanted) for part in parts]
        return spans_of(parts, 0, self.size)

    def is_careful(self) -> Bools:
        """bool by code: whether the key is folded plainly."""
        flags = np.zeros(len(self.book.keys), np.bool_)
        flags[self.careful] = True
        return flags


class WholeLogs(NamedTuple):
    """The logs of a dataset up to a cut. `fields`: every field that is mentioned in any."""

    logs: dict[int, WholeLog]
    ranks: Ranks
    fields: frozenset[str]


def whole_logs(fast: "FastReplay", steps: "Steps") -> WholeLogs | None:
    """All logs up to the cut of `steps`; None where the dataset is to be folded plainly."""
    if steps.naming.moved or not steps.reader.complete:
        return None
    source, entity_type = fast.source, steps.entity_type
    sizes = {log: size for log, size in sorted(steps.cut.sizes.items()) if size}
    if any(source.covered(log) < size for log, size in sizes.items()):
        return None
    if source.must_be_plain(entity_type, steps.cut):
        return None
    parts = {log: source.parts(log, entity_type, 0, size) for log, size in sizes.items()}
    tolds = {
        log: told_after(NOTHING_TOLD, spans_of(parts[log], 0, size)) for log, size in sizes.items()
    }
    if any(told.plain for told in tolds.values()):
        return None
    ranks = fast.ranks_of(entity_type, tuple(sizes))
    careful = careful_of(tolds, ranks)
    logs = {}
    for log, size in sizes.items():
        own = np.array(careful[log], np.int32)
        logs[log] = WholeLog(size, parts[log], source.key_book(log, entity_type), own)
    fields = frozenset(name for told in tolds.values() for name in told.fields)
    return WholeLogs(logs, ranks, fields)
