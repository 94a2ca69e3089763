"""Several logs, as a consumer leaves them: log 0 says how far each is, and it must be so."""

import shutil
from pathlib import Path

import pytest

from audit.verify.findings import Report, Verdict
from audit.verify.noted import Finding
from audit.verify.report import report_text
from audit.verify.steps import stated as steps_stated
from tests.verify.layout import SCHEMA, Layout, codes, event, truncate, warned


def fill(layout: Layout, rounds: int = 3, count: int = 100, actor: str = "alice") -> None:
    """Some batches for each partition, and heads after each round."""
    number = 0
    for at in range(rounds):
        for partition in layout.next_offsets:
            values = [event(number + n, actor=actor) for n in range(count)]
            number += count
            layout.feed(partition, [SCHEMA, truncate(at), *values] if not at else values)
        layout.heads()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = Layout(tmp_path_factory.mktemp("made"))
    fill(layout)
    return layout


@pytest.fixture
def layout(made: Layout, tmp_path: Path) -> Layout:
    """A copy to attack."""
    made.ledger.close()
    for file in made.folder.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    copy = Layout(tmp_path)
    copy.next_offsets = dict(made.next_offsets)
    return copy


def finding(report: Report, code: str) -> Finding:
    return next(found for found in report.findings if found.code == code)


def test_a_consumers_ledger_is_ok_without_a_word_of_warning(layout: Layout) -> None:
    report = layout.verify()
    assert report.ok and report.warnings == (), report.to_json()
    assert [log.size for log in report.logs[1:]] == [306] * 4
    assert [log.origin for log in report.logs[1:]] == [layout.origin(n) for n in range(4)]
    assert "source_completeness" in report.logs[1].not_proven
    assert "source_completeness" not in report.logs[0].not_proven
    assert [log.stated_heads for log in report.logs] == [0, 3, 3, 3, 3]
    text = report_text(report)
    assert "all entries, by 4 stored checkpoints; 3 heads in log 0 agree\n" in text
    assert text.startswith("OK") and text.count("\nlog ") == 5
    assert "give --source to compare" in text


@pytest.mark.parametrize("known", [True, False])
def test_a_log_that_was_dropped_shows(layout: Layout, known: bool) -> None:
    """Also with a policy that never heard of it."""
    policy = layout.policy() if known else layout.policy(0, 1, 2, 4)
    layout.drop_log(3)
    report = layout.verify(policy)
    assert report.verdict is Verdict.TAMPERED
    assert codes(report) == ({"log_missing", "log_absent"} if known else {"log_missing"})
    missing = finding(report, "log_missing").message
    assert layout.origin(2) in missing and "306 entries" in missing


def test_a_log_that_was_only_added_and_is_gone_shows(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 2)
    layout.drop_log(2)
    report = layout.verify(layout.policy(0, 1))
    assert codes(report) == {"log_missing"}
    assert "was added, says entry" in finding(report, "log_missing").message


def test_a_log_that_was_cut_shows(layout: Layout) -> None:
    """Its own checkpoints went with it, so nothing of its own tells."""
    layout.cut_log(2, 206)
    report = layout.verify()
    assert codes(report) == {"heads_differ"}
    found = finding(report, "heads_differ")
    assert (found.index, found.origin) == (206, layout.origin(1))
    assert "306 entries, only 206 are stored" in found.message


def test_a_log_that_was_emptied_shows(layout: Layout) -> None:
    layout.cut_log(2, 0)
    report = layout.verify()
    assert report.verdict is Verdict.TAMPERED and codes(report) == {"heads_differ", "empty"}


