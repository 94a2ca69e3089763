"""The emitter and its ledger in PostgreSQL: what is a file lies in the current folder."""

from pathlib import Path

import pandas
import pytest

from audit.capture.delivery.embedded import open_for_writing
from audit.capture.emitter import Emitter
from audit.capture.importer import import_file
from audit.replay.asof import dataset
from audit.replay.points import resolve
from audit.store import open_reader
from tests.capture.support import python
from tests.cli.conftest import INQUIRIES
from tests.services.postgres import PostgresServer


@pytest.fixture
def store(postgres_server: PostgresServer, ledger_dir: Path) -> str:
    return postgres_server.new_database()


def rows(store: str, entity: str) -> dict[str, dict[str, object]]:
    with open_reader(store) as reader:
        return dict(dataset(reader, entity, resolve(reader, None, 0)).rows())


def test_the_story_of_a_user(store: str, ledger_dir: Path) -> None:
    with Emitter(store, source="crm") as emit:
        emit.create("user", 5, {"name": "Christian", "dpt": "SCS"})
        emit.update("user", 5, {"dpt": "ISR"})
        emit.flush()
        assert rows(store, "user") == {"5": {"name": "Christian", "dpt": "ISR"}}
        frame = pandas.DataFrame({"id": ["5", "6"], "n": [1, 2]})
        assert emit.frame("user", frame, key="id") == (1, 1, 0, 0)
        assert sorted(path.name for path in ledger_dir.iterdir()) == [
            *("audit-spool", "audit.key", "audit.policy"),
        ]
    assert (emit.waiting, list((ledger_dir / "audit-spool").iterdir())) == (0, [])
    with open_for_writing(store) as ledger:
        assert ledger.origin.startswith("attestory.local/") and ledger.origin[-9] == "-"
        assert not ledger.created
        assert import_file(ledger, INQUIRIES, entity="inquiry", key="InquiryID").created == 10
        assert import_file(ledger, INQUIRIES, entity="inquiry", key="InquiryID").skipped == 10


def test_a_forked_child_and_an_end_without_close(store: str) -> None:
    code = """
import audit, os, sys
emit = audit.Emitter(sys.argv[1])
emit.create("user", "before", {})
pid = os.fork()
emit.create("user", "parent" if pid else "child", {})
if pid: assert os.waitpid(pid, 0)[1] == 0
"""
    done = python(code, store)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert sorted(rows(store, "user")) == ["before", "child", "parent"]
