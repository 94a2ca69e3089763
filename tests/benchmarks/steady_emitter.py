"""An application that emits at a steady rate: BUS RATE COUNT."""

import sys
import time

import audit


def main(bus: str, rate: int, count: int) -> None:
    """Emit, sleeping whenever it is ahead."""
    with audit.Emitter(bus, source="steady") as emit:
        emit.create("thing", 0, {"n": 0})
        emit.flush()
        start_s = time.monotonic()
        for number in range(count):
            ahead_s = start_s + number / rate - time.monotonic()
            if ahead_s > 0:
                time.sleep(ahead_s)
            emit.update("thing", number % 500, {"n": number, "text": "x" * 100})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
