"""Whether a consumer's memory stays flat: python -m tests.benchmarks.soak [EVENTS].

A producer sends events as fast as it can, one consumer process seals them into PostgreSQL; a line
for each tenth of the way says how much memory the consumer has. Not part of `make bench`: ten
million events take ten minutes and ten gigabytes of disk.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from audit.store import open_reader
from tests.benchmarks.bench_pipeline import PARTITIONS, _environment, produce, services
from tests.benchmarks.common import make_messages

EVENTS = 10_000_000
CHUNK = 100_000
LOOK_S = 2.0


def run(events: int, client: str = "confluent") -> None:
    """Print the resident memory of the consumer along the way."""
    with services() as (broker, database), tempfile.TemporaryDirectory() as folder:
        bus = f"{broker.url(broker.new_topic(partitions=PARTITIONS))}?client={client}"
        store = database.new_database()
        produce_some = [sys.executable, "-m", "tests.benchmarks.soak", "produce", bus, str(events)]
        producer = subprocess.Popen(produce_some, env=_environment())
        command = [sys.executable, "-m", "consumers", "--bus", bus, "--store", store]
        consumer = subprocess.Popen(
            command, cwd=folder, env=_environment(), stderr=subprocess.DEVNULL
        )
        try:
            _watch(consumer.pid, store, events)
        finally:
            for process in (producer, consumer):
                process.terminate()
                process.wait(60)


def _watch(pid: int, store: str, events: int) -> None:
    began_s, said, sealed = time.monotonic(), 0, 0
    while sealed < events:
        time.sleep(LOOK_S)
        try:
            with open_reader(store) as reader:
                sealed = sum(reader.size(info.log) for info in reader.logs()[1:])
        except Exception:
            continue  # the consumer has not made the ledger yet
        if sealed * 10 // events > said or sealed >= events:
            said = sealed * 10 // events
            print(f"{sealed:>12,} {time.monotonic() - began_s:7.0f} s {resident(pid)}", flush=True)


def resident(pid: int) -> str:
    """What the process has in memory now, and what it had at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE))
    return ", ".join(f"{name} {int(kib) // 1024} MiB" for name, kib in found.items())


def main(arguments: list[str]) -> None:
    """`produce` is the process that the other one starts."""
    if arguments[:1] == ["produce"]:
        for _ in range(int(arguments[2]) // CHUNK):
            produce(arguments[1].partition("?")[0], make_messages(CHUNK))
    else:
        run(int(arguments[0]) if arguments else EVENTS)


if __name__ == "__main__":
    main(sys.argv[1:])
