"""The screens, in the order of the menu."""

from audit.web.answer import Screen
from audit.web.screens.compare import COMPARE
from audit.web.screens.dataset import DATASET, DATASETS
from audit.web.screens.drifting import DRIFT
from audit.web.screens.entity import ENTITY
from audit.web.screens.event import EVENT
from audit.web.screens.events import EVENTS
from audit.web.screens.keys import KEYS
from audit.web.screens.lineage import TRACE
from audit.web.screens.lists import MODELS, PREDICTIONS, RUNS
from audit.web.screens.overview import OVERVIEW
from audit.web.screens.quarantine import QUARANTINE, QUARANTINED
from audit.web.screens.review import REVIEW
from audit.web.screens.things import MODEL, PREDICTION, RUN
from audit.web.screens.verification import VERIFICATION

SCREENS: tuple[Screen, ...] = (
    OVERVIEW,
    EVENTS,
    EVENT,
    DATASETS,
    DATASET,
    ENTITY,
    COMPARE,
    PREDICTIONS,
    PREDICTION,
    RUNS,
    RUN,
    MODELS,
    MODEL,
    TRACE,
    DRIFT,
    REVIEW,
    VERIFICATION,
    KEYS,
    QUARANTINE,
    QUARANTINED,
)
