"""What a verification says: findings, per log and in all, and the verdict that is their sum."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from audit.verify.codes import TAMPERED
from audit.verify.noted import Finding
from audit.verify.source_report import PartitionReport


class Verdict(StrEnum):
    """The sum of all findings."""

    OK = "ok"
    TAMPERED = "tampered"
    CANNOT_TELL = "cannot_tell"


@dataclass(frozen=True, slots=True)
class ProducerSignatures:
    """How many events carry what. The four never overlap.

    `checked`: verified under a pinned key; `invalid`: claims a pinned key and is wrong; `unsigned`;
    `unknown_key`: signed by a key that the policy does not name for that index.
    """

    checked: int = 0
    invalid: int = 0
    unsigned: int = 0
    unknown_key: int = 0

    def to_json(self) -> dict[str, int]:
        """The four counts."""
        return {
            "checked": self.checked,
            "invalid": self.invalid,
            "unsigned": self.unsigned,
            "unknown_key": self.unknown_key,
        }


@dataclass(frozen=True, slots=True)
class LogReport:
    """What was found in one log.

    `size`: entries it has. `root_hash`: 32 bytes, the root computed from them, None when an entry
    is missing. `verified_size`: size of the newest checkpoint that a pinned key signed and that
    agrees with the entries. `first_index`: where hashing began (0 unless resumed).
    """

    origin: str
    size: int
    root_hash: bytes | None
    verified_size: int
    producer_signatures: ProducerSignatures
    findings: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    not_proven: tuple[str, ...]
    log: int | None = None
    first_index: int = 0
    checkpoints: int = 0
    """Stored checkpoints that were checked and agree."""
    external_checkpoints: int = 0
    """Checkpoints from elsewhere that were checked and agree."""
    stated_heads: int = 0
    """Heads that log 0 states of this log, and that agree."""
    entries: int | None = None
    """Entries that were looked at, when not all of the log's: in a bundle, a receipt."""
    source: PartitionReport | None = None
    """What comparing it with its source has shown, when that was asked for."""

    def to_json(self) -> dict[str, Any]:
        """As in INTERFACE "Verdicts"."""
        return {
            "origin": self.origin,
            "log": self.log,
            "size": self.size,
            "root_hash": None if self.root_hash is None else self.root_hash.hex(),
            "verified_size": self.verified_size,
            "first_index": self.first_index,
            "entries": self.size - self.first_index if self.entries is None else self.entries,
            "checkpoints": self.checkpoints,
            "external_checkpoints": self.external_checkpoints,
            "stated_heads": self.stated_heads,
            "producer_signatures": self.producer_signatures.to_json(),
            "source": None if self.source is None else self.source.to_json(),
            "findings": [finding.to_json() for finding in self.findings],
            "warnings": [warning.to_json() for warning in self.warnings],
            "not_proven": list(self.not_proven),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The whole result. `subject` is what was checked, `trust` whose keys were believed.

    `general_findings` and `general_warnings` belong to no single log.
    """

    subject: str
    trust: str
    logs: tuple[LogReport, ...] = ()
    general_findings: tuple[Finding, ...] = ()
    general_warnings: tuple[Finding, ...] = ()
    general_not_proven: tuple[str, ...] = field(default=())

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings: of the ledger, then of its logs in order."""
        return self.general_findings + tuple(f for log in self.logs for f in log.findings)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """All warnings."""
        return self.general_warnings + tuple(w for log in self.logs for w in log.warnings)

    @property
    def not_proven(self) -> tuple[str, ...]:
        """What is not shown for at least one log, without repeats."""
        parts: Iterable[str] = (name for log in self.logs for name in log.not_proven)
        return tuple(dict.fromkeys((*self.general_not_proven, *parts)))

    @property
    def verdict(self) -> Verdict:
        """`ok` only without any finding, and only when something was checked."""
        findings = self.findings
        if any(finding.code in TAMPERED for finding in findings):
            return Verdict.TAMPERED
        return Verdict.CANNOT_TELL if findings or not self.logs else Verdict.OK

    @property
    def ok(self) -> bool:
        """Whether the verdict is `ok`."""
        return self.verdict is Verdict.OK

    @property
    def exit_code(self) -> int:
        """0 for `ok`, 1 for anything else."""
        return 0 if self.ok else 1

    def to_json(self) -> dict[str, Any]:
        """As in INTERFACE "Verdicts"; the top level repeats what the logs say, with the origin."""
        return {
            "verdict": self.verdict.value,
            "subject": self.subject,
            "trust": self.trust,
            "logs": [log.to_json() for log in self.logs],
            "findings": [{**f.to_json(), "origin": f.origin} for f in self.findings],
            "warnings": [{**w.to_json(), "origin": w.origin} for w in self.warnings],
            "not_proven": list(self.not_proven),
        }
