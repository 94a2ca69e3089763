"""Runs, models and predictions: what was made from what, found and run again."""
