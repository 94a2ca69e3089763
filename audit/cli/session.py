"""What one run of the command line holds: its settings, clock, exit code, and what to close."""

import os
import sys
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from audit.ledger import Ledger

DEFAULT_STORE = "sqlite:///audit.db"
CONFIG_FILE = "audit.toml"
BUS_VARIABLE = "AUDIT_BUS"


class Session:
    """One run. `exit_code` is what it ends with when nothing is raised."""

    def __init__(self) -> None:
        """Nothing is read or opened yet."""
        self.exit_code = 0
        self._open = ExitStack()

    @cached_property
    def now_us(self) -> int:
        """The clock, read once: microseconds since the epoch."""
        from audit.store import clock_us

        return clock_us()

    def use_settings(self) -> None:
        """Give the settings of `audit.toml`, where there is one, to all floors below.

        They read the environment, so that is where the file's settings go, until `close`; what the
        environment has already wins.
        """
        if not Path(CONFIG_FILE).exists():
            return
        from audit.config import load_settings

        settings = load_settings(Path(CONFIG_FILE))
        named = {name: getattr(settings, name) for name in type(settings).model_fields}
        named["key_passphrase"] = settings.passphrase
        for name, value in named.items():
            variable = f"AUDIT_{name.upper()}"
            if value is not None and not os.environ.get(variable):
                os.environ[variable] = str(value)
                self._open.callback(os.environ.pop, variable, None)

    def ledger(self, store: str) -> "Ledger":
        """The ledger at a URL, open for reading until the run ends."""
        from audit.ledger import Ledger

        ledger = self._open.enter_context(Ledger(store, now_us=self.now_us))
        self._tell_of_read_model(ledger)
        if not ledger.reader.complete:
            note("a bundle made by a query: what the query left out is not in here")
        return ledger

    def _tell_of_read_model(self, ledger: "Ledger") -> None:
        """A bar while a question builds the read model; at the end, what was wrong with it."""
        from audit.cli.progress import Progress

        progress = self._open.enter_context(Progress("building the read model:", "entries"))

        def tell() -> None:
            for line in ledger.tell_of_read_model(progress):
                note(line)

        ledger.tell_of_read_model(progress)
        self._open.callback(tell)

    def close(self) -> None:
        """Close what was opened, take back what was set. Safe to repeat."""
        self._open.close()


def bus_of(store: str) -> str:
    """Where a writing command puts events: AUDIT_BUS, unless --store was typed; else the store."""
    context = click.get_current_context()
    typed = context.get_parameter_source("store") is click.core.ParameterSource.COMMANDLINE
    return store if typed else os.environ.get(BUS_VARIABLE) or store


def note(text: str) -> None:
    """Say something that is no data: on stderr, each line harmless for a terminal."""
    from audit.ledger.harmless import harmless

    sys.stdout.flush()
    sys.stderr.write("".join(harmless(line) + "\n" for line in text.split("\n")))
