"""Verifying a whole ledger, beside a bare loop that fetches the same rows and hashes them."""

import sqlite3
import tempfile
from hashlib import sha256
from pathlib import Path

from audit.store import open_reader
from audit.verify.policy import Policy
from audit.verify.verifier import verify
from tests.benchmarks.common import SIGNER, Result, fill, make_messages, rate, seconds


def run(count: int = 300_000) -> list[Result]:
    """Full verification of unsigned events, sealed in batches of 5,000."""
    with tempfile.TemporaryDirectory() as folder:
        store = fill(Path(folder), make_messages(count))
        url, path = store.address, Path(folder) / "audit.db"
        size = store.size(0)
        store.close()
        policy = Policy.from_vkeys([SIGNER.verifier.vkey])

        def ours() -> None:
            with open_reader(url) as reader:
                report = verify(reader, policy)
            if not report.ok:
                raise SystemExit(f"the benchmark's own ledger does not verify: {report.findings}")

        def bare() -> None:
            connection = sqlite3.connect(path)
            cursor = connection.execute('SELECT * FROM entries WHERE log = 0 ORDER BY "index"')
            while rows := cursor.fetchmany(4_096):
                for row in rows:
                    sha256(b"\x00" + row[10]).digest()
            connection.close()

        bare_time, our_time = seconds(bare), seconds(ours)
    return [
        Result(
            "verify, all entries",
            rate(size, our_time),
            rate(size, bare_time),
            f"{bare_time / our_time:.2f}",
        )
    ]
