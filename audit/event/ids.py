"""Event ids: UUID version 7 (RFC 9562), increasing within a process."""

import os
import threading
import time

_RANDOM_BITS = 74
_STEP_BITS = 32

_lock = threading.Lock()
_last_ms = 0
_counter = 0
_steps: list[int] = []


def _forget() -> None:
    """A forked child must not go on with its parent's numbers."""
    global _lock, _last_ms, _counter
    _lock = threading.Lock()
    _last_ms = 0
    _counter = 0
    _steps.clear()


os.register_at_fork(after_in_child=_forget)


def new_event_id() -> str:
    """A new UUIDv7 as text: 48 bits of milliseconds, then a random number.

    Within a millisecond, and when the clock goes back, the number grows by a random step instead
    (RFC 9562, 6.2, method 2), so ids made by one process sort in the order they were made.
    """
    global _last_ms, _counter
    with _lock:
        ms = time.time_ns() // 1_000_000
        if ms > _last_ms:
            _last_ms = ms
            # The top bit stays free for the steps to come.
            _counter = int.from_bytes(os.urandom(10), "big") >> (80 - _RANDOM_BITS + 1)
        else:
            if not _steps:
                raw = os.urandom(4 * 256)
                _steps.extend(int.from_bytes(raw[at : at + 4], "big") for at in range(0, 1024, 4))
            _counter += _steps.pop() + 1
            if _counter >> _RANDOM_BITS:
                _last_ms += 1
                _counter &= (1 << _RANDOM_BITS) - 1
        ms, counter = _last_ms, _counter
    high = counter >> 62
    low = counter & 0x3FFF_FFFF_FFFF_FFFF
    text = f"{ms << 80 | 0x7 << 76 | high << 64 | 0x8000_0000_0000_0000 | low:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
