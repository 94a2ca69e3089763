"""Running something that goes on until SIGTERM or SIGINT says to end."""

import signal
from typing import Protocol


class Running(Protocol):
    """What runs, and ends soon after it is told to."""

    def run(self, once: bool = False) -> None:
        """Run; with `once` until nothing is left to do."""
        ...

    def stop(self) -> None:
        """End soon; may be called from a signal's handler."""
        ...


def run_until_told(running: Running, once: bool) -> None:
    """Run it; the signals' handlers are put back afterwards."""

    def end(*_: object) -> None:
        running.stop()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        running.run(once)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
