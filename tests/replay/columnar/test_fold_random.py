"""Random logs: the fold of columns gives what the plain fold gives, at every cut, on both axes."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from audit.event.build import schema_event
from audit.event.canonical import builtin
from audit.replay.columnar.fold.fast import FastDataset, FastReplay
from audit.replay.columnar.fold.source import PartSource
from audit.replay.fold import UNAVAILABLE
from audit.replay.points import Cut
from tests.backends import SqliteBackend
from tests.replay.columnar.compare import same_answers
from tests.replay.columnar.slow_parts import SlowSource
from tests.replay.conftest import START_US, LedgerInTest, open_columns

KEYS = ("a", "b", "c", "é", "\x00", "aa")
OFTEN = (None, 0, 1, 2**62, "s", "", "t\x00", UNAVAILABLE)
SELDOM = (
    *(0.5, -0.0, float("nan"), True, False, b"", b"\xff", UNAVAILABLE.encode()),
    *(Decimal("1.50"), Decimal("-7"), date(1, 1, 1), datetime(9999, 12, 31, tzinfo=UTC)),
    *([], {"k": [1, None]}),
)
VALID = (None, None, -5, 0, 3, 4, 10_000_000_000)
LOGS = 2

values = st.sampled_from(OFTEN) | st.sampled_from(SELDOM)
rows = st.dictionaries(st.sampled_from(("x", "y", "entity_key")), values, max_size=3)
FIRST = {
    "type": "record",
    "name": "Thing",
    "fields": [{"name": "x", "type": ["null", "int"]}, {"name": "y", "type": ["null", "string"]}],
}
SECOND = {
    "type": "record",
    "name": "Thing",
    "fields": [{"name": "x", "type": ["null", "double"]}, {"name": "z", "type": ["null", "long"]}],
}
declared = st.sampled_from(
    (
        (FIRST, {"x": 1, "y": "s"}),
        (FIRST, {"x": None, "y": "t"}),
        (SECOND, {"x": 1.5, "z": 7}),
        (SECOND, {"x": float("nan"), "z": None}),
    )
)
operation = st.fixed_dictionaries(
    {
        "op": st.sampled_from(
            ("create", "create", "update", "update", "update", "delete", "truncate", "late", "note")
        ),
        "key": st.sampled_from(KEYS),
        "after": rows,
        "declared": st.none() | st.none() | declared,
        "image": st.sampled_from(("patch", "patch", "full")),
        "valid": st.sampled_from(VALID),
        "supersedes": st.none() | st.none() | st.none() | st.integers(1, 12),
        "log": st.integers(0, LOGS - 1),
        "unread": st.sampled_from((False, False, False, True)),
    }
)


class Talker:
    """Seals random operations; schemas may come long after what is written in them."""

    def __init__(self, ledger: LedgerInTest, logs: int, apart: bool, care: bool) -> None:
        """`apart`: no key is in two logs. `care`: with events that need care."""
        self.ledger = ledger
        self.logs = logs
        self.apart = apart
        self.care = care
        self.known = [{builtin("row.v1")} for _ in range(logs)]
        self.owed: list[list[bytes]] = [[] for _ in range(logs)]
        for log in range(logs):
            ledger.emit("create", "first", {}, entity="other", log=log)

    def say(self, number: int, said: dict[str, Any]) -> None:
        """Seal one operation."""
        key = said["key"]
        log = KEYS.index(key) % self.logs if self.apart else said["log"] % self.logs
        op, ledger = said["op"], self.ledger
        before = said["supersedes"] if self.care else None
        supersedes = None if before is None else f"op{number - before}"
        if op == "late":
            for schema in self.owed[log]:
                ledger.seal([schema_event(schema)], log=log)
            self.known[log].update(self.owed[log])
            self.owed[log] = []
            return
        name = {"event_id": f"op{number}", "supersedes": supersedes}
        if op == "note":
            about = {"entity_type": "thing", "entity_key": key}
            ledger.record("note.made", {"n": 1}, log=log, **name, **about)
            return
        gone = op in ("delete", "truncate")
        form, after = (None, said["after"])
        if said["declared"] is not None and (op == "create" or said["image"] == "full"):
            form, after = said["declared"]
        valid = None if said["valid"] is None else START_US + said["valid"]
        event, needed = ledger.event(
            op,
            None if op == "truncate" else key,
            None if gone else after,
            entity="thing",
            image="patch" if gone else said["image"],
            declared=None if gone else form,
            valid=valid,
            **name,
        )
        missing = [schema for schema in needed if schema not in self.known[log]]
        if self.care and said["unread"]:
            self.owed[log].extend(s for s in missing if s not in self.owed[log])
            missing = []
        for schema in missing:
            ledger.seal([schema_event(schema)], log=log)
            self.known[log].add(schema)
            if schema in self.owed[log]:
                self.owed[log].remove(schema)
        ledger.seal([event], log=log)
        ledger.now_us += number % 2


@pytest.mark.parametrize(("logs", "care"), [(1, False), (1, True), (2, False), (2, True)])
@settings(
    max_examples=8,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    operations=st.lists(operation, min_size=1, max_size=24),
    apart=st.booleans(),
    step=st.integers(1, 12),
    min_events=st.integers(1, 8),
    coded=st.booleans(),
    built=st.booleans(),
)
def test_fast_is_plain(
    logs: int,
    care: bool,
    operations: list[dict[str, Any]],
    apart: bool,
    step: int,
    min_events: int,
    coded: bool,
    built: bool,
) -> None:
    with TemporaryDirectory() as folder:
        ledger = LedgerInTest(SqliteBackend(Path(folder)))
        if logs == 2:
            ledger.open_log(1)
        with ledger.store:
            talker = Talker(ledger, logs, apart, care)
            for number, said in enumerate(operations):
                talker.say(number, said)
            ledger.emit("create", "last", {}, entity="other")
            if built:
                source: PartSource = sealed_in_part(ledger, Path(folder) / "columns", step)
            else:
                source = SlowSource(ledger.store, "thing", step, coded)
            found = compare_all(ledger, source, min_events)
            assert care or all(one is not None for one in found)


def sealed_in_part(ledger: LedgerInTest, folder: Path, step: int) -> PartSource:
    """The read model; what was there before some last entries is on disk."""
    size = ledger.store.size(0)
    model = open_columns(ledger.store, folder)
    model.seal()
    for number in range(step % 4):
        ledger.emit("update", KEYS[number], {"x": number}, entity="thing")
    assert model.sealed(0) == size
    return model


def compare_all(
    ledger: LedgerInTest, source: PartSource, min_events: int
) -> list[FastDataset | None]:
    """At many cuts, with snapshots made on the way, and again with those found on disk."""
    store = ledger.store
    head = ledger.cut()
    sizes = [
        {log: max(1, size * part // 4) for log, size in head.sizes.items()} for part in (3, 4, 1, 2)
    ]
    found = []
    for again in (False, True):
        fast = FastReplay(source, min_events)
        for some in sizes[1:2] if again else sizes:
            cut = Cut(some, None, (), False, "", None)
            for valid in (None, START_US + (3, 10_000)[some[0] % 2]):
                found.append(same_answers(store, fast, "thing", cut, valid))
    return found
