"""A report as text, for people who have never seen a Merkle tree."""

from collections.abc import Iterator, Sequence

from audit.verify.codes import NOT_PROVEN, meaning
from audit.verify.findings import LogReport, Report, Verdict
from audit.verify.noted import Finding

MAX_SHOWN_PER_CODE = 3
"""Findings of one code that are shown."""

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
    first = min((f.index for f in log.findings if f.index is not None), default=None)
    if first is not None:
        yield f"  FIRST BAD ENTRY {first}"
    start = f", checked from {log.first_index:,} on" if log.first_index else ""
    some = "" if log.entries is None else f"{log.entries:,} of "
    yield f"  entries     {some}{log.size:,}{start}"
    if log.root_hash is not None:
        yield f"  root hash   {log.root_hash.hex()}"
    yield f"  signed      {_signed(log)}"
    counts = log.producer_signatures
    if any(counts.to_json().values()):
        yield (
            f"  producers   {counts.checked:,} signatures verified, {counts.invalid:,} wrong, "
            f"{counts.unknown_key:,} by unknown keys, {counts.unsigned:,} events unsigned"
        )
    if log.source is not None:
        for number, words in enumerate(log.source.words()):
            yield f"  {'' if number else 'source':<11} {words}"
    yield from _listed("FOUND", log.findings, "  ")
    yield from _listed("WARNING", log.warnings, "  ")


def _signed(log: LogReport) -> str:
    if not log.verified_size:
        return "no signed checkpoint agrees with the entries"
    which = "all entries" if log.verified_size == log.size else f"the first {log.verified_size:,}"
    words = f"{which}, by {_count(log.checkpoints, 'stored checkpoint')}"
    if log.external_checkpoints:
        words += f" and {_count(log.external_checkpoints, 'checkpoint')} from elsewhere"
    if log.stated_heads:
        words += f"; {_count(log.stated_heads, 'head')} in log 0 agree{'s'[log.stated_heads > 1 :]}"
    return words


def _listed(word: str, findings: Sequence[Finding], indent: str = "") -> Iterator[str]:
    """The first finding of each code with what it means, and how many more there are of it."""
    by_code: dict[str, list[Finding]] = {}
    for finding in findings:
        by_code.setdefault(finding.code, []).append(finding)
    for code, same in by_code.items():
        place = "" if same[0].index is None else f" at entry {same[0].index}"
        yield f"{indent}{word:<11} {code}{place}: {same[0].message}"
        for finding in same[1 : MAX_SHOWN_PER_CODE - (len(same) > MAX_SHOWN_PER_CODE)]:
            yield f"{indent}{'':<11} {finding.message}"
        if len(same) > MAX_SHOWN_PER_CODE:
            yield f"{indent}{'':<11} and more of these; --json lists them"
        yield f"{indent}{'':<11} {meaning(code)}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
