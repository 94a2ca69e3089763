"""Results by name: versions, changes and blame as if they were dicts."""

import pytest

from audit.replay.blame import blame
from audit.replay.diff import diff
from audit.replay.history import history
from audit.replay.refs import Ref
from tests.replay.conftest import LedgerInTest

USER = Ref("user", "5")


def test_results_by_name(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"dpt": "SCS"}, actor="alice")
    ledger.emit("update", 5, {"dpt": "ISR"}, actor="bob", reason="moved")
    first, version = history(ledger.store, USER, ledger.cut())
    assert (first["op"], version["op"], version["reason"]) == ("create", "update", "moved")
    assert {name: version[name] for name in version.to_dict()} == version.to_dict()
    assert version[0] == version.log and version[:2] == (version.log, version.index)
    (change,) = diff(ledger.store, "user", ledger.cut("HEAD~1"), ledger.cut())
    assert change["key"] == change["entity_key"] == change[0] == "5"
    assert change["fields"] == {"dpt": {"old": "SCS", "new": "ISR"}}
    found = blame(ledger.store, USER, ledger.cut())
    field = found["dpt"]
    assert (field.actor, field.reason, field.index) == ("bob", "moved", version.index)
    assert field["actor"] == "bob" and found[0] == (field,) and field[1] == "ISR"
    for result in (version, change, found, field):
        with pytest.raises(KeyError):
            result["none"]
