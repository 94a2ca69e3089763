"""Where the story plays: which store, which bus, and what the commands are told of them.

What the addresses leave out the demo makes for itself, so that it never meets somebody's data: a
database without a schema gets a schema of its own, a broker without a topic a topic of its own.
Nothing is made before everything is checked.
"""

import secrets
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from audit.errors import InvalidInput
from audit.store import is_served, sqlite_path

DEFAULT_STORE = "sqlite:///audit.db"
SPOOL = "audit-spool"
ORIGIN = "demo.example/credit"
OWN_TOPIC = "attestory-demo-"
OWN_SCHEMA = "attestory_demo_"
SETTINGS_OF_A_BUS = ("AUDIT_KAFKA_", "AUDIT_REGISTRY")
"""Settings of the reader's that a bus may need: its client, credentials, registry."""


class Place(NamedTuple):
    """The store and the bus of one demo.

    `store` is its URL as the commands get it, `shown_store` the same without a password. `bus` is
    None where events go straight to the store. `origin` names the ledger.
    """

    store: str = DEFAULT_STORE
    shown_store: str = DEFAULT_STORE
    bus: str | None = None
    origin: str = ORIGIN

    @property
    def is_postgresql(self) -> bool:
        """Whether the store is on a database server."""
        return is_served(self.store)

    @property
    def several_logs(self) -> bool:
        """Whether an index alone names no entry: there is a log for each partition of the topic."""
        return self.bus is not None

    @property
    def introduction(self) -> str:
        """What the settings are for that all commands get."""
        if self.bus is None:
            return "All commands are told where the ledger is:"
        return """Applications send events to a Kafka topic, and a consumer seals what is there,
            each partition in a log of its own. All commands are told where ledger and topic are,
            and where an event waits until the broker has it:"""

    @property
    def ledger(self) -> str:
        """What a ledger is here, and who signs."""
        tables = "A ledger is a few tables in a database."
        what = tables if self.is_postgresql else "A ledger is one SQLite file."
        if not self.several_logs:
            return f"""{what} Its log signs what it records; the line that init prints is the public
                key with which anybody can check that signature."""
        return f"""{what} Each of its logs signs what it records. The line that init prints is the
            public key with which anybody can check the signature of log 0, in which the ledger
            speaks of itself."""

    @property
    def attacker(self) -> str:
        """Who attacks it, and how he gets past the triggers."""
        if self.is_postgresql:
            return "the attacker owns the tables and switches them off"
        return "the attacker owns the file and drops them"

    @property
    def left_over(self) -> str:
        """What the demo leaves on servers; empty without servers."""
        left = []
        if self.is_postgresql:
            from audit.demo.schemas import schemas_of

            left.append(f"the schemas {', '.join(schemas_of(self.store))}")
        if self.bus is not None:
            left.append(f"the topic {urlsplit(self.bus).path.removeprefix('/')}")
        return f"On servers stay {' and '.join(left)}." if left else ""

    @property
    def settings(self) -> dict[str, str]:
        """What the commands read from the environment, beyond their defaults."""
        named = {} if self.store == DEFAULT_STORE else {"AUDIT_STORE": self.store}
        if self.bus is not None:
            # By default events for a bus wait in their user's home; the demo stays in its folder.
            named |= {"AUDIT_BUS": self.bus, "AUDIT_SPOOL": SPOOL}
        return named

    def keeps(self, variable: str) -> bool:
        """Whether an environment variable of the reader's reaches the demo's commands."""
        if not variable.startswith("AUDIT_") or variable == "AUDIT_TRACEBACK":
            return True
        return self.bus is not None and variable.startswith(SETTINGS_OF_A_BUS)


def find_place(store: str | None = None, bus: str | None = None) -> Place:
    """The place that two URLs name, with schema and topic made where they are missing.

    Raises InvalidInput when an address is wrong or something is there already, Unavailable.
    """
    number = secrets.token_hex(4)
    store = DEFAULT_STORE if store is None else store
    if not is_served(store) and (path := sqlite_path(store)) != Path(path.name):
        raise InvalidInput(
            f"the demo's ledger is a file in its own folder, not {path}\n"
            "say sqlite:///NAME, and the folder with --dir"
        )
    schema = topic = None
    if is_served(store):
        from audit.demo.schemas import find_schema

        schema = find_schema(store, OWN_SCHEMA + number)
    if bus is not None:
        from audit.demo.topic import find_topic

        topic = find_topic(bus, OWN_TOPIC + number)
    place = Place(store, store)
    if schema is not None:
        from audit.demo.schemas import make_schema

        make_schema(schema)
        place = place._replace(store=schema.url, shown_store=schema.shown)
    if topic is not None:
        from audit.demo.topic import make_topic

        make_topic(topic)
        # A name of its own: the broker remembers the checkpoints of each ledger by its name.
        place = place._replace(bus=topic.url, origin=f"{ORIGIN}-{number}")
    return place
