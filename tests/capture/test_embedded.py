"""Making and opening the embedded ledger: key, policy, origin, two processes at once."""

import os
import stat
from pathlib import Path

import pytest

from audit.capture.delivery.embedded import EmbeddedLedger, open_for_writing
from audit.errors import AuditError, InvalidInput, Unavailable
from audit.tlog.keyfile import read_key
from audit.verify.policy import Policy
from tests.capture.support import DROP_CAPABILITIES, events, python, records, url

OPEN = """
import sys
from audit.capture.delivery.embedded import open_for_writing
with open_for_writing(sys.argv[1]) as ledger:
    print(ledger.origin, ledger.vkey, ledger.created)
"""
AT_ONCE = """
import os, sys
import audit.capture.delivery.embedded, audit.store.sql_store, audit.store.sqlite
from sqlalchemy.dialects import sqlite
# They are forked when all is loaded and begin when this process closes the pipe: so close together
# that they really meet.
ready, go = os.pipe()
children = []
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if not child:
        os.close(go)
        os.read(ready, 1)
        exec(sys.argv[3])
        sys.exit()
    children.append(child)
os.close(go)
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def test_all_parts_are_made_once(tmp_path: Path) -> None:
    with open_for_writing(url(tmp_path)) as first:
        assert first.created and first.policy_written
        assert first.origin.startswith("attestory.local/audit-")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["audit.db", "audit.key", "audit.policy"]
    assert stat.S_IMODE((tmp_path / "audit.key").stat().st_mode) == 0o600
    assert [key.vkey for key in Policy.from_file(tmp_path / "audit.policy").logs] == [first.vkey]
    before = (tmp_path / "audit.key").read_bytes(), (tmp_path / "audit.policy").read_bytes()
    with open_for_writing(url(tmp_path)) as second:
        assert not second.created and not second.policy_written
        assert (second.origin, second.vkey) == (first.origin, first.vkey)
    assert before == (
        (tmp_path / "audit.key").read_bytes(),
        (tmp_path / "audit.policy").read_bytes(),
    )


def test_the_environment_wins_over_the_default_and_an_argument_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("env", "arg", "store"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("AUDIT_KEY", str(tmp_path / "env/my.key"))
    monkeypatch.setenv("AUDIT_POLICY", str(tmp_path / "env/my.policy"))
    with open_for_writing(url(tmp_path / "store"), key_path=tmp_path / "arg/other.key") as ledger:
        assert ledger.key_path == tmp_path / "arg/other.key"
        assert ledger.policy_path == tmp_path / "env/my.policy"
    assert [p.name for p in (tmp_path / "arg").iterdir()] == ["other.key"]
    assert [p.name for p in (tmp_path / "env").iterdir()] == ["my.policy"]


def test_a_passphrase_is_needed_again_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_KEY_PASSPHRASE", "correct horse")
    open_for_writing(url(tmp_path)).close()
    assert b"ENCRYPTED" in (tmp_path / "audit.key").read_bytes()
    open_for_writing(url(tmp_path)).close()
    monkeypatch.setenv("AUDIT_KEY_PASSPHRASE", "battery staple")
    with pytest.raises(InvalidInput, match="passphrase is wrong") as wrong:
        open_for_writing(url(tmp_path))
    assert "staple" not in str(wrong.value)
    open_for_writing(url(tmp_path), passphrase="correct horse").close()
    monkeypatch.delenv("AUDIT_KEY_PASSPHRASE")
    with pytest.raises(InvalidInput, match="needs its passphrase"):
        open_for_writing(url(tmp_path))


def test_an_origin_is_kept_and_compared(tmp_path: Path) -> None:
    open_for_writing(url(tmp_path), origin="example.com/prod").close()
    with open_for_writing(url(tmp_path), origin="example.com/prod") as ledger:
        assert ledger.origin == "example.com/prod"
    with pytest.raises(InvalidInput, match=r"already holds the ledger example.com/prod, not other"):
        open_for_writing(url(tmp_path), origin="other")


@pytest.mark.parametrize("origin", ["", "with space", "a+b", "x" * 2000])
def test_a_bad_origin_makes_nothing(tmp_path: Path, origin: str) -> None:
    with pytest.raises(InvalidInput, match="origin"):
        open_for_writing(url(tmp_path), origin=origin)
    assert list(tmp_path.iterdir()) == []


def test_two_ledgers_in_one_folder_share_the_root_key_and_nothing_else(tmp_path: Path) -> None:
    with (
        open_for_writing(f"sqlite:///{tmp_path}/a.db") as a,
        open_for_writing(f"sqlite:///{tmp_path}/b.db") as b,
    ):
        assert a.key_path == b.key_path
        assert a.origin != b.origin
        assert a.signer().verifier.public_key != b.signer().verifier.public_key
        assert a.policy_written and not b.policy_written


def test_another_key_is_refused(tmp_path: Path) -> None:
    open_for_writing(url(tmp_path)).close()
    (tmp_path / "else").mkdir()
    open_for_writing(url(tmp_path / "else")).close()
    os.replace(tmp_path / "else/audit.key", tmp_path / "audit.key")
    with pytest.raises(InvalidInput, match="is not the one of the ledger"):
        open_for_writing(url(tmp_path))


def test_a_lost_key_is_not_replaced_by_a_new_one(tmp_path: Path) -> None:
    open_for_writing(url(tmp_path)).close()
    (tmp_path / "audit.key").unlink()
    with pytest.raises(InvalidInput, match="put the key back"):
        open_for_writing(url(tmp_path))
    assert not (tmp_path / "audit.key").exists()


def test_one_key_never_signs_two_histories_of_one_name(tmp_path: Path) -> None:
    open_for_writing(url(tmp_path), origin="example.com/prod").close()
    for path in tmp_path.glob("audit.db*"):
        path.unlink()
    with pytest.raises(InvalidInput, match="was here before"):
        open_for_writing(url(tmp_path), origin="example.com/prod")
    open_for_writing(url(tmp_path), origin="example.com/prod-2").close()


@pytest.mark.parametrize("left", [("audit.key",), ("audit.key", "audit.db")])
def test_a_crash_while_a_ledger_is_made_is_mended_by_the_next_start(
    tmp_path: Path, left: tuple[str, ...]
) -> None:
    open_for_writing(url(tmp_path), origin="example.com/prod").close()
    for path in list(tmp_path.iterdir()):
        if path.name not in left:
            path.unlink()
    with open_for_writing(url(tmp_path), origin="example.com/prod") as ledger:
        assert ledger.policy_written
        assert ledger.created is (left == ("audit.key",))
    assert events(tmp_path) == []


def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    (tmp_path / "audit.db").touch()
    with open_for_writing(url(tmp_path)) as ledger:
        assert ledger.created


@pytest.mark.parametrize("wanted", [None, "example.com/prod"])
def test_processes_that_make_the_same_ledger_at_once_end_with_one(
    tmp_path: Path, wanted: str | None
) -> None:
    code = OPEN if wanted is None else OPEN.replace("argv[1]", f"argv[1], origin={wanted!r}")
    for round_ in range(2):
        folder = tmp_path / str(round_)
        folder.mkdir()
        done = python(AT_ONCE, url(folder), "5", code)
        assert (done.code, done.err) == (0, "")
        said = [line.split() for line in done.out.splitlines()]
        assert len(said) == 5
        assert len({tuple(words[:2]) for words in said}) == 1
        assert sorted(words[2] for words in said) == ["False"] * 4 + ["True"]
        names = sorted(p.name for p in folder.iterdir())
        assert names == ["audit.db", "audit.key", "audit.policy"]
        assert len([r for r in records(folder) if r.event and r.event.type == "log.opened"]) == 1
        read_key(folder / "audit.key", None)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="there is no folder"):
        open_for_writing(f"sqlite:///{tmp_path}/none/audit.db")


@pytest.mark.parametrize("junk", [b"not a database", b"\x00" * 5000, b"SQLite format 3\x00" * 300])
def test_a_file_that_is_no_ledger_is_refused_and_kept(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "audit.db").write_bytes(junk)
    with pytest.raises(AuditError):
        open_for_writing(url(tmp_path))
    assert (tmp_path / "audit.db").read_bytes() == junk


def test_a_read_only_folder(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    code = (
        DROP_CAPABILITIES
        + """
import sys
from audit.capture.emitter import Emitter
from audit.errors import Unavailable
drop_capabilities()
try:
    Emitter(sys.argv[1])
except Unavailable as error:
    print(error)
"""
    )
    done = python(code, url(folder))
    assert (done.code, done.err) == (0, "")
    assert "audit" in done.out and len(done.out.splitlines()) <= 2
    assert list(folder.iterdir()) == []


def test_messages_name_a_log_that_is_not_there(tmp_path: Path) -> None:
    ledger: EmbeddedLedger
    with open_for_writing(url(tmp_path)) as ledger, pytest.raises(InvalidInput, match="no log 7"):
        ledger.signer(7)


def test_an_empty_policy_file_is_filled_where_it_is(tmp_path: Path) -> None:
    # What a shell leaves for `audit key new crm >> audit.policy` before the command runs.
    policy = tmp_path / "audit.policy"
    with policy.open("ab") as shell:
        with open_for_writing(f"sqlite:///{tmp_path}/audit.db") as ledger:
            assert ledger.policy_written
            vkey = ledger.vkey
        shell.write(b"# the line that the command prints\n")
    assert policy.read_text().startswith(f"log {vkey}")
    assert policy.read_text().endswith("# the line that the command prints\n")
