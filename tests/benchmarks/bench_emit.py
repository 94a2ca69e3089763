"""What `emit` costs the caller's thread, beside writing the same bytes to a file; and `import`."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import audit
from audit.tlog.keyfile import write_key
from audit.tlog.keys import new_seed
from tests.benchmarks.common import Result, seconds

ROW = {"customer": "00017", "amount": 1200, "rate": 0.31, "status": "Open", "note": "x" * 40}


def run(count: int = 20_000) -> list[Result]:
    """Unsigned, signed, and the time of `import audit`."""
    found = []
    for name, signed in (("emit, unsigned", False), ("emit, signed", True)):
        per_emit, sealed = _emit(count, signed)
        found.append(
            Result(name, f"{per_emit:.1f} us", f"{_bare(count):.1f} us", f"sealed {sealed}")
        )
    found.append(_import())
    return found


def _emit(count: int, signed: bool) -> tuple[float, str]:
    """Microseconds a call while bursts of 1,000 come and the sealer is busy beside it."""
    with tempfile.TemporaryDirectory() as folder:
        key = None
        if signed:
            key = str(Path(folder) / "crm.key")
            write_key(key, "crm", new_seed(), None)
        with audit.Emitter(f"sqlite:///{folder}/audit.db", source="crm", key=key) as emit:
            emit.create("inquiry", "warm", ROW)
            emit.flush()
            times = []
            start = time.perf_counter()
            for number in range(count):
                before = time.perf_counter()
                emit.update("inquiry", number % 1_000, ROW)
                times.append(time.perf_counter() - before)
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
