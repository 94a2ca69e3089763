"""Runs in a process of its own: forks children that work on a ledger and kills them with SIGKILL.

`python -m tests.capture.victims SPEC` with SPEC as JSON: {"work": "emit" | "import", "url", "acks",
"key", "csv", "delays_s": [...]}. For each delay a child is forked, killed after it, and waited for;
every second delay begins only when the child is at work. A child writes the id of every event whose
emit returned to the file `acks`, one write(2) a line. Forking from a process that has everything
imported makes a child cheap.
"""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import audit.capture.emitter
import audit.capture.importer.sealing
import audit.event.jsonform
import audit.store.sqlite
from audit.capture.delivery.embedded import open_for_writing
from audit.capture.emitter import Emitter
from audit.capture.importer import import_file

Ready = Callable[[], None]


def emit(spec: dict[str, Any], ready: Ready) -> None:
    """Emit as fast as possible, some of it flushed, until killed."""
    acks = os.open(spec["acks"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    emitter = Emitter(spec["url"], key=spec["key"])
    ready()
    number = 0
    while True:
        event_id = emitter.update("user", number % 50, {"n": number, "text": "x" * 20})
        os.write(acks, event_id.encode() + b"\n")
        number += 1
        if number % 300 == 0:
            emitter.flush()
        if number % 40 == 0:
            time.sleep(0.001)


def load(spec: dict[str, Any], ready: Ready) -> None:
    """Import the file in many small batches."""
    audit.capture.importer.sealing.BATCH_EVENTS = 20
    with open_for_writing(spec["url"]) as ledger:
        # The first report comes when the file is checked and the events begin.
        import_file(ledger, spec["csv"], entity="item", key="id", progress=lambda *_: ready())


def main() -> None:
    """See the module docstring."""
    spec = json.loads(sys.argv[1])
    work = {"emit": emit, "import": load}[spec["work"]]
    killed = 0
    for number, delay_s in enumerate(spec["delays_s"]):
        at_work, tell = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                work(spec, lambda tell=tell: os.write(tell, b"!"))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(tell)
        if number % 2:
            os.read(at_work, 1)
        time.sleep(delay_s)
        os.close(at_work)
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        killed += os.WIFSIGNALED(status)
    print(killed)


if __name__ == "__main__":
    main()
