"""The types of events there are, and which schema the record of each is written in."""

DATA_CREATE = "data.create"
DATA_UPDATE = "data.update"
DATA_DELETE = "data.delete"
DATA_TRUNCATE = "data.truncate"
COMPONENT_RUN = "component.run"
DATASET_VERSION = "dataset.version"
FEATURE_DEFINITION = "feature.definition"
GROUND_TRUTH = "ground_truth"
MODEL_RUN = "model.run"
MODEL_TRANSITION = "model.transition"
MODEL_VERSION = "model.version"
PREDICTION = "prediction"
REVIEW = "review"
SCHEMA = "schema"

SCHEMA_SOURCE = "audit.schema"
"""The source of schema events, whoever sends them: their bytes depend on the schema alone."""

OPERATIONS = {
    "create": DATA_CREATE,
    "update": DATA_UPDATE,
    "delete": DATA_DELETE,
    "truncate": DATA_TRUNCATE,
}
"""What happens to data -> type of its event."""

RECORD_SCHEMAS = {
    COMPONENT_RUN: "run.v1",
    DATASET_VERSION: "dataset_version.v1",
    FEATURE_DEFINITION: "feature_definition.v1",
    GROUND_TRUTH: "ground_truth.v1",
    MODEL_RUN: "run.v1",
    MODEL_TRANSITION: "model_transition.v1",
    MODEL_VERSION: "model_version.v2",
    PREDICTION: "prediction.v2",
    REVIEW: "review.v1",
}
"""Types whose record has a schema of its own; every other one uses record.v1."""

LENIENT_TYPES = frozenset(
    {
        *(COMPONENT_RUN, DATASET_VERSION, FEATURE_DEFINITION),
        *(GROUND_TRUTH, MODEL_TRANSITION, REVIEW),
    }
)
"""Types whose record may have other fields than its schema: then it is written in record.v1."""

RECORD_TYPES = frozenset(RECORD_SCHEMAS)
"""What producers say besides changes of data."""

CONTROL_TYPES = frozenset(
    {
        "log.opened",
        "log.added",
        "key.registered",
        "key.revoked",
        "key.rotated",
        "source.accepted",
        "source.skipped",
        "ledger.heads",
        "quarantine.retried",
    }
)
"""What the log itself says."""

DATA_TYPES = frozenset(OPERATIONS.values())
KNOWN_TYPES = DATA_TYPES | RECORD_TYPES | CONTROL_TYPES | {SCHEMA}


def record_schema(type_: str) -> str:
    """Name of the built-in schema for the record of this type of event."""
    return RECORD_SCHEMAS.get(type_, "record.v1")
