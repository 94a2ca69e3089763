"""Hypothesis strategies: every value, change and event there can be."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

from hypothesis import strategies as st

from audit.event.envelope import Encryption, Event
from audit.event.row import Change

MAX_INT64 = 2**63 - 1

texts = st.text(max_size=40)
names = st.one_of(texts, st.sampled_from(["a", "$a", "$$a", "$decimal", "", "\0", "name"]))
ints = st.integers(-(2**63), MAX_INT64)
decimals = st.builds(
    lambda digits, scale: Decimal(f"{digits}E{scale}"),
    st.integers(-(10**40), 10**40),
    st.integers(-40, 40),
)
times = st.datetimes(timezones=st.just(UTC))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    ints,
    st.floats(),
    texts,
    st.binary(max_size=40),
    decimals,
    st.dates(),
    times,
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4)),
    max_leaves=8,
)
fields = st.dictionaries(names, values, max_size=6)
changes = st.builds(
    Change, st.sampled_from(["patch", "full"]), st.none() | fields, st.none() | fields
)

AWKWARD_VALUES = [
    2**53 + 1,
    MAX_INT64,
    -(2**63),
    Decimal("1.50"),
    Decimal("1.5"),
    Decimal("0.00"),
    Decimal("-0.05"),
    Decimal("1E+5"),
    Decimal("100000"),
    Decimal("1E-50"),
    Decimal("-123456789012345678901234567890.123456789"),
    0.0,
    -0.0,
    5e-324,
    1.7976931348623157e308,
    float("inf"),
    float("-inf"),
    float("nan"),
    1.0,
    1,
    True,
    False,
    None,
    "",
    "a\0b",
    "\u2028\u2029",
    "e\u0301",
    "\u00e9",
    "\U0001f600",
    "'; DROP TABLE entries; --",
    'quote " and \\ and\nnewline\ttab\x7f\x1b',
    b"",
    b"\0\xff",
    date(1, 1, 1),
    date(9999, 12, 31),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    [],
    {},
    [[], {}, None, -0.0, Decimal("2.00"), b"x", date(2020, 1, 1)],
    {"$decimal": 1, "$$": 2, "plain": {"$x": [datetime(2020, 1, 1, tzinfo=UTC)]}},
]

words = st.from_regex(r"[a-z][a-z0-9_.-]{0,12}", fullmatch=True)
entity_types = words.filter(
    lambda word: word not in {"prediction", "run", "model", "dataset", "schema", "key"}
)
_ids = st.text(min_size=1, max_size=30)
_optional = st.none() | st.text(max_size=32)


@st.composite
def events(draw: st.DrawFn) -> Event:
    type_ = draw(st.sampled_from(["data.create", "data.update", "prediction", "review"]) | words)
    entity_type = draw(entity_types)
    entity_key: str | None = draw(st.text(max_size=60))
    if type_ == "data.truncate" or not type_.startswith("data."):
        entity_key = draw(st.none() | st.text(max_size=60))
    valid = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
    return Event(
        draw(_ids),
        type_,
        draw(_ids),
        entity_type,
        entity_key,
        draw(st.none() | valid),
        *(draw(_optional) for _ in range(6)),
        draw(st.none() | st.binary(min_size=32, max_size=32)),
        draw(st.binary(max_size=300)),
        draw(_optional),
        draw(st.none() | st.builds(Encryption, _ids, st.binary(max_size=64))),
        draw(st.none() | _ids),
        draw(st.none() | st.integers(0, MAX_INT64)),
    )


zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
