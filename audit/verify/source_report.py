"""What comparing a log with the partition it was read from has shown: every offset, in words."""

from dataclasses import dataclass, fields
from typing import Any

from audit.verify.noted import Finding


@dataclass(slots=True)
class PartitionReport:
    """One partition. Offsets are half-open ranges; counts are of offsets.

    `log`: None where the ledger has no log of it yet. `first`, `end`: what the broker keeps.
    `next_offset`: where the log says it is read on. Of what both have: `equal` (sealed, with the
    bytes of the message), `repeats` (dropped, equal to their first copy), `without_message`
    (transaction markers, aborted or compacted messages), `gone` (in the log, and removed from
    among what the broker keeps). `no_longer_kept`: in the log, before what the broker keeps.
    `expired`: gone from the broker before they were read, as the log says. `lost`: the same, but
    the log has not said so yet. `waiting`: not read yet. `unsigned`: the message has a signature
    and the entry, by the consumer's settings, has none.
    """

    topic: str
    partition: int
    log: int | None
    origin: str | None
    first: int
    end: int
    next_offset: int
    equal: int = 0
    repeats: int = 0
    without_message: int = 0
    gone: int = 0
    no_longer_kept: int = 0
    expired: int = 0
    lost: int = 0
    waiting: int = 0
    differing: int = 0
    left_out: int = 0
    unsigned: int = 0
    findings: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()

    @property
    def not_proven(self) -> tuple[str, ...]:
        """What the comparison could not look at."""
        names = []
        if self.no_longer_kept or self.expired or self.gone or self.lost:
            names.append("expired_at_source")
        if self.waiting:
            names.append("not_yet_read")
        return tuple(names)

    def words(self) -> list[str]:
        """A few lines, the first of which says what was compared."""
        kept = f"offsets {self.first:,} to {self.end - 1:,}" if self.end > self.first else "nothing"
        lines = [f"{self.topic}/{self.partition}: the broker keeps {kept}"]
        if self.log is None:
            lines.append(f"no log of it yet: {self.waiting:,} offsets wait")
            return lines
        lines[0] += f", the log has read up to {self.next_offset:,}"
        said = [
            f"{count:,} {what}"
            for count, what in (
                (self.equal, "sealed and equal"),
                (self.repeats, "repeats equal to their first copy"),
                (self.differing, "DIFFERENT"),
                (self.left_out, "LEFT OUT"),
                (self.without_message, "without a message (markers, aborted or compacted)"),
                (self.gone, "removed from the topic since"),
            )
            if count
        ]
        lines.append(", ".join(said) or "nothing to compare")
        if self.unsigned:
            lines.append(f"{self.unsigned:,} producer signatures were left out on purpose")
        if self.no_longer_kept:
            lines.append(f"{self.no_longer_kept:,} before that, no longer kept: not comparable")
        if self.expired or self.lost:
            lines.append(f"{self.expired + self.lost:,} expired before they were read")
        lines.append(f"{self.waiting:,} wait to be read")
        return lines

    def to_json(self) -> dict[str, Any]:
        """Plain values that JSON can hold; findings are with those of the log."""
        names = (field.name for field in fields(self))
        return {n: getattr(self, n) for n in names if n not in ("findings", "warnings")}
