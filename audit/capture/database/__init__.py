"""Capture in the application's own database: one outbox table, and a relay that empties it."""
