"""What is checked of the read model's files beyond their digests.

A digest stands in a manifest, and whoever can write one can write the other. He can make the read
model say what he likes (it is never evidence); he must not make a reader fail on it.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from audit.event.times import MAX_DATE_DAYS, MAX_TIME_US, MIN_DATE_DAYS, MIN_TIME_US
from audit.replay.columnar.lockstep import not_utf8


def is_text(value: object) -> bool:
    """Whether this is a text that UTF-8 can spell: JSON may hold others."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_count(value: object) -> bool:
    """Whether this is a number of things."""
    return type(value) is int and value >= 0


def are_texts(array: "pa.Array") -> bool:
    """Whether all bytes of a large_binary array are UTF-8, and none is null."""
    return not array.null_count and not len(not_utf8(array))


def are_values(array: "pa.Array") -> bool:
    """Whether Python has such dates and times, and a dictionary no null; of a validated array."""
    if pa.types.is_dictionary(array.type):
        return not array.dictionary.null_count
    if pa.types.is_date32(array.type):
        days = array.drop_null().view(pa.int32()).to_numpy()
        return within(days, MIN_DATE_DAYS, MAX_DATE_DAYS + 1)
    if pa.types.is_timestamp(array.type):
        return are_times(array.drop_null().view(pa.int64()).to_numpy())
    return True


def are_times(times_us: Any) -> bool:
    """Whether all of these microseconds are in the years 1 to 9999."""
    return within(times_us, MIN_TIME_US, MAX_TIME_US + 1)


def within(numbers: Any, least: int, below: int) -> bool:
    """Whether least <= number < below for all of them."""
    return not len(numbers) or (int(np.min(numbers)) >= least and int(np.max(numbers)) < below)
