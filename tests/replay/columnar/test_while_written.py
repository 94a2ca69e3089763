"""Answers from a read model that others bring up to what a writer appends, at the worst moments."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from audit.replay import many_versions
from audit.replay.columnar.fold.among import pair
from audit.replay.columnar.fold.fast import FastReplay
from audit.replay.columnar.kept import model as kept_model
from audit.replay.columnar.kept.model import ReadModel
from audit.replay.events import count_events, events
from audit.replay.fastpath import FastPath, attach
from audit.replay.one_thing import thing
from audit.replay.query import parse_query
from audit.replay.refs import Ref
from audit.replay.steps import Steps
from tests.backends import SqliteBackend
from tests.replay.conftest import START_US, LedgerInTest, open_columns

LATE = {"type": "record", "name": "T", "fields": [{"name": "q", "type": "int"}]}
QUESTIONS = 12
"""More than an answer asks the read model."""


class Interrupted:
    """A read model; after its question number `at` something happens."""

    def __init__(self, model: ReadModel, at: int, happens: Callable[[], None]) -> None:
        self._model, self._left, self._happens = model, at, happens

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._model, name)
        if not callable(found):
            return found

        def asked(*given: Any) -> Any:
            answer = found(*given)
            self._left -= 1
            if self._left == 0:
                self._happens()
            return answer

        return asked


@pytest.mark.parametrize("at", range(1, QUESTIONS))
@pytest.mark.parametrize("valid_us", [None, START_US + 3])
def test_keys_that_come_while_it_is_folded(
    tmp_path: Path, at: int, valid_us: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piece that goes on after the cut by now may hold keys that need care, and are new."""
    monkeypatch.setattr(kept_model, "MAX_TAIL_ENTRIES", 45)
    ledger = LedgerInTest(SqliteBackend(tmp_path))
    with ledger.store:
        for number in range(16):
            ledger.emit("create", f"k{number % 7}", {"a": number}, valid=START_US + number % 5)
        early, cut = ledger.cut("0/8"), ledger.cut()
        plain = ledger.rows(cut, valid_us)

        def written() -> None:
            ledger.seal([ledger.event("create", "new", {"q": 1}, declared=LATE)[0]])
            ledger.seal([ledger.event("create", n, {"a": 1}, entity="b")[0] for n in range(50)])
            model.covered(0)

        for ask in ("dataset", "pair"):
            model = open_columns(ledger.store, tmp_path / ask)
            model.covered(0)
            source: Any = Interrupted(model, at, written)
            fast, steps = FastReplay(source, 4), Steps(ledger.store, "user", cut)
            if ask == "pair":
                two = pair(fast, Steps(ledger.store, "user", early), steps, valid_us)
                assert two is not None
                assert dict(two[1].rows()).items() <= plain.items()
            else:
                found = fast.dataset(steps, valid_us)
                assert found is not None and dict(found.rows()) == plain


def test_a_search_in_a_store_that_was_exchanged(tmp_path: Path) -> None:
    """The same size, another root; nothing but the search looks at it."""
    made = []
    for actor in ("x", "y"):
        (tmp_path / actor).mkdir()
        one = LedgerInTest(SqliteBackend(tmp_path / actor))
        one.seal([one.event("create", n, {actor: n}, actor=actor)[0] for n in range(40)])
        made.append(one)
    ledger, other = made
    assert ledger.store.size(0) == other.store.size(0)
    model, cut = open_columns(ledger.store, None), ledger.cut()

    def counted(text: str) -> int:
        query = parse_query(text, ledger.now_us)
        number = count_events(ledger.store, query, cut, lambda _: model).number
        found = events(ledger.store, query, cut, columns=lambda _: model)
        assert number == len(list(found))
        assert number == count_events(ledger.store, query, cut, scan=True).number
        return number

    with ledger.store, other.store:
        assert [counted(text) for text in ("actor:x", "actor:y", "op:create")] == [40, 0, 40]
        paths = [str(tmp_path / name / "audit.db") for name in ("y", "x")]
        with closing(sqlite3.connect(paths[0])) as y, closing(sqlite3.connect(paths[1])) as x:
            y.backup(x)
        assert [counted(text) for text in ("actor:x", "actor:y", "op:create")] == [0, 40, 40]


def test_a_page_of_a_row_does_not_take_the_log_for_another(
    ledger: LedgerInTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        ledger.emit("update", "k", {"a": number})
    model = open_columns(ledger.store, None)
    path = FastPath(lambda: model, from_entries=0)
    attach(ledger.store, path)
    path.replay()
    model.covered(0)
    monkeypatch.setattr(many_versions, "MANY_VERSIONS", 5)
    asked = many_versions.fast_versions

    def interrupted(steps: Steps, key: str) -> Any:
        def meanwhile() -> None:
            ledger.emit("update", "other", {"a": 1})
            model.covered(0)

        other = Thread(target=meanwhile)
        other.start()
        other.join()
        return asked(steps, key)

    monkeypatch.setattr(many_versions, "fast_versions", interrupted)
    found = thing(ledger.store, Ref("user", "k"), ledger.cut(), None, 3)
    assert [one.row for one in found.versions] == [{"a": n} for n in (19, 18, 17)]
    assert model.epoch == 0 and not model.notes
