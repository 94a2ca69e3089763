"""A row of many versions, of which a page decodes some: the same as if all of them were."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from audit.errors import InvalidInput
from audit.event.values import fields_to_json
from audit.replay import many_versions
from audit.replay.fastpath import FastPath, attach, open_fast_path
from audit.replay.many_versions import LongRow, Marks
from audit.replay.one_thing import Thing, thing
from audit.replay.points import Cut
from audit.replay.refs import Ref
from audit.store.contract import Reader
from tests.backends import SqliteBackend
from tests.replay.columnar.slow_parts import SlowSource
from tests.replay.columnar.test_fold_random import KEYS, Talker, operation
from tests.replay.conftest import START_US, LedgerInTest

PAGE = 3


def told(found: Thing) -> dict[str, Any]:
    """All of it, as plain values that can be compared."""
    return {
        "row": None if found.row is None else fields_to_json(found.row),
        "blame": None if found.blame is None else found.blame.to_dict(),
        "versions": [one.to_dict() for one in found.versions],
        "older": found.older,
        "marks": list(found.marks),
        "newest": found.marks[-2:],
        "shown": found.shown,
    }


def pages(reader: Reader, ref: Ref, cut: Cut, valid_us: int | None) -> list[Thing]:
    """Every page of its versions."""
    found = [thing(reader, ref, cut, valid_us, PAGE)]
    while found[-1].older is not None:
        found.append(thing(reader, ref, cut, valid_us, PAGE, found[-1].older))
    return found


@pytest.mark.parametrize(("logs", "care"), [(1, False), (1, True), (2, True)])
@settings(
    max_examples=12,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    operations=st.lists(operation, min_size=6, max_size=24),
    truncates=st.booleans(),
    step=st.integers(1, 12),
    back=st.integers(0, 12),
    valid=st.none() | st.integers(0, 6),
)
def test_some_of_many_are_as_all_of_them(
    logs: int,
    care: bool,
    operations: list[dict[str, Any]],
    truncates: bool,
    step: int,
    back: int,
    valid: int | None,
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        ledger = LedgerInTest(SqliteBackend(Path(folder)))
        if logs == 2:
            ledger.open_log(1)
        with ledger.store:
            talker = Talker(ledger, logs, True, care)
            for number, said in enumerate(operations):
                if truncates or said["op"] != "truncate":
                    talker.say(number, {**said, "key": KEYS[KEYS.index(said["key"]) % 3]})
            head = ledger.cut()
            sizes = {log: max(1, size - back) for log, size in head.sizes.items()}
            cut = head._replace(sizes=sizes)
            valid_us = None if valid is None else START_US + valid
            path = FastPath(lambda: SlowSource(ledger.store, "thing", step, False), 0)
            for key in KEYS[:3]:
                if not next(iter(ledger.store.entity(0, "thing", key)), None):
                    continue
                ref = Ref("thing", key)
                plain = pages(ledger.store, ref, cut, valid_us)
                patch.setattr(many_versions, "MANY_VERSIONS", 0)
                attach(ledger.store, path)
                open_fast_path(ledger.store)
                assert [told(one) for one in pages(ledger.store, ref, cut, valid_us)] == [
                    told(one) for one in plain
                ]
                patch.setattr(many_versions, "MANY_VERSIONS", 10**6)


def test_it_is_asked_where_it_can_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The read model is what answers; tokens that are none, and a row that is gone."""
    monkeypatch.setattr(many_versions, "MANY_VERSIONS", 4)
    used: list[int] = []
    versions = LongRow.versions
    monkeypatch.setattr(
        LongRow,
        "versions",
        lambda *given: used.append(1) or versions(*given),  # type: ignore[func-returns-value]
    )
    ledger = LedgerInTest(SqliteBackend(tmp_path))
    with ledger.store:
        for n in range(9):
            ledger.emit("update" if n else "create", "5", {"n": n}, entity="thing")
        ledger.emit("delete", "5", None, entity="thing")
        ledger.emit("delete", "5", None, entity="thing")
        cuts = [ledger.cut(), ledger.cut()._replace(sizes={0: 8}), ledger.cut("0/1")]
        ref = Ref("thing", "5")
        plain = [pages(ledger.store, ref, cut, None) for cut in cuts]
        assert not used and plain[0][0].blame is not None and plain[0][0].blame.gone is not None
        path = FastPath(lambda: SlowSource(ledger.store, "thing", 4, False), 0)
        attach(ledger.store, path)
        assert isinstance(thing(ledger.store, ref, cuts[0], None, PAGE).marks, list)
        open_fast_path(ledger.store)
        found = [pages(ledger.store, ref, cut, None) for cut in cuts]
        assert [list(map(told, one)) for one in found] == [list(map(told, one)) for one in plain]
        assert len(used) == sum(map(len, found)) and isinstance(found[0][0].marks, Marks)
        for token in ("", "1", "0/-1", "9/9", "0/99999999999999999999", "0/9223372036854775807"):
            with pytest.raises(InvalidInput, match="names no version"):
                thing(ledger.store, ref, cuts[0], None, PAGE, token)


def test_a_truncate_in_another_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no row of this log away, and so is no version of it, wherever the point is."""
    ledger = LedgerInTest(SqliteBackend(tmp_path))
    ledger.open_log(1)
    with ledger.store:
        for n in range(5):
            ledger.emit("update" if n else "create", "5", {"n": n}, entity="thing")
        ledger.emit("truncate", None, None, entity="thing", log=1)
        head = ledger.cut()
        ref = Ref("thing", "5")
        attach(ledger.store, FastPath(lambda: SlowSource(ledger.store, "thing", 4, False), 0))
        open_fast_path(ledger.store)
        for cut in (head, head._replace(sizes={0: 8, 1: 1})):
            monkeypatch.setattr(many_versions, "MANY_VERSIONS", 10**6)
            plain = told(thing(ledger.store, ref, cut, None, PAGE))
            monkeypatch.setattr(many_versions, "MANY_VERSIONS", 0)
            assert told(thing(ledger.store, ref, cut, None, PAGE)) == plain
            assert plain["marks"][-1].op == "update" and len(plain["marks"]) == 5
