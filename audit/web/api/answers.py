"""What each screen answers as JSON: the shape of its `Answer.data`, and where the API lists it."""

from typing import Any, NamedTuple

from audit.web.api import ledger, lineage, models, rows, trust

LEDGER, DATASETS, MODELS, TRUST = "Ledger", "Datasets", "Models", "Trust"
TAGS = {
    LEDGER: "The state of the logs, and their events.",
    DATASETS: "Rows as they were, through time, compared.",
    MODELS: "Predictions, runs, models; what they were made from; drift; what is flagged.",
    TRUST: "Receipts, keys, checkpoints, verification, what could not be accepted.",
}
"""In the order in which they are listed."""


class Described(NamedTuple):
    """`shape`: a type that `audit.web.api.shape` knows."""

    tag: str
    shape: Any


ANSWERS = {
    "/": Described(LEDGER, ledger.Overview),
    "/events": Described(LEDGER, ledger.EventPage | ledger.NewEvents),
    "/event": Described(LEDGER, ledger.EventAnswer),
    "/datasets": Described(DATASETS, rows.Datasets),
    "/dataset": Described(DATASETS, rows.DatasetPage),
    "/entity": Described(DATASETS, rows.Entity),
    "/diff": Described(DATASETS, rows.Difference),
    "/predictions": Described(MODELS, models.Predictions),
    "/prediction": Described(MODELS, models.PredictionAnswer),
    "/runs": Described(MODELS, models.Runs),
    "/run": Described(MODELS, models.RunAnswer),
    "/models": Described(MODELS, models.Models),
    "/model": Described(MODELS, models.ModelAnswer),
    "/trace": Described(MODELS, lineage.Trace),
    "/drift": Described(MODELS, lineage.Drift),
    "/review": Described(MODELS, lineage.Flags),
    "/verify": Described(TRUST, trust.Verification),
    "/keys": Described(TRUST, trust.Keys),
    "/quarantine": Described(TRUST, trust.Quarantine),
    "/quarantined": Described(TRUST, trust.Quarantined),
}
"""Path of a screen -> its answer."""
