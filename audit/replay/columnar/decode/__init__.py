"""Leaves to columns: a block of entries read at once."""
