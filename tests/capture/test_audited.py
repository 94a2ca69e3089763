"""Actions of business code: what is recorded of a call, however it ends."""

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import audit
from audit.capture.emitter import Emitter
from audit.errors import InvalidInput, Unavailable
from tests.capture.support import events, rows, url

NUMBER = UUID("018f0000-0000-7000-8000-000000000001")


@dataclass
class Invoice:
    id: Any
    amount: Decimal = Decimal("1.50")


@pytest.fixture
def emit(tmp_path: Path) -> Iterator[Emitter]:
    with Emitter(url(tmp_path), "billing") as emitter:
        yield emitter


def actions(emit: Emitter, folder: Path) -> list[dict[str, Any]]:
    """What was recorded, in the order in which the actions began."""
    emit.flush()
    found = [dict(row) for row in rows(folder, "action").values()]
    return sorted(found, key=lambda row: row["started"])


def test_an_action_with_its_key_and_context(emit: Emitter, tmp_path: Path) -> None:
    @audit.audited("invoice.approve", key="number", arguments=["amount"], emitter=emit)
    def approve(number: int, amount: Decimal, secret: str = "s3cret") -> str:
        """Approves."""
        return f"approved {number}"

    with audit.context(actor="alice", reason="ok", request_id="r-1", trace_id="t" * 32):
        assert approve(4711, amount=Decimal("1.50")) == "approved 4711"
    (row,) = actions(emit, tmp_path)
    (event,) = events(tmp_path)
    assert (event.type, event.entity_type, event.source) == ("data.create", "action", "billing")
    assert event.entity_key == event.event_id
    assert (event.actor, event.reason) == ("alice", "ok")
    assert (event.request_id, event.trace_id) == ("r-1", "t" * 32)
    assert row["duration_us"] >= 0 and row["requested"] <= row["started"]
    for name in ("started", "requested", "duration_us"):
        del row[name]
    assert row == {
        "action": "invoice.approve",
        "outcome": "succeeded",
        "entity_type": "invoice",
        "entity_key": "4711",
        "arguments": {"amount": Decimal("1.50")},
        "error": None,
        "message": None,
        "parent": None,
    }
    assert (approve.__name__, approve.__doc__) == ("approve", "Approves.")
    assert b"s3cret" not in event.payload


def test_a_failure_passes_unchanged(emit: Emitter, tmp_path: Path) -> None:
    problem = ValueError("too \ud800 much" + "x" * 1_000)

    @audit.audited("invoice.pay", emitter=emit)
    def pay() -> None:
        raise problem

    with pytest.raises(ValueError) as caught:
        pay()
    assert caught.value is problem
    (row,) = actions(emit, tmp_path)
    assert (row["outcome"], row["error"]) == ("failed", "ValueError")
    assert row["message"].startswith("too \\ud800 much") and len(row["message"]) == 500
    assert (row["entity_type"], row["entity_key"]) == (None, None)


def test_coroutines_tasks_and_nesting(emit: Emitter, tmp_path: Path) -> None:
    @audit.audited("order.check", key="number", emitter=emit)
    async def check(number: int) -> None:
        await asyncio.sleep(0.002)

    @audit.audited("order.ship", key="number", emitter=emit)
    async def ship(number: int) -> int:
        await asyncio.gather(check(number), check(number + 100))
        return number

    @audit.audited("order.wait", emitter=emit)
    async def wait() -> None:
        await asyncio.sleep(60)

    async def request(number: int) -> int:
        with audit.context(actor=f"user{number}", request_id=f"r{number}"):
            return await ship(number)

    async def main() -> None:
        assert await asyncio.gather(*(request(n) for n in range(5))) == list(range(5))
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    found = actions(emit, tmp_path)
    by_id = {event.event_id: event for event in events(tmp_path)}
    by_key = rows(tmp_path, "action")
    ships = {key: by_id[key].actor for key, row in by_key.items() if row["action"] == "order.ship"}
    checks = [(key, row) for key, row in by_key.items() if row["action"] == "order.check"]
    assert (len(ships), len(checks), len(found)) == (5, 10, 16)
    for key, row in checks:
        assert by_id[key].actor == ships[row["parent"]]
        assert by_id[key].request_id == by_id[row["parent"]].request_id
        assert row["duration_us"] >= 1_000
    (cancelled,) = [row for row in found if row["action"] == "order.wait"]
    assert (cancelled["outcome"], cancelled["error"]) == (
        "cancelled", "asyncio.exceptions.CancelledError",
    )  # fmt: skip


KEYS: list[tuple[Any, Any, str | None]] = [
    ("invoice.id", 7, "7"),
    ("invoice.id", NUMBER, str(NUMBER)),
    ("return.id", "A/1", "A/1"),
    (["tenant", "invoice.id"], 7, '["acme",7]'),
    (lambda given: given["invoice"].id, 7, "7"),
    ("invoice.id", 1.5, None),
    ("invoice.id.more", 7, None),
    (lambda given: given["nobody"], 7, None),
]


@pytest.mark.parametrize(("key", "number", "expected"), KEYS)
def test_where_a_key_comes_from(
    emit: Emitter, tmp_path: Path, key: Any, number: Any, expected: str | None
) -> None:
    class Service:
        @audit.audited("invoice.void", key=key, emitter=emit)
        def void(self, invoice: Invoice, *, tenant: str = "acme") -> Invoice:
            voided = Invoice(invoice.id)
            invoice.id = "gone"
            return voided

    Service().void(Invoice(number))
    (row,) = actions(emit, tmp_path)
    assert (row["entity_type"], row["entity_key"]) == ("invoice", expected)


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__
    __len__ = __str__  # type: ignore[assignment]


class Colour(Enum):
    RED = object()


