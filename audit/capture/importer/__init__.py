"""Files into events: tables (CSV, JSONL, Parquet) and ready-made events."""

from audit.capture.importer.load import import_file
from audit.capture.importer.ready import import_events
from audit.capture.importer.sealing import ImportResult
from audit.capture.importer.series import SeriesResult, Snapshot, import_series, plan_series
from audit.capture.importer.target import KafkaTarget

__all__ = [
    "ImportResult",
    "KafkaTarget",
    "SeriesResult",
    "Snapshot",
    "import_events",
    "import_file",
    "import_series",
    "plan_series",
]
