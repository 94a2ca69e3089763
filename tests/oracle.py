"""The slow, obvious twin of `audit.replay`: folds plain Python lists, shares no code with it.

What replay means, written down once more and as plainly as possible; tests compare the two on
random lists of operations.
"""

from dataclasses import dataclass, field
from typing import Any

PLACEHOLDER = "__debezium_unavailable_value"


@dataclass(frozen=True)
class Said:
    """One data event with its place. `key` is None for a truncate."""

    log: int
    index: int
    recorded: int
    event_id: str
    op: str
    key: str | None
    after: dict[str, Any] | None = None
    image: str = "patch"
    before: dict[str, Any] | None = None
    valid: int | None = None
    supersedes: str | None = None
    transaction: str | None = None
    entity: str = "thing"

    @property
    def valid_time(self) -> int:
        """Valid from its recorded time when it claims none."""
        return self.recorded if self.valid is None else self.valid


@dataclass
class Oracle:
    """All events of one entity type, in any order."""

    said: list[Said] = field(default_factory=list)

    def known(self, sizes: dict[int, int]) -> list[Said]:
        """What is below the sizes, in recorded order."""
        below = [event for event in self.said if event.index < sizes.get(event.log, 0)]
        return sorted(below, key=lambda event: (event.recorded, event.log))

    def sizes_at(self, time: int, logs: list[int]) -> dict[int, int]:
        """Size per log at a recorded time, by looking at each event."""
        return {
            log: max(
                (e.index + 1 for e in self.said if e.log == log and e.recorded <= time), default=0
            )
            for log in logs
        }

    def taken_out(self, known: list[Said]) -> set[tuple[int, int]]:
        """Places of the events that others supersede."""
        out = set()
        for event in known:
            if event.supersedes is None:
                continue
            for other in known:
                if (
                    other.log == event.log
                    and other.index < event.index
                    and other.key == event.key
                    and other.event_id == event.supersedes
                ):
                    out.add((other.log, other.index))
        return out

    def rows(self, sizes: dict[int, int], valid_at: int | None = None) -> dict[str, dict[str, Any]]:
        """Key -> row, keys in byte order."""
        known = self.known(sizes)
        out = self.taken_out(known)
        events = [event for event in known if (event.log, event.index) not in out]
        if valid_at is not None:
            events = [event for event in events if event.valid_time <= valid_at]
            events.sort(key=lambda event: (event.valid_time, event.recorded, event.log))
        rows: dict[str, dict[str, Any]] = {}
        seen: set[tuple[int, str]] = set()
        for event in events:
            if event.op == "truncate":
                for key in list(rows):
                    if (event.log, key) in seen:
                        del rows[key]
                continue
            assert event.key is not None
            seen.add((event.log, event.key))
            if event.op == "delete":
                rows.pop(event.key, None)
                continue
            old = rows.get(event.key, {})
            whole = event.op == "create" or event.image == "full"
            new = {} if whole else dict(old)
            for name, value in (event.after or {}).items():
                if value != PLACEHOLDER:
                    new[name] = value
                elif name in old:
                    new[name] = old[name]
            rows[event.key] = new
        return {key: rows[key] for key in sorted(rows, key=lambda text: text.encode())}

    def transactions_cut(self, sizes: dict[int, int]) -> set[str]:
        """Transactions with events on both sides of the sizes."""
        inside = {e.transaction for e in self.said if e.index < sizes.get(e.log, 0)}
        outside = {e.transaction for e in self.said if e.index >= sizes.get(e.log, 0)}
        return {name for name in inside & outside if name is not None}