def test_arguments_that_cannot_be_recorded_say_why(emit: Emitter, tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)

    @audit.audited("a", arguments=["ok", "large", "b", "c", "d"], emitter=emit)
    def take(ok: Any, large: Any, b: Any, c: Any, d: Any) -> None: ...

    take({"n": [NUMBER.int % 7, b"\0"]}, "x" * 9_000, Hostile(), loop, Colour.RED)
    (row,) = actions(emit, tmp_path)
    assert row["arguments"]["ok"] == {"n": [NUMBER.int % 7, b"\0"]}
    assert [row["arguments"][name] for name in ("large", "b", "c", "d")] == [None] * 4
    assert set(row["unrecorded"]) == {"large", "b", "c", "d"}
    assert "9002 bytes" in row["unrecorded"]["large"]


def test_arguments_that_do_not_fit_are_the_functions_to_refuse(
    emit: Emitter, tmp_path: Path
) -> None:
    @audit.audited("a", key="number", emitter=emit)
    def take(number: int) -> None: ...

    with pytest.raises(TypeError, match="missing 1 required"):
        take()  # type: ignore[call-arg]
    assert actions_or_none(emit, tmp_path) == []


def actions_or_none(emit: Emitter, folder: Path) -> list[Any]:
    emit.flush()
    return events(folder)


def test_an_attempt_is_there_before_its_end(emit: Emitter, tmp_path: Path) -> None:
    seen: list[str] = []

    @audit.audited("invoice.new", key="return.id", attempt=True, emitter=emit)
    def new(fails: bool) -> Invoice:
        (begun,) = [row for row in actions(emit, tmp_path) if row["duration_us"] is None]
        seen.append(begun["outcome"])
        if fails:
            raise KeyError("x")
        return Invoice(5)

    new(False)
    with pytest.raises(KeyError):
        new(True)
    assert seen == ["started", "started"]
    done, failed = actions(emit, tmp_path)
    assert (done["outcome"], done["entity_key"]) == ("succeeded", "5")
    assert (failed["outcome"], failed["error"]) == ("failed", "KeyError")
    assert [event.type for event in events(tmp_path)] == ["data.create", "data.update"] * 2


def test_what_cannot_be_recorded_is_never_silent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []

    def broken() -> Emitter:
        raise Unavailable("no ledger")

    def make(**options: Any) -> Callable[[bool], str]:
        @audit.audited("a", emitter=broken, **options)
        def act(fails: bool) -> str:
            done.append("ran")
            if fails:
                raise KeyError("mine")
            return "answer"

        return act

    with pytest.raises(Unavailable):
        make(attempt=True)(False)
    assert done == []
    with pytest.raises(Unavailable):
        make()(False)
    assert done == ["ran"] and not caplog.records
    assert make(on_unrecorded="log")(False) == "answer"
    assert make(on_unrecorded="log", attempt=True)(False) == "answer"
    with pytest.raises(KeyError, match="mine"):
        make()(True)
    assert [record.getMessage().split()[-2:] for record in caplog.records] == [["no", "ledger"]] * 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"action": "Approve it"}, "no name of an action"),
        ({"action": "a" * 129}, "no name"),
        ({"key": "nobody"}, "no argument 'nobody'; there are number"),
        ({"key": ["number", "nobody.id"]}, "no argument 'nobody'"),
        ({"key": [1]}, "names arguments"),
        ({"arguments": ["return"]}, "no argument"),
        ({"arguments": "number"}, "list of at most 5"),
        ({"arguments": ["number"] * 6}, "list of at most 5"),
        ({"on_unrecorded": "ignore"}, "raise"),
        ({"entity": 5, "key": "number"}, "type of entities"),
    ],
)
def test_what_a_decorator_refuses(options: dict[str, Any], words: str) -> None:
    def act(number: int) -> None: ...

    with pytest.raises(InvalidInput, match=words):
        audit.audited(**{"action": "a", **options})(act)


def test_what_it_does_not_decorate() -> None:
    def rows() -> Iterator[int]:
        yield 1

    for thing in (rows, Invoice, staticmethod(print)):
        with pytest.raises(InvalidInput):
            audit.audited("a")(thing)  # type: ignore[type-var]


def test_a_thread_is_part_of_the_action_that_hands_its_context_on(
    emit: Emitter, tmp_path: Path
) -> None:
    @audit.audited("part", emitter=emit)
    def part() -> None: ...

    @audit.audited("whole", emitter=emit)
    def whole() -> None:
        copy = contextvars.copy_context()
        for target in (part, lambda: copy.run(part)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()

    with audit.context(actor="alice"):
        whole()
    first, alone, handed = actions(emit, tmp_path)
    found = {e.event_id: e for e in events(tmp_path)}
    (id_,) = [key for key, row in rows(tmp_path, "action").items() if row == first]
    assert (alone["parent"], handed["parent"]) == (None, id_)
    assert sorted(str(event.actor) for event in found.values()) == ["None", "alice", "alice"]


PROGRAM = """
import os, audit
@audit.audited("job.run", key="number")
def job(number): pass
@audit.audited("job.other", key="number")
def other(number): pass
job(1); other(2)
child = os.fork()
job(3 if child else 4)
if not child:
    raise SystemExit
os.wait()
"""


def test_actions_of_a_process_share_an_emitter_that_its_end_flushes(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, cwd=Path(__file__).parents[2],
        env={"AUDIT_BUS": url(tmp_path), "PATH": ""}, timeout=60,
    )  # fmt: skip
    found = [row["entity_key"] for row in rows(tmp_path, "action").values()]
    assert sorted(found) == ["1", "2", "3", "4"]
    assert len({event.producer_id for event in events(tmp_path)}) == 2
