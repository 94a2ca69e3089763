"""What a page about a row reads once is what history, blame and replay say one by one."""

from collections.abc import Iterator
from typing import Any

import pytest

from audit.errors import InvalidInput, NotFound
from audit.replay.asof import row
from audit.replay.blame import Blame, FieldBlame, blame, said_of
from audit.replay.diff import diff_row
from audit.replay.fold import Step, changed_fields, fold, moves
from audit.replay.history import history
from audit.replay.one_thing import thing
from audit.replay.points import Cut
from audit.replay.refs import Ref, parse_ref
from audit.replay.row_change import change_of
from audit.replay.steps import Steps
from tests.backends import SqliteBackend, new_backend
from tests.replay.conftest import DAY_US, START_US, LedgerInTest
from tests.replay.test_search import fill

PAGE = 4


@pytest.fixture(scope="module", params=(3, 4))
def filled(request: Any, tmp_path_factory: Any) -> Iterator[LedgerInTest]:
    made = LedgerInTest(new_backend(SqliteBackend.name, request, tmp_path_factory.mktemp("log")))
    fill(made, request.param)
    with made.store:
        yield made


def cuts(ledger: LedgerInTest) -> list[Cut]:
    head = ledger.cut()
    shares = (0, 1, 2, 3, 5, 8)
    sizes = [{log: size * share // 8 for log, size in head.sizes.items()} for share in shares]
    return [head._replace(sizes=one) for one in sizes] + [ledger.cut("0/40"), ledger.cut("1/40")]


REFS = [Ref(entity, str(key)) for entity in ("user", "order") for key in range(4)]


@pytest.mark.parametrize("ref", REFS, ids=str)
def test_one_reading_says_what_each_question_says(filled: LedgerInTest, ref: Ref) -> None:
    store = filled.store
    every = history(store, ref, filled.cut())
    for cut in cuts(filled):
        versions = history(store, ref, cut)
        for valid_at_us in (None, START_US + 3 * DAY_US):
            found = thing(store, ref, cut, valid_at_us, PAGE)
            assert found.row == row(store, ref, cut, valid_at_us).row
            assert found.blame == blame(store, ref, cut, valid_at_us)
        pages, token = list(found.versions), found.older
        while token is not None:
            more = thing(store, ref, cut, None, PAGE, token)
            assert more.marks == found.marks and len(more.versions) <= PAGE
            pages, token = pages + more.versions, more.older
        assert pages == versions[::-1]
        assert found.shown == len(versions)
        marks = [(one.position, one.recorded_time_us, one.op) for one in found.marks]
        later = [one for one in every if not cut.holds((one.log, one.index))]
        assert marks == [
            ((one.log, one.index), one.recorded_time_us, one.op) for one in (*versions, *later)
        ]


def forwards(found: list[Step], valid_at_us: int | None) -> Blame:
    """Blame as it is defined: step by step, from the first one."""
    setters: dict[str, Step] = {}
    left, gone = None, None
    for move in moves(found, valid_at_us):
        left = move.after.row
        if left is None:
            gone = move.step if move.before.row is not None else gone
            setters = {}
        else:
            gone = None
            setters.update(dict.fromkeys(changed_fields(move.before.row, left), move.step))
    if left is None:
        return Blame((), None if gone is None else said_of(gone))
    told = [FieldBlame(name, left[name], said_of(setters[name])) for name in sorted(left)]
    return Blame(tuple(told), None)


@pytest.mark.parametrize("ref", REFS, ids=str)
def test_blame_backwards_is_blame_forwards(filled: LedgerInTest, ref: Ref) -> None:
    for cut in cuts(filled):
        found = Steps(filled.store, ref.entity_type, cut).of_key(ref.entity_key)
        for day in (None, 1, 4, 9):
            valid_at_us = None if day is None else START_US + day * DAY_US
            assert blame(filled.store, ref, cut, valid_at_us) == forwards(found, valid_at_us)


@pytest.mark.parametrize("ref", REFS[:2], ids=str)
def test_a_row_at_two_points_is_read_at_each(filled: LedgerInTest, ref: Ref) -> None:
    """Reading it once for both gives what reading it at each of them gives."""
    points = cuts(filled)
    for a in points:
        for b in points:
            sides = [fold(Steps(filled.store, ref.entity_type, c).of_key(ref.entity_key)).row
                     for c in (a, b)]  # fmt: skip
            assert diff_row(filled.store, ref, a, b) == change_of(ref.entity_key, *sides)


@pytest.mark.parametrize(
    "token", ["", "1", "0/", "0/-1", "0/99999999999999999999", "0/\u0661", "9/9"]
)
def test_tokens_that_are_none(filled: LedgerInTest, token: str) -> None:
    with pytest.raises(InvalidInput, match="names no version"):
        thing(filled.store, REFS[0], filled.cut(), None, PAGE, token)


def test_what_was_never_recorded(filled: LedgerInTest) -> None:
    for name in ("user/77", "nothing/1", "run/none", "model/none@1"):
        with pytest.raises(NotFound):
            thing(filled.store, parse_ref(name), filled.cut(), None, PAGE)
    early = filled.cut()._replace(sizes={0: 1})
    found = thing(filled.store, REFS[0], early, None, PAGE)
    assert (found.row, found.versions, found.shown) == (None, [], 0) and found.marks


def test_a_truncate_of_one_key_that_was_not_there(ledger: LedgerInTest) -> None:
    """No emitter writes one, but anybody can; it is no version of a row that it met none of."""
    ledger.emit("create", "x", {"n": 1})
    early = ledger.cut()
    for key, op in (("y", "delete"), ("x", "delete")):
        event = ledger.event(op, key)[0]
        ledger.seal([event._replace(type="data.truncate")])
    for name in ("x", "y"):
        ref, every = Ref("user", name), history(ledger.store, Ref("user", name), ledger.cut())
        found = thing(ledger.store, ref, early, None, PAGE)
        assert [one.position for one in found.marks] == [(one.log, one.index) for one in every]
