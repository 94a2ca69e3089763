"""Acceptance tests run the command line as its own tests do."""

from tests.cli.conftest import cli

__all__ = ["cli"]
