"""What every fault test stands on: a ledger of its own, applications, consumers to break, the end.

The end of each is `check`: the whole log re-derived plainly, every offset of the topic accounted
for against what another client reads of it, and what applications were told is kept exactly once.
"""

import importlib
import logging
import multiprocessing
import os
import secrets
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from audit.capture.delivery.embedded import open_for_writing
from audit.capture.emitter import Emitter
from audit.errors import AuditError
from audit.event.build import data_event
from audit.event.envelope import encode_event
from audit.store import open_reader, store_folder
from audit.store.contract import Reader
from audit.store.positions import source_position
from consumers import failpoints
from consumers.logs import LOGGER, TextLines
from consumers.service import run
from consumers.settings import Settings
from tests.consumers.processes import PATIENCE_S, wait_until
from tests.services.kafka import KafkaServer

SESSION_S = 1
"""The shortest that the broker allows: a member that is gone is missed soon."""
KEYS = 23


@dataclass
class Place:
    """A topic, a ledger for it, and what was said: source -> (event id, key) in order."""

    server: KafkaServer
    folder: Path
    topic: str
    partitions: int
    store: str
    origin: str
    truth: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def new(
        cls, server: KafkaServer, folder: Path, partitions: int = 1, store: str | None = None
    ) -> Self:
        """With a ledger that nothing was read into yet; `folder` is the current one."""
        store = store or f"sqlite:///{folder}/audit.db"
        origin = f"example.com/faults/{secrets.token_hex(4)}"
        store_folder(store).mkdir(exist_ok=True)
        open_for_writing(store, origin=origin).close()
        return cls(server, folder, server.new_topic(partitions), partitions, store, origin)

    @property
    def bus(self) -> str:
        """The topic's address."""
        return self.server.url(self.topic)

    @property
    def group(self) -> str:
        """The group that consumers of this ledger make."""
        return f"attestory.{self.origin}"

    def places(self) -> list[TopicPartition]:
        """The partitions, as kafka-python names them."""
        return [TopicPartition(self.topic, partition) for partition in range(self.partitions)]

    @contextmanager
    def admin(self) -> Iterator[Any]:
        """An administrator of the cluster."""
        with closing(KafkaAdminClient(bootstrap_servers=self.server.bootstrap)) as admin:
            yield admin

    def ends(self) -> dict[int, int]:
        """Partition -> the offset after the last committed message."""
        with closing(reader_of(self)) as consumer:
            return {p.partition: end for p, end in consumer.end_offsets(self.places()).items()}

    def positions(self) -> dict[int, int]:
        """Partition -> the offset up to which its log accounts for it."""
        with open_reader(self.store) as reader:
            return self._positions(reader)

    def _positions(self, reader: Reader) -> dict[int, int]:
        there = {info.log for info in reader.logs()}
        found = {}
        for partition in range(self.partitions):
            log = partition + 1
            at = source_position(reader, log) if log in there else None
            found[partition] = 0 if at is None else at.next_offset
        return found

    def wait_sealed(self) -> None:
        """Wait until all that the topic holds now is in the logs."""
        ends = self.ends()

        def reached() -> bool:
            try:
                positions = self._positions(reader)
            except AuditError:
                return False  # the database is away just now
            return all(positions[partition] >= end for partition, end in ends.items())

        with open_reader(self.store) as reader:
            wait_until(f"{ends} is sealed", reached)


def reader_of(place: Place, **settings: Any) -> Any:
    """A plain reader, by nothing of the product."""
    return KafkaConsumer(
        bootstrap_servers=place.server.bootstrap,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **settings,
    )


class Feed:
    """An application: says changes of some keys and remembers what `emit` took."""

    def __init__(self, place: Place, source: str = "crm", **settings: Any) -> None:
        """Connect."""
        self._place = place
        self._said = place.truth[source]
        self._keys = source
        self.emitter = Emitter(place.bus, source, spool=place.folder / "spool", **settings)

    def say(self, count: int, text: str = "") -> None:
        """Emit so many changes."""
        for _ in range(count):
            number = len(self._said)
            key = f"{self._keys}-{number % KEYS}"
            row = {"n": number, "text": text}
            self._said.append((self.emitter.update("user", key, row), key))

    def flush(self) -> None:
        """Wait until the broker acknowledged all of it."""
        self.emitter.flush()
        wait_until("the broker took all", lambda: not self.emitter.waiting or self._flush())

    def _flush(self) -> bool:
        self.emitter.flush()
        return not self.emitter.waiting

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.emitter.close()


class Flow:
    """An application that goes on saying things, whatever happens, until the block ends."""

    def __init__(self, feed: Feed, count: int = 10, pause_s: float = 0.03) -> None:
        """Begin."""
        self._feed = feed
        self._count = count
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(self._pause_s):
            self._feed.say(self._count)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def an_event(number: int, *, source: str = "raw", row: dict[str, Any] | None = None) -> bytes:
    """The bytes of a change of user/NUMBER with a fixed id."""
    event, _ = data_event(
        "update", "user", f"{source}-{number}", event_id=f"{source}-{number}", source=source,
        after={"n": number} if row is None else row,
    )  # fmt: skip
    return encode_event(event)


