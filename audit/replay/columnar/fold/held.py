"""Answers that are kept in this process, because they cost more to find than to keep.

An answer is named by the sizes of the logs it is of, so that it never gets old; what is there of a
log that turned out to be another one is let go with all the rest.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

from audit.replay.columnar.fold.source import PartSource

MAX_ANSWERS = 8
MAX_ANSWER_BYTES = 268_435_456
"""All answers of a kind together take no more than that, more or less."""


class Weighed(Protocol):
    """Something that knows what it takes."""

    def bytes_held(self) -> int:
        """In memory, more or less; it may grow while it is used."""
        ...


Answer = TypeVar("Answer", bound=Weighed)


class Held(Generic[Answer]):
    """The answers used last. For one thread at a time."""

    def __init__(self, source: PartSource) -> None:
        """There are none yet."""
        self._source = source
        self._epoch = source.epoch
        self._answers: OrderedDict[Hashable, Answer] = OrderedDict()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._answers)

    def bytes_held(self) -> int:
        """What they take together, what several of them share counted for each."""
        return sum(answer.bytes_held() for answer in self._answers.values())

    def get(self, name: Hashable) -> Answer | None:
        """The answer with this name, while all that was given before still holds."""
        if self._epoch != self._source.epoch:
            self._epoch = self._source.epoch
            self._answers.clear()
        # They grow while they are used, after they were put here.
        self._let_go()
        found = self._answers.get(name)
        if found is not None:
            self._answers.move_to_end(name)
        return found

    def put(self, name: Hashable, answer: Answer, epoch: int) -> None:
        """Keep an answer that was found from what holds since `epoch`."""
        if epoch == self._epoch == self._source.epoch:
            self._answers[name] = answer
            self._let_go()

    def _let_go(self) -> None:
        while len(self._answers) > MAX_ANSWERS or self.bytes_held() > MAX_ANSWER_BYTES:
            self._answers.popitem(last=False)
