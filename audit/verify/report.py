"""A report as text, for people who have never seen a Merkle tree."""

from collections.abc import Iterator, Sequence

from audit.verify.codes import NOT_PROVEN, meaning
from audit.verify.findings import Finding, LogReport, Report, Verdict

_HEADLINES = {
    Verdict.OK: "OK: nothing was changed, dropped or reordered",
    Verdict.TAMPERED: "TAMPERED: what is stored is not what was recorded",
    Verdict.CANNOT_TELL: "CANNOT TELL: there is not enough to judge by",
}


def report_text(report: Report) -> str:
    """The whole report, a line each, ending with a line feed."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"{_HEADLINES[report.verdict]} ({report.subject})"
    yield f"trusting {report.trust}"
    yield from _listed("FOUND", report.general_findings)
    yield from _listed("WARNING", report.general_warnings)
    for log in report.logs:
        yield ""
        yield from _log_lines(log)
    yield ""
    for name in report.not_proven:
        yield f"NOT PROVEN  {NOT_PROVEN.get(name, name)}"


def _log_lines(log: LogReport) -> Iterator[str]:
    yield f"log {log.origin or '(without a name)'}"
    yield f"  entries     {log.size:,}" + (
        f", checked from {log.first_index:,} on" if log.first_index else ""
    )
    if log.root_hash is not None:
        yield f"  root hash   {log.root_hash.hex()}"
    yield f"  signed      {_signed(log)}"
    counts = log.producer_signatures
    if any(counts.to_json().values()):
        yield (
            f"  producers   {counts.checked:,} signatures verified, {counts.invalid:,} wrong, "
            f"{counts.unknown_key:,} by unknown keys, {counts.unsigned:,} events unsigned"
        )
    yield from _listed("FOUND", log.findings, "  ")
    yield from _listed("WARNING", log.warnings, "  ")


def _signed(log: LogReport) -> str:
    if not log.verified_size:
        return "no signed checkpoint agrees with the entries"
    words = f"the first {log.verified_size:,}" if log.verified_size < log.size else "all"
    words += f" entries, by {log.checkpoints:,} stored checkpoints that agree"
    if log.external_checkpoints:
        words += f" and {log.external_checkpoints:,} from elsewhere"
    return words


def _listed(word: str, findings: Sequence[Finding], indent: str = "") -> Iterator[str]:
    """Each finding with its place; each code explained once."""
    explained: set[str] = set()
    for finding in findings:
        place = "" if finding.index is None else f" at entry {finding.index}"
        yield f"{indent}{word:<11} {finding.code}{place}: {finding.message}"
        if finding.code not in explained:
            explained.add(finding.code)
            yield f"{indent}{'':<11} {meaning(finding.code)}"
