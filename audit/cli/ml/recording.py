"""Writing down the verdicts of replays, where the ledger can be written to."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from audit.cli.session import note
from audit.errors import AuditError

if TYPE_CHECKING:
    from audit.event.build import Built
    from audit.ledger import Ledger
    from audit.replay.points import Cut

Points = list[dict[str, Any]]


def record_verdicts(
    ledger: "Ledger", cut: "Cut", make: "Callable[[Points], Iterable[Built]]"
) -> None:
    """Seal what `make` makes of the points of the logs; say in a line that it could not be."""
    from audit.ledger.appending import append_built
    from audit.ledger.open import BUNDLE_SCHEME
    from audit.lineage.again.verdict_record import log_points

    if ledger.url.startswith(BUNDLE_SCHEME):
        return  # nobody expects a bundle to be written to
    try:
        built = list(make(log_points(ledger.reader, cut)))
        if built:
            remark = append_built(ledger.url, built).remark
            if remark is not None:
                note(remark)
    except AuditError as error:
        reason = str(error).partition("\n")[0]
        note(f"the verdict was not recorded: {reason}")
