"""The entry point of the `audit` command."""

import sys

from audit.cli.app import app


def main() -> int:
    """Run the command line of this process; returns the exit code (see `audit.cli.outcome`)."""
    return app.run(sys.argv[1:])