def some_events(place: Place, numbers: Iterable[int], source: str = "raw") -> list[bytes]:
    """Bytes of such events, which are to be found in the ledger at the end."""
    found = []
    for number in numbers:
        found.append(an_event(number, source=source))
        place.truth[source].append((f"{source}-{number}", f"{source}-{number}"))
    return found


def put(place: Place, values: Sequence[bytes | None], partition: int = 0) -> None:
    """Put values onto a partition past the emitter, as anybody could."""
    with closing(KafkaProducer(bootstrap_servers=place.server.bootstrap, acks="all")) as producer:
        for value in values:
            producer.send(place.topic, value, key=b"a key", partition=partition)
        producer.flush()


class Member:
    """A consumer on a thread of this process."""

    def __init__(self, place: Place, **settings: Any) -> None:
        """Start it; it ends with the block that it is used in."""
        given = {"store": place.store, "session_timeout_s": SESSION_S, **settings}
        self.error: BaseException | None = None
        self.code: int | None = None
        self._stop = threading.Event()
        self._settings = Settings(bus=place.bus, **given)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.code = run(self._settings, self._stop)
        except AuditError as error:
            self.error, self.code = error, error.exit_code
        except BaseException as error:  # a bug: a test that ends with this block shows it
            self.error = error
            raise

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._thread.is_alive()

    def ended(self) -> int | None:
        """Wait until it ends by itself; the exit code."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), f"it did not end within {PATIENCE_S} s"
        return self.code

    def stop(self) -> int | None:
        """Ask it to end; the exit code."""
        self._stop.set()
        return self.ended()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        code = self.stop()
        if kind is None:
            assert (code, self.error) == (0, None)
        elif self.error is not None:
            print(f"a consumer of this process ended: {self.error!r}")


def consume(place: Place, **settings: Any) -> int | None:
    """Consume all that is there now; the exit code."""
    member = Member(place, once=True, **settings)
    code = member.ended()
    if member.error is not None:
        raise member.error
    return code


_warm = multiprocessing.get_context("forkserver")
_warm.set_forkserver_preload(["tests.consumers.faults", "sqlalchemy.dialects.sqlite", "psycopg"])


def _consumer(folder: str, log: str, arguments: list[str], environ: dict[str, str]) -> None:
    """In the new process: be `python -m consumers`."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    importlib.reload(failpoints)
    sys.argv = ["consumers", *arguments]
    from consumers.__main__ import main

    sys.exit(main())


class Forked:
    """A consumer in a process of its own, to be killed or stopped.

    It is forked from a process that has everything imported: a start costs a tenth of a second.
    """

    def __init__(self, place: Place, *options: str, name: str = "consumer", **environ: str) -> None:
        """Start it; it is killed when the block that it is used in ends."""
        self.log = place.folder / f"{name}.log"
        arguments = ["--bus", place.bus, "--store", place.store, *options]
        if "--session-timeout" not in options:
            arguments += ["--session-timeout", str(SESSION_S)]
        self._process = _warm.Process(
            target=_consumer,
            args=(str(place.folder), str(self.log), arguments, {**os.environ, **environ}),
            daemon=True,
        )
        self._process.start()

    @property
    def said(self) -> str:
        """What it printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.is_alive()

    def pause(self) -> None:
        """Stop it where it is; return when none of its threads runs any more."""
        os.kill(self._process.pid or 0, signal.SIGSTOP)
        threads = Path(f"/proc/{self._process.pid}/task")
        if not threads.exists():
            time.sleep(0.5)  # not Linux: nothing tells
            return
        wait_until("it stands still", lambda: {_state(each) for each in threads.iterdir()} == {"T"})

    def go_on(self) -> None:
        """Undo `pause`."""
        os.kill(self._process.pid or 0, signal.SIGCONT)

    def kill(self) -> None:
        """As a power cut: nothing is finished."""
        self._process.kill()
        self.ended()

    def stop(self) -> int | None:
        """Ask it to end; its exit code."""
        self._process.terminate()
        return self.ended()

    def ended(self) -> int | None:
        """Wait for its end; its exit code, negative for a signal."""
        self._process.join(PATIENCE_S)
        assert not self._process.is_alive(), self.said
        return self._process.exitcode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._process.kill()
        self._process.join(PATIENCE_S)
        if kind is not None:
            print(f"{self.log.name}:\n{self.said[-3_000:]}")


def _state(thread: Path) -> str:
    try:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "T"  # it has just ended


class Lines(logging.Handler):
    """The log lines of the consumers of this process, as an operator reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(TextLines())
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self._lines.append(self.format(record))

    @property
    def text(self) -> str:
        """All lines so far."""
        return "\n".join(self._lines)

    def count(self, words: str) -> int:
        """In how many lines these words are."""
        return sum(words in line for line in self._lines)


@contextmanager
def lines() -> Iterator[Lines]:
    """Collect log lines while the block lasts."""
    logger = logging.getLogger(LOGGER)
    handler, level = Lines(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield handler
    except BaseException:
        print(handler.text)
        raise
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def sleep(seconds: float) -> None:
    """Let others go on; what is asserted afterwards holds however slow they are."""
    time.sleep(seconds)
