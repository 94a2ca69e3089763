"""One pass over all events of a dataset: memory holds its rows, not its events.

A key whose events must fold in another order than they were recorded in (one of them is superseded,
or is valid before one recorded earlier) is noted, and its events are read again at the end.
"""

from collections.abc import Container, Iterable, Iterator
from itertools import islice

from audit.replay.fold import NOTHING, State, Step, advance, fold
from audit.replay.steps import Steps

KEYS_READ_AGAIN = 20_000
"""Keys whose events are held in memory at once when they are read again."""


class OnePass:
    """Folds all events of a dataset in recorded order, and notes which keys need more care."""

    def __init__(self, valid_at_us: int | None, max_keys: int) -> None:
        """Nothing read yet."""
        self.fields: set[str] = set()
        self.events = 0
        self.undecodable = 0
        self.too_many = False
        self._valid_at_us = valid_at_us
        self._max_keys = max_keys
        self._live: dict[str, State] = {}
        self._gone: dict[str, State] = {}
        self._again: set[str] = set()
        self._all_again = False
        self._folded_to_us: dict[str, int] = {}
        self._truncated_to_us: int | None = None

    def read(self, steps: Steps, keys: Container[str] | None = None) -> None:
        """Read everything below the cut, or all of these keys."""
        for step in steps.all(keys):
            self.take(step)

    def take(self, step: Step) -> None:
        """Take the next event in recorded order."""
        self.count(step)
        if not self.too_many:
            self._fold(step)
            if len(self._live) + len(self._gone) > self._max_keys:
                self.too_many = True
                self._live, self._gone, self._folded_to_us = {}, {}, {}
                self._again = set()

    def count(self, step: Step) -> None:
        """Note that there is this event, and which fields it sets."""
        if step.op is not None:
            self.events += 1
            if step.problem is not None:
                self.undecodable += 1
            elif step.change is not None and step.change.after:
                self.fields.update(step.change.after)

    def _fold(self, step: Step) -> None:
        event = step.record.event
        key = None if event is None else event.entity_key
        if event is not None and event.supersedes is not None:
            # Which event it takes out is known from the key's own events alone.
            if key is None:
                self._all_again = True
            else:
                self._again.add(key)
        if step.op is None:
            return
        if self._valid_at_us is not None and step.valid_time_us > self._valid_at_us:
            return
        if step.op == "truncate" and key is None:
            self._truncate(step)
        elif key is not None:
            self._one(key, step)

    def _one(self, key: str, step: Step) -> None:
        if self._valid_at_us is not None and self._is_late(key, step):
            self._again.add(key)
        state = self._live.pop(key, None) or self._gone.pop(key, NOTHING)
        self._keep(key, advance(state, step))

    def _keep(self, key: str, state: State) -> None:
        (self._gone if state.row is None else self._live)[key] = state

    def _is_late(self, key: str, step: Step) -> bool:
        """True when the event is valid before one that is folded already."""
        valid_us = step.valid_time_us
        folded_us = self._folded_to_us.get(key)
        if folded_us is None or folded_us < valid_us:
            self._folded_to_us[key] = valid_us
        if self._truncated_to_us is not None and valid_us < self._truncated_to_us:
            return True
        return folded_us is not None and valid_us < folded_us

    def _truncate(self, step: Step) -> None:
        if self._valid_at_us is not None:
            valid_us = step.valid_time_us
            if self._truncated_to_us is not None and valid_us < self._truncated_to_us:
                self._all_again = True
            else:
                self._truncated_to_us = valid_us
            self._again.update(k for k, us in self._folded_to_us.items() if us > valid_us)
            # What is valid before any of these is valid before this truncate: found late by that.
            self._folded_to_us = {}
        live, self._live = self._live, {}
        for key, state in live.items():
            self._keep(key, advance(state, step))

    def states(self, steps: Steps) -> dict[str, State] | None:
        """Key -> its state, the careful ones read again; None when there are too many keys."""
        if self.too_many:
            return None
        states = {**self._live, **self._gone}
        again = self._again | states.keys() if self._all_again else self._again
        for some in batches(again, KEYS_READ_AGAIN):
            for key, own in steps.of_keys(some).items():
                states[key] = fold(own, self._valid_at_us)
        return states


def batches(keys: Iterable[str], count: int) -> Iterator[list[str]]:
    """The keys in lists of at most `count`."""
    rest = iter(keys)
    while some := list(islice(rest, count)):
        yield some
