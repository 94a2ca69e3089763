"""Who acts and why: nesting, tasks, threads, and what is refused."""

import asyncio
import contextvars
import threading
import time
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from audit.capture.context import Context, context, current, valid_time_us
from audit.errors import InvalidInput, LimitExceeded


def test_blocks_nest_and_restore() -> None:
    assert current() == Context()
    with context(actor="alice", reason="ticket 1"):
        with context(reason="ticket 2", request_id="r"):
            assert current()._replace(request_us=None) == Context("alice", "ticket 2", None, "r")
        assert current() == Context("alice", "ticket 1")
    assert current() == Context()


def test_the_time_of_a_request_is_noted_once() -> None:
    with context(actor="nightly"):
        assert current().request_us is None
        with context(request_id="r-1") as request:
            assert request.request_us is not None
            with context(reason="again", request_id="r-1") as inner:
                assert inner.request_us == request.request_us
            time.sleep(0.001)
            with context(request_id="r-2") as other:
                assert other.request_us is not None
                assert other.request_us > request.request_us
            with context(request_id=None) as none:
                assert none.request_us is None


def test_none_takes_back_what_an_outer_block_gave() -> None:
    with context(actor="alice", valid_time="2026-01-02"):
        with context(actor=None, valid_time=None):
            assert current() == Context()
        assert current().actor == "alice"


def test_an_exception_restores_too() -> None:
    with pytest.raises(KeyError), context(actor="alice"):
        raise KeyError
    assert current() == Context()


def test_as_a_decorator() -> None:
    @context(actor="nightly")
    def job() -> str | None:
        return current().actor

    assert job() == "nightly"
    assert job() == "nightly"
    assert current().actor is None


def test_tasks_inherit_and_do_not_see_each_other() -> None:
    async def task(name: str, seen: list[tuple[str, str | None]]) -> None:
        with context(reason=name):
            await asyncio.sleep(0)
            seen.append((name, current().reason))
            await asyncio.sleep(0)
        assert current() == Context("alice")

    async def main() -> list[tuple[str, str | None]]:
        seen: list[tuple[str, str | None]] = []
        with context(actor="alice"):
            await asyncio.gather(*(task(f"t{i}", seen) for i in range(5)))
        return seen

    assert sorted(asyncio.run(main())) == [(f"t{i}", f"t{i}") for i in range(5)]


def test_a_thread_begins_empty_unless_the_context_is_handed_on() -> None:
    seen: list[str | None] = []

    def work() -> None:
        seen.append(current().actor)

    with context(actor="alice"):
        copy = contextvars.copy_context()
        for target in (work, lambda: copy.run(work)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert seen == [None, "alice"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1970-01-01", 0),
        ("1970-01-02", 86_400_000_000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:00.000001Z", 1),
        (date(1970, 1, 2), 86_400_000_000),
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), 0),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
    ],
)
def test_valid_times(value: date | str, expected: int) -> None:
    assert valid_time_us(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 1),
        "2026-01-01T00:00:00",
        "2026-13-01",
        "yesterday!",
        "",
        5,
        1.5,
        None,
        "2026-01-01T00:00:00.0000001Z",
    ],
)
def test_what_is_no_valid_time_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput):
        valid_time_us(value)  # type: ignore[arg-type]


def test_pandas_times() -> None:
    import pandas as pd

    assert valid_time_us(pd.Timestamp("1970-01-01T00:00:01Z")) == 1_000_000
    with pytest.raises(InvalidInput, match="microsecond"):
        valid_time_us(pd.Timestamp("1970-01-01T00:00:00.000000001Z"))
    with pytest.raises(InvalidInput, match="NaT"):
        valid_time_us(pd.NaT)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"actor": 5}, InvalidInput, "actor is a text"),
        ({"reason": "\ud800"}, InvalidInput, "surrogate"),
        ({"transaction": "x" * 4097}, LimitExceeded, "4097 bytes"),
        ({"valid_time": "soon"}, InvalidInput, "RFC 3339"),
    ],
)
def test_a_bad_context_is_refused_on_entering(
    given: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words), context(**given):  # type: ignore[arg-type]
        pytest.fail("entered")
    assert current() == Context()


def test_transaction_id_is_another_name_of_transaction() -> None:
    with context(transaction_id="t1"):
        assert current().transaction == "t1"
        with context(transaction="t2", transaction_id="t2"):
            assert current().transaction == "t2"
        with context(transaction_id=None):
            assert current().transaction is None
    with (
        pytest.raises(InvalidInput, match="give one"),
        context(transaction="a", transaction_id="b"),
    ):
        pass


# Inside frameworks and frameworks' pools


def test_as_a_decorator_of_a_coroutine_function() -> None:
    @context(actor="nightly")
    async def job() -> str | None:
        await asyncio.sleep(0)
        return current().actor

    async def main() -> list[str | None]:
        return [*await asyncio.gather(job(), job()), current().actor]

    assert asyncio.run(main()) == ["nightly", "nightly", None]


def test_a_generator_is_no_function_to_decorate() -> None:
    def rows():  # type: ignore[no-untyped-def]
        yield 1

    async def more():  # type: ignore[no-untyped-def]
        yield 1

    for generator in (rows, more):
        with pytest.raises(InvalidInput, match="inside it"):
            context(actor="nightly")(generator)


def test_a_decorated_function_may_call_itself() -> None:
    @context(actor="nightly")
    def count(left: int) -> int:
        assert current().actor == "nightly"
        return 0 if left == 0 else 1 + count(left - 1)

    assert count(3) == 3
    assert current() == Context()


def test_a_block_left_in_another_copy_of_the_context() -> None:
    """As a framework does it that runs both halves of a generator in a pool of threads."""
    block = context(actor="alice")
    first, second = contextvars.copy_context(), contextvars.copy_context()
    first.run(block.__enter__)
    second.run(block.__exit__, None, None, None)
    assert second.run(current) == current() == Context()
    assert first.run(current).actor == "alice"


def test_a_pool_of_threads_gets_the_context_from_to_thread() -> None:
    async def main() -> tuple[str | None, str | None]:
        loop = asyncio.get_running_loop()
        with context(actor="alice"):
            handed = await asyncio.to_thread(lambda: current().actor)
            return handed, await loop.run_in_executor(None, lambda: current().actor)

    assert asyncio.run(main()) == ("alice", None)
