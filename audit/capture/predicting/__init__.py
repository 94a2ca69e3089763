"""Predictions logged as they are made."""
