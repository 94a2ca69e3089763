"""Statements that are kept compiled, for all engines of this process.

A ledger is opened for one question, often: to compile the statements anew for each engine took
longer than to answer them. They are kept by dialect, whatever the file, the server or the schema.
"""

from sqlalchemy.util import LRUCache

MAX_COMPILED = 500
"""All that the library makes are about a hundred, for each kind of database."""

COMPILED: LRUCache[object, object] = LRUCache(MAX_COMPILED)
"""The execution option `compiled_cache` of an engine."""
