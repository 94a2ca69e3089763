"""One process of the pipeline benchmark: MODE BUS STORE COUNT [OPTION ...]; prints its figures.

`consume` is the consumer itself, `poll` the same client that only polls, `raw` the same client that
copies each message as it is into a table without indexes, with one commit for each 5,000.
Time runs from the first message asked for to the last one done, without the start of the process.
"""

import json
import resource
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack

from audit.kafka.address import parse_address
from audit.kafka.clients import open_consumer
from audit.kafka.transport import Consumer, Fetched

BATCH = 5_000
PATIENCE_S = 900.0


class Watch:
    """Wall and processor time, from `start`."""

    def __init__(self) -> None:
        self.began_s = self.cpu_s = 0.0

    def start(self) -> None:
        self.began_s, self.cpu_s = time.perf_counter(), time.process_time()

    def figures(self, messages: int) -> dict[str, float]:
        return {
            "messages": messages,
            "seconds": time.perf_counter() - self.began_s,
            "cpu": time.process_time() - self.cpu_s,
            "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def reader(bus: str) -> tuple[Consumer, list[int]]:
    """A consumer that reads all partitions from the beginning."""
    address = parse_address(bus)
    consumer = open_consumer(address, None)
    partitions = list(range(consumer.partitions(address.topic)))
    consumer.assign(address.topic, partitions)
    for partition in partitions:
        consumer.seek(partition, 0)
    return consumer, partitions


def poll(bus: str, store: str, count: int, *_: str) -> dict[str, float]:
    """Only polling."""
    consumer, _partitions = reader(bus)
    watch, seen = Watch(), 0
    watch.start()
    while seen < count:
        seen += sum(map(len, consumer.poll(1.0, BATCH).values()))
    return watch.figures(seen)


def raw(bus: str, store: str, count: int, *_: str) -> dict[str, float]:
    """Polling, and copying what comes into a table without indexes."""
    import psycopg

    consumer, _partitions = reader(bus)
    with psycopg.connect(store) as connection:
        connection.execute(
            "CREATE TABLE raw (partition int8, position int8, key bytea, value bytea)"
        )
        connection.commit()
        watch, seen = Watch(), 0
        watch.start()
        while seen < count:
            for partition, messages in consumer.poll(1.0, BATCH).items():
                copy(connection, partition, messages)
                seen += len(messages)
        return watch.figures(seen)


def copy(connection: object, partition: int, messages: Sequence[Fetched]) -> None:
    """Copy one batch, binary, and commit."""
    statement = "COPY raw FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(statement) as rows:  # type: ignore[attr-defined]
        rows.set_types(["int8", "int8", "bytea", "bytea"])
        for message in messages:
            rows.write_row((partition, message.offset, message.key, message.value))
    connection.commit()  # type: ignore[attr-defined]


def consume(bus: str, store: str, count: int, *options: str) -> dict[str, float]:
    """The consumer, until it has sealed so many messages."""
    from consumers import tally
    from consumers.buffer import Buffer
    from consumers.service import Service
    from consumers.settings import Settings, Signatures

    watch, stop = Watch(), threading.Event()
    sealed: list[dict[str, float]] = []
    begin, note = Buffer.begin, tally.count

    def begun(self: Buffer, *given: int) -> None:
        if not watch.began_s:
            watch.start()
        begin(self, *given)

    def counted(metrics: object, *given: object) -> None:
        note(metrics, *given)  # type: ignore[arg-type]
        if metrics.messages >= count:  # type: ignore[attr-defined]
            sealed.append(watch.figures(metrics.messages))  # type: ignore[attr-defined]
            stop.set()

    Buffer.begin = begun  # type: ignore[method-assign,assignment]
    tally.count = counted  # type: ignore[assignment]
    signatures = Signatures(options[0]) if options else Signatures.RECORD
    with ExitStack() as stack:
        settings = Settings(bus, store, batch=BATCH, signatures=signatures)
        Service(settings, stop, stack).run()
    return sealed[0]


if __name__ == "__main__":
    mode, bus, store, count = sys.argv[1:5]
    run = {"poll": poll, "raw": raw, "consume": consume}[mode]
    print(json.dumps(run(bus, store, int(count), *sys.argv[5:])))
