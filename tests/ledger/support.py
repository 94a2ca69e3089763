"""What the tests of exports and SQL share: random histories, and whom to trust."""

import random
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from audit.replay.rows import UNAVAILABLE
from audit.verify.policy import Policy
from tests.backends import signer_of
from tests.replay.conftest import ORIGIN, SECOND_US, LedgerInTest

SIGNER = signer_of(ORIGIN)
POLICY = Policy.from_vkeys(
    [SIGNER.verifier.vkey, signer_of(f"{ORIGIN}/1", bytes([1]) * 32).verifier.vkey]
)
HOSTILE = ("select", 'quo"te', "it's", "new\nline", "_n", "_key", "Name", "name", "entity_key", "")
VALUES: tuple[Any, ...] = (
    *(None, 1, 2**62, -1, 1.5, -0.0, float("nan"), float("inf"), True, "text", "", "a\0b", b"\x00"),
    *(Decimal("1.50"), Decimal("1.5"), date(2026, 1, 2), datetime(2026, 1, 2, 3, tzinfo=UTC)),
    *([1, "x"], {"a": None}),
)


def random_history(made: LedgerInTest, seed: int, count: int, *, kept: bool = False) -> None:
    """Events of every sort, in two logs, on dataset `user`; some supersede, some are valid early.

    `kept`: full images may mark fields as unchanged.
    """
    chance = random.Random(seed)
    fields = ["dpt", "age", *chance.sample(HOSTILE, 4)]
    kinds = {field: chance.choice(VALUES[1:]) for field in fields}
    ids: dict[tuple[int, str | None], list[str]] = {}
    for _ in range(count):
        log = chance.choice((0, 0, 1))
        op = chance.choice(("create", "update", "update", "update", "delete", "truncate"))
        if op == "truncate" and chance.random() < 0.5:
            op = "update"
        key = None if op == "truncate" else chance.choice("abcd")
        options: dict[str, Any] = {}
        if op in ("create", "update"):
            after = {
                field: None if chance.random() < 0.2 else kinds[field]
                for field in chance.sample(fields, chance.randint(0, 3))
            }
            if chance.random() < 0.05:
                after[chance.choice(fields)] = chance.choice(VALUES)
            full = op == "create" or chance.random() < 0.2
            if chance.random() < 0.1 and (kept or not full):
                after[chance.choice(fields)] = UNAVAILABLE
            options = {"after": after, "image": "full" if full else "patch"}
        earlier = ids.get((log, key), [])
        if earlier and chance.random() < 0.15:
            options["supersedes"] = chance.choice(earlier)
        if chance.random() < 0.5:
            options["valid"] = made.now_us + chance.randint(-20, 5) * SECOND_US
        event_id = made.next_id()
        ids.setdefault((log, key), []).append(event_id)
        made.now_us += SECOND_US
        made.emit(op, key, log=log, event_id=event_id, **options)
