"""Which keys are folded plainly: careful in some log, or seen in several."""

from collections.abc import Mapping

from audit.replay.columnar.fold.ranks import Ranks
from audit.replay.columnar.fold.state import Told


def careful_of(tolds: Mapping[int, Told], ranks: Ranks) -> dict[int, list[int]]:
    """Log -> the codes of these keys; `tolds`: what is told of each log below the cut."""
    found = {log: set(told.careful) for log, told in tolds.items()}
    seen: dict[int, list[tuple[int, int]]] = {}
    for log, told in tolds.items():
        codes = ranks.shared[log]
        for code, rank in zip(codes.tolist(), ranks.of[log][codes].tolist(), strict=True):
            if code < told.keys or code in found[log]:
                seen.setdefault(rank, []).append((log, code))
    for places in seen.values():
        if len(places) > 1:
            for log, code in places:
                found[log].add(code)
    return {log: sorted(codes) for log, codes in found.items()}
