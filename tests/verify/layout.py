"""A ledger as a consumer leaves it: log 0, one log for each partition, heads, policy lines."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from audit.capture.delivery.embedded import open_for_writing
from audit.event.build import data_event, record_event, schema_event
from audit.event.envelope import encode_event
from audit.event.schema import builtin
from audit.kafka.transport import Fetched
from audit.log.intake import LEDGER_SOURCE
from audit.log.source import SourceBatch
from audit.store import open_reader
from audit.store.blobs import BlobStore
from audit.store.contract import AppendedFrom
from audit.verify.findings import Report
from audit.verify.policy import Policy
from audit.verify.verifier import verify
from consumers.decode import Decoder
from consumers.heads import Heads
from consumers.policy_file import add_log

ORIGIN = "example.com/layout"
TOPIC = "audit.events"
PARTITIONS = 4


def event(number: int, producer: str = "emitter-1", sequence: int | None = None, **more) -> bytes:
    """A change of user/NUMBER; its number in the producer's count is the same, or `sequence`."""
    fields = {"event_id": f"event-{number}", "source": "crm", "actor": "alice", **more}
    built = data_event(
        "update",
        "user",
        number,
        after={"n": number, "name": f"name {number}"},
        valid_time_us=1_700_000_000_000_000 + number % 1_000_000,
        producer_id=producer,
        producer_sequence=number if sequence is None else sequence,
        **fields,
    )
    return encode_event(built.event)


def truncate(number: int) -> bytes:
    """What empties the dataset: it goes to every partition."""
    built = data_event("truncate", "user", None, event_id=f"t-{number}", source="crm")
    return encode_event(built.event)


SCHEMA = encode_event(schema_event(builtin("row.v1")))


class Layout:
    """One ledger in a folder. `next_offsets`: partition -> what is fed to it next."""

    def __init__(self, folder: Path, partitions: int = PARTITIONS, announced: bool = True) -> None:
        self.folder = folder
        self.path = folder / "audit.db"
        self.url = f"sqlite:///{self.path}"
        self.ledger = open_for_writing(self.url, origin=ORIGIN)
        self.decoder = Decoder(TOPIC, BlobStore(f"file://{folder}/blobs"))
        self.leases = {}
        self.next_offsets = dict.fromkeys(range(partitions), 0)
        for partition in range(partitions):
            log, origin = partition + 1, self.origin(partition)
            self.ledger.open_log(log, origin)
            vkey = self.ledger.signer(log).verifier.vkey
            if announced:
                self.say("log.added", {"log": log, "origin": origin, "vkey": vkey})
            add_log(folder / "audit.policy", vkey)
            self.leases[partition] = self.ledger.store.claim(log)

    def origin(self, partition: int) -> str:
        return f"{ORIGIN}/{TOPIC}/{partition}"

    def say(self, type_: str, data: dict[str, object], event_id: str | None = None) -> int:
        """A CONTROL entry of log 0; its index."""
        event_id = event_id or f"{type_}:{data}"[:100]
        built = record_event(type_, data, event_id=event_id, source=LEDGER_SOURCE)
        return self.ledger.append_control([encode_event(built.event)]).outcomes[0].index

    def feed(
        self,
        partition: int,
        values: Sequence[bytes | Fetched | None],
        next_offset: int | None = None,
        first_kept: int = 0,
    ) -> AppendedFrom:
        """One batch of a partition, from its next offset on, or at offsets of their own."""
        at = self.next_offsets[partition]
        fetched = [
            value if isinstance(value, Fetched) else Fetched(at + n, b"user/1", value, None)
            for n, value in enumerate(values)
        ]
        incoming = []
        self.decoder.decode(partition, fetched, incoming)
        after = fetched[-1].offset + 1 if fetched else at
        self.next_offsets[partition] = after if next_offset is None else next_offset
        batch = SourceBatch(TOPIC, partition, first_kept, incoming, self.next_offsets[partition])
        signer = self.ledger.signer(partition + 1)
        return self.ledger.store.append_from(self.leases[partition], batch, signer)

    def heads(self) -> None:
        """What a consumer writes into log 0 every minute."""
        Heads(self.ledger, 0).write(0, final=True)

    def verify(self, policy: Policy | None = None, log: int | None = None) -> Report:
        with open_reader(self.url) as reader:
            return verify(reader, policy or self.policy(), log=log)

    def policy(self, *logs: int) -> Policy:
        """The policy beside the store; with `logs` it names these alone."""
        if not logs:
            return Policy.from_file(self.folder / "audit.policy")
        return Policy.from_vkeys([self.ledger.signer(log).verifier.vkey for log in logs])

    def head(self, partition: int) -> list[object]:
        """A log's head now, as `ledger.heads` states it."""
        found = Heads(self.ledger, 0).current()
        head = next(head for head in found if head.origin == self.origin(partition))
        return [head.origin, head.size, head.root.hex()]

    # An attacker's

    def sql(self, statement: str, values: Sequence[object] = ()) -> list[tuple]:
        connection = sqlite3.connect(self.path)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def drop_guards(self) -> None:
        for (name,) in self.sql("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
            self.sql(f"DROP TRIGGER {name}")

    def drop_log(self, log: int) -> None:
        """All of a log, its name too."""
        self.drop_guards()
        for table in ("entries", "tiles", "checkpoints", "logs", "leases"):
            self.sql(f"DELETE FROM {table} WHERE log = ?", [log])

    def cut_log(self, log: int, size: int) -> None:
        """Back to an earlier state, which a checkpoint of its own signs."""
        self.drop_guards()
        self.sql('DELETE FROM entries WHERE log = ? AND "index" >= ?', [log, size])
        self.sql("DELETE FROM checkpoints WHERE log = ? AND size > ?", [log, size])
        self.sql('DELETE FROM tiles WHERE log = ? AND ("index" + 1) * 256 > ?', [log, size])

    def take_log(self, log: int, other: "Layout") -> None:
        """The log of another ledger of the same name and keys, in place of one's own."""
        self.drop_guards()
        connection = sqlite3.connect(self.path)
        try:
            connection.execute("ATTACH ? AS other", [str(other.path)])
            with connection:
                for table in ("entries", "tiles", "checkpoints"):
                    connection.execute(f"DELETE FROM {table} WHERE log = ?", [log])
                    connection.execute(
                        f"INSERT INTO {table} SELECT * FROM other.{table} WHERE log = ?", [log]
                    )
        finally:
            connection.close()


def codes(report: Report) -> set[str]:
    """The codes of all findings."""
    return {finding.code for finding in report.findings}


def warned(report: Report) -> set[str]:
    """The codes of all warnings but those of the guards, which every attacker here drops."""
    return {w.code for w in report.warnings} - {"guard_missing", "checkpoint_missing"}
