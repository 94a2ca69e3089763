"""Step: checkpoints from elsewhere, opened with pinned keys and sorted by log."""

from collections.abc import Sequence

from audit.errors import LimitExceeded
from audit.tlog.checkpoint import Checkpoint
from audit.verify.noted import Notes
from audit.verify.policy import Policy
from audit.verify.steps.checkpoint import Refused, open_note

MAX_EXTERNAL_CHECKPOINTS = 10_000
"""Checkpoints from elsewhere that may be given at once."""


def open_external(
    checkpoints: Sequence[bytes], policy: Policy, notes: Notes
) -> dict[str, list[Checkpoint]]:
    """Checkpoints from elsewhere by origin, in order of size; what is no evidence is a finding.

    Raises LimitExceeded for more than MAX_EXTERNAL_CHECKPOINTS.
    """
    if len(checkpoints) > MAX_EXTERNAL_CHECKPOINTS:
        raise LimitExceeded(f"at most {MAX_EXTERNAL_CHECKPOINTS:,} checkpoints can be given")
    by_origin: dict[str, list[Checkpoint]] = {}
    for number, note in enumerate(checkpoints, 1):
        opened = open_note(note, policy.logs)
        if isinstance(opened, Refused):
            if policy.logs:
                notes.add(
                    "checkpoint_unusable", None, f"the given checkpoint {number}: {opened.message}"
                )
        else:
            by_origin.setdefault(opened.origin, []).append(opened)
    for origin, opened_ones in by_origin.items():
        opened_ones.sort(key=lambda checkpoint: checkpoint.size)
        roots: dict[int, bytes] = {}
        for checkpoint in opened_ones:
            if roots.setdefault(checkpoint.size, checkpoint.root) != checkpoint.root:
                notes.add(
                    "equivocation",
                    None,
                    f"two of the given checkpoints sign different roots for {origin} at size "
                    f"{checkpoint.size:,}",
                )
    return by_origin
