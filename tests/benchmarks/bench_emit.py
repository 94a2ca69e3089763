"""What `emit` costs the caller's thread, beside writing the same bytes to a file; and `import`."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import audit
from audit.kafka.address import CLIENTS
from audit.tlog.keyfile import write_key
from audit.tlog.keys import new_seed
from tests.benchmarks.common import Result, seconds
from tests.services import kafka
from tests.services.process import Unobtainable, free_ports

ROW = {"customer": "00017", "amount": 1200, "rate": 0.31, "status": "Open", "note": "x" * 40}


def run(count: int = 20_000) -> list[Result]:
    """Unsigned, signed, and through Kafka; then the time of `import audit`."""
    bare = f"{_bare(count):.1f} us"
    found = []
    for name, signed in (("emit, unsigned", False), ("emit, signed", True)):
        with tempfile.TemporaryDirectory() as folder:
            store = f"sqlite:///{folder}/audit.db"
            per_emit, rate = _emit(store, folder, count, signed)
        found.append(Result(name, f"{per_emit:.1f} us", bare, f"sealed {rate}"))
    return [*found, *_kafka(count, bare), _import()]


def _kafka(count: int, bare: str) -> list[Result]:
    """Through a broker with each client, and the cost while it is away."""
    found = []
    with contextlib.suppress(Unobtainable):
        server = kafka.obtain()
        try:
            bus = server.url(server.new_topic(4))
            for client in (*CLIENTS, None):
                name = f"emit to Kafka, {client}"
                if client is None:
                    bus = f"kafka://127.0.0.1:{free_ports(1)[0]}/events"
                    name = "emit to Kafka, broker away"
                with tempfile.TemporaryDirectory() as folder:
                    url = f"{bus}?client={client or CLIENTS[0]}"
                    per_emit, rate = _emit(url, folder, count, False)
                what = "spooled" if client is None else "acknowledged"
                found.append(Result(name, f"{per_emit:.1f} us", bare, f"{what} {rate}"))
        finally:
            server.close()
    return found


def _emit(bus: str, folder: str, count: int, signed: bool) -> tuple[float, str]:
    """Microseconds a call while events come fast and the sealer is busy beside it."""
    key = None
    if signed:
        key = str(Path(folder) / "crm.key")
        write_key(key, "crm", new_seed(), None)
    with audit.Emitter(bus, source="crm", key=key, spool=f"{folder}/spool") as emit:
        emit.create("inquiry", "warm", ROW)
        emit.flush()
        is_away = emit.waiting > 0
        times = []
        start = time.perf_counter()
        for number in range(count):
            before = time.perf_counter()
            emit.update("inquiry", number % 1_000, ROW)
            times.append(time.perf_counter() - before)
        if not is_away:
            emit.flush()
        whole = time.perf_counter() - start
        return sorted(times)[count // 2] * 1e6, f"{count / whole / 1e3:.1f}k/s"


def _bare(count: int) -> float:
    data = bytes(300)
    with tempfile.TemporaryDirectory() as folder:
        file = os.open(f"{folder}/spool", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        took = seconds(lambda: [os.write(file, data) for _ in range(count)])
        os.close(file)
    return took / count * 1e6


def _import() -> Result:
    def start(code: str) -> float:
        return seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True), repeats=7)

    bare, ours = start("pass"), start("import audit")
    return Result(
        "import audit", f"{(ours - bare) * 1e3:.0f} ms", f"python itself {bare * 1e3:.0f} ms", ""
    )
