"""The source of a ledger, a Kafka topic: how far behind it the logs are, and what they left out."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import AuditError, InvalidInput, NotFound
from audit.ledger.open import BUNDLE_SCHEME
from audit.store.contract import Reader
from audit.verify.findings import LogReport, Report
from audit.verify.noted import Finding, Notes
from audit.verify.source_report import PartitionReport
from audit.verify.verifier import Progress

if TYPE_CHECKING:
    from audit.capture.delivery.waiting import SpoolFile
    from audit.kafka.address import KafkaAddress
    from audit.kafka.completeness import Lag

BUS_VARIABLE = "AUDIT_BUS"
SOURCE_COMPLETENESS = "source_completeness"


def source_address(source: str) -> "KafkaAddress":
    """The topic that a source names; an empty text means the one of AUDIT_BUS.

    Raises InvalidInput.
    """
    from audit.kafka.address import KAFKA_SCHEME, parse_address

    named = source or os.environ.get(BUS_VARIABLE) or ""
    if not named.startswith(KAFKA_SCHEME):
        raise InvalidInput(
            f"a source looks like {KAFKA_SCHEME}host:9092/topic; name one, or set {BUS_VARIABLE}"
        )
    return parse_address(named)


def lags_of(reader: Reader, source: str) -> "list[Lag]":
    """How far each log is behind its partition. Raises Unavailable, NotFound, InvalidInput."""
    from audit.kafka.completeness import lag

    return lag(source_address(source), reader)


def compare_source(reader: Reader, source: str, progress: Progress | None) -> list[PartitionReport]:
    """What the logs have of their source, compared offset by offset. Raises as `lags_of`."""
    from audit.kafka.completeness import compare

    return compare(source_address(source), reader, progress)


def with_source(
    report: Report, reader: Reader, source: str, progress: Progress | None = None
) -> Report:
    """The report with what comparing the logs with their source has found.

    A log that cannot be compared because it is broken is the finding `unreadable`. Raises
    Unavailable, NotFound, InvalidInput.
    """
    general = Notes()
    try:
        compared = compare_source(reader, source, progress)
    except (InvalidInput, NotFound):
        raise
    except AuditError as error:
        if report.ok or error.exit_code != 1:
            raise
        general.add("unreadable", None, f"not compared with the source: {error}")
        compared = []
    by_log = {found.log: found for found in compared if found.log is not None}
    logs = tuple(
        _joined(log, by_log.get(-1 if log.log is None else log.log)) for log in report.logs
    )
    reported = {log.log for log in report.logs}
    rest = [found for found in compared if found.log not in reported]
    return replace(
        report,
        logs=logs,
        general_findings=(*report.general_findings, *general.listed(), *_findings(rest)),
        general_warnings=(*report.general_warnings, *(w for p in rest for w in p.warnings)),
    )


def _findings(rest: Sequence[PartitionReport]) -> list[Finding]:
    return [finding for found in rest for finding in found.findings]


def _joined(log: LogReport, found: PartitionReport | None) -> LogReport:
    if found is None:
        return log
    kept = [name for name in log.not_proven if name != SOURCE_COMPLETENESS]
    return replace(
        log,
        findings=log.findings + found.findings,
        warnings=log.warnings + found.warnings,
        not_proven=(*kept, *found.not_proven),
        source=found,
    )


def waiting_spools(url: str, source: str | None) -> "list[SpoolFile]":
    """The files in which emitted events wait on this machine, for the source or the store itself.

    Raises Unavailable.
    """
    from audit.capture.delivery.bus import spool_folder
    from audit.capture.delivery.waiting import backlogs

    bus = source or os.environ.get(BUS_VARIABLE) or url
    folder: Path | None = None
    with suppress(InvalidInput):  # a bus of no known kind has none
        folder = None if url.startswith(BUNDLE_SCHEME) else spool_folder(bus)
    return [] if folder is None else [file for file in backlogs(folder) if file.events]
