"""How the values of one column are distributed, counted one by one or taken from profiles.

In bounded memory: of numbers a random sample is kept, with a fixed seed, so that the same log gives
the same sample; of categories the first distinct ones. What was left out is said.
"""

import math
import random
from array import array
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from audit.event.times import format_time, us_of_time
from audit.event.valuejson import to_json
from audit.lineage.content.statistics import finite
from audit.store.blobs import digest_of

MAX_VALUES = 10_000
"""Numbers of a column that are kept; of more, a random sample of this size."""
MAX_CATEGORIES = 1_000
"""Distinct categories of a column that are counted one by one, those that come first."""
MAX_CATEGORY_CHARS = 200
MAX_CATEGORIES_SHOWN = 20
SEED = 20_260_101
NUMBER, CATEGORY, TIME, OTHER = "number", "category", "time", "other"
OTHERS = "(others)"

_KINDS: dict[str, str] = {
    "integer": NUMBER,
    "double": NUMBER,
    "decimal": NUMBER,
    "boolean": CATEGORY,
    "string": CATEGORY,
    "date": TIME,
    "timestamp": TIME,
}
_TYPES: dict[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "double",
    Decimal: "decimal",
    str: "string",
    bytes: "bytes",
    date: "date",
    datetime: "timestamp",
    list: "list",
    dict: "object",
}


class Distribution(NamedTuple):
    """The values of a column. `kind`: of most of them. `types`: type -> how many have it.

    `values`: the numbers, or a sample of them when `sampled`. `present`: how many are not missing.
    `others`: how many categories' rows are not in `categories`.
    """

    kind: str
    types: Mapping[str, int]
    rows: int
    missing: int
    zeros: int
    numbers: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    values: Sequence[float]
    sampled: bool
    categories: Mapping[str, int]
    others: int

    @property
    def present(self) -> int:
        """How many values are not missing."""
        return self.rows - self.missing

    def to_json(self) -> dict[str, Any]:
        """What a reader wants to see of it: no single values, the most frequent categories."""
        out: dict[str, Any] = {
            "kind": self.kind,
            "types": dict(sorted(self.types.items())),
            "rows": self.rows,
            "missing": self.missing,
        }
        if self.numbers:
            out["zeros"] = self.zeros
            for name in ("minimum", "maximum", "mean"):
                out[name] = finite(getattr(self, name))
            out["sample_size"] = len(self.values)
            out["sampled"] = self.sampled
        if self.categories:
            most = sorted(self.categories.items(), key=lambda item: (-item[1], item[0]))
            out["categories"] = dict(most[:MAX_CATEGORIES_SHOWN])
            out["distinct"] = len(self.categories)
            out["others"] = self.others + sum(n for _, n in most[MAX_CATEGORIES_SHOWN:])
        return out


