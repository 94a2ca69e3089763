"""Every step between two points: what each entry after a, up to and including b, did to its row.

The steps of a row are in the order in which they were recorded, rows in byte order of their keys;
applied one after the other to as_of(a) they give as_of(b). Each shows the row as it was known right
after it. Where b is before a they are taken back, newest first.

With a valid time the rows are those valid then, as known after each entry. A row that only a schema
recorded in between made readable has a first step without an entry.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, SupportsIndex

from audit.event.values import fields_to_json
from audit.replay.blame import Said, said_of
from audit.replay.columns import Naming
from audit.replay.diff import few_keys, later_of, touched
from audit.replay.fold import Row, Step, as_recorded, changed_fields, fold
from audit.replay.history import Changes, pair_to_json
from audit.replay.known import require_dataset, require_recorded
from audit.replay.onepass import KEYS_READ_AGAIN, batches
from audit.replay.points import Cut
from audit.replay.refs import Ref
from audit.replay.steps import Steps
from audit.store.contract import Reader


class RowStep(NamedTuple):
    """What one entry did to one row; None where the row is not there. `fields`: what it changed.

    `said` is the entry; None where a schema alone made an older entry readable.
    """

    entity_key: str
    before: Row | None
    after: Row | None
    fields: Changes
    said: Said | None

    @property
    def kind(self) -> str:
        """added, removed or changed."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"

    def __getitem__(self, key: SupportsIndex | slice | str) -> Any:
        """By position as a tuple, or by name what `to_dict` has under it. Raises KeyError."""
        return self.to_dict()[key] if isinstance(key, str) else tuple.__getitem__(self, key)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {
            "entity_key": self.entity_key,
            "change": self.kind,
            "before": None if self.before is None else fields_to_json(self.before),
            "after": None if self.after is None else fields_to_json(self.after),
            "fields": {name: pair_to_json(*pair) for name, pair in self.fields.items()},
            "entry": None if self.said is None else self.said.to_dict(),
        }


def diff_steps(
    reader: Reader, entity: str | Ref, a: Cut, b: Cut, valid_at_us: int | None = None
) -> Iterator[RowStep]:
    """Every step between two cuts that changed a row of a dataset, or the one row of a Ref.

    Raises NotFound for an unknown entity type, and for a row of which nothing is recorded.
    """
    entity_type = entity.entity_type if isinstance(entity, Ref) else entity
    require_dataset(reader, entity_type)
    if isinstance(entity, Ref):
        require_recorded(reader, entity)
    later = later_of(a, b)
    # Logs may lie in different order at the two points: back to what both hold, and on from there.
    sizes = {log: min(a.size(log), b.size(log)) for log in later.sizes}
    naming = Naming(reader, entity_type, later)

    def at(cut: Cut) -> Steps:
        return Steps(reader, entity_type, cut, naming)

    low, high = at(later._replace(sizes=sizes)), at(later)
    back, forth = (_Way(low, at(end), valid_at_us) for end in (a, b))
    if isinstance(entity, Ref):
        groups: Iterable[list[str]] = [[entity.entity_key]]
        singly = True
    else:
        keys = touched(reader, low, high, few_keys(a, b))
        singly = keys is not None
        groups = batches(high.keys() if keys is None else keys, KEYS_READ_AGAIN)
    return _of_groups(back, forth, groups, singly)


def _of_groups(
    back: "_Way", forth: "_Way", groups: Iterable[list[str]], singly: bool
) -> Iterator[RowStep]:
    for some in groups:
        undone, done = back.of_keys(some, singly), forth.of_keys(some, singly)
        for key in some:
            for step in reversed(undone.get(key, [])):
                yield RowStep(key, step.after, step.before, _swapped(step.fields), step.said)
            yield from done.get(key, [])


def _swapped(fields: Changes) -> Changes:
    return {name: (new, old) for name, (old, new) in fields.items()}


class _Way(NamedTuple):
    """From one cut to another that holds at least as much of each log."""

    low: Steps
    high: Steps
    valid_at_us: int | None

    def of_keys(self, keys: list[str], singly: bool) -> dict[str, list[RowStep]]:
        """The steps of these keys; `singly`: they are few, and each is read on its own."""
        if self.low.cut.sizes == self.high.cut.sizes:
            return {}
        found = {key: self.high.of_key(key) for key in keys} if singly else self.high.of_keys(keys)
        steps = {}
        for key in keys:
            own = found.pop(key)
            base = [step for step in own if self.low.cut.holds(step.position)]
            new = [step for step in own if not self.low.cut.holds(step.position)]
            steps[key] = self._of_key(key, base, new)
        return steps

    def _of_key(self, key: str, base: list[Step], new: list[Step]) -> list[RowStep]:
        steps = []
        row = fold([self._read_low(step) for step in base], self.valid_at_us).row
        for said, after in ((None, fold(base, self.valid_at_us).row), *self._rows(base, new)):
            fields = changed_fields(row, after)
            if fields or (row is None) != (after is None):
                steps.append(RowStep(key, row, after, fields, said and said_of(said)))
            row = after
        return steps

    def _read_low(self, step: Step) -> Step:
        """The step as it could be read at the lower cut: some schemas came later."""
        if step.change is None or step.record.event is None:
            return step
        name = step.record.event.payload_schema
        if name is None or name in self.low.books.of_log(step.record.log):
            return step
        return step._replace(change=None, problem="its schema was recorded later")

    def _rows(self, base: list[Step], new: list[Step]) -> Iterator[tuple[Step, Row | None]]:
        """Each new step, and the row known right after it."""
        in_order = not base or not new or base[-1].order <= new[0].order
        if in_order and self.valid_at_us is None:
            for at, judged in enumerate(as_recorded([*base, *new])):
                if at >= len(base):
                    yield judged.step, judged.after.row
            return
        held = list(base)
        for step in new:
            held.append(step)
            held.sort(key=lambda one: one.order)
            yield step, fold(held, self.valid_at_us).row
