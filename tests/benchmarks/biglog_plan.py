"""What happens in a big ledger, drawn from a seed: blocks of events as arrays, nothing spelled yet.

One dataset, `account`. Fields: two integers, two doubles, three strings of few distinct values (one
of them null at times), a free string, a timestamp, a boolean. Of the events 80 % are patches of one
to three fields, 15 % creates with all fields, 5 % deletes; so a tenth of the events are live rows.
With `live` that many rows are reached and then kept: deletes and creates balance, the log grows.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

CREATE, PATCH, DELETE = 0, 1, 2
OPS = ("create", "update", "delete")

ENTITY = "account"
MAX_BLOCK = 5_000
"""Events that are appended, and so signed, together; fewer in a small ledger."""
START_US = 1_700_000_000_000_000
BLOCK_US = 50_000_000
"""From one block to the next: a hundred events a second."""
LATE_SHARE = 0.01
LATE_US = 3_600_000_000
"""Some events are valid up to an hour before they are recorded."""
NULL_SHARE = 0.05
DELETE_SHARE, CREATE_SHARE = 0.05, 0.15

STATUSES = ("open", "active", "frozen", "closed", "in review")
COUNTRIES = (
    *("AT", "BE", "CH", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GB", "GR"),
    *("HU", "IE", "IT", "LT", "LU", "LV", "NL", "NO", "PL", "PT", "SE"),
)
SEGMENTS = ("retail", "small business", "corporate", "private", "student", "public", "bank")
ACTORS = tuple(f"clerk{number:02d}" for number in range(40))
SYLLABLES = ("ka", "lo", "mi", "ter", "sun", "bra", "vel", "dor", "qui", "nas", "per", "wo")
WORDS = tuple(
    (SYLLABLES[n % 12] + SYLLABLES[n // 12 % 12] + SYLLABLES[n // 144 % 12]) for n in range(1_024)
)
"""Four of them, ten bits each, make a note."""
NOTE_BITS = 40

FIELDS = (
    *("active", "amount", "balance", "country", "note"),
    *("opened", "score", "segment", "status", "visits"),
)
AT = {name: number for number, name in enumerate(FIELDS)}
ALL_FIELDS = (1 << len(FIELDS)) - 1
PATCHES: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.35, ("balance", "visits")),
    (0.20, ("amount", "balance", "score")),
    (0.15, ("status",)),
    (0.10, ("note",)),
    (0.10, ("segment", "score")),
    (0.10, ("active", "country")),
)
"""How often which fields change together."""

Ints = npt.NDArray[np.int64]
Values = Mapping[str, npt.NDArray[np.generic]]


class Plan(NamedTuple):
    """Which ledger. `live`: rows kept once reached; None: a tenth of the events.

    `skew`: 0 changes all rows alike; towards 1 some ever more often (Zipf with that exponent).
    `revived`: which share of the creates takes a key that was deleted, while there is one.
    """

    events: int
    live: int | None = None
    skew: float = 0.5
    revived: float = 0.2
    seed: int = 7

    @property
    def block(self) -> int:
        """Events in a block."""
        few = self.events // 40 if self.live is None else min(self.events // 40, self.live // 4)
        return min(max(few, 1), MAX_BLOCK)

    def recorded_us(self, numbers: Ints) -> Ints:
        """The recorded times of the events with these numbers: by ones inside a block."""
        return START_US + (numbers // self.block + 1) * BLOCK_US + numbers % self.block

    @property
    def name(self) -> str:
        """For a folder."""
        live = "free" if self.live is None else str(self.live)
        return f"e{self.events}-l{live}-s{self.skew}-r{self.revived}-{self.seed}"


class Block(NamedTuple):
    """Some events in a row. Arrays of length n: what each does, to which key, and when.

    `key`: creation numbers, see `key_texts`. `sets`: bit f is set where field f is given. `values`:
    for every field n values, of which those count whose bit is set; codes for the strings, -1 is
    null. `valid_us`, `clock_us`: microseconds; the clock at which all of them are appended.
    """

    start: int
    clock_us: int
    op: npt.NDArray[np.uint8]
    key: Ints
    actor: Ints
    valid_us: Ints
    sets: npt.NDArray[np.uint16]
    values: Values
    random: bytes

    def __len__(self) -> int:
        return len(self.op)

    def given(self, field: str) -> npt.NDArray[np.bool_]:
        """bool[n]: where a field is given."""
        return (self.sets >> AT[field] & 1).astype(bool)


def key_texts(numbers: Ints) -> npt.NDArray[np.bytes_]:
    """S12: key texts of creation numbers; their order is not that of creation."""
    scrambled = numbers * 6_364_136_223 % 10_000_000_000
    digits = scrambled[:, None] // 10 ** np.arange(9, -1, -1) % 10 + ord("0")
    texts = np.empty((len(numbers), 12), np.uint8)
    texts[:, :2] = (ord("a"), ord("c"))
    texts[:, 2:] = digits
    return texts.reshape(-1).view("S12")


class _Live:
    """Which keys are there, in no particular order, and which were deleted."""

    def __init__(self) -> None:
        self._keys = np.empty(1 << 12, np.int64)
        self._dead = np.empty(0, np.int64)
        self._made = 0
        self.count = 0

    @property
    def keys(self) -> Ints:
        """Those that are there: a view."""
        return self._keys[: self.count]

    def delete(self, places: Ints) -> None:
        """Take out the keys at these places; the last ones move there."""
        left = self.count - len(places)
        stays = np.ones(len(places), bool)
        stays[places[places >= left] - left] = False
        self._keys[places[places < left]] = self._keys[left : self.count][stays]
        self.count = left

    def bury(self, keys: Ints) -> None:
        """From now on these may come back."""
        self._dead = np.concatenate((self._dead, keys))

    def create(self, count: int, revived: int, random: np.random.Generator) -> Ints:
        """Keys for so many creates, some of them deleted before."""
        revived = min(revived, len(self._dead))
        places = random.choice(len(self._dead), revived, replace=False) if revived else []
        again = self._dead[places] if revived else self._dead[:0]
        self._dead = np.delete(self._dead, places) if revived else self._dead
        new = np.arange(self._made, self._made + count - revived)
        self._made += count - revived
        found: Ints = random.permutation(np.concatenate((again, new)))
        if self.count + count > len(self._keys):
            self._keys = np.concatenate((self._keys, np.empty(self.count + count, np.int64)))
        self._keys[self.count : self.count + count] = found
        self.count += count
        return found


def blocks(plan: Plan) -> Iterator[Block]:
    """The events of a plan, a block at a time (the last may be shorter)."""
    random = np.random.default_rng(plan.seed)
    live = _Live()
    for number, start in enumerate(range(0, plan.events, plan.block)):
        count = min(plan.block, plan.events - start)
        clock_us = START_US + (number + 1) * BLOCK_US
        op = _ops(plan, live.count, count, random)
        key = _keys(plan, live, op, random)
        emitted = np.sort(random.integers(clock_us - BLOCK_US, clock_us, count))
        late = random.random(count) < LATE_SHARE
        emitted -= np.where(late, random.integers(0, LATE_US, count), 0)
        sets = np.where(op == CREATE, ALL_FIELDS, _patched(count, random) * (op == PATCH))
        yield Block(
            start, clock_us, op, key,
            random.integers(0, len(ACTORS), count), emitted, sets.astype(np.uint16),
            _values(count, emitted, random), random.bytes(9 * count),
        )  # fmt: skip


def _ops(plan: Plan, live: int, count: int, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """What each event of a block does, where so many rows are there before it."""
    if not live:
        return np.full(count, CREATE, np.uint8)
    is_full = plan.live is not None and live >= plan.live
    creates = DELETE_SHARE if is_full else CREATE_SHARE
    drawn = random.random(count)
    op = np.full(count, PATCH, np.uint8)
    op[drawn < DELETE_SHARE + creates] = CREATE
    op[drawn < DELETE_SHARE] = DELETE
    # Never more than a part of the rows that are there.
    op[np.flatnonzero(op == DELETE)[live // 10 :]] = PATCH
    if plan.live is not None:
        room = max(plan.live - live + int((op == DELETE).sum()), 0)
        op[np.flatnonzero(op == CREATE)[room:]] = PATCH
    return op


def _keys(plan: Plan, live: _Live, op: npt.NDArray[np.uint8], random: np.random.Generator) -> Ints:
    """To which key each event happens: patches and deletes only to rows there at their turn."""
    key = np.empty(len(op), np.int64)
    patches, deletes = np.flatnonzero(op == PATCH), np.flatnonzero(op == DELETE)
    if live.count:
        places = random.choice(live.count, len(deletes), replace=False)
        key[deletes] = live.keys[places]
        live.delete(places)
        # What this block deletes it does not patch: no patch depends on its place in the block.
        key[patches] = live.keys[_ranks(len(patches), live.count, plan.skew, random)]
    creates = np.flatnonzero(op == CREATE)
    key[creates] = live.create(len(creates), int(len(creates) * plan.revived), random)
    # Not before: a row may not come back before its delete in the same block.
    live.bury(key[deletes])
    return key


def _ranks(count: int, size: int, skew: float, random: np.random.Generator) -> Ints:
    """int64[count] below size, small ones more often: density rank**-skew, 0 <= skew < 1."""
    drawn = random.random(count) ** (1 / (1 - skew)) * size
    return np.minimum(drawn.astype(np.int64), size - 1)


_MASKS = np.array([sum(1 << AT[name] for name in names) for _, names in PATCHES])
_WEIGHTS = np.array([weight for weight, _ in PATCHES])


def _patched(count: int, random: np.random.Generator) -> Ints:
    found: Ints = _MASKS[random.choice(len(_MASKS), count, p=_WEIGHTS)]
    return found


def _values(count: int, emitted: Ints, random: np.random.Generator) -> Values:
    segment = random.integers(0, len(SEGMENTS), count)
    segment[random.random(count) < NULL_SHARE] = -1
    return {
        "active": random.random(count) < 0.9,
        "amount": random.integers(0, 2_000_000, count) - 1_000_000,
        "balance": np.round(random.lognormal(7, 2, count), 2),
        "country": random.integers(0, len(COUNTRIES), count),
        "note": random.integers(0, 1 << NOTE_BITS, count),
        "opened": emitted - random.integers(0, 10**15, count),
        "score": random.random(count),
        "segment": segment,
        "status": random.integers(0, len(STATUSES), count),
        "visits": random.integers(0, 400, count),
    }