def test_a_log_that_was_written_anew_with_its_own_key_shows(
    layout: Layout, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whoever has the log's key signs any history; log 0 has said which it was."""
    folder = tmp_path_factory.mktemp("other")
    shutil.copy(layout.folder / "audit.key", folder)
    other = Layout(folder)
    fill(other, actor="mallory")
    layout.take_log(2, other)
    report = layout.verify()
    assert codes(report) == {"heads_differ"}
    assert "another root" in finding(report, "heads_differ").message
    assert [log.findings != () for log in report.logs] == [False, False, True, False, False]


def test_every_head_is_compared_when_they_go_to_files(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_stated, "BUFFER_BYTES", 100)
    assert layout.verify().ok
    layout.cut_log(4, 106)
    report = layout.verify()
    assert codes(report) == {"heads_differ"}
    # Two heads of three are beyond the end.
    assert len(report.findings) == 2


def test_heads_that_come_late_are_compared_too(layout: Layout) -> None:
    """Two consumers state heads: the slower one states what was true a moment before."""
    earlier = layout.head(0)
    layout.feed(0, [event(5_000)])
    layout.heads()
    layout.say("ledger.heads", {"heads": [earlier]})
    assert layout.verify().ok
    wrong = [layout.origin(0), 200, "00" * 32]
    layout.say("ledger.heads", {"heads": [wrong]})
    report = layout.verify()
    assert codes(report) == {"heads_differ"}
    assert "first 200 entries" in finding(report, "heads_differ").message


MALFORMED = {
    "no list": {"heads": 5},
    "a text": {"heads": "abc"},
    "two parts": {"heads": [["a", 1]]},
    "no root": {"heads": [["a", 1, "xy"]]},
    "a short root": {"heads": [["a", 1, "00"]]},
    "a negative size": {"heads": [["a", -1, "00" * 32]]},
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_heads_that_cannot_be_read(tmp_path: Path, data: dict[str, object]) -> None:
    layout = Layout(tmp_path, 1)
    index = layout.say("ledger.heads", data)
    report = layout.verify()
    assert codes(report) == {"entry_malformed"}
    assert finding(report, "entry_malformed").index == index


def test_a_logs_row_must_be_what_log_0_says(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 2)
    layout.drop_guards()
    key = layout.ledger.signer(0).verifier.vkey
    layout.sql("UPDATE logs SET vkey = ? WHERE log = 2", [key])
    report = layout.verify()
    assert codes(report) == {"log_row_differs"}
    assert any("of log 0 says log 2" in found.message for found in report.findings)


def test_a_log_that_log_0_never_added_is_a_warning(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 1, announced=False)
    layout.feed(0, [event(1)])
    report = layout.verify()
    assert report.ok and warned(report) == {"log_unannounced"}


def test_one_log_of_several_says_so(layout: Layout) -> None:
    report = layout.verify(log=2)
    assert report.ok and report.warnings == () and "other_logs" in report.not_proven
    assert [log.log for log in report.logs] == [2]


def test_a_policy_that_lacks_a_log_is_told_the_line(layout: Layout) -> None:
    report = layout.verify(layout.policy(0))
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"unknown_key"}
    assert len(report.findings) == 4
    lines = [found.message.rpartition(": ")[2] for found in report.findings]
    assert lines == [f"log {layout.ledger.signer(log).verifier.vkey}" for log in range(1, 5)]
    assert "that the store and log 0 name:" in report.findings[0].message
    text = layout.policy(0).to_text() + "".join(f"{line}\n" for line in lines)
    assert layout.verify(type(layout.policy()).from_text(text)).ok


def test_the_same_event_in_two_logs_is_a_warning_but_not_what_belongs_in_all(
    tmp_path: Path,
) -> None:
    layout = Layout(tmp_path, 2)
    for partition in range(2):
        layout.feed(partition, [SCHEMA, *(truncate(n) for n in range(20)), event(partition)])
    assert layout.verify().warnings == ()
    layout.feed(1, [event(0)])
    report = layout.verify()
    assert report.ok and [w.code for w in report.warnings] == ["event_id_in_two_logs"]
    assert "'event-0'" in report.warnings[0].message