class Column:
    """Counts the values of one column. `limit`: how many numbers are kept, default MAX_VALUES."""

    def __init__(self, name: str, limit: int | None = None) -> None:
        """Nothing is counted yet."""
        self._limit = MAX_VALUES if limit is None else limit
        self._random = random.Random(f"{SEED}:{name}")
        self._types: dict[str, int] = {}
        self._values = array("d")
        self._kept_of = 0  # how many numbers the values stand for
        self._categories: dict[str, int] = {}
        self._others = 0
        self._rows = 0
        self._missing = 0
        self._zeros = 0
        self._numbers = 0
        self._sum = 0.0
        self._minimum = math.inf
        self._maximum = -math.inf

    def add(self, value: Any) -> None:
        """One value of the log. None and NaN are missing."""
        self._rows += 1
        if value is None or value != value:
            self._missing += 1
            return
        if type(value) is float:  # what most values are
            self._types["double"] = self._types.get("double", 0) + 1
            self._add_number(value)
            return
        name = _TYPES.get(type(value), "object")
        kind = _KINDS.get(name, OTHER)
        if kind == NUMBER:
            number = float(value)
            if number != number:  # a Decimal may be none as well
                self._missing += 1
                return
            self._add_number(number)
        elif kind == CATEGORY:
            self._count(category_text(value), 1)
        self._types[name] = self._types.get(name, 0) + 1

    def _add_number(self, number: float) -> None:
        self._numbers += 1
        self._zeros += number == 0
        self._sum += number
        if number < self._minimum:
            self._minimum = number
        if number > self._maximum:
            self._maximum = number
        self._kept_of += 1
        if len(self._values) < self._limit:
            self._values.append(number)
            return
        # Algorithm R (Vitter 1985): each number so far is kept with the same probability.
        at = int(self._random.random() * self._kept_of)
        if at < self._limit:
            self._values[at] = number

    def _count(self, category: str, rows: int) -> None:
        if category in self._categories or len(self._categories) < MAX_CATEGORIES:
            self._categories[category] = self._categories.get(category, 0) + rows
        else:
            self._others += rows

    def add_profiled(self, profiled: "Profiled") -> None:
        """A column of a profile: counts are added, and samples in proportion to what they are of.

        A column is counted either so or by `add`, not by both.
        """
        self._rows += profiled.rows
        self._missing += profiled.missing
        present = max(0, profiled.rows - profiled.missing)
        if present:
            self._types[profiled.type] = self._types.get(profiled.type, 0) + present
        numbers = max(0, present - profiled.infinite)
        if profiled.kind == NUMBER and numbers:
            self._numbers += numbers
            self._zeros += profiled.zeros
            self._sum += (profiled.mean or 0.0) * numbers
            if profiled.minimum is not None and profiled.maximum is not None:
                self._minimum = min(self._minimum, profiled.minimum)
                self._maximum = max(self._maximum, profiled.maximum)
            self._merge(profiled.sample, numbers)
        for category, rows in profiled.categories.items():
            self._count(category_text(category), rows)
        self._others += profiled.others

    def _merge(self, sample: Sequence[float], numbers: int) -> None:
        """Thin out what is denser, so that each kept number stands for as many rows."""
        if not sample:
            return
        mine = len(self._values) / self._kept_of if self._kept_of else 1.0
        theirs = min(1.0, len(sample) / numbers)
        rate = min(mine, theirs, self._limit / (self._kept_of + numbers))
        draw = self._random.random
        kept = [value for value in self._values if draw() * mine < rate]
        kept.extend(value for value in sample if draw() * theirs < rate)
        self._values = array("d", kept[: self._limit])
        self._kept_of += numbers

    def distribution(self, rows: int | None = None) -> Distribution:
        """What was counted; `rows`: of how many, those without the column count as missing."""
        total = self._rows if rows is None else max(rows, self._rows)
        numbers = self._numbers
        return Distribution(
            kind=_kind(self._types),
            types=dict(self._types),
            rows=total,
            missing=self._missing + total - self._rows,
            zeros=self._zeros,
            numbers=numbers,
            minimum=self._minimum if self._minimum <= self._maximum else None,
            maximum=self._maximum if self._minimum <= self._maximum else None,
            mean=self._sum / numbers if numbers else None,
            values=self._values,
            sampled=len(self._values) < numbers,
            categories=dict(self._categories),
            others=self._others,
        )


class Profiled(NamedTuple):
    """A column as a profile has it; `sample`: some of its numbers. `others`: uncounted rows."""

    type: str
    kind: str
    rows: int
    missing: int
    infinite: int
    zeros: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    sample: Sequence[float]
    categories: Mapping[str, int]
    others: int


def comparable(
    then: Distribution, now: Distribution
) -> tuple[dict[str, int], dict[str, int], bool]:
    """The categories of both as counts over the same classes; whether some are put together.

    A category that one side does not list may be among its uncounted ones; then it is one of the
    others on both sides.
    """
    if not then.others and not now.others:
        return dict(then.categories), dict(now.categories), False
    # Where everything was counted, a category that is not listed is not there.
    known = {
        name
        for name in {*then.categories, *now.categories}
        if (name in then.categories or not then.others)
        and (name in now.categories or not now.others)
    }
    found = []
    for one in (then, now):
        counts = {name: count for name, count in one.categories.items() if name in known}
        rest = one.others + sum(n for name, n in one.categories.items() if name not in known)
        counts[OTHERS] = counts.get(OTHERS, 0) + rest
        found.append(counts)
    return found[0], found[1], True


def category_text(value: Any) -> str:
    """A value as the name of a class; a long text by its beginning and digest."""
    if isinstance(value, str):
        text = value
    elif value is None or value != value:
        return "(missing)"
    elif isinstance(value, bool):
        return "true" if value else "false"
    elif isinstance(value, datetime):
        text = format_time(us_of_time(value))
    else:
        text = str(to_json(value))
    if len(text) <= MAX_CATEGORY_CHARS:
        return text
    digest = digest_of(text.encode("utf-8", "backslashreplace"))
    return f"{text[:60]}... {digest[:23]}"


def _kind(types: Mapping[str, int]) -> str:
    """The kind that most values have; OTHER of no values."""
    kinds: dict[str, int] = {}
    for name, count in types.items():
        kind = _KINDS.get(name, OTHER)
        kinds[kind] = kinds.get(kind, 0) + count
    return max(kinds, key=lambda kind: (kinds[kind], kind), default=OTHER)
