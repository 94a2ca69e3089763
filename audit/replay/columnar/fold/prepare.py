"""Makes the snapshots that are due, so that the first question does not pay for all of them."""

from audit.replay.columnar.fold.fast import FastReplay
from audit.replay.columnar.fold.snapshots import MIN_EVENTS
from audit.replay.columnar.kept.model import ReadModel


def prepare(model: ReadModel, min_events: int = MIN_EVENTS) -> None:
    """Snapshots of every dataset up to where the model is on disk, and there. Raises StoreCorrupt.

    `min_events`: see `Snapshots`.
    """
    replay = FastReplay(model, min_events)
    for log, names in model.datasets().items():
        size = model.sealed(log)
        for name in names:
            ranks = replay.ranks_of(name, (log,))
            replay.snapshots.at_end(log, name, size, ranks.of[log])
