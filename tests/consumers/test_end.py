"""When `--once` is over, and what is given up."""

from dataclasses import dataclass

import pytest

from audit.capture.delivery.embedded import EmbeddedLedger
from audit.errors import AuditError, Fenced, Unavailable
from consumers.guard import Guard
from consumers.metrics import Metrics
from consumers.once import LOOK_EVERY_S, PATIENCE_S, Once
from consumers.sequencer import Sequencer
from tests.consumers.test_guard import Offers, batch


@dataclass
class Buffer:
    """What is asked of a partition of this process."""

    sealed_to: int = 0
    reading: bool = True
    refused: AuditError | None = None


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        self.now_s += LOOK_EVERY_S
        return self.now_s


def a_sequencer(ledger: EmbeddedLedger) -> Sequencer:
    guard = Guard(lambda names: {}, [], Metrics())
    return Sequencer(ledger, guard, Offers(), "t", 0)  # type: ignore[arg-type]


def test_it_is_over_when_all_is_sealed_by_whomever(ledger: EmbeddedLedger) -> None:
    mine = {1: Buffer(2), 2: Buffer(5, refused=Unavailable("x")), 3: Buffer(9, reading=False)}
    once = Once({0: 3, 1: 3, 2: 7, 3: 9}, ledger.store, Clock())
    assert not once.is_done(mine)  # type: ignore[arg-type]
    mine[1].sealed_to = 3
    mine[3].reading = True
    assert not once.is_done(mine)  # type: ignore[arg-type]
    other = a_sequencer(ledger)
    other.take_over()
    other.append(batch(0, 2))
    assert not once.is_done(mine)  # type: ignore[arg-type]
    other.append(batch(2, 2))
    assert once.is_done(mine)  # type: ignore[arg-type]


def test_what_does_not_move_is_given_up(ledger: EmbeddedLedger) -> None:
    clock, mine = Clock(), {1: Buffer(0)}
    once = Once({0: 1, 1: 500}, ledger.store, clock)
    turns = int(PATIENCE_S / LOOK_EVERY_S)
    for sealed_to in range(2 * turns):
        mine[1].sealed_to = sealed_to
        assert not once.is_done(mine)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match=r"partitions \[0, 1\] are not at their end"):
        for _ in range(turns + 2):
            once.is_done(mine)  # type: ignore[arg-type]


def test_a_released_sequencer_fences_nobody(ledger: EmbeddedLedger) -> None:
    late = a_sequencer(ledger)
    late.released = True
    with pytest.raises(Fenced):
        late.take_over()
    assert ledger.store.claim(1).epoch == 1
