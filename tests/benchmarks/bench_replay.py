"""Replaying a dataset, beside a bare loop that fetches and decodes the same events."""

import tempfile
from pathlib import Path

from audit.event.payload import decode_payload
from audit.event.schema import SchemaBook
from audit.ledger import Ledger
from audit.log.record import read_record
from tests.benchmarks.common import Result, fill, make_messages, rate, seconds


def run(count: int = 100_000) -> list[Result]:
    """As of now, as of the middle, valid at the middle, and one row."""
    with tempfile.TemporaryDirectory() as folder:
        store = fill(Path(folder), make_messages(count))
        url, size = store.address, store.size(0)

        def bare() -> None:
            book = SchemaBook.with_builtins()
            for _, leaf in store.leaves(0):
                event = read_record(0, leaf).event
                if event is not None and event.type.startswith("data."):
                    decode_payload(event, book)

        bare_time = seconds(bare)
        store.close()
        found = []
        with Ledger(url) as ledger:
            middle = 1_700_000_000_000_000 + count // 2
            cases = {
                "replay, as of now": lambda: ledger.replay("inquiry"),
                "replay, as of the middle": lambda: ledger.replay("inquiry", as_of=size // 2),
                "replay, valid at the middle": lambda: ledger.replay(
                    "inquiry", valid_at=_time(middle)
                ),
            }
            for name, action in cases.items():
                took = seconds(action)
                found.append(
                    Result(
                        name, rate(count, took), rate(count, bare_time), f"{bare_time / took:.2f}"
                    )
                )
            took = seconds(lambda: ledger.replay_row("inquiry/5"), repeats=9)
            found.append(
                Result(f"replay one row of {count // 1_000} events", f"{took * 1e3:.2f} ms", "", "")
            )
    return found


def _time(time_us: int) -> str:
    from audit.event.values import format_time

    return format_time(time_us)
